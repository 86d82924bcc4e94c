package node

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"path/filepath"
	"strings"
	"time"

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
	if err := m.keepStart(ctx); err != nil {
		return err
	}
	return m.keepMembers(ctx)
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
