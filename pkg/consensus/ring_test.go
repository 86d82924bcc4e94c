package consensus

import (
	"testing"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

// views of a ring, oldest first: whether each commit has its own.
func views(g *ring) (own, sum int) {
	for i, c := range g.commits {
		has := c.View != state.View{}
		if has != (i >= g.exact) {
			return -1, -1
		}
		if has {
			own, sum = own+1, sum+len(c.Changes)
		}
	}
	return own, sum
}

func TestOldViewsAreLetGoByWhatTheyHoldOnTo(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		changes, commits, limit, own int
	}{
		{1, 2000, 50_000, ringViews},
		{1000, 30, 50_000, ringViewChanges / 1000},
		{ringViewChanges + 1, 5, 50_000, 1}, // the newest always
		{100, 200, 1000, 10},                // dropped before their views are
	} {
		g := newRing(0, tt.limit, time.Hour)
		s := state.New()
		for i := range tt.commits {
			commit, _, err := s.Apply(dcos.Index(i+1), nil)
			if err != nil {
				t.Fatal(err)
			}
			commit.Changes = make([]state.Change, tt.changes)
			g.push(commit)
			if own, sum := views(g); own < 1 || sum != g.viewed {
				t.Fatalf("%+v: after %d commits %d views with %d changes, counted %d", tt, i+1, own, sum, g.viewed)
			}
		}
		if own, _ := views(g); own != tt.own {
			t.Errorf("%+v: %d views are kept", tt, own)
		}
		got, _, err := g.after(g.base)
		if err != nil || got[0].View == (state.View{}) || got[0].View.Index() < got[0].Index {
			t.Errorf("%+v: the first commit has the view of index %d, %v", tt, got[0].View.Index(), err)
		}
	}
}
