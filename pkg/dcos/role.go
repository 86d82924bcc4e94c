package dcos

import (
	"fmt"
	"strings"

	"github.com/dcos-go/dcos/pkg/resource"
)

// RoleID names who shares resources: "eng", or below it "eng/search". It is
// Mesos' role; what a machine or certificate stands for is Role.
type RoleID string

// DefaultRole is everybody's. It always exists and nothing is reserved for it.
const DefaultRole RoleID = "*"

// MaxRole and MaxRoleDepth bound a role's name and how deep roles nest.
const (
	MaxRole      = 256
	MaxRoleDepth = 8
)

// ParseRoleID checks a name by Mesos' rules.
func ParseRoleID(text string) (RoleID, error) {
	if text == string(DefaultRole) {
		return DefaultRole, nil
	}
	if text == "" || len(text) > MaxRole || strings.Count(text, "/") >= MaxRoleDepth {
		return "", fmt.Errorf("%w: role %.64q: expected 1 to %d bytes and at most %d parts", ErrInvalid, text, MaxRole, MaxRoleDepth)
	}
	for part := range strings.SplitSeq(text, "/") {
		switch {
		case part == "" || part == "." || part == ".." || part == "*":
			return "", fmt.Errorf("%w: role %q: %q is no name", ErrInvalid, text, part)
		case part[0] == '-':
			return "", fmt.Errorf("%w: role %q: a name does not begin with -", ErrInvalid, text)
		case strings.ContainsAny(part, "\t\n\v\f\r \b\x7f\\"):
			return "", fmt.Errorf("%w: role %q: a name has no white space, no backslash and no control characters", ErrInvalid, text)
		}
	}
	return RoleID(text), nil
}

// Parent is the role above; "" for one at the top.
func (r RoleID) Parent() RoleID {
	i := strings.LastIndexByte(string(r), '/')
	return r[:max(i, 0)]
}

// Covers says whether r is other or above it: what is reserved for r may be
// used by other.
func (r RoleID) Covers(other RoleID) bool {
	return other == r || len(other) > len(r) && other[:len(r)] == r && other[len(r)] == '/'
}

// RoleInfo is what is set for a role.
type RoleInfo struct {
	ID RoleID `cbor:"1,keyasint"`
	// Weight is in thousandths: 2000 gets twice what 1000 gets when both want
	// more than there is.
	Weight uint32 `cbor:"2,keyasint"`
	Quota  Quota  `cbor:"3,keyasint"`
	// Written by state only. Forced says that the limit was set below what the
	// role consumed then: it gets nothing more, and keeps what it has.
	Forced    bool `cbor:"4,keyasint,omitempty"`
	CreatedAt Time `cbor:"5,keyasint,omitempty"`
}

// Quota bounds what a role with all roles below it consumes, and says what is
// kept free for it. Consumed is what is reserved for it, used or not, and what
// its live tasks hold otherwise.
type Quota struct {
	Limit     resource.Limit `cbor:"1,keyasint,omitempty"`
	Guarantee resource.Set   `cbor:"2,keyasint,omitempty"` // without ports
}

// ReservationID names a reservation; the proposer gives it and never uses it
// twice.
type ReservationID string

// Reservation is a part of a node that only a role, and roles below it, may use.
type Reservation struct {
	ID        ReservationID     `cbor:"1,keyasint"`
	Node      NodeID            `cbor:"2,keyasint"`
	Role      RoleID            `cbor:"3,keyasint"`
	Resources resource.Set      `cbor:"4,keyasint"`
	Principal string            `cbor:"5,keyasint,omitempty"` // who reserved
	Labels    map[string]string `cbor:"6,keyasint,omitempty"`
	CreatedAt Time              `cbor:"7,keyasint,omitempty"` // written by state
}

// VolumeID names a persistent volume; the proposer gives it and never uses it
// twice.
type VolumeID string

// Volume is a part of a reservation's disk whose contents outlive tasks, agents
// and reboots.
type Volume struct {
	ID          VolumeID        `cbor:"1,keyasint"`
	Reservation ReservationID   `cbor:"2,keyasint"`
	Size        resource.Scalar `cbor:"3,keyasint"` // MiB
	Principal   string          `cbor:"4,keyasint,omitempty"`

	// Written by state only. One task at a time has the volume: the one whose
	// Epoch is here. A later owner has a higher epoch, which is how a node that
	// was cut off tells an old owner from a new one.
	Node      NodeID `cbor:"10,keyasint,omitempty"`
	Task      TaskID `cbor:"11,keyasint,omitempty"` // "" is none
	Epoch     Epoch  `cbor:"12,keyasint,omitempty"` // of the present or last owner
	CreatedAt Time   `cbor:"13,keyasint,omitempty"`
}

// TaskHold is what a task uses besides unreserved resources.
type TaskHold struct {
	// Reservation is where everything but ports comes from.
	Reservation ReservationID `cbor:"1,keyasint"`
	Volumes     []VolumeID    `cbor:"2,keyasint,omitempty"`
}
