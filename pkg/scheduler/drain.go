package scheduler

import (
	"cmp"
	"maps"
	"slices"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

// absorbDrain notes that a node begins or ceases to give up its tasks.
func (c *Core) absorbDrain(ch *state.Change) {
	before, _ := ch.Old.(*dcos.Node)
	after, _ := ch.New.(*dcos.Node)
	var was, is *dcos.Drain
	if before != nil {
		was = before.Drain
	}
	if after != nil {
		is = after.Drain
	}
	if was == is || was != nil && is != nil && *was == *is {
		return
	}
	c.drains.push(dcos.NodeID(ch.Key))
	delete(c.draining, dcos.NodeID(ch.Key))
	if after != nil {
		c.noteDrain(after)
	}
}

func (c *Core) noteDrain(n *dcos.Node) {
	if n.Drain != nil {
		c.draining[n.ID] = n.Drain.Remove
	}
}

// touchDrained marks the apps that have tasks on nodes whose drain has changed.
func (c *Core) touchDrained(v state.View) {
	for c.drains.len() > 0 {
		for t := range v.TasksOn(c.drains.pop()) {
			c.touch(t.App)
		}
	}
}

// retire removes the nodes that are to be removed and have nothing left. The
// commands have no owner: an app of no name is never looked at.
func (t *turn) retire() {
	const nobody dcos.AppID = ""
	if at, paused := t.c.due.at(nobody); paused && at > t.now {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(t.c.draining)) {
		n, ok := t.view.Node(id)
		if !ok || n.Drain == nil || !n.Drain.Remove {
			continue // its change is on its way here
		}
		empty := true
		for range t.view.TasksOn(id) {
			empty = false
			break
		}
		for range t.view.ReservationsOn(id) { // refused until they are given up
			empty = false
			break
		}
		if empty && t.bytes < maxBatch {
			t.emit(nobody, state.RetireNode{Node: id, Why: cmp.Or(n.Drain.Why, "decommissioned")})
		}
	}
}
