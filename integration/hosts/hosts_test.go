package hosts

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestHostsProbe(t *testing.T) {
	n := NewNet(t)
	h := n.Host(t, Options{Name: "n1"})
	out, _, err := h.Run(t.Context(), "cat", "/proc/sys/kernel/random/boot_id")
	t.Log(out, err, os.Getpid())
	out, err = h.Enter("systemd-analyze")
	t.Log(out, err)
}
