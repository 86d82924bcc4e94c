package auth

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"fmt"
	"io"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// Secrets are what every master holds and nobody else: whoever has them owns
// the cluster.
type Secrets struct {
	CA *CA
	// Signing are the keys of bearer tokens. The first signs; the others
	// verify what was signed before a change of keys.
	Signing []ed25519.PrivateKey
	// Gossip are the keys of the gossip's encryption; the first encrypts.
	// Agents get these too.
	Gossip [][]byte
	// Ring is the number of the change that these gossip keys came with
	// (dcos.GossipRing.Serial). It is not stored: the state tells it.
	Ring uint64
}

// WithGossip are the same secrets with other gossip keys.
func (s *Secrets) WithGossip(ring uint64, keys [][]byte) (*Secrets, error) {
	if err := checkGossip(keys); err != nil {
		return nil, err
	}
	c := *s
	c.Ring, c.Gossip = ring, keys
	return &c, nil
}

// gossipKey is the size of a gossip key: AES-256.
const gossipKey = 32

// maxKeys bounds both lists of keys.
const maxKeys = 8

// NewSecrets makes those of a new cluster.
func NewSecrets(cluster string, now time.Time, random io.Reader) (*Secrets, error) {
	ca, err := NewCA(cluster, now, random)
	if err != nil {
		return nil, err
	}
	seed, gossip := make([]byte, ed25519.SeedSize), make([]byte, gossipKey)
	for _, b := range [][]byte{seed, gossip} {
		if _, err := io.ReadFull(random, b); err != nil {
			return nil, fmt.Errorf("random bytes for the cluster's secrets: %w", err)
		}
	}
	return &Secrets{CA: ca, Signing: []ed25519.PrivateKey{ed25519.NewKeyFromSeed(seed)}, Gossip: [][]byte{gossip}}, nil
}

// String keeps keys out of logs and errors.
func (s *Secrets) String() string {
	if s == nil {
		return "no secrets"
	}
	return "secrets of cluster " + s.CA.Cluster()
}

// GoString is String.
func (s *Secrets) GoString() string { return s.String() }

// EncodeSecrets is the PEM form; it holds all keys.
func EncodeSecrets(s *Secrets) ([]byte, error) {
	var b bytes.Buffer
	put(&b, blockCert, s.CA.cert.Raw)
	der, err := x509.MarshalPKCS8PrivateKey(s.CA.key)
	if err != nil {
		return nil, fmt.Errorf("encode the CA's key: %w", err)
	}
	put(&b, blockKey, der)
	for _, k := range s.Signing {
		put(&b, blockSigning, k.Seed())
	}
	for _, k := range s.Gossip {
		put(&b, blockGossip, k)
	}
	return b.Bytes(), nil
}

// DecodeSecrets reads EncodeSecrets' form back. The result is complete: a CA
// with its own key, and at least one key of each other sort.
func DecodeSecrets(text []byte) (*Secrets, error) {
	blocks, err := split(text)
	if err != nil {
		return nil, fmt.Errorf("cluster secrets: %w", err)
	}
	if len(blocks[blockCert]) != 1 || len(blocks[blockKey]) != 1 {
		return nil, fmt.Errorf("%w: cluster secrets: expected one certificate and one private key", dcos.ErrInvalid)
	}
	cert, err := x509.ParseCertificate(blocks[blockCert][0])
	if err != nil {
		return nil, fmt.Errorf("%w: cluster secrets: CA certificate: %w", dcos.ErrInvalid, err)
	}
	key, err := parseKey(blocks[blockKey][0])
	if err != nil {
		return nil, fmt.Errorf("cluster secrets: %w", err)
	}
	if !cert.IsCA || clusterOf(cert) == "" || !key.PublicKey.Equal(cert.PublicKey) {
		return nil, fmt.Errorf("%w: cluster secrets: the private key is not that of the CA certificate", dcos.ErrInvalid)
	}
	s := &Secrets{CA: &CA{cert: cert, key: key}, Gossip: blocks[blockGossip]}
	for _, seed := range blocks[blockSigning] {
		if len(seed) != ed25519.SeedSize {
			return nil, fmt.Errorf("%w: cluster secrets: token key of %d bytes", dcos.ErrInvalid, len(seed))
		}
		s.Signing = append(s.Signing, ed25519.NewKeyFromSeed(seed))
	}
	if n := len(s.Signing); n == 0 || n > maxKeys {
		return nil, fmt.Errorf("%w: cluster secrets: %d token keys, expected 1 to %d", dcos.ErrInvalid, n, maxKeys)
	}
	if err := checkGossip(s.Gossip); err != nil {
		return nil, fmt.Errorf("cluster secrets: %w", err)
	}
	return s, nil
}

func checkGossip(keys [][]byte) error {
	if n := len(keys); n == 0 || n > maxKeys {
		return fmt.Errorf("%w: %d gossip keys, expected 1 to %d", dcos.ErrInvalid, n, maxKeys)
	}
	for _, k := range keys {
		if len(k) != gossipKey {
			return fmt.Errorf("%w: gossip key of %d bytes, expected %d", dcos.ErrInvalid, len(k), gossipKey)
		}
	}
	return nil
}
