package state

import (
	"errors"
	"fmt"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// The tables that nobody outside sees. They are hashed and in snapshots like
// the others, because what Apply answers depends on them.
const (
	tableProposers Table = iota + 100
	tableDone
	tableParts
	tableFloors
)

const (
	// Window is how many sequence numbers back of one proposer a repeated
	// proposal is recognised; proposers keep fewer than that in flight.
	Window = 1024
	// WindowTime is for how long (in command time) a silent proposer is
	// remembered.
	WindowTime = 10 * time.Minute

	maxKept     = 1 << 14 // errors of one proposal
	maxTexts    = 256     // of them, with their text
	maxKeptText = 256     // of one error, in bytes
)

// proposerRow is one source of proposals.
type proposerRow struct {
	ID      uint64    `cbor:"1,keyasint"`
	Highest uint64    `cbor:"2,keyasint"` // sequence number
	At      dcos.Time `cbor:"3,keyasint"` // of the last proposal
}

// doneRow is what came of one proposal.
type doneRow struct {
	ID      dcos.ProposalID `cbor:"1,keyasint"`
	Items   uint32          `cbor:"2,keyasint"`
	Errors  []keptError     `cbor:"3,keyasint,omitempty"`
	TooMuch bool            `cbor:"4,keyasint,omitempty"` // there were more errors than are kept
}

// keptError is an error of an item, or of one element of a batch.
type keptError struct {
	_       struct{} `cbor:",toarray"`
	Item    uint32
	Of      uint32 // elements in the batch; 0 for the item's own error
	Element uint32
	Kind    uint8 // index into kinds
	Text    string
}

// kinds are numbered in snapshots: only ever append.
var kinds = [...]error{
	dcos.ErrInvalid, dcos.ErrNotFound, dcos.ErrConflict, dcos.ErrDenied,
	dcos.ErrUnauthenticated, dcos.ErrUnavailable, dcos.ErrExhausted, dcos.ErrUnknown,
}

// formerError is an error of a proposal that is being answered again.
type formerError struct {
	kind error
	text string
}

func (e *formerError) Error() string { return e.text }
func (e *formerError) Unwrap() error { return e.kind }

func proposerKey(id uint64) string { return fmt.Sprintf("%016x", id) }
func doneKey(proposer, seq uint64) string {
	return string(appendBig(appendBig(make([]byte, 0, 16), proposer), seq))
}

func appendBig(b []byte, n uint64) []byte {
	return append(b, byte(n>>56), byte(n>>48), byte(n>>40), byte(n>>32), byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}

// repeated says whether a proposal was applied before and what came of it. One
// that is older than the window might have been: it is not applied, and its
// caller is told that the outcome is not known.
func (t *tables) repeated(id dcos.ProposalID, commands int) ([]Item, bool) {
	if id.IsZero() {
		return nil, false
	}
	if row, ok := t.done.Get(doneKey(id.Proposer, id.Seq)); ok {
		return row.items(), true
	}
	p, ok := t.proposers.Get(proposerKey(id.Proposer))
	if !ok || p.Highest < Window || id.Seq > p.Highest-Window {
		return nil, false
	}
	items := make([]Item, max(commands, 1))
	for i := range items {
		items[i].Err = fmt.Errorf("%w: proposal %s comes too late to tell whether it was applied: look before trying again", dcos.ErrUnknown, id)
	}
	return items, true
}

// remember keeps what came of a proposal and forgets what left the window.
func (x *txn) remember(id dcos.ProposalID, items []Item) {
	if id.IsZero() {
		return
	}
	put(x, tableDone, &x.t.done, doneKey(id.Proposer, id.Seq), keep(id, items))
	row := proposerRow{ID: id.Proposer, Highest: id.Seq, At: x.t.time}
	if p, ok := x.t.proposers.Get(proposerKey(id.Proposer)); ok {
		row.Highest = max(row.Highest, p.Highest)
	}
	put(x, tableProposers, &x.t.proposers, proposerKey(id.Proposer), &row)
	if row.Highest >= Window {
		x.forget(id.Proposer, row.Highest-Window)
	}
}

// forget drops the proposals of a proposer up to a sequence number.
func (x *txn) forget(proposer, upTo uint64) {
	last := doneKey(proposer, upTo)
	for _, key := range keysBetween(&x.t.done, doneKey(proposer, 0), last) {
		remove(x, tableDone, &x.t.done, key)
	}
}

func keysBetween[T any](in *table[T], first, last string) []string {
	var keys []string
	in.rows.Ascend(first, func(key string, _ *T) bool {
		if key > last {
			return false
		}
		keys = append(keys, key)
		return true
	})
	return keys
}

// expire forgets proposers and parts that were silent for WindowTime. It goes
// by the time of the entry before: after a jump of time, a proposal that was
// sent twice around the jump is still recognised.
func (x *txn) expire(now dcos.Time) {
	var proposers []*proposerRow
	for p := range x.t.proposers.All() {
		if p.At.Add(WindowTime) < now {
			proposers = append(proposers, p)
		}
	}
	for _, p := range proposers {
		x.forget(p.ID, p.Highest)
		remove(x, tableProposers, &x.t.proposers, proposerKey(p.ID))
	}
	var parts []string
	for p := range x.t.parts.All() {
		if p.At.Add(WindowTime) < now {
			parts = append(parts, partsKey(p.ID))
		}
	}
	for _, key := range parts {
		remove(x, tableParts, &x.t.parts, key)
	}
}

// keep makes the row of a proposal's outcome, bounded in size.
func keep(id dcos.ProposalID, items []Item) *doneRow {
	row := &doneRow{ID: id, Items: uint32(len(items))}
	add := func(item, of, element int, err error) {
		if err == nil || row.TooMuch {
			return
		}
		if len(row.Errors) == maxKept {
			row.Errors, row.TooMuch = nil, true
			return
		}
		kept := keptError{Item: uint32(item), Of: uint32(of), Element: uint32(element), Kind: kindOf(err)}
		if len(row.Errors) < maxTexts {
			text := err.Error()
			kept.Text = text[:min(len(text), maxKeptText)]
		}
		row.Errors = append(row.Errors, kept)
	}
	for i, item := range items {
		add(i, 0, 0, item.Err)
		for j, err := range item.Each {
			add(i, len(item.Each), j, err)
		}
	}
	return row
}

func kindOf(err error) uint8 {
	for i, k := range kinds {
		if errors.Is(err, k) {
			return uint8(i)
		}
	}
	return 0
}

func (r *doneRow) items() []Item {
	items := make([]Item, r.Items)
	if r.TooMuch {
		for i := range items {
			items[i].Err = fmt.Errorf("%w: proposal %s was applied before, with too many errors to keep", dcos.ErrUnknown, r.ID)
		}
	}
	for _, e := range r.Errors {
		err := &formerError{kind: kinds[e.Kind], text: e.Text}
		if err.text == "" {
			err.text = err.kind.Error()
		}
		item := &items[e.Item]
		if e.Of == 0 {
			item.Err = err
			continue
		}
		if item.Each == nil {
			item.Each = make([]error, e.Of)
		}
		item.Each[e.Element] = err
	}
	return items
}

// valid guards items against a damaged snapshot.
func (r *doneRow) valid() bool {
	if r.Items > maxElements {
		return false
	}
	for i, e := range r.Errors {
		first := i == 0 || r.Errors[i-1].Item != e.Item || r.Errors[i-1].Of == 0
		if e.Item >= r.Items || int(e.Kind) >= len(kinds) || e.Of > maxElements || e.Of > 0 && e.Element >= e.Of || !first && e.Of != r.Errors[i-1].Of {
			return false
		}
	}
	return true
}
