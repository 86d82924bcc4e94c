package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// Dialer connects to another machine's API over the mTLS port.
type Dialer func(ctx context.Context) (net.Conn, error)

// Peer passes requests on to one other machine. Connections are kept for the
// next request as long as the machine stays the same.
type Peer struct {
	proxy     *httputil.ReverseProxy
	transport *http.Transport
}

type errKey struct{}

// ownHeader marks a request that a machine makes for itself and not for a
// client. It is taken out of everything that is passed on.
const ownHeader = "X-Dcos-Own"

// IsOwn says that the machine at the other end asks for itself. It means
// something only on a listener that has proven which machine that is.
func IsOwn(r *http.Request) bool { return r.Header.Get(ownHeader) != "" }

// NewPeer makes a Peer over a dialer.
func NewPeer(dial Dialer) *Peer {
	t := &http.Transport{
		DialContext:           func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		MaxIdleConns:          64,
		MaxIdleConnsPerHost:   64,
		MaxConnsPerHost:       1024,
		IdleConnTimeout:       30 * time.Second,
		ResponseHeaderTimeout: 60 * time.Second,
		DisableCompression:    true,
	}
	p := &Peer{transport: t}
	p.proxy = &httputil.ReverseProxy{
		Transport:     t,
		FlushInterval: -1, // streams pass at once
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", "peer"
			r.Out.Host = r.In.Host
			r.SetXForwarded()
			// Who asks must arrive as it came: a client may name any header
			// in Connection, and those are taken out on the way.
			for _, name := range []string{"Authorization", "Cookie"} {
				r.Out.Header[name] = r.In.Header[name]
			}
			r.Out.Header.Del(ownHeader)
		},
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), // the caller says what went wrong
		ErrorHandler: func(_ http.ResponseWriter, r *http.Request, err error) {
			if slot, ok := r.Context().Value(errKey{}).(*error); ok {
				*slot = err
			}
		},
	}
	return p
}

// Pass answers the request through the other machine. The error means that
// nothing was written; whether the machine acted on the request is unknown
// when it wraps dcos.ErrUnknown.
func (p *Peer) Pass(w http.ResponseWriter, r *http.Request) error {
	var failed error
	p.proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), errKey{}, &failed)))
	var dialing *net.OpError
	var tooLarge *http.MaxBytesError
	switch {
	case failed == nil:
		return nil
	case errors.As(failed, &tooLarge):
		return fmt.Errorf("%w: expected at most %d bytes", ErrTooLarge, tooLarge.Limit)
	case errors.Is(failed, dcos.ErrUnavailable), errors.Is(failed, dcos.ErrDenied), errors.As(failed, &dialing) && dialing.Op == "dial", r.Method == http.MethodGet:
		return fmt.Errorf("pass on %s %s: %w: %w", r.Method, r.URL.Path, dcos.ErrUnavailable, failed)
	}
	return fmt.Errorf("pass on %s %s: %w: %w", r.Method, r.URL.Path, dcos.ErrUnknown, failed)
}

// Close drops the kept connections.
func (p *Peer) Close() { p.transport.CloseIdleConnections() }

// Accepter gives the connections of one protocol, such as link.Listener does.
type Accepter func(ctx context.Context) (net.Conn, error)

// PeerListener makes a net.Listener of an Accepter, for http.Server.
func PeerListener(ctx context.Context, accept Accepter, addr net.Addr) net.Listener {
	ctx, cancel := context.WithCancel(ctx)
	return &peerListener{ctx, cancel, accept, addr}
}

type peerListener struct {
	ctx    context.Context //nolint:containedctx // net.Listener's Accept has no argument for it
	cancel context.CancelFunc
	accept Accepter
	addr   net.Addr
}

// Accept waits for the next connection.
func (l *peerListener) Accept() (net.Conn, error) {
	c, err := l.accept(l.ctx)
	if err != nil && l.ctx.Err() != nil {
		return nil, net.ErrClosed
	}
	return c, err
}

// Close ends Accept.
func (l *peerListener) Close() error { l.cancel(); return nil }

// Addr is the port's address.
func (l *peerListener) Addr() net.Addr { return l.addr }

type connKey struct{}

// ConnOf is the connection on which Serve got a request, as its listener gave
// it; nil elsewhere.
func ConnOf(ctx context.Context) net.Conn {
	c, _ := ctx.Value(connKey{}).(net.Conn)
	return c
}

// Serve runs an HTTP server on a listener until ctx ends, then lets requests
// finish for a moment. forwarded marks every request as passed on by a master.
func Serve(ctx context.Context, l net.Listener, h http.Handler, forwarded bool, log *slog.Logger) error {
	if forwarded {
		inner := h
		h = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			inner.ServeHTTP(w, r.WithContext(WithForwarded(r.Context())))
		})
	}
	base, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	srv := &http.Server{
		Handler:           h,
		ConnContext:       func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		ReadHeaderTimeout: 5 * time.Second, // and of a TLS handshake
		ReadTimeout:       0,               // bodies are bounded by size and by the handlers; streams have no end
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ConnState:         noteState,
		BaseContext:       func(net.Listener) context.Context { return base },
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }() // ends with the shutdown or close below
	select {
	case err := <-done:
		return fmt.Errorf("serve HTTP on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	stop() // streams end at once
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	if err := srv.Shutdown(grace); err != nil {
		_ = srv.Close() // whoever is left had three seconds
	}
	<-done //nolint:errcheck // Serve's error only says that it was closed
	return nil
}

// RoundTrip makes a request of this machine's own to the other one; only the
// URL's path and query matter. Implements http.RoundTripper.
func (p *Peer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Scheme, r.URL.Host = "http", "peer"
	r.Header.Set(ownHeader, "1")
	return p.transport.RoundTrip(r)
}
