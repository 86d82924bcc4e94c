package state

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
)

func TestRepeatedProposalIsAnsweredAsBefore(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.must(PutApp{App: testApp("/a", 1)})
	p := encode(t, Proposal{ID: dcos.ProposalID{Proposer: 1, Seq: 1}, Principal: "ann", Commands: []Command{
		PutUser{User: dcos.User{ID: "ann"}, Create: true},
		PutApp{App: testApp("/a", 2)},
		StopTasks{Tasks: []dcos.TaskID{"x", "y"}},
	}})
	first := c.apply(p)[0]
	if first.Repeated || first.Items[0].Err != nil {
		t.Fatalf("at first: %+v", first)
	}
	c.s = reread(t, c.s.View())
	again := c.apply(p)[0]
	if !again.Repeated || again.Index != c.index || len(again.Items) != 3 || again.Items[0].Err != nil {
		t.Fatalf("repeated: %+v", again)
	}
	pairs := [][2]error{{first.Items[1].Err, again.Items[1].Err}, {first.Items[2].Each[0], again.Items[2].Each[0]}, {first.Items[2].Each[1], again.Items[2].Each[1]}}
	for i, kind := range []error{dcos.ErrConflict, dcos.ErrNotFound, dcos.ErrNotFound} {
		if !errors.Is(pairs[i][1], kind) || pairs[i][1].Error() != pairs[i][0].Error() {
			t.Errorf("error %d was %v, is %v", i, pairs[i][0], pairs[i][1])
		}
	}
	if !errors.Is(again.Err(), again.Items[1].Err) {
		t.Errorf("first error is %v", again.Err())
	}
}

func TestProposalsOutsideTheWindowAreNotApplied(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	send := func(seq uint64) Result {
		return c.apply(encode(t, Proposal{ID: dcos.ProposalID{Proposer: 1, Seq: seq}, Commands: []Command{PutUser{User: dcos.User{ID: fmt.Sprint(seq)}}}}))[0]
	}
	send(5)
	send(Window + 10)
	if r := send(5); !r.Repeated || !errors.Is(r.Items[0].Err, dcos.ErrUnknown) {
		t.Errorf("far behind: %+v", r)
	}
	if r := send(9); !r.Repeated || !errors.Is(r.Items[0].Err, dcos.ErrUnknown) {
		t.Errorf("never seen, far behind: %+v", r)
	}
	if r := send(11); r.Repeated || r.Items[0].Err != nil {
		t.Errorf("late but within the window: %+v", r)
	}
	if n := c.s.View().t.done.rows.Len(); n != 2 {
		t.Errorf("%d outcomes are kept, want 2", n)
	}
	if r := c.apply(encode(t, Proposal{ID: dcos.ProposalID{Proposer: 2, Seq: 5}, Commands: []Command{RemoveUser{ID: "5"}}}))[0]; r.Repeated {
		t.Errorf("another proposer: %+v", r)
	}
}

func TestSilentProposersAreForgotten(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	p := encode(t, Proposal{ID: dcos.ProposalID{Proposer: 1, Seq: 1}, Commands: []Command{PutUser{User: dcos.User{ID: "ann"}, Create: true}}})
	c.apply(p)
	c.now = c.now.Add(time.Hour) // a jump: what was sent around it is still known
	if r := c.apply(p)[0]; !r.Repeated {
		t.Errorf("right after a jump: %+v", r)
	}
	c.apply()
	if n := c.s.View().t.done.rows.Len() + c.s.View().t.proposers.rows.Len(); n != 0 {
		t.Errorf("%d rows of a silent proposer are kept", n)
	}
	if r := c.apply(p)[0]; r.Repeated || !errors.Is(r.Items[0].Err, dcos.ErrConflict) {
		t.Errorf("after the window: %+v", r)
	}
}

