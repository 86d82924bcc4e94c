package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/wire"
)

// Runtime runs tasks. What it started must be found again by a Runtime of a
// later process, until Remove.
type Runtime interface {
	// Start returns once the task's program runs. A task that is there already
	// is a dcos.ErrConflict; after an error nothing runs.
	Start(ctx context.Context, s dcos.Spec) (pid int, err error)
	// Adopt finds out what became of a task: it is alive, or its exit is
	// known, or (neither) nothing is known of it.
	Adopt(ctx context.Context, id dcos.TaskID) (alive bool, exit *dcos.Exit, err error)
	// Wait returns when a task has ended.
	Wait(ctx context.Context, id dcos.TaskID) (dcos.Exit, error)
	// Signal and Kill are for running tasks; for others they do nothing.
	Signal(id dcos.TaskID, signal int) error
	Kill(id dcos.TaskID) error
	// Remove kills what runs of a task and leaves nothing of it. It may be
	// called at any time, and again.
	Remove(ctx context.Context, id dcos.TaskID) error
	// List names the tasks of which there is anything.
	List() ([]dcos.TaskID, error)
}

// Fencer is a Runtime that ends tasks when their lease does (dcos.Spec.Lease),
// also without this process. Until is by the clock of Parts.Now.
type Fencer interface {
	Extend(id dcos.TaskID, until time.Time) error
}

// Images makes images ready to be run.
type Images interface {
	// Ensure keeps the image for the task until Release.
	Ensure(ctx context.Context, task dcos.TaskID, ref string, forcePull bool) (dcos.Unpacked, error)
	// Release may be called for any task, and again. What still runs on the
	// image's layers keeps them by itself.
	Release(task dcos.TaskID)
}

// Fetcher brings files into sandboxes, as their owners.
type Fetcher interface {
	Fetch(ctx context.Context, dir string, all []dcos.Artifact) error
}

// Sandboxes are the tasks' directories.
type Sandboxes interface {
	// Create makes a task's directory, owned by the user; an existing one is kept.
	Create(id dcos.TaskID, user string) (dir string, err error)
	// Remove is a success when there is none.
	Remove(id dcos.TaskID) error
	// List names the tasks that have a directory.
	List() ([]dcos.TaskID, error)
}

// Journal is the checkpoint. After an error it must not be used again.
type Journal interface {
	Append(recs ...[]byte) error
	Sync() error
	// Compact replaces everything by live, durably and atomically.
	Compact(live [][]byte) error
}

// Parts are what an Agent works with. All but Usage and Images is required.
type Parts struct {
	Runtime   Runtime
	Images    Images // nil: this node runs no images
	Sandboxes Sandboxes
	Fetcher   Fetcher // nil: this node fetches nothing
	Journal   Journal // opened; its records are given to New
	// Dial connects to the session port of the master at addr, or of any
	// master when addr is empty, and tries another one each time.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// Probe asks whether a machine is there. An error means that nothing was
	// learned.
	Probe func(ctx context.Context, addr string) (alive bool, err error)
	// Usage reads what the node uses now.
	Usage func(ctx context.Context) (wire.Usage, error)
	// Now is the clock; nil is time.Now. Leases need one that goes on while the
	// machine sleeps, and that nobody sets.
	Now func() time.Time
	Log *slog.Logger
}

// Limits of the shell.
const (
	eventBuffer  = 1024
	dialTimeout  = 10 * time.Second
	probeTimeout = 5 * time.Second
	usageTimeout = 10 * time.Second
	probesMax    = 8
	// byeTimeout is how long a clean stop may take.
	byeTimeout = 2 * time.Second
)

// Agent carries the core: Run owns it, and does what it says.
type Agent struct {
	p      Parts
	cfg    Config
	core   *Core // Run's own, as first is
	first  []Effect
	events chan Event
	done   chan struct{} // closed when Run's loop ends

	disk    *disker
	jobs    *pool
	conn    *conn // Run's own; nil: not connected
	timer   *time.Timer
	work    sync.WaitGroup
	probes  chan struct{} // one per probe under way
	reading atomic.Bool   // usage is being read
	online  atomic.Bool
}

// New restores an agent from its journal's records. Nothing happens before Run.
func New(cfg Config, p Parts, records [][]byte) (*Agent, error) {
	if p.Now == nil {
		p.Now = time.Now
	}
	core, effects, err := Restore(cfg, p.Now(), records)
	if err != nil {
		return nil, fmt.Errorf("agent: %w: it is damaged or was written by a newer version: start that version, or move the checkpoint away, which ends this node's tasks", err)
	}
	a := &Agent{
		p: p, cfg: cfg, core: core, first: effects, events: make(chan Event, eventBuffer), done: make(chan struct{}),
		probes: make(chan struct{}, probesMax),
	}
	a.disk = newDisker(p.Journal)
	a.jobs = newPool()
	return a, nil
}

