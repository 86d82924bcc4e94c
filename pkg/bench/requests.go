package bench

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// asker makes the same kind of request again and again over a few kept
// connections. It parses little: the machine is the master's as well.
type asker struct {
	addr  string
	ca    []byte
	token string
	conns int
}

// asked is what came of it.
type asked struct {
	good  int64  // answered with 2xx
	bad   int64  // answered with anything else
	bytes int64  // of bodies
	first string // of the bad answers
	took  time.Duration
}

// request is one request's method, path and body.
type request struct{ method, path, body string }

// ask sends what next gives, until d is over. Requests that are under way then
// are waited for.
func (a asker) ask(ctx context.Context, d time.Duration, next func(n int64) request) (asked, error) {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(a.ca)
	var out asked
	var n, good, bad, bytes atomic.Int64
	var mu sync.Mutex // guards what follows
	var errs []error
	from := time.Now()
	var all sync.WaitGroup
	for range a.conns {
		all.Go(func() {
			err := a.one(ctx, pool, from.Add(d), func() request { return next(n.Add(1)) }, func(status int, body []byte) {
				bytes.Add(int64(len(body)))
				if status/100 == 2 {
					good.Add(1)
				} else if bad.Add(1) == 1 {
					mu.Lock()
					out.first = fmt.Sprintf("%d %.200s", status, body)
					mu.Unlock()
				}
			})
			if err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	out.good, out.bad, out.bytes, out.took = good.Load(), bad.Load(), bytes.Load(), time.Since(from)
	return out, errors.Join(errs...)
}

// one is one connection.
func (a asker) one(ctx context.Context, pool *x509.CertPool, until time.Time, next func() request, answered func(status int, body []byte)) error {
	conn, err := (&tls.Dialer{Config: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}}).DialContext(ctx, "tcp", a.addr)
	if err != nil {
		return fmt.Errorf("ask %s: %w", a.addr, err)
	}
	defer conn.Close() // nothing was left to be written
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	in := bufio.NewReaderSize(conn, 64<<10)
	var out, body []byte
	for first := true; first || time.Now().Before(until); first = false {
		r := next()
		out = fmt.Appendf(out[:0], "%s %s HTTP/1.1\r\nHost: x\r\nAuthorization: token=%s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
			r.method, r.path, a.token, len(r.body), r.body)
		if _, err := conn.Write(out); err != nil {
			return fmt.Errorf("ask %s: %w", a.addr, err)
		}
		res, err := http.ReadResponse(in, nil) //nolint:bodyclose // read to its end, so that the connection goes on
		if err == nil {
			body, err = readInto(body, res.Body)
		}
		if err != nil {
			return fmt.Errorf("ask %s: %w", a.addr, err)
		}
		answered(res.StatusCode, body)
	}
	return nil
}

// readInto reads everything into a buffer that is used again.
func readInto(b []byte, from io.ReadCloser) ([]byte, error) {
	defer from.Close() // it was read
	b = b[:0]
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := from.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if errors.Is(err, io.EOF) {
			return b, nil
		}
		if err != nil {
			return b, err
		}
	}
}
