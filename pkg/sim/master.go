package sim

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/dcos-go/dcos/pkg/consensus"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/dispatch"
	"github.com/dcos-go/dcos/pkg/journal"
	"github.com/dcos-go/dcos/pkg/journal/journaltest"
	"github.com/dcos-go/dcos/pkg/state"
)

// master is a machine with a master process: the cores, and what their shells
// do in production.
type master struct {
	process
	id     dcos.MasterID // 0: no member, its machine is a spare
	clock  clock
	level  uint64 // feature level of its build
	power  bool
	logFS  *journaltest.FS
	snapFS *journaltest.FS
	stall  time.Duration // the disk answers nothing until then
	slow   time.Duration // each fsync takes long until then
	low    bool          // the disk is nearly full
	voted  bool          // it did when that was asked last

	snaps  *consensus.Snapshots
	log    *consensus.Log
	core   *consensus.Core
	store  *state.Store
	lead   consensus.Lead
	broken bool // its disk gave an error or hung, so that it may stop

	flipped bool // bits of its files have flipped
	damaged bool // that was found out; it waits to be replaced
	sure    bool // its row says which build it has
	held    bool // its operator does not let it start
	killIn  int  // effects until the process is killed; 0: it is not

	disk    []consensus.Effect // Append and CompactLog, to be written
	writing bool
	work    []consensus.Effect // Apply, Install and SaveSnapshot
	working bool
	ticket  consensus.Ticket
	ids     uint64 // of proposals
	waits   map[consensus.Ticket]func(consensus.Effect)
	wakes   int

	leader leading
}

// newMaster makes a machine for a master; those numbered below of are the
// first members.
func newMaster(w *world, i int, seed uint64, of int) *master {
	m := &master{process: process{w: w, host: i}, clock: newClock(w), level: state.Level, power: true}
	m.newDisks(seed*64+uint64(i), seed*64+32+uint64(i))
	if i >= of {
		return m
	}
	m.id = dcos.MasterID(i + 1)
	one := uint64(1)
	first := &pb.Snapshot{Metadata: &pb.SnapshotMetadata{Index: &one, Term: &one, ConfState: &pb.ConfState{}}}
	for k := range of {
		first.Metadata.ConfState.Voters = append(first.Metadata.ConfState.Voters, uint64(k+1))
	}
	err := m.snaps.Save(first, state.New().View().WriteSnapshot)
	if err == nil {
		var l *consensus.Log
		if l, _, err = consensus.OpenLog(m.logFS); err == nil {
			err = errors.Join(l.Init(m.identity(), first), l.Close())
		}
	}
	if err != nil {
		w.fail("make master %d: %v", m.id, err)
	}
	return m
}

// newDisks are empty.
func (m *master) newDisks(log, snaps uint64) {
	m.logFS, m.snapFS = journaltest.New(log), journaltest.New(snaps)
	m.snaps = consensus.NewSnapshots(m.snapFS)
}

func (m *master) identity() consensus.Identity { return consensus.Identity{Cluster: cluster, ID: m.id} }

