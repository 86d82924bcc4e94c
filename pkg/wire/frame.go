package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// prefix is the length of a frame's length, big-endian.
const prefix = 4

// AppendFrame appends m as one frame, length first. It fails with
// dcos.ErrInvalid when m is larger than MaxFrame or no message.
func AppendFrame(b []byte, m Msg) ([]byte, error) {
	start := len(b)
	b = append(b, 0, 0, 0, 0)
	b, err := appendMsg(b, m)
	if err != nil {
		return b[:start], err
	}
	n := len(b) - start - prefix
	if n > MaxFrame {
		return b[:start], fmt.Errorf("%w: %T of %d bytes, expected at most %d", dcos.ErrInvalid, m, n, MaxFrame)
	}
	binary.BigEndian.PutUint32(b[start:], uint32(n))
	return b, nil
}

// WriteMsg writes m as one frame in one call of Write.
func WriteMsg(w io.Writer, m Msg) error {
	b, err := AppendFrame(nil, m)
	if err != nil {
		return err
	}
	if _, err := w.Write(b); err != nil {
		return fmt.Errorf("write %T: %w", m, err)
	}
	return nil
}

// ReadMsg reads one frame and decodes it. The buffer is used again: the
// returned one, which may have grown, goes into the next call. io.EOF comes
// only between frames; bytes that are no frame give dcos.ErrInvalid.
func ReadMsg(r io.Reader, buf []byte) (Msg, []byte, error) {
	var head [prefix]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, buf, err
	}
	n := int(binary.BigEndian.Uint32(head[:]))
	if n > MaxFrame {
		return nil, buf, fmt.Errorf("%w: frame of %d bytes, expected at most %d: the peer does not speak %s", dcos.ErrInvalid, n, MaxFrame, Protocol)
	}
	buf, err := readBody(r, buf, n)
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, buf, err
	}
	m, err := Decode(buf[:n])
	return m, buf, err
}

// bodyStep is how much is allocated before the bytes for it have come.
const bodyStep = 64 << 10

// readBody reads n bytes; a peer that only claims a long frame costs little.
func readBody(r io.Reader, buf []byte, n int) ([]byte, error) {
	buf = buf[:0]
	for len(buf) < n {
		from := len(buf)
		to := min(n, max(cap(buf), from+bodyStep))
		if to > cap(buf) {
			buf = append(buf, make([]byte, to-from)...)
		}
		buf = buf[:to]
		if _, err := io.ReadFull(r, buf[from:]); err != nil {
			return buf[:0], err
		}
	}
	return buf, nil
}
