package link

import (
	"net"
	"net/netip"
	"sync"
)

// hosts counts the handshakes in flight per host, so that one host cannot take
// all of them. The machine itself is not limited: its processes are no
// strangers, and simulated agents by the thousand connect from there.
type hosts struct {
	limit int
	mu    sync.Mutex
	count map[netip.Addr]int // guarded by mu; entries removed at 0, so it is as long as there are handshakes
}

func newHosts(limit int) *hosts { return &hosts{limit: limit, count: map[netip.Addr]int{}} }

func (h *hosts) enter(a netip.Addr) bool {
	if a.IsLoopback() {
		return true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.count[a] >= h.limit {
		return false
	}
	h.count[a]++
	return true
}

func (h *hosts) leave(a netip.Addr) {
	if a.IsLoopback() {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.count[a]--; h.count[a] <= 0 {
		delete(h.count, a)
	}
}

// HostOf is the address to count under: of IPv6 the /64, because one host
// owns all of it.
func HostOf(a net.Addr) netip.Addr {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Addr{} // all of an unknown kind count as one host
	}
	ip := ap.Addr().Unmap().WithZone("")
	if ip.Is6() && !ip.IsLoopback() {
		if p, err := ip.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return ip
}
