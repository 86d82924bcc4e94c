package consensus

import (
	"bytes"
	"container/heap"
	crand "crypto/rand"
	"errors"
	"fmt"
	"hash"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/journal/journaltest"
	"github.com/dcos-go/dcos/pkg/state"
)

// world is a few members in one seeded loop of virtual time: enough to show
// what the core does. pkg/sim is the real simulator.
type world struct {
	t     *testing.T
	rng   *rand.Rand
	now   time.Time
	seq   int
	q     queue
	ms    map[dcos.MasterID]*member
	order []dcos.MasterID
	cfg   Config

	loss    int // percent of messages
	cut     map[[2]dcos.MasterID]bool
	trace   hash.Hash64
	leaders map[dcos.Term]dcos.MasterID
	hashes  map[dcos.Index]uint64
	acked   map[string]dcos.Index
	high    dcos.Index // highest acknowledged
	tokens  int
	ticket  Ticket
}

type item struct {
	at  time.Time
	seq int
	run func()
}
type queue []item

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return q[i].at.Before(q[j].at) || q[i].at.Equal(q[j].at) && q[i].seq < q[j].seq
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(item)) }
func (q *queue) Pop() any     { o := *q; x := o[len(o)-1]; *q = o[:len(o)-1]; return x }

// member is a core and the world's stand-in for its shell.
type member struct {
	w       *world
	id      dcos.MasterID
	logFS   *journaltest.FS
	snapFS  *journaltest.FS
	snaps   *Snapshots
	log     *Log
	core    *Core
	store   *state.Store
	up      bool
	gen     int
	hang    bool // the disk does not answer
	lead    Lead
	stopped error
	waits   map[Ticket]func(Effect)
	sent    int // messages
	entries int // appended
}

type seeded struct{ r *rand.Rand }

func (s seeded) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(s.r.Uint32())
	}
	return len(p), nil
}

const cluster = "c-1"

var now0 = time.Unix(1_800_000_000, 0)

// newWorld has n members, all voters from the start.
func newWorld(t *testing.T, seed uint64, n int) *world {
	w := &world{
		t: t, rng: rand.New(rand.NewPCG(seed, 1)), now: now0, ms: map[dcos.MasterID]*member{},
		cut: map[[2]dcos.MasterID]bool{}, trace: fnv.New64a(), leaders: map[dcos.Term]dcos.MasterID{}, hashes: map[dcos.Index]uint64{}, acked: map[string]dcos.Index{},
	}
	old := crand.Reader
	crand.Reader = seeded{rand.New(rand.NewPCG(seed, 2))} // raft's election jitter
	t.Cleanup(func() { crand.Reader = old })
	one := uint64(1)
	first := &pb.Snapshot{Metadata: &pb.SnapshotMetadata{Index: &one, Term: &one, ConfState: &pb.ConfState{}}}
	for i := range n {
		first.Metadata.ConfState.Voters = append(first.Metadata.ConfState.Voters, uint64(i+1))
	}
	for i := range n {
		m := w.add(dcos.MasterID(i+1), seed)
		must(t, m.snaps.Save(first, state.New().View().WriteSnapshot))
		l, _, err := OpenLog(m.logFS)
		must(t, err)
		must(t, l.Init(Identity{cluster, m.id}, first))
		must(t, l.Close())
		m.start()
	}
	return w
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) add(id dcos.MasterID, seed uint64) *member {
	m := &member{w: w, id: id, logFS: journaltest.New(seed + uint64(id)), snapFS: journaltest.New(seed + 100 + uint64(id))}
	m.snaps = NewSnapshots(m.snapFS)
	w.ms[id] = m
	w.order = append(w.order, id)
	return m
}

// join adds a member with an empty log.
func (w *world) join(id dcos.MasterID) *member {
	m := w.add(id, 77)
	must(w.t, Join(m.logFS, Identity{cluster, id}))
	m.start()
	return m
}

func (w *world) after(d time.Duration, run func()) {
	w.seq++
	heap.Push(&w.q, item{w.now.Add(d), w.seq, run})
}

// run lets d of virtual time pass.
func (w *world) run(d time.Duration) {
	end := w.now.Add(d)
	for w.q.Len() > 0 && !w.q[0].at.After(end) {
		i := heap.Pop(&w.q).(item)
		w.now = i.at
		i.run()
	}
	w.now = end
}

// until runs until cond holds, at most d.
func (w *world) until(d time.Duration, what string, cond func() bool) {
	w.t.Helper()
	end := w.now.Add(d)
	for !cond() {
		if w.now.After(end) {
			w.t.Fatalf("not within %v: %s", d, what)
		}
		w.run(10 * time.Millisecond)
	}
}

