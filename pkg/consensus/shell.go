package consensus

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/journal"
	"github.com/dcos-go/dcos/pkg/state"
)

// Options are what a Raft runs with.
type Options struct {
	Identity  Identity
	Log       journal.FS // the raft log's own directory
	Snapshots journal.FS // the snapshots' own directory
	Transport Transport
	Logger    *slog.Logger
	Core      Config // ID and Nonce are filled in
	// Reserve is how many bytes must stay free on the disk of the log; 0 means
	// 256 MiB.
	Reserve uint64
	// Applied, when set, is told each entry right after it was applied, with the
	// time that the state has then. It must not wait, nor change data.
	Applied func(index dcos.Index, at dcos.Time, data []byte)
	// RingChanges and RingAge bound what Watch can resume from; 0 means 50,000
	// changes and 10 minutes.
	RingChanges int
	RingAge     time.Duration
}

func (o Options) withDefaults() Options {
	if o.Reserve == 0 {
		o.Reserve = 256 << 20
	}
	if o.RingChanges <= 0 {
		o.RingChanges = 50_000
	}
	if o.RingAge <= 0 {
		o.RingAge = 10 * time.Minute
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Core = o.Core.withDefaults()
	o.Core.ID = o.Identity.ID
	return o
}

// Limits of what waits inside a Raft.
const (
	maxReceived = 64 << 20 // bytes of messages of other members
	maxWaiting  = 64 << 10 // calls without an answer
	spaceEvery  = 5 * time.Second
	// eventOverhead is counted for each message besides its bytes.
	eventOverhead = 128
	// endWait is how long Run waits for a disk that does not answer.
	endWait = 5 * time.Second
)

// Raft is one running member. It implements state.Proposer and state.Feed.
type Raft struct {
	o    Options
	core *Core // the loop's own
	log  *Log  // the disk goroutine's own

	incarnation uint64
	snaps       *Snapshots
	store       *state.Store // the machine goroutine's own

	events   *inbox[Event]  // to the loop
	disk     *inbox[Effect] // Append and CompactLog
	machine  *inbox[Effect] // Apply, Install, SaveSnapshot, and ReadOK that waits for an Install
	received atomic.Int64   // bytes of messages among events

	calls  calls
	ring   *ring
	view   atomic.Pointer[state.View]
	lead   *board[Lead]
	status atomic.Pointer[Status]
	wg     sync.WaitGroup // snapshots on their way; added to by loop and machine only
	ids    atomic.Uint64
	down   chan struct{} // closed when Run ends
}

var (
	_ state.Proposer = (*Raft)(nil)
	_ state.Feed     = (*Raft)(nil)
)

// New opens the member's files and checks them; what it says about a damaged
// file is meant for the operator. Bootstrap or Join must have been called once.
func New(o Options) (*Raft, error) {
	o = o.withDefaults()
	snaps := NewSnapshots(o.Snapshots)
	snaps.Reserve = o.Reserve / 2 // the other half is the log's
	start, err := Load(o.Log, snaps, o.Identity)
	if err != nil {
		return nil, err
	}
	incarnation, err := raiseIncarnation(o.Log)
	if err != nil {
		return nil, errors.Join(err, start.Log.Close())
	}
	var nonce [8]byte
	_, _ = rand.Read(nonce[:]) // never fails
	o.Core.Nonce = binary.BigEndian.Uint64(nonce[:])
	core, err := NewCore(o.Core, start.Found)
	if err != nil {
		return nil, errors.Join(err, start.Log.Close())
	}
	r := &Raft{
		o: o, core: core, incarnation: incarnation, log: start.Log, snaps: snaps, store: start.Store,
		events: newInbox[Event](), disk: newInbox[Effect](), machine: newInbox[Effect](),
		ring: newRing(start.Store.View().Index(), o.RingChanges, o.RingAge), lead: newBoard(Lead{}), down: make(chan struct{}),
	}
	r.calls.waiting = map[Ticket]chan Effect{}
	r.publish(start.Store.View())
	s := core.Status()
	r.status.Store(&s)
	return r, nil
}

func (r *Raft) publish(v state.View) { r.view.Store(&v) }

// Run takes part until ctx ends (it returns nil then) or the member must stop:
// its disk failed, it was removed, or its log contradicts the others'. It may
// be called once.
func (r *Raft) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var parts sync.WaitGroup
	var transportErr error
	parts.Go(func() { r.runDisk(ctx) })    // until ctx ends
	parts.Go(func() { r.runMachine(ctx) }) // until ctx ends
	parts.Go(func() { r.watchSpace(ctx) }) // until ctx ends
	parts.Go(func() {                      // until ctx ends, or it cannot go on
		if err := r.o.Transport.Run(ctx, handler{r}); err != nil && ctx.Err() == nil {
			transportErr = fmt.Errorf("consensus: transport: %w", err)
			cancel()
		}
	})
	err := r.loop(ctx)
	cancel()
	close(r.down)
	r.ring.close()
	ended := make(chan struct{})
	go func() { // until all parts have ended; leaves the process with it if the disk hangs
		parts.Wait()
		r.wg.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		err = errors.Join(err, transportErr)
		if cerr := r.log.Close(); err == nil && cerr != nil {
			err = cerr
		}
	case <-time.After(endWait):
		err = errors.Join(err, errors.New("consensus: the disk does not answer"))
	}
	return err
}

