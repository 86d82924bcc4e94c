package state

import (
	"fmt"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// forgetAfter is how long a removed node is remembered, so that it is refused:
// longer than its certificate is valid, which is not renewed.
const forgetAfter dcos.Time = 31 * 24 * 3600 * 1000

func (x *txn) presentNode(id dcos.NodeID) (*dcos.Node, error) {
	n, ok := x.t.nodes.Get(string(id))
	if !ok || n.State == dcos.NodeRemoved {
		return nil, fmt.Errorf("%w: node %s", dcos.ErrNotFound, id)
	}
	return n, nil
}

func (x *txn) drainNode(c DrainNode) error {
	old, err := x.presentNode(c.Node)
	switch {
	case err != nil:
		return err
	case len(c.Why) > dcos.MaxMessage:
		return fmt.Errorf("%w: node %s: a reason of over %d bytes", dcos.ErrInvalid, c.Node, dcos.MaxMessage)
	case c.Deadline < 0:
		return fmt.Errorf("%w: node %s: a deadline before time began", dcos.ErrInvalid, c.Node)
	}
	d := dcos.Drain{Since: x.t.time, Deadline: c.Deadline, Remove: c.Remove, Why: c.Why}
	if old.Drain != nil {
		d.Since = old.Drain.Since
		if d == *old.Drain {
			return nil
		}
	}
	n := *old
	n.Drain = &d
	put(x, TableNodes, &x.t.nodes, string(n.ID), &n)
	return nil
}

func (x *txn) activateNode(c ActivateNode) error {
	old, err := x.presentNode(c.Node)
	if err != nil || old.Drain == nil {
		return err
	}
	n := *old
	n.Drain = nil
	put(x, TableNodes, &x.t.nodes, string(n.ID), &n)
	return nil
}

// retireNode leaves of a node only what is needed to refuse it.
func (x *txn) retireNode(c RetireNode) error {
	old, err := x.presentNode(c.Node)
	if err != nil {
		return err
	}
	held := 0
	if h, ok := x.t.ledger.Get(c.Node); ok {
		held = h.tasks
	}
	switch {
	case len(c.Why) > dcos.MaxMessage:
		return fmt.Errorf("%w: node %s: a reason of over %d bytes", dcos.ErrInvalid, c.Node, dcos.MaxMessage)
	case old.State != dcos.NodeLost && held > 0:
		return fmt.Errorf("%w: node %s has %d live tasks: drain it first (dcos node decommission), or wait until it counts as lost", dcos.ErrConflict, c.Node, held)
	case old.State == dcos.NodeActive && (old.Drain == nil || !old.Drain.Remove):
		return fmt.Errorf("%w: node %s is active: decommission it, or stop its agent first", dcos.ErrConflict, c.Node)
	case held > 0 && !c.Gone:
		return fmt.Errorf("%w: %d tasks of node %s are not given up yet, their apps let them wait for it: if the machine is off and stays off, say so with --gone",
			dcos.ErrConflict, held, c.Node)
	}
	// They name the node's row, which is gone one day.
	if r, ok := x.t.reserved.Get(c.Node); ok {
		return fmt.Errorf("%w: node %s has %d reservations: destroy their volumes and give them up first", dcos.ErrConflict, c.Node, r.n)
	}
	x.loseNode(c.Node, dcos.ReasonAgentRemoved, "the node was removed")
	n := dcos.Node{ID: old.ID, Hostname: old.Hostname, Boot: old.Boot, State: dcos.NodeRemoved, Why: c.Why, Since: x.t.time}
	put(x, TableNodes, &x.t.nodes, string(n.ID), &n)
	x.t.markShrunk(n.ID)
	x.forgetRemoved()
	return nil
}

// forgetRemoved drops what is known of nodes that were removed long ago.
func (x *txn) forgetRemoved() {
	var old []string
	for n := range x.t.nodes.All() {
		if n.State == dcos.NodeRemoved && n.Since+forgetAfter < x.t.time {
			old = append(old, string(n.ID))
		}
	}
	for _, id := range old {
		remove(x, TableNodes, &x.t.nodes, id)
	}
}

// readmitNode lets a removed node in again: it has shown a join token.
func (x *txn) readmitNode(c ReadmitNode) error {
	if n, ok := x.t.nodes.Get(string(c.Node)); ok && n.State == dcos.NodeRemoved {
		remove(x, TableNodes, &x.t.nodes, string(c.Node))
	}
	return nil
}

// waits says that a live task outlives the loss of its node: until its app's
// unreachable strategy gives it up, or, of a fenced one, until it is known to
// have ended. A task that is to stop waits for its fence only.
func (x *txn) waits(k *dcos.Task) bool {
	if x.t.level() < 2 {
		return false
	}
	row, ok := x.t.apps.Get(string(k.App))
	if !ok {
		return false
	}
	def, ok := x.t.definition(row, k.Version)
	if !ok {
		return false
	}
	u := def.Unreachable
	return def.Fence != dcos.FenceNone || k.Goal == dcos.GoalRun && (u.Disabled || u.ExpungeSeconds > 0)
}

// unreachable marks a task whose node is lost, and takes the mark away from one
// whose node is back.
func (x *txn) unreachable(old *dcos.Task, since dcos.Time) {
	if (old.Unreachable != 0) == (since != 0) {
		return
	}
	k := *old
	k.Unreachable = since
	x.putTask(old, &k)
}
