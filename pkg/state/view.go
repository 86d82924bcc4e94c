package state

import (
	"iter"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/resource"
)

// View is the state at one index. It never changes, may be used by many
// goroutines at once, and costs nothing to keep. Rows are shared: they must
// not be changed.
type View struct {
	t *tables
}

// AppRow is an app with what state keeps of its running.
type AppRow struct {
	App         *dcos.App    `cbor:"1,keyasint"` // present definition
	Incarnation dcos.Index   `cbor:"2,keyasint"` // index at which it was created
	NextOrdinal uint32       `cbor:"3,keyasint"`
	Deleting    bool         `cbor:"4,keyasint,omitempty"` // hidden from users; waits for its tasks to end
	Backoff     BackoffRow   `cbor:"5,keyasint,omitempty"`
	LastFailure *LastFailure `cbor:"6,keyasint,omitempty"`
	// RestartAt makes tasks that were created before it outdated.
	RestartAt dcos.Index `cbor:"7,keyasint,omitempty"`
}

// BackoffRow is an app's present launch delay (marathon-api 4.6).
type BackoffRow struct {
	DelayMillis int64     `cbor:"1,keyasint,omitempty"`
	Until       dcos.Time `cbor:"2,keyasint,omitempty"` // nothing is launched before
	Failures    uint32    `cbor:"3,keyasint,omitempty"` // in a row
	Reference   dcos.Time `cbor:"4,keyasint,omitempty"`
}

// LastFailure is Marathon's lastTaskFailure.
type LastFailure struct {
	Task    dcos.TaskID    `cbor:"1,keyasint"`
	Host    string         `cbor:"2,keyasint"`
	Node    dcos.NodeID    `cbor:"3,keyasint"`
	State   dcos.TaskState `cbor:"4,keyasint"`
	Message string         `cbor:"5,keyasint"`
	At      dcos.Time      `cbor:"6,keyasint"`
	Version dcos.Version   `cbor:"7,keyasint"`
}

// AuditRow is one write through an API.
type AuditRow struct {
	Index     dcos.Index `cbor:"1,keyasint"`
	Time      dcos.Time  `cbor:"2,keyasint"`
	Principal string     `cbor:"3,keyasint"`
	Act       string     `cbor:"4,keyasint"` // the command's name
	Subject   string     `cbor:"5,keyasint"` // what it was done to
}

// Free is what is left on a node: total minus what its live tasks hold and what
// is kept for reservations. The second result says whether the node exists.
func (v View) Free(n dcos.NodeID) (resource.Set, bool) { return v.t.free(n) }

// The signatures below are what other packages build on.
var _ = []any{
	View.Index, View.Time, View.Hash, View.Cluster,
	View.App, View.Apps, View.AppAt, View.AppVersions,
	View.Task, View.Tasks, View.TasksOf, View.TasksOn, View.Ended, View.WaitingApps,
	View.Node, View.Nodes, View.Removed, View.Master, View.Masters,
	View.Deployment, View.Deployments, View.DeploymentOf,
	View.Package, View.Packages, View.User, View.Users, View.Token, View.Tokens, View.Audit,
}

// Index is the log index that this view shows.
func (v View) Index() dcos.Index { return v.t.index }

// Time is the command time of that index.
func (v View) Time() dcos.Time { return v.t.time }

// Hash is the multiset hash over all rows: equal for equal states.
func (v View) Hash() uint64 { return v.t.sum.Lo }

// Cluster is what the cluster knows of itself; ok is false before InitCluster.
func (v View) Cluster() (dcos.ClusterInfo, bool) { return v.t.cluster, v.t.cluster.ID != "" }

// App is an app's row, also while it is being deleted.
func (v View) App(id dcos.AppID) (*AppRow, bool) { return v.t.apps.Get(string(id)) }

// Apps are all apps in the order of their ids.
func (v View) Apps() iter.Seq[*AppRow] { return v.t.apps.All() }

// AppAt is an app's definition as it was accepted at a version.
func (v View) AppAt(id dcos.AppID, at dcos.Version) (*dcos.App, bool) { return v.t.appAt(id, at) }

// AppVersions are an app's definitions, newest first.
func (v View) AppVersions(id dcos.AppID) iter.Seq[*dcos.App] { return v.t.appVersions(id) }

// Task is one task, live, waiting or among the ended ones that are kept.
func (v View) Task(id dcos.TaskID) (*dcos.Task, bool) { return v.t.tasks.Get(string(id)) }

// Tasks are all tasks in the order of their ids.
func (v View) Tasks() iter.Seq[*dcos.Task] { return v.t.tasks.All() }

// TasksOf are the newest task of each instance of an app, by ordinal, unless
// the instance was ended by a final stop.
func (v View) TasksOf(id dcos.AppID) iter.Seq[*dcos.Task] { return v.t.tasksOf(id) }

// Ended are the kept tasks of an app that are over and not the newest of a
// wanted instance, newest first.
func (v View) Ended(id dcos.AppID) iter.Seq[*dcos.Task] { return v.t.endedOf(id) }

// TasksOn are the live tasks bound to a node, in the order of their ids.
func (v View) TasksOn(n dcos.NodeID) iter.Seq[*dcos.Task] { return v.t.tasksOn(n) }

// Waiting is how many tasks of an app wait for a place.
func (v View) Waiting(id dcos.AppID) int {
	n, _ := v.t.waiting.Get(id)
	return n
}

// WaitingApps are the apps that have tasks waiting for a place, with how many.
func (v View) WaitingApps() iter.Seq2[dcos.AppID, int] { return v.t.waitingApps() }

