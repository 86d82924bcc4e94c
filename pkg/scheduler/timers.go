package scheduler

import (
	"cmp"
	"container/heap"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// timers are the apps that want to be looked at when their time comes, one
// time each.
type timers struct {
	by map[dcos.AppID]dcos.Time
	// rings holds every time that was set; those that by does not hold any
	// more are passed over.
	rings *rings
}

type ring struct {
	at dcos.Time
	id dcos.AppID
}

// rings is a heap, by time and then id.
type rings []ring

func (r rings) Len() int      { return len(r) }
func (r rings) Swap(i, j int) { r[i], r[j] = r[j], r[i] }
func (r rings) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(r[i].at, r[j].at), cmp.Compare(r[i].id, r[j].id)) < 0
}

// Push adds one; container/heap calls it.
func (r *rings) Push(x any) { *r = append(*r, x.(ring)) } //nolint:forcetypeassert // ours alone

// Pop takes the last; container/heap calls it.
func (r *rings) Pop() any {
	last := len(*r) - 1
	x := (*r)[last]
	*r = (*r)[:last]
	return x
}

func newTimers() timers { return timers{make(map[dcos.AppID]dcos.Time), &rings{}} }

func (t *timers) at(id dcos.AppID) (dcos.Time, bool) {
	at, ok := t.by[id]
	return at, ok
}

func (t *timers) set(id dcos.AppID, at dcos.Time) {
	t.by[id] = at
	heap.Push(t.rings, ring{at, id})
	if len(*t.rings) > 2*len(t.by)+64 { // mostly times that were changed
		*t.rings = (*t.rings)[:0]
		for id, at := range t.by {
			*t.rings = append(*t.rings, ring{at, id})
		}
		heap.Init(t.rings)
	}
}

func (t *timers) drop(id dcos.AppID) { delete(t.by, id) }

// next is the earliest time, 0 for none.
func (t *timers) next() dcos.Time {
	for len(*t.rings) > 0 {
		first := (*t.rings)[0]
		if at, ok := t.by[first.id]; ok && at == first.at {
			return first.at
		}
		heap.Pop(t.rings)
	}
	return 0
}

// pop takes the first app whose time has come.
func (t *timers) pop(now dcos.Time) (dcos.AppID, bool) {
	if at := t.next(); at == 0 || at > now {
		return "", false
	}
	first := heap.Pop(t.rings).(ring) //nolint:forcetypeassert // ours alone
	delete(t.by, first.id)
	return first.id, true
}