// loop owns the core.
func (r *Raft) loop(ctx context.Context) error {
	tick := time.NewTicker(r.o.Core.Tick)
	defer tick.Stop()
	var wake wakers
	defer wake.stop()
	if err := r.step(ctx, &wake, Tick{}); err != nil {
		return err
	}
	for {
		s := r.core.Status()
		r.status.Store(&s)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := r.step(ctx, &wake, Tick{}); err != nil {
				return err
			}
		case <-r.events.wake:
			for _, e := range r.events.take() {
				if err := r.step(ctx, &wake, e); err != nil {
					return err
				}
			}
		}
	}
}

// wakers are the timers of Wake effects.
type wakers struct{ last *time.Timer }

func (w *wakers) stop() {
	if w.last != nil {
		w.last.Stop()
	}
}

func (r *Raft) step(ctx context.Context, wake *wakers, e Event) error {
	if m, ok := e.(Received); ok {
		r.received.Add(-int64(len(m.Msg)) - eventOverhead)
	}
	for _, f := range r.core.Step(time.Now(), e) {
		switch f := f.(type) {
		case Append, CompactLog:
			r.disk.put(f)
		case Apply, Install, SaveSnapshot:
			r.machine.put(f)
		case Send:
			r.o.Transport.Send(f.To, f.Msg)
		case SendSnapshot:
			r.wg.Go(func() { r.sendSnapshot(ctx, f) }) // until sent, or ctx ends
		case ReadOK:
			// A snapshot that holds Index may still be on its way into the state
			// machine: the answer comes behind it.
			if r.View().Index() < f.Index {
				r.machine.put(f)
			} else {
				r.calls.answer(f.Ticket, f)
			}
		case Resolved:
			r.calls.answer(f.Ticket, f)
		case Lead:
			r.o.Logger.Info("leadership changed", "term", f.Term, "leader", fmt.Sprintf("%x", uint64(f.Leader)), "ready", f.Ready)
			r.lead.set(f)
		case Wake:
			wake.stop()
			wake.last = time.AfterFunc(f.After, func() { r.events.put(Woken{}) })
		case Stop:
			return f.Why
		}
	}
	return nil
}

// runDisk writes the log. Whatever has gathered while it waited for the disk
// shares the next fsync.
func (r *Raft) runDisk(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.disk.wake:
		}
		seq, err := r.write(r.disk.take())
		if err != nil {
			r.events.put(Appended{Err: err})
			return
		}
		if seq > 0 {
			r.events.put(Appended{Seq: seq})
		}
	}
}

func (r *Raft) write(batch []Effect) (seq uint64, err error) {
	sync := false
	for _, f := range batch {
		switch f := f.(type) {
		case Append:
			if err := r.log.Write(f); err != nil {
				return 0, err
			}
			seq, sync = f.Seq, sync || f.Sync
		case CompactLog:
			if err := r.log.Compact(f.Snapshot); err != nil {
				return 0, err
			}
			r.prune(dcos.Index(f.Snapshot.GetMetadata().GetIndex()))
		}
	}
	if sync {
		err = r.log.Sync()
	}
	return seq, err
}

