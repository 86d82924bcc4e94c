package agent

import (
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/wire"
)

// Event is something that happened.
type Event interface{ isEvent() }

// Effect is something that must happen.
type Effect interface{ isEffect() }

// The events.
type (
	// Linked says that the connection asked for by Connect is up.
	Linked struct{ Link uint64 }
	// Unlinked says that a connection ended, or could not be made.
	Unlinked struct {
		Link uint64
		Why  string
	}
	// Got is a message from the master.
	Got struct {
		Link uint64
		Msg  wire.Msg
	}
	// Checkpointed says that every WriteCheckpoint and Compact up to Seq is
	// durable.
	Checkpointed struct{ Seq uint64 }
	// ImageReady answers PullImage.
	ImageReady struct {
		Task  dcos.TaskID
		Image dcos.Unpacked
		Err   error
	}
	// SandboxReady answers CreateSandbox.
	SandboxReady struct {
		Task dcos.TaskID
		Dir  string
		Err  error
	}
	// Fetched answers FetchArtifacts.
	Fetched struct {
		Task dcos.TaskID
		Err  error
	}
	// Started answers StartProcess.
	Started struct {
		Task dcos.TaskID
		Pid  int
		Err  error
	}
	// Adopted answers Adopt. Err means that it could not be found out; else
	// neither Alive nor Exit means that no such task was ever started.
	Adopted struct {
		Task  dcos.TaskID
		Alive bool
		Exit  *dcos.Exit
		Err   error
	}
	// Exited says that a started or adopted process ended.
	Exited struct {
		Task dcos.TaskID
		Exit dcos.Exit
	}
	// Cleaned answers Cleanup.
	Cleaned struct {
		Task dcos.TaskID
		Err  error
	}
	// Listed answers List.
	Listed struct {
		Tasks     []dcos.TaskID
		Sandboxes []dcos.TaskID
		Err       error
	}
	// SandboxRemoved answers RemoveSandbox.
	SandboxRemoved struct {
		Task dcos.TaskID
		Err  error
	}
	// Probed answers Probe, unless nothing was learned.
	Probed struct {
		Link  uint64
		ID    uint64
		Alive bool
	}
	// Used answers ReadUsage.
	Used struct{ Usage wire.Usage }
	// Leads says that a master is heard to lead in a term, and where it is. It
	// is a hint: only sessions tell for certain.
	Leads struct {
		Term dcos.Term
		Addr string
	}
	// Quit says that this process ends on purpose. Tasks go on.
	Quit struct{}
	// Fired says that the moment of the last SetTimer has come.
	Fired struct{}
)

// The effects.
type (
	// WriteCheckpoint appends records to the checkpoint, in the order of Seq,
	// and makes them durable.
	WriteCheckpoint struct {
		Seq     uint64
		Records [][]byte
	}
	// Compact replaces the whole checkpoint by these records, atomically.
	Compact struct {
		Seq     uint64
		Records [][]byte
	}
	// PullImage makes an image ready on this node.
	PullImage struct {
		Task  dcos.TaskID
		Ref   string
		Force bool // look for a newer one even when it is there
	}
	// CreateSandbox makes the task's directory; an existing one is kept.
	CreateSandbox struct {
		Task dcos.TaskID
		User string
	}
	// FetchArtifacts brings files into the task's directory. They replace what is
	// there by their names.
	FetchArtifacts struct {
		Task dcos.TaskID
		Dir  string
		All  []dcos.Artifact
	}
	// StartProcess starts a task.
	StartProcess struct{ Spec dcos.Spec }
	// Adopt finds out what became of a task of an earlier life of the agent,
	// and watches it when it runs.
	Adopt struct{ Task dcos.TaskID }
	// Signal asks a running task to end; a later Kill makes sure.
	Signal struct {
		Task dcos.TaskID
		Sig  int // 0 is SIGTERM
	}
	// Kill ends a task by force.
	Kill struct{ Task dcos.TaskID }
	// ExtendLease lets fenced tasks run until a moment; should nobody extend it
	// again, the runtime ends them then.
	ExtendLease struct {
		Tasks []dcos.TaskID
		Until time.Time
	}
	// Cleanup ends what may still run of a task and removes all that was made
	// for it but the sandbox. Idempotent, also for tasks never started; work
	// that is under way for the task is abandoned.
	Cleanup struct{ Task dcos.TaskID }
	// List asks for all tasks of which the runtime holds anything, and all that
	// have a sandbox.
	List struct{}
	// RemoveSandbox removes a task's directory. Idempotent.
	RemoveSandbox struct{ Task dcos.TaskID }
	// Connect dials a master's session port: Addr, or any when it is empty.
	// Answered by Linked or Unlinked. An older connection is closed.
	Connect struct {
		Link uint64
		Addr string
	}
	// Disconnect closes the connection, after what was sent before. It is not
	// answered.
	Disconnect struct {
		Link uint64
		Why  string
	}
	// Send sends a message to the master.
	Send struct {
		Link uint64
		Msg  wire.Msg
	}
	// Probe tries to reach another machine's port.
	Probe struct {
		Link   uint64
		ID     uint64
		Target string
	}
	// ReadUsage asks for the node's present usage.
	ReadUsage struct{}
	// SetTimer asks for Fired at a moment; it replaces the one before.
	SetTimer struct{ At time.Time }
	// Note tells the operator something that a log should hold.
	Note struct {
		Text string
		Task dcos.TaskID // "" when it is of no task
		Why  string
	}
)

func (Linked) isEvent()         {}
func (Unlinked) isEvent()       {}
func (Got) isEvent()            {}
func (Checkpointed) isEvent()   {}
func (ImageReady) isEvent()     {}
func (SandboxReady) isEvent()   {}
func (Fetched) isEvent()        {}
func (Started) isEvent()        {}
func (Adopted) isEvent()        {}
func (Exited) isEvent()         {}
func (Cleaned) isEvent()        {}
func (Listed) isEvent()         {}
func (SandboxRemoved) isEvent() {}
func (Probed) isEvent()         {}
func (Used) isEvent()           {}
func (Leads) isEvent()          {}
func (Quit) isEvent()           {}
func (Fired) isEvent()          {}

func (WriteCheckpoint) isEffect() {}
func (Compact) isEffect()         {}
func (PullImage) isEffect()       {}
func (CreateSandbox) isEffect()   {}
func (FetchArtifacts) isEffect()  {}
func (StartProcess) isEffect()    {}
func (Adopt) isEffect()           {}
func (Signal) isEffect()          {}
func (Kill) isEffect()            {}
func (ExtendLease) isEffect()     {}
func (Cleanup) isEffect()         {}
func (List) isEffect()            {}
func (RemoveSandbox) isEffect()   {}
func (Connect) isEffect()         {}
func (Disconnect) isEffect()      {}
func (Send) isEffect()            {}
func (Probe) isEffect()           {}
func (ReadUsage) isEffect()       {}
func (SetTimer) isEffect()        {}
func (Note) isEffect()            {}
