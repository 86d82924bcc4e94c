package dcos

import (
	"crypto/sha256"
	"encoding/hex"
)

// GossipStep says how far a change of the gossip key is.
type GossipStep uint8

// The steps of a change of the gossip key, in their order.
const (
	// GossipSettled is the rest: one key, which encrypts.
	GossipSettled GossipStep = iota
	// GossipSpread: the new key is given to every member; the old one encrypts.
	GossipSpread
	// GossipUse: the new key encrypts; the old one still decrypts.
	GossipUse
)

var gossipSteps = [...]string{"settled", "spread", "use"}

// String is the step in words.
func (s GossipStep) String() string {
	if int(s) < len(gossipSteps) {
		return gossipSteps[s]
	}
	return "unknown"
}

// GossipRing is the gossip keys as the state holds them: sealed, so that
// neither log nor snapshot nor view shows one.
type GossipRing struct {
	Serial uint64     `cbor:"1,keyasint"` // one higher with every change
	Step   GossipStep `cbor:"2,keyasint,omitempty"`
	Sealed []byte     `cbor:"3,keyasint"` // the first key encrypts
	Keys   []string   `cbor:"4,keyasint"` // fingerprints, in the same order
	At     Time       `cbor:"5,keyasint"` // since when; set by state
}

// KeyFingerprint names a random key of 128 bits or more without telling it.
func KeyFingerprint(key []byte) string {
	sum := sha256.Sum256(append([]byte("dcos key "), key...))
	return hex.EncodeToString(sum[:4])
}