func TestErrorsOfHugeBatchesAreKeptWithinBounds(t *testing.T) {
	t.Parallel()
	items := []Item{{Each: make([]error, maxKept+10)}, {Err: dcos.ErrDenied}}
	for i := range items[0].Each {
		items[0].Each[i] = fmt.Errorf("%w: %s", dcos.ErrConflict, strings.Repeat("x", 1000))
	}
	row := keep(dcos.ProposalID{Seq: 1}, items)
	if !row.valid() || len(row.Errors) > maxKept {
		t.Fatalf("%d errors kept, valid: %v", len(row.Errors), row.valid())
	}
	for i, item := range row.items() {
		if !errors.Is(item.Err, dcos.ErrUnknown) {
			t.Errorf("item %d of too many errors: %v", i, item.Err)
		}
	}
	items[0].Each = items[0].Each[:1000]
	got := keep(dcos.ProposalID{Seq: 1}, items).items()
	if !errors.Is(got[0].Each[999], dcos.ErrConflict) || !errors.Is(got[1].Err, dcos.ErrDenied) || len(got[0].Each[0].Error()) != maxKeptText {
		t.Errorf("kept %v, %v", got[0].Each[999], got[1].Err)
	}
}

// large is a proposal that needs three entries.
func large(t *testing.T, id dcos.ProposalID) [][]byte {
	t.Helper()
	app := testApp("/large", 1)
	app.Cmd = strings.Repeat("x", 2*maxPart)
	parts, err := SplitProposal(encode(t, Proposal{ID: id, Principal: "ann", Commands: []Command{PutApp{App: app}, RemoveUser{ID: "x"}}}))
	if err != nil || len(parts) != 3 {
		t.Fatalf("%d parts, %v", len(parts), err)
	}
	return parts
}

func TestLargeProposalIsAppliedWithItsLastPart(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	parts := large(t, dcos.ProposalID{Proposer: 1, Seq: 1})
	for _, p := range parts {
		if n := len(EncodeEntry(c.now, p)); n > MaxEntry {
			t.Errorf("an entry of %d bytes", n)
		}
	}
	for _, i := range []int{0, 1, 0, 1} { // parts may be repeated
		if r := c.apply(parts[i])[0]; len(r.Items) != 0 {
			t.Fatalf("part %d: %+v", i, r)
		}
		c.s = reread(t, c.s.View())
	}
	r := c.apply(parts[2])[0]
	if len(r.Items) != 2 || r.Items[0].Err != nil || !errors.Is(r.Items[1].Err, dcos.ErrNotFound) {
		t.Fatalf("last part: %+v", r)
	}
	if row, ok := c.s.View().App("/large"); !ok || len(row.App.Cmd) != 2*maxPart {
		t.Error("the app is not there as it was sent")
	}
	for i := range parts {
		if r := c.apply(parts[i])[0]; !r.Repeated || len(r.Items) != 2 || !errors.Is(r.Items[1].Err, dcos.ErrNotFound) {
			t.Errorf("part %d again: %+v", i, r)
		}
	}
	if n := c.s.View().t.parts.rows.Len(); n != 0 {
		t.Errorf("%d parts are left", n)
	}
}

func TestMissingPartsAreReported(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	parts := large(t, dcos.ProposalID{Proposer: 1, Seq: 1})
	if r := c.apply(parts[1])[0]; !errors.Is(r.Err(), dcos.ErrUnavailable) {
		t.Errorf("second part first: %+v", r)
	}
	c.apply(parts[0])
	if r := c.apply(parts[2])[0]; !errors.Is(r.Err(), dcos.ErrUnavailable) {
		t.Errorf("third part after the first: %+v", r)
	}
	c.now = c.now.Add(time.Hour)
	c.apply()
	c.apply()
	if n := c.s.View().t.parts.rows.Len(); n != 0 {
		t.Errorf("%d parts are kept for ever", n)
	}
	for seq := range uint64(maxPending + 3) {
		c.now++
		c.apply(large(t, dcos.ProposalID{Proposer: 2, Seq: seq + 1})[0])
	}
	if n := c.s.View().t.parts.rows.Len(); n != maxPending {
		t.Errorf("%d proposals wait for parts, want %d", n, maxPending)
	}
	if _, ok := c.s.View().t.parts.Get(partsKey(dcos.ProposalID{Proposer: 2, Seq: 3})); ok {
		t.Error("the oldest was not dropped")
	}
}

