//go:build !linux

package link

import (
	"net"
	"time"
)

// setUserTimeout does nothing: only Linux machines are members of a cluster.
func setUserTimeout(*net.TCPConn, time.Duration) {}
