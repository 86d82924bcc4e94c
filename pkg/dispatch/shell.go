package dispatch

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
	"github.com/dcos-go/dcos/pkg/wire"
)

// Role is this master's part at a moment.
type Role struct {
	Term dcos.Term
	// Leads: this master leads and has applied an entry of its own term.
	Leads bool
	// Leader is the session address of another master that leads; "" when
	// none is known.
	Leader string
}

// Config is what a Dispatcher needs. All is required.
type Config struct {
	Proposer state.Proposer
	Feed     state.Feed
	// Leadership is the present role, and a channel that is closed when it
	// may have changed.
	Leadership func() (Role, <-chan struct{})
	// Probe asks whether a machine is there, by two tries to connect. An
	// error means that nothing was learned.
	Probe func(ctx context.Context, addr string) (alive bool, err error)
	Log   *slog.Logger
}

// Limits of the shell.
const (
	eventBuffer    = 1024
	proposeTimeout = 30 * time.Second
	probeTimeout   = 5 * time.Second
	confirmTimeout = 10 * time.Second
	readAgain      = 100 * time.Millisecond
)

// Dispatcher carries the core: Run owns it, Serve brings sessions.
type Dispatcher struct {
	cfg    Config
	core   *Core // Run's own
	events chan Event
	done   chan struct{} // closed when Run ends
	lastID atomic.Uint64 // of sessions

	mu    sync.Mutex
	conns map[uint64]*conn           // guarded by mu
	usage map[dcos.NodeID]wire.Usage // guarded by mu; of this leadership
}

// NewDispatcher is a dispatcher that does nothing until Run, which may be
// called once.
func NewDispatcher(cfg Config) *Dispatcher {
	return &Dispatcher{
		cfg: cfg, core: New(), events: make(chan Event, eventBuffer), done: make(chan struct{}),
		conns: make(map[uint64]*conn), usage: make(map[dcos.NodeID]wire.Usage),
	}
}

// Usage is what a node last said that it uses; only the leader knows.
func (d *Dispatcher) Usage(id dcos.NodeID) (wire.Usage, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	u, ok := d.usage[id]
	return u, ok
}

// put gives the core an event; it waits while the core is busy, and is lost
// once Run has ended.
func (d *Dispatcher) put(ctx context.Context, ev Event) {
	select {
	case d.events <- ev:
	case <-d.done:
	case <-ctx.Done():
	}
}

// Run owns the core until ctx ends; it returns nil only for that reason.
func (d *Dispatcher) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	defer work.Wait()
	defer d.closeAll()
	defer close(d.done)
	defer cancel()
	work.Go(func() { d.lead(ctx) }) // until ctx ends
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		var ev Event
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
			ev = Fired{}
		case ev = <-d.events:
		}
		d.carryOut(ctx, &work, timer, ev, d.core.Step(time.Now(), ev))
	}
}

func (d *Dispatcher) carryOut(ctx context.Context, work *sync.WaitGroup, timer *time.Timer, ev Event, effects []Effect) {
	if _, ok := ev.(Follow); ok {
		d.mu.Lock()
		clear(d.usage)
		d.mu.Unlock()
	}
	for _, e := range effects {
		switch e := e.(type) {
		case Send:
			d.conn(e.Sess).send(e.Msg)
		case CloseSession:
			d.cfg.Log.Info("session ends", "session", e.Sess, "why", e.Why)
			d.conn(e.Sess).finish()
		case Propose:
			work.Go(func() { d.propose(ctx, e) })
		case Confirm:
			work.Go(func() { d.confirm(ctx, e) })
		case Probe:
			work.Go(func() { d.probe(ctx, e) })
		case Used:
			d.mu.Lock()
			d.usage[e.Node] = e.Usage
			d.mu.Unlock()
		case SetTimer:
			timer.Reset(max(0, time.Until(e.At)))
		case Note:
			level := slog.LevelInfo
			if e.Alarm {
				level = slog.LevelWarn
			}
			d.cfg.Log.Log(ctx, level, "node", "node", e.Node, "what", e.Text)
		}
	}
}

// propose waits for one proposal; the core bounds how many there are by the
// nodes: one about a node's state, and one of its statuses.
func (d *Dispatcher) propose(ctx context.Context, e Propose) {
	pctx, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	res, err := d.cfg.Proposer.Propose(pctx, state.Origin{}, e.Commands...)
	d.put(ctx, Done{ID: e.ID, Result: res, Err: err})
}

// confirm reads the state as it is for a majority, and looks whether the term is
// the same afterwards: then it was this master that answered for all of it.
func (d *Dispatcher) confirm(ctx context.Context, e Confirm) {
	rctx, cancel := context.WithTimeout(ctx, confirmTimeout)
	defer cancel()
	_, err := d.cfg.Feed.Read(rctx)
	role, _ := d.cfg.Leadership()
	d.put(ctx, Confirmed{ID: e.ID, OK: err == nil && role.Leads && role.Term == e.Term})
}

func (d *Dispatcher) probe(ctx context.Context, e Probe) {
	pctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	alive, err := d.cfg.Probe(pctx, e.Addr)
	d.put(ctx, Probed{ID: e.ID, Alive: alive, Unknown: err != nil})
}

// lead tells the core of its role, and while it leads of every change.
func (d *Dispatcher) lead(ctx context.Context) {
	for ctx.Err() == nil {
		role, changed := d.cfg.Leadership()
		if role.Leads {
			d.whileLeading(ctx, role, changed)
			continue
		}
		d.put(ctx, Follow{Leader: role.Leader})
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// whileLeading follows the feed until the role changes.
func (d *Dispatcher) whileLeading(ctx context.Context, role Role, changed <-chan struct{}) {
	d.put(ctx, Follow{}) // the leader that agents were sent to is none any more
	term, cancel := context.WithCancel(ctx)
	defer cancel()
	var watch sync.WaitGroup
	defer watch.Wait()
	watch.Go(func() { // until the term's context ends
		select {
		case <-changed:
		case <-term.Done():
		}
		cancel()
	})
	first := true
	for term.Err() == nil {
		err := d.follow(term, role, first)
		if term.Err() != nil {
			return
		}
		first = false
		d.cfg.Log.Warn("dispatch reads the state anew", "cause", err)
		pause(term, readAgain)
	}
}

// follow reads a view and then every commit behind it, until that breaks.
func (d *Dispatcher) follow(ctx context.Context, role Role, first bool) error {
	view, err := d.cfg.Feed.Read(ctx)
	if err != nil {
		return fmt.Errorf("read the state: %w", err)
	}
	commits, err := d.cfg.Feed.Watch(ctx, view.Index())
	if err != nil {
		return fmt.Errorf("watch the state: %w", err)
	}
	if first {
		d.cfg.Log.Info("dispatch leads", "term", role.Term)
		d.put(ctx, Lead{Term: role.Term, View: view})
	} else {
		d.put(ctx, Changed{View: view, Reset: true})
	}
	for c, err := range commits {
		if err != nil {
			return fmt.Errorf("watch the state: %w", err)
		}
		d.put(ctx, Changed{View: c.View, Changes: c.Changes})
	}
	return ctx.Err()
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
