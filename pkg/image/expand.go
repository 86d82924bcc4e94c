package image

import (
	"bufio"
	"bytes"
	"io"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxWindow bounds the memory that a layer's compression may ask for; it is
// what the zstd program itself takes by default.
const maxWindow = 128 << 20

// expand undoes a layer's compression, whichever it is: gzip, zstd or none.
// What it is called in the manifest is not asked, the bytes say it.
func expand(sent io.Reader) (io.ReadCloser, error) {
	b := bufio.NewReaderSize(sent, 128<<10)
	head, err := b.Peek(4)
	if err != nil && len(head) == 0 {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, err
		}
		return newAhead(z, b, func() {}), nil
	case bytes.Equal(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(b, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		return newAhead(z, b, z.Close), nil
	}
	return newAhead(b, b, func() {}), nil
}

// ahead reads in the background, so that expanding and writing a layer take
// the time of the slower of the two. At the end it reads what is left of the
// compressed stream, whose digest is only checked there.
type ahead struct {
	full, free chan []byte
	stop       chan struct{}
	once       sync.Once
	ended      sync.WaitGroup
	now        []byte
	buf        []byte
	err        error // of the reader; set before full is closed
}

const aheadSize, aheadCount = 256 << 10, 8

func newAhead(r, sent io.Reader, end func()) *ahead {
	a := &ahead{full: make(chan []byte, aheadCount), free: make(chan []byte, aheadCount), stop: make(chan struct{})}
	for range aheadCount {
		a.free <- make([]byte, aheadSize)
	}
	a.ended.Go(func() { // until the stream or its reader ends
		defer end()
		defer close(a.full)
		for {
			var b []byte
			select {
			case b = <-a.free:
			case <-a.stop:
				return
			}
			n, err := io.ReadFull(r, b[:aheadSize])
			if err == io.ErrUnexpectedEOF || err == io.EOF { //nolint:errorlint // ReadFull's own
				if _, err = io.Copy(io.Discard, sent); err == nil {
					err = io.EOF
				}
			}
			a.err = err
			if n > 0 {
				select {
				case a.full <- b[:n]:
				case <-a.stop:
					return
				}
			}
			if err != nil {
				return
			}
		}
	})
	return a
}

// Read implements io.Reader.
func (a *ahead) Read(p []byte) (int, error) {
	if len(a.now) == 0 {
		if a.buf != nil {
			a.free <- a.buf
			a.buf = nil
		}
		b, ok := <-a.full
		if !ok {
			return 0, a.err
		}
		a.buf, a.now = b, b
	}
	n := copy(p, a.now)
	a.now = a.now[n:]
	return n, nil
}

// Close ends the reading. The stream below must be closed first when it may hang.
func (a *ahead) Close() error {
	a.once.Do(func() { close(a.stop) })
	a.ended.Wait()
	return nil
}

// arriving counts what has come.
type arriving struct {
	r     io.Reader
	total int64
	done  *atomic.Int64
}

func (a *arriving) Read(p []byte) (int, error) {
	n, err := a.r.Read(p)
	a.total += int64(n)
	a.done.Add(int64(n))
	return n, err
}
