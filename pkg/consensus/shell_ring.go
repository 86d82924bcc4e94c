package consensus

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

// ringViews is how many of the newest commits keep their exact View, as long as
// they hold no more than ringViewChanges together: an old View holds on to every
// row that was replaced since, and to the nodes of the trees that lead there,
// which is about 4 kB per change.
const (
	ringViews       = 1024
	ringViewChanges = 8192
)

// ring keeps the last commits that changed something.
type ring struct {
	limit int
	age   time.Duration

	mu      sync.Mutex
	base    dcos.Index     // commits after it are all here; guarded by mu, as all below
	applied dcos.Index     // nothing up to it is missing
	commits []state.Commit // oldest first
	changes int
	exact   int // the first of commits with its own View
	viewed  int // changes of the commits from exact on
	closed  bool
	news    chan struct{} // closed and replaced when something is added
}

func newRing(base dcos.Index, limit int, age time.Duration) *ring {
	return &ring{limit: limit, age: age, base: base, applied: base, news: make(chan struct{})}
}

func (g *ring) tell() {
	close(g.news)
	g.news = make(chan struct{})
}

// push adds a commit and drops what is too much or too old.
func (g *ring) push(c state.Commit) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.commits = append(g.commits, c)
	g.changes += len(c.Changes)
	for g.viewed += len(c.Changes); g.exact < len(g.commits)-1 && (len(g.commits)-g.exact > ringViews || g.viewed > ringViewChanges); g.exact++ {
		g.viewed -= len(g.commits[g.exact].Changes)
		g.commits[g.exact].View = state.View{}
	}
	drop := 0
	for drop < len(g.commits)-1 && (g.changes > g.limit || c.Time.Sub(g.commits[drop].Time) > g.age) {
		g.changes -= len(g.commits[drop].Changes)
		g.base = g.commits[drop].Index
		if drop >= g.exact {
			g.viewed -= len(g.commits[drop].Changes)
		}
		g.commits[drop] = state.Commit{}
		drop++
	}
	g.commits, g.exact = g.commits[drop:], max(g.exact-drop, 0)
	g.tell()
}

func (g *ring) advance(to dcos.Index) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.applied = max(g.applied, to)
}

// reset forgets everything: what happened up to index is not known here.
func (g *ring) reset(index dcos.Index) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.base, g.applied, g.commits, g.changes = index, index, nil, 0
	g.exact, g.viewed = 0, 0
	g.tell()
}

func (g *ring) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	g.tell()
}

// after copies out what is kept after an index, at most some commits, and the
// channel that tells of more. Commits that are too old for their own View get
// the oldest one that is kept.
func (g *ring) after(from dcos.Index) (got []state.Commit, news <-chan struct{}, err error) {
	const most = 256
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.closed:
		return nil, nil, errDown
	case from < g.base:
		return nil, nil, fmt.Errorf("%w: changes after index %d are kept, asked for those after %d", dcos.ErrReset, g.base, from)
	}
	lo, hi := 0, len(g.commits)
	for lo < hi {
		if mid := (lo + hi) / 2; g.commits[mid].Index <= from {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	got = append(got, g.commits[lo:min(lo+most, len(g.commits))]...)
	for i := range min(max(g.exact-lo, 0), len(got)) {
		got[i].View = g.commits[g.exact].View
	}
	return got, g.news, nil
}

// Watch implements state.Feed. A reader that is more than a thousand commits
// behind finds a later View in them than the one right after the commit.
func (r *Raft) Watch(ctx context.Context, from dcos.Index) (iter.Seq2[state.Commit, error], error) {
	if _, _, err := r.ring.after(from); err != nil {
		return nil, err
	}
	return func(yield func(state.Commit, error) bool) {
		at := from
		for ctx.Err() == nil {
			got, news, err := r.ring.after(at)
			if err != nil {
				yield(state.Commit{}, err)
				return
			}
			for _, c := range got {
				at = c.Index
				if !yield(c, nil) {
					return
				}
			}
			if len(got) > 0 {
				continue
			}
			select {
			case <-ctx.Done():
			case <-news:
			}
		}
	}, nil
}
