package node

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"time"

	"github.com/dcos-go/dcos/pkg/api"
	"github.com/dcos-go/dcos/pkg/auth"
	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/membership"
	"github.com/dcos-go/dcos/pkg/state"
)

// The times of a change of the gossip key.
const (
	keysRound    = 500 * time.Millisecond // between two looks at the row
	keysAgain    = 2 * time.Second        // between two questions to all members
	keysPatience = 2 * time.Minute        // for members that live and do not take part
	keysAsk      = 5 * time.Second        // to answer how far a change is
)

// followKeys takes over the gossip keys that the state holds: into the secrets,
// so that machines that join or ask get them, and into this process' gossip.
func (m *master) followKeys(ctx context.Context) error {
	done := uint64(0)
	for {
		if info, ok := m.raft.View().Cluster(); ok && info.Gossip != nil && info.Gossip.Serial > done {
			if err := m.takeKeys(info.Gossip); err != nil {
				m.log.Warn("gossip keys not taken over", "serial", info.Gossip.Serial, "err", err)
			} else {
				done = info.Gossip.Serial
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(keysRound):
		}
	}
}

func (m *master) takeKeys(ring *dcos.GossipRing) error {
	keys, err := m.files.secrets().OpenGossip(ring)
	if err != nil {
		return err
	}
	next, err := m.files.secrets().WithGossip(ring.Serial, keys)
	if err != nil {
		return err
	}
	if err := auth.SaveSecrets(m.files.dir, next); err != nil {
		return err
	}
	m.files.held.Store(next)
	if m.agent != nil {
		if err := m.agent.files.keep(keys); err != nil {
			return err
		}
	}
	m.log.Info("gossip keys changed", "serial", ring.Serial, "step", ring.Step.String(), "keys", ring.Keys)
	return m.gossip.SetKeys(ring.Serial, keys)
}

// turnKeys carries a change of the gossip key on while this master leads. Each
// step is a row, so that the next leader goes on where this one ended.
func (m *master) turnKeys(ctx context.Context, l leadership) error {
	for {
		term, err := l.Lead(ctx)
		if err != nil {
			return endOf(ctx, err)
		}
		said := ""
		for term.Err() == nil {
			if err := m.turnKey(term); err != nil && term.Err() == nil && err.Error() != said {
				said = err.Error() // once is enough
				m.log.Warn("change of the gossip key", "err", err)
			}
			select {
			case <-term.Done():
			case <-time.After(keysAgain):
			}
		}
	}
}

// turnKey takes the next step when every living member is ready for it.
func (m *master) turnKey(ctx context.Context) error {
	info, _ := m.raft.View().Cluster()
	ring := info.Gossip
	if ring == nil || ring.Step == dcos.GossipSettled || m.gossip.Ring().Serial != ring.Serial {
		return nil
	}
	late, err := m.gossip.Lagging(ctx)
	if err != nil {
		return err
	}
	if len(late) > 0 {
		if dcos.TimeOf(time.Now()).Sub(ring.At) < keysPatience {
			return nil
		}
		// They come back by asking a master for the keys.
		m.log.Warn("gossip members do not take part in the change of the key", "step", ring.Step.String(), "members", late)
	}
	keys, err := m.files.secrets().OpenGossip(ring)
	if err != nil {
		return err
	}
	step := dcos.GossipSettled
	if ring.Step == dcos.GossipSpread {
		step = dcos.GossipUse
		last := len(keys) - 1
		keys = append([][]byte{keys[last]}, keys[:last]...)
	} else {
		keys = keys[:1]
	}
	return m.putKeys(ring.Serial+1, step, keys, func(c state.Command) error { return m.propose(ctx, c) })
}

func (m *master) putKeys(serial uint64, step dcos.GossipStep, keys [][]byte, propose func(state.Command) error) error {
	ring, err := m.files.secrets().SealGossip(serial, step, keys, rand.Reader)
	if err != nil {
		return err
	}
	return propose(state.PutGossip{Ring: ring})
}

// newKey begins a change of the gossip key.
func (m *master) newKey(r *http.Request, st api.State) error {
	v, err := m.raft.Read(r.Context())
	if err != nil {
		return fmt.Errorf("read the state: %w", err)
	}
	info, ok := v.Cluster()
	if !ok {
		return fmt.Errorf("%w: there is no cluster yet, try again in a moment", dcos.ErrUnavailable)
	}
	serial, keys := uint64(0), m.files.secrets().Gossip
	if ring := info.Gossip; ring != nil {
		if ring.Step != dcos.GossipSettled {
			return fmt.Errorf("%w: the gossip key is being changed, step %q since %s: `dcos gossip key list` shows how far it is", dcos.ErrConflict, ring.Step, ring.At)
		}
		if keys, err = m.files.secrets().OpenGossip(ring); err != nil {
			return err
		}
		serial = ring.Serial
	}
	key := make([]byte, len(keys[0]))
	if _, err := rand.Read(key); err != nil {
		return fmt.Errorf("make a gossip key: %w", err)
	}
	if dry, err := api.DryRun(r); err != nil || dry {
		return err
	}
	all := append(append([][]byte{}, keys...), key)
	return m.putKeys(serial+1, dcos.GossipSpread, all, func(c state.Command) error {
		_, err := st.Propose(r, c)
		return err
	})
}

// keysNow says which gossip keys there are and how far a change is.
func (m *master) keysNow(ctx context.Context) client.GossipKeys {
	out := client.GossipKeys{Step: dcos.GossipSettled.String(), Keys: []client.GossipKey{}, Waiting: []string{}}
	if info, ok := m.raft.View().Cluster(); ok && info.Gossip != nil {
		out.Serial, out.Step, out.Since = info.Gossip.Serial, info.Gossip.Step.String(), info.Gossip.At.String()
		for i, k := range info.Gossip.Keys {
			out.Keys = append(out.Keys, client.GossipKey{ID: k, Encrypts: i == 0})
		}
	} else {
		for i, k := range m.files.secrets().Gossip {
			out.Keys = append(out.Keys, client.GossipKey{ID: dcos.KeyFingerprint(k), Encrypts: i == 0})
		}
	}
	for _, g := range m.gossip.Members() {
		if g.State == membership.Alive {
			out.Members++
		}
	}
	ctx, cancel := context.WithTimeout(ctx, keysAsk)
	defer cancel()
	late, err := m.gossip.Lagging(ctx)
	if err != nil {
		out.Problem = "the members could not be asked in time, look again"
	}
	out.Waiting = append(out.Waiting, late...)
	return out
}

// gossipRoutes are the routes about the gossip keys.
func (m *master) gossipRoutes(st api.State) api.Dialect {
	need := func(action string) auth.Permission { return auth.Permission{Path: "/cluster/gossip", Action: action} }
	return api.Dialect{Name: "gossip", WriteError: api.WriteProblem, Routes: []api.Route{
		{
			Method: http.MethodGet, Pattern: "/dcos/v1/gossip/keys", Access: api.Permitted, Place: api.LeaderOnly, Need: need(auth.ActionRead),
			Handler: func(w http.ResponseWriter, r *http.Request) {
				api.WriteJSON(w, http.StatusOK, m.keysNow(r.Context()))
			},
		},
		{
			Method: http.MethodPost, Pattern: "/dcos/v1/gossip/keys/rotate", Access: api.Permitted, Place: api.LeaderOnly, Need: need(auth.ActionWrite),
			Handler: api.Handle(m.log, api.WriteProblem, func(w http.ResponseWriter, r *http.Request) error {
				err := m.newKey(r, st)
				if err == nil {
					api.WriteJSON(w, http.StatusAccepted, m.keysNow(r.Context()))
				}
				return err
			}),
		},
	}}
}
