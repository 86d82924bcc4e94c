package dispatch

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/link"
	"github.com/dcos-go/dcos/pkg/wire"
)

// Limits of one connection.
const (
	helloTimeout = 10 * time.Second
	writeTimeout = 10 * time.Second
	sendBuffer   = 512      // messages that wait to be written
	keepBuffer   = 64 << 10 // a larger read buffer is not kept
)

// conn is one agent's connection. Its methods may be called on nil.
type conn struct {
	raw  net.Conn
	out  chan wire.Msg // written to by Run alone, so it may close it
	mu   sync.Mutex
	shut bool // guarded by mu: out is closed
}

// send queues a message. An agent that does not read is cut off: it comes back
// and is told everything anew.
func (c *conn) send(m wire.Msg) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.shut {
		return
	}
	select {
	case c.out <- m:
	default:
		c.raw.Close()
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
		close(c.out)
	}
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
	c := &conn{raw: raw, out: make(chan wire.Msg, sendBuffer)}
	sess := d.lastID.Add(1)
	if !d.enter(sess, c) {
		return fmt.Errorf("session of %s: %w: this master is stopping", peer.ID, dcos.ErrUnavailable)
	}
	var writer sync.WaitGroup
	writer.Go(func() { c.write() }) // until finish, or a write fails
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
	writer.Wait()
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
	r := bufio.NewReaderSize(raw, 4<<10)
	var buf []byte
	for {
		m, b, err := wire.ReadMsg(r, buf)
		if err != nil {
			return err
		}
		if buf = b; cap(buf) > keepBuffer {
			buf = nil
		}
		d.put(ctx, Got{Sess: sess, Msg: m})
	}
}

// write sends what is queued, as much as there is at once, and closes the
// connection at the end.
func (c *conn) write() {
	defer c.raw.Close()
	var buf []byte
	for m := range c.out {
		var err error
		if buf, err = wire.AppendFrame(buf[:0], m); err != nil {
			return
		}
		for more := true; more && len(buf) < keepBuffer; {
			select {
			case m, ok := <-c.out:
				if !ok {
					more = false
					break
				}
				if buf, err = wire.AppendFrame(buf, m); err != nil {
					return
				}
			default:
				more = false
			}
		}
		if err := c.raw.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			return
		}
		if _, err := c.raw.Write(buf); err != nil {
			return
		}
		if cap(buf) > keepBuffer {
			buf = nil
		}
	}
}
