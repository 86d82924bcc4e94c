// Package scheduler is the leader's turn: it looks at what has changed, asks
// the reconcilers what must happen, finds places for what waits, and proposes
// it as one batch.
//
// It owns the order in which apps are served, the size of a batch, and the
// answer to why something does not run. It promises that one batch is in
// flight at most, that everything it knows can be rebuilt from a state.View
// (and is, at the start of leadership and after a proposal of unknown
// outcome), that no app keeps others from their turn, and that what it
// proposes may be applied twice or not at all without harm. It must not hold
// facts of its own, read a clock outside its shell, or talk to agents.
package scheduler

import (
	"cmp"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/dcos-go/dcos/pkg/app"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/placement"
	"github.com/dcos-go/dcos/pkg/resource"
	"github.com/dcos-go/dcos/pkg/state"
)

// The bounds of one turn.
const (
	// maxBatch is how many bytes of commands, roughly, go into a batch: below
	// state.MaxEntry with room for the encoding.
	maxBatch = 320 << 10
	// maxPlaced is how many tasks are placed in a batch, so that one batch is
	// applied within a few milliseconds.
	maxPlaced = 2000
	// maxFailing is how many searches for a place may fail before the batch
	// is closed: each looks at every node.
	maxFailing = 256
	// maxLooked is how many apps are reconciled for one batch.
	maxLooked = 1000

	leastPause = 50 * time.Millisecond // after a command of an app was refused
	mostPause  = 10 * time.Second
)

// Core decides. One goroutine calls it.
type Core struct {
	fresh bool // the next turn rebuilds everything
	index *placement.Index
	rules map[dcos.AppID]compiled

	nodes    queue[dcos.NodeID]   // whose free resources may have changed
	turned   queue[dcos.NodeID]   // whose row has changed
	drains   queue[dcos.NodeID]   // whose drain began, changed or ended
	draining map[dcos.NodeID]bool // all of these; true: to be removed once it is empty
	dirty    queue[dcos.AppID]    // to reconcile
	ready    queue[dcos.AppID]    // with tasks that may be placed
	stuck    stuck                // apps with tasks for which there was no place
	due      timers
	faults   map[dcos.AppID]int      // refusals in a row
	left     map[dcos.AppID]int      // see app.Reconcile
	lines    map[dcos.AppID]*waiting // of apps that are placed in several batches

	flying  bool
	owners  []owner    // of the commands in flight
	settled dcos.Index // turns need a view that shows this

	stamp dcos.Time     // of the newest view
	ahead time.Duration // of the clock that Turn is given, by which command time is
}

// owner is the app for which a command was made.
type owner struct {
	app   dcos.AppID
	place bool // it only places tasks
}

type compiled struct {
	of    *dcos.App
	rules *placement.Rules
}

// New is a core that will rebuild itself from the view of its first turn.
func New() *Core {
	c := &Core{}
	c.Reset()
	return c
}

// Reset forgets everything: the next turn starts from its view alone. It is
// called when leadership begins.
func (c *Core) Reset() {
	*c = Core{
		fresh: true, index: placement.New(), rules: make(map[dcos.AppID]compiled),
		due: newTimers(), faults: make(map[dcos.AppID]int), left: make(map[dcos.AppID]int), lines: make(map[dcos.AppID]*waiting),
		draining: make(map[dcos.NodeID]bool),
	}
}

// Turn takes over changes, which must come in order and without gaps but may
// lag behind the view, and says what to propose as one proposal. Until Done has told its outcome,
// further turns only take over changes. Wake is when to call again though
// nothing has changed, 0 for never; it may have passed already.
func (c *Core) Turn(now dcos.Time, v state.View, changes []state.Change) (cmds []state.Command, wake dcos.Time) {
	cmds, wake = c.turn(c.clock(now, v), v, changes)
	if wake != 0 {
		wake = wake.Add(-c.ahead)
	}
	return cmds, wake
}