// Node is one node's row.
func (v View) Node(id dcos.NodeID) (*dcos.Node, bool) {
	n, ok := v.t.nodes.Get(string(id))
	if !ok || n.State == dcos.NodeRemoved {
		return nil, false
	}
	return n, true
}

// Nodes are all nodes in the order of their ids.
func (v View) Nodes() iter.Seq[*dcos.Node] {
	return func(yield func(*dcos.Node) bool) {
		v.t.nodes.rows.Scan(func(_ string, n *dcos.Node) bool { return n.State == dcos.NodeRemoved || yield(n) })
	}
}

// Removed is what is left of a node that was removed: its machine is refused.
func (v View) Removed(id dcos.NodeID) (*dcos.Node, bool) {
	n, ok := v.t.nodes.Get(string(id))
	return n, ok && n.State == dcos.NodeRemoved
}

// Master is one master's row.
func (v View) Master(id dcos.MasterID) (*dcos.Master, bool) { return v.t.masters.Get(masterKey(id)) }

// Masters are all masters in the order of their ids.
func (v View) Masters() iter.Seq[*dcos.Master] { return v.t.masters.All() }

// Deployment is one running deployment.
func (v View) Deployment(id dcos.DeploymentID) (*dcos.Deployment, bool) {
	return v.t.deployments.Get(string(id))
}

// Deployments are the running deployments in the order of their ids.
func (v View) Deployments() iter.Seq[*dcos.Deployment] { return v.t.deployments.All() }

// DeploymentOf is the deployment that holds an app.
func (v View) DeploymentOf(id dcos.AppID) (*dcos.Deployment, bool) { return v.t.deploymentOf(id) }

// Package is the package installed as an app.
func (v View) Package(id dcos.AppID) (*dcos.Package, bool) { return v.t.packages.Get(string(id)) }

// Packages are the installed packages in the order of their app ids.
func (v View) Packages() iter.Seq[*dcos.Package] { return v.t.packages.All() }

// User is one user.
func (v View) User(id string) (*dcos.User, bool) { return v.t.users.Get(id) }

// Users are all users in the order of their ids.
func (v View) Users() iter.Seq[*dcos.User] { return v.t.users.All() }

// Token is one join token.
func (v View) Token(id string) (*dcos.JoinToken, bool) { return v.t.tokens.Get(id) }

// Tokens are all join tokens in the order of their ids.
func (v View) Tokens() iter.Seq[*dcos.JoinToken] { return v.t.tokens.All() }

// Role is what is set for a role; everybody's role may have no row.
func (v View) Role(id dcos.RoleID) (*dcos.RoleInfo, bool) { return v.t.roles.Get(string(id)) }

// Roles are the roles in the order of their names.
func (v View) Roles() iter.Seq[*dcos.RoleInfo] { return v.t.roles.All() }

// Consumed is what a role and all below it consume: what is reserved for them,
// used or not, and what their live tasks hold otherwise.
func (v View) Consumed(id dcos.RoleID) (open, reserved resource.Set) {
	u, _ := v.t.roleUse.Get(id)
	return u.open.set(), u.reserved.set()
}

// Reservation is one reservation.
func (v View) Reservation(id dcos.ReservationID) (*dcos.Reservation, bool) {
	return v.t.reservations.Get(string(id))
}

// Reservations are all reservations in the order of their ids.
func (v View) Reservations() iter.Seq[*dcos.Reservation] { return v.t.reservations.All() }

// ReservationsOn are the reservations of a node in the order of their ids.
func (v View) ReservationsOn(n dcos.NodeID) iter.Seq[*dcos.Reservation] {
	return func(yield func(*dcos.Reservation) bool) {
		v.t.resByNode.Ascend(&dcos.Reservation{Node: n}, func(r *dcos.Reservation) bool {
			return r.Node == n && yield(r)
		})
	}
}

// ReservationLeft is what of a reservation neither tasks nor volumes use; ports
// are those that were reserved.
func (v View) ReservationLeft(id dcos.ReservationID) (resource.Set, bool) {
	r, ok := v.t.reservations.Get(string(id))
	if !ok {
		return resource.Set{}, false
	}
	u, _ := v.t.resUse.Get(id)
	left := r.Resources.Minus(u.used.set())
	left.Disk -= u.size
	return left, true
}

// Volume is one persistent volume.
func (v View) Volume(id dcos.VolumeID) (*dcos.Volume, bool) { return v.t.volumes.Get(string(id)) }

// Volumes are all persistent volumes in the order of their ids.
func (v View) Volumes() iter.Seq[*dcos.Volume] { return v.t.volumes.All() }

// VolumesOf are the volumes of a reservation in the order of their ids.
func (v View) VolumesOf(id dcos.ReservationID) iter.Seq[*dcos.Volume] {
	return func(yield func(*dcos.Volume) bool) {
		v.t.volumesOf.Ascend(&dcos.Volume{Reservation: id}, func(r *dcos.Volume) bool {
			return r.Reservation == id && yield(r)
		})
	}
}

// Audit are the kept writes, oldest first.
func (v View) Audit() iter.Seq[*AuditRow] { return v.t.audit.All() }

// Outdated says that a task runs another configuration than the one its app
// wants now. A task that differs only in the version from before a scaling is
// not outdated; one from before a restart is.
func (v View) Outdated(row *AppRow, k *dcos.Task) bool {
	def, ok := v.t.definition(row, k.Version)
	return !ok || def.LastConfigChange != row.App.LastConfigChange
}
