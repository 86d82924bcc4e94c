package api

import (
	"container/list"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"

	"github.com/dcos-go/dcos/pkg/link"
)

// Conns is a listener that bounds the connections that are open at once, in
// all and of one address. When there are too many, the one that has been
// without a request for the longest time gives way; when all of them have one,
// the new one is closed. The machine's own address is bounded in all only.
type Conns struct {
	net.Listener
	most, each int

	mu    sync.Mutex
	open  int                       // guarded by mu, as all below
	hosts map[netip.Addr]*hostConns // entries are removed at 0
	idle  *list.List                // of *limited, of all hosts, the longest without a request first
}

type hostConns struct {
	open int
	idle *list.List // of *limited
}

// LimitConns bounds the connections of a listener. It belongs below TLS. The
// defaults, for 0, are 4,096 in all and 1,024 of one address.
func LimitConns(l net.Listener, most, each int) *Conns {
	if most == 0 {
		most = 4096
	}
	if each == 0 {
		each = 1024
	}
	return &Conns{Listener: l, most: most, each: each, hosts: map[netip.Addr]*hostConns{}, idle: list.New()}
}

// limited is one connection of a Conns.
type limited struct {
	net.Conn
	of     *Conns
	host   netip.Addr
	closed bool          // guarded by of.mu, as below
	inAll  *list.Element // nil while it has a request
	inHost *list.Element
}

// Accept gives the next connection that there is room for.
func (l *Conns) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		in, out := l.enter(c)
		if out != nil {
			_ = out.Conn.Close() // it may be closing already
		}
		if in != nil {
			return in, nil
		}
		_ = c.Close() // there is no room
	}
}

// enter counts a connection, and says which one has to give way.
func (l *Conns) enter(c net.Conn) (in, out *limited) {
	host := link.HostOf(c.RemoteAddr())
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.hosts[host]
	switch {
	case h != nil && h.open >= l.each && !host.IsLoopback():
		if h.idle.Len() == 0 {
			return nil, nil
		}
		out = h.idle.Front().Value.(*limited)
	case l.open >= l.most:
		if l.idle.Len() == 0 {
			return nil, nil
		}
		out = l.idle.Front().Value.(*limited)
	}
	if out != nil {
		l.leave(out)
		h = l.hosts[host] // it may have been the last one
	}
	if h == nil {
		h = &hostConns{idle: list.New()}
		l.hosts[host] = h
	}
	in = &limited{Conn: c, of: l, host: host}
	l.open++
	h.open++
	l.rest(in)
	return in, out
}

// leave forgets a connection. It is called with mu held.
func (l *Conns) leave(c *limited) {
	if c.closed {
		return
	}
	l.work(c)
	c.closed = true
	l.open--
	h := l.hosts[c.host]
	if h.open--; h.open == 0 {
		delete(l.hosts, c.host)
	}
}

// rest and work note that a connection has no request, or has one. They are
// called with mu held.
func (l *Conns) rest(c *limited) {
	if c.closed || c.inAll != nil {
		return
	}
	c.inAll, c.inHost = l.idle.PushBack(c), l.hosts[c.host].idle.PushBack(c)
}

func (l *Conns) work(c *limited) {
	if c.closed || c.inAll == nil {
		return
	}
	l.idle.Remove(c.inAll)
	l.hosts[c.host].idle.Remove(c.inHost)
	c.inAll, c.inHost = nil, nil
}

// Open is how many connections are open.
func (l *Conns) Open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open
}

// Close makes room for another one.
func (c *limited) Close() error {
	c.of.mu.Lock()
	c.of.leave(c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// noteState is told by net/http whether a connection has a request.
func noteState(c net.Conn, s http.ConnState) {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	one, ok := c.(*limited)
	if !ok {
		return
	}
	one.of.mu.Lock()
	defer one.of.mu.Unlock()
	switch s {
	case http.StateActive:
		one.of.work(one)
	case http.StateIdle:
		one.of.rest(one)
	case http.StateNew, http.StateHijacked, http.StateClosed: // Accept and Close know
	}
}
