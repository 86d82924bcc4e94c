package image

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// A transfer that breaks goes on where it broke. A registry that gives little
// at a time is given up: so many tries for one body, and so many in a row that
// brought nothing worth speaking of.
const (
	resumesMax    = 50
	resumesInARow = 6
	worthSpeaking = 64 << 10
	stallAfter    = time.Minute
)

func pauseBetween(n int) time.Duration { return min(200*time.Millisecond<<min(n, 6), 10*time.Second) }

// resumed is a body that asks for the rest of itself when it breaks. What it
// gives is verified by its reader: bytes of another version of the blob would
// not have its digest.
type resumed struct {
	g      *guard
	req    *http.Request
	mu     sync.Mutex
	body   io.ReadCloser // guarded by mu; replaced by Read alone
	ended  bool          // guarded by mu; closed was closed
	etag   string
	at     int64 // read so far
	size   int64 // -1: not told
	since  int64 // where the last try began
	total  int
	inARow int
	closed chan struct{}
}

func newResumed(g *guard, r *http.Request, resp *http.Response) *resumed {
	b := &resumed{g: g, req: r, body: resp.Body, size: resp.ContentLength, closed: make(chan struct{})}
	if e := resp.Header.Get("ETag"); !strings.HasPrefix(e, "W/") {
		b.etag = e
	}
	return b
}

// Read implements io.Reader.
func (b *resumed) Read(p []byte) (int, error) {
	for {
		n, err := b.readOnce(p)
		b.at += int64(n)
		switch {
		case err == nil || n > 0:
			return n, nil
		case errors.Is(err, io.EOF) && (b.size < 0 || b.at >= b.size):
			return 0, io.EOF
		}
		if rerr := b.resume(err); rerr != nil {
			return 0, rerr
		}
	}
}

// readOnce reads, but does not wait longer than the guard allows.
func (b *resumed) readOnce(p []byte) (int, error) {
	b.mu.Lock()
	body := b.body
	b.mu.Unlock()
	t := time.AfterFunc(b.g.stall, func() { _ = body.Close() })
	defer t.Stop()
	return body.Read(p)
}

// resume asks for the rest, again and again within its bounds.
func (b *resumed) resume(why error) error {
	if b.at-b.since >= worthSpeaking {
		b.inARow = 0
	}
	b.since = b.at
	b.mu.Lock()
	_ = b.body.Close() // it is broken
	b.mu.Unlock()
	for {
		if b.total++; b.total > resumesMax {
			return fmt.Errorf("%w: the transfer broke %d times, last at byte %d: %w", dcos.ErrUnavailable, b.total, b.at, why)
		}
		if b.inARow++; b.inARow > resumesInARow {
			return fmt.Errorf("%w: the transfer broke at byte %d: %w", dcos.ErrUnavailable, b.at, why)
		}
		t := time.NewTimer(b.g.pause(b.inARow))
		select {
		case <-t.C:
		case <-b.req.Context().Done():
			t.Stop()
			return b.req.Context().Err()
		case <-b.closed:
			t.Stop()
			return errClosed
		}
		again, err := b.ask()
		if again {
			why = err
			continue
		}
		return err
	}
}

// ask sends one request for the rest; again says that another may help.
func (b *resumed) ask() (again bool, err error) {
	r := b.req.Clone(b.req.Context())
	r.Header.Set("Range", fmt.Sprintf("bytes=%d-", b.at))
	if b.etag != "" {
		r.Header.Set("If-Range", b.etag)
	}
	resp, err := b.g.inner.RoundTrip(r)
	if err != nil {
		return b.req.Context().Err() == nil, err
	}
	skip := b.at
	switch resp.StatusCode {
	case http.StatusPartialContent:
		if !strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", b.at)) {
			_ = resp.Body.Close()
			return false, fmt.Errorf("%w: asked for the rest from byte %d, got %q", dcos.ErrUnavailable, b.at, resp.Header.Get("Content-Range"))
		}
		skip = 0
	case http.StatusOK: // it keeps no ranges: from the beginning
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusInternalServerError:
		_ = resp.Body.Close()
		return true, fmt.Errorf("%w: asked for the rest from byte %d, got %s", dcos.ErrUnavailable, b.at, resp.Status)
	default:
		_ = resp.Body.Close()
		return false, fmt.Errorf("%w: asked for the rest from byte %d, got %s", dcos.ErrUnavailable, b.at, resp.Status)
	}
	if !b.replace(resp.Body) {
		return false, errClosed
	}
	if skip > 0 {
		if err := b.skip(skip); err != nil {
			_ = resp.Body.Close()
			return true, err
		}
	}
	return false, nil
}

// skip reads what is known already.
func (b *resumed) skip(n int64) error {
	p := make([]byte, 64<<10)
	for n > 0 {
		got, err := b.readOnce(p[:min(int64(len(p)), n)])
		if n -= int64(got); err != nil && n > 0 {
			return err
		}
	}
	return nil
}

// Close ends the transfer; it may be called while Read waits, and again.
func (b *resumed) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ended {
		b.ended = true
		close(b.closed)
	}
	return b.body.Close()
}

var errClosed = errors.New("the transfer was closed")

// replace takes another body, unless nobody wants it any more.
func (b *resumed) replace(body io.ReadCloser) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		_ = body.Close()
		return false
	}
	b.body = body
	return true
}
