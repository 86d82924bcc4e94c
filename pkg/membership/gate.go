package membership

import (
	"fmt"
	"sync"

	"github.com/hashicorp/serf/serf"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// The limits of what others may say of themselves.
const (
	maxName    = maxTag
	maxTags    = 16
	maxMembers = 20_000 // four times the machines that a cluster is built for
)

// gate decides who is a member at all: at a join, and for everyone that is
// heard of. It refuses members of other clusters, those with names and tags
// that no dcos says, and more of them than there can be.
type gate struct {
	cluster string

	mu    sync.Mutex
	known map[string]struct{} // guarded by mu; members that serf holds
}

func newGate(cluster string) *gate { return &gate{cluster: cluster, known: map[string]struct{}{}} }

// NotifyMerge implements serf.MergeDelegate.
func (g *gate) NotifyMerge(ms []*serf.Member) error {
	for _, m := range ms {
		if err := g.admit(m); err != nil {
			return err
		}
	}
	return nil
}

func (g *gate) admit(m *serf.Member) error {
	if !plain(m.Name) || m.Name == "" || len(m.Tags) > maxTags {
		return fmt.Errorf("%w: member %.64q has a name or tags that no dcos has", dcos.ErrInvalid, m.Name)
	}
	for k, v := range m.Tags {
		if len(k) > maxTag || !plain(v) {
			return fmt.Errorf("%w: member %s has a tag that no dcos has", dcos.ErrInvalid, m.Name)
		}
	}
	if got := m.Tags[tagCluster]; got != g.cluster {
		return fmt.Errorf("%w: member %s is of cluster %s, this is cluster %s", dcos.ErrConflict, m.Name, got, g.cluster)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, ok := g.known[m.Name]; !ok && len(g.known) >= maxMembers {
		return fmt.Errorf("%w: %d gossip members are known, member %s is one too many", dcos.ErrExhausted, len(g.known), m.Name)
	}
	return nil
}

// took notes that serf holds a member, or has forgotten it.
func (g *gate) took(name string, forgotten bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if forgotten {
		delete(g.known, name)
	} else {
		g.known[name] = struct{}{}
	}
}

// plain says that a text is short, at most maxTag bytes, and printable ASCII, as
// everything is that a dcos says of itself.
func plain(s string) bool {
	if len(s) > maxTag {
		return false
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
