package state

import (
	"github.com/dcos-go/dcos/pkg/dcos"
)

// appRowWire is an AppRow as it is hashed and written: its definition is the
// row of table versions that it names.
type appRowWire struct {
	App         dcos.AppID   `cbor:"1,keyasint"`
	Version     dcos.Version `cbor:"2,keyasint"`
	Incarnation dcos.Index   `cbor:"3,keyasint"`
	NextOrdinal uint32       `cbor:"4,keyasint"`
	Deleting    bool         `cbor:"5,keyasint,omitempty"`
	Backoff     BackoffRow   `cbor:"6,keyasint,omitempty"`
	LastFailure *LastFailure `cbor:"7,keyasint,omitempty"`
	RestartAt   dcos.Index   `cbor:"8,keyasint,omitempty"`
}

func (r *AppRow) wire() *appRowWire {
	return &appRowWire{
		App: r.App.ID, Version: r.App.Version, Incarnation: r.Incarnation, NextOrdinal: r.NextOrdinal,
		Deleting: r.Deleting, Backoff: r.Backoff, LastFailure: r.LastFailure, RestartAt: r.RestartAt,
	}
}

// appendRowTo is encodeRow for rows that come one after the other.
func appendRowTo(b []byte, row any) []byte {
	if k, ok := row.(*dcos.Task); ok {
		if b, ok := dcos.AppendTask(b, k); ok {
			return b
		}
	}
	return append(b, encodeRow(row)...)
}

// encodeRow writes a row as it stands in snapshots. Rows are plain values that
// came out of the same codec, so it cannot fail.
func encodeRow(row any) []byte {
	if r, ok := row.(*AppRow); ok {
		row = r.wire()
	}
	b, err := encMode.Marshal(row)
	if err != nil {
		panic("state: a row cannot be encoded: " + err.Error())
	}
	return b
}
