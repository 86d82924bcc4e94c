package link

import (
	"net"
	"syscall"
	"testing"
)

func TestBothEndsNoticeADeadMachineWithinSeconds(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	out, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	in, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	for _, c := range []net.Conn{out, in} {
		tune(c)
		raw, err := c.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		for _, opt := range []struct {
			name        string
			level, n, v int
		}{
			{"SO_KEEPALIVE", syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1},
			{"TCP_KEEPIDLE", syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, 3},
			{"TCP_KEEPINTVL", syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, 1},
			{"TCP_KEEPCNT", syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT, 3},
			{"TCP_USER_TIMEOUT", syscall.IPPROTO_TCP, tcpUserTimeout, 6000},
		} {
			var v int
			var err error
			cerr := raw.Control(func(fd uintptr) { v, err = syscall.GetsockoptInt(int(fd), opt.level, opt.n) })
			if cerr != nil || err != nil || v != opt.v {
				t.Errorf("%s = %d, %v, %v, want %d", opt.name, v, err, cerr, opt.v)
			}
		}
	}
}
