package node

import (
	"net"
	"os"
	"strings"
)

// notifier tells systemd how the process is doing (sd_notify(3)). Without
// systemd it does nothing. It is a convenience: failures are ignored.
type notifier struct{ addr string }

func newNotifier() notifier {
	addr := os.Getenv("NOTIFY_SOCKET")
	_ = os.Unsetenv("NOTIFY_SOCKET") // tasks must not speak for us
	if strings.HasPrefix(addr, "@") {
		addr = "\x00" + addr[1:]
	}
	return notifier{addr}
}

func (n notifier) send(lines ...string) {
	if n.addr == "" {
		return
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.addr, Net: "unixgram"})
	if err != nil {
		return
	}
	_, _ = c.Write([]byte(strings.Join(lines, "\n")))
	_ = c.Close()
}

// status is the line that `systemctl status` shows and install waits for.
func (n notifier) status(text string) {
	n.send("STATUS=" + strings.ReplaceAll(text, "\n", "; ")) // a line is a field
}

// ready says that the process has started, healthy or not: what comes then is
// told by status.
func (n notifier) ready() { n.send("READY=1") }

func (n notifier) stopping() { n.send("STOPPING=1") }
