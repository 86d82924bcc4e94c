package link_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dcos-go/dcos/pkg/auth"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/link"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limit bounds every wait of these tests; it is far above what a loaded
// machine needs and no test asserts on it.
const limit = time.Minute

type cluster struct {
	t  *testing.T
	ca *auth.CA
}

func newCluster(t *testing.T, id string) *cluster {
	t.Helper()
	ca, err := auth.NewCA(id, time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &cluster{t: t, ca: ca}
}

func (c *cluster) issue(id dcos.Identity, at time.Time) *link.Credentials {
	c.t.Helper()
	cr, err := c.ca.Issue(id, nil, at, rand.Reader)
	if err != nil {
		c.t.Fatal(err)
	}
	return cr
}

func (c *cluster) master(n uint64) link.Config {
	return config(c.issue(dcos.MasterIdentity(c.ca.Cluster(), dcos.MasterID(n)), time.Now()))
}

func (c *cluster) agent(id string) link.Config {
	return config(c.issue(dcos.AgentIdentity(c.ca.Cluster(), dcos.NodeID(id)), time.Now()))
}

func config(cr *link.Credentials) link.Config {
	return link.Config{Credentials: func() *link.Credentials { return cr }, Timeout: limit}
}

// serve runs a listener until the test ends.
func serve(t *testing.T, cfg link.Config) *link.Listener {
	t.Helper()
	l, err := link.Listen("127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v, want nil after its context ended", err)
		}
	})
	return l
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

func TestPeersProveWhoTheyAre(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "c1")
	l := serve(t, c.master(1))
	for _, tt := range []struct {
		proto string
		from  link.Config
		want  string
	}{
		{link.ProtoRaft, c.master(2), "dcos://c1/master/0000000000000002"},
		{link.ProtoAgent, c.agent("n7"), "dcos://c1/agent/n7"},
		{link.ProtoJoin, c.agent("n7"), "dcos://c1/agent/n7"},
	} {
		out, err := link.Dial(within(t), l.Addr().String(), tt.proto, tt.from, link.Expect{Role: dcos.RoleMaster, ID: "0000000000000001"})
		if err != nil {
			t.Fatalf("%s: %v", tt.proto, err)
		}
		in, err := l.Accept(within(t), tt.proto)
		if err != nil {
			t.Fatal(err)
		}
		if in.Peer.String() != tt.want || in.Proto != tt.proto || out.Proto != tt.proto {
			t.Errorf("%s: accepted %s as %s, dialed as %s, want %s", tt.proto, in.Peer, in.Proto, out.Proto, tt.want)
		}
		if got := out.Peer.String(); got != "dcos://c1/master/0000000000000001" {
			t.Errorf("%s: dialed %s", tt.proto, got)
		}
		sent := make(chan error, 1)
		go func() {
			_, err := io.WriteString(in, "hello")
			in.Close()
			sent <- err
		}()
		got, err := io.ReadAll(out)
		if serr := <-sent; err != nil || serr != nil || string(got) != "hello" {
			t.Errorf("%s: read %q, %v; sent with %v", tt.proto, got, err, serr)
		}
		out.Close()
	}
}

