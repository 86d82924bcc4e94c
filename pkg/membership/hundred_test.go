package membership

import (
	"crypto/aes"
	"crypto/cipher"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/memberlist"
)

// deaths crowds how often a living member is held for failed while a time
// passes.
func deaths(gs []*Gossip, d time.Duration) (most int) {
	for end := time.Now().Add(d); time.Now().Before(end); <-time.After(3 * time.Second) {
		failed := map[string]bool{}
		for _, g := range gs {
			for _, m := range g.Members() {
				if m.State != Alive {
					failed[m.Name] = true
				}
			}
		}
		most = max(most, len(failed))
	}
	return most
}

func TestAHundredMembersSeeCrashesAndForgiveABadNetwork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(7, 0)
		gs, stop := swarm(t, n, crowd)
		t.Logf("joined after %s", settle(t, "join", gs, crowd, 2*time.Minute))

		// A tenth of all packets is lost: nobody is held for dead.
		n.lose(0.1)
		if k := deaths(gs, time.Minute); k != 0 {
			t.Errorf("with 10 %% loss %d healthy members were held for failed", k)
		}
		n.lose(0)

		// Ten members hear all, but reach only every second other one.
		number := func(addr string) int {
			a := netip.MustParseAddrPort(addr).Addr().As4()
			return int(a[2])*250 + int(a[3])
		}
		n.partition(func(from, to string) bool { return number(from) <= 10 && number(to)%2 == 0 })
		if k := deaths(gs, time.Minute); k != 0 {
			t.Errorf("with one-way cuts %d healthy members were held for failed", k)
		}
		n.partition(nil)

		// Three are gone without a word: everybody sees it.
		for _, g := range gs[crowd-3:] {
			if err := g.serf.Shutdown(); err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("three crashes seen by all after %s", settle(t, "crash", gs[:crowd-3], crowd-3, time.Minute))

		end(stop)
	})
}

func TestTheLeaderIsKnownToAHundredMembersWithinSeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(3, 0.02)
		gs, stop := swarmOf(t, n, crowd, func(i int, c *Config) {
			if i < 3 {
				c.Master, c.Peer = 1, c.Bind
			}
		})
		settle(t, "join", gs, crowd, 2*time.Minute)
		if err := gs[1].SetLeading(5); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		for _, g := range gs {
			for {
				if l, ok := Leader(g.Members()); ok && l.Name == gs[1].cfg.name() {
					break
				}
				if time.Since(begun) > 10*time.Second {
					t.Fatalf("%s does not know the leader after %s", g.cfg.name(), time.Since(begun))
				}
				<-time.After(50 * time.Millisecond)
			}
		}
		t.Logf("known to all after %s", time.Since(begun))
		end(stop)
	})
}

// sealed is a packet as memberlist encrypts it (version 1).
func sealed(t testing.TB, k, msg []byte) []byte {
	t.Helper()
	block, err := aes.NewCipher(k)
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	nonce := make([]byte, gcm.NonceSize())
	return append(append([]byte{1}, nonce...), gcm.Seal(nil, nonce, msg, nil)...)
}

// FuzzPackets gives a member what others may send: bytes of strangers, and
// bytes of one that holds the key.
func FuzzPackets(f *testing.F) {
	n := newNetwork(1, 0)
	p := n.port()
	cfg := node("fuzzed")
	cfg.tune = quickOn(p)
	g, err := Start(f.Context(), cfg)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = g.serf.Shutdown() })
	f.Add([]byte{8, 1, 2, 3}, true)                                             // user message: serf's
	f.Add(append([]byte{8, 5}, []byte("\x83\xa4Name\xa1x\xa2ID\x01")...), true) // a query
	f.Add([]byte{7, 2, 0, 1, 0, 1, 0, 0}, true)                                 // compound
	f.Add([]byte{4, 0x81, 0xa4, 'M', 'e', 't', 'a', 0xc6, 0xff, 0xff, 0xff, 0xff}, true)
	f.Add([]byte{0xff}, false)
	f.Fuzz(func(t *testing.T, b []byte, member bool) {
		if len(b) > 1500 {
			return
		}
		if member {
			b = sealed(t, key(1), b)
		}
		from := net.UDPAddrFromAddrPort(netip.MustParseAddrPort("10.9.9.9:7946"))
		p.packets <- &memberlist.Packet{Buf: b, From: from, Timestamp: time.Now()}
		if ms := g.Members(); len(ms) == 0 || len(ms) > maxMembers+1 {
			t.Fatalf("%d members", len(ms))
		}
	})
}
