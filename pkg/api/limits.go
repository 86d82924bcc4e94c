package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dcos-go/dcos/pkg/auth"
	"github.com/dcos-go/dcos/pkg/dcos"
)

// Limits bound what all clients of a Server together may hold. The zero value
// of each is its default. What is over them waits for a moment and is then
// told to come back (503, or 429 where one user has too much): agents'
// sessions and raft have ports of their own and do not notice.
type Limits struct {
	// Requests is how many reads are carried out at once, and as many writes:
	// neither waits for the other. 256.
	Requests int
	// Queue is how many wait for that, of each kind. 1,024.
	Queue int
	// Streams is how many clients listen at once, StreamsPerUser how many of
	// them may be of one user. 1,024 and 64.
	Streams, StreamsPerUser int
}

const (
	// queueFor is how long a request waits before it is refused.
	queueFor = 2 * time.Second
	// maxBodies bounds the bytes of bodies in memory, of all requests.
	maxBodies = 128 << 20
	// maxPublicBody bounds what somebody may send who has not said who it is.
	maxPublicBody = 16 << 10
	// answerTimeout bounds how long a client may take to read an answer that
	// is no stream.
	answerTimeout = 30 * time.Second
)

func (l Limits) withDefaults() Limits {
	for _, f := range []struct {
		n  *int
		or int
	}{{&l.Requests, 256}, {&l.Queue, 1024}, {&l.Streams, 1024}, {&l.StreamsPerUser, 64}} {
		if *f.n == 0 {
			*f.n = f.or
		}
	}
	return l
}

// gates are the limits at work. Reads that ask for no majority have a gate of
// their own: they answer while there is no leader and the others wait.
type gates struct {
	reads, stale, writes *gate
	streams              *streams
	bodies               atomic.Int64 // bytes
}

func newGates(l Limits) *gates {
	l = l.withDefaults()
	return &gates{
		reads: newGate("reads", l.Requests, l.Queue), stale: newGate("stale reads", l.Requests, l.Queue),
		writes: newGate("writes", l.Requests, l.Queue), streams: &streams{limits: l, of: map[string]int{}},
	}
}

// enter waits for a place for a request; leave gives it back.
func (g *gates) enter(r *http.Request, row *entry, who auth.Principal) (leave func(), err error) {
	switch {
	case row.Access == Public: // cheap, or bounded by what it does
		return func() {}, nil
	case row.Stream:
		return g.streams.enter(who.ID)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		return g.writes.enter(r.Context())
	case r.URL.Query().Has("stale"):
		return g.stale.enter(r.Context())
	}
	return g.reads.enter(r.Context())
}

// gate lets so many in at once, and so many wait for a moment.
type gate struct {
	what  string
	slots chan struct{}
	queue chan struct{}
}

func newGate(what string, slots, queue int) *gate {
	return &gate{what, make(chan struct{}, slots), make(chan struct{}, queue)}
}

func (g *gate) enter(ctx context.Context) (leave func(), err error) {
	select {
	case g.slots <- struct{}{}:
		return g.leave, nil
	default:
	}
	select {
	case g.queue <- struct{}{}:
		defer func() { <-g.queue }()
	default:
		return nil, g.full()
	}
	t := time.NewTimer(queueFor)
	defer t.Stop()
	select {
	case g.slots <- struct{}{}:
		return g.leave, nil
	case <-t.C:
		return nil, g.full()
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", dcos.ErrUnavailable, ctx.Err())
	}
}

func (g *gate) leave() { <-g.slots }

func (g *gate) full() error {
	return fmt.Errorf("%w: this master carries out %d %s at once and more wait, try again in a moment", dcos.ErrUnavailable, cap(g.slots), g.what)
}

// streams counts the clients that listen.
type streams struct {
	limits Limits
	mu     sync.Mutex
	all    int            // guarded by mu
	of     map[string]int // guarded by mu; entries are removed at 0
}

func (s *streams) enter(who string) (leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.of[who] >= s.limits.StreamsPerUser:
		return nil, fmt.Errorf("%w: %s listens to %d streams of this master already", dcos.ErrExhausted, who, s.of[who])
	case s.all >= s.limits.Streams:
		return nil, fmt.Errorf("%w: %d clients listen to this master already, ask another one", dcos.ErrUnavailable, s.all)
	}
	s.all++
	s.of[who]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.all--
		if s.of[who]--; s.of[who] == 0 {
			delete(s.of, who)
		}
	}, nil
}

// body reads a request's body into memory before the request asks for a place,
// so that a client that trickles holds its connection and nothing else. drop
// forgets the body. Larger uploads than usual are left to their handler.
func (g *gates) body(r *http.Request, row *entry) (drop func(), err error) {
	if r.ContentLength == 0 || row.Upload > MaxBody || row.Stream {
		return func() {}, nil
	}
	c := &counted{from: r.Body, all: &g.bodies}
	drop = func() { g.bodies.Add(-c.n) }
	b, err := readAll(c)
	if err != nil {
		drop()
		return nil, err
	}
	r.Body, r.ContentLength, r.TransferEncoding = newBody(b), int64(len(b)), nil
	return drop, nil
}

// counted counts the bytes that it reads among those of all requests.
type counted struct {
	from io.Reader
	all  *atomic.Int64
	n    int64
}

// Read fails once all bodies together are too large.
func (c *counted) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.n += int64(n)
	if c.all.Add(int64(n)) > maxBodies {
		return n, fmt.Errorf("%w: the bodies of all requests to this master are too large together, try again in a moment", dcos.ErrUnavailable)
	}
	return n, err
}
