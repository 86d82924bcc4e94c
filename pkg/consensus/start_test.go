package consensus

import (
	"bytes"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/journal"
	"github.com/dcos-go/dcos/pkg/journal/journaltest"
	"github.com/dcos-go/dcos/pkg/state"
)

func TestEachStartRaisesTheIncarnationThroughAnyCrash(t *testing.T) {
	for n := range 12 {
		fs := journaltest.New(uint64(n))
		last := uint64(0)
		for range 3 {
			got, err := raiseIncarnation(fs)
			must(t, err)
			if got != last+1 {
				t.Fatalf("start %d after start %d", got, last)
			}
			last = got
		}
		fs.CrashAfter(n)
		_, err := raiseIncarnation(fs)
		fs.Crash()
		got, again := raiseIncarnation(fs)
		must(t, again)
		if got <= last || err == nil && got <= last+1 {
			t.Fatalf("crash after %d calls (%v): start %d after start %d", n, err, got, last)
		}
	}
}

func TestDamagedIncarnationIsNamed(t *testing.T) {
	for _, b := range [][]byte{{}, make([]byte, incarnationSize), []byte("dcosinc1"), bytes.Repeat([]byte{'x'}, 99)} {
		fs := journaltest.New(1)
		fs.SetBytes(incarnationFile, b)
		_, err := raiseIncarnation(fs)
		var d *journal.DamagedError
		if !errors.As(err, &d) || d.File != incarnationFile || !strings.Contains(err.Error(), RepairCommand) {
			t.Errorf("%q: %v", b, err)
		}
	}
}

func TestMemberThatMustProveItselfDoesNotVoteUntilItHas(t *testing.T) {
	w := newWorld(t, 4, 3)
	l := w.leader()
	w.settled()
	var f, third *member
	for _, id := range w.order {
		switch m := w.ms[id]; {
		case m == l:
		case f == nil:
			f = m
		default:
			third = m
		}
	}
	f.crash()
	w.cfg.Prove = true
	f.start()
	w.run(time.Second)
	if !f.core.Status().Held {
		t.Fatal("it votes before it is proven")
	}
	if s := f.core.Status(); s.Leader != l.id || s.Applied < l.core.Status().Applied {
		t.Fatalf("it does not follow: %+v", s)
	}
	// The leader dies right then. Without f's vote there is no majority.
	l.crash()
	at := w.now
	w.until(10*time.Second, "a leader", func() bool { return third.lead.Leader == third.id || f.lead.Leader == f.id })
	if took := w.now.Sub(at); took < holdTicks*DefaultTick {
		t.Fatalf("its vote counted after %v, nobody has proven it", took)
	}
	w.checkAcked()

	// Proven, it votes at once.
	third.crash()
	f.crash()
	f.start()
	l.start()
	w.run(100 * time.Millisecond)
	for _, m := range []*member{l, f} {
		m.step(Proven{})
	}
	at = w.now
	w.until(10*time.Second, "a leader", func() bool { return l.lead.Ready || f.lead.Ready })
	if took := w.now.Sub(at); took > 21*DefaultTick+time.Second {
		t.Fatalf("a leader after %v", took)
	}
}

func TestSoleMemberHasNobodyToProveItselfTo(t *testing.T) {
	w := newWorld(t, 4, 1)
	w.ms[1].crash()
	w.cfg.Prove = true
	w.ms[1].start()
	w.run(100 * time.Millisecond)
	if !w.ms[1].lead.Ready {
		t.Fatal("it does not lead at once")
	}
}

func TestDemotedVoterFollowsAndCountsNoMore(t *testing.T) {
	w := newWorld(t, 7, 3)
	l := w.leader()
	w.settled()
	f := w.ms[l.id%3+1]
	must(t, w.change(func(k Ticket) Event { return Demote{k, f.id} }))
	must(t, w.change(func(k Ticket) Event { return Demote{k, f.id} })) // again: nothing
	if s := w.leader().core.Status(); !slices.Equal(s.Learners, []dcos.MasterID{f.id}) || len(s.Voters) != 2 {
		t.Fatalf("status %+v", s)
	}
	must(t, w.change(func(k Ticket) Event { return Promote{k, f.id} }))
	// A leader demotes itself by way of the next one.
	l = w.leader()
	var got error
	l.ask(func(k Ticket) Event { return Demote{k, l.id} }, func(e Effect) { got = e.(Resolved).Err })
	w.until(5*time.Second, "an answer", func() bool { return got != nil })
	var nl dcos.NotLeader
	if !errors.As(got, &nl) || nl.Leader == l.id {
		t.Fatalf("answer %v, want another leader", got)
	}
	must(t, w.change(func(k Ticket) Event { return Demote{k, l.id} }))
	w.settled()
	w.leader().propose(nil)
	w.run(time.Second)
	w.checkAcked()
}

