// Package agent is the agent's half of the session with the master: it takes
// assignments, carries them out, and reports what became of every task.
//
// It owns the checkpoint of its node: which tasks were taken, how far each has
// come, and the statuses that no master has acknowledged. It promises that
// nothing is acted on before it is in the checkpoint, that no task is started
// twice, that two tasks of one instance never run at once, that a status is
// sent until it is acknowledged, and that a record goes only after what it
// names was cleaned up. It must not decide what should run, and must not know
// how images, sandboxes and processes are made.
//
// The core (Core) is pure: Step takes one event and returns effects. The files
// named shell*.go own goroutines, the connection, the journal and the clock.
package agent

import (
	"fmt"
	"slices"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/wire"
)

// Config is what a core knows of its node.
type Config struct {
	Node    dcos.Node // Boot must change with every boot of the machine, and whenever the checkpoint is lost
	Cluster string
	// Seed spreads the reconnects of many agents; any number that differs
	// between nodes.
	Seed uint64
	// Binary is the path of the dcos executable, shown to tasks.
	Binary string
	// LogBytes and Pids bound each task; 0 are the defaults.
	LogBytes int64
	Pids     int64
	// KeepPerApp and KeepFor bound the sandboxes of ended tasks; 0 are the
	// defaults: the newest 10 of each app, for a day.
	KeepPerApp int
	KeepFor    time.Duration
	// Fences: the runtime ends fenced tasks when their lease does, also without
	// this process. Lease is what an earlier life of it had been granted.
	Fences bool
	Lease  time.Time
}

// Defaults and bounds.
const (
	defaultKeepPerApp = 10
	defaultKeepFor    = 24 * time.Hour
	defaultLogBytes   = 16 << 20
	defaultPids       = 4096
	maxKept           = 2000  // sandboxes of ended tasks, all apps together
	maxLive           = 10000 // tasks that are not cleaned up
)

func (c Config) withDefaults() Config {
	if c.KeepPerApp <= 0 {
		c.KeepPerApp = defaultKeepPerApp
	}
	if c.KeepFor <= 0 {
		c.KeepFor = defaultKeepFor
	}
	if c.LogBytes <= 0 {
		c.LogBytes = defaultLogBytes
	}
	if c.Pids <= 0 {
		c.Pids = defaultPids
	}
	return c
}

// Core is the agent's state. Its methods are called by one owner.
type Core struct {
	cfg   Config
	tasks map[dcos.TaskID]*task
	// live counts the tasks that are not cleaned up yet.
	live int
	// instances are the tasks of each instance that are not freed, oldest
	// epoch first.
	instances map[string][]*task
	// timed are the tasks that wait for a moment.
	timed map[dcos.TaskID]*task

	// told is the set of tasks that the master wants here, hash its SetHash.
	told map[dcos.TaskID]dcos.Epoch
	hash uint64
	seen seen // the newest assignment that was taken

	// fenced are the tasks that may only run under the lease.
	fenced map[dcos.TaskID]*task
	lease  lease

	outbox outbox
	kept   kept
	sweep  sweep
	link   link
	disk   disk

	out    []Effect
	held   []Effect // of this step; released when its records are durable
	wakeAt time.Time
}

// Restore rebuilds the core from the checkpoint's records. The effects adopt
// what still runs, finish what was being cleaned up, and connect. When the
// node's boot is another than the checkpoint's, its old tasks are lost.
func Restore(cfg Config, now time.Time, records [][]byte) (*Core, []Effect, error) {
	c := &Core{
		cfg:       cfg.withDefaults(),
		tasks:     make(map[dcos.TaskID]*task),
		instances: make(map[string][]*task),
		timed:     make(map[dcos.TaskID]*task),
		told:      make(map[dcos.TaskID]dcos.Epoch),
		fenced:    make(map[dcos.TaskID]*task),
		lease:     lease{until: cfg.Lease},
		outbox:    outbox{next: 1},
		kept:      newKept(),
	}
	for i, b := range records {
		if err := c.replay(b); err != nil {
			return nil, nil, fmt.Errorf("%w: checkpoint record %d of %d: %w", dcos.ErrInvalid, i+1, len(records), err)
		}
	}
	c.disk.records = len(records)
	if c.disk.boot != cfg.Node.Boot {
		// What still runs of a lost checkpoint ends before masters hear of the
		// new boot, which tells them that it has; or its lease, which nobody
		// extends, ends first.
		c.sweep.holdLink = now.Add(dcos.LeaseFor + dcos.LeaseMargin)
	}
	for _, t := range c.sorted() {
		c.resume(now, t, c.disk.boot == cfg.Node.Boot)
	}
	c.collect(now)
	c.do(List{})
	c.link.retryAt = now
	c.onFired(now)
	return c, c.finish(), nil
}

