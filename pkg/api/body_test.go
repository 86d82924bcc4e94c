package api

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// oneConn is a listener that hands out one connection.
type oneConn struct {
	conns chan net.Conn
}

func (l oneConn) Accept() (net.Conn, error) {
	c, ok := <-l.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (l oneConn) Close() error   { close(l.conns); return nil }
func (l oneConn) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// serveOne is a client's end of a connection to a server of its own.
func serveOne(t *testing.T) (near net.Conn, stop func()) {
	t.Helper()
	near, far := net.Pipe()
	l := oneConn{make(chan net.Conn, 1)}
	l.conns <- far
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, l, server(t, leader{leads: true}), false, slog.New(slog.DiscardHandler)) }()
	return near, func() {
		_ = near.Close() // again is no harm
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}
}

func TestABodyThatTricklesInIsRefusedAfterAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		near, stop := serveOne(t)
		start := time.Now()
		var trickle sync.WaitGroup
		trickle.Go(func() { // one byte every ten seconds: never silent, never done
			head := "PUT /things/a HTTP/1.1\r\nHost: x\r\nAuthorization: admin\r\nContent-Length: 1000\r\n\r\n"
			_, err := near.Write([]byte(head))
			for ; err == nil; _, err = near.Write([]byte("x")) {
				<-time.After(10 * time.Second)
			}
		})
		res, err := http.ReadResponse(bufio.NewReader(near), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		if took := time.Since(start); res.StatusCode != http.StatusRequestTimeout || took != bodyTimeout {
			t.Errorf("status %d after %s, want %d after %s", res.StatusCode, took, http.StatusRequestTimeout, bodyTimeout)
		}
		_ = near.Close()
		trickle.Wait()
		stop()
	})
}

func TestAStrangersBodyHoldsNoConnection(t *testing.T) {
	t.Parallel()
	for _, head := range []string{
		"PUT /things/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", // nobody knows who asks
		"PUT /nope HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n",     // and here nobody would answer
		"POST /things/a HTTP/1.1\r\nHost: x\r\nAuthorization: admin\r\nTransfer-Encoding: chunked\r\n\r\n",
	} {
		synctest.Test(t, func(t *testing.T) {
			near, stop := serveOne(t)
			start := time.Now()
			if _, err := near.Write([]byte(head)); err != nil {
				t.Fatal(err)
			}
			from := bufio.NewReader(near)
			res, err := http.ReadResponse(from, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, res.Body); err != nil {
				t.Error(err)
			}
			if _, err := from.ReadByte(); !errors.Is(err, io.EOF) || res.StatusCode < 400 {
				t.Errorf("%q: status %d and then %v, want a refusal and the end of the connection", head, res.StatusCode, err)
			}
			if took := time.Since(start); took > bodyTimeout {
				t.Errorf("%q held the connection for %s", head, took)
			}
			stop()
		})
	}
}