func (m *member) start() {
	s, err := Load(m.logFS, m.snaps, Identity{cluster, m.id})
	must(m.w.t, err)
	m.gen++
	cfg := m.w.cfg
	cfg.ID, cfg.Nonce = m.id, uint64(m.gen)
	core, err := NewCore(cfg, s.Found)
	must(m.w.t, err)
	m.log, m.core, m.store, m.up, m.stopped, m.waits, m.lead = s.Log, core, s.Store, true, nil, map[Ticket]func(Effect){}, Lead{}
	m.tick(m.gen)
}

func (m *member) tick(gen int) {
	if m.up && m.gen == gen {
		m.step(Tick{})
		m.w.after(100*time.Millisecond, func() { m.tick(gen) })
	}
}

// crash loses everything that is not durable.
func (m *member) crash() {
	m.up = false
	m.gen++
	m.logFS.Crash()
	m.snapFS.Crash()
	for _, wait := range m.waits {
		wait(nil)
	}
}

// later runs f unless the member has gone down meanwhile.
func (m *member) later(d time.Duration, f func()) {
	gen := m.gen
	m.w.after(d, func() {
		if m.up && m.gen == gen {
			f()
		}
	})
}

func (w *world) jitter(from, to time.Duration) time.Duration {
	return from + time.Duration(w.rng.Int64N(int64(to-from)))
}

func (m *member) step(e Event) {
	if !m.up {
		return
	}
	fmt.Fprintf(m.w.trace, "%d %d %T\n", m.w.now.UnixNano(), m.id, e)
	for _, f := range m.core.Step(m.w.now, e) {
		m.carry(f)
	}
}

func (m *member) carry(f Effect) {
	w := m.w
	switch f := f.(type) {
	case Append:
		m.entries += len(f.Entries)
		must(w.t, m.log.Write(f))
		m.sync(f)
	case CompactLog:
		must(w.t, m.log.Compact(f.Snapshot))
	case Apply:
		m.apply(f)
	case Install:
		must(w.t, m.snaps.Load(dcos.Index(f.Snapshot.GetMetadata().GetIndex()), func(r io.Reader) (err error) {
			m.store, err = state.Restore(r)
			return err
		}))
	case Send:
		m.sent++
		w.deliver(m.id, f.To, func(to *member) { to.step(Received{From: m.id, Msg: f.Msg}) })
	case SendSnapshot:
		m.sendSnapshot(f)
	case SaveSnapshot:
		err := m.snaps.Save(f.Snapshot, m.store.View().WriteSnapshot)
		index := dcos.Index(f.Snapshot.GetMetadata().GetIndex())
		m.later(w.jitter(time.Millisecond, 50*time.Millisecond), func() { m.step(SnapshotSaved{Index: index, Err: err}) })
	case ReadOK:
		m.answer(f.Ticket, f)
	case Resolved:
		m.answer(f.Ticket, f)
	case Lead:
		m.lead = f
		if f.Leader == m.id {
			if had, ok := w.leaders[f.Term]; ok && had != m.id {
				w.t.Fatalf("term %d has two leaders, %d and %d", f.Term, had, m.id)
			}
			w.leaders[f.Term] = m.id
		}
	case Wake:
		m.later(f.After, func() { m.step(Woken{}) })
	case Stop:
		m.up, m.stopped = false, f.Why
		m.gen++
	}
}

func (m *member) answer(t Ticket, f Effect) {
	wait, ok := m.waits[t]
	if !ok {
		m.w.t.Fatalf("ticket %d answered twice or never given: %+v", t, f)
	}
	delete(m.waits, t)
	wait(f)
}

func (m *member) sync(f Append) {
	m.later(m.w.jitter(100*time.Microsecond, 3*time.Millisecond), func() {
		if m.hang {
			m.sync(f)
			return
		}
		if f.Sync {
			must(m.w.t, m.log.Sync())
		}
		m.step(Appended{Seq: f.Seq})
	})
}

func (m *member) apply(f Apply) {
	done := Applied{}
	for _, e := range f.Entries {
		var res []state.Result
		if e.Data != nil {
			var err error
			if _, res, err = m.store.Apply(e.Index, e.Data); err != nil {
				m.w.t.Fatalf("apply %d: %v", e.Index, err)
			}
			sum := m.store.View().Hash()
			if was, ok := m.w.hashes[e.Index]; ok && was != sum {
				m.w.t.Fatalf("member %d differs from another at index %d", m.id, e.Index)
			}
			m.w.hashes[e.Index] = sum
		}
		done.Results = append(done.Results, res)
		done.Index = e.Index
	}
	done.Time = m.store.View().Time()
	m.later(m.w.jitter(10*time.Microsecond, time.Millisecond), func() { m.step(done) })
}

