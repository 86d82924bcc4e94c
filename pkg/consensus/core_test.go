package consensus

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

func TestSoleMasterLeadsWithoutWaitingForAnElection(t *testing.T) {
	w := newWorld(t, 1, 1)
	w.run(50 * time.Millisecond)
	if m := w.ms[1]; !m.lead.Ready || m.lead.Leader != 1 {
		t.Fatalf("lead is %+v after half a tick", m.lead)
	}
}

func TestThreeMastersElectOneAndAgree(t *testing.T) {
	w := newWorld(t, 1, 3)
	l := w.leader()
	for range 20 {
		l.propose(nil)
		w.run(5 * time.Millisecond)
	}
	w.settled()
	w.checkAcked()
	if len(w.acked) != 20 {
		t.Fatalf("%d of 20 acknowledged", len(w.acked))
	}
}

func TestProposalsDuringAnAppendShareAnEntry(t *testing.T) {
	w := newWorld(t, 1, 1)
	l := w.leader()
	w.run(time.Second)
	before := l.entries
	for range 500 {
		l.propose(nil)
	}
	w.run(100 * time.Millisecond)
	if n := l.entries - before; len(w.acked) != 500 || n != 2 {
		t.Fatalf("%d acknowledged in %d entries, want 500 in 2: one at once, the others behind its append", len(w.acked), n)
	}
}

func TestGroupsNeverExceedTheSizeOfAnEntry(t *testing.T) {
	w := newWorld(t, 1, 1)
	l := w.leader()
	results := 0
	for range 40 {
		data, err := state.EncodeProposal(state.Proposal{Commands: slices.Repeat([]state.Command{token(strings.Repeat("x", 400))}, 250)})
		must(t, err)
		l.ask(func(k Ticket) Event { return Proposed{Ticket: k, Parts: [][]byte{data}} }, func(f Effect) {
			if r := f.(Resolved); r.Err != nil {
				t.Fatal(r.Err)
			}
			results++
		})
	}
	w.run(time.Second)
	last, _ := l.core.mem.LastIndex()
	first, _ := l.core.mem.FirstIndex()
	ents, err := l.core.mem.Entries(first, last+1, 1<<40)
	must(t, err)
	for _, e := range ents {
		if len(e.GetData()) > state.MaxEntry {
			t.Fatalf("entry %d has %d bytes", e.GetIndex(), len(e.GetData()))
		}
	}
	if results != 40 || len(ents) < 8 {
		t.Fatalf("%d answered in %d entries", results, len(ents))
	}
}

func TestProposalOnAFollowerNamesTheLeader(t *testing.T) {
	w := newWorld(t, 3, 3)
	l := w.leader()
	w.settled()
	for _, id := range w.order {
		if id == l.id {
			continue
		}
		var got error
		w.ms[id].propose(func(r Resolved) { got = r.Err })
		var nl dcos.NotLeader
		if !errors.As(got, &nl) || nl.Leader != l.id || !errors.Is(got, dcos.ErrUnavailable) {
			t.Fatalf("answer of %d is %v, want leader %d", id, got, l.id)
		}
	}
}

func TestLeaderIsReadyOnlyAfterAnEntryOfItsTermIsApplied(t *testing.T) {
	w := newWorld(t, 1, 3)
	l := w.leader()
	if l.core.applies.term != uint64(l.lead.Term) {
		t.Fatalf("ready in term %d with the last applied entry of term %d", l.lead.Term, l.core.applies.term)
	}
	// A leader that cannot commit is not ready.
	w.isolate(l.id, true)
	w.until(10*time.Second, "another leader", func() bool { n := w.leader(); return n.id != l.id })
	w.until(10*time.Second, "the old one steps down", func() bool { return !l.lead.Ready })
}

func TestDeadLeaderIsReplacedAtOnceWhenItsConnectionBreaks(t *testing.T) {
	var worst time.Duration
	for seed := range uint64(20) {
		w := newWorld(t, seed, 3)
		l := w.leader()
		w.settled()
		l.crash()
		for _, id := range w.order {
			w.ms[id].step(PeerLost{l.id})
		}
		from := w.now
		w.leader()
		worst = max(worst, w.now.Sub(from))
	}
	if worst > 300*time.Millisecond {
		t.Fatalf("took up to %v of virtual time", worst)
	}
}

