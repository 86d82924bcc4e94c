package auth

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/link"
)

// joins serves a small cluster's join port until the test ends.
type joins struct {
	rows    rows
	secrets *Secrets
	addr    string
	server  *JoinServer
}

func serveJoins(t *testing.T, cfg JoinConfig) *joins {
	t.Helper()
	j := &joins{rows: newRows(), secrets: freshSecrets(t)}
	self, err := j.secrets.CA.Issue(dcos.MasterIdentity("c1", 1), nil, time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	l, err := link.Listen("127.0.0.1:0", link.Config{Credentials: func() *link.Credentials { return self }, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	j.addr = l.Addr().String()
	cfg.Secrets = func() *Secrets { return j.secrets }
	if cfg.Roster == nil {
		cfg.Roster = func(context.Context) (Roster, error) { return j.rows, nil }
	}
	j.server = NewJoinServer(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- l.Run(ctx) }()
	go func() { done <- j.server.Run(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Errorf("Run = %v", err)
			}
		}
	})
	return j
}

func TestAgentJoinsWithAToken(t *testing.T) {
	t.Parallel()
	j := serveJoins(t, JoinConfig{})
	tok := j.rows.addToken(t, dcos.RoleAgent, j.secrets)
	got, err := Join(t.Context(), j.addr, tok, Joining{Role: dcos.RoleAgent, ID: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	if got.Credentials.Self != dcos.AgentIdentity("c1", "n1") || got.Secrets != nil {
		t.Errorf("joined as %v, secrets %v; want agent n1 without secrets", got.Credentials.Self, got.Secrets)
	}
	if !slices.EqualFunc(got.Gossip, j.secrets.Gossip, bytes.Equal) {
		t.Error("gossip keys differ from the cluster's")
	}
	if len(got.Masters) != 1 || got.Masters[0].Peer != "192.0.2.1:7444" {
		t.Errorf("masters = %v", got.Masters)
	}
}

func TestMasterGetsTheClustersSecrets(t *testing.T) {
	t.Parallel()
	var admitted []JoinRequest
	j := serveJoins(t, JoinConfig{Admitted: func(_ context.Context, id dcos.Identity, req JoinRequest) error {
		admitted = append(admitted, req)
		return nil
	}})
	tok := j.rows.addToken(t, dcos.RoleMaster, j.secrets)
	id := dcos.MasterIdentity("c1", 2)
	got, err := Join(t.Context(), j.addr, tok, Joining{Role: id.Role, ID: id.ID, Hosts: []string{"m2.example"}, Peer: "m2:7444", API: "m2:8443", Level: 1})
	if err != nil {
		t.Fatal(err)
	}
	have, _ := EncodeSecrets(got.Secrets)
	want, _ := EncodeSecrets(j.secrets)
	if !bytes.Equal(have, want) {
		t.Error("the new master's secrets are not the cluster's")
	}
	if got := got.Credentials.Certificate.Leaf.DNSNames; !slices.Equal(got, []string{"m2.example"}) {
		t.Errorf("certificate names %v", got)
	}
	if len(admitted) != 1 || admitted[0].Peer != "m2:7444" || admitted[0].API != "m2:8443" || admitted[0].Level != 1 {
		t.Errorf("admitted = %+v, want the one join with its addresses", admitted)
	}
}

// Two masters that joined at once: the second was registered, but could not be
// added to the group yet, and was then refused for good.
func TestMasterWhoseAnswerWasLostMayAskAgainUntilItVotes(t *testing.T) {
	t.Parallel()
	j := serveJoins(t, JoinConfig{})
	j.rows.masters[2] = &dcos.Master{ID: 2, Peer: "m2:7444"}
	tok := j.rows.addToken(t, dcos.RoleMaster, j.secrets)
	ask := Joining{Role: dcos.RoleMaster, ID: dcos.MasterIdentity("c1", 2).ID, Peer: "m2:7444"}
	if _, err := Join(t.Context(), j.addr, tok, ask); err != nil {
		t.Errorf("before it votes: %v", err)
	}
	j.rows.masters[2] = &dcos.Master{ID: 2, Peer: "m2:7444", Voter: true}
	if _, err := Join(t.Context(), j.addr, tok, ask); !errors.Is(err, dcos.ErrConflict) {
		t.Errorf("once it votes: %v, want a conflict", err)
	}
}

func TestJoinIsRefusedWithTheNextStep(t *testing.T) {
	t.Parallel()
	var admitted int
	j := serveJoins(t, JoinConfig{Admitted: func(context.Context, dcos.Identity, JoinRequest) error { admitted++; return nil }})
	agent, master := j.rows.addToken(t, dcos.RoleAgent, j.secrets), j.rows.addToken(t, dcos.RoleMaster, j.secrets)
	wrong, unknown, elsewhere := agent, agent, agent
	wrong.secret = bytes.Repeat([]byte{1}, tokenSecret)
	unknown.id = "agent-zzzzzz"
	elsewhere.ca[0] ^= 1
	for _, tt := range []struct {
		name  string
		token Token
		j     Joining
		kind  error
		text  string
	}{
		{"wrong secret", wrong, Joining{Role: "agent", ID: "n1"}, dcos.ErrDenied, "get a valid one"},
		{"unknown or revoked token", unknown, Joining{Role: "agent", ID: "n1"}, dcos.ErrDenied, "get a valid one"},
		{"token of another cluster", elsewhere, Joining{Role: "agent", ID: "n1"}, link.ErrCA, "get a token from the cluster"},
		{"agent's token for a master", agent, Joining{Role: "master", ID: "0000000000000002"}, dcos.ErrDenied, "use the token of that role"},
		{"master's token for an agent", master, Joining{Role: "agent", ID: "n1"}, dcos.ErrDenied, "use the token of that role"},
		{"data of another cluster", agent, Joining{Role: "agent", ID: "n1", Cluster: "c9"}, dcos.ErrConflict, "dcos uninstall"},
		{"id that is a member's", agent, Joining{Role: "agent", ID: "old"}, dcos.ErrConflict, "remove it"},
		{"master's number that is a member's", master, Joining{Role: "master", ID: "0000000000000001"}, dcos.ErrConflict, "remove it"},
		{"bad id", agent, Joining{Role: "agent", ID: "../x"}, dcos.ErrInvalid, "expected"},
		{"bad role", agent, Joining{Role: "admin", ID: "x"}, dcos.ErrInvalid, "expected"},
		{"bad host of a master", master, Joining{Role: "master", ID: "0000000000000002", Hosts: []string{"a b"}}, dcos.ErrInvalid, "neither"},
	} {
		got, err := Join(t.Context(), j.addr, tt.token, tt.j)
		if !errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: %v, %v; want %v with %q", tt.name, got, err, tt.kind, tt.text)
		}
		if err != nil && strings.Contains(err.Error(), tokenText.EncodeToString(tt.token.secret)) {
			t.Errorf("%s: the error shows the secret: %v", tt.name, err)
		}
	}
	if admitted != 0 {
		t.Errorf("%d refused machines were registered", admitted)
	}
}

func TestRefusalByTheClusterReachesTheMachine(t *testing.T) {
	t.Parallel()
	j := serveJoins(t, JoinConfig{Admitted: func(context.Context, dcos.Identity, JoinRequest) error {
		return errors.New("secret internals")
	}})
	tok := j.rows.addToken(t, dcos.RoleAgent, j.secrets)
	_, err := Join(t.Context(), j.addr, tok, Joining{Role: dcos.RoleAgent, ID: "n1"})
	if !errors.Is(err, dcos.ErrUnavailable) || strings.Contains(err.Error(), "internals") {
		t.Errorf("err = %v, want ErrUnavailable without the inner text", err)
	}
}

func TestNoQuorumMeansTryAgain(t *testing.T) {
	t.Parallel()
	j := serveJoins(t, JoinConfig{Roster: func(context.Context) (Roster, error) { return nil, dcos.NotLeader{} }})
	tok := j.rows.addToken(t, dcos.RoleAgent, j.secrets)
	if _, err := Join(t.Context(), j.addr, tok, Joining{Role: dcos.RoleAgent, ID: "n1"}); !errors.Is(err, dcos.ErrUnavailable) {
		t.Errorf("err = %v, want ErrUnavailable", err)
	}
}

func TestGuessingTokensIsStopped(t *testing.T) {
	t.Parallel()
	j := serveJoins(t, JoinConfig{})
	good := j.rows.addToken(t, dcos.RoleAgent, j.secrets)
	bad := good
	bad.secret = make([]byte, tokenSecret)
	for range 20 {
		if _, err := Join(t.Context(), j.addr, bad, Joining{Role: dcos.RoleAgent, ID: "n1"}); !errors.Is(err, dcos.ErrDenied) {
			t.Fatal(err)
		}
	}
	if _, err := Join(t.Context(), j.addr, good, Joining{Role: dcos.RoleAgent, ID: "n1"}); !errors.Is(err, dcos.ErrExhausted) {
		t.Errorf("after 20 wrong tokens: %v, want ErrExhausted", err)
	}
}

func TestIdleStrangersDoNotKeepOthersFromJoining(t *testing.T) {
	t.Parallel()
	j := serveJoins(t, JoinConfig{})
	hash := caHash(j.secrets)
	// One host opens more exchanges than it may and says nothing in them.
	ended := make(chan error, joinsPerHost+3)
	for range joinsPerHost + 3 {
		c, err := link.Dial(t.Context(), j.addr, link.ProtoJoin, link.Config{Timeout: time.Minute}, link.Expect{CAHash: &hash})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		go func() {
			_, err := c.Read(make([]byte, 1))
			ended <- err
		}()
	}
	for range 3 { // those above the limit are closed; the others stay
		if err := <-ended; err == nil {
			t.Error("a silent stranger got an answer")
		}
	}
	// Served apart from those, as a connection from another host is.
	tok := j.rows.addToken(t, dcos.RoleAgent, j.secrets)
	key, _ := NewKey(rand.Reader)
	csr, _ := NewCSR(key)
	a, _, err := j.server.answer(t.Context(), dcos.Identity{}, "192.0.2.7", JoinRequest{Version: 1, Token: tok.id, Secret: tok.secret, Role: dcos.RoleAgent, ID: "n1", CSR: csr})
	if err != nil || a.Cluster != "c1" {
		t.Errorf("another host: %v, %v", a, err)
	}
}

func TestMembersRenewTheirCertificateAndOthersDoNot(t *testing.T) {
	t.Parallel()
	j := serveJoins(t, JoinConfig{Admitted: func(context.Context, dcos.Identity, JoinRequest) error { return errors.New("asked for a renewal") }})
	issue := func(id dcos.NodeID) *link.Credentials {
		c, err := j.secrets.CA.Issue(dcos.AgentIdentity("c1", id), nil, time.Now().Add(-25*24*time.Hour), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	old := issue("old")
	got, err := Renew(t.Context(), j.addr, old, Joining{})
	if err != nil {
		t.Fatal(err)
	}
	if c := got.Credentials; c.Self != old.Self || !c.Certificate.Leaf.NotAfter.After(old.Certificate.Leaf.NotAfter) {
		t.Errorf("renewed %v to %s, before %v to %s", c.Self, c.Certificate.Leaf.NotAfter, old.Self, old.Certificate.Leaf.NotAfter)
	}
	if _, err := Renew(t.Context(), j.addr, issue("removed"), Joining{}); !errors.Is(err, dcos.ErrDenied) || !strings.Contains(err.Error(), "join it again") {
		t.Errorf("renewal of a machine that was removed: %v", err)
	}
	// A certificate of one machine is no right to that of another.
	if _, err := AdmitJoin(j.rows, "c1", JoinRequest{Version: 1, Role: dcos.RoleMaster, ID: "0000000000000001"}, old.Self); !errors.Is(err, dcos.ErrDenied) {
		t.Errorf("agent renews a master's certificate: %v, want ErrDenied", err)
	}
}

func TestTheNextMasterIsAskedWhenOneIsNotThere(t *testing.T) {
	t.Parallel()
	j := serveJoins(t, JoinConfig{})
	tok := j.rows.addToken(t, dcos.RoleAgent, j.secrets)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := l.Addr().String()
	l.Close()
	var asked []string
	ask := func(id string) func(string) (*Joined, error) {
		return func(addr string) (*Joined, error) {
			asked = append(asked, addr)
			return Join(t.Context(), addr, tok, Joining{Role: dcos.RoleAgent, ID: id})
		}
	}
	got, err := AnyOf(t.Context(), []string{gone, j.addr, gone}, ask("n1"))
	if err != nil || got.Credentials.Self.ID != "n1" || len(asked) != 2 {
		t.Errorf("AnyOf = %v, %v after asking %v", got, err, asked)
	}
	asked = nil
	if _, err := AnyOf(t.Context(), []string{j.addr, gone}, ask("old")); !errors.Is(err, dcos.ErrConflict) || len(asked) != 1 {
		t.Errorf("a refusal: %v after asking %v, want ErrConflict after the first", err, asked)
	}
	for _, addrs := range [][]string{nil, {gone}} {
		if _, err := AnyOf(t.Context(), addrs, ask("n1")); !errors.Is(err, dcos.ErrUnavailable) {
			t.Errorf("AnyOf %v = %v, want ErrUnavailable", addrs, err)
		}
	}
}

func TestRequestOfANewerVersionIsToldWhatToInstall(t *testing.T) {
	t.Parallel()
	for _, v := range []uint{0, joinVersion + 1} {
		if _, err := AdmitJoin(newRows(), "c1", JoinRequest{Version: v}, dcos.Identity{}); !errors.Is(err, dcos.ErrInvalid) {
			t.Errorf("version %d: %v, want ErrInvalid", v, err)
		}
	}
}

func TestTokenIsReadBackAndDamageIsSeen(t *testing.T) {
	t.Parallel()
	s := newSecrets(t, "c1", epoch, &counter{})
	tok, row, err := NewToken(dcos.RoleAgent, caHash(s), &counter{n: 4})
	if err != nil {
		t.Fatal(err)
	}
	text := tok.Reveal()
	got, err := ParseToken(" " + text + "\n")
	if err != nil || got.Reveal() != text || got.ID() != row.ID || !strings.HasPrefix(row.ID, "agent-") {
		t.Fatalf("ParseToken = %v, %v", got, err)
	}
	if !matches(&row, got.secret) || matches(nil, got.secret) || matches(&dcos.JoinToken{ID: row.ID}, got.secret) || matches(&row, got.secret[:19]) || matches(&row, nil) {
		t.Error("a token matches its own row and nothing else")
	}
	parts := strings.Split(text, ".")
	for _, bad := range []string{
		"", ".", "..", parts[0] + "." + parts[1], text + ".x", parts[0] + ".." + parts[2], "." + parts[1] + "." + parts[2],
		parts[0] + "." + parts[1] + "." + parts[2][:40], text + "=", "A" + text, strings.Repeat("a", 300), parts[0] + "." + parts[2] + "." + parts[1],
	} {
		if _, err := ParseToken(bad); !errors.Is(err, dcos.ErrInvalid) || !strings.Contains(err.Error(), "copy the whole token") {
			t.Errorf("ParseToken(%q) = %v, want ErrInvalid with the next step", bad, err)
		} else if len(parts[1]) > 0 && strings.Contains(err.Error(), parts[1]) {
			t.Errorf("the error shows the secret: %v", err)
		}
	}
	if _, _, err := NewToken("admin", caHash(s), &counter{}); !errors.Is(err, dcos.ErrInvalid) {
		t.Errorf("token for the role admin: %v", err)
	}
}

func TestJoinMessagesHaveALimit(t *testing.T) {
	t.Parallel()
	var req JoinRequest
	for name, b := range map[string][]byte{
		"announced too long": {0xff, 0xff, 0xff, 0xff},
		"not CBOR":           {0, 0, 0, 1, 0xff},
		"nested deeply":      append([]byte{0, 0, 0, 100}, bytes.Repeat([]byte{0x81}, 100)...),
		"two of one key":     {0, 0, 0, 5, 0xa2, 1, 1, 1, 2},
		"trailing bytes":     {0, 0, 0, 2, 0xa0, 0xa0},
	} {
		if err := readJoin(bytes.NewReader(b), &req); !errors.Is(err, dcos.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
	if err := readJoin(bytes.NewReader([]byte{0, 0, 0, 9, 1}), &req); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut message: %v", err)
	}
	if err := writeJoin(io.Discard, JoinRequest{CSR: make([]byte, maxJoinFrame)}); !errors.Is(err, dcos.ErrExhausted) {
		t.Errorf("message over the limit: %v", err)
	}
}

func TestAnswerOfALyingMasterIsNotBelieved(t *testing.T) {
	t.Parallel()
	s, other := newSecrets(t, "c1", epoch, &counter{}), newSecrets(t, "c1", epoch, &counter{n: 300})
	master := dcos.MasterIdentity("c1", 1)
	key, _ := NewKey(&counter{n: 8})
	otherKey, _ := NewKey(&counter{n: 900})
	req := JoinRequest{Version: 1, Role: dcos.RoleMaster, ID: "0000000000000002"}
	good := func(k *Secrets, id string) JoinAnswer {
		r := req
		r.CSR, _ = NewCSR(key)
		a, err := AnswerJoin(k, newRows(), r, dcos.Identity{Cluster: "c1", Role: req.Role, ID: id}, epoch, &counter{n: 2})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	if _, err := good(s, req.ID).take(req, key, master, epoch); err != nil {
		t.Fatalf("honest answer: %v", err)
	}
	for name, a := range map[string]JoinAnswer{
		"empty":            {},
		"another's name":   good(s, "0000000000000003"),
		"another CA":       func() JoinAnswer { a := good(s, req.ID); a.CA = other.CA.cert.Raw; return a }(),
		"another's keys":   func() JoinAnswer { a := good(s, req.ID); a.Secrets = good(other, req.ID).Secrets; return a }(),
		"no secrets":       func() JoinAnswer { a := good(s, req.ID); a.Secrets = nil; return a }(),
		"no gossip key":    func() JoinAnswer { a := good(s, req.ID); a.Gossip = nil; return a }(),
		"short gossip key": func() JoinAnswer { a := good(s, req.ID); a.Gossip = [][]byte{{1}}; return a }(),
		"another cluster":  func() JoinAnswer { a := good(s, req.ID); a.Cluster = "c2"; return a }(),
	} {
		if _, err := a.take(req, key, master, epoch); !errors.Is(err, dcos.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
	if _, err := good(s, req.ID).take(req, otherKey, master, epoch); !errors.Is(err, dcos.ErrInvalid) {
		t.Errorf("certificate for another key: %v", err)
	}
	if _, err := good(s, req.ID).take(req, key, master, epoch.Add(60*24*time.Hour)); !errors.Is(err, dcos.ErrInvalid) || !strings.Contains(err.Error(), "clocks") {
		t.Errorf("expired certificate: %v", err)
	}
}
