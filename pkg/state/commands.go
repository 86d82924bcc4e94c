package state

import (
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/resource"
)

// Command is one typed change. Commands are values in CBOR with integer keys;
// their numbers (see registry in codec.go) are never reused.
type Command interface{ isCommand() }

type (
	// InitCluster makes the cluster. It is the first command of a log and
	// fails with dcos.ErrConflict ever after.
	InitCluster struct {
		Info dcos.ClusterInfo `cbor:"1,keyasint"`
	}
	// RaiseLevel raises the feature level; refused while a master does not
	// support it, and when it would go down.
	RaiseLevel struct {
		Level uint64 `cbor:"1,keyasint"`
	}

	// PutMaster adds or updates a raft member's row. Who votes is raft's
	// own matter; Voter mirrors it.
	PutMaster struct {
		Master dcos.Master `cbor:"1,keyasint"`
	}
	// RemoveMaster takes a member's row away.
	RemoveMaster struct {
		ID dcos.MasterID `cbor:"1,keyasint"`
	}

	// StartMaster records a start of a master: a number that each start of it
	// raises, and a random one that tells starts of one number apart. It fails
	// with dcos.ErrConflict when a later start, or another one of this number, is
	// known: an old copy of the master's files was restored.
	StartMaster struct {
		ID          dcos.MasterID `cbor:"1,keyasint"`
		Incarnation uint64        `cbor:"2,keyasint"`
		Start       uint64        `cbor:"3,keyasint"`
	}
	// HoldMaster says whether a master stays a learner until it is promoted by
	// command.
	HoldMaster struct {
		ID   dcos.MasterID `cbor:"1,keyasint"`
		Hold bool          `cbor:"2,keyasint,omitempty"`
	}

	// PutGossip takes one step of a change of the gossip key. Its serial must
	// be the next one, so that of two leaders only one goes on.
	PutGossip struct {
		Ring dcos.GossipRing `cbor:"1,keyasint"`
	}

	// PutNode registers a node or takes over what it says of itself when its
	// session opens: it becomes active. A new Boot nonce loses all tasks that
	// ran under the old one (dcos.ReasonReboot).
	PutNode struct {
		Node dcos.Node `cbor:"1,keyasint"`
	}
	// SetNodeState records what the sessions say. NodeLost makes every live
	// task of the node lost, in the same entry, but for those that are fenced or
	// whose app has an unreachable strategy: they become unreachable. Nothing
	// happens unless the node's Boot is still the one given.
	SetNodeState struct {
		Node  dcos.NodeID    `cbor:"1,keyasint"`
		Boot  string         `cbor:"2,keyasint"`
		State dcos.NodeState `cbor:"3,keyasint"`
		Why   string         `cbor:"4,keyasint,omitempty"`
	}
	// RemoveNode forgets a node; refused while it is active or has live tasks.
	RemoveNode struct {
		Node dcos.NodeID `cbor:"1,keyasint"`
	}

	// DrainNode has a node give up its tasks and take no others; again, it
	// changes the deadline and what happens afterwards.
	DrainNode struct {
		Node     dcos.NodeID `cbor:"1,keyasint"`
		Deadline dcos.Time   `cbor:"2,keyasint,omitempty"` // 0 is never
		Remove   bool        `cbor:"3,keyasint,omitempty"` // from the cluster, at the end
		Why      string      `cbor:"4,keyasint,omitempty"`
	}
	// ActivateNode ends a drain; without one it does nothing.
	ActivateNode struct {
		Node dcos.NodeID `cbor:"1,keyasint"`
	}
	// RetireNode removes a node for good: its certificate is refused from now
	// on. It must be lost, or drained to be removed, and without live tasks;
	// Gone gives up those that wait for a lost node.
	RetireNode struct {
		Node dcos.NodeID `cbor:"1,keyasint"`
		Why  string      `cbor:"2,keyasint,omitempty"`
		Gone bool        `cbor:"3,keyasint,omitempty"`
	}
	// ReadmitNode lets a removed node register again; of others it does nothing.
	ReadmitNode struct {
		Node dcos.NodeID `cbor:"1,keyasint"`
	}

	// PutApp creates or changes an app and starts its deployment. Version,
	// LastScaling and LastConfigChange are set by Apply (marathon-api 1.9);
	// service ports of 0 are replaced by free ones (marathon-api 1.5).
	PutApp struct {
		App dcos.App `cbor:"1,keyasint"`
		// Mode says what must be true before.
		Mode PutMode `cbor:"2,keyasint,omitempty"`
		// IfVersion, when set, must be the app's present version.
		IfVersion dcos.Version `cbor:"3,keyasint,omitempty"`
		// Force cancels a deployment that holds the app.
		Force bool `cbor:"4,keyasint,omitempty"`
	}
	// RestartApp replaces all tasks of an app without changing it.
	RestartApp struct {
		App   dcos.AppID `cbor:"1,keyasint"`
		Force bool       `cbor:"2,keyasint,omitempty"`
	}
	// DeleteApp hides the app and starts the deployment that stops its tasks;
	// the scheduler's RemoveApp ends it.
	DeleteApp struct {
		App   dcos.AppID `cbor:"1,keyasint"`
		Force bool       `cbor:"2,keyasint,omitempty"`
	}
	// RemoveApp forgets a deleted app; refused while a task of it is live.
	RemoveApp struct {
		App dcos.AppID `cbor:"1,keyasint"`
	}
	// AdvanceDeployment moves a deployment to its next step, or, past the
	// last, ends it. Step is the one that is done, so that a repeat is harmless.
	AdvanceDeployment struct {
		ID   dcos.DeploymentID `cbor:"1,keyasint"`
		Step int               `cbor:"2,keyasint"`
	}
	// CancelDeployment ends a deployment where it is. Unless Force, a new
	// deployment back to the definition before is started.
	CancelDeployment struct {
		ID    dcos.DeploymentID `cbor:"1,keyasint"`
		Force bool              `cbor:"2,keyasint,omitempty"`
	}
	// ResetBackoff makes an app's waiting tasks launchable at once.
	ResetBackoff struct {
		App dcos.AppID `cbor:"1,keyasint"`
	}

	// AddTasks makes Count new instances of an app wait for a place.
	AddTasks struct {
		App     dcos.AppID   `cbor:"1,keyasint"`
		Version dcos.Version `cbor:"2,keyasint"`
		Count   uint32       `cbor:"3,keyasint"`
		// First is the ordinal of the first; it must be the app's next one,
		// so that a repeat is harmless.
		First uint32 `cbor:"4,keyasint"`
	}
	// RetryTasks makes the next attempt at each instance whose task ended:
	// it waits for a place again. Version is the definition to run.
	RetryTasks struct {
		Tasks   []dcos.TaskID `cbor:"1,keyasint"`
		Version dcos.Version  `cbor:"2,keyasint"`
	}
	// Place binds waiting tasks to nodes. Every element is checked again:
	// the node active, the resources and ports free. Result: Item.Each.
	Place struct {
		Items []Placement `cbor:"1,keyasint"`
	}
	// StopTasks sets the goal of tasks to stop. A waiting task ends at once
	// (killed); a placed one when its agent says so. Final stops end the
	// instance too; others are tried again by the scheduler (RetryTasks).
	StopTasks struct {
		Tasks   []dcos.TaskID `cbor:"1,keyasint"`
		Final   bool          `cbor:"2,keyasint,omitempty"`
		Message string        `cbor:"3,keyasint,omitempty"`
	}
	// TaskStatuses takes over what a node says of its tasks. Repeated, stale
	// and backward ones change nothing and are no errors (Item.Each then holds
	// dcos.ErrConflict for the caller's information): they are acknowledged
	// all the same.
	TaskStatuses struct {
		Node     dcos.NodeID   `cbor:"1,keyasint"`
		Statuses []dcos.Status `cbor:"2,keyasint"`
	}
	// LoseTasks marks live tasks of a node lost, e.g. because its agent
	// does not know them any more. An id is one attempt, hence one epoch.
	LoseTasks struct {
		Node    dcos.NodeID   `cbor:"1,keyasint"`
		Tasks   []dcos.TaskID `cbor:"2,keyasint"`
		Reason  dcos.Reason   `cbor:"3,keyasint,omitempty"`
		Message string        `cbor:"4,keyasint,omitempty"`
		// Unreachable loses only those whose node is still lost.
		Unreachable bool `cbor:"5,keyasint,omitempty" since:"2"`
	}

	// PutPackage records an installed package; refused when its app has one.
	PutPackage struct {
		Package dcos.Package `cbor:"1,keyasint"`
	}
	// RemovePackage forgets an installed package; its app is deleted apart.
	RemovePackage struct {
		App dcos.AppID `cbor:"1,keyasint"`
	}

	// PutRole creates a role, or changes its weight (in thousandths; 0 is the
	// default, 1000). The role above it must exist.
	PutRole struct {
		Role   dcos.RoleID `cbor:"1,keyasint"`
		Weight uint32      `cbor:"2,keyasint,omitempty"`
	}
	// RemoveRole forgets a role; refused while an app, a reservation or a
	// role below names it.
	RemoveRole struct {
		Role dcos.RoleID `cbor:"1,keyasint"`
	}
	// PutQuota sets limits and guarantees of a role; the zero value takes
	// them away. Refused when the role consumes more than the limit, or when
	// there is less than is guaranteed, unless Force.
	PutQuota struct {
		Role  dcos.RoleID `cbor:"1,keyasint"`
		Quota dcos.Quota  `cbor:"2,keyasint"`
		Force bool        `cbor:"3,keyasint,omitempty"`
	}
	// Reserve keeps what is free on a node for a role.
	Reserve struct {
		Reservation dcos.Reservation `cbor:"1,keyasint"`
	}
	// Unreserve gives back a reservation, or what is named of it; refused for
	// what tasks or volumes use.
	Unreserve struct {
		ID        dcos.ReservationID `cbor:"1,keyasint"`
		Resources resource.Set       `cbor:"2,keyasint,omitempty"`
	}
	// CreateVolume makes a persistent volume of a reservation's disk.
	CreateVolume struct {
		Volume dcos.Volume `cbor:"1,keyasint"`
	}
	// ResizeVolume grows or shrinks a volume that nobody uses.
	ResizeVolume struct {
		ID   dcos.VolumeID   `cbor:"1,keyasint"`
		Size resource.Scalar `cbor:"2,keyasint"` // MiB
	}
	// DestroyVolume ends a volume and what is in it; refused while in use.
	DestroyVolume struct {
		ID dcos.VolumeID `cbor:"1,keyasint"`
	}

	// PutUser adds or replaces a user.
	PutUser struct {
		User dcos.User `cbor:"1,keyasint"`
		// Create refuses when the user exists.
		Create bool `cbor:"2,keyasint,omitempty"`
	}
	// RemoveUser takes a user away.
	RemoveUser struct {
		ID string `cbor:"1,keyasint"`
	}
	// PutToken adds or replaces a join token.
	PutToken struct {
		Token dcos.JoinToken `cbor:"1,keyasint"`
	}
	// RemoveToken takes a join token away.
	RemoveToken struct {
		ID string `cbor:"1,keyasint"`
	}

	// All applies its commands as one: all of them or, at the first error,
	// none. Used by package install (PutApp and PutPackage together).
	All struct {
		Commands []Command
	}
)