// Connected says whether a session with the leading master is open.
func (a *Agent) Connected() bool { return a.online.Load() }

// Leads tells the agent that a master is heard to lead in a term. It may be
// called at any time by any goroutine, and does nothing once Run has ended.
func (a *Agent) Leads(term dcos.Term, addr string) { a.put(Leads{Term: term, Addr: addr}) }

// put gives the core an event; it is lost once the loop has ended.
func (a *Agent) put(ev Event) {
	select {
	case a.events <- ev:
	case <-a.done:
	}
}

// Run works until ctx ends; it returns nil for that reason, after telling the
// master. Tasks go on without it. Any other end is a fault of the journal:
// what the disk holds is not known then, and the process must stop.
func (a *Agent) Run(ctx context.Context) error {
	// Work under way is abandoned when the loop ends; what it left behind is
	// found by the next life.
	wctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer a.work.Wait()
	defer cancel()
	defer close(a.done)
	a.work.Go(func() { a.disk.run(wctx, a.put) }) // until wctx ends
	a.timer = time.NewTimer(time.Hour)
	defer a.timer.Stop()
	a.carryOut(wctx, a.first)
	a.first = nil
	for {
		select {
		case <-ctx.Done():
			a.carryOut(wctx, a.core.Step(a.p.Now(), Quit{}))
			a.conn.wait(byeTimeout)
			return nil
		case <-a.timer.C:
			a.carryOut(wctx, a.core.Step(a.p.Now(), Fired{}))
		case ev := <-a.events:
			if f, ok := ev.(diskFailed); ok {
				return fmt.Errorf("agent: checkpoint: %w: free or replace the disk, then start the agent again", f.err)
			}
			a.carryOut(wctx, a.core.Step(a.p.Now(), ev))
		}
		a.online.Store(a.core.Online())
	}
}

// diskFailed ends Run.
type diskFailed struct {
	Fired
	err error
}

func (a *Agent) carryOut(ctx context.Context, effects []Effect) {
	for _, e := range effects {
		switch e := e.(type) {
		case WriteCheckpoint:
			a.disk.put(diskJob{seq: e.Seq, records: e.Records})
		case Compact:
			a.disk.put(diskJob{seq: e.Seq, records: e.Records, compact: true})
		case Connect:
			a.connect(ctx, e)
		case Disconnect:
			a.p.Log.Info("session ends", "why", e.Why)
			a.hangUp(e.Link)
		case Send:
			if a.conn != nil && a.conn.link == e.Link {
				a.conn.send(e.Msg)
			}
		case Probe:
			a.probe(ctx, e)
		case ReadUsage:
			a.readUsage(ctx)
		case SetTimer:
			a.timer.Reset(max(0, e.At.Sub(a.p.Now())))
		case Note:
			a.p.Log.Warn(e.Text, "task", e.Task, "why", e.Why)
		default:
			a.taskEffect(ctx, e)
		}
	}
}

// connect dials in the background; the connection before is closed.
func (a *Agent) connect(ctx context.Context, e Connect) {
	if a.conn != nil {
		a.conn.finish()
	}
	c := newConn(e.Link)
	a.conn = c
	a.work.Go(func() { // until the connection ends, or wctx
		defer close(c.over)
		dctx, cancel := context.WithTimeout(ctx, dialTimeout)
		raw, err := a.p.Dial(dctx, e.Addr)
		cancel()
		if err != nil {
			a.p.Log.Info("no session", "master", e.Addr, "why", err)
			a.put(Unlinked{Link: e.Link, Why: err.Error()})
			return
		}
		err = c.carry(ctx, raw, a.put)
		a.put(Unlinked{Link: e.Link, Why: err.Error()})
	})
}

func (a *Agent) hangUp(link uint64) {
	if a.conn != nil && a.conn.link == link {
		a.conn.finish()
	}
}

func (a *Agent) probe(ctx context.Context, e Probe) {
	select {
	case a.probes <- struct{}{}:
	default:
		return // too many at once: no answer is one too
	}
	a.work.Go(func() {
		defer func() { <-a.probes }()
		pctx, cancel := context.WithTimeout(ctx, probeTimeout)
		defer cancel()
		if alive, err := a.p.Probe(pctx, e.Target); err == nil {
			a.put(Probed{Link: e.Link, ID: e.ID, Alive: alive})
		}
	})
}

// readUsage reads in the background; while one reading is under way, as on a
// disk that hangs, no other is begun.
func (a *Agent) readUsage(ctx context.Context) {
	if a.p.Usage == nil || !a.reading.CompareAndSwap(false, true) {
		return
	}
	a.work.Go(func() {
		defer a.reading.Store(false)
		uctx, cancel := context.WithTimeout(ctx, usageTimeout)
		defer cancel()
		u, err := a.p.Usage(uctx)
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				a.p.Log.Warn("usage of the node could not be read", "why", err)
			}
			return
		}
		a.put(Used{Usage: u})
	})
}
