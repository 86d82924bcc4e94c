package state

import (
	"cmp"
	"iter"
	"slices"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// Standing is how many instances of an app are where they should be or on
// their way there, so that nobody has to look at each: wanted, to be run, on
// nodes that are not lost, and not ended. All other instances are listed by
// View.Irregular.
type Standing struct {
	// Of are the wanted ones by the version that they run, in its order.
	Of []VersionStanding
	// Leaving are live, were told to stop, and end with their instance.
	Leaving int
}

// VersionStanding is a Standing's share of one version.
type VersionStanding struct {
	Version dcos.Version
	Waiting int // for a place
	Coming  int // placed, not running yet
	Running int
}

func (s *VersionStanding) at(p pace) *int {
	switch p {
	case paceWaiting:
		return &s.Waiting
	case paceComing:
		return &s.Coming
	}
	return &s.Running
}

// standing is a Standing as the tables keep it. It is immutable once a copy of
// the tables has been made.
type standing struct {
	Standing
	age uint64 // of the tables that made it
}

// pace is under what an instance is counted.
type pace uint8

const (
	paceNone pace = iota // history
	paceIrregular
	paceLeaving
	paceWaiting
	paceComing
	paceRunning
)

func paceOf(k *dcos.Task) pace {
	switch {
	case k == nil || history(k):
		return paceNone
	case k.Unreachable != 0 || k.State.Terminal():
		return paceIrregular
	case k.Final && k.Live():
		return paceLeaving
	case k.Final || k.Goal != dcos.GoalRun:
		return paceIrregular
	case k.State == dcos.TaskWaiting:
		return paceWaiting
	case k.State == dcos.TaskRunning:
		return paceRunning
	}
	return paceComing
}

// count keeps the standing of an app by what differs between before and after;
// nil is none.
func (t *tables) count(before, after *dcos.Task) {
	from, to := paceOf(before), paceOf(after)
	if to == paceIrregular {
		t.irregular.Set(after)
	} else if from == paceIrregular {
		t.irregular.Delete(before)
	}
	if from == to { // a task keeps its app and version
		return
	}
	if from > paceIrregular {
		t.countOne(before, from, -1)
	}
	if to > paceIrregular {
		t.countOne(after, to, 1)
	}
}

func (t *tables) countOne(k *dcos.Task, p pace, by int) {
	s, ok := t.standing.Get(k.App)
	if !ok || s.age != t.age {
		next := &standing{age: t.age}
		if ok {
			next.Leaving, next.Of = s.Leaving, slices.Clone(s.Of)
		}
		t.standing.Set(k.App, next)
		s = next
	}
	if p == paceLeaving {
		s.Leaving += by
	} else {
		i, ok := slices.BinarySearchFunc(s.Of, k.Version, func(v VersionStanding, at dcos.Version) int { return cmp.Compare(v.Version, at) })
		if !ok {
			s.Of = slices.Insert(s.Of, i, VersionStanding{Version: k.Version})
		}
		*s.Of[i].at(p) += by
		if s.Of[i] == (VersionStanding{Version: k.Version}) {
			s.Of = slices.Delete(s.Of, i, i+1)
		}
	}
	if s.Leaving == 0 && len(s.Of) == 0 {
		t.standing.Delete(k.App)
	}
}

// unsettled says that tasks of a node may have to go on elsewhere, or that it
// is not known how they are. Tasks of lost nodes are known to be unreachable.
func unsettled(n *dcos.Node) bool {
	return n != nil && (n.Drain != nil && n.State != dcos.NodeRemoved || n.State == dcos.NodeSuspect)
}

// reindexNode keeps the list of nodes that are looked at one by one.
func (t *tables) reindexNode(before, after *dcos.Node) {
	switch {
	case unsettled(after):
		t.unsettled.Set(after.ID, struct{}{})
	case unsettled(before):
		t.unsettled.Delete(before.ID)
	}
}

// Standing is how the regular instances of an app stand. It is shared: it must
// not be changed.
func (v View) Standing(id dcos.AppID) Standing {
	if s, ok := v.t.standing.Get(id); ok {
		return s.Standing
	}
	return Standing{}
}

// Irregular are those of TasksOf that Standing does not count, by ordinal:
// ended, told to stop though their instance goes on, or unreachable.
func (v View) Irregular(id dcos.AppID) iter.Seq[*dcos.Task] {
	return func(yield func(*dcos.Task) bool) {
		v.t.irregular.Ascend(&dcos.Task{App: id}, func(k *dcos.Task) bool {
			return k.App == id && yield(k)
		})
	}
}

// Unsettled are the nodes that are being drained or are suspect, in the order
// of their ids.
func (v View) Unsettled() iter.Seq[*dcos.Node] {
	return func(yield func(*dcos.Node) bool) {
		v.t.unsettled.Scan(func(id dcos.NodeID, _ struct{}) bool {
			n, ok := v.t.nodes.Get(string(id))
			return !ok || yield(n)
		})
	}
}
