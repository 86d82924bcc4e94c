package dispatch

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/link"
	"github.com/dcos-go/dcos/pkg/wire"
)

// Limits of one connection. What a session that says nothing holds is counted
// in thousands of sessions: no queue, no buffer, and no goroutine that writes.
const (
	helloTimeout = 10 * time.Second
	writeTimeout = 10 * time.Second
	sendBuffer   = 512      // messages that wait to be written
	keepBuffer   = 64 << 10 // a larger write buffer is not kept
	keepRead     = 512      // nor is a larger read buffer, by each connection
)

// conn is one agent's connection. Its methods may be called on nil.
type conn struct {
	raw     net.Conn
	writer  sync.WaitGroup // the goroutine that writes, while there is something
	mu      sync.Mutex
	queue   []wire.Msg // guarded by mu: what waits to be written
	writing bool       // guarded by mu: writer runs, and takes what is queued
	shut    bool       // guarded by mu: nothing more is queued; writer closes raw
}

// send queues a message. An agent that does not read is cut off: it comes back
// and is told everything anew.
func (c *conn) send(m wire.Msg) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.shut:
	case len(c.queue) >= sendBuffer:
		c.raw.Close()
	default:
		c.queue = append(c.queue, m)
		c.wake()
	}
}

// finish closes the connection after what was queued.
func (c *conn) finish() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.shut {
		c.shut = true
		c.wake() // to close may take a while
	}
}

// wake lets somebody write. It is called with mu held.
func (c *conn) wake() {
	if !c.writing {
		c.writing = true
		c.writer.Go(c.write) // until nothing is queued, or a write fails
	}
}

// take is what waits to be written, and whether the connection ends behind it.
// Without either the writer's work is done.
func (c *conn) take() (msgs []wire.Msg, last bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	msgs, c.queue = c.queue, nil
	c.writing = len(msgs) > 0 || c.shut
	return msgs, c.shut
}

// drop closes the connection, whatever waits.
func (c *conn) drop() {
	c.mu.Lock()
	c.shut, c.queue = true, nil
	c.mu.Unlock()
	c.raw.Close()
}

func (d *Dispatcher) conn(sess uint64) *conn {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.conns[sess]
}

func (d *Dispatcher) closeAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.conns {
		c.raw.Close()
	}
}

// Serve carries one connection of an agent, whose certificate says that it is
// peer, until the session ends or ctx does. It closes the connection. The error
// is nil when one of the two sides closed it in order.
func (d *Dispatcher) Serve(ctx context.Context, raw net.Conn, peer dcos.Identity) error {
	defer raw.Close()
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer stop()
	hello, err := readHello(raw)
	if err != nil {
		return fmt.Errorf("session of %s: %w", peer.ID, err)
	}
	c := &conn{raw: raw}
	sess := d.lastID.Add(1)
	if !d.enter(sess, c) {
		return fmt.Errorf("session of %s: %w: this master is stopping", peer.ID, dcos.ErrUnavailable)
	}
	d.put(ctx, Opened{Sess: sess, Peer: peer, Hello: hello})
	err = d.read(ctx, sess, raw)
	d.leave(sess)
	how := HowClosed
	switch link.EndingOf(err) {
	case link.Silent:
		how = HowSilence
	case link.Broken:
		how = HowBroken
	case link.Closed, link.Ours:
	}
	d.put(ctx, Closed{Sess: sess, How: how})
	c.finish()
	raw.Close()
	c.writer.Wait()
	if how == HowClosed {
		return nil
	}
	return fmt.Errorf("session of %s: %w", peer.ID, err)
}

// enter makes the connection known, unless Run has ended.
func (d *Dispatcher) enter(sess uint64, c *conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case <-d.done:
		return false
	default:
		d.conns[sess] = c
		return true
	}
}

func (d *Dispatcher) leave(sess uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.conns, sess)
}

func readHello(raw net.Conn) (wire.Hello, error) {
	if err := raw.SetReadDeadline(time.Now().Add(helloTimeout)); err != nil {
		return wire.Hello{}, err
	}
	m, _, err := wire.ReadMsg(raw, nil)
	if err != nil {
		return wire.Hello{}, fmt.Errorf("read hello: %w", err)
	}
	hello, ok := m.(wire.Hello)
	if !ok {
		return wire.Hello{}, fmt.Errorf("%w: the first message is %T, expected a hello", dcos.ErrInvalid, m)
	}
	return hello, raw.SetReadDeadline(time.Time{})
}

// read brings messages to the core until the connection ends. There is no
// deadline here: the core counts beats, the kernel finds dead machines.
func (d *Dispatcher) read(ctx context.Context, sess uint64, raw net.Conn) error {
	var buf []byte
	for {
		m, b, err := wire.ReadMsg(raw, buf) // TLS has read the whole of a record
		if err != nil {
			return err
		}
		if buf = b; cap(buf) > keepRead {
			buf = nil
		}
		d.put(ctx, Got{Sess: sess, Msg: m})
	}
}

// buffers are those of connections that write just now.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// write sends what is queued, as much as there is at once.
func (c *conn) write() {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	for {
		msgs, last := c.take()
		if len(msgs) == 0 && !last {
			return
		}
		if err := c.writeAll(buf, msgs); err != nil || last {
			c.drop()
			return
		}
	}
}

func (c *conn) writeAll(buf *[]byte, msgs []wire.Msg) (err error) {
	b := *buf
	defer func() {
		if cap(b) <= keepBuffer {
			*buf = b
		}
	}()
	for len(msgs) > 0 {
		b = b[:0]
		for len(msgs) > 0 && len(b) < keepBuffer {
			if b, err = wire.AppendFrame(b, msgs[0]); err != nil {
				return err
			}
			msgs[0], msgs = nil, msgs[1:]
		}
		if err := c.raw.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			return err
		}
		if _, err := c.raw.Write(b); err != nil {
			return err
		}
	}
	// A deadline that is left behind wakes the process for nothing.
	return c.raw.SetWriteDeadline(time.Time{})
}
