package dispatch

import (
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
	"github.com/dcos-go/dcos/pkg/wire"
)

// Event is something that happened.
type Event interface{ isEvent() }

// Effect is something that must happen.
type Effect interface{ isEffect() }

// How is how a session's connection ended.
type How uint8

// The endings of a session.
const (
	HowClosed  How = iota // EOF or reset: the process is gone, the machine was there
	HowSilence            // nothing was heard; the kernel gave up
	HowBroken             // its bytes made no sense
)

var howNames = [...]string{"its connection was closed", "its connection fell silent", "its messages made no sense"}

// String is the ending in words.
func (h How) String() string {
	if int(h) < len(howNames) {
		return howNames[h]
	}
	return "its connection ended"
}

// The events.
type (
	// Lead says that this master leads and has applied an entry of its own term.
	Lead struct {
		Term dcos.Term
		View state.View
	}
	// Follow says that this master does not lead (any more). Leader is the session
	// address of the one that does, "" when none is known.
	Follow struct{ Leader string }
	// Opened says that a peer said hello on a new connection. Sess is never used
	// again; Peer is who the certificate says it is.
	Opened struct {
		Sess  uint64
		Peer  dcos.Identity
		Hello wire.Hello
	}
	// Closed says that a connection ended. Not needed after CloseSession.
	Closed struct {
		Sess uint64
		How  How
	}
	// Got is a message from an agent.
	Got struct {
		Sess uint64
		Msg  wire.Msg
	}
	// Changed says that the state is at View now. Changes are all since the last one;
	// with Reset they are not known.
	Changed struct {
		View    state.View
		Changes []state.Change
		Reset   bool
	}
	// Probed answers Probe. Unknown says that nothing was learned.
	Probed struct {
		ID      uint64
		Alive   bool
		Unknown bool
	}
	// Done answers Propose.
	Done struct {
		ID     uint64
		Result state.Result
		Err    error
	}
	// Confirmed answers Confirm. OK: this master did lead in the term, beyond
	// doubt, at a moment after Confirm was asked for.
	Confirmed struct {
		ID uint64
		OK bool
	}
	// Fired says that the moment of the last SetTimer has come.
	Fired struct{}
)

// The effects.
type (
	// Send sends a message on a session, in order.
	Send struct {
		Sess uint64
		Msg  wire.Msg
	}
	// CloseSession closes a session after what was sent before.
	CloseSession struct {
		Sess uint64
		Why  string
	}
	// Propose proposes commands; answered by Done, always.
	Propose struct {
		ID       uint64
		Commands []state.Command
	}
	// Probe tries twice for 500 ms to reach a machine's port.
	Probe struct {
		ID   uint64
		Addr string
	}
	// Confirm asks whether this master still leads in a term, by a round over a
	// majority that begins after this.
	Confirm struct {
		ID   uint64
		Term dcos.Term
	}
	// Used is a node's present usage; soft data that nobody needs to keep.
	Used struct {
		Node  dcos.NodeID
		Usage wire.Usage
	}
	// SetTimer asks for Fired at a moment; it replaces the one before.
	SetTimer struct{ At time.Time }
	// Note tells the operator something that a log should hold.
	Note struct {
		Node  dcos.NodeID
		Text  string
		Alarm bool // something is wrong that only people can mend
	}
)

func (Lead) isEvent()      {}
func (Follow) isEvent()    {}
func (Opened) isEvent()    {}
func (Closed) isEvent()    {}
func (Got) isEvent()       {}
func (Changed) isEvent()   {}
func (Probed) isEvent()    {}
func (Done) isEvent()      {}
func (Confirmed) isEvent() {}
func (Fired) isEvent()     {}

func (Send) isEffect()         {}
func (CloseSession) isEffect() {}
func (Propose) isEffect()      {}
func (Probe) isEffect()        {}
func (Confirm) isEffect()      {}
func (Used) isEffect()         {}
func (SetTimer) isEffect()     {}
func (Note) isEffect()         {}
