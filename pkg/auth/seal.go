package auth

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"io"

	"github.com/fxamacker/cbor/v2"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// maxSealed bounds what is opened.
const maxSealed = 1 << 20

// Seal encrypts what only this cluster's masters may read, under a key that
// follows from the CA's and from the purpose. What was sealed for one purpose
// does not open for another.
func (s *Secrets) Seal(purpose string, plain []byte, random io.Reader) ([]byte, error) {
	aead, err := s.sealer(purpose)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, aead.NonceSize(), aead.NonceSize()+len(plain)+aead.Overhead())
	if _, err := io.ReadFull(random, nonce); err != nil {
		return nil, fmt.Errorf("seal %s: random bytes: %w", purpose, err)
	}
	return aead.Seal(nonce, nonce, plain, []byte(s.CA.Cluster())), nil
}

// Open undoes Seal. It fails with dcos.ErrInvalid for anything that this
// cluster did not seal for this purpose.
func (s *Secrets) Open(purpose string, sealed []byte) ([]byte, error) {
	aead, err := s.sealer(purpose)
	if err != nil {
		return nil, err
	}
	n := aead.NonceSize()
	if len(sealed) < n || len(sealed) > maxSealed {
		return nil, fmt.Errorf("%w: open %s: %d bytes", dcos.ErrInvalid, purpose, len(sealed))
	}
	plain, err := aead.Open(nil, sealed[:n], sealed[n:], []byte(s.CA.Cluster()))
	if err != nil {
		return nil, fmt.Errorf("%w: open %s: it was sealed by another cluster or is damaged", dcos.ErrInvalid, purpose)
	}
	return plain, nil
}

func (s *Secrets) sealer(purpose string) (cipher.AEAD, error) {
	der, err := x509.MarshalPKCS8PrivateKey(s.CA.key)
	if err != nil {
		return nil, fmt.Errorf("seal %s: %w", purpose, err)
	}
	key, err := hkdf.Key(sha256.New, der, []byte(s.CA.Cluster()), "dcos seal 1 "+purpose, 32)
	if err != nil {
		return nil, fmt.Errorf("seal %s: %w", purpose, err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("seal %s: %w", purpose, err)
	}
	return cipher.NewGCM(block)
}

// gossipPurpose is what gossip keys are sealed for.
const gossipPurpose = "gossip keys"

// SealGossip makes the row of gossip keys; the first encrypts.
func (s *Secrets) SealGossip(serial uint64, step dcos.GossipStep, keys [][]byte, random io.Reader) (dcos.GossipRing, error) {
	ring := dcos.GossipRing{Serial: serial, Step: step}
	if err := checkGossip(keys); err != nil {
		return ring, err
	}
	plain, err := cbor.Marshal(keys)
	if err != nil {
		return ring, fmt.Errorf("encode gossip keys: %w", err)
	}
	for _, k := range keys {
		ring.Keys = append(ring.Keys, dcos.KeyFingerprint(k))
	}
	ring.Sealed, err = s.Seal(gossipPurpose, plain, random)
	return ring, err
}

// OpenGossip are the keys of a row.
func (s *Secrets) OpenGossip(ring *dcos.GossipRing) ([][]byte, error) {
	plain, err := s.Open(gossipPurpose, ring.Sealed)
	if err != nil {
		return nil, err
	}
	var keys [][]byte
	if err := joinDecoder.Unmarshal(plain, &keys); err != nil {
		return nil, fmt.Errorf("%w: decode gossip keys", dcos.ErrInvalid)
	}
	return keys, checkGossip(keys)
}
