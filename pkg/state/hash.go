package state

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// rowSum is a multiset hash: the sum of the hashes of all rows, in two
// independent words. The order in which rows came and went does not show, so
// that a change costs only the rows that it touches.
type rowSum struct {
	_      struct{} `cbor:",toarray"`
	Lo, Hi uint64
}

func (s *rowSum) add(o rowSum) { s.Lo += o.Lo; s.Hi += o.Hi }
func (s *rowSum) sub(o rowSum) { s.Lo -= o.Lo; s.Hi -= o.Hi }

// hashRow is the hash of one row. Tasks are by far the most frequent rows and
// are written by hand; all others as they stand in snapshots.
func hashRow(buf []byte, table Table, row any) (rowSum, []byte) {
	buf = append(buf[:0], byte(table))
	if t, ok := row.(*dcos.Task); ok {
		buf = appendTask(buf, t)
	} else {
		buf = append(buf, encodeRow(row)...)
	}
	h := sha256.Sum256(buf)
	return rowSum{Lo: binary.LittleEndian.Uint64(h[:8]), Hi: binary.LittleEndian.Uint64(h[8:16])}, buf
}

// appendTask writes every field of a task in a form that two different tasks
// never share.
func appendTask(b []byte, t *dcos.Task) []byte {
	b = appendText(b, string(t.ID))
	b = appendText(b, string(t.App))
	b = appendText(b, string(t.Node))
	b = appendText(b, string(t.Reason))
	b = appendText(b, t.Message)
	b = append(b, byte(t.Goal), byte(t.State), bit(t.Final))
	for _, n := range [...]int64{
		int64(t.Version), int64(t.Ordinal), int64(t.Attempt), int64(t.Epoch), int64(t.StatusSeq),
		int64(t.CreatedAt), int64(t.PlacedAt), int64(t.StartedAt), int64(t.EndedAt),
		int64(t.Need.CPUs), int64(t.Need.Mem), int64(t.Need.Disk), t.Need.GPUs, int64(len(t.Need.Ports)), int64(len(t.Ports)),
	} {
		b = binary.LittleEndian.AppendUint64(b, uint64(n))
	}
	for _, r := range t.Need.Ports {
		b = binary.LittleEndian.AppendUint32(b, uint32(r.First)<<16|uint32(r.Last))
	}
	for _, p := range t.Ports {
		b = binary.LittleEndian.AppendUint16(b, p)
	}
	if e := t.Exit; e != nil {
		b = append(b, 1, bit(e.OOM), bit(e.Unknown))
		for _, n := range [...]int64{int64(e.Code), int64(e.Signal), int64(e.At)} {
			b = binary.LittleEndian.AppendUint64(b, uint64(n))
		}
	}
	// What came later is written only when it is set, so that the hash of a
	// task without it stays what it was.
	if h := t.Hold; h != nil {
		b = append(b, 2)
		b = appendText(b, string(h.Reservation))
		b = binary.AppendUvarint(b, uint64(len(h.Volumes)))
		for _, v := range h.Volumes {
			b = appendText(b, string(v))
		}
	}
	if t.Unreachable != 0 {
		b = append(b, 3)
		b = binary.LittleEndian.AppendUint64(b, uint64(t.Unreachable))
	}
	return b
}

func appendText(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func bit(on bool) byte {
	if on {
		return 1
	}
	return 0
}
