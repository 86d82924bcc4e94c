package state

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/pages"
	"github.com/dcos-go/dcos/pkg/resource"
)

// holding is what the live tasks of a node hold together. It is immutable once
// a copy of the tables has been made.
type holding struct {
	set   resource.Set
	tasks int
	live  []pages.Slot // of these tasks, in the order of their ids
	age   uint64       // of the tables that made it
}

// holdingOf is the holding of a node to be changed, nil when it has none.
func (t *tables) holdingOf(id dcos.NodeID) *holding {
	old, ok := t.ledger.Get(id)
	if !ok || old.age == t.age {
		return old
	}
	h := *old
	h.age, h.live = t.age, append(make([]pages.Slot, 0, len(old.live)+1+len(old.live)/16), old.live...)
	t.ledger.Set(id, &h)
	return &h
}

// placeOf is where a task belongs among the live ones of a node.
func (t *tables) placeOf(h *holding, id dcos.TaskID) int {
	if n := len(h.live); n > 0 && t.tasks.At(h.live[n-1]).ID < id { // as in a snapshot
		return n
	}
	at, _ := slices.BinarySearchFunc(h.live, id, func(s pages.Slot, id dcos.TaskID) int {
		return strings.Compare(string(t.tasks.At(s).ID), string(id))
	})
	return at
}

// hold adds a placed task to its node's ledger.
func (t *tables) hold(k *dcos.Task, s pages.Slot) {
	t.use(k, 1)
	h := t.holdingOf(k.Node)
	if h == nil {
		t.ledger.Set(k.Node, &holding{tasks: 1, live: []pages.Slot{s}, set: k.Need, age: t.age})
		return
	}
	h.live = slices.Insert(h.live, t.placeOf(h, k.ID), s)
	h.tasks++
	h.set.CPUs += k.Need.CPUs
	h.set.Mem += k.Need.Mem
	h.set.Disk += k.Need.Disk
	h.set.GPUs += k.Need.GPUs
	if len(k.Need.Ports) > 0 {
		h.set.Ports = h.set.Ports.Union(k.Need.Ports)
	}
}

// release takes a task that ended out of its node's ledger.
func (t *tables) release(k *dcos.Task, s pages.Slot) {
	t.use(k, -1)
	h := t.holdingOf(k.Node)
	if h == nil {
		return
	}
	if i := slices.Index(h.live, s); i >= 0 {
		h.live = slices.Delete(h.live, i, i+1)
	}
	h.tasks--
	h.set.CPUs -= k.Need.CPUs
	h.set.Mem -= k.Need.Mem
	h.set.Disk -= k.Need.Disk
	h.set.GPUs -= k.Need.GPUs
	if len(k.Need.Ports) > 0 {
		h.set.Ports = h.set.Ports.Minus(k.Need.Ports)
	}
	if h.tasks == 0 {
		t.ledger.Delete(k.Node)
	}
	if t.shrunk.Len() == 0 {
		return
	}
	if _, ok := t.shrunk.Get(k.Node); ok {
		t.markShrunk(k.Node)
	}
}

// markShrunk notes whether a node holds more than it has. That comes only from
// a node that said it had become smaller: its tasks stay, and nothing is placed
// there until they fit again.
func (t *tables) markShrunk(id dcos.NodeID) {
	if n, ok := t.nodes.Get(string(id)); ok && !t.load(id).FitsIn(n.Total) {
		t.shrunk.Set(id, struct{}{})
		return
	}
	t.shrunk.Delete(id)
}

// fits says why a task cannot be placed on a node, nil when it can.
func (t *tables) fits(n *dcos.Node, need resource.Set) error {
	left := n.Total
	if h, ok := t.ledger.Get(n.ID); ok {
		// Ports apart: taking them out of the node's ranges costs more than
		// all the rest.
		if need.Ports != nil && h.set.Ports.Overlaps(need.Ports) {
			return fmt.Errorf("%w: node %s: a port of %s is in use", dcos.ErrConflict, n.ID, need.Ports)
		}
		left.CPUs -= h.set.CPUs
		left.Mem -= h.set.Mem
		left.Disk -= h.set.Disk
		left.GPUs -= h.set.GPUs
	}
	if r, ok := t.reserved.Get(n.ID); ok {
		if need.Ports != nil && r.set.Ports.Overlaps(need.Ports) {
			return fmt.Errorf("%w: node %s: a port of %s is reserved", dcos.ErrConflict, n.ID, need.Ports)
		}
		idle := r.idle()
		left.CPUs -= idle.cpus
		left.Mem -= idle.mem
		left.Disk -= idle.disk
		left.GPUs -= idle.gpus
	}
	if kind, lacks := need.Lacking(left); lacks {
		return fmt.Errorf("%w: node %s has too little %s left", dcos.ErrExhausted, n.ID, kind)
	}
	return nil
}

func checkNode(n *dcos.Node) error {
	if n.ID == "" || n.Boot == "" {
		return fmt.Errorf("%w: a node needs an id and a boot nonce", dcos.ErrInvalid)
	}
	for _, s := range []string{string(n.ID), n.Hostname, n.Addr, n.IP, n.Boot, n.Version, n.Region, n.Zone} {
		if len(s) > maxName {
			return fmt.Errorf("%w: node %.64q: a text of %d bytes, expected at most %d", dcos.ErrInvalid, n.ID, len(s), maxName)
		}
	}
	if err := checkSet(n.Total); err != nil {
		return fmt.Errorf("node %s: %w", n.ID, err)
	}
	return nil
}

// maxGPUs bounds one amount of GPUs, so that sums do not overflow.
const maxGPUs = 1 << 20