func TestStrangersAreRefused(t *testing.T) {
	t.Parallel()
	c, other := newCluster(t, "c1"), newCluster(t, "c2")
	// The same cluster id under another CA: what an attacker can make.
	forged := newCluster(t, "c1")
	cfg := c.master(1)
	cfg.Admit = func(_ string, peer dcos.Identity) error {
		if peer.ID == "removed" {
			return fmt.Errorf("%w: removed", dcos.ErrDenied)
		}
		return nil
	}
	l := serve(t, cfg)
	old := config(c.issue(dcos.AgentIdentity("c1", "n1"), time.Now().Add(-60*24*time.Hour)))
	none := link.Config{Credentials: func() *link.Credentials { return nil }, Timeout: limit}
	hash := link.CAHash(c.ca.Cert())
	wrong := link.CAHash(other.ca.Cert())
	for _, tt := range []struct {
		name, proto string
		from        link.Config
		want        link.Expect
		text        string
		kind        error
	}{
		{"agent speaks raft", link.ProtoRaft, c.agent("n1"), link.Expect{}, "does not let this machine in", dcos.ErrDenied},
		{"master speaks an agent's session", link.ProtoAgent, c.master(2), link.Expect{}, "does not let this machine in", dcos.ErrDenied},
		{"removed machine", link.ProtoAgent, c.agent("removed"), link.Expect{}, "does not let this machine in", dcos.ErrDenied},
		{"no certificate", link.ProtoAgent, none, link.Expect{CAHash: &hash}, "", dcos.ErrDenied},
		{"no certificate and no CA", link.ProtoJoin, none, link.Expect{}, "no certificate yet", dcos.ErrUnavailable},
		{"other cluster", link.ProtoAgent, other.agent("n1"), link.Expect{}, "", dcos.ErrDenied},
		{"forged CA towards the server", link.ProtoAgent, forged.agent("n1"), link.Expect{CAHash: &hash}, "", dcos.ErrDenied},
		{"expired", link.ProtoAgent, old, link.Expect{}, "", dcos.ErrDenied},
		{"server is another master", link.ProtoAgent, c.agent("n1"), link.Expect{ID: "0000000000000002"}, "expected", link.ErrPeer},
		{"server is no agent", link.ProtoAgent, c.agent("n1"), link.Expect{Role: dcos.RoleAgent}, "expected", link.ErrPeer},
		{"server's CA is not the token's", link.ProtoJoin, none, link.Expect{CAHash: &wrong}, "do not end in the CA", link.ErrCA},
		{"unknown protocol", "h2", c.agent("n1"), link.Expect{}, "", dcos.ErrDenied},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn, err := link.Dial(within(t), l.Addr().String(), tt.proto, tt.from, tt.want)
			if err == nil {
				conn.Close()
				t.Fatal("dialed")
			}
			if !errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("err = %v, want %v with %q", err, tt.kind, tt.text)
			}
		})
	}
	if got := l.Stats(); got.Denied != 3 || got.Accepted != 0 {
		t.Errorf("stats = %+v, want 3 denied and none accepted", got)
	}
}

func TestExpiredServerIsNamedWithBothTimes(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "c1")
	l := serve(t, config(c.issue(dcos.MasterIdentity("c1", 1), time.Now().Add(-90*24*time.Hour))))
	_, err := link.Dial(within(t), l.Addr().String(), link.ProtoAgent, c.agent("n1"), link.Expect{})
	if !errors.Is(err, link.ErrPeer) || !strings.Contains(err.Error(), "check the clocks") {
		t.Errorf("err = %v, want ErrPeer that speaks of clocks", err)
	}
}

func TestJoinNeedsNoCertificate(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "c1")
	l := serve(t, c.master(1))
	hash := link.CAHash(c.ca.Cert())
	out, err := link.Dial(within(t), l.Addr().String(), link.ProtoJoin, link.Config{Timeout: limit}, link.Expect{Role: dcos.RoleMaster, CAHash: &hash})
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	in, err := l.Accept(within(t), link.ProtoJoin)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if in.Peer != (dcos.Identity{}) {
		t.Errorf("peer without certificate = %v, want none", in.Peer)
	}
}

func TestRenewedCertificateIsShownWithoutRestart(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "c1")
	var now atomic.Pointer[link.Credentials]
	now.Store(c.issue(dcos.MasterIdentity("c1", 1), time.Now()))
	l := serve(t, link.Config{Credentials: now.Load, Timeout: limit})
	serial := func() string {
		out, err := link.Dial(within(t), l.Addr().String(), link.ProtoAgent, c.agent("n1"), link.Expect{})
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		return out.Conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	before := serial()
	now.Store(c.issue(dcos.MasterIdentity("c1", 1), time.Now()))
	if after := serial(); after == before {
		t.Errorf("serial %s before and after renewal", before)
	}
}

func TestFullQueueIsSaidToThePeer(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "c1")
	cfg := c.master(1)
	cfg.Queue = 2
	l := serve(t, cfg)
	for i := range 3 {
		out, err := link.Dial(within(t), l.Addr().String(), link.ProtoAgent, c.agent("n1"), link.Expect{})
		if i < 2 {
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			continue
		}
		if !errors.Is(err, dcos.ErrUnavailable) || !strings.Contains(err.Error(), "busy") {
			t.Errorf("third connection: %v, want busy", err)
		}
	}
	// A full queue of one protocol does not touch another.
	out, err := link.Dial(within(t), l.Addr().String(), link.ProtoRaft, c.master(2), link.Expect{})
	if err != nil {
		t.Fatal(err)
	}
	out.Close()
}

