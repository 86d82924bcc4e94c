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
	"github.com/dcos-go/dcos/pkg/journal/journaltest"
	"github.com/dcos-go/dcos/pkg/state"
)

// master is a machine with a master process: the cores, and what their shells
// do in production.
type master struct {
	process
	id     dcos.MasterID
	power  bool
	skew   time.Duration // of its clock
	logFS  *journaltest.FS
	snapFS *journaltest.FS
	stall  time.Duration // the disk answers nothing until then
	low    bool          // the disk is nearly full

	snaps  *consensus.Snapshots
	log    *consensus.Log
	core   *consensus.Core
	store  *state.Store
	lead   consensus.Lead
	broken bool // its disk gave an error, so that it may stop

	disk    []consensus.Effect // Append and CompactLog, to be written
	writing bool
	work    []consensus.Effect // Apply, Install and SaveSnapshot
	working bool
	ticket  consensus.Ticket
	waits   map[consensus.Ticket]func(consensus.Effect)
	wakes   int

	leader leading
}

func newMaster(w *world, i int, seed uint64, of int) *master {
	m := &master{
		process: process{w: w, host: i}, id: dcos.MasterID(i + 1), power: true, skew: w.rng.between(-400*time.Millisecond, 400*time.Millisecond),
		logFS: journaltest.New(seed*64 + uint64(i)), snapFS: journaltest.New(seed*64 + 32 + uint64(i)),
	}
	m.snaps = consensus.NewSnapshots(m.snapFS)
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

func (m *master) identity() consensus.Identity { return consensus.Identity{Cluster: cluster, ID: m.id} }

// now is what its clock shows.
func (m *master) now() time.Time { return m.w.time().Add(m.skew) }

// start is the process on a machine that has power.
func (m *master) start() {
	if m.up || !m.power {
		return
	}
	s, err := consensus.Load(m.logFS, m.snaps, m.identity())
	if errors.Is(err, journaltest.ErrCrashed) || errors.Is(err, errDisk) {
		m.powerLoss()
		return
	}
	if err != nil {
		m.w.fail("master %d cannot start: %v", m.id, err)
	}
	m.life++
	core, err := consensus.NewCore(consensus.Config{ID: m.id, Nonce: uint64(m.life), SnapshotBytes: m.w.rules.snapshot}, s.Found)
	if err != nil {
		m.w.fail("master %d cannot start: %v", m.id, err)
	}
	m.w.note("master %d starts at index %d, %d entries in its log", m.id, s.Store.View().Index(), len(s.Found.Entries))
	m.log, m.core, m.store, m.up, m.lead, m.broken = s.Log, core, s.Store, true, consensus.Lead{}, false
	m.paused, m.disk, m.work, m.writing, m.working = 0, nil, nil, false, false
	m.waits = map[consensus.Ticket]func(consensus.Effect){}
	m.leader = newLeading()
	m.dispatch(dispatch.Follow{})
	m.tick()
}

func (m *master) tick() {
	m.step(consensus.Tick{})
	m.after(consensus.DefaultTick, "tick", m.tick)
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
	for _, o := range m.w.masters {
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
	for _, f := range m.core.Step(m.now(), e) {
		if m.life == life {
			m.carry(f)
		}
	}
}

// carry does what the shell of consensus does. Nothing in it steps the core.
func (m *master) carry(f consensus.Effect) {
	w := m.w
	switch f := f.(type) {
	case consensus.Append, consensus.CompactLog:
		m.disk = append(m.disk, f)
		m.write()
	case consensus.Apply, consensus.Install, consensus.SaveSnapshot:
		m.work = append(m.work, f)
		m.machine()
	case consensus.Send:
		to := w.masters[f.To-1]
		w.net.datagram(m.host, to.host, "raft", func() {
			to.after(0, "raft", func() { to.step(consensus.Received{From: m.id, Msg: f.Msg}) })
		})
	case consensus.SendSnapshot:
		m.sendSnapshot(f)
	case consensus.ReadOK:
		m.answer(f.Ticket, f)
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
		if !m.broken {
			w.fail("master %d stops: %v", m.id, f.Why)
		}
		w.note("master %d stops: %v", m.id, f.Why)
		// Nobody knows what its disk holds: the machine is started anew.
		m.powerLoss()
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
		m.onDisk(m.w.rng.between(100*time.Microsecond, m.w.rules.sync), "fsync", func() {
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

// onDisk runs f when the disk gets to it.
func (m *master) onDisk(d time.Duration, what string, f func()) {
	m.after(d, what, func() {
		if m.stall > m.w.now {
			m.onDisk(m.stall-m.w.now, what, f)
			return
		}
		f()
	})
}

// failed is an error of the disk: the power went, or it is broken.
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
	m.w.count("snapshot saved")
	index := dcos.Index(f.Snapshot.GetMetadata().GetIndex())
	m.after(0, "snapshot saved", func() { m.step(consensus.SnapshotSaved{Index: index, Err: err}) })
}

func (m *master) apply(f consensus.Apply) {
	done := consensus.Applied{Results: make([][]state.Result, len(f.Entries))}
	for i, e := range f.Entries {
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
	if errors.Is(err, journaltest.ErrCrashed) {
		m.powerLoss()
		return
	}
	if err != nil {
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
	to := m.w.masters[f.To-1]
	sent := func(err error) {
		m.after(m.w.net.delay(), "snapshot sent", func() { m.step(consensus.SnapshotSent{To: f.To, Err: err}) })
	}
	if err != nil || !m.w.net.whole(m.host, to.host) || m.w.bad(m.w.rules.loss) {
		sent(errors.Join(err, errors.New("lost")))
		return
	}
	toLife, life := to.life, m.life
	m.w.after(m.w.net.delay()+20*time.Millisecond, "snapshot arrives", to.host, func() {
		if !to.up || to.life != toLife || m.life != life || !m.w.net.whole(m.host, to.host) {
			sent(errors.New("broken"))
			return
		}
		if err := to.snaps.Receive(f.Index, bytes.NewReader(file)); err != nil {
			if errors.Is(err, journaltest.ErrCrashed) {
				to.powerLoss()
			}
			sent(err)
			return
		}
		to.after(0, "snapshot received", func() { to.step(consensus.SnapshotReceived{From: m.id, Msg: f.Msg}) })
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
func (m *master) propose(cmds []state.Command, done func(state.Result, error)) {
	if l := m.lead; l.Leader != 0 && l.Leader != m.id {
		m.after(0, "not leader", func() { done(state.Result{}, dcos.NotLeader{Leader: l.Leader}) })
		return
	}
	data, err := state.EncodeProposal(state.Proposal{Commands: cmds})
	if err != nil {
		m.after(0, "refused", func() { done(state.Result{}, err) })
		return
	}
	answered := false
	once := func(r state.Result, err error) {
		if !answered {
			answered = true
			done(r, err)
		}
	}
	m.ask(func(t consensus.Ticket) consensus.Event {
		return consensus.Proposed{Ticket: t, Parts: [][]byte{slices.Clip(data)}}
	}, func(f consensus.Effect) {
		r := f.(consensus.Resolved)
		m.w.check.answered(m, r, answered)
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
			done(m.store.View(), nil)
		case consensus.Resolved:
			done(state.View{}, f.Err)
		}
	})
}