// start is the process on a machine that has power.
func (m *master) start() {
	if m.up || !m.power || m.id == 0 || m.damaged || m.held {
		return
	}
	if m.stall > m.w.now { // not even the program can be read
		m.w.after(min(m.stall-m.w.now, time.Second), "supervisor", m.host, m.start)
		return
	}
	s, err := consensus.Load(m.logFS, m.snaps, m.identity())
	switch {
	case errors.Is(err, journaltest.ErrCrashed):
		m.powerLoss()
		return
	case errors.Is(err, errDisk), errors.Is(err, journaltest.ErrFull):
		m.w.count("master's disk fails at its start")
		m.w.note("master %d cannot start: %v", m.id, err)
		m.w.after(m.w.rng.between(100*time.Millisecond, 2*time.Second), "supervisor", m.host, m.start)
		return
	case errors.Is(err, journal.ErrDamaged) && m.flipped:
		m.harmed(err)
		return
	case err != nil:
		m.w.fail("master %d cannot start: %v", m.id, err)
	}
	m.life++
	core, err := consensus.NewCore(consensus.Config{ID: m.id, Nonce: uint64(m.life), SnapshotBytes: m.w.rules.snapshot}, s.Found)
	if err != nil {
		m.w.fail("master %d cannot start: %v", m.id, err)
	}
	m.w.note("master %d starts at index %d, %d entries in its log", m.id, s.Store.View().Index(), len(s.Found.Entries))
	m.log, m.core, m.store, m.up, m.lead, m.broken = s.Log, core, s.Store, true, consensus.Lead{}, false
	m.paused, m.disk, m.work, m.writing, m.working, m.killIn = 0, nil, nil, false, false, 0
	m.waits = map[consensus.Ticket]func(consensus.Effect){}
	m.leader = newLeading()
	m.w.check.logged(m, s.Found.Entries)
	m.dispatch(dispatch.Follow{})
	m.tick()
}

// harmed is a member that knows its files are not what it wrote: it neither
// runs nor votes until somebody replaces it.
func (m *master) harmed(why error) {
	m.w.note("master %d: %v", m.id, why)
	m.w.count("damage found")
	m.damaged = true
}

func (m *master) tick() {
	m.step(consensus.Tick{})
	m.after(m.clock.takes(consensus.DefaultTick), "tick", m.tick)
}

// end is the end of the process alone; the page cache lives on.
func (m *master) end(restart time.Duration) {
	if !m.up {
		return
	}
	m.up = false
	m.life++
	m.logFS.Kill()
	m.snapFS.Kill()
	m.w.net.processEnds(m.host)
	for _, o := range m.w.members() {
		if o != m && m.w.net.whole(m.host, o.host) && !m.w.bad(20) {
			o.after(m.w.net.delay(), "peer lost", func() { o.step(consensus.PeerLost{ID: m.id}) })
		}
	}
	m.w.after(restart, "supervisor", m.host, m.start)
}

// powerLoss takes with it what was not synced.
func (m *master) powerLoss() {
	m.w.note("master %d loses power", m.id)
	m.w.count("master loses power")
	m.up, m.power = false, false
	m.life++
	m.logFS.Crash()
	m.snapFS.Crash()
	m.w.net.hostEnds(m.host)
	m.w.after(m.w.rng.between(500*time.Millisecond, 8*time.Second), "power on", m.host, func() {
		m.power = true
		m.w.after(m.w.rng.between(0, time.Second), "supervisor", m.host, m.start)
	})
}

func (m *master) step(e consensus.Event) {
	if !m.up {
		return
	}
	life := m.life
	for _, f := range m.core.Step(m.clock.wall(), e) {
		if m.life != life {
			return
		}
		if m.killIn > 0 {
			if m.killIn--; m.killIn == 0 {
				m.w.note("master %d is killed before %T", m.id, f)
				m.w.count("master killed before it acts")
				m.end(m.w.rng.between(50*time.Millisecond, 2*time.Second))
				return
			}
		}
		m.w.cover.effect(f)
		m.carry(f)
	}
}

