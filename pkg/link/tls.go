package link

import (
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// base holds what every connection between machines has: TLS 1.3 and nothing
// remembered between connections, so that each one proves its certificate.
func base() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true}
}

// splitTLS is the listener's configuration: the protocol that the client asks
// for decides whether a certificate is demanded.
func splitTLS(cfg Config) *tls.Config {
	out := base()
	shared := &configs{byProto: map[string]*tls.Config{}}
	out.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if len(hello.SupportedProtos) != 1 {
			return nil, fmt.Errorf("client names %d protocols, expected one", len(hello.SupportedProtos))
		}
		proto := hello.SupportedProtos[0]
		if _, ok := speakers[proto]; !ok {
			return nil, errors.New("client names an unknown protocol")
		}
		cr, err := cfg.credentials()
		if err != nil {
			return nil, err
		}
		return shared.of(cfg, cr, proto), nil
	}
	return out
}

// configs are a listener's configurations while it has the same credentials: a
// connection keeps its own as long as it lives.
type configs struct {
	mu      sync.Mutex
	cr      *Credentials           // guarded by mu
	byProto map[string]*tls.Config // guarded by mu; made with cr
}

func (s *configs) of(cfg Config, cr *Credentials, proto string) *tls.Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cr != cr {
		s.cr = cr
		clear(s.byProto)
	}
	c := s.byProto[proto]
	if c == nil {
		auth := tls.RequireAnyClientCert
		if proto == ProtoJoin {
			auth = tls.RequestClientCert
		}
		c = serverTLS(cfg, cr, auth)
		c.NextProtos = []string{proto}
		s.byProto[proto] = c
	}
	return c
}

func serverTLS(cfg Config, cr *Credentials, auth tls.ClientAuthType) *tls.Config {
	out := base()
	out.Certificates = []tls.Certificate{cr.Certificate}
	out.ClientAuth = auth
	out.VerifyConnection = func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 && auth == tls.RequestClientCert {
			return nil
		}
		peer, err := verify(s.PeerCertificates, cr.CA, x509.ExtKeyUsageClientAuth, cfg.Now())
		if err != nil {
			return err
		}
		return Expect{}.check(cr, peer)
	}
	return out
}

// ServerTLS is for servers of other protocols, such as the agent's API: only
// machines of this cluster in one of the roles get through the handshake.
func ServerTLS(cfg Config, nextProtos []string, roles ...dcos.Role) *tls.Config {
	cfg = cfg.withDefaults()
	out := base()
	out.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		cr, err := cfg.credentials()
		if err != nil {
			return nil, err
		}
		c := serverTLS(cfg, cr, tls.RequireAnyClientCert)
		c.NextProtos = nextProtos
		ours := c.VerifyConnection
		c.VerifyConnection = func(s tls.ConnectionState) error {
			if err := ours(s); err != nil {
				return err
			}
			peer, err := identityOf(s.PeerCertificates[0])
			if err == nil && !slices.Contains(roles, peer.Role) {
				err = fmt.Errorf("%w: %s %s may not connect here", ErrPeer, peer.Role, peer.ID)
			}
			return err
		}
		return c, nil
	}
	return out
}

// ClientTLS is for clients of other protocols. It fails without credentials,
// unless a CA hash is expected.
func ClientTLS(cfg Config, want Expect) (*tls.Config, error) {
	cfg = cfg.withDefaults()
	cr, err := cfg.credentials()
	if err != nil && want.CAHash == nil {
		return nil, err
	}
	out := base()
	if cr != nil {
		// A server has its own CA's certificate; who dials without one gets it
		// from the server.
		own := cr.Certificate
		own.Certificate = own.Certificate[:min(1, len(own.Certificate))]
		out.Certificates = []tls.Certificate{own}
	}
	// The name in a certificate is an identity, not a host: the chain and the
	// identity are verified below, in every case.
	out.InsecureSkipVerify = true
	out.VerifyConnection = func(s tls.ConnectionState) error {
		ca, err := trusted(s.PeerCertificates, cr, want)
		if err != nil {
			return err
		}
		peer, err := verify(s.PeerCertificates, ca, x509.ExtKeyUsageServerAuth, cfg.Now())
		if err != nil {
			return err
		}
		return want.check(cr, peer)
	}
	return out, nil
}

// trusted is the CA to verify against: the own one, or the certificate that
// the server sent along and whose hash is the expected one.
func trusted(sent []*x509.Certificate, cr *Credentials, want Expect) (*x509.Certificate, error) {
	if want.CAHash == nil {
		return cr.CA, nil
	}
	for _, c := range sent {
		if h := CAHash(c); c.IsCA && subtle.ConstantTimeCompare(h[:], want.CAHash[:]) == 1 {
			return c, nil
		}
	}
	return nil, fmt.Errorf("%w: the server's certificates do not end in the CA with SHA-256 %x", ErrCA, want.CAHash[:])
}

// PeerOf is who is at the other end of a connection made with ServerTLS or
// ClientTLS.
func PeerOf(s tls.ConnectionState) (dcos.Identity, bool) {
	if len(s.PeerCertificates) == 0 {
		return dcos.Identity{}, false
	}
	id, err := identityOf(s.PeerCertificates[0])
	return id, err == nil
}

// verify proves a chain against one CA and gives the identity in its leaf.
func verify(chain []*x509.Certificate, ca *x509.Certificate, use x509.ExtKeyUsage, now time.Time) (dcos.Identity, error) {
	if len(chain) == 0 {
		return dcos.Identity{}, errors.New("no certificate")
	}
	leaf := chain[0]
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{use}})
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		return dcos.Identity{}, fmt.Errorf("%w: its certificate is valid from %s to %s and this machine's clock says %s; check the clocks of both",
			ErrPeer, stamp(leaf.NotBefore), stamp(leaf.NotAfter), stamp(now))
	}
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		return dcos.Identity{}, fmt.Errorf("%w: its certificate is of another cluster: %w", ErrPeer, err)
	}
	if err != nil {
		return dcos.Identity{}, fmt.Errorf("%w: %w", ErrPeer, err)
	}
	return identityOf(leaf)
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

func identityOf(leaf *x509.Certificate) (dcos.Identity, error) {
	if len(leaf.URIs) != 1 || leaf.IsCA {
		return dcos.Identity{}, fmt.Errorf("%w: %w", ErrPeer, errNoIdentity)
	}
	id, err := dcos.ParseIdentity(leaf.URIs[0].String())
	if err != nil {
		return dcos.Identity{}, fmt.Errorf("%w: %w: %w", ErrPeer, errNoIdentity, err)
	}
	return id, nil
}
