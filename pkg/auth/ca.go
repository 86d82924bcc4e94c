package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/link"
)

// How long certificates hold. Machines renew theirs at two thirds (RenewAt);
// a machine that was switched off for longer joins again. Browsers take
// serving certificates of at most 398 days.
const (
	caLife      = 10 * 365 * 24 * time.Hour
	nodeLife    = 30 * 24 * time.Hour
	servingLife = 90 * 24 * time.Hour
	// clockSkew is how far the clock of a machine may be behind the signer's.
	clockSkew = time.Hour
)

// maxHosts bounds the names and addresses in one certificate.
const maxHosts = 32

// CA is the cluster's certificate authority: an ECDSA P-256 key (browsers
// verify no Ed25519) and its self-signed certificate.
type CA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewCA makes the CA of a new cluster.
func NewCA(cluster string, now time.Time, random io.Reader) (*CA, error) {
	if err := (dcos.Identity{Cluster: cluster, Role: dcos.RoleAgent, ID: "x"}).Check(); err != nil {
		return nil, err
	}
	key, err := NewKey(random)
	if err != nil {
		return nil, err
	}
	serial, err := newSerial(random)
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "dcos cluster CA", Organization: []string{cluster}},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(caLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	cert, err := create(tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &CA{cert: cert, key: key}, nil
}

// Cert is the CA's certificate.
func (ca *CA) Cert() *x509.Certificate { return ca.cert }

// Cluster is the cluster whose CA it is.
func (ca *CA) Cluster() string { return clusterOf(ca.cert) }

func clusterOf(cert *x509.Certificate) string {
	if len(cert.Subject.Organization) != 1 {
		return ""
	}
	return cert.Subject.Organization[0]
}

// String keeps the key out of logs and errors.
func (ca *CA) String() string {
	if ca == nil {
		return "no CA"
	}
	return "CA of cluster " + ca.Cluster()
}

// GoString is String.
func (ca *CA) GoString() string { return ca.String() }

// NewKey makes a private key for a certificate, from 32 random bytes at a
// time until they are a key of the curve.
func NewKey(random io.Reader) (*ecdsa.PrivateKey, error) {
	for range 16 {
		var b [32]byte
		if _, err := io.ReadFull(random, b[:]); err != nil {
			return nil, fmt.Errorf("random bytes for a key: %w", err)
		}
		if key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), b[:]); err == nil {
			return key, nil
		}
	}
	return nil, fmt.Errorf("%w: 16 draws of random bytes made no key; the source of randomness is broken", dcos.ErrUnavailable)
}

