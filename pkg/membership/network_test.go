package membership

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/serf/serf"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// network carries packets and streams between members in virtual time, and
// loses, delays and cuts them as told. memberlist's own mock blocks senders
// once a member has stopped.
type network struct {
	mu    sync.Mutex
	rng   *rand.Rand             // guarded by mu
	loss  float64                // of packets; guarded by mu
	ports map[string]*port       // guarded by mu
	cut   func(a, b string) bool // guarded by mu; from a to b nothing passes
}

// port is one member's transport.
type port struct {
	net     *network
	addr    netip.AddrPort
	packets chan *memberlist.Packet
	streams chan net.Conn
	down    bool // guarded by net.mu
}

func newNetwork(seed uint64, loss float64) *network {
	return &network{rng: rand.New(rand.NewPCG(seed, 0)), loss: loss, ports: map[string]*port{}}
}

func (n *network) port() *port {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := &port{
		net: n, addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(len(n.ports) / 250), byte(len(n.ports)%250 + 1)}), 7946),
		packets: make(chan *memberlist.Packet, 4096), streams: make(chan net.Conn, 64),
	}
	n.ports[p.addr.String()] = p
	return p
}

func (n *network) partition(cut func(a, b string) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut = cut
}

func (n *network) lose(share float64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.loss = share
}

// quickOn is a member on a port that sees failures quickly.
func quickOn(p *port) func(*serf.Config) {
	return func(c *serf.Config) {
		quick(c)
		c.MemberlistConfig.Transport = p
	}
}

// reach is the port at to, unless what from sends does not arrive; and how
// long it is under way.
func (n *network) reach(from, to string, packet bool) (*port, time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.ports[to]
	delay := time.Duration(n.rng.IntN(5000)) * time.Microsecond
	lost := packet && n.rng.Float64() < n.loss
	if p == nil || p.down || lost || n.cut != nil && n.cut(from, to) {
		return nil, delay
	}
	return p, delay
}

func (p *port) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return p.addr.Addr().AsSlice(), int(p.addr.Port()), nil
}

func (p *port) WriteTo(b []byte, addr string) (time.Time, error) {
	now := time.Now()
	if to, delay := p.net.reach(p.addr.String(), addr, true); to != nil {
		packet := &memberlist.Packet{Buf: bytes.Clone(b), From: net.UDPAddrFromAddrPort(p.addr)}
		time.AfterFunc(delay, func() {
			packet.Timestamp = time.Now()
			select {
			case to.packets <- packet:
			default: // a full buffer loses packets, as the kernel's does
			}
		})
	}
	return now, nil
}

func (p *port) DialTimeout(addr string, d time.Duration) (net.Conn, error) {
	to, delay := p.net.reach(p.addr.String(), addr, false)
	if to == nil {
		<-time.After(d)
		return nil, errors.New("no answer")
	}
	<-time.After(delay)
	here, there := net.Pipe()
	select {
	case to.streams <- stream{there, p.addr}:
		return stream{here, to.addr}, nil
	default:
		return nil, errors.New("refused")
	}
}

func (p *port) PacketCh() <-chan *memberlist.Packet { return p.packets }
func (p *port) StreamCh() <-chan net.Conn           { return p.streams }

func (p *port) Shutdown() error {
	p.net.mu.Lock()
	defer p.net.mu.Unlock()
	p.down = true
	return nil
}

// stream is a pipe with an address, which memberlist wants to print.
type stream struct {
	net.Conn
	peer netip.AddrPort
}

func (s stream) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(s.peer) }

// swarm starts n members on a network; each knows the first as its seed.
func swarm(t *testing.T, n *network, count int) (gs []*Gossip, stop []func()) {
	t.Helper()
	return swarmOf(t, n, count, nil)
}

func end(stop []func()) {
	var all sync.WaitGroup
	for _, s := range stop {
		all.Go(s)
	}
	all.Wait()
	<-time.After(5 * time.Minute) // the library's timers end
}

// swarmOf is swarm with changes to each member's configuration.
func swarmOf(t *testing.T, n *network, count int, change func(i int, c *Config)) (gs []*Gossip, stop []func()) {
	t.Helper()
	var first string
	for i := range count {
		p := n.port()
		if i == 0 {
			first = p.addr.String()
		}
		cfg := node(fmt.Sprintf("n%02d", i))
		cfg.Seeds = func() []string { return []string{first} }
		cfg.tune = func(c *serf.Config) { c.MemberlistConfig.Transport = p }
		if change != nil {
			change(i, &cfg)
		}
		g, err := Start(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- g.Run(ctx) }()
		gs, stop = append(gs, g), append(stop, sync.OnceFunc(func() {
			cancel()
			// A member that the test has shut down says that it ended by itself.
			if err := <-done; err != nil && !errors.Is(err, dcos.ErrUnavailable) {
				t.Errorf("Run = %v", err)
			}
		}))
	}
	return gs, stop
}

// settle waits in virtual time until every one of gs counts want living
// members; it gives up after limit.
func settle(t *testing.T, what string, gs []*Gossip, want int, limit time.Duration) time.Duration {
	t.Helper()
	begun := time.Now()
	for {
		ok, text := true, ""
		for _, g := range gs {
			alive := 0
			for _, m := range g.Members() {
				if m.State == Alive {
					alive++
				}
			}
			ok = ok && alive == want
			text += fmt.Sprintf(" %d", alive)
		}
		if ok {
			return time.Since(begun)
		}
		if time.Since(begun) > limit {
			t.Fatalf("%s: after %s of virtual time the members count%s alive, want %d each", what, limit, text, want)
		}
		<-time.After(100 * time.Millisecond)
	}
}

func TestMembersAgreeInSpiteOfLossAndPartition(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		synctest.Test(t, func(t *testing.T) {
			const count = 9
			n := newNetwork(seed, 0.2)
			gs, stop := swarm(t, n, count)
			settle(t, "join", gs, count, 2*time.Minute)

			// The first three are cut off from the rest, both ways.
			side := func(addr string) bool { a := netip.MustParseAddrPort(addr); return a.Addr().As4()[3] <= 3 }
			n.partition(func(a, b string) bool { return side(a) != side(b) })
			settle(t, "small side", gs[:3], 3, 5*time.Minute)
			settle(t, "large side", gs[3:], count-3, 5*time.Minute)
			n.partition(nil)
			settle(t, "healed", gs, count, 10*time.Minute)

			// One is gone without a word, one leaves.
			if err := gs[8].serf.Shutdown(); err != nil {
				t.Fatal(err)
			}
			settle(t, "crash", gs[:8], count-1, 5*time.Minute)
			stop[7]()
			settle(t, "leave", gs[:7], count-2, time.Minute)
			end(stop)
		})
	}
}
