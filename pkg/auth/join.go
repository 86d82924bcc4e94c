package auth

import (
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// maxJoinFrame bounds each of the two messages of a join.
const maxJoinFrame = 64 << 10

// joinVersion is the version of the exchange; a server answers requests of
// its own and lower ones.
const joinVersion = 1

// JoinRequest asks for a certificate: with a token for the first one, without
// over a connection that shows the old one.
type JoinRequest struct {
	Version uint      `cbor:"1,keyasint"`
	Token   string    `cbor:"2,keyasint,omitempty"` // its id
	Secret  []byte    `cbor:"3,keyasint,omitempty"`
	Role    dcos.Role `cbor:"4,keyasint"`
	ID      string    `cbor:"5,keyasint"` // of the machine in that role, as in dcos.Identity
	// Cluster is set by a machine that holds data of a cluster already.
	Cluster string   `cbor:"6,keyasint,omitempty"`
	CSR     []byte   `cbor:"7,keyasint"`
	Hosts   []string `cbor:"8,keyasint,omitempty"` // names and addresses, for a master's certificate
	Peer    string   `cbor:"9,keyasint,omitempty"` // a master's mTLS port, host:port
	API     string   `cbor:"10,keyasint,omitempty"`
	Build   string   `cbor:"11,keyasint,omitempty"` // version of its binary
	Level   uint64   `cbor:"12,keyasint,omitempty"` // newest feature level it supports
	// Keys asks for the gossip keys alone, over a connection that shows the
	// certificate; CSR is empty then.
	Keys bool `cbor:"13,keyasint,omitempty"`
}

// String leaves the secret out.
func (r JoinRequest) String() string {
	return fmt.Sprintf("join of %s %s with token %q", r.Role, r.ID, r.Token)
}

// GoString is String.
func (r JoinRequest) GoString() string { return r.String() }

// JoinMaster is where a master is found.
type JoinMaster struct {
	ID   dcos.MasterID `cbor:"1,keyasint"`
	Peer string        `cbor:"2,keyasint"` // host:port of the mTLS port
	API  string        `cbor:"3,keyasint"` // host:port of the API
}

// JoinAnswer is the certificate with all that a machine needs to take part, or
// a refusal.
type JoinAnswer struct {
	Refusal     string       `cbor:"1,keyasint,omitempty"` // a kind of error; "" is none
	Message     string       `cbor:"2,keyasint,omitempty"`
	Certificate []byte       `cbor:"3,keyasint,omitempty"` // DER
	CA          []byte       `cbor:"4,keyasint,omitempty"` // DER
	Cluster     string       `cbor:"5,keyasint,omitempty"`
	Gossip      [][]byte     `cbor:"6,keyasint,omitempty"`
	Masters     []JoinMaster `cbor:"7,keyasint,omitempty"`
	Secrets     []byte       `cbor:"8,keyasint,omitempty"` // PEM; for masters only
	Ring        uint64       `cbor:"9,keyasint,omitempty"` // number of the change that Gossip came with
}

// String leaves the keys out.
func (a JoinAnswer) String() string {
	if a.Refusal != "" {
		return "join refused: " + a.Message
	}
	return "join accepted into cluster " + a.Cluster
}

// GoString is String.
func (a JoinAnswer) GoString() string { return a.String() }

var joinDecoder = func() cbor.DecMode {
	m, err := cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden,
		MaxNestedLevels: 8, MaxArrayElements: 64, MaxMapPairs: 64,
	}.DecMode()
	if err != nil {
		panic("auth: options of the join decoder: " + err.Error())
	}
	return m
}()

// writeJoin sends one message with its length before it.
func writeJoin(w io.Writer, msg any) error {
	b, err := cbor.Marshal(msg)
	if err != nil {
		return fmt.Errorf("encode join message: %w", err)
	}
	if len(b) > maxJoinFrame {
		return fmt.Errorf("%w: join message of %d bytes, at most %d", dcos.ErrExhausted, len(b), maxJoinFrame)
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))
	return err
}

// readJoin receives one message. It allocates no more than was announced and
// allowed.
func readJoin(r io.Reader, msg any) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return fmt.Errorf("read join message: %w", err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxJoinFrame {
		return fmt.Errorf("%w: join message of %d bytes, at most %d", dcos.ErrInvalid, n, maxJoinFrame)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return fmt.Errorf("read join message: %w", err)
	}
	if err := joinDecoder.Unmarshal(b, msg); err != nil {
		return fmt.Errorf("%w: join message: %w", dcos.ErrInvalid, err)
	}
	return nil
}

// Roster is what deciding a join needs of the state; state.View is one.
type Roster interface {
	Token(id string) (*dcos.JoinToken, bool)
	Node(id dcos.NodeID) (*dcos.Node, bool)
	Masters() iter.Seq[*dcos.Master]
}

// errWrongToken is told apart because it counts against the host.
var errWrongToken = fmt.Errorf("%w: the join token is wrong or was revoked; get a valid one from an administrator of the cluster", dcos.ErrDenied)