// A proposal that is sent again is under way again: what came of its parts the
// first time must not expire between them.
func TestPartsThatAreRepeatedAreKeptAsIfNew(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.must(InitCluster{Info: dcos.ClusterInfo{ID: "c", Level: 2}})
	parts := large(t, dcos.ProposalID{Proposer: 1, Seq: 1})
	c.apply(parts[0])
	c.apply(parts[1])
	c.now = c.now.Add(WindowTime + time.Minute)
	c.apply(parts[0]) // they expire with the next entry, by the time of this one
	c.apply(parts[1])
	if r := c.apply(parts[2])[0]; len(r.Items) != 2 || r.Items[0].Err != nil {
		t.Errorf("got %+v", r)
	}
}

func TestAWholeProposalThatIsRefusedIsAnError(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	parts := large(t, dcos.ProposalID{Proposer: 1, Seq: 1})
	if _, err := c.apply(parts[2])[0].Of(2); !errors.Is(err, dcos.ErrUnavailable) {
		t.Errorf("parts that are missing: %v", err)
	}
	if _, err := (Result{Index: 7}).Of(2); !errors.Is(err, dcos.ErrUnknown) {
		t.Errorf("no answers: %v", err)
	}
	for _, p := range parts[:2] {
		c.apply(p)
	}
	if r, err := c.apply(parts[2])[0].Of(2); err != nil || len(r.Items) != 2 || r.Items[1].Err == nil {
		t.Errorf("a command that fails: %+v, %v", r, err)
	}
}

func TestPartsThatMakeUpNonsenseStop(t *testing.T) {
	t.Parallel()
	part := func(id dcos.ProposalID, n, of uint32, data []byte) []byte {
		return wireProposal(t, proposalWire{ID: id, Part: &partWire{N: n, Of: of, Data: data}})
	}
	id := dcos.ProposalID{Proposer: 1, Seq: 1}
	for name, second := range map[string][]byte{
		"garbage":          []byte("garbage"),
		"another proposal": encode(t, Proposal{ID: dcos.ProposalID{Proposer: 1, Seq: 2}}),
		"a part":           part(id, 0, 2, nil),
	} {
		c := newCluster(t)
		c.apply(part(id, 0, 2, nil))
		before := dump(c.s.View())
		if _, _, err := c.s.Apply(9, EncodeEntry(c.now, part(id, 1, 2, second))); err == nil {
			t.Errorf("%s: no error", name)
		}
		if dump(c.s.View()) != before {
			t.Errorf("%s: the state changed", name)
		}
	}
	c := newCluster(t)
	for name, p := range map[string][]byte{
		"no id":        part(dcos.ProposalID{}, 0, 2, nil),
		"one part":     part(id, 0, 1, nil),
		"beyond count": part(id, 2, 2, nil),
	} {
		if r := c.apply(p)[0]; !errors.Is(r.Err(), dcos.ErrInvalid) {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestSplitProposalNeedsAnID(t *testing.T) {
	t.Parallel()
	app := testApp("/large", 1)
	app.Cmd = strings.Repeat("x", MaxEntry)
	if _, err := SplitProposal(encode(t, Proposal{Commands: []Command{PutApp{App: app}}})); !errors.Is(err, dcos.ErrInvalid) {
		t.Errorf("without an id: %v", err)
	}
	if _, err := SplitProposal(bytes.Repeat([]byte{0}, MaxProposal+1)); !errors.Is(err, dcos.ErrInvalid) {
		t.Errorf("too large: %v", err)
	}
	if _, err := SplitProposal(bytes.Repeat([]byte{0}, MaxEntry+1)); !errors.Is(err, dcos.ErrInvalid) {
		t.Errorf("garbage: %v", err)
	}
	small := encode(t, Proposal{})
	if parts, err := SplitProposal(small); err != nil || len(parts) != 1 || !bytes.Equal(parts[0], small) {
		t.Errorf("a small one: %v, %v", parts, err)
	}
}