func TestSilentStrangersLoseTheirSlot(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "c1")
	cfg := c.master(1)
	cfg.Timeout, cfg.Handshakes = 50*time.Millisecond, 1
	l := serve(t, cfg)
	for range 3 {
		s, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
	}
	// With one slot held by those, a good machine still gets in.
	from, ctx := c.agent("n1"), within(t)
	for {
		out, err := link.Dial(ctx, l.Addr().String(), link.ProtoAgent, from, link.Expect{})
		if err == nil {
			out.Close()
			break
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
	if got := l.Stats(); got.Failed < 3 {
		t.Errorf("stats = %+v, want at least 3 failed", got)
	}
}

func TestJunkIsNoHandshake(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "c1")
	l := serve(t, c.master(1))
	s, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.SetDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	// The write may fail already when the listener has seen enough.
	_, werr := s.Write(bytes.Repeat([]byte("GET / HTTP/1.0\r\n"), 100))
	if _, err := io.Copy(io.Discard, s); errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(werr, os.ErrDeadlineExceeded) {
		t.Errorf("the connection stayed open: %v, %v", werr, err)
	}
	// The next one is served.
	out, err := link.Dial(within(t), l.Addr().String(), link.ProtoAgent, c.agent("n1"), link.Expect{})
	if err != nil {
		t.Fatal(err)
	}
	out.Close()
}

func TestAcceptEndsWithItsContextAndWithRun(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "c1")
	l, err := link.Listen("127.0.0.1:0", c.master(1))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := l.Accept(ctx, link.ProtoRaft); !errors.Is(err, context.Canceled) {
		t.Errorf("Accept after cancel = %v", err)
	}
	if err := l.Run(ctx); err != nil {
		t.Errorf("Run = %v", err)
	}
	if _, err := l.Accept(context.Background(), link.ProtoRaft); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Run = %v, want net.ErrClosed", err)
	}
	if _, err := l.Accept(context.Background(), "h2"); !errors.Is(err, dcos.ErrInvalid) {
		t.Errorf("Accept of an unknown protocol = %v, want ErrInvalid", err)
	}
}

func TestOtherServersAdmitByRole(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "c1")
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := tls.NewListener(tcp, link.ServerTLS(c.agent("n1"), []string{"http/1.1"}, dcos.RoleMaster))
	defer srv.Close()
	served := make(chan error)
	go func() {
		for {
			s, err := srv.Accept()
			if err != nil {
				close(served)
				return
			}
			served <- s.(*tls.Conn).HandshakeContext(t.Context())
			s.Close()
		}
	}()
	for _, tt := range []struct {
		name string
		from link.Config
		ok   bool
	}{{"master", c.master(1), true}, {"agent", c.agent("n2"), false}} {
		tc, err := link.ClientTLS(tt.from, link.Expect{Role: dcos.RoleAgent, ID: "n1"})
		if err != nil {
			t.Fatal(err)
		}
		d := tls.Dialer{Config: tc}
		conn, err := d.DialContext(within(t), "tcp", tcp.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if err := <-served; (err == nil) != tt.ok {
			t.Errorf("%s: handshake on the server: %v, want accepted %v", tt.name, err, tt.ok)
		}
		conn.Close()
	}
	srv.Close()
	if _, open := <-served; open {
		t.Error("one more connection was served")
	}
}

func TestCredentialsPrintNoKey(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "c1")
	cr := c.issue(dcos.AgentIdentity("c1", "n1"), time.Now())
	for _, s := range []string{fmt.Sprintf("%v", cr), fmt.Sprintf("%+v", cr), fmt.Sprintf("%#v", cr), cr.LogValue().String()} {
		if s != "credentials of dcos://c1/agent/n1" {
			t.Errorf("printed as %q", s)
		}
	}
}

func TestProbeTellsALiveMachineFromSilence(t *testing.T) {
	t.Parallel()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := tcp.Addr().String()
	if alive, err := link.Probe(within(t), addr); !alive || err != nil {
		t.Errorf("accepted: alive %v, %v", alive, err)
	}
	tcp.Close()
	if alive, err := link.Probe(within(t), addr); !alive || err != nil {
		t.Errorf("refused: alive %v, %v", alive, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if alive, err := link.Probe(ctx, addr); alive || !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: alive %v, %v; want an error, not silence", alive, err)
	}
	if alive, err := link.Probe(within(t), "no-port"); alive || !errors.Is(err, dcos.ErrInvalid) {
		t.Errorf("bad address: alive %v, %v; want ErrInvalid, not silence", alive, err)
	}
}
