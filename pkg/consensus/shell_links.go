package consensus

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// Frames on a connection of ProtoRaft are kind, length (32 bits, big endian)
// and payload. The one who dialed speaks; only a snapshot is answered.
const (
	frameMsg     = 1 // a raft message
	frameLow     = 2 // one byte: the sender's disk is below its reserve
	frameSnap    = 3 // index (64 bits) and message; chunks follow
	frameChunk   = 4 // of the snapshot's file
	frameEnd     = 5 // the file is complete
	frameTaken   = 6 // answer: empty, or why it was not taken
	frameHeader  = 5
	maxFrame     = 8 << 20
	snapChunk    = 256 << 10
	maxSnapError = 1 << 10
)

// What the links to one member may hold and how long they may take.
const (
	peerQueueLen   = 4096
	peerQueueBytes = 64 << 20
	peerWrite      = 10 * time.Second // one flush
	peerIdle       = time.Minute      // between two frames of a snapshot
	minBackoff     = 50 * time.Millisecond
	maxBackoff     = 2 * time.Second
)

// Links is the Transport over connections that prove who is at the other end,
// such as those of package link with ProtoRaft. It keeps one connection to each
// member it has something to say to, and dials another for each snapshot.
type Links struct {
	// Dial connects to a member. It is called again and again while the member
	// cannot be reached, at most every two seconds.
	Dial func(ctx context.Context, to dcos.MasterID) (net.Conn, error)
	Log  *slog.Logger // nil: none

	mu    sync.Mutex
	ctx   context.Context // of Run; nil before it; guarded by mu, as all below
	h     Handler
	peers map[dcos.MasterID]*peer
	low   bool
	wg    sync.WaitGroup
}

// peer is the way to one member.
type peer struct {
	l  *Links
	id dcos.MasterID

	mu    sync.Mutex
	queue [][]byte // frames; guarded by mu
	bytes int      // guarded by mu
	low   bool     // a frameLow is to be sent; guarded by mu
	wake  chan struct{}
}

// Run implements Transport.
func (l *Links) Run(ctx context.Context, h Handler) error {
	l.mu.Lock()
	l.ctx, l.h, l.peers = ctx, h, map[dcos.MasterID]*peer{}
	l.mu.Unlock()
	<-ctx.Done()
	l.mu.Lock()
	l.ctx = nil // nothing is started any more
	l.mu.Unlock()
	l.wg.Wait()
	return nil
}

func (l *Links) logger() *slog.Logger {
	if l.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return l.Log
}

// start runs f until it ends by itself; f must end with the context it gets.
// It does nothing when Run is not running.
func (l *Links) start(f func(context.Context, Handler)) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx == nil {
		return false
	}
	ctx, h := l.ctx, l.h
	l.wg.Go(func() { f(ctx, h) })
	return true
}

func (l *Links) peer(id dcos.MasterID) *peer {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx == nil {
		return nil
	}
	p := l.peers[id]
	if p == nil {
		p = &peer{l: l, id: id, wake: make(chan struct{}, 1)}
		l.peers[id] = p
		ctx, h := l.ctx, l.h
		l.wg.Go(func() { p.run(ctx, h) }) // until ctx ends
	}
	return p
}

// Send implements Transport.
func (l *Links) Send(to dcos.MasterID, msg []byte) {
	p := l.peer(to)
	if p == nil || len(msg) > maxFrame {
		return
	}
	p.mu.Lock()
	if len(p.queue) < peerQueueLen && p.bytes+len(msg) <= peerQueueBytes {
		p.queue = append(p.queue, msg)
		p.bytes += len(msg)
	}
	p.mu.Unlock()
	p.stir()
}

func (p *peer) stir() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// SetLow implements Transport.
func (l *Links) SetLow(low bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.low = low
	for _, p := range l.peers {
		p.mu.Lock()
		p.low = true
		p.mu.Unlock()
		p.stir()
	}
}

func (l *Links) isLow() byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.low {
		return 1
	}
	return 0
}

func (p *peer) take() (queue [][]byte, low bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	queue, low = p.queue, p.low
	p.queue, p.bytes, p.low = nil, 0, false
	return queue, low
}

// run connects when there is something to say, and says it. What gathers while
// the member cannot be reached is dropped.
func (p *peer) run(ctx context.Context, h Handler) {
	backoff, short := minBackoff, false
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		}
		c, err := p.l.Dial(ctx, p.id)
		if err != nil {
			p.take()
			p.l.logger().Debug("master not reached", "master", fmt.Sprintf("%x", uint64(p.id)), "error", err)
			pause(ctx, backoff)
			backoff = min(2*backoff, maxBackoff)
			continue
		}
		from := time.Now()
		p.talk(ctx, c)
		lived := time.Since(from)
		if ctx.Err() != nil {
			return
		}
		p.l.logger().Info("connection to master lost", "master", fmt.Sprintf("%x", uint64(p.id)))
		h.Lost(p.id)
		p.stir() // the queue may hold more
		// One that takes connections and ends them is on its way out: the first
		// time it may be a restart, then there is a pause.
		if short {
			pause(ctx, backoff)
			backoff = min(2*backoff, maxBackoff)
		}
		if short = lived < maxBackoff; !short {
			backoff = minBackoff
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// talk writes to a connection until it breaks or ctx ends.
func (p *peer) talk(ctx context.Context, c net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	var watcher sync.WaitGroup
	defer watcher.Wait()
	defer func() { _ = c.Close() }()
	watcher.Go(func() { // until the connection ends: the other side never speaks
		_, _ = io.ReadFull(c, make([]byte, 1))
		cancel()
	})
	w := bufio.NewWriterSize(c, 64<<10)
	first := true
	for {
		queue, low := p.take()
		if first || low {
			queue = append([][]byte{nil}, queue...) // nil stands for frameLow
			first = false
		}
		if err := p.write(c, w, queue); err != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		}
	}
}

