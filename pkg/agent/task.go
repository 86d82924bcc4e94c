package agent

import (
	"errors"
	"slices"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// task is one task of this node. rec is what the checkpoint holds; the rest is
// found again after a restart.
type task struct {
	rec taskRecord
	// recorded says that the checkpoint holds the launch.
	recorded bool
	step     step
	image    *dcos.Unpacked
	fetched  bool   // what it asks for is in its sandbox
	dir      string // of its sandbox, while it is fetched
	// freed says that nothing of it runs any more, as far as can be known: the
	// next task of its instance may start.
	freed  bool
	tries  int       // of what is being retried
	wakeAt time.Time // zero: it waits for no moment
}

// step is the effect whose answer a task waits for.
type step uint8

const (
	stepNone    step = iota
	stepImage        // PullImage
	stepSandbox      // CreateSandbox
	stepFetch        // FetchArtifacts
	stepStart        // StartProcess
	stepAdopt        // Adopt
	stepScrub        // Cleanup of what a lost start may have left, before starting
	stepCleanup      // Cleanup after the end
	stepRemove       // RemoveSandbox
)

func (t *task) id() dcos.TaskID { return t.rec.ID }
func (t *task) ended() bool     { return t.rec.Phase >= phaseEnded }

// Delays of what is tried again.
const (
	retryFirst = time.Second
	retryLast  = time.Minute
	killAgain  = 10 * time.Second
)

// retryIn is the delay before the next try.
func (t *task) retryIn() time.Duration {
	d := min(retryFirst<<min(t.tries, 6), retryLast)
	t.tries++
	return d
}

func (c *Core) wake(t *task, at time.Time) {
	t.wakeAt = at
	if at.IsZero() {
		delete(c.timed, t.id())
	} else {
		c.timed[t.id()] = t
	}
}

// take begins a task that the master assigned.
func (c *Core) take(now time.Time, l dcos.Launch) {
	if t := c.tasks[l.Task]; t != nil {
		// It was taken before and is never started again. If the master asks
		// although its end was acknowledged, it is told once more.
		if t.ended() && !c.outbox.holdsEnd(l.Task) {
			c.report(now, t)
		}
		return
	}
	if c.live >= maxLive {
		c.reportOf(now, dcos.Status{Task: l.Task, Epoch: l.Epoch, State: dcos.TaskFailed, Reason: dcos.ReasonLaunch, Message: "the node holds too many tasks already"})
		return
	}
	t := &task{rec: taskRecord{ID: l.Task, Launch: &l, Phase: phaseTaken, State: dcos.TaskStaging}}
	newest := c.newestOf(l.Instance)
	c.add(t)
	c.report(now, t)
	if newest != nil && newest.rec.Launch.Epoch > l.Epoch {
		c.end(now, t, dcos.TaskKilled, dcos.ReasonReconciliation, "a newer task of the same instance is here: "+string(newest.id()), nil)
		return
	}
	for _, older := range slices.Clone(c.instances[l.Instance]) {
		if older != t {
			c.stop(now, older, "replaced by "+string(l.Task))
		}
	}
	c.advance(now, t)
}

// add puts a task that is not cleaned up into the indexes.
func (c *Core) add(t *task) {
	c.tasks[t.id()] = t
	c.live++
	in := append(c.instances[t.rec.Launch.Instance], t)
	slices.SortFunc(in, func(a, b *task) int {
		switch {
		case a.rec.Launch.Epoch < b.rec.Launch.Epoch:
			return -1
		case a.rec.Launch.Epoch > b.rec.Launch.Epoch:
			return 1
		}
		return 0
	})
	c.instances[t.rec.Launch.Instance] = in
	if t.rec.Launch.Fenced && !t.ended() {
		c.fenced[t.id()] = t
	}
}

// newestOf is the unfreed task of an instance with the highest epoch.
func (c *Core) newestOf(instance string) *task {
	in := c.instances[instance]
	if len(in) == 0 {
		return nil
	}
	return in[len(in)-1]
}

// free lets the next task of the same instance start.
func (c *Core) free(now time.Time, t *task) {
	if t.freed {
		return
	}
	t.freed = true
	key := t.rec.Launch.Instance
	in := slices.DeleteFunc(c.instances[key], func(o *task) bool { return o == t })
	if len(in) == 0 {
		delete(c.instances, key)
		return
	}
	c.instances[key] = in
	for _, next := range slices.Clone(in) {
		c.advance(now, next)
	}
}

// blocked says that an older task of the same instance may still run, or a
// task that nobody knows.
func (c *Core) blocked(t *task) bool {
	if !c.sweep.done {
		return true
	}
	in := c.instances[t.rec.Launch.Instance]
	return len(in) > 0 && in[0] != t
}

// advance takes the next step towards running, when nothing is under way.
func (c *Core) advance(now time.Time, t *task) {
	if t.rec.Phase != phaseTaken || t.step != stepNone {
		return
	}
	l := t.rec.Launch
	switch {
	case t.rec.Stop != "":
		c.end(now, t, dcos.TaskKilled, dcos.ReasonKilled, t.rec.Stop, nil)
	case c.blocked(t):
	case c.awaitLease(now, t):
	case l.Image != "" && t.image == nil:
		t.step = stepImage
		c.hold(PullImage{Task: t.id(), Ref: l.Image, Force: l.ForcePull})
	default:
		t.step = stepSandbox
		c.hold(CreateSandbox{Task: t.id(), User: sandboxOwner(l, t.image)})
	}
}

// at is the task when it waits for the answer to a step.
func (c *Core) at(id dcos.TaskID, s step) *task {
	if t := c.tasks[id]; t != nil && t.step == s {
		return t
	}
	return nil
}

func (c *Core) onImage(now time.Time, ev ImageReady) {
	t := c.at(ev.Task, stepImage)
	if t == nil {
		return
	}
	t.step = stepNone
	if ev.Err != nil {
		c.failStart(now, t, dcos.ReasonImage, ev.Err)
		return
	}
	t.image = &ev.Image
	c.advance(now, t)
}

func (c *Core) onSandbox(now time.Time, ev SandboxReady) {
	t := c.at(ev.Task, stepSandbox)
	if t == nil {
		return
	}
	t.step = stepNone
	if ev.Err != nil {
		c.failStart(now, t, dcos.ReasonLaunch, ev.Err)
		return
	}
	if l := t.rec.Launch; len(l.Fetch) > 0 && !t.fetched {
		t.step, t.dir = stepFetch, ev.Dir
		c.hold(FetchArtifacts{Task: t.id(), Dir: ev.Dir, All: l.Fetch})
		return
	}
	c.startIn(now, t, ev.Dir)
}

// onFetched goes on to the start. What could not be fetched is a failure, never
// an error: the same may work another time, as under Mesos.
func (c *Core) onFetched(now time.Time, ev Fetched) {
	t := c.at(ev.Task, stepFetch)
	if t == nil {
		return
	}
	t.step = stepNone
	if ev.Err != nil {
		c.end(now, t, dcos.TaskFailed, dcos.ReasonFetch, ev.Err.Error(), nil)
		return
	}
	t.fetched = true
	c.startIn(now, t, t.dir)
}

// startIn starts a task whose sandbox is ready.
func (c *Core) startIn(now time.Time, t *task, dir string) {
	spec, err := MakeSpec(t.rec.Launch, t.image, Facts{
		Isolation: c.cfg.Node.Isolation, Sandbox: dir, Binary: c.cfg.Binary, LogBytes: c.cfg.LogBytes, Pids: c.cfg.Pids,
	})
	if err != nil {
		c.failStart(now, t, dcos.ReasonInvalid, err)
		return
	}
	if t.rec.StopSignal = spec.StopSignal; spec.StopSignal != 0 {
		c.putTask(t)
	}
	if t.rec.Launch.Fenced {
		if c.awaitLease(now, t) {
			return // it ended meanwhile; with the next one the sandbox is there already
		}
		spec.Lease = c.lease.until
	}
	t.step = stepStart
	c.hold(StartProcess{Spec: spec})
}

// failStart ends a task that could not be started. What can never work is an
// error, all else a failure.
func (c *Core) failStart(now time.Time, t *task, why dcos.Reason, err error) {
	state := dcos.TaskFailed
	switch {
	case t.rec.Stop == stopLease:
		state, why = dcos.TaskKilled, dcos.ReasonAgentLost
	case errors.Is(err, dcos.ErrInvalid):
		state = dcos.TaskError
	}
	c.end(now, t, state, why, err.Error(), nil)
}

func (c *Core) onStarted(now time.Time, ev Started) {
	t := c.at(ev.Task, stepStart)
	if t == nil {
		return
	}
	t.step = stepNone
	if ev.Err != nil {
		c.failStart(now, t, dcos.ReasonLaunch, ev.Err)
		return
	}
	c.running(now, t)
}

// running records that the task's process was started.
func (c *Core) running(now time.Time, t *task) {
	t.rec.Phase, t.rec.State, t.rec.Message = phaseRunning, dcos.TaskRunning, ""
	t.image = nil
	c.report(now, t)
	if t.rec.Stop != "" {
		c.terminate(now, t)
	}
}

func (c *Core) onExited(now time.Time, ev Exited) {
	t := c.tasks[ev.Task]
	if t == nil || t.ended() {
		return
	}
	if t.rec.Phase == phaseTaken {
		if t.step != stepStart && t.step != stepAdopt {
			return // of a process that was never this task's
		}
		c.running(now, t)
	}
	c.exited(now, t, ev.Exit)
}

// exited ends a task by the exit of its process.
func (c *Core) exited(now time.Time, t *task, x dcos.Exit) {
	state, why := dcos.TaskFailed, dcos.ReasonCommand
	switch {
	case t.rec.Stop == stopLease:
		state, why = dcos.TaskKilled, dcos.ReasonAgentLost
	case t.rec.Stop != "":
		state, why = dcos.TaskKilled, ""
	case x.OOM:
		why = dcos.ReasonMemory
	case x.Unknown:
		why = dcos.ReasonExitUnknown
	case x.Code == 0 && x.Signal == 0:
		state, why = dcos.TaskFinished, ""
	}
	text := x.String()
	if t.rec.Stop != "" {
		text = t.rec.Stop + ": " + text
	}
	c.end(now, t, state, why, text, &x)
}

// end records a task's end; its cleanup follows when that is durable.
func (c *Core) end(now time.Time, t *task, state dcos.TaskState, why dcos.Reason, text string, x *dcos.Exit) {
	t.rec.Phase, t.rec.State, t.rec.Reason, t.rec.Message, t.rec.Exit = phaseEnded, state, why, cut(text), x
	t.rec.EndedAt = dcos.TimeOf(now)
	// What is left of the launch names the task; the rest may be large.
	delete(c.fenced, t.id())
	l := *t.rec.Launch
	t.rec.Launch = &dcos.Launch{Task: l.Task, App: l.App, Epoch: l.Epoch, Instance: l.Instance}
	t.image = nil
	c.report(now, t)
	c.cleanup(t)
}

func (c *Core) cleanup(t *task) {
	t.step = stepCleanup
	t.tries = 0
	c.wake(t, time.Time{})
	c.hold(Cleanup{Task: t.id()})
}

func (c *Core) onCleaned(now time.Time, ev Cleaned) {
	t := c.tasks[ev.Task]
	if c.strayCleaned(now, ev) || t == nil || t.step != stepCleanup && t.step != stepScrub {
		return
	}
	if ev.Err != nil {
		c.do(Note{Text: "cleanup of a task failed, will be tried again", Task: t.id(), Why: ev.Err.Error()})
		if t.rec.Exit != nil && !t.rec.Exit.Unknown {
			c.free(now, t) // its end was seen; what is left does not run
		}
		c.wake(t, now.Add(t.retryIn()))
		return
	}
	if t.step == stepScrub {
		t.step = stepNone
		c.advance(now, t)
		return
	}
	t.step = stepNone
	t.rec.Phase = phaseCleaned
	c.live--
	c.putTask(t)
	c.kept.add(t)
	c.free(now, t)
	c.collect(now)
}

// stop ends a task on purpose.
func (c *Core) stop(now time.Time, t *task, why string) {
	if t.ended() || t.rec.Stop != "" {
		return
	}
	t.rec.Stop = cut(why)
	if t.rec.Phase == phaseRunning {
		c.putTask(t)
		c.terminate(now, t)
		return
	}
	switch t.step {
	case stepNone, stepImage, stepSandbox, stepFetch:
		c.end(now, t, dcos.TaskKilled, dcos.ReasonKilled, why, nil)
	default: // the answer under way decides whether there is a process
		c.putTask(t)
	}
}

// terminate asks the process to end, and kills it when the grace is over.
func (c *Core) terminate(now time.Time, t *task) {
	if t.step == stepAdopt {
		return // done when it is known to run
	}
	if t.rec.Stop == stopLease {
		c.do(Kill{Task: t.id()})
		c.wake(t, now.Add(killAgain))
		return
	}
	c.hold(Signal{Task: t.id(), Sig: t.rec.StopSignal})
	c.wake(t, now.Add(grace(t.rec.Launch)))
}

func grace(l *dcos.Launch) time.Duration {
	const most = 24 * time.Hour
	ms := max(l.KillGraceMillis, 0)
	if ms > most.Milliseconds() {
		return most
	}
	return time.Duration(ms) * time.Millisecond
}

// onTaskTimer does what a task waited for.
func (c *Core) onTaskTimer(now time.Time, t *task) {
	c.wake(t, time.Time{})
	switch t.step {
	case stepCleanup, stepScrub:
		c.do(Cleanup{Task: t.id()})
	case stepAdopt:
		c.do(Adopt{Task: t.id()})
	case stepRemove:
		c.do(RemoveSandbox{Task: t.id()})
	default:
		if t.rec.Phase == phaseRunning && t.rec.Stop != "" {
			c.do(Kill{Task: t.id()})
			c.wake(t, now.Add(killAgain))
		}
	}
}

// resume goes on with a task of the agent's earlier life.
func (c *Core) resume(now time.Time, t *task, sameBoot bool) {
	if t.rec.Phase == phaseCleaned {
		t.freed = true
		c.kept.add(t)
		c.dropIfDone(t)
		return
	}
	c.add(t)
	switch {
	case t.rec.Phase == phaseEnded:
		c.cleanup(t)
	case !sameBoot:
		c.end(now, t, dcos.TaskLost, dcos.ReasonReboot, "the machine was restarted", nil)
	default:
		t.step = stepAdopt
		c.do(Adopt{Task: t.id()})
	}
}

func (c *Core) onAdopted(now time.Time, ev Adopted) {
	t := c.at(ev.Task, stepAdopt)
	if t == nil {
		return
	}
	if ev.Err != nil {
		c.do(Note{Text: "a task's process could not be looked for, will be tried again", Task: t.id(), Why: ev.Err.Error()})
		c.wake(t, now.Add(t.retryIn()))
		return
	}
	t.step, t.tries = stepNone, 0
	c.wake(t, time.Time{})
	switch {
	case ev.Alive && t.rec.Phase == phaseTaken:
		c.running(now, t)
	case ev.Alive && t.rec.Stop != "":
		c.terminate(now, t)
	case ev.Alive:
	case ev.Exit != nil:
		if t.rec.Phase == phaseTaken {
			c.running(now, t)
		}
		c.exited(now, t, *ev.Exit)
	case t.rec.Phase == phaseTaken:
		// It was never started, but the start may have been cut off halfway.
		t.step = stepScrub
		c.do(Cleanup{Task: t.id()})
	default:
		c.exited(now, t, dcos.Exit{Code: -1, Unknown: true})
	}
}

// dropIfDone forgets a task of which nothing is left anywhere.
func (c *Core) dropIfDone(t *task) {
	if t.rec.Phase != phaseCleaned || !t.rec.Acked || c.kept.holds(t.id()) || t.step != stepNone {
		return
	}
	delete(c.tasks, t.id())
	c.wake(t, time.Time{})
	c.record(record{Drop: t.id()})
}
