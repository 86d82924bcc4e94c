package client

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// frame is one server-sent event. A comment is a frame without data.
type frame struct {
	id, name string
	data     []byte
}

// maxFrame bounds one event, and one line of a log.
const maxFrame = 64 << 20

// frames reads server-sent events.
type frames struct{ r *bufio.Reader }

func newFrames(r io.Reader) *frames { return &frames{bufio.NewReaderSize(r, 32<<10)} }

// next is the next event. Comments come as empty frames at once, so that the
// caller sees that the server is alive.
func (s *frames) next() (frame, error) {
	var f frame
	begun := false
	for {
		line, err := s.line(maxFrame - len(f.data))
		if err != nil {
			return frame{}, err
		}
		if len(line) == 0 {
			if begun {
				return f, nil
			}
			continue
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "":
			if !begun {
				return frame{}, nil
			}
			continue
		case "id":
			f.id = string(value)
		case "event":
			f.name = string(value)
		case "data":
			if f.data != nil {
				f.data = append(f.data, '\n')
			}
			f.data = append(f.data, value...)
		}
		begun = true
	}
}

// line is the next line without its end.
func (s *frames) line(most int) ([]byte, error) {
	var long []byte
	for {
		part, err := s.r.ReadSlice('\n')
		if len(long)+len(part) > most {
			return nil, fmt.Errorf("%w: an event has more than %d bytes", dcos.ErrExhausted, maxFrame)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			long = append(long, part...)
			continue
		}
		if err != nil {
			return nil, err
		}
		if long != nil {
			part = append(long, part...)
		}
		return bytes.TrimRight(part, "\r\n"), nil
	}
}

// lines gives the lines of an answer, which ends.
func (c *Client) lines(ctx context.Context, k call) iter.Seq2[frame, error] {
	return func(yield func(frame, error) bool) {
		res, err := c.send(ctx, k)
		if err != nil {
			yield(frame{}, err)
			return
		}
		defer res.Body.Close()
		s := newFrames(res.Body)
		for {
			line, err := s.line(maxFrame)
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(frame{}, k.lost(ctx, err))
				return
			}
			if len(line) > 0 && !yield(frame{data: line}, nil) {
				return
			}
		}
	}
}