// clock is the command time of now. What apps wait for is written in command
// time, which is ahead of this leader's clock when that was set back, or when
// an earlier leader's clock was ahead.
func (c *Core) clock(now dcos.Time, v state.View) dcos.Time {
	stamp := v.Time()
	if c.fresh || stamp != c.stamp || stamp > now.Add(c.ahead) {
		ahead := max(0, stamp.Sub(now))
		if c.ahead-ahead > time.Second {
			c.wakeDue(math.MaxInt64) // what was due by a clock that was too far ahead
		}
		c.ahead = ahead
	}
	c.stamp = stamp
	return now.Add(c.ahead)
}

func (c *Core) turn(now dcos.Time, v state.View, changes []state.Change) (cmds []state.Command, wake dcos.Time) {
	if c.fresh {
		c.rebuild(v)
	} else {
		c.absorb(v, changes)
	}
	if c.flying || v.Index() < c.settled {
		return nil, 0
	}
	c.refresh(v)
	c.stuck.free(c.index, c.ready.push)
	c.touchDeployments(v)
	c.touchDrained(v)
	c.wakeDue(now)
	t := turn{c: c, now: now, view: v, stopping: make(map[dcos.TaskID]bool)}
	t.reconcile()
	t.place()
	t.retire()
	c.owners = t.owners
	c.flying = len(t.cmds) > 0
	return t.cmds, c.nextWake(now)
}

// Done tells the outcome of the proposal that the last Turn asked for.
func (c *Core) Done(now dcos.Time, res state.Result, err error) {
	if !c.flying {
		return
	}
	owners := c.owners
	c.flying, c.owners = false, nil
	now = now.Add(c.ahead)
	switch {
	case !outcomeKnown(err):
		// What was asked for may come true at any time from now on. Commands
		// are made for that; what is known here is not.
		c.Reset()
		return
	case err != nil:
		for _, o := range owners {
			delete(c.lines, o.app)
			c.pause(o.app, now)
		}
		c.stuck.freeAll() // of what our picks had taken
		return
	}
	c.settled = res.Index
	for i, o := range owners {
		var item state.Item
		if i < len(res.Items) {
			item = res.Items[i]
		}
		switch {
		case refused(item):
			delete(c.lines, o.app)
			c.pause(o.app, now)
			c.stuck.freeAll()
		case !o.place:
			delete(c.faults, o.app)
			c.touch(o.app)
		case item.Each != nil: // some tasks were not placed after all
			delete(c.lines, o.app)
			delete(c.faults, o.app)
			c.ready.push(o.app)
			c.stuck.freeAll()
		default:
			delete(c.faults, o.app)
		}
	}
}

// touch lets an app be reconciled in the next turn.
func (c *Core) touch(id dcos.AppID) {
	delete(c.lines, id)
	c.dirty.push(id)
}

