package agent

import (
	"bufio"
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/dcos-go/dcos/pkg/wire"
)

// Limits of the connection.
const (
	writeTimeout = 10 * time.Second
	sendBuffer   = 1024     // messages that wait to be written
	keepBuffer   = 64 << 10 // a larger buffer is not kept
)

// conn is one connection to a master, from the moment it is wanted. send and
// finish may be called by Run alone, and on nil.
type conn struct {
	link uint64
	out  chan wire.Msg
	shut bool          // Run's own: out is closed
	full chan struct{} // closed by send when the master does not read
	over chan struct{} // closed when all goroutines of it have ended
}

func newConn(link uint64) *conn {
	return &conn{link: link, out: make(chan wire.Msg, sendBuffer), full: make(chan struct{}), over: make(chan struct{})}
}

// send queues a message. When too many wait the connection is given up; what
// must not be lost is in the outbox.
func (c *conn) send(m wire.Msg) {
	if c == nil || c.shut {
		return
	}
	select {
	case c.out <- m:
	default:
		close(c.full)
		c.finish()
	}
}

// finish closes the connection after what was queued.
func (c *conn) finish() {
	if c != nil && !c.shut {
		c.shut = true
		close(c.out)
	}
}

// wait returns when the connection is over, or after d.
func (c *conn) wait(d time.Duration) {
	if c == nil {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-c.over:
	case <-t.C:
	}
}

// carry runs the connection until it ends; the error says why.
func (c *conn) carry(ctx context.Context, raw net.Conn, put func(Event)) error {
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer stop()
	var side sync.WaitGroup
	defer side.Wait()
	ended := make(chan struct{})
	defer close(ended)
	defer raw.Close()
	side.Go(func() { c.write(raw, ended) }) // until finish, a failed write, or the reader's end
	put(Linked{Link: c.link})
	r := bufio.NewReaderSize(raw, 16<<10)
	var buf []byte
	for {
		m, b, err := wire.ReadMsg(r, buf)
		if err != nil {
			return err
		}
		if buf = b; cap(buf) > keepBuffer {
			buf = nil
		}
		put(Got{Link: c.link, Msg: m})
	}
}

// write sends what is queued and closes the connection at the end.
func (c *conn) write(raw net.Conn, ended <-chan struct{}) {
	defer raw.Close()
	for {
		select {
		case <-ended:
			return
		case <-c.full:
			return
		case m, ok := <-c.out:
			if !ok {
				return
			}
			err := raw.SetWriteDeadline(time.Now().Add(writeTimeout))
			if err = errors.Join(err, wire.WriteMsg(raw, m)); err != nil {
				return
			}
		}
	}
}
