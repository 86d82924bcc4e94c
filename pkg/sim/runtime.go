package sim

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/dcos-go/dcos/pkg/agent"
	"github.com/dcos-go/dcos/pkg/dcos"
)

// containers is a machine's container runtime and its sandboxes. Processes live
// on without the agent, and their ends are kept.
type containers struct {
	m     *machine
	tasks map[dcos.TaskID]*container
	boxes map[dcos.TaskID]bool
	lanes map[dcos.TaskID]*lane
	owed  map[dcos.TaskID]bool // sandboxes that could not be removed; the agent looks for them at its next start
}

// container is what the runtime holds of a task, until it is removed.
type container struct {
	id      dcos.TaskID
	alive   bool
	exit    *dcos.Exit
	watched int // the agent's life that waits for its end
	fenced  bool
	lease   time.Time // of a fenced one, by the clock of its machine
}

// lane is the work for one task: one piece after the other.
type lane struct {
	queue []job
	now   *job // under way
	gen   int
}

type job struct {
	took   time.Duration
	urgent bool
	// do carries the work out and gives the event that answers it. Abandoned
	// work answers too.
	do func(abandoned bool) agent.Event
	// half is what a killed agent may leave behind; nil for nothing.
	half func()
}

var (
	errFlaky     = errors.New("the runtime did not work")
	errAbandoned = errors.New("abandoned")
	errNever     = fmt.Errorf("%w: the runtime cannot run it", dcos.ErrInvalid)
)

func newContainers(m *machine) containers {
	return containers{m: m, tasks: map[dcos.TaskID]*container{}, boxes: map[dcos.TaskID]bool{}, lanes: map[dcos.TaskID]*lane{}, owed: map[dcos.TaskID]bool{}}
}

// restart is for a new life of the agent.
func (r *containers) restart() { clear(r.lanes) }

// abandon is the end of the agent: work under way may still take effect.
func (r *containers) abandon() {
	for _, id := range slices.Sorted(maps.Keys(r.lanes)) {
		if j := r.lanes[id].now; j != nil && j.half != nil && r.m.w.rng.one(2) {
			j.half()
		}
	}
	clear(r.lanes)
}

// reboot ends all processes; what is on the disk may stay.
func (r *containers) reboot() {
	clear(r.lanes)
	for _, id := range slices.Sorted(maps.Keys(r.tasks)) {
		c := r.tasks[id]
		if c.alive {
			r.m.w.check.died(r.m, id)
		}
		c.alive = false
		if r.m.w.rng.one(2) {
			delete(r.tasks, id)
		}
	}
}

