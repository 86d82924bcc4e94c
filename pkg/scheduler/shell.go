package scheduler

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

// Leadership says when this master decides.
type Leadership interface {
	// Lead waits until this master leads and has applied an entry of its own
	// term. The context that it gives ends when leadership is lost, or with
	// ctx. Its error is ctx's.
	Lead(ctx context.Context) (context.Context, error)
}

const (
	// debounce gathers the changes of a burst into one turn.
	debounce = 2 * time.Millisecond
	// maxPending bounds the changes that are gathered while a batch is in
	// flight; beyond it, reading the view anew is cheaper.
	maxPending = 200_000
	// feedBuffer is how many commits may wait to be taken over.
	feedBuffer = 64
	// proposeTimeout ends the wait for a batch; its outcome is then unknown.
	proposeTimeout = 30 * time.Second
	// retryFeed is the pause before a broken feed is opened again.
	retryFeed = 100 * time.Millisecond
)

// Scheduler is the shell around Core: it runs while this master leads.
type Scheduler struct {
	proposer state.Proposer
	feed     state.Feed
	lead     Leadership
	log      *slog.Logger
}

// NewScheduler is a scheduler that does nothing until Run.
func NewScheduler(p state.Proposer, f state.Feed, l Leadership, log *slog.Logger) *Scheduler {
	return &Scheduler{proposer: p, feed: f, lead: l, log: log}
}

// Run decides whenever this master leads, until ctx ends. It returns nil only
// for that reason.
func (s *Scheduler) Run(ctx context.Context) error {
	for {
		term, err := s.lead.Lead(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("wait for leadership: %w", err)
		case term.Err() != nil: // over before it began: not again at once
			pause(ctx, retryFeed)
			continue
		}
		s.log.Info("scheduler leads")
		for term.Err() == nil {
			err := s.follow(term)
			if term.Err() != nil {
				break
			}
			s.log.Warn("scheduler starts again from the state", "cause", err)
			pause(term, retryFeed)
		}
		s.log.Info("scheduler rests")
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// errBehind ends a follow that has to read the state anew.
var errBehind = errors.New("too many changes at once")

// follow starts from a view of its own and decides until the context ends or
// the feed breaks.
func (s *Scheduler) follow(ctx context.Context) error {
	// A linearizable read: nothing acknowledged before is missed, and nothing
	// from before this leadership is remembered.
	v, err := s.feed.Read(ctx)
	if err != nil {
		return fmt.Errorf("read the state: %w", err)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	g, ctx := errgroup.WithContext(ctx) // whichever part ends, the feed ends too
	commits, err := s.feed.Watch(ctx, v.Index())
	if err != nil {
		return fmt.Errorf("watch the state: %w", err)
	}
	l := &loop{s: s, core: New(), view: v, commits: make(chan state.Commit, feedBuffer), done: make(chan outcome, 1), group: g}
	g.Go(func() error { return pump(ctx, commits, l.commits) })
	g.Go(func() error { return l.run(ctx) })
	return g.Wait()
}

// pump carries commits into the loop until the feed or the context ends.
func pump(ctx context.Context, from iter.Seq2[state.Commit, error], to chan<- state.Commit) error {
	for c, err := range from {
		if err != nil {
			return fmt.Errorf("watch the state: %w", err)
		}
		select {
		case to <- c:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return errors.New("the feed of changes has ended")
}

type outcome struct {
	res state.Result
	err error
}

// loop owns the core during one follow.
type loop struct {
	s       *Scheduler
	core    *Core
	view    state.View
	pending []state.Change
	commits chan state.Commit
	done    chan outcome // one batch is in flight at most
	group   *errgroup.Group
}

func (l *loop) run(ctx context.Context) error {
	timer := time.NewTimer(0) // the first turn comes at once
	defer timer.Stop()
	next := time.Now() // when the timer rings; zero when it does not
	wakeBy := func(at time.Time) {
		if next.IsZero() || at.Before(next) {
			next = at
			timer.Reset(time.Until(at))
		}
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case c := <-l.commits:
			l.see(c.View)
			l.pending = append(l.pending, c.Changes...)
			if len(l.pending) > maxPending {
				return errBehind
			}
			wakeBy(time.Now().Add(debounce))
		case o := <-l.done:
			if o.err != nil {
				l.s.log.Warn("scheduler's batch was not taken", "cause", o.err)
			}
			if !outcomeKnown(o.err) {
				return o.err // start again from a view of now
			}
			l.core.Done(dcos.TimeOf(time.Now()), o.res, o.err)
			// The batch is applied here. The feed may be behind, and says
			// nothing at all of a batch that changed nothing.
			l.see(l.s.feed.View())
			wakeBy(time.Now())
		case <-timer.C:
			next = time.Time{}
			if at := l.turn(ctx); at != 0 {
				wakeBy(at.Std())
			}
		}
	}
}

// see takes over a view unless a later one is known.
func (l *loop) see(v state.View) {
	if v.Index() > l.view.Index() {
		l.view = v
	}
}

// turn runs the core once and sends its batch off.
func (l *loop) turn(ctx context.Context) (wake dcos.Time) {
	cmds, wake := l.core.Turn(dcos.TimeOf(time.Now()), l.view, l.pending)
	l.pending = l.pending[:0]
	if len(cmds) == 0 {
		return wake
	}
	// Ends with the batch's outcome, which always comes: at the latest when
	// the timeout or the context ends the proposal.
	l.group.Go(func() error {
		ctx, cancel := context.WithTimeout(ctx, proposeTimeout)
		defer cancel()
		res, err := l.s.proposer.Propose(ctx, state.Origin{}, cmds...)
		l.done <- outcome{res, err} // has room: one batch is in flight at most
		return nil
	})
	return 0 // the outcome is what comes next
}
