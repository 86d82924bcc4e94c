package consensus

import (
	"context"
	"fmt"
	"io"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// Transport carries messages between members. Links is the real one.
type Transport interface {
	// Run carries until ctx ends, and gives what comes in to h.
	Run(ctx context.Context, h Handler) error
	// Send never waits; what cannot be sent now is lost.
	Send(to dcos.MasterID, msg []byte)
	// SendSnapshot streams a file and its message, and returns when the other
	// end has made them durable.
	SendSnapshot(ctx context.Context, to dcos.MasterID, index dcos.Index, msg []byte, file io.Reader) error
	// SetLow tells the others, now and later, that this member's disk is below
	// its reserve.
	SetLow(low bool)
}

// Handler is what a Transport calls; each method may be called by several
// goroutines and keeps what it is given.
type Handler interface {
	Received(from dcos.MasterID, msg []byte)
	// Snapshot returns when the file is durable.
	Snapshot(from dcos.MasterID, index dcos.Index, msg []byte, file io.Reader) error
	// Lost says that a connection to a member that was in use broke.
	Lost(id dcos.MasterID)
	// Space says whether a member's disk is below its reserve.
	Space(id dcos.MasterID, low bool)
}

// handler turns what comes in into events.
type handler struct{ r *Raft }

// Received implements Handler. When the loop cannot keep up messages are lost;
// raft sends again what matters.
func (h handler) Received(from dcos.MasterID, msg []byte) {
	size := int64(len(msg)) + eventOverhead
	if h.r.received.Add(size) > maxReceived {
		h.r.received.Add(-size)
		return
	}
	h.r.events.put(Received{From: from, Msg: msg})
}

// Snapshot implements Handler.
func (h handler) Snapshot(from dcos.MasterID, index dcos.Index, msg []byte, file io.Reader) error {
	if err := h.r.snaps.Receive(index, file); err != nil {
		return fmt.Errorf("from master %x: %w", uint64(from), err)
	}
	h.r.events.put(SnapshotReceived{From: from, Msg: msg})
	return nil
}

// Lost implements Handler.
func (h handler) Lost(id dcos.MasterID) { h.r.events.put(PeerLost{ID: id}) }

// Space implements Handler.
func (h handler) Space(id dcos.MasterID, low bool) { h.r.events.put(Space{ID: id, Low: low}) }
