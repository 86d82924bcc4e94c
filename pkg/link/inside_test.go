package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"

	"github.com/dcos-go/dcos/pkg/dcos"
)

func sys(call string, e syscall.Errno) error {
	return &net.OpError{Op: call, Net: "tcp", Err: os.NewSyscallError(call, e)}
}

type timeout struct{ error }

func (timeout) Timeout() bool   { return true }
func (timeout) Temporary() bool { return true }

func TestEndingsAreToldApart(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err  error
		want Ending
	}{
		{io.EOF, Closed},
		{fmt.Errorf("read beat: %w", io.ErrUnexpectedEOF), Closed},
		{sys("read", syscall.ECONNRESET), Closed},
		{sys("write", syscall.EPIPE), Closed},
		{sys("read", syscall.ETIMEDOUT), Silent},
		{sys("read", syscall.EHOSTUNREACH), Silent},
		{fmt.Errorf("read: %w", os.ErrDeadlineExceeded), Silent},
		{net.ErrClosed, Ours},
		{context.Canceled, Ours},
		{errors.New("tls: bad record MAC"), Broken},
	} {
		if got := EndingOf(tt.err); got != tt.want {
			t.Errorf("EndingOf(%v) = %s, want %s", tt.err, got, tt.want)
		}
	}
}

func TestConnectErrorsAreReadAsAliveSilentOrNothingLearned(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err   error
		alive bool
		kind  error
	}{
		{sys("connect", syscall.ECONNREFUSED), true, nil},
		{sys("connect", syscall.ECONNRESET), true, nil},
		{sys("connect", syscall.EHOSTUNREACH), false, nil},
		{sys("connect", syscall.ENETUNREACH), false, nil},
		{sys("connect", syscall.ETIMEDOUT), false, nil},
		{&net.OpError{Op: "dial", Err: timeout{errors.New("i/o timeout")}}, false, nil},
		{sys("socket", syscall.EMFILE), false, dcos.ErrUnavailable},
		{sys("connect", syscall.EADDRNOTAVAIL), false, dcos.ErrUnavailable},
		{&net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", IsTimeout: true}}, false, dcos.ErrInvalid},
	} {
		alive, err := verdict("a:1", tt.err)
		if alive != tt.alive || !errors.Is(err, tt.kind) {
			t.Errorf("verdict(%v) = %v, %v, want %v, %v", tt.err, alive, err, tt.alive, tt.kind)
		}
	}
}

func TestOneHostHoldsALimitedNumberOfHandshakes(t *testing.T) {
	t.Parallel()
	h := newHosts(2)
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for i, want := range []bool{true, true, false} {
		if got := h.enter(a); got != want {
			t.Errorf("handshake %d of one host: let in %v, want %v", i+1, got, want)
		}
	}
	if !h.enter(b) {
		t.Error("another host is refused")
	}
	h.leave(a)
	if !h.enter(a) {
		t.Error("a freed place is not given again")
	}
	for range 2 {
		h.leave(a)
	}
	h.leave(b)
	if len(h.count) != 0 {
		t.Errorf("%d hosts are remembered without a handshake", len(h.count))
	}
	for range 100 {
		if !h.enter(netip.MustParseAddr("127.0.0.1")) {
			t.Fatal("this machine itself is refused")
		}
	}
}

func TestHostsAreCountedBySubnetInIPv6(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ addr, want string }{
		{"192.0.2.1:5", "192.0.2.1"},
		{"[::ffff:192.0.2.1]:5", "192.0.2.1"},
		{"[2001:db8:1:2:3::4]:5", "2001:db8:1:2::"},
		{"[fe80::1%eth0]:5", "fe80::"},
		{"[::1]:5", "::1"},
	} {
		ap := netip.MustParseAddrPort(tt.addr)
		if got := HostOf(net.TCPAddrFromAddrPort(ap)); got.String() != tt.want {
			t.Errorf("HostOf(%s) = %s, want %s", tt.addr, got, tt.want)
		}
	}
}
