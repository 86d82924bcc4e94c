package app

import (
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

const (
	// maxIDBytes and maxAdds bound one command, so that an entry of the log
	// stays small; what is left of an addition follows with the next call.
	maxIDBytes = 128 << 10
	maxAdds    = 10_000
)

// Reconcile says what must be done next for an app to come closer to its
// definition, given what the view shows; nothing when all that can be done now
// is to wait. All of it may be carried out, or any part, once or twice: what
// has been done already changes nothing. Placing the waiting tasks is left to
// the caller. Wake is the time at which to ask again though nothing has
// changed, 0 for never. Left, when not 0, says that instances of the
// deployment's target that only come further on their way change nothing
// until so many of them have come to run.
//
// It costs what is out of the ordinary: instances that run, or are on their way
// there, are counted by the state. Only when some of these must be chosen (to
// be stopped, or moved off a node) each is looked at.
func Reconcile(v state.View, row *state.AppRow, now dcos.Time) (cmds []state.Command, wake dcos.Time, left int) {
	if c := countedCensus(v, row, now); c != nil {
		c.decide()
		if !c.choose {
			return c.cmds, c.wake, c.left
		}
	}
	return reconcileAll(v, row, now)
}

// reconcileAll is Reconcile by a look at every instance.
func reconcileAll(v state.View, row *state.AppRow, now dcos.Time) (cmds []state.Command, wake dcos.Time, left int) {
	c := takeCensus(v, row, now)
	c.decide()
	return c.cmds, c.wake, c.left
}

func (c *census) decide() {
	c.giveUp()
	switch {
	case c.row.Deleting:
		c.delete()
	case c.overdue():
	default:
		c.deploy()
		if c.waiting > 0 && c.row.Backoff.Until > c.now {
			c.wakeAt(c.row.Backoff.Until)
		}
	}
}

// census is an app's instances, sorted by what matters for the next move.
type census struct {
	view state.View
	row  *state.AppRow
	now  dcos.Time

	members []member // instances that are to go on and count
	// regular are instances that are members too, but were only counted. What
	// would have to choose some of them sets choose instead.
	regular []regular
	choose  bool
	known   map[dcos.Version]bool // whether it is of the present configuration

	leaving int // live tasks whose instance ends with them
	waiting int
	live    int          // placed and not ended, whatever is wanted of them
	left    int          // to come to run before a scale step is done
	moving  int          // members that are to go on elsewhere
	lost    []*dcos.Task // unreachable, and given up now

	cmds []state.Command
	wake dcos.Time
}

// member is one instance that is to go on.
type member struct {
	task    *dcos.Task
	current bool // runs the configuration that the app has now
	moving  bool // its node is being drained
}

// ended says that the instance has no task at present.
func (m member) ended() bool { return m.task.State.Terminal() }

// dying says that the task was told to stop, though its instance goes on.
func (m member) dying() bool { return m.task.Goal == dcos.GoalStop && !m.ended() }

// running says that the instance does its work and is meant to.
func (m member) running() bool {
	return m.task.State == dcos.TaskRunning && m.task.Goal == dcos.GoalRun
}

func takeCensus(v state.View, row *state.AppRow, now dcos.Time) *census {
	c := newCensus(v, row, now)
	for t := range v.TasksOf(row.App.ID) {
		c.see(t)
	}
	return c
}

func newCensus(v state.View, row *state.AppRow, now dcos.Time) *census {
	return &census{view: v, row: row, now: now, known: map[dcos.Version]bool{row.App.Version: true}}
}

// see counts one instance.
func (c *census) see(t *dcos.Task) {
	if t.Live() {
		c.live++
	}
	if t.Unreachable != 0 && c.inactive(t) {
		return
	}
	if t.Final {
		if !t.State.Terminal() {
			c.leaving++
		}
		return
	}
	if t.State == dcos.TaskWaiting {
		c.waiting++
	}
	m := member{task: t, current: c.current(t.Version), moving: c.drained(t)}
	if m.moving {
		c.moving++
	}
	c.members = append(c.members, m)
}

// current says that a version is of the configuration that the app has now.
func (c *census) current(at dcos.Version) bool {
	is, ok := c.known[at]
	if !ok {
		def, found := c.view.AppAt(c.row.App.ID, at)
		is = found && def.LastConfigChange == c.row.App.LastConfigChange
		c.known[at] = is
	}
	return is
}

func (c *census) emit(cmd state.Command) { c.cmds = append(c.cmds, cmd) }

// delete stops everything and forgets the app once nothing of it is live.
func (c *census) delete() {
	if c.live == 0 {
		c.emit(state.RemoveApp{App: c.row.App.ID})
		return
	}
	c.choose = len(c.regular) > 0
	c.stop(c.members, "the app is deleted")
}

// deploy does the present step of the app's deployment; without one it keeps
// the number of instances.
func (c *census) deploy() {
	d, deploying := c.view.DeploymentOf(c.row.App.ID)
	if !deploying {
		if c.moving > 0 {
			c.replace(func(m member) bool { return !m.moving }, everyVersion, "moved: its node is being drained")
		} else {
			c.scale(c.row.App.Version)
		}
		return
	}
	step := d.Step
	if c.action(d, step) == dcos.ActionStart {
		// The pseudo step is done at once; the next one need not wait for
		// the log.
		c.emit(state.AdvanceDeployment{ID: d.ID, Step: step})
		step++
	}
	before := len(c.cmds)
	var done bool
	switch c.action(d, step) {
	case dcos.ActionScale:
		c.scale(d.Target)
		done = c.scaled(d)
	case dcos.ActionRestart:
		c.replace(func(m member) bool { return m.current && !m.moving }, c.current, "replaced by the new version")
		done = c.rolled()
	default: // a stop of an app that is not being deleted any more, or past the end
		c.scale(c.row.App.Version)
		done = true
	}
	if done && len(c.cmds) == before && step <= len(d.Steps) {
		c.emit(state.AdvanceDeployment{ID: d.ID, Step: step})
	}
}

func (c *census) action(d *dcos.Deployment, step int) dcos.Action {
	if step < 1 || step > len(d.Steps) {
		return ""
	}
	return d.Steps[step-1]
}

// scale keeps as many instances as are wanted. Instances whose task has ended
// get a new one; during a deployment those of the present configuration keep
// their version, so that only new instances are judged by their success.
func (c *census) scale(deploying dcos.Version) {
	wanted := int(c.row.App.Instances)
	if surplus := c.size() - wanted; surplus > 0 {
		if len(c.regular) > 0 {
			c.choose = true
			return
		}
		victims, rest := c.victims(surplus)
		c.stop(victims, "the app is scaled down")
		c.retry(rest, deploying)
		return
	}
	c.retry(c.members, deploying)
	_, most := shares(c.row.App)
	if c.row.App.Fence != dcos.FenceNone {
		most = wanted
	}
	// What is ending takes up room until it has ended.
	c.add(min(wanted, most-c.leaving) - c.size())
}

// scaled says that a scale step has reached its goal.
func (c *census) scaled(d *dcos.Deployment) bool {
	for _, m := range c.members {
		if m.task.Version == d.Target && !m.running() {
			c.left++
		}
	}
	for _, r := range c.regular {
		if r.version == d.Target {
			c.left += r.waiting + r.coming
		}
	}
	return c.size() == int(c.row.App.Instances) && c.leaving == 0 && c.left == 0
}

// stop ends the instances for good. Those that are ending already are left
// out.
func (c *census) stop(ms []member, why string) {
	ids := make([]dcos.TaskID, len(ms))
	for i, m := range ms {
		ids[i] = m.task.ID
	}
	for _, some := range inParts(ids) {
		c.emit(state.StopTasks{Tasks: some, Final: true, Message: why})
	}
}

// inParts cuts a list into parts that fit into a command each.
func inParts(ids []dcos.TaskID) [][]dcos.TaskID {
	var out [][]dcos.TaskID
	first, bytes := 0, 0
	for i, id := range ids {
		if bytes += len(id) + 4; bytes > maxIDBytes {
			out = append(out, ids[first:i:i])
			first, bytes = i, len(id)+4
		}
	}
	if first < len(ids) {
		out = append(out, ids[first:])
	}
	return out
}

// retry makes the next attempt of every instance whose task has ended.
func (c *census) retry(ms []member, deploying dcos.Version) {
	present := c.row.App.Version
	var order []dcos.Version
	byVersion := make(map[dcos.Version][]dcos.TaskID)
	for _, m := range ms {
		if !m.ended() {
			continue
		}
		at := present
		if _, held := c.view.DeploymentOf(c.row.App.ID); held && m.current && deploying == present {
			at = m.task.Version
		}
		if byVersion[at] == nil {
			order = append(order, at)
		}
		byVersion[at] = append(byVersion[at], m.task.ID)
	}
	for _, at := range order {
		for _, some := range inParts(byVersion[at]) {
			c.emit(state.RetryTasks{Tasks: some, Version: at})
		}
	}
}

// add makes n new instances.
func (c *census) add(n int) {
	if n <= 0 {
		return
	}
	c.emit(state.AddTasks{
		App: c.row.App.ID, Version: c.row.App.Version, Count: uint32(min(n, maxAdds)), First: c.row.NextOrdinal,
	})
}
