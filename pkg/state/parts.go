package state

import (
	"fmt"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// partWire is one piece of a proposal that is larger than an entry.
type partWire struct {
	N    uint32 `cbor:"1,keyasint"` // counts from 0
	Of   uint32 `cbor:"2,keyasint"`
	Data []byte `cbor:"3,keyasint"`
}

// partsRow holds the parts of one proposal that have come so far.
type partsRow struct {
	ID   dcos.ProposalID `cbor:"1,keyasint"`
	Of   uint32          `cbor:"2,keyasint"`
	Have uint32          `cbor:"3,keyasint"`
	Data []byte          `cbor:"4,keyasint"`
	At   dcos.Time       `cbor:"5,keyasint"` // of the last part
}

const (
	maxPart = MaxEntry - 1024
	// maxPending bounds the proposals that are waiting for parts; the one
	// waiting longest is dropped for another and must be sent anew.
	maxPending = 16
)

func splitProposal(encoded []byte) ([][]byte, error) {
	if len(encoded) <= MaxEntry {
		return [][]byte{encoded}, nil
	}
	if len(encoded) > MaxProposal {
		return nil, fmt.Errorf("%w: %d bytes encoded, expected at most %d", dcos.ErrInvalid, len(encoded), MaxProposal)
	}
	var w proposalWire
	if err := decMode.Unmarshal(encoded, &w); err != nil {
		return nil, fmt.Errorf("%w: split proposal: %w", dcos.ErrInvalid, err)
	}
	if w.ID.IsZero() {
		return nil, fmt.Errorf("%w: a proposal of %d bytes travels in parts and needs an id", dcos.ErrInvalid, len(encoded))
	}
	of := (len(encoded) + maxPart - 1) / maxPart
	out := make([][]byte, 0, of)
	for n := range of {
		part := partWire{N: uint32(n), Of: uint32(of), Data: encoded[n*maxPart : min((n+1)*maxPart, len(encoded))]}
		b, err := encMode.Marshal(proposalWire{ID: w.ID, Level: w.Level, Part: &part})
		if err != nil {
			return nil, fmt.Errorf("%w: encode part: %w", dcos.ErrInvalid, err)
		}
		out = append(out, b)
	}
	return out, nil
}

func partsKey(id dcos.ProposalID) string { return fmt.Sprintf("%016x.%016x", id.Proposer, id.Seq) }

// addPart takes one part; with the last one it gives the whole proposal. A
// part that came before is taken as if for the first time, also for how long
// it is kept.
func (x *txn) addPart(p decodedProposal) (*decodedProposal, error) {
	part, key := p.part, partsKey(p.id)
	row, _ := x.t.parts.Get(key)
	var have uint32
	var data []byte
	if row != nil {
		have, data = row.Have, row.Data
	}
	switch {
	case p.id.IsZero() || part.Of < 2 || part.N >= part.Of || row != nil && row.Of != part.Of:
		return nil, fmt.Errorf("%w: part %d of %d does not fit proposal %s", dcos.ErrInvalid, part.N, part.Of, p.id)
	case part.N < have:
		if x.t.level() >= 2 && row.At != x.t.time { // the rest is on its way; the first release let it expire
			again := *row
			again.At = x.t.time
			put(x, tableParts, &x.t.parts, key, &again)
		}
		return nil, nil
	case part.N > have:
		return nil, fmt.Errorf("%w: part %d of proposal %s is missing, nothing was changed: send it again from the first part",
			dcos.ErrUnavailable, have, p.id)
	case len(data)+len(part.Data) > MaxProposal:
		return nil, fmt.Errorf("%w: the parts of proposal %s are more than %d bytes", dcos.ErrInvalid, p.id, MaxProposal)
	}
	data = append(data[:len(data):len(data)], part.Data...)
	if have+1 < part.Of {
		put(x, tableParts, &x.t.parts, key, &partsRow{ID: p.id, Of: part.Of, Have: have + 1, Data: data, At: x.t.time})
		if x.t.parts.rows.Len() > maxPending {
			x.dropOldestParts(key)
		}
		return nil, nil
	}
	remove(x, tableParts, &x.t.parts, key)
	whole, err := decodeProposal(data)
	if err == nil && (whole.part != nil || whole.id != p.id) {
		err = fmt.Errorf("%w: the parts of proposal %s make up another one", dcos.ErrInvalid, p.id)
	}
	if err != nil {
		x.stop = fmt.Errorf("proposal %s in %d parts: %w", p.id, part.Of, err)
		return nil, err
	}
	return &whole, nil
}

func (x *txn) dropOldestParts(but string) {
	var oldest string
	var at dcos.Time
	x.t.parts.rows.Scan(func(key string, row *partsRow) bool {
		if key != but && (oldest == "" || row.At < at) {
			oldest, at = key, row.At
		}
		return true
	})
	remove(x, tableParts, &x.t.parts, oldest)
}