// prune removes snapshot files that nothing refers to any more. That it fails
// costs space only.
func (r *Raft) prune(keep dcos.Index) {
	if err := r.snaps.Prune(keep); err != nil {
		r.o.Logger.Warn("old snapshots stay", "error", err)
	}
}

// runMachine owns the state machine.
func (r *Raft) runMachine(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.machine.wake:
		}
		for _, f := range r.machine.take() {
			var err error
			switch f := f.(type) {
			case Apply:
				err = r.apply(f)
			case Install:
				err = r.install(dcos.Index(f.Snapshot.GetMetadata().GetIndex()))
			case SaveSnapshot:
				view := r.store.View()
				r.wg.Go(func() { r.save(f, view) }) // until the file is written
			case ReadOK:
				r.calls.answer(f.Ticket, f)
			}
			if err != nil {
				r.events.put(Applied{Err: err})
				return
			}
		}
	}
}

func (r *Raft) apply(f Apply) error {
	done := Applied{Results: make([][]state.Result, len(f.Entries))}
	for i, e := range f.Entries {
		commit, results, err := r.store.Apply(e.Index, e.Data)
		if err != nil {
			return fmt.Errorf("entry %d: %w", e.Index, err)
		}
		if r.o.Applied != nil {
			r.o.Applied(e.Index, commit.Time, e.Data)
		}
		done.Results[i] = results
		done.Index = e.Index
		if len(commit.Changes) > 0 {
			r.ring.push(commit)
		}
	}
	v := r.store.View()
	done.Time = v.Time()
	r.publish(v)
	r.ring.advance(done.Index)
	r.events.put(done)
	return nil
}

func (r *Raft) install(index dcos.Index) error {
	err := r.snaps.Load(index, func(in io.Reader) (err error) {
		store, err := state.Restore(in)
		if err == nil {
			r.store = store
		}
		return err
	})
	if err != nil {
		return err
	}
	r.publish(r.store.View())
	r.ring.reset(index)
	r.prune(index)
	r.o.Logger.Info("snapshot installed", "index", index)
	return nil
}

func (r *Raft) save(f SaveSnapshot, v state.View) {
	from := time.Now()
	index := dcos.Index(f.Snapshot.GetMetadata().GetIndex())
	err := r.snaps.Save(f.Snapshot, v.WriteSnapshot)
	if err != nil {
		r.o.Logger.Error("snapshot failed", "index", index, "error", err)
	} else {
		r.o.Logger.Info("snapshot saved", "index", index, "took", time.Since(from))
	}
	r.events.put(SnapshotSaved{Index: index, Err: err})
}

func (r *Raft) sendSnapshot(ctx context.Context, f SendSnapshot) {
	file, err := r.snaps.Raw(f.Index)
	if err == nil {
		err = r.o.Transport.SendSnapshot(ctx, f.To, f.Index, f.Msg, file)
		_ = file.Close()
	}
	if err != nil {
		r.o.Logger.Warn("snapshot not sent", "to", fmt.Sprintf("%x", uint64(f.To)), "index", f.Index, "error", err)
	}
	r.events.put(SnapshotSent{To: f.To, Err: err})
}

// watchSpace tells the core, and by the transport the others, when the disk is
// below its reserve.
func (r *Raft) watchSpace(ctx context.Context) {
	t := time.NewTicker(spaceEvery)
	defer t.Stop()
	was := false
	for {
		room, err := journal.HasRoom(r.o.Log, 0, r.o.Reserve)
		if err != nil {
			r.o.Logger.Warn("free space is not known", "error", err)
			room = true
		}
		if low := !room; low != was {
			was = low
			r.o.Logger.Warn("free space changed", "low", low, "reserve", r.o.Reserve)
			r.o.Transport.SetLow(low)
			r.events.put(Space{ID: r.o.Identity.ID, Low: low})
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}
