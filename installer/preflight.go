package installer

import (
	"context"
	"fmt"
	"slices"
)

// What a machine must have. The sizes are the least with which tasks can run
// beside dcos itself.
const (
	minMem  = 256 << 20
	minDisk = 1 << 30
)

// fault is one thing that keeps a machine from being installed.
type fault struct{ what, fix string }

// preflight collects every fault, so that the operator mends all at once.
func preflight(ctx context.Context, o Options, m Machine, ports []int, running bool) error {
	var faults []fault
	add := func(what, fix string) { faults = append(faults, fault{what, fix}) }
	if !m.Root() {
		add("not root", "run it with sudo")
	}
	f, err := m.Facts(ctx)
	if err != nil {
		return fmt.Errorf("look at the machine: %w", err)
	}
	if f.OS != "linux" || (f.Arch != "amd64" && f.Arch != "arm64") {
		add("system is "+f.OS+"/"+f.Arch, "use Linux on amd64 or arm64")
	}
	if !f.Systemd {
		add("systemd is not running", "install on a machine with systemd, or run `dcos master` and `dcos agent` under your own supervisor")
	}
	if f.MemBytes < minMem {
		add(fmt.Sprintf("%d MiB of memory", f.MemBytes>>20), fmt.Sprintf("use a machine with at least %d MiB", minMem>>20))
	}
	if f.DiskFreeBytes < minDisk {
		add(fmt.Sprintf("%d MiB free for data", f.DiskFreeBytes>>20), fmt.Sprintf("free at least %d MiB", minDisk>>20))
	}
	if !f.ClockSane {
		add("the clock is years off", "set it, and run a time service such as systemd-timesyncd or chrony")
	}
	if o.Role != RoleMaster {
		faults = append(faults, agentFaults(f)...)
	}
	if !running {
		for _, p := range ports {
			if p != 0 && !m.PortFree(p) {
				add(fmt.Sprintf("port %d is in use", p), "stop what listens there (ss -ltnp shows it), or choose another port with --set")
			}
		}
	}
	if len(faults) == 0 {
		return nil
	}
	text := ""
	for _, f := range faults {
		text += "\n  - " + f.what + ": " + f.fix
	}
	return fmt.Errorf("%w:%s", ErrPreflight, text)
}

func agentFaults(f Facts) []fault {
	var out []fault
	if !f.Overlay {
		out = append(out, fault{"the kernel has no overlayfs", "load it (modprobe overlay) or use another kernel"})
	}
	for _, c := range []string{"cpu", "memory", "pids"} {
		if !slices.Contains(f.Cgroups, c) {
			out = append(out, fault{"cgroup controller " + c + " is missing", "enable it in the kernel's command line"})
		}
	}
	return out
}
