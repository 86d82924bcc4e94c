package link

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// The byte that the listener sends first, so that a dialer learns at once, and
// not at its first read, whether it was let in. (In TLS 1.3 the client's
// handshake ends before the server has seen its certificate.)
const (
	answerAccepted = 1
	answerBusy     = 2 // too many wait; try again
	answerDenied   = 3 // the certificate is good, but not for this protocol
)

// Listener is the bound port. Connections are taken from it with Accept while
// Run runs.
type Listener struct {
	cfg    Config
	tcp    net.Listener
	tls    *tls.Config
	queues map[string]queue
	slots  chan struct{} // one per handshake in flight
	hosts  *hosts
	done   chan struct{} // closed when Run ends
	stats  counters
}

// queue is the connections of a protocol that wait for Accept. A place is taken
// before the peer is told that it is let in, and given back by Accept.
type queue struct {
	conns  chan *Conn
	places chan struct{}
}

type counters struct {
	accepted, failed, denied, busy, crowded atomic.Uint64
}

// Stats counts what became of connections since the start.
type Stats struct {
	Accepted uint64
	Failed   uint64 // no or broken handshake, foreign certificate, timeout
	Denied   uint64 // certificate of this cluster, but not for this protocol
	Busy     uint64 // nobody took the connections that waited already
	Crowded  uint64 // too many handshakes in flight from one host
}

// Listen binds the port. Nothing is served before Run.
func Listen(addr string, cfg Config) (*Listener, error) {
	var lc net.ListenConfig
	tcp, err := lc.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return NewListener(tcp, cfg), nil
}

// NewListener serves on a listener that is bound already and is closed by Run.
func NewListener(tcp net.Listener, cfg Config) *Listener {
	cfg = cfg.withDefaults()
	l := &Listener{
		cfg: cfg, tcp: tcp, tls: splitTLS(cfg), queues: map[string]queue{},
		slots: make(chan struct{}, cfg.Handshakes), hosts: newHosts(cfg.PerHost), done: make(chan struct{}),
	}
	for proto := range speakers {
		l.queues[proto] = queue{make(chan *Conn, cfg.Queue), make(chan struct{}, cfg.Queue)}
	}
	return l
}

// Addr is the bound address.
func (l *Listener) Addr() net.Addr { return l.tcp.Addr() }

// Stats counts since the start.
func (l *Listener) Stats() Stats {
	return Stats{
		Accepted: l.stats.accepted.Load(), Failed: l.stats.failed.Load(), Denied: l.stats.denied.Load(),
		Busy: l.stats.busy.Load(), Crowded: l.stats.crowded.Load(),
	}
}

// Close frees the port of a listener that never runs. Run does it otherwise.
func (l *Listener) Close() error { return l.tcp.Close() }

// Accept waits for the next connection of a protocol. It fails with
// net.ErrClosed once Run has ended. The caller owns the connection.
func (l *Listener) Accept(ctx context.Context, proto string) (*Conn, error) {
	q, ok := l.queues[proto]
	if !ok {
		return nil, fmt.Errorf("%w: protocol %q", dcos.ErrInvalid, proto)
	}
	select {
	case c := <-q.conns:
		<-q.places
		return c, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-l.done:
		return nil, fmt.Errorf("accept %s: %w", proto, net.ErrClosed)
	}
}

// Run serves until ctx ends; it returns nil only for that reason. Connections
// that nobody has accepted are closed at the end, accepted ones are not touched.
func (l *Listener) Run(ctx context.Context) error {
	var open sync.WaitGroup // handshakes; each ends by its timeout or ctx
	stop := context.AfterFunc(ctx, func() { l.tcp.Close() })
	defer stop()
	err := l.acceptAll(ctx, &open)
	l.tcp.Close()
	open.Wait()
	close(l.done)
	for _, q := range l.queues {
		drain(q.conns)
	}
	return err
}

func drain(q chan *Conn) {
	for {
		select {
		case c := <-q:
			c.Close()
		default:
			return
		}
	}
}