// carry does what the shell of consensus does. Nothing in it steps the core.
func (m *master) carry(f consensus.Effect) {
	w := m.w
	switch f := f.(type) {
	case consensus.Append:
		w.check.logged(m, f.Entries)
		m.disk = append(m.disk, f)
		m.write()
	case consensus.CompactLog:
		m.disk = append(m.disk, f)
		m.write()
	case consensus.Apply, consensus.Install, consensus.SaveSnapshot:
		m.work = append(m.work, f)
		m.machine()
	case consensus.Send:
		from := m.id
		if to := w.member(f.To); to != nil {
			w.net.datagram(m.host, to.host, "raft", func() {
				to.after(0, "raft", func() { to.step(consensus.Received{From: from, Msg: f.Msg}) })
			})
		}
	case consensus.SendSnapshot:
		m.sendSnapshot(f)
	case consensus.ReadOK:
		if m.store.View().Index() < f.Index { // its snapshot is on its way
			m.work = append(m.work, f)
			m.machine()
		} else {
			m.answer(f.Ticket, f)
		}
	case consensus.Resolved:
		m.answer(f.Ticket, f)
	case consensus.Lead:
		w.check.leads(m, f)
		if f.Leader == m.id || f.Leader == 0 {
			w.note("master %d: term %d, leader %d, ready %v", m.id, f.Term, f.Leader, f.Ready)
		}
		m.lead = f
		m.after(50*time.Microsecond, "role", m.role)
	case consensus.Wake:
		m.wakes++
		wake := m.wakes
		m.after(f.After, "wake", func() {
			if wake == m.wakes {
				m.step(consensus.Woken{})
			}
		})
	case consensus.Stop:
		m.stops(f.Why)
	}
}

// stops is the end that the core has asked for.
func (m *master) stops(why error) {
	w := m.w
	w.note("master %d stops: %v", m.id, why)
	switch {
	case errors.Is(why, consensus.ErrRemoved) && w.operator.removing[m.id]:
		w.count("removed master stops")
		m.end(0)
		m.damaged = true // it shall not start again
	case m.flipped && !m.broken:
		m.end(0)
		m.harmed(why)
	case m.broken || m.stall > w.now:
		w.count("master stops by its disk")
		m.end(w.rng.between(50*time.Millisecond, 3*time.Second))
	default:
		w.fail("master %d stops: %v", m.id, why)
	}
}

// write is the disk's loop: what has gathered shares one fsync.
func (m *master) write() {
	if m.writing || len(m.disk) == 0 {
		return
	}
	m.writing = true
	m.onDisk(m.w.rng.between(10*time.Microsecond, 200*time.Microsecond), "write", func() {
		batch := m.disk
		m.disk = nil
		var seq uint64
		sync := false
		for _, f := range batch {
			var err error
			switch f := f.(type) {
			case consensus.Append:
				err = m.log.Write(f)
				seq, sync = f.Seq, sync || f.Sync
			case consensus.CompactLog:
				m.w.count("log compacted")
				err = m.log.Compact(f.Snapshot)
				if err == nil {
					err = m.snaps.Prune(dcos.Index(f.Snapshot.GetMetadata().GetIndex()))
				}
			}
			if err != nil {
				m.failed(err)
				return
			}
		}
		if !sync {
			m.written(seq)
			return
		}
		m.onDisk(m.syncs(), "fsync", func() {
			if err := m.log.Sync(); err != nil {
				m.failed(err)
				return
			}
			m.written(seq)
		})
	})
}

func (m *master) written(seq uint64) {
	m.writing = false
	if seq > 0 {
		m.after(m.w.rng.between(0, 300*time.Microsecond), "appended", func() { m.step(consensus.Appended{Seq: seq}) })
	}
	m.write()
}

// syncs is how long an fsync takes.
func (m *master) syncs() time.Duration {
	if m.slow > m.w.now {
		return 200 * time.Millisecond
	}
	return m.w.rng.between(100*time.Microsecond, m.w.rules.sync)
}

// onDisk runs f when the disk gets to it.
func (m *master) onDisk(d time.Duration, what string, f func()) {
	m.after(d, what, func() {
		if m.stall > m.w.now {
			m.onDisk(min(m.stall-m.w.now, time.Second), what, f)
			return
		}
		f()
	})
}

// failed is an error of the disk: the power went, or it is broken. What the
// process finds when it starts again is what the page cache says, which a
// failed fsync has left in doubt.
func (m *master) failed(err error) {
	if errors.Is(err, journaltest.ErrCrashed) {
		m.powerLoss()
		return
	}
	m.broken = true
	m.after(0, "disk error", func() { m.step(consensus.Appended{Err: err}) })
}