// AdmitJoin decides whether a machine may have the certificate that it asks
// for, and under which identity. peer is the identity that it has proven
// already; zero for a machine that joins.
func AdmitJoin(roster Roster, cluster string, req JoinRequest, peer dcos.Identity) (dcos.Identity, error) {
	id := dcos.Identity{Cluster: cluster, Role: req.Role, ID: req.ID}
	if req.Version == 0 || req.Version > joinVersion {
		return id, fmt.Errorf("%w: join of version %d; this master speaks versions up to %d: install the cluster's version of dcos on the machine", dcos.ErrInvalid, req.Version, joinVersion)
	}
	if req.Keys && (req.Token != "" || peer == (dcos.Identity{})) {
		return id, fmt.Errorf("%w: gossip keys are given to members only, which show their certificate; join the machine with a token", dcos.ErrDenied)
	}
	if req.Token == "" && peer != (dcos.Identity{}) {
		return id, admitRenewal(roster, id, peer)
	}
	row, ok := roster.Token(req.Token)
	if !ok {
		row = nil
	}
	if !matches(row, req.Secret) {
		return id, errWrongToken
	}
	if err := id.Check(); err != nil {
		return id, err
	}
	if row.Role != req.Role {
		return id, fmt.Errorf("%w: join token %s is for the role %s, the machine wants to be %s; use the token of that role", dcos.ErrDenied, row.ID, row.Role, req.Role)
	}
	if req.Cluster != "" && req.Cluster != cluster {
		return id, fmt.Errorf("%w: the machine holds data of cluster %.64s, this is cluster %s; run `dcos uninstall` on it first, or give it another data directory", dcos.ErrConflict, req.Cluster, cluster)
	}
	if settled(roster, id) {
		return id, fmt.Errorf("%w: %s %s is a member already; remove it from the cluster first, or delete the new machine's data directory so that it gets an id of its own", dcos.ErrConflict, id.Role, id.ID)
	}
	return id, nil
}

func admitRenewal(roster Roster, id, peer dcos.Identity) error {
	if id != peer {
		return fmt.Errorf("%w: %s asks for a certificate of %s", dcos.ErrDenied, peer, id)
	}
	if !known(roster, id) {
		return fmt.Errorf("%w: %s %s is no member of the cluster any more; join it again with a token", dcos.ErrDenied, id.Role, id.ID)
	}
	return nil
}

func known(roster Roster, id dcos.Identity) bool {
	if n, ok := id.Node(); ok {
		_, have := roster.Node(n)
		return have
	}
	m, ok := id.Master()
	if !ok {
		return false
	}
	for row := range roster.Masters() {
		if row.ID == m {
			return true
		}
	}
	return false
}

// settled says that a machine has joined for good. A master that does not vote
// yet may never have had its answer: it may ask again until it does.
func settled(roster Roster, id dcos.Identity) bool {
	m, ok := id.Master()
	if !ok {
		return known(roster, id)
	}
	for row := range roster.Masters() {
		if row.ID == m {
			return row.Voter
		}
	}
	return false
}

// AnswerJoin makes the answer for an admitted machine.
func AnswerJoin(s *Secrets, roster Roster, req JoinRequest, id dcos.Identity, now time.Time, random io.Reader) (JoinAnswer, error) {
	if req.Keys {
		return JoinAnswer{Cluster: s.CA.Cluster(), Gossip: s.Gossip, Ring: s.Ring}, nil
	}
	cert, err := s.CA.Sign(req.CSR, id, req.Hosts, now, random)
	if err != nil {
		return JoinAnswer{}, err
	}
	a := JoinAnswer{Certificate: cert.Raw, CA: s.CA.cert.Raw, Cluster: s.CA.Cluster(), Gossip: s.Gossip, Ring: s.Ring}
	for m := range roster.Masters() {
		a.Masters = append(a.Masters, JoinMaster{ID: m.ID, Peer: m.Peer, API: m.API})
	}
	if id.Role == dcos.RoleMaster {
		if a.Secrets, err = EncodeSecrets(s); err != nil {
			return JoinAnswer{}, err
		}
	}
	return a, nil
}

// refusals are the kinds of error that a refusal carries to the other end.
var refusals = []struct {
	word string
	kind error
}{
	{"invalid", dcos.ErrInvalid},
	{"conflict", dcos.ErrConflict},
	{"denied", dcos.ErrDenied},
	{"exhausted", dcos.ErrExhausted},
	{"unavailable", dcos.ErrUnavailable},
}

// refuseJoin is the answer for an error. What is of no known kind is an
// internal fault, whose text stays here.
func refuseJoin(err error) JoinAnswer {
	for _, r := range refusals {
		if errors.Is(err, r.kind) {
			return JoinAnswer{Refusal: r.word, Message: err.Error()}
		}
	}
	return JoinAnswer{Refusal: "unavailable", Message: dcos.ErrUnavailable.Error() + ": the master could not decide; its log says why; try again"}
}

// refused is the error that a refusal stands for; nil when it is none.
func (a JoinAnswer) refused() error {
	if a.Refusal == "" {
		return nil
	}
	kind := dcos.ErrUnavailable
	for _, r := range refusals {
		if r.word == a.Refusal {
			kind = r.kind
		}
	}
	return fmt.Errorf("%w: the master answers: %.1000s", kind, a.Message)
}

// certs reads the two certificates of an answer.
func (a JoinAnswer) certs() (leaf, ca *x509.Certificate, err error) {
	if leaf, err = x509.ParseCertificate(a.Certificate); err != nil {
		return nil, nil, fmt.Errorf("%w: certificate in the master's answer: %w", dcos.ErrInvalid, err)
	}
	if ca, err = x509.ParseCertificate(a.CA); err != nil {
		return nil, nil, fmt.Errorf("%w: CA in the master's answer: %w", dcos.ErrInvalid, err)
	}
	return leaf, ca, nil
}
