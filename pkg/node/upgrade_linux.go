package node

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/dcos-go/dcos/pkg/api"
	"github.com/dcos-go/dcos/pkg/auth"
	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/config"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/membership"
	"github.com/dcos-go/dcos/pkg/state"
)

// rowRoute is where a master that does not lead tells what has changed of its
// own row: after an upgrade, its version and what it supports.
const rowRoute = "/dcos/v1/internal/masters/row"

// rowRound is how often a master looks whether its row is right.
const rowRound = 2 * time.Second

// tellRow keeps a master's own row right while another one leads; the leader
// writes its own (keepRow). A leader of an older build does not know the route:
// it is told again until one leads that does.
func (m *master) tellRow(ctx context.Context) error {
	told := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(rowRound):
		}
		row, ok := m.raft.View().Master(m.files.id)
		if !ok || m.Leads() {
			continue
		}
		want := ownRow(row, m.row())
		if want == *row {
			told = ""
			continue
		}
		if err := m.sendRow(ctx, want); err != nil && err.Error() != told {
			told = err.Error() // once is enough
			m.log.Info("the leader does not take this master's row yet", "err", err)
		}
	}
}

// ownRow is a master's row with what only the master itself knows.
func ownRow(row *dcos.Master, own dcos.Master) dcos.Master {
	out := *row
	out.Name, out.Peer, out.API, out.Level, out.Version = own.Name, own.Peer, own.API, own.Level, own.Version
	return out
}

func (m *master) sendRow(ctx context.Context, row dcos.Master) error {
	l, _ := m.raft.Leadership()
	if l.Leader == 0 || l.Leader == m.files.id {
		return dcos.NotLeader{}
	}
	body, err := json.Marshal(row)
	if err != nil {
		return fmt.Errorf("encode master: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, rowRoute, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("tell the leader: %w", err)
	}
	answer, err := m.masterPeer(l.Leader).RoundTrip(r)
	if err != nil {
		return fmt.Errorf("tell the leader: %w: %w", dcos.ErrUnavailable, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 500)) // what can be read is shown
		return fmt.Errorf("%w: the leader answers %d: %s", dcos.ErrUnavailable, answer.StatusCode, text)
	}
	return nil
}

// takeRow writes what another master says of itself; of nobody else.
func (m *master) takeRow(ctx context.Context, by auth.Principal, said dcos.Master) error {
	row, ok := m.raft.View().Master(said.ID)
	switch {
	case by.Kind != auth.KindNode:
		return fmt.Errorf("%w: only masters tell their rows", dcos.ErrDenied)
	case !ok:
		return fmt.Errorf("%w: master %x", dcos.ErrNotFound, uint64(said.ID))
	}
	want := ownRow(row, said)
	if want == *row {
		return nil
	}
	return m.propose(ctx, state.PutMaster{Master: want})
}

// finishUpgrade raises the feature level to this build's, once every master
// supports it. From then on no older build can read what is written.
func (m *master) finishUpgrade(r *http.Request, st api.State) (client.UpgradeFinished, error) {
	dry, err := api.DryRun(r)
	if err != nil {
		return client.UpgradeFinished{}, err
	}
	v, err := m.raft.Read(r.Context())
	if err != nil {
		return client.UpgradeFinished{}, fmt.Errorf("read the state: %w", err)
	}
	info, ok := v.Cluster()
	if !ok {
		return client.UpgradeFinished{}, fmt.Errorf("%w: there is no cluster yet, try again in a moment", dcos.ErrUnavailable)
	}
	out := client.UpgradeFinished{Before: info.Level, Level: max(info.Level, config.FeatureLevel), DryRun: dry}
	for row := range v.Masters() {
		if err := m.upgraded(row); err != nil {
			return out, err
		}
	}
	if dry || out.Level == out.Before {
		return out, nil
	}
	_, err = st.Propose(r, state.RaiseLevel{Level: out.Level})
	if err == nil {
		m.log.Info("upgrade finished", "feature level", out.Level, "before", out.Before)
	}
	return out, err
}

// upgraded says why a master stands in the way of a higher level. What it runs
// right now is asked of gossip: a row may be older than a step back.
func (m *master) upgraded(row *dcos.Master) error {
	if row.Level < config.FeatureLevel {
		return fmt.Errorf("%w: master %s (%x) runs %s, which supports feature level %d, not %d: upgrade it first",
			dcos.ErrConflict, row.Name, uint64(row.ID), row.Version, row.Level, config.FeatureLevel)
	}
	if row.ID == m.files.id {
		return nil
	}
	for _, g := range m.gossip.Members() {
		switch {
		case g.Master != row.ID || g.State != membership.Alive:
		case g.Version != row.Version:
			return fmt.Errorf("%w: master %s (%x) runs %s now, its row says %s: wait until both agree, or upgrade it",
				dcos.ErrConflict, row.Name, uint64(row.ID), g.Version, row.Version)
		default:
			return nil
		}
	}
	return fmt.Errorf("%w: master %s (%x) does not answer: start it, or take it out with `dcos master remove %016x`",
		dcos.ErrConflict, row.Name, uint64(row.ID), uint64(row.ID))
}

// upgradeRoutes are the routes about the feature level.
func (m *master) upgradeRoutes(st api.State) api.Dialect {
	need := auth.Permission{Path: "/cluster/masters", Action: auth.ActionWrite}
	return api.Dialect{Name: "upgrade", WriteError: api.WriteProblem, Routes: []api.Route{
		{
			Method: http.MethodPost, Pattern: "/dcos/v1/upgrade/finish", Access: api.Permitted, Place: api.LeaderOnly, Need: need,
			Handler: api.Handle(m.log, api.WriteProblem, func(w http.ResponseWriter, r *http.Request) error {
				out, err := m.finishUpgrade(r, st)
				if err == nil {
					api.WriteJSON(w, http.StatusOK, out)
				}
				return err
			}),
		},
		{
			Method: http.MethodPost, Pattern: rowRoute, Access: api.Permitted, Place: api.LeaderOnly, Need: need,
			Handler: api.Handle(m.log, api.WriteProblem, func(w http.ResponseWriter, r *http.Request) error {
				var row dcos.Master
				err := api.ReadJSON(r, &row)
				if err == nil {
					err = m.takeRow(r.Context(), api.PrincipalOf(r.Context()), row)
				}
				if err == nil {
					api.WriteJSON(w, http.StatusOK, struct{}{})
				}
				return err
			}),
		},
	}}
}