// do takes an effect that is about tasks.
func (r *containers) do(e agent.Effect) {
	ms := func(n int) time.Duration {
		return r.m.w.rng.between(200*time.Microsecond, time.Duration(n)*time.Millisecond)
	}
	switch e := e.(type) {
	case agent.PullImage:
		r.add(e.Task, job{took: ms(800), do: func(abandoned bool) agent.Event {
			return agent.ImageReady{Task: e.Task, Image: dcos.Unpacked{Entrypoint: []string{"/run"}}, Err: r.trouble(abandoned)}
		}})
	case agent.CreateSandbox:
		r.add(e.Task, job{took: ms(20), half: func() { r.boxes[e.Task] = true }, do: func(abandoned bool) agent.Event {
			err := r.trouble(abandoned)
			if err == nil {
				r.boxes[e.Task] = true
			}
			return agent.SandboxReady{Task: e.Task, Dir: "/s/" + string(e.Task), Err: err}
		}})
	case agent.FetchArtifacts:
		r.add(e.Task, job{took: ms(500), do: func(abandoned bool) agent.Event {
			return agent.Fetched{Task: e.Task, Err: r.trouble(abandoned)}
		}})
	case agent.StartProcess:
		r.add(e.Spec.Task, job{took: r.hangs(e.Spec) + ms(60), half: func() { _ = r.start(e.Spec) }, do: func(abandoned bool) agent.Event {
			err := r.trouble(abandoned)
			switch {
			case err == nil:
				err = r.start(e.Spec)
			case r.m.w.rng.one(4):
				err = errNever
			}
			return agent.Started{Task: e.Spec.Task, Pid: 1, Err: err}
		}})
	case agent.Adopt:
		r.add(e.Task, job{took: ms(20), do: func(abandoned bool) agent.Event { return r.adopt(e.Task, abandoned) }})
	case agent.Signal:
		r.add(e.Task, job{took: ms(5), do: func(bool) agent.Event {
			if !r.m.w.rng.percent(15) { // it may not care
				r.endIn(e.Task, ms(300), dcos.Exit{Code: -1, Signal: 15})
			}
			return nil
		}})
	case agent.Kill:
		r.add(e.Task, job{took: ms(5), do: func(bool) agent.Event {
			r.endIn(e.Task, ms(5), dcos.Exit{Code: -1, Signal: 9})
			return nil
		}})
	case agent.ExtendLease:
		r.extend(e)
	case agent.Cleanup:
		r.add(e.Task, job{took: ms(40), urgent: true, do: func(bool) agent.Event {
			if err := r.trouble(false); err != nil {
				return agent.Cleaned{Task: e.Task, Err: err}
			}
			r.remove(e.Task)
			return agent.Cleaned{Task: e.Task}
		}})
	case agent.RemoveSandbox:
		r.add(e.Task, job{took: ms(20), do: func(abandoned bool) agent.Event {
			err := r.trouble(abandoned)
			if err == nil {
				delete(r.boxes, e.Task)
				delete(r.owed, e.Task)
			} else {
				r.owed[e.Task] = true
			}
			return agent.SandboxRemoved{Task: e.Task, Err: err}
		}})
	case agent.List:
		r.m.after(ms(20), "list", func() {
			if err := r.trouble(false); err != nil {
				r.m.step(agent.Listed{Err: err})
				return
			}
			r.m.step(agent.Listed{Tasks: slices.Sorted(maps.Keys(r.tasks)), Sandboxes: slices.Sorted(maps.Keys(r.boxes))})
		})
	default:
		r.m.w.fail("agent %s asks for %T, which is not known here", r.m.addr(), e)
	}
}

// hangs is how long a start takes longer than it should: sometimes the lease
// that a task was to run under is over by then.
func (r *containers) hangs(s dcos.Spec) time.Duration {
	w := r.m.w
	if s.Lease.IsZero() || w.calm || !w.rng.one(50) {
		return 0
	}
	return r.m.clock.takes(max(s.Lease.Sub(r.m.clock.mono()), 0))
}

func (r *containers) trouble(abandoned bool) error {
	switch {
	case abandoned:
		return errAbandoned
	case r.m.w.bad(r.m.w.rules.flaky):
		r.m.w.count("runtime fails")
		return errFlaky
	}
	return nil
}

// add queues a piece of work behind the others of its task. Urgent work
// abandons the piece that is under way.
func (r *containers) add(id dcos.TaskID, j job) {
	l := r.lanes[id]
	if l == nil {
		l = &lane{}
		r.lanes[id] = l
	}
	l.queue = append(l.queue, j)
	if j.urgent && l.now != nil && r.m.w.rng.one(2) {
		under := l.now
		l.now = nil
		l.gen++
		r.answer(id, under.do(true))
	}
	r.next(id, l)
}

func (r *containers) next(id dcos.TaskID, l *lane) {
	if l.now != nil {
		return
	}
	if len(l.queue) == 0 {
		delete(r.lanes, id)
		return
	}
	j := l.queue[0]
	l.queue, l.now = l.queue[1:], &j
	l.gen++
	gen := l.gen
	r.m.after(j.took, "runtime", func() {
		if r.lanes[id] != l || l.gen != gen {
			return
		}
		l.now = nil
		r.answer(id, j.do(false))
		r.next(id, l)
	})
}

// answer tells the agent, a moment later.
func (r *containers) answer(id dcos.TaskID, ev agent.Event) {
	if ev == nil {
		return
	}
	watch := false
	switch ev := ev.(type) {
	case agent.Started:
		watch = ev.Err == nil
	case agent.Adopted:
		watch = ev.Alive
	}
	r.m.after(r.m.w.rng.between(0, time.Millisecond), "runtime answers", func() {
		r.m.step(ev)
		if watch {
			r.watch(id)
		}
	})
}