func TestLostConnectionToALivingLeaderChangesNothing(t *testing.T) {
	w := newWorld(t, 5, 3)
	l := w.leader()
	w.settled()
	w.ms[l.id%3+1].step(PeerLost{l.id})
	w.run(3 * time.Second)
	if now := w.leader(); now.id != l.id || now.lead.Term != l.lead.Term {
		t.Fatalf("leader %d in term %d became %d in term %d", l.id, l.lead.Term, now.id, now.lead.Term)
	}
}

func TestIsolatedLeaderAnswersUnknownWithTheIndex(t *testing.T) {
	w := newWorld(t, 2, 3)
	l := w.leader()
	w.settled()
	w.isolate(l.id, true)
	var got error
	l.propose(func(r Resolved) { got = r.Err })
	w.until(10*time.Second, "an answer", func() bool { return got != nil })
	var u Unknown
	if !errors.As(got, &u) || u.Index == 0 || !errors.Is(got, dcos.ErrUnknown) {
		t.Fatalf("answer is %v, want an unknown outcome with its index", got)
	}
	// What comes later is refused for sure.
	got = nil
	l.propose(func(r Resolved) { got = r.Err })
	if !errors.Is(got, dcos.ErrUnavailable) {
		t.Fatalf("answer after the loss is %v", got)
	}
}

func TestOverwrittenProposalIsRefusedNotUnknown(t *testing.T) {
	w := newWorld(t, 4, 3)
	l := w.leader()
	w.settled()
	w.isolate(l.id, true)
	var got error
	name := l.propose(func(r Resolved) { got = r.Err })
	// The others elect and commit; the old leader hears of it before it gives up.
	w.until(10*time.Second, "another leader", func() bool { n := w.leader(); return n.id != l.id })
	n := w.leader()
	n.propose(nil)
	w.run(50 * time.Millisecond)
	w.isolate(l.id, false)
	w.until(10*time.Second, "an answer", func() bool { return got != nil })
	w.settled()
	if _, there := n.store.View().Token(name); there {
		t.Fatal("the proposal was committed after all")
	}
	if !errors.Is(got, dcos.ErrUnavailable) || errors.Is(got, dcos.ErrUnknown) {
		t.Fatalf("answer is %v", got)
	}
}

func TestReadsOnEveryMemberSeeWhatWasAcknowledged(t *testing.T) {
	w := newWorld(t, 6, 3)
	w.loss = 5
	l := w.leader()
	ok, failed := 0, 0
	for range 200 {
		l.propose(nil)
		w.run(w.jitter(time.Millisecond, 20*time.Millisecond))
		w.ms[w.order[w.rng.IntN(3)]].read(func(err error) {
			if err != nil {
				failed++
				return
			}
			ok++
		})
	}
	w.run(10 * time.Second)
	if ok+failed != 200 || ok < 190 {
		t.Fatalf("%d reads answered, %d failed, of 200", ok, failed)
	}
}

func TestReadsShareARound(t *testing.T) {
	w := newWorld(t, 6, 3)
	l := w.leader()
	w.settled()
	f := w.ms[l.id%3+1]
	before := f.core.reads.round
	done := 0
	for range 1000 {
		f.read(func(err error) { must(t, err); done++ })
	}
	w.run(time.Second)
	if n := f.core.reads.round - before; done != 1000 || n > 2 {
		t.Fatalf("%d reads in %d rounds, want 1000 in at most 2", done, n)
	}
}

func TestReadWithoutAMajorityFailsInTime(t *testing.T) {
	w := newWorld(t, 7, 3)
	l := w.leader()
	w.settled()
	w.isolate(l.id, true)
	var got error
	l.read(func(err error) { got = err })
	w.run(time.Duration(defaultReadTicks+2) * 100 * time.Millisecond)
	if !errors.Is(got, dcos.ErrUnavailable) {
		t.Fatalf("answer is %v", got)
	}
}

func TestLeaderWithAHangingDiskFallsSilentAndIsReplaced(t *testing.T) {
	w := newWorld(t, 8, 3)
	l := w.leader()
	w.settled()
	l.hang = true
	l.propose(nil)
	from := w.now
	w.until(10*time.Second, "another leader", func() bool { n := w.leader(); return n.id != l.id })
	if took := w.now.Sub(from); took > 5*time.Second {
		t.Fatalf("replaced after %v", took)
	}
	sent := l.sent
	var got error
	l.propose(func(r Resolved) { got = r.Err })
	w.run(2 * time.Second)
	if l.sent != sent || !errors.Is(got, dcos.ErrUnavailable) {
		t.Fatalf("sent %d messages with a hanging disk; answer %v", l.sent-sent, got)
	}
	l.hang = false
	w.settled()
	if !l.up {
		t.Fatalf("stopped: %v", l.stopped)
	}
	w.checkAcked()
}

