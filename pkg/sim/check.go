package sim

import (
	"bytes"
	"hash/maphash"
	"maps"
	"slices"

	"github.com/dcos-go/dcos/pkg/consensus"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

// checker knows what must hold, and what has happened so far.
type checker struct {
	w       *world
	leaders map[dcos.Term]dcos.MasterID
	entries []entry  // by index, as it was applied first
	data    [][]byte // likewise
	high    dcos.Index
	terms   map[dcos.Term]dcos.Index // highest acknowledged index of each term
	tokens  []string                 // acknowledged
	users   []string                 // likewise
	ackedAt map[string]dcos.Term
	logs    map[position]uint64 // what is in some log at a place
	seed    maphash.Seed
	books   books
	checked int // indexes since the whole state was

	placed map[dcos.TaskID]place
	procs  map[dcos.TaskID]*proc
	fenced map[string][]dcos.TaskID   // tasks under a lease, by instance
	wiped  map[dcos.NodeID]dcos.Epoch // last index when an agent's data was removed: it may know of no task placed until then
	copied map[dcos.NodeID]bool       // of which there was a copy
	// mistaken are the tasks that were given up as of an earlier boot of a node
	// that has a copy, which nobody can tell from a reboot: they may still run.
	mistaken map[dcos.TaskID]bool
	rest     rest
	vitals   vitals
}

// entry is what was applied at an index, and what the state was afterwards.
type entry struct {
	term dcos.Term
	data uint64
	hash uint64
}

type place struct {
	node  dcos.NodeID
	epoch dcos.Epoch
}

// proc is what really became of a task's process.
type proc struct {
	on    *machine
	alive bool
	exit  *dcos.Exit // of its own; nil when it was removed or lost its power
}

func newChecker(w *world) checker {
	return checker{
		w: w, leaders: map[dcos.Term]dcos.MasterID{}, entries: make([]entry, 2), data: make([][]byte, 2), terms: map[dcos.Term]dcos.Index{},
		ackedAt: map[string]dcos.Term{}, logs: map[position]uint64{}, seed: maphash.MakeSeed(), books: newBooks(), placed: map[dcos.TaskID]place{}, procs: map[dcos.TaskID]*proc{}, fenced: map[string][]dcos.TaskID{}, wiped: map[dcos.NodeID]dcos.Epoch{}, copied: map[dcos.NodeID]bool{}, mistaken: map[dcos.TaskID]bool{},
	}
}

// leads: one leader per term, and a leader that is ready has everything that
// leaders before it acknowledged.
func (c *checker) leads(m *master, f consensus.Lead) {
	if f.Leader != m.id {
		return
	}
	if had, ok := c.leaders[f.Term]; ok && had != m.id {
		c.w.fail("term %d has two leaders, %d and %d", f.Term, had, m.id)
	}
	if _, ok := c.leaders[f.Term]; !ok {
		c.w.count("leader elected")
	}
	c.leaders[f.Term] = m.id
	if !f.Ready {
		return
	}
	v := m.store.View()
	for _, term := range slices.Sorted(maps.Keys(c.terms)) {
		if high := c.terms[term]; term < f.Term && high > v.Index() {
			c.w.fail("master %d leads in term %d with index %d, but %d was acknowledged in term %d", m.id, f.Term, v.Index(), high, term)
		}
	}
	c.has(m, v, f.Term)
}

// has: every acknowledged write of earlier terms is visible.
func (c *checker) has(m *master, v state.View, before dcos.Term) {
	for _, name := range c.tokens {
		if c.ackedAt[name] >= before {
			continue
		}
		if _, ok := v.Token(name); !ok {
			c.w.fail("master %d at index %d has lost %s, which was acknowledged", m.id, v.Index(), name)
		}
	}
	for _, name := range c.users {
		if _, ok := v.User(name); !ok && c.ackedAt[name] < before {
			c.w.fail("master %d at index %d has lost %s, which was acknowledged", m.id, v.Index(), name)
		}
	}
}

// answered: an answer without an error comes from an entry that is applied here
// and that holds what was proposed, or its last part.
func (c *checker) answered(m *master, r consensus.Resolved, late bool, last []byte) {
	if r.Err != nil {
		return
	}
	if at := int(r.Result.Index); at < len(c.data) && !bytes.Contains(c.data[at], last) {
		c.w.fail("master %d answers a proposal with index %d, where another one is", m.id, at)
	}
	if late {
		return
	}
	if v := m.store.View(); r.Result.Index == 0 || r.Result.Index > v.Index() {
		c.w.fail("master %d answers a proposal with index %d, and has applied %d", m.id, r.Result.Index, v.Index())
	}
}

// acked is an answer that goes to a user.
func (c *checker) acked(m *master, r state.Result) {
	c.w.count("write acknowledged")
	c.high = max(c.high, r.Index)
	if int(r.Index) < len(c.entries) {
		t := c.entries[r.Index].term
		c.terms[t] = max(c.terms[t], r.Index)
	}
	for _, o := range c.w.members() {
		if o.up && o.lead.Ready && o.lead.Leader == o.id && o.lead.Term > m.lead.Term && o.store.View().Index() < r.Index {
			c.w.fail("master %d acknowledges index %d in term %d, but %d leads in term %d with index %d",
				m.id, r.Index, m.lead.Term, o.id, o.lead.Term, o.store.View().Index())
		}
	}
}

func (c *checker) ackToken(name string) {
	c.tokens = append(c.tokens, name)
	c.ackedAt[name] = c.newestTerm()
}

// ackUser is ackToken for a user, which may be acknowledged more than once.
func (c *checker) ackUser(name string) {
	if _, ok := c.ackedAt[name]; !ok {
		c.users = append(c.users, name)
		c.ackedAt[name] = c.newestTerm()
	}
}

func (c *checker) newestTerm() dcos.Term {
	var newest dcos.Term
	for _, m := range c.w.masters {
		if m.up {
			newest = max(newest, m.lead.Term)
		}
	}
	return newest
}

func hashOf(b []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, x := range b {
		h = (h ^ uint64(x)) * 1099511628211
	}
	return h
}

// applied: the same entry and the same state at the same index, everywhere;
// whoever applies it first shows what it does.
func (c *checker) applied(m *master, e consensus.Entry, commit state.Commit) {
	if commit.Index != e.Index {
		return // a snapshot was further already
	}
	got := entry{term: e.Term, data: hashOf(e.Data), hash: commit.View.Hash()}
	c.w.trace.number(got.hash)
	if int(e.Index) < len(c.entries) {
		if had := c.entries[e.Index]; had != got {
			c.w.fail("master %d at index %d has entry %x of term %d and state %x, another had %x of term %d and %x",
				m.id, e.Index, got.data, got.term, got.hash, had.data, had.term, had.hash)
		}
		return
	}
	if int(e.Index) != len(c.entries) {
		c.w.fail("master %d applies index %d, the last was %d", m.id, e.Index, len(c.entries)-1)
	}
	c.entries, c.data = append(c.entries, got), append(c.data, e.Data)
	if c.books.time > commit.Time {
		c.w.fail("command time goes back at index %d", e.Index)
	}
	c.books.time = commit.Time
	if len(commit.Changes) == 0 {
		return
	}
	for i := range commit.Changes {
		c.changed(commit, &commit.Changes[i])
	}
	c.balance(commit)
	// The books see what has changed; the whole is looked at now and then.
	if c.checked++; c.checked%wholeEvery == 0 {
		if err := state.Check(commit.View); err != nil {
			c.w.fail("the state at index %d: %v", e.Index, err)
		}
	}
}

// wholeEvery is how many indexes lie between two looks at the whole state.
const wholeEvery = 16

// installed: a snapshot is the state that was there before.
func (c *checker) installed(m *master) {
	v := m.store.View()
	if int(v.Index()) >= len(c.entries) || c.entries[v.Index()].hash != v.Hash() {
		c.w.fail("master %d has installed a snapshot of index %d that differs from the state then", m.id, v.Index())
	}
}

// changed looks at one row.
func (c *checker) changed(commit state.Commit, ch *state.Change) {
	switch ch.Table {
	case state.TableNodes:
		c.nodeRow(ch)
		if n, ok := ch.New.(*dcos.Node); ok && n != nil {
			if old, ok := ch.Old.(*dcos.Node); !ok || old == nil || old.State != n.State {
				c.w.note("state: node %s is %s %s", n.Hostname, n.State, n.Why)
				c.w.count("node " + n.State.String())
			}
		}
	case state.TableTasks:
		before, _ := ch.Old.(*dcos.Task)
		after, _ := ch.New.(*dcos.Task)
		c.task(commit, before, after)
		c.book(before, after)
	case state.TableDeployments:
		c.deployment(ch)
	}
}

func (c *checker) task(commit state.Commit, before, after *dcos.Task) {
	w := c.w
	switch {
	case after == nil:
		if before != nil && before.Live() {
			w.fail("task %s is removed while it is %s", before.ID, before.State)
		}
		return
	case before == nil:
		if after.State != dcos.TaskWaiting {
			w.fail("task %s begins as %s", after.ID, after.State)
		}
		c.attempt(commit, after)
		return
	}
	moved := before.State != after.State
	switch {
	case moved && !before.State.CanBecome(after.State):
		w.fail("task %s goes from %s to %s", after.ID, before.State, after.State)
	case before.Node != "" && (before.Node != after.Node || before.Epoch != after.Epoch):
		w.fail("task %s moves from %s at %d to %s at %d", after.ID, before.Node, before.Epoch, after.Node, after.Epoch)
	case before.Goal == dcos.GoalStop && after.Goal != dcos.GoalStop:
		w.fail("task %s shall run again after it was to stop", after.ID)
	case after.StatusSeq < before.StatusSeq:
		w.fail("task %s: status %d after %d", after.ID, after.StatusSeq, before.StatusSeq)
	}
	if !moved {
		return
	}
	w.count(became(before.State, after.State))
	w.note("state: %s %s %s -> %s (%s) on %s", after.App, short(after.ID), before.State, after.State, after.Message, after.Node)
	if after.State == dcos.TaskPlaced {
		if uint64(after.Epoch) != uint64(commit.Index) {
			w.fail("task %s is placed at index %d with epoch %d", after.ID, commit.Index, after.Epoch)
		}
		c.placed[after.ID] = place{after.Node, after.Epoch}
	}
	if after.State == dcos.TaskRunning && c.procs[after.ID] == nil {
		w.fail("task %s is said to run, and was never started", after.ID)
	}
	if after.State.Terminal() && before.Live() {
		c.ended(after)
	}
}

// attempt: the next attempt at an instance begins when the last is over.
func (c *checker) attempt(commit state.Commit, k *dcos.Task) {
	if k.Attempt == 1 {
		return
	}
	row, ok := commit.View.App(k.App)
	if !ok {
		c.w.fail("task %s of an app that does not exist", k.ID)
	}
	last := dcos.NewTaskID(k.App, row.Incarnation, k.Ordinal, k.Attempt-1)
	if old, ok := commit.View.Task(last); ok && !old.State.Terminal() {
		c.w.fail("task %s begins while %s is %s", k.ID, last, old.State)
	}
}

// ended: what an agent says of an end is what happened.
func (c *checker) ended(k *dcos.Task) {
	p := c.procs[k.ID]
	switch {
	case k.State == dcos.TaskLost && k.Reason == dcos.ReasonReconciliation && !c.forgot(k.Node, k.Epoch):
		c.w.fail("task %s on %s is lost (%s), and its agent has lost nothing", k.ID, k.Node, k.Message)
	case k.State == dcos.TaskLost:
		if k.Reason == dcos.ReasonReboot && c.copied[k.Node] {
			c.mistaken[k.ID] = true
		}
		return // nobody knows
	case p == nil:
		if k.Exit != nil {
			c.w.fail("task %s has %s, and was never started", k.ID, k.Exit)
		}
		return
	case p.alive:
		c.w.fail("task %s is %s, and its process runs", k.ID, k.State)
	case k.Exit == nil && c.forgot(k.Node, k.Epoch):
		return // its agent never heard of it, as far as it can know
	case k.Exit == nil:
		c.w.fail("task %s is %s without an exit; its process had %v", k.ID, k.State, p.exit)
	case p.exit == nil || k.Exit.Unknown:
		c.w.fail("task %s is said to have %s, its process had %v", k.ID, k.Exit, p.exit)
	case k.Exit.Code != p.exit.Code || k.Exit.Signal != p.exit.Signal:
		c.w.fail("task %s is said to have %s, its process has %s", k.ID, k.Exit, p.exit)
	case k.Goal == dcos.GoalRun && (k.State == dcos.TaskFinished) != (p.exit.Code == 0 && p.exit.Signal == 0) && k.State != dcos.TaskKilled:
		c.w.fail("task %s is %s with %s", k.ID, k.State, p.exit)
	}
}

// wipes: an agent loses its checkpoint.
func (c *checker) wipes(id dcos.NodeID) { c.wiped[id] = dcos.Epoch(len(c.entries) - 1) }

// forgot says that a node's agent need not know a task that was placed then.
func (c *checker) forgot(node dcos.NodeID, placed dcos.Epoch) bool {
	until, ok := c.wiped[node]
	return ok && placed <= until
}

// started: a process is of a task that was placed here, that the checkpoint
// knows for sure, that never had one, and that is alone of its instance.
func (c *checker) started(m *machine, id dcos.TaskID, fenced bool) {
	w := c.w
	instance := dcos.InstanceOf(id)
	for _, other := range c.fenced[instance] {
		if p := c.procs[other]; fenced && other != id && p != nil && p.alive && !c.mistaken[id] && !c.mistaken[other] {
			w.fail("agent %s starts %s while %s of the same fenced instance runs on %s", m.addr(), id, other, p.on.addr())
		}
	}
	if fenced {
		c.fenced[instance] = append(c.fenced[instance], id)
	}
	if !m.durable[id] {
		w.fail("agent %s starts %s before that is in its checkpoint", m.addr(), id)
	}
	// An agent whose data was removed cannot know; it has ended what there was.
	if p := c.procs[id]; p != nil && (p.alive || !c.forgot(m.id, c.placed[id].epoch)) {
		w.fail("agent %s starts %s, which was started on %s before", m.addr(), id, p.on.addr())
	}
	if at := c.placed[id]; at.node != m.id {
		w.fail("agent %s starts %s, which is placed on %q", m.addr(), id, at.node)
	}
	for _, other := range runningOn(m) {
		if dcos.InstanceOf(other) == dcos.InstanceOf(id) {
			w.fail("agent %s starts %s while %s of the same instance runs", m.addr(), id, other)
		}
	}
	c.procs[id] = &proc{on: m, alive: true}
	w.count("process started")
}

func (c *checker) exited(m *machine, id dcos.TaskID, x dcos.Exit) {
	c.w.note("agent %s: process of %s: %s", m.addr(), short(id), x)
	p := c.procs[id]
	p.alive, p.exit = false, &x
}

// died is a process that ended without anybody seeing how.
func (c *checker) died(_ *machine, id dcos.TaskID) { c.procs[id].alive = false }

// runningOn are the tasks whose processes run on a machine, by id.
func runningOn(m *machine) []dcos.TaskID {
	var out []dcos.TaskID
	for id, t := range m.tasks {
		if t.alive {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}