// sorted are all tasks in the order in which they were taken.
func (c *Core) sorted() []*task {
	all := make([]*task, 0, len(c.tasks))
	for _, t := range c.tasks {
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b *task) int {
		if a.rec.Launch.Epoch != b.rec.Launch.Epoch {
			if a.rec.Launch.Epoch < b.rec.Launch.Epoch {
				return -1
			}
			return 1
		}
		if a.id() < b.id() {
			return -1
		}
		return 1
	})
	return all
}

// Step takes one event and returns what must happen next. It starts nothing,
// waits for nothing and reads no clock.
func (c *Core) Step(now time.Time, ev Event) []Effect {
	c.fence(now) // before anything else: this process may have slept
	switch ev := ev.(type) {
	case Linked:
		c.onLinked(now, ev)
	case Unlinked:
		c.onUnlinked(now, ev)
	case Got:
		c.onGot(now, ev)
	case Checkpointed:
		c.onCheckpointed(now, ev)
	case ImageReady:
		c.onImage(now, ev)
	case SandboxReady:
		c.onSandbox(now, ev)
	case Fetched:
		c.onFetched(now, ev)
	case Started:
		c.onStarted(now, ev)
	case Adopted:
		c.onAdopted(now, ev)
	case Exited:
		c.onExited(now, ev)
	case Cleaned:
		c.onCleaned(now, ev)
	case Listed:
		c.onListed(now, ev)
	case SandboxRemoved:
		c.onSandboxRemoved(now, ev)
	case Probed:
		if ev.Link == c.link.num && c.link.state == linkOpen {
			c.send(wire.ProbeAnswer{ID: ev.ID, Alive: ev.Alive})
		}
	case Used:
		c.link.usage = ev.Usage
	case Leads:
		c.onLeads(now, ev)
	case Quit:
		c.onQuit()
	case Fired:
		c.wakeAt = time.Time{}
		c.onFired(now)
	}
	return c.finish()
}

// onFired does everything whose moment has come.
func (c *Core) onFired(now time.Time) {
	c.fence(now)
	for _, id := range sortedKeys(c.timed) {
		if t := c.timed[id]; !t.wakeAt.After(now) {
			c.onTaskTimer(now, t)
		}
	}
	c.sweepAgain(now)
	c.collectDue(now)
	c.resend(now)
	c.flushAcks(now)
	c.linkTimers(now)
}

// finish closes the step: one checkpoint for all its records, and the one
// timer for the next moment.
func (c *Core) finish() []Effect {
	c.writeCheckpoint()
	next := c.nextMoment()
	if !next.IsZero() && !next.Equal(c.wakeAt) {
		c.wakeAt = next
		c.out = append(c.out, SetTimer{At: next})
	}
	out := c.out
	c.out = nil
	return out
}

// nextMoment is the earliest moment that anything waits for; zero is none.
func (c *Core) nextMoment() time.Time {
	var next time.Time
	add := func(at time.Time) {
		if !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	for _, t := range c.timed {
		add(t.wakeAt)
	}
	add(c.sweep.wakeAt)
	add(c.kept.dueAt)
	add(c.outbox.resendAt)
	add(c.disk.ackAt)
	if c.linkHeld() {
		add(c.sweep.holdLink)
	} else {
		add(c.link.retryAt)
	}
	add(c.link.deadline)
	add(c.link.beatAt)
	if c.anyUnderLease() {
		add(c.lease.until)
	}
	return next
}

// Online says whether a session with a master is open.
func (c *Core) Online() bool { return c.link.state == linkOpen }

// Unacknowledged is how many statuses wait for a master's acknowledgement.
func (c *Core) Unacknowledged() int { return len(c.outbox.items) }

// Records is how many tasks the checkpoint holds, ended ones included.
func (c *Core) Records() int { return len(c.tasks) }

func (c *Core) do(e Effect) { c.out = append(c.out, e) }

// hold does an effect after everything recorded so far is durable.
func (c *Core) hold(e Effect) { c.held = append(c.held, e) }