// outcomeKnown says that a proposal was applied, or never will be.
func outcomeKnown(err error) bool {
	if err == nil {
		return true
	}
	for _, kind := range []error{dcos.ErrUnavailable, dcos.ErrInvalid, dcos.ErrExhausted, dcos.ErrConflict, dcos.ErrDenied} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// refused says that a command had no effect at all. Single elements may fail
// because the world has moved on; the next view shows it.
func refused(i state.Item) bool {
	if i.Err != nil {
		return true
	}
	for _, err := range i.Each {
		if err == nil {
			return false
		}
	}
	return len(i.Each) > 0
}

// pause lets an app wait before it is looked at again, longer each time.
func (c *Core) pause(id dcos.AppID, now dcos.Time) {
	n := c.faults[id]
	c.faults[id] = n + 1
	c.wakeAt(id, now.Add(min(leastPause<<min(n, 10), mostPause)))
}

func (c *Core) wakeAt(id dcos.AppID, at dcos.Time) {
	if old, ok := c.due.at(id); !ok || at < old {
		c.due.set(id, at)
	}
}

func (c *Core) wakeDue(now dcos.Time) {
	for {
		id, ok := c.due.pop(now)
		if !ok {
			return
		}
		c.touch(id)
	}
}

func (c *Core) nextWake(now dcos.Time) dcos.Time {
	if c.dirty.len() > 0 || c.ready.len() > 0 {
		return now
	}
	return c.due.next()
}

// rebuild makes everything from the view, as a new leader must.
func (c *Core) rebuild(v state.View) {
	stamp, ahead := c.stamp, c.ahead
	c.Reset()
	c.fresh, c.stamp, c.ahead = false, stamp, ahead
	for n := range v.Nodes() {
		c.nodes.push(n.ID)
		c.noteDrain(n)
	}
	for row := range v.Apps() {
		c.dirty.push(row.App.ID)
	}
}

// absorb marks what the changes touch.
func (c *Core) absorb(v state.View, changes []state.Change) {
	for i := range changes {
		switch ch := &changes[i]; ch.Table {
		case state.TableNodes:
			c.nodes.push(dcos.NodeID(ch.Key))
			c.turned.push(dcos.NodeID(ch.Key))
			c.stuck.freeAll()
			c.absorbDrain(ch)
		case state.TableTasks:
			c.absorbTask(v, ch)
		case state.TableReservations:
			for _, row := range []any{ch.Old, ch.New} {
				if r, ok := row.(*dcos.Reservation); ok && r != nil {
					c.nodes.push(r.Node) // what is reserved is not free
				}
			}
			c.stuck.freeAll()
		case state.TableRoles:
			c.stuck.freeAll()
		case state.TableApps:
			id := dcos.AppID(ch.Key)
			c.touch(id)
			if ch.New == nil {
				delete(c.rules, id)
				delete(c.faults, id)
				delete(c.left, id)
				c.due.drop(id)
			}
		case state.TableDeployments:
			for _, row := range []any{ch.Old, ch.New} {
				if d, ok := row.(*dcos.Deployment); ok && d != nil {
					c.touch(d.App)
				}
			}
		}
	}
}

func (c *Core) absorbTask(v state.View, ch *state.Change) {
	before, _ := ch.Old.(*dcos.Task)
	after, _ := ch.New.(*dcos.Task)
	held, holds := before != nil && before.Live(), after != nil && after.Live()
	if held != holds {
		node := dcos.NodeID("")
		if held {
			node = before.Node
			c.stuck.freed(node)
		} else {
			node = after.Node
		}
		c.nodes.push(node)
	}
	switch {
	case before != nil && after != nil:
		if c.matters(v, before, after) {
			c.touch(after.App)
		}
	case before != nil:
		c.touch(before.App)
	case after != nil:
		c.touch(after.App)
	}
}

// matters says whether an app must be looked at because a task has changed.
// Most changes are tasks that come further on their way, of apps that wait for
// nothing else: looking at all tasks of the app for each would be in vain.
func (c *Core) matters(v state.View, before, after *dcos.Task) bool {
	if before.Goal != after.Goal || before.Final != after.Final || after.State.Terminal() || after.Goal == dcos.GoalStop || before.Unreachable != after.Unreachable {
		return true
	}
	if len(c.draining) > 0 && after.State == dcos.TaskRunning {
		return true // another one may go for it
	}
	d, deploying := v.DeploymentOf(after.App)
	if !deploying {
		return false
	}
	left := c.left[after.App]
	if left == 0 {
		return true
	}
	if after.State != dcos.TaskRunning || before.State == after.State || after.Version != d.Target {
		return false
	}
	if left--; left > 0 {
		c.left[after.App] = left
		return false
	}
	delete(c.left, after.App)
	return true
}

// refresh makes the index true again for the nodes that were touched, by
// others or by our own picks.
func (c *Core) refresh(v state.View) {
	for c.nodes.len() > 0 {
		id := c.nodes.pop()
		n, ok := v.Node(id)
		if !ok {
			c.index.Remove(id)
			continue
		}
		free, _ := v.Free(id)
		c.index.Update(n, free)
	}
}

// touchDeployments marks the apps whose deployment counts tasks on nodes that
// have become reachable or have ceased to be.
func (c *Core) touchDeployments(v state.View) {
	for c.turned.len() > 0 {
		for t := range v.TasksOn(c.turned.pop()) {
			if _, deploying := v.DeploymentOf(t.App); deploying {
				c.touch(t.App)
			}
		}
	}
}

// rulesOf are the compiled constraints of an app's definition.
func (c *Core) rulesOf(a *dcos.App) (*placement.Rules, error) {
	if len(a.Constraints) == 0 {
		return nil, nil
	}
	if k := c.rules[a.ID]; k.of == a {
		return k.rules, nil
	}
	r, err := placement.Compile(a.Constraints)
	if err == nil {
		c.rules[a.ID] = compiled{a, r}
	}
	return r, err
}

// turn is the making of one batch.
type turn struct {
	c        *Core
	now      dcos.Time
	view     state.View
	cmds     []state.Command
	owners   []owner
	bytes    int
	stopping map[dcos.TaskID]bool // by commands of this batch
	taken    map[dcos.RoleID]resource.Set
}

func (t *turn) emit(id dcos.AppID, cmd state.Command) {
	_, place := cmd.(state.Place)
	t.cmds = append(t.cmds, cmd)
	t.owners = append(t.owners, owner{id, place})
	t.bytes += weight(cmd)
}

// reconcile asks what each changed app needs.
func (t *turn) reconcile() {
	c := t.c
	for n := 0; c.dirty.len() > 0 && n < maxLooked && t.bytes < maxBatch; n++ {
		id := c.dirty.pop()
		row, ok := t.view.App(id)
		if !ok {
			continue
		}
		if at, paused := c.due.at(id); paused && c.faults[id] > 0 && at > t.now {
			continue // its turn comes when the pause is over
		}
		cmds, wake, left := app.Reconcile(t.view, row, t.now)
		if left > 0 {
			c.left[id] = left
		} else {
			delete(c.left, id)
		}
		for _, cmd := range cmds {
			if t.bytes >= maxBatch {
				c.dirty.push(id) // the rest follows
				break
			}
			t.emit(id, cmd)
			if s, ok := cmd.(state.StopTasks); ok {
				for _, k := range s.Tasks {
					t.stopping[k] = true
				}
			}
		}
		if wake > t.now {
			c.wakeAt(id, wake)
		}
		if !row.Deleting {
			c.ready.push(id)
		}
	}
}

// place finds places for what waits, one app after the other, so that a large
// one does not keep the others waiting: what does not fit into the batch goes
// to the end of the queue.
func (t *turn) place() {
	c := t.c
	failing := 0
	for left := maxPlaced; c.ready.len() > 0 && left > 0 && failing < maxFailing && t.bytes < maxBatch; {
		id := c.ready.pop()
		row, ok := t.view.App(id)
		if !ok || row.Deleting {
			continue
		}
		if row.Backoff.Until > t.now {
			// Command time may have been ahead when the app was made ready.
			c.wakeAt(id, row.Backoff.Until)
			continue
		}
		placed, more, unplaced := t.placeApp(row, left)
		left -= placed
		switch {
		case more: // what is stuck is found out when the rest is placed
			c.ready.push(id)
		case unplaced != nil:
			failing++
			c.stuck.push(id, *unplaced)
		}
	}
}

// placeApp places up to limit waiting tasks of an app. What it found no place
// for needs at least unplaced.
func (t *turn) placeApp(row *state.AppRow, limit int) (placed int, more bool, unplaced *resource.Set) {
	id := row.App.ID
	if t.view.Waiting(id) == 0 {
		delete(t.c.lines, id)
		return 0, false, nil
	}
	w := t.c.lines[id]
	if w == nil {
		w = waitingOf(t.view, id, t.stopping)
	}
	delete(t.c.lines, id)
	var items []state.Placement
	for i := range w.groups {
		g := &w.groups[i]
		if len(g.tasks) == 0 {
			continue
		}
		def, ok := t.view.AppAt(id, g.version)
		if !ok {
			continue
		}
		rules, err := t.c.rulesOf(def)
		if err != nil {
			unplaced = least(unplaced, def.Need) // Explain says what is wrong with them
			continue
		}
		n := min(len(g.tasks), limit-len(items), t.room(g.tasks[0]))
		if n <= 0 {
			more = true
			break
		}
		role := roleOf(row.App)
		asked := n
		if n = min(n, quotaOf(t.view, role, def.Need, t.taken).more); n < asked {
			// Anything that ends may be of the role.
			unplaced = &resource.Set{}
		}
		r := w.request(row, def, rules, *g)
		got := t.c.index.Place(&r, n)
		t.take(role, def.Need, len(got))
		for i, p := range got {
			items = append(items, state.Placement{Task: g.tasks[i], Node: p.Node, Ports: p.Ports})
			w.placed = append(w.placed, p.Node)
			t.c.nodes.push(p.Node) // our pick is tentative
		}
		g.tasks = g.tasks[len(got):]
		switch {
		case len(got) < n:
			unplaced = least(unplaced, def.Need)
		case len(g.tasks) > 0 && n == asked:
			more = true
		}
	}
	if len(items) > 0 {
		t.emit(id, state.Place{Items: items})
	}
	if more && unplaced == nil && len(t.c.lines) < maxLines {
		t.c.lines[id] = w
	}
	return len(items), more, unplaced
}

// maxLines bounds how many apps' waiting tasks are remembered between batches.
const maxLines = 64

// room is how many placements still go into the batch.
func (t *turn) room(like dcos.TaskID) int {
	return (maxBatch - t.bytes + itemBytes - 1) / (len(like) + itemBytes)
}

// itemBytes is what an element takes in the log besides its task id.
const itemBytes = 64

// weight is roughly how many bytes a command takes in the log.
func weight(cmd state.Command) int {
	switch cmd := cmd.(type) {
	case state.Place:
		n := 0
		for i := range cmd.Items {
			n += len(cmd.Items[i].Task) + itemBytes + 3*len(cmd.Items[i].Ports)
		}
		return n
	case state.StopTasks:
		return idBytes(cmd.Tasks)
	case state.RetryTasks:
		return 2 * idBytes(cmd.Tasks) // each makes a row
	case state.AddTasks:
		return itemBytes + 16*int(cmd.Count) // not of bytes, but of work
	}
	return itemBytes
}

func idBytes(ids []dcos.TaskID) int {
	n := itemBytes
	for _, id := range ids {
		n += len(id) + 4
	}
	return n
}

// waiting is what waits for a place in an app.
type waiting struct {
	placed  []dcos.NodeID // of the instances that have a place and keep it
	groups  []waitingGroup
	members int // all instances that are to go on
}

// waitingGroup is tasks of one definition.
type waitingGroup struct {
	version dcos.Version
	tasks   []dcos.TaskID
}

func waitingOf(v state.View, id dcos.AppID, stopping map[dcos.TaskID]bool) *waiting {
	w := &waiting{}
	for k := range v.TasksOf(id) {
		if k.Final || k.Goal != dcos.GoalRun || stopping[k.ID] {
			continue
		}
		w.members++
		switch {
		case k.Live():
			w.placed = append(w.placed, k.Node)
		case k.State == dcos.TaskWaiting:
			i := slices.IndexFunc(w.groups, func(g waitingGroup) bool { return g.version == k.Version })
			if i < 0 {
				i = len(w.groups)
				w.groups = append(w.groups, waitingGroup{version: k.Version})
			}
			w.groups[i].tasks = append(w.groups[i].tasks, k.ID)
		}
	}
	// The newest definition first: it is what the app is to become.
	slices.SortFunc(w.groups, func(a, b waitingGroup) int { return cmp.Compare(b.version, a.version) })
	return w
}

func (w *waiting) request(row *state.AppRow, def *dcos.App, rules *placement.Rules, g waitingGroup) placement.Request {
	r := placement.NewRequest(def, rules)
	r.Placed = w.placed
	r.Wanted = max(int(row.App.Instances), w.members)
	r.Seed = seedOf(g.tasks[0])
	return r
}

// seedOf scatters the ports of different tasks (FNV-1a).
func seedOf(id dcos.TaskID) uint64 {
	h := uint64(14695981039346656037)
	for _, b := range []byte(id) {
		h = (h ^ uint64(b)) * 1099511628211
	}
	return h
}