func TestChangeThatLosesTheMajorityIsRefused(t *testing.T) {
	w := newWorld(t, 8, 3)
	l := w.leader()
	w.settled()
	dead, alive := w.ms[l.id%3+1], w.ms[(l.id+1)%3+1]
	dead.crash()
	l.step(PeerLost{ID: dead.id}) // known at once, not after an election timeout
	for _, e := range []func(Ticket) Event{
		func(k Ticket) Event { return Remove{k, alive.id} },
		func(k Ticket) Event { return Demote{k, alive.id} },
		func(k Ticket) Event { return Remove{k, l.id} },
	} {
		if err := w.change(e); !errors.Is(err, dcos.ErrConflict) || !strings.Contains(err.Error(), "2 masters would vote, of which only 1 answer") {
			t.Errorf("%v", err)
		}
	}
	must(t, w.change(func(k Ticket) Event { return Remove{k, dead.id} }))
	must(t, w.change(func(k Ticket) Event { return Remove{k, alive.id} }))
	if err := w.change(func(k Ticket) Event { return Demote{k, l.id} }); !errors.Is(err, dcos.ErrConflict) {
		t.Errorf("the last voter: %v", err)
	}
}

func TestWritesAreRefusedWhileAMajorityHasNoRoom(t *testing.T) {
	w := newWorld(t, 9, 3)
	l := w.leader()
	w.settled()
	low := func(is bool) {
		for _, id := range w.order {
			if id != l.id {
				l.step(Space{ID: id, Low: is})
				w.ms[id].step(Space{ID: id, Low: is})
			}
		}
	}
	low(true)
	var got error
	l.propose(func(r Resolved) { got = r.Err })
	w.run(time.Second)
	if !errors.Is(got, dcos.ErrUnavailable) || !strings.Contains(got.Error(), "majority") {
		t.Fatalf("a write that cannot be kept by a majority: %v", got)
	}
	read := errors.New("no answer")
	l.read(func(err error) { read = err })
	w.run(time.Second)
	must(t, read)
	low(false)
	ok := false
	l.propose(func(r Resolved) { ok = r.Err == nil })
	w.until(5*time.Second, "a write after space was freed", func() bool { return ok })
}

// backup is a world of three with some state, and a snapshot of it.
func backup(t *testing.T) (*world, []byte) {
	w := newWorld(t, 3, 3)
	l := w.leader()
	info := state.InitCluster{Info: dcos.ClusterInfo{ID: cluster, Level: state.Level}}
	cmds := []state.Command{info}
	for _, id := range w.order {
		cmds = append(cmds, state.PutMaster{Master: dcos.Master{ID: id, Level: state.Level}})
	}
	data, err := state.EncodeProposal(state.Proposal{Commands: cmds})
	must(t, err)
	done := false
	l.ask(func(k Ticket) Event { return Proposed{Ticket: k, Parts: [][]byte{data}} }, func(e Effect) { must(t, e.(Resolved).Err); done = true })
	w.until(5*time.Second, "the first rows", func() bool { return done })
	for range 20 {
		l.propose(nil)
		w.run(10 * time.Millisecond)
	}
	w.settled()
	var b bytes.Buffer
	s := l.core.Status()
	must(t, WriteSnapshot(&b, l.store.View(), s.Term, s.Voters))
	return w, b.Bytes()
}

func TestBackupIsRestoredAsTheSameClusterOfOne(t *testing.T) {
	w, file := backup(t)
	for n := range 40 {
		b, err := ReadSnapshot(bytes.NewReader(file))
		must(t, err)
		m := struct{ logFS, snapFS *journaltest.FS }{journaltest.New(uint64(n)), journaltest.New(uint64(n) + 1)}
		id := Identity{cluster, 9}
		m.logFS.CrashAfter(n) // the machine may stop in between
		_, _ = RestoreSnapshot(m.logFS, m.snapFS, id, b)
		m.logFS.Crash()
		m.snapFS.Crash()
		b, err = ReadSnapshot(bytes.NewReader(file))
		must(t, err)
		if _, err := RestoreSnapshot(m.logFS, m.snapFS, id, b); err != nil && !errors.Is(err, dcos.ErrConflict) { // it was done before the crash
			t.Fatal(err)
		}
		if _, err := RestoreSnapshot(m.logFS, m.snapFS, id, b); !errors.Is(err, dcos.ErrConflict) {
			t.Fatalf("over existing state: %v", err)
		}
		s, err := Load(m.logFS, NewSnapshots(m.snapFS), id)
		must(t, err)
		v := s.Store.View()
		meta := s.Found.Snapshot.GetMetadata()
		if v.Index() < b.Index+restoreStep || dcos.Term(meta.GetTerm()) < b.Term+restoreStep || !slices.Equal(meta.GetConfState().GetVoters(), []uint64{9}) {
			t.Fatalf("goes on from %+v", meta)
		}
		for row := range v.Masters() {
			t.Fatalf("master %x is still known", row.ID)
		}
		tokens := 0
		for range v.Tokens() {
			tokens++
		}
		if info, _ := v.Cluster(); info.ID != cluster || tokens != len(w.acked) {
			t.Fatalf("cluster %q with %d of %d rows", info.ID, tokens, len(w.acked))
		}
		must(t, s.Log.Close())
	}
	b, err := ReadSnapshot(bytes.NewReader(file))
	must(t, err)
	if _, err := RestoreSnapshot(journaltest.New(1), journaltest.New(2), Identity{"another", 9}, b); !errors.Is(err, dcos.ErrConflict) {
		t.Fatalf("into another cluster: %v", err)
	}
}

