package consensus

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// change asks for a change of members until it is not refused as unavailable.
func (w *world) change(e func(Ticket) Event) error {
	w.t.Helper()
	var got error
	done := false
	w.until(30*time.Second, "an answer to the change of members", func() bool {
		done = false
		w.leader().ask(e, func(f Effect) {
			if r, ok := f.(Resolved); ok {
				got, done = r.Err, true
			}
		})
		w.run(300 * time.Millisecond)
		return done && !errors.Is(got, dcos.ErrUnavailable)
	})
	return got
}

func TestMemberJoinsAsLearnerAndBecomesVoter(t *testing.T) {
	w := newWorld(t, 1, 1)
	w.cfg = Config{SnapshotBytes: 4 << 10}
	w.ms[1].crash()
	w.ms[1].start()
	l := w.leader()
	for range 200 {
		l.propose(nil)
		w.run(5 * time.Millisecond)
	}
	if l.core.snaps.index < 2 {
		t.Fatal("no snapshot yet")
	}
	for _, id := range []dcos.MasterID{2, 3} {
		w.join(id)
		must(t, w.change(func(k Ticket) Event { return AddLearner{k, id} }))
		if s := l.core.Status(); !slices.Contains(s.Learners, id) {
			t.Fatalf("status %+v", s)
		}
		must(t, w.change(func(k Ticket) Event { return AddLearner{k, id} })) // again: nothing
		must(t, w.change(func(k Ticket) Event { return Promote{k, id} }))
		must(t, w.change(func(k Ticket) Event { return Promote{k, id} }))
	}
	w.settled()
	w.checkAcked()
	// The group lives without its first member.
	l.crash()
	n := w.leader()
	ok := false
	n.propose(func(r Resolved) { ok = r.Err == nil })
	w.until(5*time.Second, "a write", func() bool { return ok })
	for _, id := range w.order[1:] {
		if s := w.ms[id].core.Status(); !slices.Equal(s.Voters, []dcos.MasterID{1, 2, 3}) {
			t.Fatalf("voters of %d: %v", id, s.Voters)
		}
	}
}

