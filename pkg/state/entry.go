package state

import (
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/dcos-go/dcos/pkg/config"
	"github.com/dcos-go/dcos/pkg/dcos"
)

// entryFormat is the feature level of the frame around proposals.
const entryFormat = 1

// entryWire is one log entry. EncodeEntry writes it by hand.
type entryWire struct {
	Level     uint64            `cbor:"1,keyasint"` // of this frame; each proposal has its own
	Time      dcos.Time         `cbor:"2,keyasint"`
	Proposals []cbor.RawMessage `cbor:"3,keyasint"`
}

// proposalWire is one proposal, or one part of a large one.
type proposalWire struct {
	ID        dcos.ProposalID `cbor:"1,keyasint"`
	Principal string          `cbor:"2,keyasint,omitempty"`
	Commands  []commandWire   `cbor:"3,keyasint,omitempty"`
	Level     uint64          `cbor:"4,keyasint"` // highest that a command of it needs
	Part      *partWire       `cbor:"5,keyasint,omitempty"`
}

// decodedProposal is a proposal ready to be applied.
type decodedProposal struct {
	id        dcos.ProposalID
	principal string
	commands  []Command
	part      *partWire
}

func encodeEntry(at dcos.Time, proposals [][]byte) []byte {
	size := 32
	for _, p := range proposals {
		size += len(p)
	}
	b := make([]byte, 0, size)
	b = append(b, 0xa3, 1)
	b = dcos.AppendHead(b, 0, entryFormat)
	b = append(b, 2)
	b = dcos.AppendHead(b, 0, uint64(max(at, 0)))
	b = append(b, 3)
	b = dcos.AppendHead(b, 4, uint64(len(proposals)))
	for _, p := range proposals {
		b = append(b, p...)
	}
	return b
}

func encodeProposal(p Proposal) ([]byte, error) {
	commands, level, err := encodeCommands(p.Commands, false)
	if err != nil {
		return nil, err
	}
	b, err := encMode.Marshal(proposalWire{ID: p.ID, Principal: p.Principal, Commands: commands, Level: level})
	if err != nil {
		return nil, fmt.Errorf("%w: encode proposal: %w", dcos.ErrInvalid, err)
	}
	if len(b) > MaxProposal {
		return nil, fmt.Errorf("%w: %d bytes encoded, expected at most %d: make the request smaller", dcos.ErrInvalid, len(b), MaxProposal)
	}
	if err := decMode.Wellformed(b); err != nil {
		return nil, fmt.Errorf("%w: too many elements in one request: %w", dcos.ErrInvalid, err)
	}
	return b, nil
}

// decodeEntry reads all of an entry before anything of it is applied.
func decodeEntry(b []byte) (dcos.Time, []decodedProposal, error) {
	if len(b) > MaxEntry+entryOverhead {
		return 0, nil, fmt.Errorf("%w: entry of %d bytes, expected at most %d", dcos.ErrInvalid, len(b), MaxEntry+entryOverhead)
	}
	var e entryWire
	if err := decMode.Unmarshal(b, &e); err != nil {
		return 0, nil, fmt.Errorf("%w: decode entry: %w", dcos.ErrInvalid, err)
	}
	if err := checkLevel(e.Level); err != nil {
		return 0, nil, err
	}
	out := make([]decodedProposal, 0, len(e.Proposals))
	for i, raw := range e.Proposals {
		p, err := decodeProposal(raw)
		if err != nil {
			return 0, nil, fmt.Errorf("proposal %d: %w", i, err)
		}
		out = append(out, p)
	}
	return e.Time, out, nil
}

func decodeProposal(b []byte) (decodedProposal, error) {
	var w proposalWire
	if err := decMode.Unmarshal(b, &w); err != nil {
		return decodedProposal{}, fmt.Errorf("%w: decode proposal: %w", dcos.ErrInvalid, err)
	}
	if err := checkLevel(w.Level); err != nil {
		return decodedProposal{}, err
	}
	cmds, err := decodeCommands(w.Commands, false)
	if err != nil {
		return decodedProposal{}, err
	}
	return decodedProposal{id: w.ID, principal: w.Principal, commands: cmds, part: w.Part}, nil
}

// checkLevel stops a build that is too old for what it reads.
func checkLevel(level uint64) error {
	if level > Level {
		return fmt.Errorf("%w: feature level %d is needed, this build (%s) knows up to %d: install the version that the other masters run",
			dcos.ErrInvalid, level, config.Version, Level)
	}
	return nil
}

const (
	// MaxJump bounds how far one entry may move command time forward.
	MaxJump = 24 * time.Hour
	// maxTime is the end of the year 9999: no moment is written with more digits.
	maxTime dcos.Time = 253402300799999
)

// nextTime is the rule of command time. It never goes back, whatever the
// clocks of successive leaders say, and goes forward by at most MaxJump per
// entry, so that one wrong stamp cannot carry the cluster into another
// century. A cluster that slept longer catches up within a few entries. Only
// the first entry of a log is taken at its word.
func nextTime(before, stamp dcos.Time) dcos.Time {
	if before != 0 {
		stamp = min(stamp, before.Add(MaxJump))
	}
	return min(max(before, stamp, 1), maxTime) // 0 means never
}

// apply carries out one entry. An empty one (raft's own) only moves the index.
func (s *Store) apply(index dcos.Index, entry []byte) (Commit, []Result, error) {
	if index <= s.t.index {
		return Commit{}, nil, nil
	}
	var (
		stamp     dcos.Time
		proposals []decodedProposal
	)
	if len(entry) > 0 {
		var err error
		if stamp, proposals, err = decodeEntry(entry); err != nil {
			return Commit{}, nil, fmt.Errorf("apply entry %d: %w", index, err)
		}
	}
	before := s.t.time
	s.t.index = index
	if len(entry) > 0 { // raft's own entries have no stamp, nor are they the first
		s.t.time = nextTime(before, stamp)
	}
	x := &txn{t: s.t, removed: map[dcos.AppID]bool{}, buf: s.buf, seen: &s.seen}
	results := make([]Result, 0, len(proposals))
	for _, p := range proposals {
		results = append(results, x.propose(p))
		if x.stop != nil {
			s.t = s.view.copy()
			return Commit{}, nil, fmt.Errorf("apply entry %d: %w", index, x.stop)
		}
	}
	x.cause, x.principal = causeExpire, ""
	x.expire(before)
	x.expireEnded()
	s.t, s.view, s.buf = x.t, x.t.copy(), x.buf[:0]
	c := Commit{Index: index, Time: s.t.time, Changes: x.changes, View: View{s.view}}
	if len(proposals) == 1 {
		c.Principal = proposals[0].principal
	}
	return c, results, nil
}

// propose applies one proposal, or says what came of it the first time.
func (x *txn) propose(p decodedProposal) Result {
	r := Result{Index: x.t.index, Time: x.t.time}
	if items, repeated := x.t.repeated(p.id, len(p.commands)); repeated {
		r.Items, r.Repeated = items, true
		return r
	}
	if p.part != nil {
		whole, err := x.addPart(p)
		switch {
		case err != nil:
			r.Items = []Item{{Err: err}}
			return r
		case whole == nil:
			return r // more parts to come
		}
		p = *whole
	}
	x.principal = p.principal
	r.Items = make([]Item, 0, len(p.commands))
	for _, c := range p.commands {
		x.cause = nameOf(c)
		item := x.do(c)
		if item.Err == nil {
			x.record(c)
		}
		r.Items = append(r.Items, item)
	}
	x.remember(p.id, r.Items)
	return r
}
