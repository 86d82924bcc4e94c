package dcos

import (
	"fmt"
	"strconv"
	"strings"
)

// Identity is who a machine is to the others: what its certificate says, as
// the URI dcos://<cluster>/<role>/<id>.
type Identity struct {
	Cluster string
	Role    Role
	ID      string // a NodeID, or a MasterID in 16 hexadecimal digits
}

// MasterIdentity names a master.
func MasterIdentity(cluster string, id MasterID) Identity {
	return Identity{Cluster: cluster, Role: RoleMaster, ID: fmt.Sprintf("%016x", uint64(id))}
}

// AgentIdentity names an agent.
func AgentIdentity(cluster string, id NodeID) Identity {
	return Identity{Cluster: cluster, Role: RoleAgent, ID: string(id)}
}

// Master is the raft member's number of a master's identity.
func (i Identity) Master() (MasterID, bool) {
	if i.Role != RoleMaster {
		return 0, false
	}
	n, err := strconv.ParseUint(i.ID, 16, 64)
	return MasterID(n), err == nil && n != 0
}

// Node is the node id of an agent's identity.
func (i Identity) Node() (NodeID, bool) { return NodeID(i.ID), i.Role == RoleAgent && i.ID != "" }

// identityScheme begins the URI of an identity.
const identityScheme = "dcos://"

// String is the URI that stands in certificates.
func (i Identity) String() string {
	return identityScheme + i.Cluster + "/" + string(i.Role) + "/" + i.ID
}

// Check says what is wrong with an identity; nil when it can stand in a
// certificate and be read back.
func (i Identity) Check() error {
	if !validName(i.Cluster) {
		return fmt.Errorf("%w: cluster id %q: expected 1 to 64 letters, digits, dashes and dots", ErrInvalid, cut(i.Cluster))
	}
	if i.Role != RoleMaster && i.Role != RoleAgent {
		return fmt.Errorf("%w: role %q: expected %q or %q", ErrInvalid, cut(string(i.Role)), RoleMaster, RoleAgent)
	}
	if !validName(i.ID) {
		return fmt.Errorf("%w: id %q of a machine: expected 1 to 64 letters, digits, dashes and dots", ErrInvalid, cut(i.ID))
	}
	if i.Role == RoleMaster {
		if m, ok := i.Master(); !ok || MasterIdentity(i.Cluster, m).ID != i.ID {
			return fmt.Errorf("%w: id %q of a master: expected 16 hexadecimal digits, not all zero", ErrInvalid, cut(i.ID))
		}
	}
	return nil
}

// ParseIdentity reads the URI back. It accepts exactly what String gives.
func ParseIdentity(uri string) (Identity, error) {
	rest, ok := strings.CutPrefix(uri, identityScheme)
	parts := strings.Split(rest, "/")
	if !ok || len(parts) != 3 {
		return Identity{}, fmt.Errorf("%w: %q is not dcos://CLUSTER/ROLE/ID", ErrInvalid, cut(uri))
	}
	i := Identity{Cluster: parts[0], Role: Role(parts[1]), ID: parts[2]}
	return i, i.Check()
}

// cut bounds what a stranger's text adds to an error.
func cut(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}

func validName(s string) bool {
	if s == "" || len(s) > 64 || s[0] == '.' || s[0] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_' {
			return false
		}
	}
	return true
}