// machine is the state machine's loop.
func (m *master) machine() {
	if m.working || len(m.work) == 0 {
		return
	}
	m.working = true
	m.after(m.w.rng.between(10*time.Microsecond, 500*time.Microsecond), "apply", func() {
		f := m.work[0]
		m.work = m.work[1:]
		m.working = false
		switch f := f.(type) {
		case consensus.Apply:
			m.apply(f)
		case consensus.ReadOK:
			m.answer(f.Ticket, f)
		case consensus.Install:
			m.install(dcos.Index(f.Snapshot.GetMetadata().GetIndex()))
		case consensus.SaveSnapshot:
			view := m.store.View()
			m.onDisk(m.w.rng.between(time.Millisecond, 50*time.Millisecond), "snapshot", func() { m.save(f, view) })
		}
		if m.up {
			m.machine()
		}
	})
}

func (m *master) save(f consensus.SaveSnapshot, view state.View) {
	err := m.snaps.Save(f.Snapshot, view.WriteSnapshot)
	if errors.Is(err, journaltest.ErrCrashed) {
		m.powerLoss()
		return
	}
	if err == nil {
		m.w.count("snapshot saved")
	} else {
		m.w.count("snapshot not saved")
	}
	index := dcos.Index(f.Snapshot.GetMetadata().GetIndex())
	m.after(0, "snapshot saved", func() { m.step(consensus.SnapshotSaved{Index: index, Err: err}) })
}

func (m *master) apply(f consensus.Apply) {
	done := consensus.Applied{Results: make([][]state.Result, len(f.Entries))}
	for i, e := range f.Entries {
		m.w.check.understood(m, e)
		commit, results, err := m.store.Apply(e.Index, e.Data)
		if err != nil {
			m.w.fail("master %d cannot apply entry %d: %v", m.id, e.Index, err)
		}
		m.w.check.applied(m, e, commit)
		done.Results[i], done.Index = results, e.Index
		if len(commit.Changes) > 0 {
			m.publish(commit)
		}
	}
	done.Time = m.store.View().Time()
	m.after(20*time.Microsecond, "applied", func() { m.step(done) })
}

func (m *master) install(index dcos.Index) {
	err := m.snaps.Load(index, func(r io.Reader) (err error) {
		m.store, err = state.Restore(r)
		return err
	})
	if err == nil {
		err = m.snaps.Prune(index)
	}
	switch {
	case errors.Is(err, journaltest.ErrCrashed):
		m.powerLoss()
		return
	case errors.Is(err, errDisk), errors.Is(err, journal.ErrDamaged) && m.flipped:
		m.broken = true
		m.stops(err)
		return
	case err != nil:
		m.w.fail("master %d cannot install the snapshot at %d: %v", m.id, index, err)
	}
	m.w.note("master %d installs the snapshot at %d", m.id, index)
	m.w.count("snapshot installed")
	m.w.check.installed(m)
	m.feedBreaks()
}

func (m *master) sendSnapshot(f consensus.SendSnapshot) {
	var file []byte
	raw, err := m.snaps.Raw(f.Index)
	if err == nil {
		file, err = io.ReadAll(raw)
	}
	sent := func(err error) {
		m.after(m.w.net.delay(), "snapshot sent", func() { m.step(consensus.SnapshotSent{To: f.To, Err: err}) })
	}
	to := m.w.member(f.To)
	if err != nil || to == nil || !m.w.net.whole(m.host, to.host) || m.w.bad(m.w.rules.loss) {
		sent(errors.Join(err, errors.New("lost")))
		return
	}
	toLife, life, from := to.life, m.life, m.id
	m.w.after(m.w.net.delay()+20*time.Millisecond, "snapshot arrives", to.host, func() {
		if !to.up || to.life != toLife || m.life != life || !m.w.net.whole(m.host, to.host) {
			sent(errors.New("broken"))
			return
		}
		if err := to.snaps.Receive(f.Index, bytes.NewReader(file)); err != nil {
			m.w.count("snapshot not received")
			if errors.Is(err, journaltest.ErrCrashed) {
				to.powerLoss()
			}
			sent(err)
			return
		}
		to.after(0, "snapshot received", func() { to.step(consensus.SnapshotReceived{From: from, Msg: f.Msg}) })
		sent(nil)
	})
}

