package link

import (
	"net"
	"time"
)

// What makes the kernel notice a dead machine in 5 to 7 s at any number of
// connections: keepalive probes on an idle connection, and a limit for
// unacknowledged data, because keepalive alone does not probe a connection
// that has any.
const (
	keepIdle     = 3 * time.Second
	keepInterval = time.Second
	keepCount    = 3
	userTimeout  = 6 * time.Second
)

// tune sets the socket options of a connection between machines. A connection
// that is not TCP (in tests) has none. Errors are left to the first use.
func tune(c net.Conn) {
	t, ok := c.(*net.TCPConn)
	if !ok {
		return
	}
	t.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: keepIdle, Interval: keepInterval, Count: keepCount}) //nolint:errcheck // see above
	setUserTimeout(t, userTimeout)
}
