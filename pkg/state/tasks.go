package state

import (
	"fmt"
	"slices"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/pages"
	"github.com/dcos-go/dcos/pkg/resource"
)

const (
	// MaxAddTasks bounds one AddTasks.
	MaxAddTasks = 100_000
	// maxEnded is how many ended tasks are kept per app, besides the newest
	// one that failed.
	maxEnded = 10
	// MaxEndedAge is how long (in command time) an ended task is kept, from
	// feature level 2 on; maxExpired bounds how many are forgotten per entry.
	MaxEndedAge = 7 * 24 * time.Hour
	maxExpired  = 64

	// causeExpire is why a row is gone that no command took away.
	causeExpire = "expire"
)

// history says that a task is only kept to be looked at.
func history(k *dcos.Task) bool { return k.Final && k.State.Terminal() }

// putTask is the only way to write a task. It keeps every index and the
// ledger by what differs between before and after; before is nil for a new
// task.
func (x *txn) putTask(before, after *dcos.Task) {
	if before == nil {
		s := x.t.tasks.Add(x.t.age, after)
		x.seen.Note(&x.t.tasks, string(after.ID), s)
		x.note(TableTasks, string(after.ID), nil, after)
		x.t.reindex(nil, after, s)
		return
	}
	s := x.slotOf(before)
	x.t.tasks.Set(x.t.age, s, after)
	x.note(TableTasks, string(after.ID), before, after)
	x.t.reindex(before, after, s)
	if before.Hold != nil && before.Live() && !after.Live() {
		x.detach(before)
	}
}

func (x *txn) removeTask(k *dcos.Task) {
	s := x.slotOf(k)
	x.t.reindex(k, nil, s)
	x.t.tasks.Remove(x.t.age, string(k.ID), s)
	x.note(TableTasks, string(k.ID), k, nil)
}

// task looks a task up, and remembers where it is: it is mostly written next.
func (x *txn) task(id dcos.TaskID) (*dcos.Task, bool) {
	s, ok := x.seen.Find(&x.t.tasks, string(id))
	if !ok {
		return nil, false
	}
	k := x.t.tasks.At(s)
	x.found, x.foundAt = k, s
	return k, true
}

// slotOf is where a row is that is in the table now.
func (x *txn) slotOf(k *dcos.Task) pages.Slot {
	if x.found == k && x.t.tasks.At(x.foundAt) == k {
		return x.foundAt
	}
	s, _ := x.t.tasks.Find(string(k.ID))
	return s
}

// reindex keeps the indexes of the task in a slot.
func (t *tables) reindex(before, after *dcos.Task, s pages.Slot) {
	t.count(before, after)
	if before != nil {
		t.unindex(before, after, s)
	}
	if after == nil {
		return
	}
	if history(after) {
		t.ended.Set(after)
		t.byEnd.Set(after)
	} else if before == nil || history(before) {
		n, _ := t.numbers.Get(after.App)
		t.instances.Set(t.age, n, after.Ordinal, s)
	}
	if after.Live() && (before == nil || !before.Live()) {
		t.hold(after, s)
	}
	if after.State == dcos.TaskWaiting && (before == nil || before.State != dcos.TaskWaiting) {
		n, _ := t.waiting.Get(after.App)
		t.waiting.Set(after.App, n+1)
	}
}

// unindex takes away what holds for before and not for after.
func (t *tables) unindex(before, after *dcos.Task, s pages.Slot) {
	switch {
	case history(before):
		t.ended.Delete(before)
		t.byEnd.Delete(before)
	case after == nil || history(after):
		n, _ := t.numbers.Get(before.App)
		t.instances.Remove(t.age, n, before.Ordinal)
	}
	if before.Live() && (after == nil || !after.Live()) {
		t.release(before, s)
	}
	if before.State == dcos.TaskWaiting && (after == nil || after.State != dcos.TaskWaiting) {
		if n, _ := t.waiting.Get(before.App); n > 1 {
			t.waiting.Set(before.App, n-1)
		} else {
			t.waiting.Delete(before.App)
		}
	}
}

// definition is what a task runs.
func (t *tables) definition(row *AppRow, at dcos.Version) (*dcos.App, bool) {
	if row.App.Version == at {
		return row.App, true
	}
	return t.appAt(row.App.ID, at)
}

