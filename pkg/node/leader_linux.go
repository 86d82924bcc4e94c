package node

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dcos-go/dcos/pkg/api"
	"github.com/dcos-go/dcos/pkg/auth"
	"github.com/dcos-go/dcos/pkg/config"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

// adminAccount is the first user of a new cluster. Its password is in a file
// of mode 0600 on the first master until somebody removes it.
type adminAccount struct{ name, password string }

// adminName is the first user.
const adminName = "admin"

// keepRound is how often the leader looks after the rows and votes of masters.
const keepRound = 500 * time.Millisecond

// lead does what only the leader does for the group of masters itself: it makes
// the cluster's first rows, keeps its own, and turns learners into voters.
func (m *master) lead(ctx context.Context, l leadership) error {
	for {
		term, err := l.Lead(ctx)
		if err != nil {
			return endOf(ctx, err)
		}
		now, _ := m.raft.Leadership()
		if err := m.gossip.SetLeading(now.Term); err != nil {
			m.log.Warn("leadership could not be gossiped", "err", err)
		}
		m.log.Info("this master leads", "term", now.Term)
		for term.Err() == nil {
			if err := m.keep(term); err != nil && term.Err() == nil {
				m.log.Warn("look after the masters", "err", err)
			}
			select {
			case <-term.Done():
			case <-time.After(keepRound):
			}
		}
		if ctx.Err() == nil {
			m.log.Info("this master leads no more")
			if err := m.gossip.SetLeading(0); err != nil {
				m.log.Warn("the end of leadership could not be gossiped", "err", err)
			}
		}
	}
}

func (m *master) keep(ctx context.Context) error {
	v := m.raft.View()
	if _, ok := v.Cluster(); !ok {
		if err := m.firstRows(ctx); err != nil {
			return err
		}
		v = m.raft.View()
	}
	stats := m.raft.Stats()
	if err := m.keepRow(ctx, v, stats.Voters); err != nil {
		return err
	}
	for _, id := range stats.Learners {
		err := m.raft.Promote(ctx, id)
		if errors.Is(err, dcos.ErrUnavailable) {
			continue // it has not caught up
		}
		if err != nil {
			return fmt.Errorf("let master %x vote: %w", uint64(id), err)
		}
		m.log.Info("master votes", "master", fmt.Sprintf("%x", uint64(id)))
	}
	return nil
}

// keepRow writes what has changed of the masters' rows: this one's addresses,
// and who votes.
func (m *master) keepRow(ctx context.Context, v state.View, voters []dcos.MasterID) error {
	votes := map[dcos.MasterID]bool{}
	for _, id := range voters {
		votes[id] = true
	}
	var cmds []state.Command
	seen := false
	for row := range v.Masters() {
		want := *row
		want.Voter = votes[row.ID]
		if row.ID == m.files.id {
			seen = true
			own := m.row()
			want.Name, want.Peer, want.API, want.Level, want.Version = own.Name, own.Peer, own.API, own.Level, own.Version
		}
		if want != *row {
			cmds = append(cmds, state.PutMaster{Master: want})
		}
	}
	if !seen {
		own := m.row()
		own.Voter = votes[own.ID]
		cmds = append(cmds, state.PutMaster{Master: own})
	}
	if len(cmds) == 0 {
		return nil
	}
	return m.propose(ctx, cmds...)
}

func (m *master) row() dcos.Master {
	return dcos.Master{ID: m.files.id, Name: m.hostname, Peer: m.peer, API: m.api, Level: config.FeatureLevel, Version: config.Version}
}

func (m *master) propose(ctx context.Context, cmds ...state.Command) error {
	res, err := m.raft.Propose(ctx, state.Origin{}, cmds...)
	if err != nil {
		return err
	}
	return res.Err()
}

// firstRows makes a new cluster's rows: itself, this master, the first admin.
// The admin's password is on disk before the state knows it, so that a crash
// cannot leave a cluster that nobody may enter.
func (m *master) firstRows(ctx context.Context) error {
	admin, err := m.adminFile()
	if err != nil {
		return err
	}
	salt := make([]byte, 16)
	if _, err := rand.Read(salt); err != nil {
		return fmt.Errorf("make a salt: %w", err)
	}
	hash := auth.HashPassword(admin.password, salt)
	own := m.row()
	own.Voter = true
	err = m.propose(ctx,
		state.InitCluster{Info: dcos.ClusterInfo{ID: m.files.cluster(), Name: m.c.Cluster, Level: config.FeatureLevel}},
		state.PutMaster{Master: own},
		state.PutUser{User: dcos.User{ID: admin.name, PasswordHash: hash, Grants: []dcos.Grant{{Path: "/", Actions: []string{auth.ActionFull}}}}, Create: true},
	)
	if err != nil {
		return fmt.Errorf("make the cluster's first rows: %w", err)
	}
	m.log.Info("cluster made", "cluster", m.files.cluster(), "admin", admin.name, "password in", m.adminPath())
	return nil
}

func (m *master) adminPath() string {
	if m.c.AdminFile != "" {
		return m.c.AdminFile
	}
	return filepath.Join(m.c.DataDir, "admin")
}

// adminFile reads or makes the first admin's name and password.
func (m *master) adminFile() (adminAccount, error) {
	if lines := readLines(m.adminPath()); len(lines) == 2 {
		return adminAccount{lines[0], lines[1]}, nil
	}
	var b [15]byte
	if _, err := rand.Read(b[:]); err != nil {
		return adminAccount{}, fmt.Errorf("make the first password: %w", err)
	}
	a := adminAccount{adminName, strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))}
	return a, writeKept(m.adminPath(), []byte(a.name+"\n"+a.password+"\n"))
}