// PutMode is the precondition of PutApp.
type PutMode uint8

// The modes of PutApp.
const (
	PutAny    PutMode = iota
	PutCreate         // the app must not exist: dcos.ErrConflict otherwise
	PutUpdate         // the app must exist: dcos.ErrNotFound otherwise
)

// Placement binds one waiting task to a node with these host ports, in the
// order of the app's port definitions.
type Placement struct {
	Task  dcos.TaskID `cbor:"1,keyasint"`
	Node  dcos.NodeID `cbor:"2,keyasint"`
	Ports []uint16    `cbor:"3,keyasint,omitempty"`
	// Reservation, when set, is where everything but ports comes from; Volumes
	// are those of it that the task gets for itself.
	Reservation dcos.ReservationID `cbor:"4,keyasint,omitempty" since:"2"`
	Volumes     []dcos.VolumeID    `cbor:"5,keyasint,omitempty" since:"2"`
}

func (InitCluster) isCommand()       {}
func (RaiseLevel) isCommand()        {}
func (PutMaster) isCommand()         {}
func (RemoveMaster) isCommand()      {}
func (StartMaster) isCommand()       {}
func (HoldMaster) isCommand()        {}
func (PutGossip) isCommand()         {}
func (PutNode) isCommand()           {}
func (SetNodeState) isCommand()      {}
func (RemoveNode) isCommand()        {}
func (DrainNode) isCommand()         {}
func (ActivateNode) isCommand()      {}
func (RetireNode) isCommand()        {}
func (ReadmitNode) isCommand()       {}
func (PutApp) isCommand()            {}
func (RestartApp) isCommand()        {}
func (DeleteApp) isCommand()         {}
func (RemoveApp) isCommand()         {}
func (AdvanceDeployment) isCommand() {}
func (CancelDeployment) isCommand()  {}
func (ResetBackoff) isCommand()      {}
func (AddTasks) isCommand()          {}
func (RetryTasks) isCommand()        {}
func (Place) isCommand()             {}
func (StopTasks) isCommand()         {}
func (TaskStatuses) isCommand()      {}
func (LoseTasks) isCommand()         {}
func (PutPackage) isCommand()        {}
func (RemovePackage) isCommand()     {}
func (PutRole) isCommand()           {}
func (RemoveRole) isCommand()        {}
func (PutQuota) isCommand()          {}
func (Reserve) isCommand()           {}
func (Unreserve) isCommand()         {}
func (CreateVolume) isCommand()      {}
func (ResizeVolume) isCommand()      {}
func (DestroyVolume) isCommand()     {}
func (PutUser) isCommand()           {}
func (RemoveUser) isCommand()        {}
func (PutToken) isCommand()          {}
func (RemoveToken) isCommand()       {}
func (All) isCommand()               {}
