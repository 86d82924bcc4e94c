// Package link is the mTLS port of masters and the way to dial it.
//
// It owns connections between machines of one cluster: the listener that
// splits them by protocol (ALPN), the dialer, the check of who is at the other
// end, the socket options that make a dead machine seen within seconds, and
// the probe that tells a machine without our process from no machine at all.
// It promises that a Conn's Peer was proven by a certificate of this cluster's
// CA and may speak the Conn's protocol, and that strangers can hold only a
// bounded number of handshakes for a bounded time. It must not know what is
// said on a connection, nor decide what a silent peer means.
package link

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// The protocols of the port, as ALPN names.
const (
	ProtoRaft  = "dcos-raft/1"  // between masters
	ProtoAgent = "dcos-agent/1" // an agent's session with the leading master
	ProtoJoin  = "dcos-join/1"  // a machine that wants a certificate
	ProtoAPI   = "dcos-api/1"   // HTTP from a master: passed on to the leader, or to an agent's own API
)

// speakers are the roles that may open a protocol. Join has none: there the
// client shows a token, or, to renew its certificate, the old one.
var speakers = map[string][]dcos.Role{
	ProtoRaft:  {dcos.RoleMaster},
	ProtoAgent: {dcos.RoleAgent},
	ProtoJoin:  nil,
	ProtoAPI:   {dcos.RoleMaster},
}

// Credentials are what a machine shows and what it trusts. They are never
// changed; a renewed certificate is a new value.
type Credentials struct {
	Self        dcos.Identity
	Certificate tls.Certificate // the leaf, then the CA's
	CA          *x509.Certificate
}

// String keeps keys out of logs and errors.
func (c *Credentials) String() string {
	if c == nil {
		return "no credentials"
	}
	return "credentials of " + c.Self.String()
}

// GoString is String.
func (c *Credentials) GoString() string { return c.String() }

// MarshalJSON is String: some log handlers print values inside others as JSON.
func (c *Credentials) MarshalJSON() ([]byte, error) { return json.Marshal(c.String()) }

// LogValue is String.
func (c *Credentials) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Config is the common part of listening and dialing.
type Config struct {
	// Credentials is asked at every handshake, so that a renewed certificate
	// is used without a restart. It must not return nil, except to Dial with
	// an expected CA hash.
	Credentials func() *Credentials
	// Admit, when set, may refuse a peer whose certificate is good, such as a
	// machine that was removed. It must not block.
	Admit func(proto string, peer dcos.Identity) error
	Log   *slog.Logger // nil: none
	// Timeout bounds connecting and the handshake, each. 0: 5 s.
	Timeout time.Duration
	// Handshakes bounds the handshakes in flight of all hosts, PerHost those
	// of one. 0: 256 and 32. More wait in the kernel, or are closed (PerHost).
	Handshakes, PerHost int
	// Queue bounds the connections per protocol that wait for Accept. 0: 256.
	Queue int
	// Now is the clock that certificates are checked by. nil: time.Now.
	Now func() time.Time
}

func (c Config) withDefaults() Config {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Second
	}
	if c.Handshakes == 0 {
		c.Handshakes = 256
	}
	if c.PerHost == 0 {
		c.PerHost = 32
	}
	if c.Queue == 0 {
		c.Queue = 256
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

func (c Config) credentials() (*Credentials, error) {
	if c.Credentials != nil {
		if cr := c.Credentials(); cr != nil {
			return cr, nil
		}
	}
	return nil, fmt.Errorf("%w: this machine has no certificate yet", dcos.ErrUnavailable)
}

// Conn is one connection. Peer is zero only on ProtoJoin.
type Conn struct {
	net.Conn
	Peer  dcos.Identity
	Proto string
}

// Expect says who must be at the other end of a dialed connection. An empty
// field is not checked; the cluster always is.
type Expect struct {
	Role dcos.Role
	ID   string
	// CAHash replaces the dialer's own CA: the server's chain must end in the
	// CA certificate with this hash. Used by a machine that has a join token
	// and nothing else.
	CAHash *[sha256.Size]byte
}

// CAHash names a CA: the SHA-256 of its certificate.
func CAHash(ca *x509.Certificate) [sha256.Size]byte { return sha256.Sum256(ca.Raw) }

// The faults of a peer that callers tell apart. Both are dcos.ErrDenied.
var (
	// ErrPeer: the other end is not who it must be.
	ErrPeer = fmt.Errorf("%w: wrong peer", dcos.ErrDenied)
	// ErrCA: the other end's chain does not end in the CA that was named.
	ErrCA = fmt.Errorf("%w: wrong certificate authority", dcos.ErrDenied)
)

func (e Expect) check(self *Credentials, peer dcos.Identity) error {
	if self != nil && peer.Cluster != self.Self.Cluster {
		return fmt.Errorf("%w: it belongs to cluster %s, this machine to %s", ErrPeer, peer.Cluster, self.Self.Cluster)
	}
	if e.Role != "" && peer.Role != e.Role || e.ID != "" && peer.ID != e.ID {
		return fmt.Errorf("%w: it is %s %s, expected %s %s", ErrPeer, peer.Role, peer.ID, e.Role, e.ID)
	}
	return nil
}

func maySpeak(proto string, peer dcos.Identity) error {
	roles := speakers[proto]
	if len(roles) == 0 || slices.Contains(roles, peer.Role) {
		return nil
	}
	return fmt.Errorf("%w: %s %s may not speak %s", ErrPeer, peer.Role, peer.ID, proto)
}

var errNoIdentity = errors.New("the certificate names no machine of a dcos cluster")
