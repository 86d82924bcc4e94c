package dcos

import "github.com/dcos-go/dcos/pkg/resource"

// TaskState is how far one attempt has come. States are ordered and a task
// only moves forward; the last group is terminal.
type TaskState uint8

// The states of a task. The scheduler writes Waiting and Placed, the agent
// everything later, through state.Apply alone.
const (
	TaskWaiting  TaskState = iota + 1 // wanted, no node yet
	TaskPlaced                        // bound to a node, which has not answered yet
	TaskStaging                       // the agent has it: fetching, pulling
	TaskStarting                      // the container is being made
	TaskRunning                       // the process runs
	TaskFinished                      // ended with exit code 0
	TaskFailed                        // ended otherwise, or could not be started
	TaskKilled                        // ended because it was told to
	TaskError                         // can never run as it is described
	TaskLost                          // its machine is gone, or its fate cannot be known
)

var taskStateNames = [...]string{
	"", "TASK_STAGING", "TASK_STAGING", "TASK_STAGING", "TASK_STARTING", "TASK_RUNNING",
	"TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_ERROR", "TASK_LOST",
}

// String is Mesos' name of the state. Waiting, placed and staging share one,
// since Mesos tells them apart by whether the task has an agent.
func (s TaskState) String() string {
	if int(s) < len(taskStateNames) {
		return taskStateNames[s]
	}
	return "TASK_UNKNOWN"
}

// Terminal says that the task has ended for good.
func (s TaskState) Terminal() bool { return s >= TaskFinished }

// CanBecome is the only rule for changes of state: forward, and never out of
// a terminal state.
func (s TaskState) CanBecome(next TaskState) bool {
	return !s.Terminal() && next > s && next <= TaskLost
}

// Goal is what the scheduler wants of a task. Only the scheduler's commands
// write it, and it changes once, from run to stop.
type Goal uint8

// The goals of a task.
const (
	GoalRun  Goal = iota + 1
	GoalStop      // stop it; its instance goes on unless the scheduler says otherwise
)

// Reason says why a task is in its state, in Mesos' terms without the prefix
// REASON_.
type Reason string

// The reasons that the system itself gives.
const (
	ReasonCommand        Reason = "COMMAND_EXECUTOR_FAILED" // the process ended by itself
	ReasonLaunch         Reason = "CONTAINER_LAUNCH_FAILED"
	ReasonFetch          Reason = "CONTAINER_LAUNCH_FAILED" // Mesos has no other word for it
	ReasonImage          Reason = "CONTAINER_PREPARATION_FAILED"
	ReasonMemory         Reason = "CONTAINER_LIMITATION_MEMORY"
	ReasonDisk           Reason = "CONTAINER_LIMITATION_DISK"
	ReasonKilled         Reason = "TASK_KILLED_DURING_LAUNCH"
	ReasonAgentRemoved   Reason = "AGENT_REMOVED"
	ReasonAgentLost      Reason = "AGENT_DISCONNECTED"
	ReasonReboot         Reason = "AGENT_RESTARTED"
	ReasonExitUnknown    Reason = "EXECUTOR_TERMINATED"
	ReasonReconciliation Reason = "RECONCILIATION"
	ReasonInvalid        Reason = "TASK_INVALID"
)

// Task is one attempt at one instance of an app. A waiting task is the
// instance's wish to run; once placed it is bound to its node for good.
//
// There may be a million of them, each in 256 bytes, which is a size class of
// the allocator: the order of the fields is chosen for that, and one field more
// costs 32 MB per million tasks. What is rare goes behind a pointer.
type Task struct {
	ID      TaskID    `cbor:"1,keyasint"`
	App     AppID     `cbor:"2,keyasint"`
	Version Version   `cbor:"3,keyasint"` // the app definition it runs
	Ordinal uint32    `cbor:"4,keyasint"` // which instance of the app, never reused in an incarnation
	Attempt uint32    `cbor:"5,keyasint"` // counts from 1 within the instance
	Goal    Goal      `cbor:"6,keyasint"`
	State   TaskState `cbor:"7,keyasint"`
	// Final says that the instance does not go on from this task: a final
	// stop ended it, or a later attempt has taken over.
	Final bool `cbor:"20,keyasint,omitempty"`

	Node  NodeID       `cbor:"8,keyasint,omitempty"`
	Epoch Epoch        `cbor:"9,keyasint,omitempty"`
	Need  resource.Set `cbor:"10,keyasint"` // with the host ports it holds, once placed
	// Ports are the host ports in the order of the app's definitions.
	Ports []uint16 `cbor:"11,keyasint,omitempty"`

	Reason  Reason `cbor:"12,keyasint,omitempty"`
	Message string `cbor:"13,keyasint,omitempty"`
	Exit    *Exit  `cbor:"14,keyasint,omitempty"` // set when its process ended
	// StatusSeq is the agent's number of the last status taken over.
	StatusSeq uint64 `cbor:"15,keyasint,omitempty"`

	CreatedAt Time `cbor:"16,keyasint"`
	PlacedAt  Time `cbor:"17,keyasint,omitempty"`
	StartedAt Time `cbor:"18,keyasint,omitempty"` // when it was first running
	EndedAt   Time `cbor:"19,keyasint,omitempty"`

	// Unreachable is since when its node is lost, for a live task that is not
	// given up with its node: its app's unreachable strategy or its fence
	// decides when it is. 0: its node is there.
	Unreachable Time `cbor:"21,keyasint,omitempty" since:"2"`
	// Hold is what it uses besides unreserved resources; nil is nothing.
	Hold *TaskHold `cbor:"22,keyasint,omitempty"`
}

// Live says that the task holds or will hold resources: placed, not ended.
func (t *Task) Live() bool { return t.State >= TaskPlaced && !t.State.Terminal() }

// Status is what an agent says of one task.
type Status struct {
	Task    TaskID    `cbor:"1,keyasint"`
	Epoch   Epoch     `cbor:"2,keyasint"`
	Seq     uint64    `cbor:"3,keyasint"` // grows within the agent's checkpoint
	State   TaskState `cbor:"4,keyasint"`
	Reason  Reason    `cbor:"5,keyasint,omitempty"`
	Message string    `cbor:"6,keyasint,omitempty"`
	Exit    *Exit     `cbor:"7,keyasint,omitempty"`
	At      Time      `cbor:"8,keyasint"` // by the agent's clock, for display only
}

// MaxMessage bounds the message of a status; longer ones are cut by the agent
// and refused by state.
const MaxMessage = 1024