func TestSlowDiskChangesNoLeader(t *testing.T) {
	w := newWorld(t, 9, 3)
	l := w.leader()
	w.settled()
	term := l.lead.Term
	for range 20 {
		l.propose(nil)
		l.hang = true
		w.run(200 * time.Millisecond)
		l.hang = false
		w.run(50 * time.Millisecond)
	}
	if now := w.leader(); now.id != l.id || now.lead.Term != term {
		t.Fatalf("leader changed from %d to %d", l.id, now.id)
	}
	if len(w.acked) != 20 {
		t.Fatalf("%d of 20 acknowledged", len(w.acked))
	}
}

func TestDiskThatHangsForAMinuteStopsTheMember(t *testing.T) {
	w := newWorld(t, 10, 1)
	l := w.leader()
	l.hang = true
	l.propose(nil)
	w.run(59 * time.Second)
	if l.stopped != nil || !l.lead.Ready {
		t.Fatalf("after 59 s: stopped %v, lead %+v; a sole master goes on leading", l.stopped, l.lead)
	}
	w.run(3 * time.Second)
	if l.stopped == nil || !strings.Contains(l.stopped.Error(), "has not answered") {
		t.Fatalf("after 62 s: %v", l.stopped)
	}
}

func TestWriteErrorStopsTheMember(t *testing.T) {
	w := newWorld(t, 10, 1)
	l := w.leader()
	l.step(Appended{Seq: 99, Err: errors.New("input/output error")})
	if l.stopped == nil || !strings.Contains(l.stopped.Error(), "input/output error") {
		t.Fatalf("stopped: %v", l.stopped)
	}
	if f := l.core.Step(w.now, Tick{}); f != nil {
		t.Fatalf("a stopped core did %v", f)
	}
}

func TestFullDiskHandsLeadershipToAMemberWithRoom(t *testing.T) {
	w := newWorld(t, 11, 3)
	l := w.leader()
	w.settled()
	full := w.ms[l.id%3+1]
	l.step(Space{ID: full.id, Low: true})
	l.step(Space{ID: l.id, Low: true})
	w.until(5*time.Second, "another leader", func() bool { return w.leader().id != l.id })
	if w.leader().id == full.id {
		t.Fatal("leadership went to the other full disk")
	}
}

func TestFullDisksOfAllMastersRefuseWritesAndServeReads(t *testing.T) {
	w := newWorld(t, 11, 3)
	old := w.leader()
	w.settled()
	for _, m := range w.order {
		for _, other := range w.order {
			w.ms[m].step(Space{ID: other, Low: true})
		}
	}
	// Even the entry with which a new leader begins needs a place.
	old.crash()
	l := w.leader()
	var werr error
	rerr := errors.New("no answer")
	l.propose(func(r Resolved) { werr = r.Err })
	l.read(func(err error) { rerr = err })
	w.run(time.Second)
	if !errors.Is(werr, dcos.ErrUnavailable) || !strings.Contains(werr.Error(), "disk") || rerr != nil {
		t.Fatalf("write: %v, read: %v", werr, rerr)
	}
}

func TestFullDisksOfAMajorityRefuseWrites(t *testing.T) {
	w := newWorld(t, 11, 3)
	l := w.leader()
	w.settled()
	for _, id := range w.order {
		if id != l.id {
			l.step(Space{ID: id, Low: true})
		}
	}
	var werr error
	l.propose(func(r Resolved) { werr = r.Err })
	w.run(time.Second)
	if !errors.Is(werr, dcos.ErrUnavailable) || !strings.Contains(werr.Error(), "majority of the masters") {
		t.Fatalf("write: %v", werr)
	}
}

