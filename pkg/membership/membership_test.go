package membership

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/serf/serf"
	"go.uber.org/goleak"

	"github.com/dcos-go/dcos/pkg/dcos"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limit bounds every wait; it is far above what a loaded machine needs.
const limit = 2 * time.Minute

func key(n byte) []byte { return bytes.Repeat([]byte{n}, keySize) }

// quick makes failures seen in fractions of a second instead of seconds.
func quick(c *serf.Config) {
	ml := c.MemberlistConfig
	ml.ProbeInterval, ml.ProbeTimeout = 200*time.Millisecond, 100*time.Millisecond
	ml.GossipInterval, ml.SuspicionMult = 20*time.Millisecond, 2
	c.ReconnectInterval = time.Second
	c.LeavePropagateDelay = 50 * time.Millisecond
}

func node(id string) Config {
	return Config{Cluster: "c1", Node: dcos.NodeID(id), Bind: "127.0.0.1:0", Keys: [][]byte{key(1)}, tune: quick}
}

// started is a running member; stop ends it in order, crash without a word.
type started struct {
	*Gossip
	stop func()
}

func start(t *testing.T, cfg Config) *started {
	t.Helper()
	g, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	s := &started{Gossip: g}
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, dcos.ErrUnavailable) {
			t.Errorf("Run = %v", err)
		}
	})
	t.Cleanup(s.stop)
	return s
}

// crash frees the port without telling anybody.
func (s *started) crash(t *testing.T) {
	t.Helper()
	if err := s.serf.Shutdown(); err != nil {
		t.Fatal(err)
	}
	s.stop()
}

// await reads changes until the members are as wanted.
func (s *started) await(t *testing.T, what string, ok func([]Member) bool) []Member {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	var last []Member
	for last = range s.Changes(ctx) {
		if ok(last) {
			return last
		}
	}
	t.Fatalf("waiting for %s: members are %+v", what, last)
	return nil
}

func states(want string) func([]Member) bool {
	return func(ms []Member) bool {
		var got []string
		for _, m := range ms {
			got = append(got, m.Name+" "+m.State.String())
		}
		return strings.Join(got, ", ") == want
	}
}

func TestMembersSeeEachOtherJoinLeaveAndCrash(t *testing.T) {
	t.Parallel()
	ca := node("a")
	ca.Master, ca.Version, ca.API, ca.Peer, ca.Region, ca.Zone = 0xab, "0.1.0", "a:8443", "a:7444", "r1", "z1"
	a := start(t, ca)
	b, c := start(t, node("b")), start(t, node("c"))
	for _, s := range []*started{b, c} {
		if err := s.Join([]string{a.Addr()}); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range []*started{a, b, c} {
		ms := s.await(t, "three members", states("a alive, b alive, c alive"))
		want := Member{
			Name: "a", Node: "a", Master: 0xab, Version: "0.1.0", API: "a:8443", Peer: "a:7444",
			Region: "r1", Zone: "z1", Gossip: ms[0].Gossip, State: Alive, Ring: ringOf(0, ca.Keys),
		}
		if diff := cmp.Diff(want, ms[0], cmp.Comparer(func(x, y Member) bool { return x == y })); diff != "" || ms[0].Gossip.String() != a.Addr() {
			t.Errorf("a as seen: %+v, at %s; want %+v at %s", ms[0], ms[0].Gossip, want, a.Addr())
		}
	}
	b.stop()
	a.await(t, "b to have left", states("a alive, b left, c alive"))
	c.crash(t)
	a.await(t, "c to have failed", states("a alive, b left, c failed"))
	// A crashed member comes back at another port under its old name.
	c2 := start(t, node("c"))
	if err := c2.Join([]string{a.Addr()}); err != nil {
		t.Fatal(err)
	}
	c2.await(t, "a to be known to the new c", func(ms []Member) bool {
		return slices.ContainsFunc(ms, func(m Member) bool { return m.Name == "a" && m.State == Alive })
	})
}

func TestTheNewestLeaderIsKnownToAll(t *testing.T) {
	t.Parallel()
	ca, cb := node("a"), node("b")
	ca.Master, cb.Master = 1, 2
	a, b := start(t, ca), start(t, cb)
	if err := b.Join([]string{a.Addr()}); err != nil {
		t.Fatal(err)
	}
	leader := func(want string) func([]Member) bool {
		return func(ms []Member) bool { m, _ := Leader(ms); return m.Name == want }
	}
	if err := a.SetLeading(3); err != nil {
		t.Fatal(err)
	}
	b.await(t, "a to lead", leader("a"))
	if err := b.SetLeading(0x1f); err != nil {
		t.Fatal(err)
	}
	a.await(t, "b to lead in a higher term, though a has not said that it stopped", leader("b"))
	if err := b.SetLeading(0); err != nil {
		t.Fatal(err)
	}
	a.await(t, "a to be the one that is left", leader("a"))
}

func TestStrangersAreNotTakenIn(t *testing.T) {
	t.Parallel()
	a := start(t, node("a"))
	wrongKey, wrongCluster := node("k"), node("x")
	wrongKey.Keys = [][]byte{key(2)}
	wrongCluster.Cluster = "c2"
	for _, cfg := range []Config{wrongKey, wrongCluster} {
		s := start(t, cfg)
		if err := s.Join([]string{a.Addr()}); !errors.Is(err, dcos.ErrUnavailable) {
			t.Errorf("%s joined: %v", cfg.Node, err)
		}
		if got := s.Members(); len(got) != 1 {
			t.Errorf("%s knows %+v, want itself only", cfg.Node, got)
		}
	}
	// Junk and plaintext, by packet and by stream.
	for _, network := range []string{"udp", "tcp"} {
		c, err := net.Dial(network, a.Addr())
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range [][]byte{{}, {0}, {3, 0x81, 0xa4}, bytes.Repeat([]byte{0xff}, 1500)} {
			if _, err := c.Write(b); err != nil {
				break // it has seen enough of us
			}
		}
		c.Close()
	}
	// It still takes in its own.
	b := start(t, node("b"))
	if err := b.Join([]string{a.Addr()}); err != nil {
		t.Fatal(err)
	}
	a.await(t, "b and nobody else", states("a alive, b alive"))
}

func TestLonelyMemberKeepsAskingItsSeeds(t *testing.T) {
	t.Parallel()
	a := start(t, node("a"))
	cb := node("b")
	cb.Seeds = func() []string { return []string{a.Addr()} }
	start(t, cb)
	a.await(t, "b", states("a alive, b alive"))
}

func TestGossipRefusesToStartUnsafely(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Config){
		"no key":       func(c *Config) { c.Keys = nil },
		"short key":    func(c *Config) { c.Keys = [][]byte{key(1)[:16]} },
		"no cluster":   func(c *Config) { c.Cluster = "" },
		"nobody":       func(c *Config) { c.Node = "" },
		"no port":      func(c *Config) { c.Bind = "127.0.0.1" },
		"host name":    func(c *Config) { c.Bind = "localhost:0" },
		"bad port":     func(c *Config) { c.Bind = "127.0.0.1:99999" },
		"long version": func(c *Config) { c.Version = strings.Repeat("v", 65) },
	} {
		cfg := node("a")
		change(&cfg)
		if g, err := Start(t.Context(), cfg); !errors.Is(err, dcos.ErrInvalid) {
			t.Errorf("%s: %v, %v, want ErrInvalid", name, g, err)
		}
	}
	a := start(t, node("a"))
	taken := node("b")
	taken.Bind = a.Addr()
	if _, err := Start(t.Context(), taken); !errors.Is(err, dcos.ErrUnavailable) || !strings.Contains(err.Error(), a.Addr()) {
		t.Errorf("port in use: %v", err)
	}
}