// checkSet refuses amounts that would break the ledger's arithmetic.
func checkSet(s resource.Set) error {
	for _, v := range []resource.Scalar{s.CPUs, s.Mem, s.Disk} {
		if v < 0 || v > resource.MaxScalar {
			return fmt.Errorf("%w: amount %s, expected 0 to %s", dcos.ErrInvalid, v, resource.MaxScalar)
		}
	}
	if s.GPUs < 0 || s.GPUs > maxGPUs {
		return fmt.Errorf("%w: %d gpus, expected 0 to %d", dcos.ErrInvalid, s.GPUs, maxGPUs)
	}
	if !slices.Equal(resource.NewRanges(s.Ports...), s.Ports) {
		return fmt.Errorf("%w: ports %s are not sorted, disjoint ranges", dcos.ErrInvalid, s.Ports)
	}
	return nil
}

func (x *txn) putNode(c PutNode) error {
	n := c.Node
	if err := checkNode(&n); err != nil {
		return err
	}
	n.State, n.Why, n.Since, n.CreatedAt = dcos.NodeActive, "", x.t.time, x.t.time
	if old, ok := x.t.nodes.Get(string(n.ID)); ok {
		n.ID, n.CreatedAt = old.ID, old.CreatedAt
		if old.State == dcos.NodeActive {
			n.Since = old.Since
		}
		n.Drain = old.Drain
		switch {
		case old.State == dcos.NodeRemoved:
			return fmt.Errorf("%w: node %s was removed from the cluster: join the machine anew with a token", dcos.ErrDenied, n.ID)
		case old.Boot != n.Boot:
			n.Since = x.t.time
			x.loseNode(n.ID, dcos.ReasonReboot, "the machine was started anew")
		default:
			for _, k := range slices.Collect(x.t.tasksOn(n.ID)) {
				x.unreachable(k, 0)
			}
		}
	}
	put(x, TableNodes, &x.t.nodes, string(n.ID), &n)
	x.t.markShrunk(n.ID)
	return nil
}

func (x *txn) setNodeState(c SetNodeState) error {
	old, ok := x.t.nodes.Get(string(c.Node))
	switch {
	case !ok || old.State == dcos.NodeRemoved:
		return fmt.Errorf("%w: node %s", dcos.ErrNotFound, c.Node)
	case c.State < dcos.NodeActive || c.State > dcos.NodeLost || len(c.Why) > dcos.MaxMessage:
		return fmt.Errorf("%w: node %s: no such state, or a reason of over %d bytes", dcos.ErrInvalid, c.Node, dcos.MaxMessage)
	case old.Boot != c.Boot:
		return fmt.Errorf("%w: node %s has been started anew since", dcos.ErrConflict, c.Node)
	case old.State == c.State:
		return nil
	case old.State == dcos.NodeLost:
		return fmt.Errorf("%w: node %s is lost until it registers again", dcos.ErrConflict, c.Node)
	}
	n := *old
	n.State, n.Why, n.Since = c.State, c.Why, x.t.time
	put(x, TableNodes, &x.t.nodes, string(n.ID), &n)
	if n.State == dcos.NodeLost {
		for _, k := range slices.Collect(x.t.tasksOn(n.ID)) {
			if x.waits(k) {
				x.unreachable(k, x.t.time)
			} else {
				x.lose(k, dcos.ReasonAgentLost, c.Why)
			}
		}
	}
	return nil
}

func (x *txn) removeNode(c RemoveNode) error {
	n, ok := x.t.nodes.Get(string(c.Node))
	if !ok || n.State == dcos.NodeRemoved {
		return fmt.Errorf("%w: node %s", dcos.ErrNotFound, c.Node)
	}
	if n.State == dcos.NodeActive {
		return fmt.Errorf("%w: node %s is active: stop its agent first", dcos.ErrConflict, c.Node)
	}
	if h, ok := x.t.ledger.Get(c.Node); ok {
		return fmt.Errorf("%w: node %s has %d live tasks: wait until it counts as lost", dcos.ErrConflict, c.Node, h.tasks)
	}
	if r, ok := x.t.reserved.Get(c.Node); ok {
		return fmt.Errorf("%w: node %s has %d reservations: destroy their volumes and give them up first", dcos.ErrConflict, c.Node, r.n)
	}
	remove(x, TableNodes, &x.t.nodes, string(c.Node))
	return nil
}

// loseNode loses every live task of a node.
func (x *txn) loseNode(id dcos.NodeID, reason dcos.Reason, message string) {
	for _, k := range slices.Collect(x.t.tasksOn(id)) {
		x.lose(k, reason, message)
	}
}

func (x *txn) loseTasks(c LoseTasks) Item {
	if len(c.Message) > dcos.MaxMessage || len(c.Reason) > maxName {
		return Item{Err: fmt.Errorf("%w: message of %d bytes, expected at most %d", dcos.ErrInvalid, len(c.Message), dcos.MaxMessage)}
	}
	return Item{Each: each(c.Tasks, func(id dcos.TaskID) error {
		k, ok := x.task(id)
		switch {
		case !ok:
			return fmt.Errorf("%w: task %s", dcos.ErrNotFound, id)
		case !k.Live() || k.Node != c.Node:
			return fmt.Errorf("%w: task %s is not live on node %s", dcos.ErrConflict, id, c.Node)
		case c.Unreachable && k.Unreachable == 0:
			return fmt.Errorf("%w: the node %s of task %s is back", dcos.ErrConflict, c.Node, id)
		}
		x.lose(k, c.Reason, c.Message)
		return nil
	})}
}

// lose ends a live task whose fate cannot be known.
func (x *txn) lose(old *dcos.Task, reason dcos.Reason, message string) {
	k := *old
	k.State, k.Reason, k.Message, k.EndedAt = dcos.TaskLost, shared(reason), message, x.t.time
	x.endTask(old, &k)
}