// NewCSR asks for a certificate for a key, as DER. It holds nothing but the
// public key: the signer takes the name from what it has proven.
func NewCSR(key *ecdsa.PrivateKey) ([]byte, error) {
	// Without a source of randomness the signature is deterministic (RFC 6979).
	der, err := x509.CreateCertificateRequest(nil, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	return der, nil
}

// Sign gives a machine its certificate. Of the request only the public key is
// taken. The hosts (IP addresses or names) of a master are put into the
// certificate; those of an agent are not, so that no agent can stand in for
// another server towards clients that trust this CA.
func (ca *CA) Sign(csr []byte, id dcos.Identity, hosts []string, now time.Time, random io.Reader) (*x509.Certificate, error) {
	if err := id.Check(); err != nil {
		return nil, err
	}
	if id.Cluster != ca.Cluster() {
		return nil, fmt.Errorf("%w: this CA is of cluster %s, not of %s", dcos.ErrInvalid, ca.Cluster(), id.Cluster)
	}
	uri, err := url.Parse(id.String())
	if err != nil {
		return nil, fmt.Errorf("%w: identity %s: %w", dcos.ErrInvalid, id, err)
	}
	tmpl := &x509.Certificate{
		Subject:     pkix.Name{CommonName: string(id.Role) + " " + id.ID},
		URIs:        []*url.URL{uri},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if id.Role != dcos.RoleMaster {
		hosts = nil
	}
	return ca.sign(csr, tmpl, hosts, nodeLife, now, random)
}

// SignServing gives a certificate for the API port. It names hosts and no
// machine, so it opens nothing on the mTLS ports.
func (ca *CA) SignServing(csr []byte, hosts []string, now time.Time, random io.Reader) (*x509.Certificate, error) {
	if len(hosts) == 0 {
		return nil, fmt.Errorf("%w: a serving certificate needs a host name or address", dcos.ErrInvalid)
	}
	tmpl := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "dcos API"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	return ca.sign(csr, tmpl, hosts, servingLife, now, random)
}

func (ca *CA) sign(csr []byte, tmpl *x509.Certificate, hosts []string, life time.Duration, now time.Time, random io.Reader) (*x509.Certificate, error) {
	pub, err := parseCSR(csr)
	if err != nil {
		return nil, err
	}
	if err := putHosts(tmpl, hosts); err != nil {
		return nil, err
	}
	if tmpl.SerialNumber, err = newSerial(random); err != nil {
		return nil, err
	}
	tmpl.NotBefore, tmpl.NotAfter = now.Add(-clockSkew), now.Add(life)
	if tmpl.NotAfter.After(ca.cert.NotAfter) {
		tmpl.NotAfter = ca.cert.NotAfter
	}
	if !tmpl.NotAfter.After(now) {
		return nil, fmt.Errorf("%w: the cluster's CA expired at %s; make a new one", dcos.ErrUnavailable, ca.cert.NotAfter.UTC().Format(time.RFC3339))
	}
	tmpl.KeyUsage = x509.KeyUsageDigitalSignature
	tmpl.BasicConstraintsValid = true
	return create(tmpl, ca.cert, pub, ca.key)
}

// maxCSR bounds a certificate request; one of ours has about 200 bytes.
const maxCSR = 4096

// parseCSR proves that the requester holds the key that it wants certified.
func parseCSR(der []byte) (*ecdsa.PublicKey, error) {
	if len(der) > maxCSR {
		return nil, fmt.Errorf("%w: certificate request of %d bytes, at most %d", dcos.ErrInvalid, len(der), maxCSR)
	}
	req, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("%w: certificate request: %w", dcos.ErrInvalid, err)
	}
	pub, ok := req.PublicKey.(*ecdsa.PublicKey)
	if !ok || pub.Curve != elliptic.P256() {
		return nil, fmt.Errorf("%w: certificate request: expected a key on curve P-256", dcos.ErrInvalid)
	}
	if err := req.CheckSignature(); err != nil {
		return nil, fmt.Errorf("%w: certificate request: its signature is not by the key in it", dcos.ErrInvalid)
	}
	return pub, nil
}

func putHosts(tmpl *x509.Certificate, hosts []string) error {
	if len(hosts) > maxHosts {
		return fmt.Errorf("%w: %d host names and addresses, at most %d", dcos.ErrInvalid, len(hosts), maxHosts)
	}
	for _, h := range hosts {
		if ip, err := netip.ParseAddr(h); err == nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip.Unmap().WithZone("").AsSlice())
			continue
		}
		if !validHost(h) {
			return fmt.Errorf("%w: %.80q is neither an IP address nor a host name", dcos.ErrInvalid, h)
		}
		tmpl.DNSNames = append(tmpl.DNSNames, strings.ToLower(h))
	}
	return nil
}

func validHost(h string) bool {
	if h == "" || len(h) > 253 {
		return false
	}
	for _, label := range strings.Split(h, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(strings.ToLower(label)) {
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}

// create signs deterministically (RFC 6979): all chance is in the serial.
func create(tmpl, parent *x509.Certificate, pub any, key *ecdsa.PrivateKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(nil, tmpl, parent, pub, key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate of %s: %w", tmpl.Subject.CommonName, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read signed certificate back: %w", err)
	}
	return cert, nil
}

func newSerial(random io.Reader) (*big.Int, error) {
	var b [16]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return nil, fmt.Errorf("random bytes for a serial number: %w", err)
	}
	b[0] = b[0]&0x7f | 0x40 // positive, and never shorter
	return new(big.Int).SetBytes(b[:]), nil
}

// RenewAt is when a certificate should be replaced: at two thirds of its life.
func RenewAt(cert *x509.Certificate) time.Time {
	return cert.NotBefore.Add(cert.NotAfter.Sub(cert.NotBefore) / 3 * 2)
}

// Issue makes a key and its certificate for this machine by its own CA: what
// the first master does for itself, and every master to renew.
func (ca *CA) Issue(id dcos.Identity, hosts []string, now time.Time, random io.Reader) (*link.Credentials, error) {
	key, err := NewKey(random)
	if err != nil {
		return nil, err
	}
	csr, err := NewCSR(key)
	if err != nil {
		return nil, err
	}
	cert, err := ca.Sign(csr, id, hosts, now, random)
	if err != nil {
		return nil, err
	}
	return newCredentials(id, key, cert, ca.cert), nil
}

// IssueServing makes a key and a certificate for the API port by the own CA.
func (ca *CA) IssueServing(hosts []string, now time.Time, random io.Reader) (*tls.Certificate, error) {
	key, err := NewKey(random)
	if err != nil {
		return nil, err
	}
	csr, err := NewCSR(key)
	if err != nil {
		return nil, err
	}
	cert, err := ca.SignServing(csr, hosts, now, random)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{cert.Raw, ca.cert.Raw}, PrivateKey: key, Leaf: cert}, nil
}