func (l *Listener) acceptAll(ctx context.Context, open *sync.WaitGroup) error {
	// The handshakes end with the loop, also when that fails for itself.
	hctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pause := time.Duration(0)
	for {
		c, err := l.tcp.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				c.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept on %s: %w", l.tcp.Addr(), err)
		case err != nil: // out of descriptors, or a connection that broke already
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			l.cfg.Log.Warn("connection not accepted", "error", err, "pause", pause)
			if !wait(ctx, pause) {
				return nil
			}
			continue
		}
		pause = 0
		host := HostOf(c.RemoteAddr())
		if !l.hosts.enter(host) {
			l.stats.crowded.Add(1)
			c.Close()
			continue
		}
		select {
		case l.slots <- struct{}{}:
		case <-ctx.Done():
			c.Close()
			return nil
		}
		open.Go(func() {
			defer func() { <-l.slots; l.hosts.leave(host) }()
			l.handshake(hctx, c)
		})
	}
}

func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// handshake takes one stranger as far as its queue, or closes the connection.
func (l *Listener) handshake(ctx context.Context, raw net.Conn) {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.Timeout)
	defer cancel()
	tune(raw)
	t := tls.Server(raw, l.tls)
	if err := t.HandshakeContext(ctx); err != nil {
		l.refuse(&l.stats.failed, raw, dcos.Identity{}, "", err)
		return
	}
	s := t.ConnectionState()
	c := &Conn{Conn: t, Proto: s.NegotiatedProtocol}
	c.Peer, _ = PeerOf(s)
	forget(s)
	t.SetDeadline(time.Now().Add(l.cfg.Timeout)) //nolint:errcheck // a dead connection fails at the write
	if err := l.admit(c); err != nil {
		t.Write([]byte{answerDenied}) //nolint:errcheck // it is closed in any case
		l.refuse(&l.stats.denied, t, c.Peer, c.Proto, err)
		return
	}
	q := l.queues[c.Proto]
	select {
	case q.places <- struct{}{}:
	default:
		t.Write([]byte{answerBusy}) //nolint:errcheck // it is closed in any case
		l.refuse(&l.stats.busy, t, c.Peer, c.Proto, errFull)
		return
	}
	if _, err := t.Write([]byte{answerAccepted}); err != nil {
		<-q.places
		l.refuse(&l.stats.failed, t, c.Peer, c.Proto, err)
		return
	}
	t.SetDeadline(time.Time{}) //nolint:errcheck // a dead connection fails at its next use
	l.stats.accepted.Add(1)
	q.conns <- c // it has a place
}

// forget empties the certificates of a peer that is known by now. The
// connection would keep them as long as it lives, 4 kB and more of each of
// thousands of agents, and nothing looks at them again: without resumption each
// connection of a server parses its own.
func forget(s tls.ConnectionState) {
	for _, c := range s.PeerCertificates {
		*c = x509.Certificate{}
	}
}

func (l *Listener) admit(c *Conn) error {
	if err := maySpeak(c.Proto, c.Peer); err != nil {
		return err
	}
	if l.cfg.Admit != nil && c.Peer != (dcos.Identity{}) {
		return l.cfg.Admit(c.Proto, c.Peer)
	}
	return nil
}

// refuse closes and counts. It logs strangers for debugging only, because
// they could fill the log, and machines of the cluster always.
func (l *Listener) refuse(n *atomic.Uint64, c net.Conn, peer dcos.Identity, proto string, err error) {
	n.Add(1)
	c.Close()
	if peer == (dcos.Identity{}) {
		l.cfg.Log.Debug("connection refused", "from", c.RemoteAddr().String(), "error", err)
		return
	}
	l.cfg.Log.Warn("peer refused", "from", c.RemoteAddr().String(), "peer", peer.String(), "protocol", proto, "error", err)
}

var errFull = errors.New("too many connections wait to be accepted")