func TestLongestTagsFit(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", maxTag)
	cfg := Config{Cluster: long, Node: dcos.NodeID(strings.Repeat("n", 36)), Master: 1<<64 - 1, Version: "1.2.3-dev+0123456789", API: long, Peer: long, Region: "eu-central-1", Zone: "eu-central-1a", Bind: "127.0.0.1:0", Keys: [][]byte{key(1)}, tune: quick}
	g := start(t, cfg)
	if err := g.SetLeading(1<<64 - 1); err != nil {
		t.Error(err)
	}
}

func TestKeyringSurvivesATornWrite(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keyring.json")
	if _, err := openKeyring(path, [][]byte{key(1), key(2)}); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("keyring has mode %v, %v; want 0600", st.Mode(), err)
	}
	whole, _ := os.ReadFile(path)
	for n := range len(whole) {
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		ring, err := openKeyring(path, [][]byte{key(7)})
		if err != nil || len(ring.GetKeys()) != 2 || !bytes.Equal(ring.GetPrimaryKey(), key(1)) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
	// Both torn: said, not guessed.
	for _, p := range []string{path, path + ".good"} {
		if err := os.WriteFile(p, []byte("["), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := openKeyring(path, [][]byte{key(7)}); !errors.Is(err, dcos.ErrInvalid) || !strings.Contains(err.Error(), "delete the file") {
		t.Errorf("both torn: %v", err)
	}
	if err := WriteKeyring(path, nil); !errors.Is(err, dcos.ErrInvalid) {
		t.Errorf("keyring without a key: %v", err)
	}
}

func FuzzKeyring(f *testing.F) {
	f.Add([]byte(`["` + encodeKey(key(1)) + `"]`))
	f.Add([]byte(`[]`))
	f.Add([]byte(`{"a":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		keys, err := decodeKeys(b)
		if err != nil && !errors.Is(err, dcos.ErrInvalid) {
			t.Fatalf("decodeKeys(%q) = %v", b, err)
		}
		if err == nil && checkKeys(keys) != nil {
			t.Fatalf("decodeKeys(%q) gave bad keys", b)
		}
	})
}

func TestLibraryLinesBecomeRecordsAndFloodsAreCounted(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	now := time.Unix(1000, 0)
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelInfo}))
	w := &logWriter{log: log, now: func() time.Time { return now }}
	fmt.Fprintln(w, "[INFO] serf: not shown")
	for range logLines + 7 {
		fmt.Fprintln(w, "[ERR] memberlist: Decrypt packet failed")
	}
	if got := strings.Count(out.String(), "Decrypt"); got != logLines {
		t.Errorf("%d lines written, want %d", got, logLines)
	}
	if strings.Contains(out.String(), "not shown") || !strings.Contains(out.String(), "level=WARN") {
		t.Errorf("levels are wrong: %s", out.String())
	}
	now = now.Add(logWindow)
	fmt.Fprintln(w, "[WARN] memberlist: again "+strings.Repeat("x", 1000))
	if !strings.Contains(out.String(), "dropped=7") || strings.Contains(out.String(), strings.Repeat("x", maxLine)) {
		t.Errorf("after the flood: %s", out.String()[max(0, out.Len()-700):])
	}
}
