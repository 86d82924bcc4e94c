package consensus

import (
	"time"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

// Event is something that happened to this member.
type Event interface{ isEvent() }

// Effect is something the owner of the Core must do.
type Effect interface{ isEffect() }

// Ticket is the owner's number for something that is answered later by
// Resolved or ReadOK, exactly once.
type Ticket uint64

// What can happen.
type (
	// Tick says that one Config.Tick has passed. Missed ticks are not made up for.
	Tick struct{}
	// Received is a message that came from a member whose identity is proved.
	Received struct {
		From dcos.MasterID
		Msg  []byte
	}
	// SnapshotReceived says that the file which Msg announces has come in, was
	// checked and is durable.
	SnapshotReceived struct {
		From dcos.MasterID
		Msg  []byte
	}
	// Appended answers Append: everything up to Seq is durable. With Err the
	// log is unusable.
	Appended struct {
		Seq uint64
		Err error
	}
	// Applied answers Apply.
	Applied struct {
		Index   dcos.Index       // of the last entry
		Time    dcos.Time        // of the state machine afterwards
		Results [][]state.Result // per entry of Apply, per proposal
		Err     error            // the state machine cannot go on
	}
	// Proposed asks for a proposal (state.EncodeProposal) to be committed; a
	// large one comes in several parts (state.SplitProposal). The answer is
	// that of the last part.
	Proposed struct {
		Ticket Ticket
		Parts  [][]byte
	}
	// ReadAsked asks for an index that holds everything acknowledged so far.
	ReadAsked struct{ Ticket Ticket }
	// PeerLost says that the connection to a member broke (EOF, RST), so that
	// its process may be dead.
	PeerLost struct{ ID dcos.MasterID }
	// Woken answers Wake.
	Woken struct{}
	// SnapshotSaved answers SaveSnapshot.
	SnapshotSaved struct {
		Index dcos.Index
		Err   error
	}
	// SnapshotSent answers SendSnapshot, whatever happened.
	SnapshotSent struct {
		To  dcos.MasterID
		Err error
	}
	// Space says whether a member's disk is below its reserve.
	Space struct {
		ID  dcos.MasterID
		Low bool
	}
	// AddLearner changes the members, as Promote and Remove do, one at a time.
	AddLearner struct {
		Ticket Ticket
		ID     dcos.MasterID
	}
	// Promote makes a learner that has caught up a voter.
	Promote struct {
		Ticket Ticket
		ID     dcos.MasterID
	}
	// Demote makes a voter a learner again. A leader asked to demote itself
	// hands over leadership and answers dcos.NotLeader, as with Remove.
	Demote struct {
		Ticket Ticket
		ID     dcos.MasterID
	}
	// Remove takes a member away.
	Remove struct {
		Ticket Ticket
		ID     dcos.MasterID
	}
	// Proven says that the cluster knows of no later start of this member than
	// this one; see Config.Prove.
	Proven struct{}
	// Transfer hands leadership to a voter; To 0 lets the core choose.
	Transfer struct {
		Ticket Ticket
		To     dcos.MasterID
	}
)

// What has to be done. Effects are carried out in the order given, except that
// slow ones of different kinds (append, apply, send, snapshots) need not wait
// for each other.
type (
	// Append writes to the log, in order of Seq; see Log.Write. Answer with
	// Appended when it is durable; one answer may stand for several. Without
	// Sync, being written is enough.
	Append struct {
		Seq      uint64
		Entries  []*pb.Entry
		Hard     *pb.HardState // nil: unchanged
		Snapshot *pb.Snapshot  // not nil: the log begins anew behind it
		Sync     bool
	}
	// Apply feeds committed entries to the state machine; one batch at a time.
	Apply struct{ Entries []Entry }
	// Install replaces the state machine by a snapshot, in order with Apply.
	Install struct{ Snapshot *pb.Snapshot }
	// Send carries a message to a member. It may be lost.
	Send struct {
		To  dcos.MasterID
		Msg []byte
	}
	// SendSnapshot streams a snapshot's file, then Msg.
	SendSnapshot struct {
		To    dcos.MasterID
		Index dcos.Index
		Msg   []byte
	}
	// SaveSnapshot writes the state as it is now, before the next Apply, to a
	// file; nothing waits for it.
	SaveSnapshot struct{ Snapshot *pb.Snapshot }
	// CompactLog drops what a durable snapshot has replaced; see Log.Compact.
	// It takes its place among the Appends and has no answer but their errors.
	CompactLog struct{ Snapshot *pb.Snapshot }
	// ReadOK answers ReadAsked: Index is applied, or part of a snapshot whose
	// Install came before; the reader must wait for that.
	ReadOK struct {
		Ticket Ticket
		Index  dcos.Index
	}
	// Resolved answers everything else that has a Ticket, and reads that failed.
	Resolved struct {
		Ticket Ticket
		Result state.Result
		Err    error
	}
	// Lead says who leads. It comes when that changes.
	Lead struct {
		Term   dcos.Term
		Leader dcos.MasterID // 0: nobody known
		Ready  bool          // this member leads and has applied an entry of its term
	}
	// Wake asks for Woken after a while.
	Wake struct{ After time.Duration }
	// Stop ends the member; nothing follows.
	Stop struct{ Why error }
)

// Entry is one committed log entry. Entries without data only count.
type Entry struct {
	Index dcos.Index
	Term  dcos.Term
	Data  []byte // for state.Store.Apply; nil: nothing to apply
}

func (Tick) isEvent()             {}
func (Received) isEvent()         {}
func (SnapshotReceived) isEvent() {}
func (Appended) isEvent()         {}
func (Applied) isEvent()          {}
func (Proposed) isEvent()         {}
func (ReadAsked) isEvent()        {}
func (PeerLost) isEvent()         {}
func (Woken) isEvent()            {}
func (SnapshotSaved) isEvent()    {}
func (SnapshotSent) isEvent()     {}
func (Space) isEvent()            {}
func (AddLearner) isEvent()       {}
func (Promote) isEvent()          {}
func (Demote) isEvent()           {}
func (Remove) isEvent()           {}
func (Proven) isEvent()           {}
func (Transfer) isEvent()         {}

func (Append) isEffect()       {}
func (Apply) isEffect()        {}
func (Install) isEffect()      {}
func (Send) isEffect()         {}
func (SendSnapshot) isEffect() {}
func (SaveSnapshot) isEffect() {}
func (CompactLog) isEffect()   {}
func (ReadOK) isEffect()       {}
func (Resolved) isEffect()     {}
func (Lead) isEffect()         {}
func (Wake) isEffect()         {}
func (Stop) isEffect()         {}