// wanted is the row of an app that may get tasks, and a definition of it.
func (x *txn) wanted(id dcos.AppID, at dcos.Version) (*AppRow, *dcos.App, error) {
	row, ok := x.t.apps.Get(string(id))
	if !ok {
		return nil, nil, fmt.Errorf("%w: app %s", dcos.ErrNotFound, id)
	}
	if row.Deleting {
		return nil, nil, fmt.Errorf("%w: app %s is being deleted", dcos.ErrConflict, id)
	}
	def, ok := x.t.definition(row, at)
	if !ok {
		return nil, nil, fmt.Errorf("%w: version %s of app %s", dcos.ErrNotFound, at, id)
	}
	return row, def, nil
}

func (x *txn) addTasks(c AddTasks) error {
	row, def, err := x.wanted(c.App, c.Version)
	switch {
	case err != nil:
		return err
	case c.Count == 0 || c.Count > MaxAddTasks:
		return fmt.Errorf("%w: %d tasks at once, expected 1 to %d", dcos.ErrInvalid, c.Count, MaxAddTasks)
	case c.First != row.NextOrdinal:
		return fmt.Errorf("%w: app %s: next instance is number %d, not %d", dcos.ErrConflict, c.App, row.NextOrdinal, c.First)
	case c.First+c.Count < c.First:
		return fmt.Errorf("%w: app %s has used up its instance numbers: create it anew", dcos.ErrExhausted, c.App)
	}
	x.changes = slices.Grow(x.changes, int(c.Count))
	var ids taskIDs
	for n := range c.Count {
		ids.fill(row, c.First+n, c.First+c.Count)
		x.putTask(nil, x.newTask(row, def, ids.next(), c.First+n, 1))
	}
	next := *row
	next.NextOrdinal += c.Count
	x.setAppRow(row, &next)
	return nil
}

// taskIDs makes ids of first attempts, a few dozen in one piece of memory: a
// million apart take a quarter more, and the collector's time.
type taskIDs struct {
	text string
	ends []int
	at   int // where the next one begins
}

// fill makes ids from an ordinal on when there are none left.
func (i *taskIDs) fill(row *AppRow, first, behind uint32) {
	if len(i.ends) > 0 {
		return
	}
	const together = 32
	buf := make([]byte, 0, 4096)
	for n := first; n < behind && n-first < together; n++ {
		buf = dcos.AppendTaskID(buf, row.App.ID, row.Incarnation, n, 1)
		i.ends = append(i.ends, len(buf))
	}
	i.text, i.at = string(buf), 0
}

func (i *taskIDs) next() dcos.TaskID {
	id := i.text[i.at:i.ends[0]]
	i.at, i.ends = i.ends[0], i.ends[1:]
	return dcos.TaskID(id)
}

func (x *txn) newTask(row *AppRow, def *dcos.App, name dcos.TaskID, ordinal, attempt uint32) *dcos.Task {
	id := row.App.ID // shared by all tasks of the app
	return &dcos.Task{
		ID: name, App: id, Version: def.Version,
		Ordinal: ordinal, Attempt: attempt, Goal: dcos.GoalRun, State: dcos.TaskWaiting,
		Need: def.Need, CreatedAt: x.t.time,
	}
}

func (x *txn) retryTask(id dcos.TaskID, at dcos.Version) error {
	old, ok := x.task(id)
	switch {
	case !ok:
		return fmt.Errorf("%w: task %s", dcos.ErrNotFound, id)
	case !old.State.Terminal():
		return fmt.Errorf("%w: task %s has not ended", dcos.ErrConflict, id)
	case old.Final:
		return fmt.Errorf("%w: the instance of task %s has gone on or was ended", dcos.ErrConflict, id)
	case old.Epoch == dcos.Epoch(x.t.index):
		// The next attempt could be placed in this entry too, with the same epoch.
		return fmt.Errorf("%w: task %s was placed this very moment: try again", dcos.ErrUnavailable, id)
	case old.Attempt == 1<<32-1:
		return fmt.Errorf("%w: task %s was the last attempt that can be numbered", dcos.ErrExhausted, id)
	}
	row, def, err := x.wanted(old.App, at)
	if err != nil {
		return err
	}
	past := *old
	past.Final = true
	x.putTask(old, &past)
	x.putTask(nil, x.newTask(row, def, dcos.NewTaskID(old.App, row.Incarnation, old.Ordinal, old.Attempt+1), old.Ordinal, old.Attempt+1))
	x.trimEnded(old.App)
	return nil
}

