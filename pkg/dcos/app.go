package dcos

import (
	"time"

	"github.com/dcos-go/dcos/pkg/resource"
)

// App is a checked definition of an app: what app.Parse makes of Marathon's
// JSON. Every field here has an effect.
type App struct {
	ID        AppID             `cbor:"1,keyasint"`
	Version   Version           `cbor:"2,keyasint,omitempty"` // set by state
	Cmd       string            `cbor:"3,keyasint,omitempty"` // run by /bin/sh -c
	Args      []string          `cbor:"4,keyasint,omitempty"` // exec form, or the image's arguments
	User      string            `cbor:"5,keyasint,omitempty"`
	Env       map[string]string `cbor:"6,keyasint,omitempty"`
	Labels    map[string]string `cbor:"7,keyasint,omitempty"`
	Instances uint32            `cbor:"8,keyasint"`
	// Need is per instance, without ports.
	Need         resource.Set `cbor:"9,keyasint"`
	Container    *Container   `cbor:"10,keyasint,omitempty"`
	Ports        []PortDef    `cbor:"11,keyasint,omitempty"`
	RequirePorts bool         `cbor:"12,keyasint,omitempty"`
	Constraints  []Constraint `cbor:"13,keyasint,omitempty"`
	Roles        []string     `cbor:"14,keyasint,omitempty"` // acceptedResourceRoles as given
	Backoff      Backoff      `cbor:"15,keyasint"`
	// KillGraceMillis is the time between SIGTERM and SIGKILL; nil is the
	// agent's default.
	KillGraceMillis *int64        `cbor:"16,keyasint,omitempty"`
	Upgrade         Upgrade       `cbor:"17,keyasint"`
	KillSelection   KillSelection `cbor:"18,keyasint"`
	Unreachable     Unreachable   `cbor:"19,keyasint"`
	// LastScaling and LastConfigChange are Marathon's versionInfo; set by state.
	LastScaling      Version `cbor:"20,keyasint,omitempty"`
	LastConfigChange Version `cbor:"21,keyasint,omitempty"`
	Fence            Fence   `cbor:"22,keyasint,omitempty" since:"2"`
	// Role is whose share the app runs on; "" is DefaultRole.
	Role RoleID `cbor:"23,keyasint,omitempty" since:"2"`
	// Fetch is brought into each sandbox before the task starts.
	Fetch []Artifact `cbor:"50,keyasint,omitempty" since:"2"`
}

// Fence says what keeps two copies of an instance from running at once.
type Fence uint8

// The fences.
const (
	// FenceNone: nothing; a lost task is replaced without knowing that it ended.
	FenceNone Fence = iota
	// FenceLease: the task's machine ends it when it has been without a master
	// for LeaseFor; its replacement waits for that, and for LeaseMargin more.
	FenceLease
)

// The times of FenceLease.
const (
	LeaseFor    = 60 * time.Second
	LeaseMargin = 5 * time.Second
)

// Container asks for an image, or (without one) for the host's file system in
// a private mount namespace.
type Container struct {
	Type      string `cbor:"1,keyasint"` // "MESOS" or "DOCKER", as given; both run in the same way
	Image     string `cbor:"2,keyasint,omitempty"`
	ForcePull bool   `cbor:"3,keyasint,omitempty"`
}

// PortDef asks for one host port.
type PortDef struct {
	Port     uint16            `cbor:"1,keyasint,omitempty"` // service port; with RequirePorts the host port too
	Protocol string            `cbor:"2,keyasint"`           // "tcp", "udp" or "udp,tcp"
	Name     string            `cbor:"3,keyasint,omitempty"`
	Labels   map[string]string `cbor:"4,keyasint,omitempty"`
}

// Operator is a placement constraint's operator.
type Operator string

// Marathon's operators (marathon-api section 1.6).
const (
	Unique  Operator = "UNIQUE"
	Cluster Operator = "CLUSTER"
	GroupBy Operator = "GROUP_BY"
	Like    Operator = "LIKE"
	Unlike  Operator = "UNLIKE"
	MaxPer  Operator = "MAX_PER"
	Is      Operator = "IS"
)

// Constraint limits where an app's instances go.
type Constraint struct {
	Field    string   `cbor:"1,keyasint"`
	Operator Operator `cbor:"2,keyasint"`
	Value    string   `cbor:"3,keyasint,omitempty"`
}

// Backoff slows down an app that keeps failing.
type Backoff struct {
	InitialMillis int64  `cbor:"1,keyasint"`
	FactorMilli   uint32 `cbor:"2,keyasint"` // 1150 is 1.15
	MaxMillis     int64  `cbor:"3,keyasint"`
}

// Upgrade bounds a rolling change, as shares of the wanted instances.
type Upgrade struct {
	MinHealth float64 `cbor:"1,keyasint"`
	MaxOver   float64 `cbor:"2,keyasint"`
}

// KillSelection says which instances go first when there are too many.
type KillSelection uint8

// The two selections.
const (
	YoungestFirst KillSelection = iota
	OldestFirst
)

// Unreachable is Marathon's unreachableStrategy: what becomes of a task whose
// node is lost. It counts until InactiveSeconds have passed; then another
// instance takes its place, and both count should it come back; after
// ExpungeSeconds it is given up. The zero value (0, 0) gives it up at once.
// Disabled never does.
type Unreachable struct {
	Disabled        bool  `cbor:"1,keyasint,omitempty"`
	InactiveSeconds int64 `cbor:"2,keyasint,omitempty"`
	ExpungeSeconds  int64 `cbor:"3,keyasint,omitempty"`
}

// Action is what a deployment does to an app.
type Action string

// Marathon's actions.
const (
	ActionStart   Action = "StartApplication"
	ActionScale   Action = "ScaleApplication"
	ActionRestart Action = "RestartApplication"
	ActionStop    Action = "StopApplication"
)

// Deployment is a change of an app that is being carried out. It is gone when
// it is done.
type Deployment struct {
	ID      DeploymentID `cbor:"1,keyasint"`
	App     AppID        `cbor:"2,keyasint"`
	Version Version      `cbor:"3,keyasint"` // of the deployment
	Steps   []Action     `cbor:"4,keyasint"` // one action per step, in order
	Step    int          `cbor:"5,keyasint"` // 1-based; the current one
	Target  Version      `cbor:"6,keyasint"` // the app definition to reach
	// Before is the definition to go back to; 0 when the app is new.
	Before    Version `cbor:"7,keyasint,omitempty"`
	StartedAt Time    `cbor:"8,keyasint"`
}

// Package is an installed package.
type Package struct {
	App         AppID  `cbor:"1,keyasint"`
	Name        string `cbor:"2,keyasint"`
	Version     string `cbor:"3,keyasint"`
	Release     int64  `cbor:"4,keyasint"`
	Options     []byte `cbor:"5,keyasint,omitempty"` // the user's JSON, as given
	InstalledAt Time   `cbor:"6,keyasint,omitempty"` // set by state
	// Definition is the package as it was when installed, so that list and
	// describe answer even after the catalog moved on (Universe JSON).
	Definition []byte `cbor:"7,keyasint,omitempty"`
}
