package dispatch

import (
	"cmp"
	"container/heap"
	"maps"
	"slices"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// timers are the moments at which nodes want to be looked at. An entry counts
// only while the node's wakeAt is the same moment; others are left over.
type timers struct {
	h   timerHeap
	seq uint64
}

type timer struct {
	at   time.Time
	seq  uint64 // equal moments come in the order in which they were set
	node dcos.NodeID
}

type timerHeap []timer

func (h timerHeap) Len() int { return len(h) }
func (h timerHeap) Less(i, j int) bool {
	if h[i].at.Equal(h[j].at) {
		return h[i].seq < h[j].seq
	}
	return h[i].at.Before(h[j].at)
}
func (h timerHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push is for package heap.
func (h *timerHeap) Push(x any) { *h = append(*h, x.(timer)) }

// Pop is for package heap.
func (h *timerHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = timer{}
	*h = old[:len(old)-1]
	return last
}

func (t *timers) add(at time.Time, n dcos.NodeID) {
	t.seq++
	heap.Push(&t.h, timer{at, t.seq, n})
}

func (t *timers) first() (time.Time, bool) {
	if len(t.h) == 0 {
		return time.Time{}, false
	}
	return t.h[0].at, true
}

// pop takes the next entry whose moment has come.
func (t *timers) pop(now time.Time) (dcos.NodeID, time.Time, bool) {
	if len(t.h) == 0 || t.h[0].at.After(now) {
		return "", time.Time{}, false
	}
	e := heap.Pop(&t.h).(timer)
	return e.node, e.at, true
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