func TestLearnerThatLagsIsNotPromoted(t *testing.T) {
	w := newWorld(t, 1, 1)
	l := w.leader()
	must(t, w.change(func(k Ticket) Event { return AddLearner{k, 2} })) // nobody is there
	var got error
	l.ask(func(k Ticket) Event { return Promote{k, 2} }, func(f Effect) { got = f.(Resolved).Err })
	if !errors.Is(got, dcos.ErrUnavailable) {
		t.Fatalf("promote: %v", got)
	}
	must(t, w.change(func(k Ticket) Event { return Remove{k, 2} }))
	for _, tt := range []struct {
		name string
		e    func(Ticket) Event
		want error
	}{
		{"promote a stranger", func(k Ticket) Event { return Promote{k, 7} }, dcos.ErrNotFound},
		{"remove a stranger", func(k Ticket) Event { return Remove{k, 7} }, dcos.ErrNotFound},
		{"remove the last voter", func(k Ticket) Event { return Remove{k, 1} }, dcos.ErrConflict},
		{"add nobody", func(k Ticket) Event { return AddLearner{k, 0} }, dcos.ErrInvalid},
		{"lead a stranger", func(k Ticket) Event { return Transfer{k, 7} }, dcos.ErrNotFound},
	} {
		if err := w.change(tt.e); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

func TestOnlyOneChangeOfMembersAtATime(t *testing.T) {
	w := newWorld(t, 1, 3)
	l := w.leader()
	w.settled()
	var first, second error
	answers := 0
	l.ask(func(k Ticket) Event { return AddLearner{k, 4} }, func(f Effect) { first = f.(Resolved).Err; answers++ })
	l.ask(func(k Ticket) Event { return AddLearner{k, 5} }, func(f Effect) { second = f.(Resolved).Err; answers++ })
	w.run(time.Second)
	if answers != 2 || first != nil || !errors.Is(second, dcos.ErrUnavailable) {
		t.Fatalf("%d answers: %v and %v", answers, first, second)
	}
}

func TestLeaderHandsOverBeforeItIsRemoved(t *testing.T) {
	w := newWorld(t, 2, 3)
	l := w.leader()
	w.settled()
	var got error
	l.ask(func(k Ticket) Event { return Remove{k, l.id} }, func(f Effect) { got = f.(Resolved).Err })
	w.until(5*time.Second, "an answer", func() bool { return got != nil })
	var nl dcos.NotLeader
	if !errors.As(got, &nl) || nl.Leader == 0 || nl.Leader == l.id {
		t.Fatalf("answer %v, want another leader", got)
	}
	w.until(5*time.Second, "the new leader", func() bool { return w.leader().id == nl.Leader })
	must(t, w.change(func(k Ticket) Event { return Remove{k, l.id} }))
	w.leader().propose(nil)
	w.run(time.Second)
	if len(w.acked) != 1 {
		t.Fatal("two members do not commit")
	}
}

func TestRemovedMemberStops(t *testing.T) {
	w := newWorld(t, 2, 3)
	l := w.leader()
	w.settled()
	f := w.ms[l.id%3+1]
	must(t, w.change(func(k Ticket) Event { return Remove{k, f.id} }))
	w.run(time.Second)
	// It may never hear of it; when it does, it stops.
	if f.stopped != nil && !errors.Is(f.stopped, ErrRemoved) {
		t.Fatalf("stopped: %v", f.stopped)
	}
	if slices.Contains(l.core.Status().Voters, f.id) {
		t.Fatal("still a voter")
	}
}

func TestLeadershipMovesWithinAFewTicks(t *testing.T) {
	w := newWorld(t, 3, 3)
	l := w.leader()
	w.settled()
	to := l.id%3 + 1
	err := errors.New("no answer")
	l.ask(func(k Ticket) Event { return Transfer{k, to} }, func(f Effect) { err = f.(Resolved).Err })
	from := w.now
	w.until(2*time.Second, "the move", func() bool { return err == nil && w.leader().id == to })
	if took := w.now.Sub(from); took > 500*time.Millisecond {
		t.Fatalf("took %v", took)
	}
}

func TestMemberThatWasAwayTooLongGetsASnapshot(t *testing.T) {
	w := newWorld(t, 5, 3)
	w.cfg = Config{SnapshotBytes: 8 << 10}
	for _, id := range w.order { // with the small limit
		w.ms[id].crash()
		w.ms[id].start()
	}
	l := w.leader()
	w.settled()
	f := w.ms[l.id%3+1]
	f.crash()
	for range 300 {
		w.leader().propose(nil)
		w.run(5 * time.Millisecond)
	}
	// Memory keeps a tail for members that are a little behind: make it go.
	for _, id := range w.order {
		if m := w.ms[id]; m.up {
			must(t, m.core.mem.Compact(m.core.snaps.index))
		}
	}
	f.start()
	w.settled()
	w.checkAcked()
	if f.core.snaps.index < 100 {
		t.Fatalf("its snapshot is of index %d", f.core.snaps.index)
	}
	// What it took over is durable.
	f.crash()
	f.start()
	w.settled()
	w.checkAcked()
}

func TestFailedSnapshotIsTriedAgainAndTheLogWaits(t *testing.T) {
	w := newWorld(t, 6, 1)
	w.cfg = Config{SnapshotBytes: 2 << 10}
	w.ms[1].crash()
	w.ms[1].start()
	l := w.leader()
	l.snapFS.SetCapacity(10)
	refused := false
	for range 400 {
		l.propose(func(r Resolved) { refused = refused || errors.Is(r.Err, dcos.ErrUnavailable) })
		w.run(5 * time.Millisecond)
	}
	if l.core.snaps.err == nil || !refused {
		t.Fatalf("error %v, refused %v", l.core.snaps.err, refused)
	}
	l.snapFS.SetCapacity(0)
	w.run(time.Minute)
	ok := false
	l.propose(func(r Resolved) { ok = r.Err == nil })
	w.run(time.Second)
	if l.core.snaps.err != nil || !ok {
		t.Fatalf("error %v, accepted %v", l.core.snaps.err, ok)
	}
	w.checkAcked()
}

func TestRecoveredMemberGoesOnAloneWithEverything(t *testing.T) {
	for seed := range uint64(10) {
		w := newWorld(t, seed, 3)
		l := w.leader()
		for range 50 {
			l.propose(nil)
			w.run(10 * time.Millisecond)
		}
		w.settled()
		for _, id := range w.order {
			w.ms[id].crash()
		}
		keep := w.ms[w.order[seed%3]]
		// The machine may stop while it recovers.
		keep.logFS.CrashAfter(int(seed) * 3)
		keep.snapFS.CrashAfter(int(seed) * 2)
		_, _ = Recover(keep.logFS, keep.snapFS, Identity{cluster, keep.id})
		keep.logFS.Crash()
		keep.snapFS.Crash()
		_, err := Recover(keep.logFS, keep.snapFS, Identity{cluster, keep.id})
		must(t, err)
		keep.start()
		if n := w.leader(); n != keep {
			t.Fatalf("leader is %d", n.id)
		}
		w.checkAcked()
		if s := keep.core.Status(); !slices.Equal(s.Voters, []dcos.MasterID{keep.id}) {
			t.Fatalf("voters %v", s.Voters)
		}
		// Another machine joins and gets all of it.
		w.join(9)
		must(t, w.change(func(k Ticket) Event { return AddLearner{k, 9} }))
		must(t, w.change(func(k Ticket) Event { return Promote{k, 9} }))
		w.settled()
		w.checkAcked()
	}
}

func TestMemberWithoutStateCannotBeRecovered(t *testing.T) {
	w := newWorld(t, 1, 1)
	m := w.join(2)
	m.crash()
	if _, err := Recover(m.logFS, m.snapFS, Identity{cluster, 2}); !errors.Is(err, dcos.ErrInvalid) {
		t.Fatalf("error: %v", err)
	}
	if _, err := Recover(m.logFS, m.snapFS, Identity{cluster, 3}); !errors.Is(err, dcos.ErrConflict) {
		t.Fatalf("another member's directory: %v", err)
	}
}

// Of two masters one is removed. The one that is left has said so, and the power
// goes: were it to forget that the change is committed, it would wait for the
// vote of a master that is gone.
func TestTheLastMasterRemembersThatItIsAlone(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(t, seed, 2)
		l := w.leader()
		w.settled()
		gone := w.ms[l.id%2+1]
		done := false
		l.ask(func(k Ticket) Event { return Remove{k, gone.id} }, func(f Effect) {
			r, ok := f.(Resolved)
			done = ok && r.Err == nil
		})
		for end := w.now.Add(10 * time.Second); !done; {
			if w.now.After(end) {
				t.Fatal("no answer to the change of members")
			}
			w.run(100 * time.Microsecond)
		}
		gone.up = false
		gone.gen++
		l.crash()
		l.start()
		w.until(10*time.Second, "a leader", func() bool { return l.lead.Ready && l.lead.Leader == l.id })
	}
}

// The one that goes hears of it, or commits it itself as a leader that was
// elected meanwhile; then the power of the one that stays goes, perhaps while
// its disk does not answer. It must be able to lead on, whatever is on its disk.
func TestAMasterLeavesOnlyWhenTheOneThatStaysCanLeadAlone(t *testing.T) {
	heard, led, again := 0, 0, 0
	for seed := range uint64(90) {
		w := newWorld(t, seed, 2)
		stays := w.leader()
		w.settled()
		gone := w.ms[stays.id%2+1]
		stays.ask(func(k Ticket) Event { return Remove{k, gone.id} }, func(Effect) {})
		if seed%2 == 0 {
			w.cut[[2]dcos.MasterID{gone.id, stays.id}] = true // it gets the change, which the other does not know
			w.run(3 * time.Second)
			clear(w.cut)
		} else {
			w.run(time.Duration(w.rng.IntN(3000)) * time.Microsecond)
			stays.hang = true
		}
		for end := w.now.Add(5 * time.Second); gone.stopped == nil && gone.core.applies.conf.gone == 0 && w.now.Before(end); {
			w.run(50 * time.Microsecond)
			if k := gone.core.applies.conf; gone.core.leads && k.asked > 0 && k.asked == k.last {
				stays.hang = true // it may hear that the change is committed, and cannot keep it
			}
		}
		switch {
		case gone.stopped != nil:
			heard++
		case gone.core.applies.conf.gone != 0:
			led++
			if w.rng.IntN(2) == 0 {
				again++
				gone.crash()
				gone.start()
			}
		}
		stays.crash()
		stays.hang = false
		stays.start()
		w.leader() // there is one, or the removed master still votes
		w.checkAcked()
	}
	if heard == 0 || led == 0 || again == 0 {
		t.Fatalf("%d times a master was told, %d times it led, %d times it started again: all must happen", heard, led, again)
	}
}

// A change of members that a snapshot has jumped over is committed, and durable
// with the snapshot. A member that took it so once waited for ever for it to
// be durable: as the leader it let nobody hear of a commit behind it.
func TestALeaderThatGotAChangeOfMembersBySnapshotTellsOfCommits(t *testing.T) {
	w := newWorld(t, 8, 3)
	l := w.leader()
	w.settled()
	f, other := w.ms[l.id%3+1], w.ms[(l.id+1)%3+1]
	w.cut[[2]dcos.MasterID{other.id, l.id}] = true // nothing is committed
	l.ask(func(k Ticket) Event { return AddLearner{k, 9} }, func(Effect) {})
	w.until(time.Second, "the change in its log", func() bool { return f.core.applies.conf.last != 0 })
	w.isolate(f.id, true)
	w.cut[[2]dcos.MasterID{other.id, l.id}] = false
	if k := f.core.applies.conf; k.durable >= k.last {
		t.Fatalf("it knows already that the change is committed: %+v", k)
	}
	w.cfg = Config{SnapshotBytes: 4 << 10}
	for _, m := range []*member{l, other} { // with the small limit
		m.crash()
		m.start()
	}
	for range 200 {
		w.leader().propose(nil)
		w.run(5 * time.Millisecond)
	}
	for _, m := range []*member{l, other} {
		must(t, m.core.mem.Compact(m.core.snaps.index))
	}
	w.isolate(f.id, false)
	w.settled()
	if k := f.core.applies.conf; f.core.snaps.index <= k.last {
		t.Fatalf("the change came to it by the log, not by a snapshot: %+v", k)
	}
	moved := false
	w.leader().ask(func(k Ticket) Event { return Transfer{k, f.id} }, func(e Effect) { moved = e.(Resolved).Err == nil })
	w.until(5*time.Second, "the move", func() bool { return moved && w.leader().id == f.id })
	f.propose(nil)
	w.settled()
	w.checkAcked()
}
