package consensus

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/journal"
	"github.com/dcos-go/dcos/pkg/state"
)

// calls are those who wait for a ticket.
type calls struct {
	mu      sync.Mutex
	next    Ticket
	waiting map[Ticket]chan Effect // guarded by mu
}

func (c *calls) open() (Ticket, chan Effect, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) >= maxWaiting {
		return 0, nil, unavailable("%d requests wait already, try again in a moment", maxWaiting)
	}
	c.next++
	ch := make(chan Effect, 1)
	c.waiting[c.next] = ch
	return c.next, ch, nil
}

func (c *calls) answer(t Ticket, f Effect) {
	c.mu.Lock()
	ch := c.waiting[t]
	delete(c.waiting, t)
	c.mu.Unlock()
	if ch != nil {
		ch <- f // has room for the only answer
	}
}

// ask sends an event with a ticket to the core and waits for its answer. gone
// is the error when the wait ends without one.
func (r *Raft) ask(ctx context.Context, e func(Ticket) Event, gone error) (Effect, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", dcos.ErrUnavailable, err)
	}
	select {
	case <-r.down:
		return nil, errDown
	default:
	}
	t, ch, err := r.calls.open()
	if err != nil {
		return nil, err
	}
	r.events.put(e(t))
	select {
	case f := <-ch:
		return f, nil
	case <-ctx.Done():
		// The core still answers; open counts the call until then.
		return nil, fmt.Errorf("%w: %w", gone, context.Cause(ctx))
	case <-r.down:
		select {
		case f := <-ch:
			return f, nil
		default:
			return nil, gone
		}
	}
}

var errDown = unavailable("this master is stopping")

// Propose implements state.Proposer.
func (r *Raft) Propose(ctx context.Context, by state.Origin, cmds ...state.Command) (state.Result, error) {
	if l := r.lead.get(); l.Leader != 0 && l.Leader != r.o.Identity.ID {
		return state.Result{}, dcos.NotLeader{Leader: l.Leader}
	}
	// The level only rises: what an older view admits holds.
	if err := r.View().Admits(cmds...); err != nil {
		return state.Result{}, err
	}
	p := state.Proposal{ID: by.ID, Principal: by.Principal, Commands: cmds}
	data, err := state.EncodeProposal(p)
	if err == nil && len(data) > state.MaxEntry && p.ID.IsZero() {
		// Only what travels in parts needs to be recognised again.
		p.ID = dcos.ProposalID{Proposer: r.Proposer(), Seq: 1}
		data, err = state.EncodeProposal(p)
	}
	if err != nil {
		return state.Result{}, err
	}
	parts, err := state.SplitProposal(data)
	if err != nil {
		return state.Result{}, err
	}
	f, err := r.ask(ctx, func(t Ticket) Event { return Proposed{Ticket: t, Parts: parts} }, Unknown{})
	if err != nil {
		return state.Result{}, err
	}
	res := f.(Resolved)
	if res.Err != nil {
		return state.Result{}, res.Err
	}
	return res.Result.Of(len(cmds))
}

// Proposer gives out a number that no other proposer of this cluster has had or
// will have, for ids of proposals that may be sent twice. It is good only on
// the leader; elsewhere what is proposed under it is refused anyway.
func (r *Raft) Proposer() uint64 {
	// A term has one leader, and a leader that restarts does not lead again in
	// the same term.
	return uint64(r.lead.get().Term)<<32 | r.ids.Add(1)&0xffffffff
}

// View implements state.Feed.
func (r *Raft) View() state.View { return *r.view.Load() }

// Read implements state.Feed.
func (r *Raft) Read(ctx context.Context) (state.View, error) {
	f, err := r.ask(ctx, func(t Ticket) Event { return ReadAsked{t} }, dcos.ErrUnavailable)
	if err != nil {
		return state.View{}, err
	}
	if res, ok := f.(Resolved); ok {
		return state.View{}, res.Err
	}
	// The core counts a snapshot of the leader as applied once it is durable; the
	// state machine may still be reading it.
	for v := r.View(); ; v = r.View() {
		if v.Index() >= f.(ReadOK).Index {
			return v, nil
		}
		select {
		case <-ctx.Done():
			return state.View{}, fmt.Errorf("%w: %w", dcos.ErrUnavailable, ctx.Err())
		case <-r.down:
			return state.View{}, errDown
		case <-time.After(installLook):
		}
	}
}

// installLook is how often a read looks whether a snapshot is installed.
const installLook = 2 * time.Millisecond

