package dcos

import (
	"bytes"
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/dcos-go/dcos/pkg/api"
	"github.com/dcos-go/dcos/pkg/sandbox"
)

// partialAfter is how long the beginning of a line waits for its end before it
// is shown as it is: a prompt never ends.
const partialAfter = time.Second

// chunk is bytes of a log with the offset of the first.
type chunk struct {
	at   int64
	data []byte
}

// follow sends lines as they are written, until the client goes away.
func (a *agentServer) follow(w http.ResponseWriter, r *http.Request, o *logOutput, start int64) error {
	ctx, stop := context.WithCancel(r.Context())
	l, err := a.Logs.Follow(ctx, o.task, o.file, start)
	if err != nil {
		stop()
		return err
	}
	chunks, ended := make(chan chunk), make(chan struct{})
	go func() { // ends with ctx, when the log cannot be read any more, or at stop
		defer close(ended)
		defer close(chunks)
		readChunks(ctx, l, chunks)
		l.Close()
	}()
	defer func() { stop(); <-ended }()
	out, err := api.StartEvents(w)
	if err != nil {
		return nil // the client is gone
	}
	send := func(offset int64, line []byte, next int64) (bool, error) {
		if o.skip > 0 {
			o.skip--
			return false, nil
		}
		if err := out.Send(strconv.FormatInt(next, 10), "", o.entry(offset, line, next)); err != nil {
			return false, err
		}
		return o.took(), nil
	}
	o.pump(chunks, out, send, start)
	return nil
}

func (o *logOutput) pump(chunks <-chan chunk, out *api.Events, send lineFunc, start int64) {
	c := cutter{at: start}
	alive, partial := time.NewTicker(pingEvery), time.NewTimer(partialAfter)
	defer alive.Stop()
	defer partial.Stop()
	for {
		select {
		case next, ok := <-chunks:
			if !ok {
				return
			}
			if next.at != c.end() {
				c.jump(next.at)
			}
			if done, err := c.feed(next.data, send); done || err != nil {
				return
			}
			if c.pending() > 0 {
				partial.Reset(partialAfter)
			}
		case <-partial.C:
			if done, err := c.flush(send); done || err != nil {
				return
			}
		case <-alive.C:
			if out.Comment("alive") != nil {
				return
			}
		}
	}
}

func readChunks(ctx context.Context, l *sandbox.Log, to chan<- chunk) {
	for {
		buf := make([]byte, 32<<10)
		n, err := l.Read(buf)
		if n > 0 {
			select {
			case to <- chunk{l.Offset() - int64(n), buf[:n]}:
			case <-ctx.Done():
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// lineFunc takes a line, its offset and the offset behind it.
type lineFunc func(offset int64, line []byte, next int64) (done bool, err error)

// cutter cuts a stream of bytes into lines of bounded length.
type cutter struct {
	at   int64 // offset of the first byte of rest
	rest []byte
	open bool // the line before was given out without its end
}

func (c *cutter) pending() int { return len(c.rest) }
func (c *cutter) end() int64   { return c.at + int64(len(c.rest)) }

// jump goes on at another offset: what lay between is gone, and with it the
// line that was begun.
func (c *cutter) jump(to int64) { c.at, c.rest, c.open = to, nil, false }

func (c *cutter) feed(data []byte, line lineFunc) (done bool, err error) {
	c.rest = append(c.rest, data...)
	for {
		if c.open && len(c.rest) > 0 {
			if c.open = false; c.rest[0] == '\n' {
				c.at, c.rest = c.at+1, c.rest[1:]
			}
		}
		i := bytes.IndexByte(c.rest[:min(len(c.rest), maxLine)], '\n')
		n := i + 1
		if i < 0 {
			if len(c.rest) < maxLine {
				return false, nil
			}
			i, n, c.open = maxLine, maxLine, true
		}
		text, at := c.rest[:i], c.at
		c.at, c.rest = c.at+int64(n), c.rest[n:]
		if done, err := line(at, bytes.TrimSuffix(text, []byte("\r")), c.at); done || err != nil {
			return done, err
		}
	}
}

// flush gives out the line that was begun, as it is.
func (c *cutter) flush(line lineFunc) (done bool, err error) {
	if len(c.rest) == 0 {
		return false, nil
	}
	text, at := c.rest, c.at
	c.at, c.rest, c.open = c.end(), nil, true
	return line(at, text, c.at)
}
