package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// Dial connects to another machine's mTLS port and returns once that machine
// has let the connection in. The server's certificate must be of this cluster
// and fit want. Errors are dcos.ErrUnavailable when trying again may help, and
// dcos.ErrDenied when one of the two refuses the other.
func Dial(ctx context.Context, addr, proto string, cfg Config, want Expect) (*Conn, error) {
	cfg = cfg.withDefaults()
	tc, err := ClientTLS(cfg, want)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	tc.NextProtos = []string{proto}
	d := net.Dialer{Timeout: cfg.Timeout, KeepAlive: -1} // tune sets keepalive
	raw, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w: %w", addr, dcos.ErrUnavailable, err)
	}
	tune(raw)
	c, err := enter(ctx, raw, tc, cfg.Timeout)
	if err != nil {
		raw.Close()
		return nil, fmt.Errorf("dial %s for %s: %w", addr, proto, err)
	}
	return c, nil
}

// enter makes the handshake and reads the listener's answer.
func enter(ctx context.Context, raw net.Conn, tc *tls.Config, timeout time.Duration) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	t := tls.Client(raw, tc)
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, kindOf(err)
	}
	// The context ends the wait for the answer too.
	stop := context.AfterFunc(ctx, func() { raw.SetDeadline(time.Unix(1, 0)) }) //nolint:errcheck // a dead connection fails at the read
	var answer [1]byte
	_, err := io.ReadFull(t, answer[:])
	if !stop() && err == nil {
		err = ctx.Err()
	}
	switch {
	case err != nil:
		return nil, kindOf(err)
	case answer[0] == answerBusy:
		return nil, fmt.Errorf("%w: the other end is busy, try again", dcos.ErrUnavailable)
	case answer[0] == answerDenied:
		return nil, fmt.Errorf("%w: the other end does not let this machine in; its role does not fit, or it was removed from the cluster", dcos.ErrDenied)
	case answer[0] != answerAccepted:
		return nil, fmt.Errorf("%w: the other end answers with byte %d; it is not a dcos port of a known version", dcos.ErrDenied, answer[0])
	}
	s := t.ConnectionState()
	peer, _ := PeerOf(s)
	return &Conn{Conn: t, Peer: peer, Proto: s.NegotiatedProtocol}, nil
}

// kindOf says whether trying again may help.
func kindOf(err error) error {
	var alert tls.AlertError
	var oe *net.OpError
	var record tls.RecordHeaderError
	switch {
	case errors.Is(err, dcos.ErrDenied):
		return err
	case errors.As(err, &alert), errors.As(err, &oe) && oe.Op == "remote error":
		return fmt.Errorf("%w: the other end refuses the handshake (another cluster, a certificate it does not know, or clocks that differ): %w", dcos.ErrDenied, err)
	case errors.As(err, &record):
		return fmt.Errorf("%w: the other end does not speak TLS: %w", dcos.ErrDenied, err)
	}
	return fmt.Errorf("%w: %w", dcos.ErrUnavailable, err)
}