func (p *peer) write(c net.Conn, w *bufio.Writer, queue [][]byte) error {
	if err := c.SetWriteDeadline(time.Now().Add(peerWrite)); err != nil {
		return err
	}
	for _, msg := range queue {
		kind := byte(frameMsg)
		if msg == nil {
			kind, msg = frameLow, []byte{p.l.isLow()}
		}
		if err := writeFrame(w, kind, msg); err != nil {
			return err
		}
	}
	return w.Flush()
}

func writeFrame(w io.Writer, kind byte, payload ...[]byte) error {
	n := 0
	for _, b := range payload {
		n += len(b)
	}
	head := append([]byte{kind}, 0, 0, 0, 0)
	binary.BigEndian.PutUint32(head[1:], uint32(n))
	if _, err := w.Write(head); err != nil {
		return err
	}
	for _, b := range payload {
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	return nil
}

var errFrame = errors.New("not a frame of this protocol")

// readFrame reads one frame of at most limit bytes. The payload is allocated as
// it comes in, not as it is announced.
func readFrame(r io.Reader, limit int) (kind byte, payload []byte, err error) {
	var head [frameHeader]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if head[0] < frameMsg || head[0] > frameTaken || int64(n) > int64(limit) {
		return 0, nil, errFrame
	}
	if n <= snapChunk {
		payload = make([]byte, n)
		if _, err = io.ReadFull(r, payload); err != nil {
			return 0, nil, noEOF(err)
		}
		return head[0], payload, nil
	}
	payload, err = io.ReadAll(io.LimitReader(r, int64(n)))
	if err == nil && len(payload) < int(n) {
		err = io.ErrUnexpectedEOF
	}
	return head[0], payload, err
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// SendSnapshot implements Transport.
func (l *Links) SendSnapshot(ctx context.Context, to dcos.MasterID, index dcos.Index, msg []byte, file io.Reader) error {
	c, err := l.Dial(ctx, to)
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	if err := c.SetDeadline(time.Now().Add(peerIdle)); err != nil {
		return err
	}
	if err := writeFrame(c, frameSnap, binary.BigEndian.AppendUint64(nil, uint64(index)), msg); err != nil {
		return err
	}
	chunk := make([]byte, snapChunk)
	for {
		n, rerr := io.ReadFull(file, chunk)
		if n > 0 {
			if err := c.SetDeadline(time.Now().Add(peerIdle)); err != nil {
				return err
			}
			if err := writeFrame(c, frameChunk, chunk[:n]); err != nil {
				return err
			}
		}
		if errors.Is(rerr, io.EOF) || errors.Is(rerr, io.ErrUnexpectedEOF) {
			break
		}
		if rerr != nil {
			return rerr
		}
	}
	if err := writeFrame(c, frameEnd); err != nil {
		return err
	}
	kind, why, err := readFrame(c, maxSnapError)
	switch {
	case err != nil:
		return fmt.Errorf("no answer: %w", noEOF(err))
	case kind != frameTaken:
		return errFrame
	case len(why) > 0:
		return fmt.Errorf("not taken: %s", why)
	}
	return nil
}

// Serve reads what a member says on a connection that it dialed, and closes it
// at the end. It returns at once when Run is not running.
func (l *Links) Serve(c net.Conn, from dcos.MasterID) {
	done := make(chan struct{})
	started := l.start(func(ctx context.Context, h Handler) { // until the connection or ctx ends
		defer close(done)
		defer context.AfterFunc(ctx, func() { _ = c.Close() })()
		used := serve(c, from, h)
		if used && ctx.Err() == nil {
			l.logger().Info("connection from master lost", "master", fmt.Sprintf("%x", uint64(from)))
			h.Lost(from)
		}
	})
	if started {
		<-done
	}
	_ = c.Close()
}

// serve reports whether messages came, so that the end of the connection means
// something.
func serve(c net.Conn, from dcos.MasterID, h Handler) (used bool) {
	r := bufio.NewReaderSize(c, 64<<10)
	for {
		kind, payload, err := readFrame(r, maxFrame)
		if err != nil {
			return used
		}
		switch {
		case kind == frameMsg:
			used = true
			h.Received(from, payload)
		case kind == frameLow && len(payload) == 1:
			h.Space(from, payload[0] != 0)
		case kind == frameSnap && len(payload) > 8:
			body := &chunks{c: c, r: r}
			err := h.Snapshot(from, dcos.Index(binary.BigEndian.Uint64(payload)), payload[8:], body)
			why := ""
			if err != nil {
				why = err.Error()[:min(len(err.Error()), maxSnapError)]
			}
			_ = c.SetDeadline(time.Now().Add(peerWrite))
			_ = writeFrame(c, frameTaken, []byte(why))
			return used
		default:
			return used
		}
	}
}

// chunks reads a snapshot's file from its frames.
type chunks struct {
	c    net.Conn
	r    io.Reader
	rest []byte
	done bool
}

func (k *chunks) Read(p []byte) (int, error) {
	for len(k.rest) == 0 {
		if k.done {
			return 0, io.EOF
		}
		if err := k.c.SetReadDeadline(time.Now().Add(peerIdle)); err != nil {
			return 0, err
		}
		kind, payload, err := readFrame(k.r, snapChunk)
		switch {
		case err != nil:
			return 0, noEOF(err)
		case kind == frameEnd:
			k.done = true
		case kind == frameChunk:
			k.rest = payload
		default:
			return 0, errFrame
		}
	}
	n := copy(p, k.rest)
	k.rest = k.rest[n:]
	return n, nil
}
