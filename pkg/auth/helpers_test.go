package auth

import (
	"crypto/rand"
	"encoding/binary"
	"io"
	"iter"
	"maps"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/link"
	"github.com/dcos-go/dcos/pkg/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// epoch is the time of all tests that take time as an argument.
var epoch = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

// counter is a source of bytes that are all different and always the same.
type counter struct{ n uint64 }

func (c *counter) Read(b []byte) (int, error) {
	for i := range b {
		c.n++
		b[i] = binary.BigEndian.AppendUint64(nil, c.n*0x9e3779b97f4a7c15)[3]
	}
	return len(b), nil
}

func newSecrets(t testing.TB, cluster string, now time.Time, random io.Reader) *Secrets {
	t.Helper()
	s, err := NewSecrets(cluster, now, random)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func freshSecrets(t testing.TB) *Secrets { return newSecrets(t, "c1", time.Now(), rand.Reader) }

// The state is a roster and knows the users.
var _ interface {
	Roster
	Users
} = state.View{}

// rows is a small state.
type rows struct {
	tokens  map[string]*dcos.JoinToken
	nodes   map[dcos.NodeID]*dcos.Node
	masters map[dcos.MasterID]*dcos.Master
	users   map[string]*dcos.User
}

func (r rows) Token(id string) (*dcos.JoinToken, bool) { v, ok := r.tokens[id]; return v, ok }
func (r rows) Node(id dcos.NodeID) (*dcos.Node, bool)  { v, ok := r.nodes[id]; return v, ok }
func (r rows) User(id string) (*dcos.User, bool)       { v, ok := r.users[id]; return v, ok }
func (r rows) Masters() iter.Seq[*dcos.Master] {
	return slices.Values(slices.Collect(maps.Values(r.masters)))
}

func (r rows) addToken(t testing.TB, role dcos.Role, s *Secrets) Token {
	t.Helper()
	tok, row, err := NewToken(role, caHash(s), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r.tokens[row.ID] = &row
	return tok
}

func newRows() rows {
	return rows{
		tokens: map[string]*dcos.JoinToken{},
		nodes:  map[dcos.NodeID]*dcos.Node{"old": {ID: "old"}},
		masters: map[dcos.MasterID]*dcos.Master{
			1: {ID: 1, Peer: "192.0.2.1:7444", API: "192.0.2.1:8443", Voter: true},
		},
		users: map[string]*dcos.User{},
	}
}

func caHash(s *Secrets) [32]byte { return link.CAHash(s.CA.Cert()) }
