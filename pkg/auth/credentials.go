package auth

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/link"
)

func newCredentials(id dcos.Identity, key *ecdsa.PrivateKey, cert, ca *x509.Certificate) *link.Credentials {
	return &link.Credentials{
		Self:        id,
		Certificate: tls.Certificate{Certificate: [][]byte{cert.Raw, ca.Raw}, PrivateKey: key, Leaf: cert},
		CA:          ca,
	}
}

// CheckCredentials says whether a certificate received from a master is the
// one that was asked for: signed by the CA, for this key and this identity.
func CheckCredentials(c *link.Credentials, now time.Time) error {
	leaf := c.Certificate.Leaf
	key, ok := c.Certificate.PrivateKey.(*ecdsa.PrivateKey)
	if leaf == nil || !ok || !key.PublicKey.Equal(leaf.PublicKey) {
		return fmt.Errorf("%w: the certificate is for another key", dcos.ErrInvalid)
	}
	if len(leaf.URIs) != 1 || leaf.URIs[0].String() != c.Self.String() {
		return fmt.Errorf("%w: the certificate is not for %s", dcos.ErrInvalid, c.Self)
	}
	if c.Self.Cluster != clusterOf(c.CA) {
		return fmt.Errorf("%w: the CA is of cluster %s, not of %s", dcos.ErrInvalid, clusterOf(c.CA), c.Self.Cluster)
	}
	roots := x509.NewCertPool()
	roots.AddCert(c.CA)
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		return fmt.Errorf("%w: certificate of %s: %w", dcos.ErrInvalid, c.Self, err)
	}
	return nil
}

// The types of PEM blocks.
const (
	blockCert    = "CERTIFICATE"
	blockKey     = "PRIVATE KEY" // PKCS #8
	blockSigning = "DCOS TOKEN KEY"
	blockGossip  = "DCOS GOSSIP KEY"
)

// maxPEM bounds every file of secrets.
const maxPEM = 256 << 10

// EncodeCredentials is the PEM form: leaf, CA, key. It holds the private key.
func EncodeCredentials(c *link.Credentials) ([]byte, error) {
	var b bytes.Buffer
	for _, der := range c.Certificate.Certificate {
		put(&b, blockCert, der)
	}
	der, err := x509.MarshalPKCS8PrivateKey(c.Certificate.PrivateKey)
	if err != nil {
		return nil, fmt.Errorf("encode key of %s: %w", c.Self, err)
	}
	put(&b, blockKey, der)
	return b.Bytes(), nil
}

// DecodeCredentials reads EncodeCredentials' form back. It does not look at
// the certificate's time.
func DecodeCredentials(text []byte) (*link.Credentials, error) {
	blocks, err := split(text)
	if err != nil {
		return nil, err
	}
	if len(blocks[blockCert]) != 2 || len(blocks[blockKey]) != 1 {
		return nil, fmt.Errorf("%w: expected two certificates and one private key", dcos.ErrInvalid)
	}
	leaf, err := x509.ParseCertificate(blocks[blockCert][0])
	if err != nil {
		return nil, fmt.Errorf("%w: certificate: %w", dcos.ErrInvalid, err)
	}
	ca, err := x509.ParseCertificate(blocks[blockCert][1])
	if err != nil {
		return nil, fmt.Errorf("%w: CA certificate: %w", dcos.ErrInvalid, err)
	}
	key, err := parseKey(blocks[blockKey][0])
	if err != nil {
		return nil, err
	}
	if len(leaf.URIs) != 1 {
		return nil, fmt.Errorf("%w: the certificate names no machine", dcos.ErrInvalid)
	}
	id, err := dcos.ParseIdentity(leaf.URIs[0].String())
	if err != nil {
		return nil, err
	}
	c := newCredentials(id, key, leaf, ca)
	return c, CheckCredentials(c, leaf.NotBefore)
}

func put(b *bytes.Buffer, kind string, der []byte) {
	b.Write(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// split sorts PEM blocks by type; anything between or behind them is an error,
// because it means a damaged file.
func split(text []byte) (map[string][][]byte, error) {
	if len(text) > maxPEM {
		return nil, fmt.Errorf("%w: %d bytes of PEM, at most %d", dcos.ErrInvalid, len(text), maxPEM)
	}
	out := map[string][][]byte{}
	for rest := bytes.TrimSpace(text); len(rest) > 0; rest = bytes.TrimSpace(rest) {
		if !bytes.HasPrefix(rest, []byte("-----BEGIN ")) {
			return nil, fmt.Errorf("%w: text that is not PEM", dcos.ErrInvalid)
		}
		block, more := pem.Decode(rest)
		if block == nil || len(block.Headers) != 0 {
			return nil, fmt.Errorf("%w: damaged PEM block", dcos.ErrInvalid)
		}
		out[block.Type] = append(out[block.Type], block.Bytes)
		rest = more
	}
	return out, nil
}

func parseKey(der []byte) (*ecdsa.PrivateKey, error) {
	k, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		// The library's error may quote what it read.
		return nil, fmt.Errorf("%w: damaged private key", dcos.ErrInvalid)
	}
	key, ok := k.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%w: private key of another kind than ECDSA", dcos.ErrInvalid)
	}
	return key, nil
}