// change asks for a change of members or leadership.
func (r *Raft) change(ctx context.Context, e func(Ticket) Event) error {
	f, err := r.ask(ctx, e, Unknown{})
	if err != nil {
		return err
	}
	return f.(Resolved).Err
}

// AddLearner adds a member that receives the log and does not vote. Every
// change of members is answered after it has taken effect here, and is good to
// repeat.
func (r *Raft) AddLearner(ctx context.Context, id dcos.MasterID) error {
	return r.change(ctx, func(t Ticket) Event { return AddLearner{t, id} })
}

// Promote makes a learner a voter; dcos.ErrUnavailable until it has caught up.
func (r *Raft) Promote(ctx context.Context, id dcos.MasterID) error {
	return r.change(ctx, func(t Ticket) Event { return Promote{t, id} })
}

// Demote makes a voter a learner, which gets the log and does not count. A
// leader that is to demote or remove itself hands over leadership and answers
// dcos.NotLeader: the next leader does it. What would leave no majority of
// voters that answer is a dcos.ErrConflict.
func (r *Raft) Demote(ctx context.Context, id dcos.MasterID) error {
	return r.change(ctx, func(t Ticket) Event { return Demote{t, id} })
}

// Remove takes a member away.
func (r *Raft) Remove(ctx context.Context, id dcos.MasterID) error {
	return r.change(ctx, func(t Ticket) Event { return Remove{t, id} })
}

// Transfer hands leadership over; to 0 lets the core choose.
func (r *Raft) Transfer(ctx context.Context, to dcos.MasterID) error {
	return r.change(ctx, func(t Ticket) Event { return Transfer{t, to} })
}

// Start is which start of this member it is: a number that each start raises,
// and a random one that tells this start from another that was given the same
// number by an old copy of the directory.
func (r *Raft) Start() (incarnation, nonce uint64) { return r.incarnation, r.o.Core.Nonce }

// Prove says that the cluster knows of no later start of this member; see
// Config.Prove.
func (r *Raft) Prove() { r.events.put(Proven{}) }

// WriteSnapshot streams the state as of now, linearizable, in the form of a
// snapshot file; writes go on meanwhile. It may be restored elsewhere with
// RestoreSnapshot.
func (r *Raft) WriteSnapshot(ctx context.Context, open func(dcos.Index) (io.Writer, error)) error {
	v, err := r.Read(ctx)
	if err != nil {
		return err
	}
	s := r.status.Load()
	w, err := open(v.Index())
	if err != nil {
		return err
	}
	return WriteSnapshot(w, v, s.Term, s.Voters)
}

// Leadership is who leads now, and a channel that is closed when that changes.
func (r *Raft) Leadership() (Lead, <-chan struct{}) { return r.lead.watch() }

// Stats are a member's counters and positions.
type Stats struct {
	Status
	Log     journal.Stats
	Waiting int // calls without an answer
}

// Stats may be called at any time.
func (r *Raft) Stats() Stats {
	r.calls.mu.Lock()
	n := len(r.calls.waiting)
	r.calls.mu.Unlock()
	return Stats{Status: *r.status.Load(), Log: r.log.Stats(), Waiting: n}
}

// inbox is a queue whose writers never wait. What bounds it is said where it is
// filled: effects by the core, which has few of each kind under way; events by
// those, by maxReceived and by maxWaiting.
type inbox[T any] struct {
	mu    sync.Mutex
	items []T           // guarded by mu
	wake  chan struct{} // holds one token while items may be there
}

func newInbox[T any]() *inbox[T] { return &inbox[T]{wake: make(chan struct{}, 1)} }

func (i *inbox[T]) put(x T) {
	i.mu.Lock()
	i.items = append(i.items, x)
	i.mu.Unlock()
	select {
	case i.wake <- struct{}{}:
	default:
	}
}

func (i *inbox[T]) take() []T {
	i.mu.Lock()
	defer i.mu.Unlock()
	items := i.items
	i.items = nil
	return items
}

// board shows one value and tells when it changes.
type board[T any] struct {
	mu      sync.Mutex
	v       T             // guarded by mu
	changed chan struct{} // guarded by mu; closed and replaced by set
}

func newBoard[T any](v T) *board[T] { return &board[T]{v: v, changed: make(chan struct{})} }

func (b *board[T]) set(v T) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.v = v
	close(b.changed)
	b.changed = make(chan struct{})
}

func (b *board[T]) get() T {
	v, _ := b.watch()
	return v
}

func (b *board[T]) watch() (T, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.v, b.changed
}
