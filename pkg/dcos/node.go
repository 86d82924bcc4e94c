package dcos

import "github.com/dcos-go/dcos/pkg/resource"

// NodeState is what the cluster holds of a machine.
type NodeState uint8

// The states of a node.
const (
	// NodeActive: its session is up; tasks may be placed on it.
	NodeActive NodeState = iota + 1
	// NodeSuspect: three beats missing, or its agent is restarting; nothing
	// new is placed on it, its tasks still count.
	NodeSuspect
	// NodeLost: its machine is gone or its agent stayed away too long; its
	// tasks are lost. It becomes active again when a session opens.
	NodeLost
	// NodeRemoved: an operator has taken it out of the cluster. Only its id is
	// kept, for as long as its certificate could still be shown, so that it is
	// refused; nobody sees it among the nodes.
	NodeRemoved
)

var nodeStateNames = [...]string{"", "active", "suspect", "lost", "removed"}

// String is the word shown to users.
func (s NodeState) String() string {
	if int(s) < len(nodeStateNames) {
		return nodeStateNames[s]
	}
	return "unknown"
}

// Isolation says what a node's runtime enforces.
type Isolation uint8

// The isolations of a node.
const (
	// IsolationProcess: plain processes; no limit is enforced, images cannot run.
	IsolationProcess Isolation = iota + 1
	// IsolationContainer: namespaces, cgroups and images.
	IsolationContainer
)

// Node is an agent's machine as the cluster knows it. What changes every few
// seconds (usage) is not part of it.
type Node struct {
	ID         NodeID            `cbor:"1,keyasint"`
	Hostname   string            `cbor:"2,keyasint"`
	Addr       string            `cbor:"3,keyasint"` // host:port of the agent's API (7445)
	IP         string            `cbor:"4,keyasint"` // where its tasks' host ports are reached
	Boot       string            `cbor:"5,keyasint"` // nonce of this boot of the machine
	Version    string            `cbor:"6,keyasint,omitempty"`
	Region     string            `cbor:"7,keyasint,omitempty"`
	Zone       string            `cbor:"8,keyasint,omitempty"`
	Attributes map[string]string `cbor:"9,keyasint,omitempty"`
	Total      resource.Set      `cbor:"10,keyasint"`
	Isolation  Isolation         `cbor:"11,keyasint"`
	// NotEnforced names in words what the runtime cannot enforce there.
	NotEnforced []string `cbor:"12,keyasint,omitempty"`

	// Written by state only:
	State     NodeState `cbor:"20,keyasint,omitempty"`
	Why       string    `cbor:"21,keyasint,omitempty"` // of the state, in words
	Since     Time      `cbor:"22,keyasint,omitempty"` // of the state
	CreatedAt Time      `cbor:"23,keyasint,omitempty"`
	// Drain is set while its tasks are to go elsewhere.
	Drain *Drain `cbor:"24,keyasint,omitempty" since:"2"`
}

// Drain says that a node takes no new tasks and gives up those that it has, as
// fast as the upgrade strategies of their apps allow.
type Drain struct {
	Since Time `cbor:"1,keyasint"`
	// Deadline is when what is still there is stopped, whatever the upgrade
	// strategies say; 0 is never.
	Deadline Time `cbor:"2,keyasint,omitempty"`
	// Remove takes the node out of the cluster once nothing is left on it.
	Remove bool   `cbor:"3,keyasint,omitempty"`
	Why    string `cbor:"4,keyasint,omitempty"` // in the operator's words
}

// Takes says that tasks may be placed on the node.
func (n *Node) Takes() bool { return n.State == NodeActive && n.Drain == nil }

// Attribute is the value that constraints see for a field: "hostname",
// "@hostname", "@region", "@zone" or an attribute's name (see AttributeText).
func (n *Node) Attribute(field string) (string, bool) {
	switch field {
	case "hostname", "@hostname":
		return n.Hostname, true
	case "@region":
		return n.Region, n.Region != ""
	case "@zone":
		return n.Zone, n.Zone != ""
	}
	v, ok := n.Attributes[field]
	if !ok {
		return "", false
	}
	return AttributeText(v), true
}

// Master is a member of the raft group.
type Master struct {
	ID      MasterID `cbor:"1,keyasint"`
	Name    string   `cbor:"2,keyasint"` // its host name
	Peer    string   `cbor:"3,keyasint"` // host:port of the mTLS port (7444)
	API     string   `cbor:"4,keyasint"` // host:port of the API (8443)
	Voter   bool     `cbor:"5,keyasint"`
	Level   uint64   `cbor:"6,keyasint"` // the feature level its binary supports
	Version string   `cbor:"7,keyasint,omitempty"`
	Joined  Time     `cbor:"8,keyasint,omitempty"` // written by state

	// What state keeps and PutMaster does not change: the last start that the
	// master told of, and that it stays a learner until somebody promotes it.
	Incarnation uint64 `cbor:"9,keyasint,omitempty" since:"2"`
	Start       uint64 `cbor:"10,keyasint,omitempty" since:"2"` // random, of that start
	Hold        bool   `cbor:"11,keyasint,omitempty" since:"2"`
}
