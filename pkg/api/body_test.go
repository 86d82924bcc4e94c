package api

import (
	"bufio"
	"context"
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

func TestABodyThatTricklesInIsRefusedAfterAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer func() { _ = near.Close() }()
		l := oneConn{make(chan net.Conn, 1)}
		l.conns <- far
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- Serve(ctx, l, server(t, leader{leads: true}), false, slog.New(slog.DiscardHandler)) }()

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
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}
