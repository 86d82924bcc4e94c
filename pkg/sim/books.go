package sim

import (
	"hash/maphash"

	"github.com/fxamacker/cbor/v2"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/dcos-go/dcos/pkg/consensus"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

// books are the checker's own account of what is allotted, made from the
// changes alone: what the state says of itself is compared with them.
type books struct {
	time   dcos.Time
	nodes  map[dcos.NodeID]*dcos.Node
	held   map[dcos.NodeID]*account
	owners map[string]owner // of instances
	dirty  []dcos.NodeID    // whose account has changed in this commit
}

// account is what the live tasks of a node hold.
type account struct {
	cpus, mem, disk, gpus int64
	ports                 map[uint16]dcos.TaskID
	tasks                 map[dcos.TaskID]bool
}

// owner is the newest task of an instance that was placed.
type owner struct {
	task  dcos.TaskID
	epoch dcos.Epoch
	live  bool
}

func newBooks() books {
	return books{nodes: map[dcos.NodeID]*dcos.Node{}, held: map[dcos.NodeID]*account{}, owners: map[string]owner{}}
}

func (c *checker) nodeRow(ch *state.Change) {
	id := dcos.NodeID(ch.Key)
	c.books.dirty = append(c.books.dirty, id)
	if n, ok := ch.New.(*dcos.Node); ok && n != nil {
		c.books.nodes[id] = n
		return
	}
	delete(c.books.nodes, id)
}

func (b *books) of(id dcos.NodeID) *account {
	a := b.held[id]
	if a == nil {
		a = &account{ports: map[uint16]dcos.TaskID{}, tasks: map[dcos.TaskID]bool{}}
		b.held[id] = a
	}
	b.dirty = append(b.dirty, id)
	return a
}

// book enters what a change of a task takes and gives back: once each.
func (c *checker) book(before, after *dcos.Task) {
	was, is := before != nil && before.Live(), after != nil && after.Live()
	switch {
	case was == is:
	case is:
		c.taken(after)
	default:
		c.freed(before)
	}
}

func (c *checker) taken(k *dcos.Task) {
	b := &c.books
	if n := b.nodes[k.Node]; n == nil || !n.Takes() {
		c.w.fail("task %s is placed on node %s, which takes none", k.ID, k.Node)
	}
	a := b.of(k.Node)
	if a.tasks[k.ID] {
		c.w.fail("task %s takes its place twice", k.ID)
	}
	a.tasks[k.ID] = true
	a.add(k, 1)
	for _, p := range k.Ports {
		if other, ok := a.ports[p]; ok {
			c.w.fail("port %d of node %s is given to %s while %s has it", p, k.Node, k.ID, other)
		}
		a.ports[p] = k.ID
	}
	instance := dcos.InstanceOf(k.ID)
	o := b.owners[instance]
	switch {
	case o.live:
		c.w.fail("task %s is placed while %s of the same instance is live", k.ID, o.task)
	case k.Epoch <= o.epoch:
		c.w.fail("task %s is placed with epoch %d, its instance had %d", k.ID, k.Epoch, o.epoch)
	}
	b.owners[instance] = owner{task: k.ID, epoch: k.Epoch, live: true}
}

func (c *checker) freed(k *dcos.Task) {
	a := c.books.of(k.Node)
	if !a.tasks[k.ID] {
		c.w.fail("task %s gives back what it does not hold", k.ID)
	}
	delete(a.tasks, k.ID)
	a.add(k, -1)
	for _, p := range k.Ports {
		delete(a.ports, p)
	}
	instance := dcos.InstanceOf(k.ID)
	if o := c.books.owners[instance]; o.task == k.ID {
		o.live = false
		c.books.owners[instance] = o
	}
}

func (a *account) add(k *dcos.Task, sign int64) {
	a.cpus += sign * int64(k.Need.CPUs)
	a.mem += sign * int64(k.Need.Mem)
	a.disk += sign * int64(k.Need.Disk)
	a.gpus += sign * k.Need.GPUs
}

// balance compares the accounts that a commit has touched with what the state
// says is free.
func (c *checker) balance(commit state.Commit) {
	b := &c.books
	for _, id := range b.dirty {
		n, a := b.nodes[id], b.held[id]
		if n == nil || a == nil {
			continue
		}
		t := n.Total
		if a.cpus > int64(t.CPUs) || a.mem > int64(t.Mem) || a.disk > int64(t.Disk) || a.gpus > t.GPUs {
			c.w.fail("node %s has %s, and its tasks hold more at index %d", id, t, commit.Index)
		}
		free, ok := commit.View.Free(id)
		if !ok || int64(free.CPUs) != int64(t.CPUs)-a.cpus || int64(free.Mem) != int64(t.Mem)-a.mem || int64(free.Disk) != int64(t.Disk)-a.disk ||
			free.Ports.Size() != t.Ports.Size()-len(a.ports) {
			c.w.fail("node %s at index %d: the state says that %s is free of %s, its %d tasks hold %d cpus, %d mem, %d ports",
				id, commit.Index, free, t, len(a.tasks), a.cpus, a.mem, len(a.ports))
		}
	}
	b.dirty = b.dirty[:0]
}

// deployment: its steps go forward one by one, to the last.
func (c *checker) deployment(ch *state.Change) {
	before, _ := ch.Old.(*dcos.Deployment)
	after, _ := ch.New.(*dcos.Deployment)
	switch {
	case before == nil && after == nil:
	case after == nil:
		c.w.count("deployment over")
		if ch.Cause == "advance-deployment" && before.Step < len(before.Steps) {
			c.w.fail("deployment %s of %s is over at step %d of %v", before.ID, before.App, before.Step, before.Steps)
		}
	case before == nil:
		c.w.count("deployment started")
		if after.Step != 1 {
			c.w.fail("deployment %s begins at step %d", after.ID, after.Step)
		}
	case after.Step != before.Step+1 || after.App != before.App || after.Target != before.Target:
		c.w.fail("deployment %s of %s goes from step %d to %d", after.ID, after.App, before.Step, after.Step)
	default:
		c.w.count("deployment advanced")
	}
}

// position is a place in the log of a term.
type position struct{ index, term uint64 }

// logged: two logs that have an entry of the same term at the same place have
// the same entry there.
func (c *checker) logged(m *master, entries []*pb.Entry) {
	for _, e := range entries {
		at := position{e.GetIndex(), e.GetTerm()}
		sum := maphash.Bytes(c.seed, e.GetData()) + uint64(e.GetType())
		if had, ok := c.logs[at]; ok && had != sum {
			c.w.fail("master %d has another entry at %d of term %d than another master", m.id, at.index, at.term)
		}
		c.logs[at] = sum
	}
}

// framed is what an older build sees first of an entry.
type framed struct {
	Level     uint64            `cbor:"1,keyasint"`
	Proposals []cbor.RawMessage `cbor:"3,keyasint"`
}

// leveled is what it sees of a proposal.
type leveled struct {
	Level uint64 `cbor:"4,keyasint"`
}

// understood: a master of an older build is never given what it does not know.
func (c *checker) understood(m *master, e consensus.Entry) {
	if m.level >= state.Level || len(e.Data) == 0 {
		return
	}
	var f framed
	if err := cbor.Unmarshal(e.Data, &f); err != nil {
		c.w.fail("entry %d cannot be read: %v", e.Index, err)
	}
	need := f.Level
	for _, raw := range f.Proposals {
		var p leveled
		if err := cbor.Unmarshal(raw, &p); err != nil {
			c.w.fail("entry %d cannot be read: %v", e.Index, err)
		}
		need = max(need, p.Level)
	}
	if info, _ := m.store.View().Cluster(); max(need, info.Level) > m.level {
		c.w.fail("master %d knows feature level %d, and entry %d needs %d (cluster %d)", m.id, m.level, e.Index, need, info.Level)
	}
	c.w.count("old build applies")
}
