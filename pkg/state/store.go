package state

import (
	"io"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/pages"
)

// Store is the state machine. Its methods are called by one goroutine; the
// Views it gives out may go anywhere.
type Store struct {
	t    *tables // written by Apply alone
	view *tables // copy of t after the last entry; never written
	buf  []byte  // scratch for hashing
	seen pages.Lookup[dcos.Task]
}

// New is the empty state at index 0.
func New() *Store { return newStore(newTables()) }

func newStore(t *tables) *Store { return &Store{t: t, view: t.copy()} }

// Apply carries out one committed entry (see EncodeEntry). It never panics: an
// entry that cannot be decoded or holds an unknown command gives an error that
// must stop the process, since going on would let the masters diverge.
// Entries must come in order; one at or below the present index is skipped.
// An empty entry moves the index and nothing else.
//
// There is one Result per proposal of the entry, in order. A part of a split
// proposal that is not the last one has a Result without items.
func (s *Store) Apply(index dcos.Index, entry []byte) (Commit, []Result, error) {
	return s.apply(index, entry)
}

// View is the state right now.
func (s *Store) View() View { return View{s.view} }

// Restore reads a snapshot written by WriteSnapshot. It checks the hash and
// gives an error that names what is wrong; nothing half-read is returned.
func Restore(r io.Reader) (*Store, error) { return restore(r) }

// WriteSnapshot streams the state of a view, sorted, with its hash at the end.
// It may run while the store goes on applying.
func (v View) WriteSnapshot(w io.Writer) error { return v.t.writeSnapshot(w) }

// Proposal is one proposal inside an entry.
type Proposal struct {
	ID        dcos.ProposalID
	Principal string
	Commands  []Command
}

// EncodeEntry makes the log entry that carries proposals, stamped with the
// leader's time. Each proposal is encoded once by EncodeProposal, so that the
// size is known before: the sum of their sizes must be at most MaxEntry.
func EncodeEntry(at dcos.Time, proposals ...[]byte) []byte { return encodeEntry(at, proposals) }

// EncodeProposal checks and encodes one proposal. It fails with
// dcos.ErrInvalid when the proposal is larger than MaxProposal.
func EncodeProposal(p Proposal) ([]byte, error) { return encodeProposal(p) }

// SplitProposal makes the parts in which an encoded proposal travels: itself
// when it fits into an entry, otherwise several that must be committed in
// order, each in an entry of its own. They carry the proposal's id, which must
// not be zero; the last one's Result is the proposal's.
func SplitProposal(encoded []byte) ([][]byte, error) { return splitProposal(encoded) }

// MaxProposal bounds one encoded proposal: an API write of up to 1 MiB travels
// in parts of MaxEntry, see SplitProposal.
const (
	MaxProposal = 1 << 20
	MaxEntry    = 512 << 10

	// entryOverhead is what EncodeEntry may add around proposals of MaxEntry.
	entryOverhead = 64
)