func (m *member) sendSnapshot(f SendSnapshot) {
	raw, err := m.snaps.Raw(f.Index)
	must(m.w.t, err)
	b, err := io.ReadAll(raw)
	must(m.w.t, err)
	lost := true
	m.w.deliver(m.id, f.To, func(to *member) {
		lost = false
		must(m.w.t, to.snaps.Receive(f.Index, bytes.NewReader(b)))
		to.step(SnapshotReceived{From: m.id, Msg: f.Msg})
	})
	m.later(20*time.Millisecond, func() {
		if lost {
			m.step(SnapshotSent{To: f.To, Err: errors.New("lost")})
			return
		}
		m.step(SnapshotSent{To: f.To})
	})
}

// deliver is the network.
func (w *world) deliver(from, to dcos.MasterID, got func(*member)) {
	m := w.ms[to]
	if m == nil || w.cut[[2]dcos.MasterID{from, to}] || w.rng.IntN(100) < w.loss {
		return
	}
	gen := m.gen
	w.after(w.jitter(200*time.Microsecond, 8*time.Millisecond), func() {
		if m.up && m.gen == gen {
			got(m)
		}
	})
}

// isolate cuts a member off from all others, both ways.
func (w *world) isolate(id dcos.MasterID, off bool) {
	for _, o := range w.order {
		w.cut[[2]dcos.MasterID{id, o}], w.cut[[2]dcos.MasterID{o, id}] = off, off
	}
}

// leader waits for one that is ready and followed by a majority.
func (w *world) leader() *member {
	w.t.Helper()
	var l *member
	w.until(30*time.Second, "a leader", func() bool {
		l = nil
		for _, id := range w.order {
			if m := w.ms[id]; m.up && m.lead.Ready && (l == nil || m.lead.Term > l.lead.Term) {
				l = m
			}
		}
		return l != nil
	})
	return l
}

// ask sends an event that has a ticket.
func (m *member) ask(e func(Ticket) Event, answer func(Effect)) {
	m.w.ticket++
	m.waits[m.w.ticket] = answer
	m.step(e(m.w.ticket))
}

// propose writes one token and notes whether it was acknowledged.
func (m *member) propose(answer func(Resolved)) string {
	w := m.w
	w.tokens++
	name := fmt.Sprintf("t%d", w.tokens)
	data, err := state.EncodeProposal(state.Proposal{Commands: []state.Command{
		state.PutToken{Token: dcos.JoinToken{ID: name, Role: dcos.RoleAgent, SecretHash: []byte("x")}},
	}})
	must(w.t, err)
	m.ask(func(t Ticket) Event { return Proposed{Ticket: t, Parts: [][]byte{data}} }, func(f Effect) {
		r, ok := f.(Resolved)
		if !ok { // the member died
			return
		}
		if r.Err == nil {
			must(w.t, r.Result.Err())
			w.acked[name] = r.Result.Index
			w.high = max(w.high, r.Result.Index)
		}
		if answer != nil {
			answer(r)
		}
	})
	return name
}

// read checks that what it gets is not stale.
func (m *member) read(answer func(error)) {
	w := m.w
	want := w.high
	m.ask(func(t Ticket) Event { return ReadAsked{t} }, func(f Effect) {
		switch f := f.(type) {
		case ReadOK:
			if f.Index < want || m.core.Status().Applied < f.Index {
				w.t.Fatalf("stale read on %d: index %d, applied %d, acknowledged before %d", m.id, f.Index, m.core.Status().Applied, want)
			}
			if answer != nil {
				answer(nil)
			}
		case Resolved:
			if answer != nil {
				answer(f.Err)
			}
		}
	})
}

// checkAcked demands every acknowledged token from every member that is up.
func (w *world) checkAcked() {
	w.t.Helper()
	names := make([]string, 0, len(w.acked))
	for n := range w.acked {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, id := range w.order {
		m := w.ms[id]
		if !m.up {
			continue
		}
		for _, n := range names {
			if _, ok := m.store.View().Token(n); !ok {
				w.t.Fatalf("member %d has lost %s, acknowledged at %d; it has applied %d", id, n, w.acked[n], m.core.Status().Applied)
			}
		}
	}
}

// settled waits until all members that are up have applied the same.
func (w *world) settled() {
	w.t.Helper()
	w.until(60*time.Second, "all members at one index", func() bool {
		l := w.leader()
		for _, id := range w.order {
			if m := w.ms[id]; m.up && (m.core.Status().Applied != l.core.Status().Applied || m.lead.Leader != l.id) {
				return false
			}
		}
		return true
	})
}
