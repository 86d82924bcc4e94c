package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// Ending is how a connection came to its end, as far as its last error shows.
type Ending uint8

// The endings.
const (
	// Broken: neither of the others, such as bytes that make no sense.
	Broken Ending = iota
	// Closed: the peer's kernel ended it (EOF, RST): the process is gone or
	// closed it; the machine was there a moment ago.
	Closed
	// Silent: the peer's machine did not answer the kernel's probes, or
	// nothing came before the reader's own deadline.
	Silent
	// Ours: this side closed it.
	Ours
)

var endingNames = [...]string{"broken", "closed", "silent", "ours"}

// String is the word for logs.
func (e Ending) String() string { return endingNames[e] }

// EndingOf tells endings apart by the error of a read or write.
func EndingOf(err error) Ending {
	switch {
	case errors.Is(err, net.ErrClosed), errors.Is(err, context.Canceled):
		return Ours
	case errors.Is(err, syscall.ETIMEDOUT), errors.Is(err, os.ErrDeadlineExceeded),
		errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return Silent
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return Closed
	}
	return Broken
}

// A probe makes two tries of half a second, so that one lost packet is no
// verdict.
const (
	probeTries   = 2
	probeTimeout = 500 * time.Millisecond
)

// Probe asks whether a machine is there, by a TCP connection to addr: accepted
// or refused, it is alive; no answer in two tries of 500 ms, it is silent. An
// error means that nothing was learned (ctx ended, a bad address, out of
// descriptors) and must not be taken for silence.
func Probe(ctx context.Context, addr string) (alive bool, err error) {
	for range probeTries {
		alive, err = probe(ctx, addr)
		if alive || err != nil {
			return alive, err
		}
	}
	return false, nil
}

func probe(ctx context.Context, addr string) (bool, error) {
	d := net.Dialer{Timeout: probeTimeout, KeepAlive: -1}
	c, err := d.DialContext(ctx, "tcp", addr)
	if err == nil {
		c.Close()
		return true, nil
	}
	if cerr := ctx.Err(); cerr != nil {
		return false, fmt.Errorf("probe %s: %w", addr, cerr)
	}
	return verdict(addr, err)
}

// verdict reads the error of a connect.
func verdict(addr string, err error) (bool, error) {
	var ne net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ECONNRESET):
		return true, nil
	case EndingOf(err) == Silent, errors.Is(err, syscall.EHOSTDOWN):
		return false, nil
	case errors.As(err, new(*net.DNSError)), errors.As(err, new(*net.AddrError)):
		return false, fmt.Errorf("probe %s: %w: %w", addr, dcos.ErrInvalid, err)
	case errors.As(err, &ne) && ne.Timeout():
		return false, nil
	}
	return false, fmt.Errorf("probe %s: %w: %w", addr, dcos.ErrUnavailable, err)
}
