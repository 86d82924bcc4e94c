// Package wire is what masters and agents say to each other: the messages, how
// they are framed, which versions go together, and the limits on all of it.
//
// It promises that decoding never panics and never allocates more than the
// limits allow, whatever the bytes. It must not know connections, sessions or
// what anybody does because of a message.
package wire

import (
	"github.com/dcos-go/dcos/pkg/dcos"
)

// Protocol is the ALPN name of an agent's session with the leading master.
const Protocol = "dcos-agent/1"

// MaxFrame bounds one frame, length prefix not counted.
const MaxFrame = 4 << 20

// Msg is one message.
type Msg interface{ isMsg() }

type (
	// Hello opens a session; the agent's first message.
	Hello struct {
		// Versions are the versions of the protocol that the agent speaks.
		Versions Versions
		Node     dcos.Node // with its boot nonce
		Cluster  string
		// Newest is the highest (Term, Seq) of an assignment the agent has
		// taken; it refuses lower ones.
		Term dcos.Term
		Seq  uint64
		// Tasks are all tasks in the agent's checkpoint that are not ended
		// and acknowledged.
		Tasks []TaskRef
		// Fences: the agent ends fenced tasks when its lease does.
		Fences bool
		// Fetches: the agent brings a launch's artifacts before it starts it.
		Fetches bool
	}
	// TaskRef names one task that an agent holds.
	TaskRef struct {
		ID    dcos.TaskID
		Epoch dcos.Epoch
		State dcos.TaskState
	}
	// Welcome answers Hello: the session is open.
	Welcome struct {
		Version    uint32 // of the protocol; see Negotiate
		Term       dcos.Term
		BeatMillis int64  // how often the agent must beat
		Level      uint64 // the feature level of the cluster
	}
	// Redirect answers Hello on a master that does not lead.
	Redirect struct {
		Leader string // host:port of its session port; "" when none is known
	}
	// Refused answers Hello when it can never succeed as it is; the agent
	// stops trying for RetryMillis.
	Refused struct {
		Why         string
		RetryMillis int64
		// Removed: the machine is no part of the cluster any more; what still
		// runs there must end.
		Removed bool
	}
	// Assign is what the node shall run: it makes or changes the set of tasks
	// that the agent was told to run. (Term, Seq) grows strictly, for one that
	// is not Full by one; the first of a connection is Full. An agent takes no
	// other.
	//
	// With Full the set becomes Keep and the tasks of Run together: what is in
	// neither must be stopped. Otherwise the tasks of Run are added and those
	// of Stop taken away. A task in Keep that the agent does not hold comes in
	// the Run of a later message. A task in Stop that the agent does not hold
	// was stopped before it came: unless its State is terminal, the agent
	// reports its end.
	Assign struct {
		Term dcos.Term
		Seq  uint64
		Full bool
		Run  []dcos.Launch
		Keep []TaskRef // only with Full; State is not used
		Stop []TaskRef // with Full too: those whose end the state waits for
		// Hash is of the whole set after this message (SetHash).
		Hash uint64
	}
	// Report carries statuses from the agent's outbox; resent until acknowledged.
	Report struct {
		Statuses []dcos.Status
	}
	// Ack says that these statuses are in the state, or can never be (stale
	// ones): the agent forgets them.
	Ack struct {
		Seqs []uint64 // of Status.Seq
	}
	// Beat keeps the session; usage rides along.
	Beat struct {
		N     uint64
		Term  dcos.Term // with Seq: the newest assignment the agent has taken
		Seq   uint64
		Hash  uint64 // of the set of tasks the agent was told to run (SetHash)
		Usage Usage
	}
	// BeatAck answers a beat. When the hash of a beat differs from the master's
	// at the same (Term, Seq), a full Assign follows.
	BeatAck struct {
		N          uint64
		BeatMillis int64
		// Lease is the number of a beat, 0 for none: when it came, the master
		// that answers did lead, beyond doubt. Fenced tasks may run for
		// dcos.LeaseFor from when the agent sent that beat.
		Lease uint64
	}
	// ProbeAsk asks an agent to try to reach another machine; ProbeAnswer
	// says what came of it.
	ProbeAsk struct {
		ID     uint64
		Target string // host:port
	}
	// ProbeAnswer is the answer to ProbeAsk.
	ProbeAnswer struct {
		ID    uint64
		Alive bool // accepted or refused: the machine lives
	}
	// Bye says that the agent ends on purpose and comes back (restart, upgrade).
	Bye struct{}
)

// Usage is what a node uses now; soft data that is never stored.
type Usage struct {
	CPUMilli  int64 // cores in use, in thousandths
	MemBytes  int64
	DiskBytes int64
	Tasks     int64
	MemTotal  int64
	DiskTotal int64
	LoadMilli int64
}

func (Hello) isMsg()       {}
func (Welcome) isMsg()     {}
func (Redirect) isMsg()    {}
func (Refused) isMsg()     {}
func (Assign) isMsg()      {}
func (Report) isMsg()      {}
func (Ack) isMsg()         {}
func (Beat) isMsg()        {}
func (BeatAck) isMsg()     {}
func (ProbeAsk) isMsg()    {}
func (ProbeAnswer) isMsg() {}
func (Bye) isMsg()         {}