func TestDamagedBackupIsRefused(t *testing.T) {
	_, file := backup(t)
	zeroed := bytes.Clone(file)
	clear(zeroed[len(zeroed)/2:])
	flipped := bytes.Clone(file)
	flipped[len(flipped)/2] ^= 1
	for name, b := range map[string][]byte{
		"empty": nil, "cut": file[:len(file)-1], "half": file[:len(file)/2], "zeros": make([]byte, len(file)), "half zeros": zeroed,
		"a bit": flipped, "more behind it": append(bytes.Clone(file), 'x'),
	} {
		if _, err := ReadSnapshot(bytes.NewReader(b)); !errors.Is(err, journal.ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRecoveryForgetsTheLostMasters(t *testing.T) {
	w, _ := backup(t)
	for _, id := range w.order {
		w.ms[id].crash()
	}
	keep := w.ms[2]
	have, err := Examine(keep.logFS, keep.snapFS, Identity{cluster, 2})
	must(t, err)
	if have.Identity.ID != 2 || have.Last < w.high || !slices.Equal(have.Voters, w.order) {
		t.Fatalf("content %+v", have)
	}
	index, err := Recover(keep.logFS, keep.snapFS, Identity{cluster, 2})
	must(t, err)
	if index <= have.Last {
		t.Fatalf("goes on from %d, the log ended at %d", index, have.Last)
	}
	keep.start()
	w.run(time.Second)
	for row := range keep.store.View().Masters() {
		if row.ID != 2 {
			t.Errorf("master %x is still known", row.ID)
		}
	}
	w.checkAcked()
}

func TestSnapshotLeavesTheReserveAlone(t *testing.T) {
	_, file := backup(t)
	b, err := ReadSnapshot(bytes.NewReader(file))
	must(t, err)
	fs := journaltest.New(1)
	fs.SetCapacity(10 << 20)
	s := NewSnapshots(fs)
	s.Reserve = 9 << 20
	err = s.Save(marker(uint64(b.Index), uint64(b.Term)), b.Store.View().WriteSnapshot)
	if !errors.Is(err, dcos.ErrExhausted) || len(fs.Names()) != 0 {
		t.Fatalf("error %v, files %v", err, fs.Names())
	}
	s.Reserve = 1 << 20
	must(t, s.Save(marker(uint64(b.Index), uint64(b.Term)), b.Store.View().WriteSnapshot))
}

func TestAllDisksStallingForTenSecondsEndNobodyAndWritesResume(t *testing.T) {
	for seed := range uint64(5) {
		w := newWorld(t, 20+seed, 3)
		l := w.leader()
		l.propose(nil)
		w.settled()
		for _, id := range w.order {
			w.ms[id].hang = true
		}
		l.propose(nil)
		w.run(2 * time.Second)
		refused := errors.New("no answer")
		l.propose(func(r Resolved) { refused = r.Err })
		w.run(8 * time.Second)
		if !errors.Is(refused, dcos.ErrUnavailable) {
			t.Fatalf("a write meanwhile: %v", refused)
		}
		for _, id := range w.order {
			if m := w.ms[id]; !m.up || m.stopped != nil {
				t.Fatalf("member %d has ended: %v", id, m.stopped)
			}
			w.ms[id].hang = false
		}
		ok := false
		w.until(10*time.Second, "a write is accepted again", func() bool {
			w.leader().propose(func(r Resolved) { ok = ok || r.Err == nil })
			w.run(200 * time.Millisecond)
			return ok
		})
		w.settled()
		w.checkAcked()
	}
}

// The process that ends by the first is started again; the second needs the
// operator, and is told to wipe what the disk holds.
func TestASnapshotThatCannotBeReadIsNotDamaged(t *testing.T) {
	w := newWorld(t, 1, 1)
	m := w.ms[1]
	m.crash()
	for _, tt := range []struct {
		op      journaltest.Op
		err     error
		damaged bool
	}{
		{journaltest.OpRead, &fs.PathError{Op: "read", Path: "x", Err: syscall.EIO}, false},
		{journaltest.OpOpen, &fs.PathError{Op: "open", Path: "x", Err: syscall.EMFILE}, false},
		{journaltest.OpOpen, &fs.PathError{Op: "open", Path: "x", Err: syscall.ENOENT}, true},
	} {
		m.snapFS.FailNth(tt.op, 1, tt.err)
		_, err := Load(m.logFS, m.snaps, Identity{cluster, 1})
		if !errors.Is(err, tt.err) || errors.Is(err, journal.ErrDamaged) != tt.damaged || !strings.Contains(err.Error(), snapName(1)) {
			t.Errorf("%v: %v, want it damaged: %v", tt.err, err, tt.damaged)
		}
	}
	m.start()
}