// place checks again everything that the scheduler saw in an older view.
func (x *txn) place(p Placement) error {
	old, ok := x.task(p.Task)
	switch {
	case !ok:
		return fmt.Errorf("%w: task %s", dcos.ErrNotFound, p.Task)
	case old.State != dcos.TaskWaiting:
		return fmt.Errorf("%w: task %s does not wait for a place", dcos.ErrConflict, p.Task)
	}
	row, def, err := x.wanted(old.App, old.Version)
	if err != nil {
		return err
	}
	if row.Backoff.Until > x.t.time {
		return fmt.Errorf("%w: app %s is held back until %s after failures", dcos.ErrUnavailable, old.App, row.Backoff.Until)
	}
	n, ok := x.t.nodes.Get(string(p.Node))
	switch {
	case !ok:
		return fmt.Errorf("%w: node %s", dcos.ErrNotFound, p.Node)
	case n.State != dcos.NodeActive:
		return fmt.Errorf("%w: node %s is %s", dcos.ErrConflict, p.Node, n.State)
	case n.Drain != nil:
		return fmt.Errorf("%w: node %s is being drained", dcos.ErrConflict, p.Node)
	}
	ports, err := checkPorts(def, p.Ports)
	if err != nil {
		return fmt.Errorf("place %s: %w", p.Task, err)
	}
	k := *old
	k.Need.Ports = ports
	role := row.App.Role
	if role == "" {
		role = dcos.DefaultRole
	}
	hold, from, err := x.hold(p, n, role)
	switch {
	case err != nil:
		return fmt.Errorf("place %s: %w", p.Task, err)
	case from != nil:
		err = x.t.fitsIn(n, from, k.Need)
	default:
		if err = x.t.fits(n, k.Need); err == nil {
			err = x.t.withinQuota(role, k.Need)
		}
	}
	if err != nil {
		return err
	}
	k.State, k.Node, k.Epoch, k.PlacedAt, k.Ports = dcos.TaskPlaced, n.ID, dcos.Epoch(x.t.index), x.t.time, p.Ports
	k.Hold = hold
	x.putTask(old, &k)
	if hold != nil {
		x.attach(&k)
	}
	x.advanceBackoff(&k)
	return nil
}

// checkPorts compares host ports with the definition that asks for them.
func checkPorts(def *dcos.App, ports []uint16) (resource.Ranges, error) {
	if len(ports) != len(def.Ports) {
		return nil, fmt.Errorf("%w: %d host ports, the app asks for %d", dcos.ErrInvalid, len(ports), len(def.Ports))
	}
	if len(ports) == 0 {
		return nil, nil
	}
	for i, p := range ports {
		if p == 0 || def.RequirePorts && p != def.Ports[i].Port {
			return nil, fmt.Errorf("%w: host port %d, the app requires %d", dcos.ErrInvalid, p, def.Ports[i].Port)
		}
	}
	if len(ports) == 1 {
		return resource.Ranges{{First: ports[0], Last: ports[0]}}, nil
	}
	set := resource.PortSet(ports...)
	if set.Size() != len(ports) {
		return nil, fmt.Errorf("%w: a host port is given twice in %v", dcos.ErrInvalid, ports)
	}
	return slices.Clip(set), nil
}

func (x *txn) stopTasks(c StopTasks) Item {
	if len(c.Message) > dcos.MaxMessage {
		return Item{Err: fmt.Errorf("%w: message of %d bytes, expected at most %d", dcos.ErrInvalid, len(c.Message), dcos.MaxMessage)}
	}
	return Item{Each: each(c.Tasks, func(id dcos.TaskID) error { return x.stopTask(id, c.Final, c.Message) })}
}

// stopTask does nothing, without an error, when what it asks for holds already.
func (x *txn) stopTask(id dcos.TaskID, final bool, message string) error {
	old, ok := x.task(id)
	if !ok {
		return fmt.Errorf("%w: task %s", dcos.ErrNotFound, id)
	}
	k := *old
	k.Final = k.Final || final
	ended := old.State.Terminal()
	switch {
	case ended && !final:
		return fmt.Errorf("%w: task %s has ended already", dcos.ErrConflict, id)
	case k.Final == old.Final && old.Goal == dcos.GoalStop || ended && old.Final:
		return nil
	case !ended:
		k.Goal = dcos.GoalStop
		if message != "" {
			k.Message = message
		}
	}
	if old.State == dcos.TaskWaiting {
		k.State, k.EndedAt = dcos.TaskKilled, x.t.time
	}
	x.putTask(old, &k)
	if history(&k) {
		x.trimEnded(k.App)
	}
	return nil
}