// watch tells the agent of the end of a task, also when it has come already.
func (r *containers) watch(id dcos.TaskID) {
	c := r.tasks[id]
	if c == nil {
		return
	}
	c.watched = r.m.life
	if c.exit != nil {
		r.tell(c)
	}
}

func (r *containers) tell(c *container) {
	x := *c.exit
	r.m.after(r.m.w.rng.between(0, 5*time.Millisecond), "exited", func() { r.m.step(agent.Exited{Task: c.id, Exit: x}) })
}

// start makes the process.
func (r *containers) start(s dcos.Spec) error {
	if r.tasks[s.Task] != nil {
		return dcos.ErrConflict
	}
	w := r.m.w
	c := &container{id: s.Task, alive: true, fenced: !s.Lease.IsZero(), lease: s.Lease}
	if c.fenced && !r.m.clock.mono().Before(c.lease) {
		w.count("start after its lease")
		return fmt.Errorf("%w: its lease is over", dcos.ErrUnavailable)
	}
	w.check.started(r.m, s.Task, c.fenced)
	r.tasks[s.Task] = c
	if c.fenced {
		w.count("fenced process started")
		r.expires(c)
	}
	w.note("agent %s: started %s", r.m.addr(), short(s.Task))
	if life, code, ends := w.client.fate(s); ends {
		r.endIn(s.Task, life, dcos.Exit{Code: code})
	}
	return nil
}

// endIn lets a process end by itself or by a signal. Processes need no agent,
// but power.
func (r *containers) endIn(id dcos.TaskID, d time.Duration, x dcos.Exit) {
	c := r.tasks[id]
	if c == nil {
		return
	}
	w := r.m.w
	w.after(d, "process ends", r.m.host, func() {
		if !c.alive || r.tasks[id] != c || w.calm && x.Signal == 0 {
			return
		}
		x.At = dcos.TimeOf(w.time())
		c.alive, c.exit = false, &x
		w.check.exited(r.m, id, x)
		if c.watched == r.m.life && r.m.up {
			r.tell(c)
		}
	})
}

// extend takes over how long fenced tasks may run.
func (r *containers) extend(e agent.ExtendLease) {
	now := r.m.clock.mono()
	if e.Until.Sub(now) > dcos.LeaseFor {
		r.m.w.fail("agent %s has a lease for %v", r.m.addr(), e.Until.Sub(now))
	}
	for _, id := range e.Tasks {
		if c := r.tasks[id]; c != nil && c.alive && c.fenced && now.Before(c.lease) {
			c.lease = e.Until
			r.expires(c)
		}
	}
}

// expires ends a fenced task when its lease is over, whatever its agent does.
func (r *containers) expires(c *container) {
	until := c.lease
	r.m.w.after(r.m.clock.takes(until.Sub(r.m.clock.mono())), "lease", r.m.host, func() {
		if c.alive && c.lease.Equal(until) && r.tasks[c.id] == c {
			r.m.w.count("lease over")
			r.endIn(c.id, 0, dcos.Exit{Code: -1, Signal: 9})
		}
	})
}

// leased is the latest moment until which a fenced task may run.
func (r *containers) leased() time.Time {
	var last time.Time
	for _, c := range r.tasks {
		if c.alive && c.fenced && c.lease.After(last) {
			last = c.lease
		}
	}
	return last
}

func (r *containers) adopt(id dcos.TaskID, abandoned bool) agent.Event {
	if err := r.trouble(abandoned); err != nil {
		return agent.Adopted{Task: id, Err: err}
	}
	c := r.tasks[id]
	switch {
	case c == nil:
		return agent.Adopted{Task: id}
	case c.exit != nil:
		x := *c.exit
		return agent.Adopted{Task: id, Exit: &x}
	}
	return agent.Adopted{Task: id, Alive: c.alive}
}

func (r *containers) remove(id dcos.TaskID) {
	c := r.tasks[id]
	if c == nil {
		return
	}
	if c.alive {
		c.alive = false
		r.m.w.check.died(r.m, id)
	}
	delete(r.tasks, id)
}
