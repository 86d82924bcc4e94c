package dcos

// ClusterInfo is what the cluster knows of itself.
type ClusterInfo struct {
	ID        string `cbor:"1,keyasint"` // UUID, made at the first start
	Name      string `cbor:"2,keyasint"`
	Level     uint64 `cbor:"3,keyasint"` // feature level: nothing above it is proposed
	CreatedAt Time   `cbor:"4,keyasint"`
	// Gossip is nil until the gossip key is changed for the first time; until
	// then it is the one that the masters were given when they joined.
	Gossip *GossipRing `cbor:"5,keyasint,omitempty" since:"2"`
}

// Role is what a certificate, a token or a gossip member stands for.
type Role string

// The roles of machines.
const (
	RoleMaster Role = "master"
	RoleAgent  Role = "agent"
)

// JoinToken lets machines of one role join. Only a hash of its secret is kept.
type JoinToken struct {
	ID         string `cbor:"1,keyasint"`
	Role       Role   `cbor:"2,keyasint"`
	SecretHash []byte `cbor:"3,keyasint"`           // SHA-256; the secret is 128 random bits or more
	CreatedAt  Time   `cbor:"4,keyasint,omitempty"` // set by state
}

// User is a person or program that may log in.
type User struct {
	ID           string  `cbor:"1,keyasint"`
	PasswordHash string  `cbor:"2,keyasint,omitempty" json:"-"` // argon2id in PHC form
	Grants       []Grant `cbor:"3,keyasint,omitempty"`
	// Generation is raised when the user's tokens are to become void.
	Generation uint64 `cbor:"4,keyasint,omitempty"`
	CreatedAt  Time   `cbor:"5,keyasint,omitempty"` // set by state
}

// Grant allows actions on a path and everything below it.
type Grant struct {
	Path    string   `cbor:"1,keyasint"` // "/" is everything
	Actions []string `cbor:"2,keyasint"` // "read", "write", "full"
}

// String keeps the password's hash out of logs and errors.
func (u User) String() string { return "user " + u.ID }

// GoString is String.
func (u User) GoString() string { return u.String() }