func TestFullDiskOfASoleMasterRefusesWritesAndServesReads(t *testing.T) {
	w := newWorld(t, 11, 1)
	l := w.leader()
	l.step(Space{ID: 1, Low: true})
	var werr error
	rerr := errors.New("no answer")
	l.propose(func(r Resolved) { werr = r.Err })
	l.read(func(err error) { rerr = err })
	w.run(time.Second)
	if !errors.Is(werr, dcos.ErrUnavailable) || rerr != nil {
		t.Fatalf("write: %v, read: %v", werr, rerr)
	}
	l.step(Space{ID: 1, Low: false})
	l.propose(func(r Resolved) { werr = r.Err })
	w.run(time.Second)
	if werr != nil {
		t.Fatalf("write after space was freed: %v", werr)
	}
}

func TestStampsNeitherGoBackNorJumpWithTheWallClock(t *testing.T) {
	w := newWorld(t, 12, 1)
	l := w.leader()
	last := dcos.Time(0)
	for i, jump := range []time.Duration{0, time.Hour, -2 * time.Hour, time.Hour} {
		w.now = w.now.Add(jump) // only what Step sees; the ticks go on as before
		for k := range w.q {
			w.q[k].at = w.q[k].at.Add(jump)
		}
		w.run(100 * time.Millisecond)
		var at dcos.Time
		l.propose(func(r Resolved) { must(t, r.Err); at = r.Result.Time })
		w.run(100 * time.Millisecond)
		if at < last || last != 0 && at.Sub(last) > 5*time.Second {
			t.Fatalf("step %d: stamp moved by %v", i, at.Sub(last))
		}
		last = at
	}
}

// Backoffs and the like are written in stamps: these go on, at half the speed of
// time at least, while the wall clock is behind them.
func TestStampsGoOnWhileTheWallClockIsBehind(t *testing.T) {
	w := newWorld(t, 12, 1)
	l := w.leader()
	stamp := func() (at dcos.Time) {
		l.propose(func(r Resolved) { must(t, r.Err); at = r.Result.Time })
		w.run(100 * time.Millisecond)
		return at
	}
	first := stamp()
	const back = -2 * time.Hour
	w.now = w.now.Add(back)
	for k := range w.q {
		w.q[k].at = w.q[k].at.Add(back)
	}
	w.run(20 * time.Second)
	if passed := stamp().Sub(first); passed < 9*time.Second || passed > 25*time.Second {
		t.Fatalf("20 s later the stamp has moved by %v", passed)
	}
}

func TestHeartbeatBeyondTheLogStopsTheMember(t *testing.T) {
	// The data directory was replaced by an older copy: the leader knows that
	// this member had more.
	w := newWorld(t, 13, 3)
	l := w.leader()
	w.settled()
	f := w.ms[l.id%3+1]
	f.up = false
	f.gen++
	names, copies := f.logFS.Names(), map[string][]byte{}
	for _, n := range names {
		copies[n] = f.logFS.Bytes(n)
	}
	f.logFS.Kill()
	f.start()
	for range 10 {
		l.propose(nil)
		w.run(20 * time.Millisecond)
	}
	w.settled()
	f.up = false
	f.gen++
	f.logFS.Kill()
	for _, n := range f.logFS.Names() {
		must(t, f.logFS.Remove(n))
	}
	for n, b := range copies {
		f.logFS.SetBytes(n, b)
	}
	f.start()
	w.until(5*time.Second, "the member to stop", func() bool { return f.stopped != nil })
	if !strings.Contains(f.stopped.Error(), "wipe") {
		t.Fatalf("reason: %v", f.stopped)
	}
}

func TestEveryTicketIsAnsweredOnceUnderFaults(t *testing.T) {
	w := newWorld(t, 14, 3)
	w.loss = 10
	asked, answered := 0, 0
	for range 300 {
		m := w.ms[w.order[w.rng.IntN(3)]]
		asked += 2
		m.propose(func(Resolved) { answered++ })
		m.read(func(error) { answered++ })
		if w.rng.IntN(30) == 0 {
			id := w.order[w.rng.IntN(3)]
			w.isolate(id, true)
			w.after(w.jitter(100*time.Millisecond, 3*time.Second), func() { w.isolate(id, false) })
		}
		w.run(w.jitter(time.Millisecond, 100*time.Millisecond))
	}
	w.run(30 * time.Second)
	if asked != answered {
		t.Fatalf("%d asked, %d answered", asked, answered)
	}
	w.settled()
	w.checkAcked()
}

func TestSeededFaultsLoseNothing(t *testing.T) {
	const seeds = 8 // pkg/sim runs thousands
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { chaos(t, seed) })
	}
}