// ask gives the core an event with a ticket; got is called with its answer,
// unless the process ends before.
func (m *master) ask(e func(consensus.Ticket) consensus.Event, got func(consensus.Effect)) {
	m.ticket++
	t := m.ticket
	m.waits[t] = got
	m.after(10*time.Microsecond, "ask", func() { m.step(e(t)) })
}

func (m *master) answer(t consensus.Ticket, f consensus.Effect) {
	got, ok := m.waits[t]
	if !ok {
		m.w.fail("master %d: ticket %d is answered twice, or was never given: %+v", m.id, t, f)
	}
	delete(m.waits, t)
	m.after(20*time.Microsecond, "answer", func() { got(f) })
}

// proposeTimeout ends the wait for an answer, whose outcome is then not known.
const proposeTimeout = 30 * time.Second

// propose is consensus.Raft.Propose.
func (m *master) propose(by state.Origin, cmds []state.Command, done func(state.Result, error)) {
	refuse := func(err error) { m.after(0, "refused", func() { done(state.Result{}, err) }) }
	if l := m.lead; l.Leader != 0 && l.Leader != m.id {
		refuse(dcos.NotLeader{Leader: l.Leader})
		return
	}
	if err := m.store.View().Admits(cmds...); err != nil {
		refuse(err)
		return
	}
	p := state.Proposal{ID: by.ID, Principal: by.Principal, Commands: cmds}
	data, err := state.EncodeProposal(p)
	if err == nil && len(data) > state.MaxEntry && p.ID.IsZero() {
		m.ids++
		p.ID = dcos.ProposalID{Proposer: uint64(m.lead.Term)<<32 | m.ids&0xffffffff, Seq: 1}
		data, err = state.EncodeProposal(p)
	}
	if err != nil {
		refuse(err)
		return
	}
	parts, err := state.SplitProposal(data)
	if err != nil {
		refuse(err)
		return
	}
	if len(parts) > 1 {
		m.w.count("proposal in parts")
	}
	m.w.cover.commands(cmds)
	for i := range parts {
		parts[i] = slices.Clip(parts[i])
	}
	answered := false
	once := func(r state.Result, err error) {
		if !answered {
			answered = true
			done(r, err)
		}
	}
	m.ask(func(t consensus.Ticket) consensus.Event {
		return consensus.Proposed{Ticket: t, Parts: parts}
	}, func(f consensus.Effect) {
		r := f.(consensus.Resolved)
		m.w.check.answered(m, r, answered, parts[len(parts)-1])
		if r.Err == nil {
			r.Result, r.Err = r.Result.Of(len(cmds))
		}
		once(r.Result, r.Err)
	})
	m.after(proposeTimeout, "propose timeout", func() { once(state.Result{}, consensus.Unknown{}) })
}

// read is consensus.Raft.Read.
func (m *master) read(done func(state.View, error)) {
	least := m.w.check.high
	m.ask(func(t consensus.Ticket) consensus.Event { return consensus.ReadAsked{Ticket: t} }, func(f consensus.Effect) {
		switch f := f.(type) {
		case consensus.ReadOK:
			if v := m.store.View(); f.Index < least || v.Index() < f.Index {
				m.w.fail("stale read on master %d: index %d, applied %d, acknowledged before it was asked %d", m.id, f.Index, v.Index(), least)
			}
			m.w.count("read answered")
			done(m.store.View(), nil)
		case consensus.Resolved:
			m.w.count("read refused")
			done(state.View{}, f.Err)
		}
	})
}