// status takes over what a node says of one task.
func (x *txn) status(from dcos.NodeID, s dcos.Status) error {
	old, ok := x.task(s.Task)
	switch {
	case !ok:
		return fmt.Errorf("%w: task %s", dcos.ErrNotFound, s.Task)
	case s.State < dcos.TaskStaging || s.State > dcos.TaskLost:
		return fmt.Errorf("%w: task %s: state %d is not for nodes to report", dcos.ErrInvalid, s.Task, s.State)
	case len(s.Message) > dcos.MaxMessage || len(s.Reason) > maxName:
		return fmt.Errorf("%w: task %s: message of %d bytes, expected at most %d", dcos.ErrInvalid, s.Task, len(s.Message), dcos.MaxMessage)
	case old.Node != from || old.Epoch != s.Epoch || old.Epoch == 0:
		return fmt.Errorf("%w: task %s is not placed on node %s with epoch %d", dcos.ErrConflict, s.Task, from, s.Epoch)
	case s.Seq <= old.StatusSeq || !old.State.CanBecome(s.State):
		return fmt.Errorf("%w: task %s is %s already", dcos.ErrConflict, s.Task, old.State)
	}
	k := *old
	k.State, k.StatusSeq, k.Reason, k.Message = s.State, s.Seq, shared(s.Reason), s.Message
	if s.State == dcos.TaskRunning {
		k.StartedAt = x.t.time
	}
	if !s.State.Terminal() {
		x.putTask(old, &k)
		x.advanceBackoff(&k)
		return nil
	}
	k.EndedAt, k.Exit = x.t.time, s.Exit
	x.endTask(old, &k)
	return nil
}

// endTask writes a placed task that has just ended, and what follows for its
// app. An end that was asked for is no failure.
func (x *txn) endTask(before, after *dcos.Task) {
	after.Unreachable = 0
	x.putTask(before, after)
	if after.Goal == dcos.GoalRun {
		x.noteFailure(after)
	}
	if history(after) {
		x.trimEnded(after.App)
	}
}

// trimEnded keeps the newest ended tasks of an app and the newest that failed.
func (x *txn) trimEnded(id dcos.AppID) {
	n, failed := 0, false
	var drop []*dcos.Task
	for k := range x.t.endedOf(id) {
		n++
		newestFailed := !failed && (k.State == dcos.TaskFailed || k.State == dcos.TaskError)
		failed = failed || newestFailed
		if n > maxEnded && !newestFailed {
			drop = append(drop, k)
		}
	}
	for _, k := range drop {
		x.removeTask(k)
	}
}

// expireEnded forgets ended tasks that are too old, oldest first and a few per
// entry, so that no entry pays for all. The first release kept them for ever:
// below level 2 they stay, since all masters must agree.
func (x *txn) expireEnded() {
	if x.t.level() < 2 || x.t.byEnd.Len() == 0 {
		return
	}
	for range maxExpired {
		oldest, ok := x.t.byEnd.Min()
		if !ok || oldest.EndedAt.Add(MaxEndedAge) >= x.t.time {
			return
		}
		x.removeTask(oldest)
	}
}

// reasons are kept once, not once per task.
var reasons = func() map[dcos.Reason]dcos.Reason {
	m := map[dcos.Reason]dcos.Reason{}
	for _, r := range []dcos.Reason{
		dcos.ReasonCommand, dcos.ReasonLaunch, dcos.ReasonImage, dcos.ReasonMemory, dcos.ReasonDisk, dcos.ReasonKilled,
		dcos.ReasonAgentRemoved, dcos.ReasonAgentLost, dcos.ReasonReboot, dcos.ReasonExitUnknown, dcos.ReasonReconciliation, dcos.ReasonInvalid,
	} {
		m[r] = r
	}
	return m
}()

func shared(r dcos.Reason) dcos.Reason {
	if known, ok := reasons[r]; ok {
		return known
	}
	return r
}