// chaos is a virtual minute of crashes, cuts, hangs and loss.
func chaos(t *testing.T, seed uint64) uint64 {
	w := newWorld(t, seed, 3)
	w.cfg = Config{SnapshotBytes: 16 << 10}
	w.loss = 3
	acked := 0
	for range 600 {
		w.run(w.jitter(20*time.Millisecond, 180*time.Millisecond))
		id := w.order[w.rng.IntN(3)]
		m := w.ms[id]
		switch w.rng.IntN(60) {
		case 0:
			if m.up {
				m.crash()
				w.after(w.jitter(100*time.Millisecond, 3*time.Second), m.start)
			}
		case 1:
			w.isolate(id, true)
			w.after(w.jitter(300*time.Millisecond, 5*time.Second), func() { w.isolate(id, false) })
		case 2:
			m.hang = true
			w.after(w.jitter(100*time.Millisecond, 4*time.Second), func() { m.hang = false })
		case 3:
			a, b := w.order[w.rng.IntN(3)], w.order[w.rng.IntN(3)]
			w.cut[[2]dcos.MasterID{a, b}] = a != b
			w.after(time.Second, func() { w.cut[[2]dcos.MasterID{a, b}] = false })
		case 4:
			m.step(PeerLost{w.order[w.rng.IntN(3)]})
		case 5:
			if m.up {
				m.ask(func(k Ticket) Event { return Transfer{Ticket: k} }, func(Effect) {})
			}
		}
		for _, o := range w.order {
			if m := w.ms[o]; m.up {
				m.propose(func(r Resolved) {
					if r.Err == nil {
						acked++
					}
				})
				m.read(nil)
			}
		}
	}
	w.run(10 * time.Second)
	for _, id := range w.order {
		if m := w.ms[id]; m.stopped != nil {
			t.Fatalf("member %d stopped: %v", id, m.stopped)
		}
	}
	w.settled()
	w.checkAcked()
	if acked < 150 {
		t.Fatalf("only %d proposals got through", acked)
	}
	if w.ms[1].core.snaps.index < 2 {
		t.Fatal("no snapshot was taken")
	}
	return w.trace.Sum64()
}

func TestSameSeedGivesTheSameTrace(t *testing.T) {
	if a, b := chaos(t, 99), chaos(t, 99); a != b {
		t.Fatalf("traces differ: %x and %x", a, b)
	}
}

func TestSoleMasterKeepsEverythingThroughCrashes(t *testing.T) {
	for seed := range uint64(10) {
		w := newWorld(t, seed, 1)
		w.cfg = Config{SnapshotBytes: 4 << 10}
		m := w.ms[1]
		for range 60 {
			for range w.rng.IntN(20) {
				m.propose(nil)
				m.read(nil)
				w.run(w.jitter(0, 3*time.Millisecond))
			}
			m.crash()
			m.start()
			m.read(nil) // before anything of the new term is committed
		}
		w.run(time.Second)
		w.checkAcked()
		if len(w.acked) < 100 {
			t.Fatalf("only %d writes", len(w.acked))
		}
	}
}

func TestFollowerWithAFullDiskTakesNoMoreEntries(t *testing.T) {
	w := newWorld(t, 3, 3)
	l := w.leader()
	w.settled()
	f := w.ms[l.id%3+1]
	f.step(Space{ID: f.id, Low: true})
	before := f.entries
	for range 10 {
		l.propose(nil)
		w.run(20 * time.Millisecond)
	}
	w.run(3 * time.Second)
	if f.entries != before || len(w.acked) != 10 || w.leader().id != l.id {
		t.Fatalf("it took %d entries; %d acknowledged by the others", f.entries-before, len(w.acked))
	}
	f.step(Space{ID: f.id, Low: false})
	w.settled()
	w.checkAcked()
}

func TestProposalsThatWaitAreBounded(t *testing.T) {
	w := newWorld(t, 3, 1)
	l := w.leader()
	l.hang = true
	refused, big := 0, make([]byte, state.MaxEntry)
	for range 200 {
		l.ask(func(k Ticket) Event { return Proposed{Ticket: k, Parts: [][]byte{big}} }, func(f Effect) {
			if r, ok := f.(Resolved); ok && errors.Is(r.Err, dcos.ErrUnavailable) {
				refused++
			}
		})
	}
	if l.core.proposals.bytes > maxUncommitted || refused < 60 {
		t.Fatalf("%d bytes wait, %d refused", l.core.proposals.bytes, refused)
	}
}