// admitted takes a master that has just got its certificate into the group, as
// a learner; only the leader can.
func (m *master) admitted(ctx context.Context, id dcos.Identity, req auth.JoinRequest) error {
	number, ok := id.Master()
	if !ok {
		return m.readmit(ctx, id)
	}
	row := dcos.Master{ID: number, Name: nameOf(req.Hosts, id.ID), Peer: req.Peer, API: req.API, Level: req.Level, Version: req.Build}
	if m.Leads() {
		return m.addMaster(ctx, row)
	}
	return m.askLeader(ctx, row)
}

// readmit lets the agent of a removed machine in again: it has shown a token.
// Others appear with their first session.
func (m *master) readmit(ctx context.Context, id dcos.Identity) error {
	n, _ := id.Node()
	if _, removed := m.raft.View().Removed(n); !removed {
		return nil
	}
	if !m.Leads() {
		return fmt.Errorf("%w: the machine was removed before, only the leading master can take it in again: join there (dcos master list shows which it is)", dcos.ErrUnavailable)
	}
	return m.propose(ctx, state.ReadmitNode{Node: n})
}

// nameOf is the host name among what a machine is called.
func nameOf(hosts []string, otherwise string) string {
	for _, h := range hosts {
		if net.ParseIP(h) == nil && h != "localhost" {
			return h
		}
	}
	return otherwise
}

func (m *master) addMaster(ctx context.Context, row dcos.Master) error {
	row.Voter = false
	if err := m.propose(ctx, state.PutMaster{Master: row}); err != nil {
		return fmt.Errorf("add master %x: %w", uint64(row.ID), err)
	}
	if err := m.raft.AddLearner(ctx, row.ID); err != nil {
		return fmt.Errorf("add master %x to raft: %w", uint64(row.ID), err)
	}
	m.log.Info("master joins", "master", fmt.Sprintf("%x", uint64(row.ID)), "peer", row.Peer)
	return nil
}

// memberRoute is where a master that does not lead hands over another one's
// wish to join.
const memberRoute = "/dcos/v1/internal/masters"

func (m *master) askLeader(ctx context.Context, row dcos.Master) error {
	body, err := json.Marshal(row)
	if err != nil {
		return fmt.Errorf("encode master: %w", err)
	}
	l, _ := m.raft.Leadership()
	if l.Leader == 0 || l.Leader == m.files.id {
		return dcos.NotLeader{}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, memberRoute, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("ask the leader: %w", err)
	}
	answer, err := m.masterPeer(l.Leader).RoundTrip(r)
	if err != nil {
		return fmt.Errorf("ask the leader: %w: %w", dcos.ErrUnavailable, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 500)) // what can be read is shown
		return fmt.Errorf("%w: the leader answers %d: %s", dcos.ErrUnavailable, answer.StatusCode, text)
	}
	return nil
}

// removeMaster takes a dead master out of the group, so that it counts for no
// majority any more. One that lives must be stopped first.
func (m *master) removeMaster(ctx context.Context, text string) error {
	number, err := strconv.ParseUint(text, 16, 64)
	if err != nil {
		return fmt.Errorf("%w: %q is no master's id: `dcos master list` shows them", dcos.ErrInvalid, text)
	}
	id := dcos.MasterID(number)
	stats := m.raft.Stats()
	_, row := m.raft.View().Master(id)
	member := slices.Contains(stats.Voters, id) || slices.Contains(stats.Learners, id)
	switch {
	case !row && !member:
		return fmt.Errorf("%w: master %s: `dcos master list` shows them", dcos.ErrNotFound, text)
	case m.alive(id):
		return fmt.Errorf("%w: master %s is alive: stop it first (systemctl stop dcos on its machine)", dcos.ErrConflict, text)
	}
	if member {
		if err := m.raft.Remove(ctx, id); err != nil {
			return fmt.Errorf("remove master %s from raft: %w", text, err)
		}
	}
	if err := m.propose(ctx, state.RemoveMaster{ID: id}); err != nil && !errors.Is(err, dcos.ErrNotFound) {
		return fmt.Errorf("forget master %s: %w", text, err)
	}
	m.log.Info("master removed", "master", text)
	return nil
}

// members are the routes about the group of masters.
func (m *master) members() api.Dialect {
	need := auth.Permission{Path: "/cluster/masters", Action: auth.ActionWrite}
	answer := func(w http.ResponseWriter, r *http.Request, err error) {
		if err != nil {
			api.WriteProblem(w, r, err)
			return
		}
		api.WriteJSON(w, http.StatusOK, struct{}{})
	}
	return api.Dialect{Name: "members", WriteError: api.WriteProblem, Routes: []api.Route{
		{
			Method: http.MethodDelete, Pattern: "/dcos/v1/masters/{id}", Access: api.Permitted, Place: api.LeaderOnly, Need: need,
			Handler: func(w http.ResponseWriter, r *http.Request) {
				answer(w, r, m.removeMaster(r.Context(), r.PathValue("id")))
			},
		},
		{
			Method: http.MethodPost, Pattern: memberRoute, Access: api.Permitted, Place: api.LeaderOnly, Need: need,
			Handler: func(w http.ResponseWriter, r *http.Request) {
				var row dcos.Master
				err := api.ReadJSON(r, &row)
				if err == nil && api.PrincipalOf(r.Context()).Kind != auth.KindNode {
					err = fmt.Errorf("%w: only masters hand over joins", dcos.ErrDenied)
				}
				if err == nil {
					err = m.addMaster(r.Context(), row)
				}
				answer(w, r, err)
			},
		},
	}}
}
