package installer

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Host is the machine that this process runs on.
type Host struct {
	DataDir string
	// Built is this build's date; a clock before it is wrong.
	Built time.Time
}

// Root says whether this process is root.
func (Host) Root() bool { return os.Geteuid() == 0 }

// Facts looks at the kernel and the file system.
func (h Host) Facts(context.Context) (Facts, error) {
	f := Facts{OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU(), ClockSane: !time.Now().Before(h.Built)}
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		f.Systemd = true
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return f, fmt.Errorf("ask for memory: %w", err)
	}
	f.MemBytes = int64(info.Totalram) * int64(info.Unit)
	dir := h.DataDir
	for dir != "/" {
		if _, err := os.Stat(dir); err == nil {
			break
		}
		dir = filepath.Dir(dir)
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(dir, &disk); err != nil {
		return f, fmt.Errorf("ask for free space of %s: %w", dir, err)
	}
	f.DiskFreeBytes = int64(disk.Bavail) * disk.Bsize
	filesystems, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return f, fmt.Errorf("list file systems: %w", err)
	}
	f.Overlay = strings.Contains(string(filesystems), "\toverlay\n")
	f.Cgroups = controllers()
	return f, nil
}

// controllers lists cgroup controllers of version 2, or those mounted as
// version 1.
func controllers() []string {
	if b, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		return strings.Fields(string(b))
	}
	var out []string
	for _, c := range []string{"cpu", "memory", "pids"} {
		if _, err := os.Stat("/sys/fs/cgroup/" + c); err == nil {
			out = append(out, c)
		}
	}
	return out
}

// Systemctl runs systemctl.
func (Host) Systemctl(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "systemctl", args...).CombinedOutput()
	return string(out), err
}

// PortFree tries to listen.
func (Host) PortFree(port int) bool {
	l, err := net.Listen("tcp", fmt.Sprintf(":%d", port)) //nolint:noctx // returns at once
	if err != nil {
		return false
	}
	return l.Close() == nil
}
