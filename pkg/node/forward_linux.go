package node

import (
	"context"
	"net/http"
	"time"

	"github.com/dcos-go/dcos/pkg/consensus"
	"github.com/dcos-go/dcos/pkg/dcos"
)

// How long a request waits for a leader to be elected, and how long one that
// was passed on waits for its answer once another master leads.
const (
	leaderWait   = 1500 * time.Millisecond
	forwardGrace = 500 * time.Millisecond
)

// Forward implements api.Leader. While masters elect a leader the request
// waits; and it does not wait for the answer of a machine that fell silent
// longer than until another one leads.
func (m *master) Forward(w http.ResponseWriter, r *http.Request) error {
	l := m.awaitLeader(r.Context())
	if l.Leader == 0 || l.Leader == m.files.id {
		return dcos.NotLeader{}
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	go func() { // ends with the request
		defer cancel()
		m.untilOtherLeads(ctx, l.Leader)
	}()
	return m.masterPeer(l.Leader).Pass(w, r.WithContext(ctx))
}

// awaitLeader gives up after a while; Leader is 0 then.
func (m *master) awaitLeader(ctx context.Context) consensus.Lead {
	late := time.NewTimer(leaderWait)
	defer late.Stop()
	for {
		l, changed := m.raft.Leadership()
		if l.Leader != 0 {
			return l
		}
		select {
		case <-changed:
		case <-late.C:
			return l
		case <-ctx.Done():
			return l
		}
	}
}

// untilOtherLeads returns when another master than to has led for a moment, or
// ctx ends.
func (m *master) untilOtherLeads(ctx context.Context, to dcos.MasterID) {
	for {
		l, changed := m.raft.Leadership()
		if l.Leader != 0 && l.Leader != to {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
	grace := time.NewTimer(forwardGrace)
	defer grace.Stop()
	select {
	case <-grace.C:
	case <-ctx.Done():
	}
}
