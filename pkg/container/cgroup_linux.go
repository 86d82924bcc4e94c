package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/cgroups"
	devices "github.com/opencontainers/cgroups/devices/config"
	"github.com/opencontainers/cgroups/manager"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"golang.org/x/sys/unix"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// shimsName is the group of all shims of an agent; no task's name begins with a dot.
const shimsName = ".shims"

// groupPath is a control group of this agent, from the root of each hierarchy.
func (r *Runtime) groupPath(name string) string {
	return filepath.Join("/dcos", r.agent, name)
}

// group is the manager of one control group in every hierarchy.
func (r *Runtime) group(name string, res *cgroups.Resources) (cgroups.Manager, error) {
	m, err := manager.New(&cgroups.Cgroup{Path: r.groupPath(name), Resources: res})
	if err != nil {
		return nil, fmt.Errorf("control group %s: %w", r.groupPath(name), err)
	}
	return m, nil
}

// CPU limits are given to the kernel in microseconds of this period.
const cpuPeriod = 100_000

// cpuShares is the kernel's weight of so many thousandths of a core.
func cpuShares(milli int64) uint64 { return uint64(max(2, milli*1024/1000)) }

// cpuQuota is the time per period; the kernel takes no less than 1 ms.
func cpuQuota(milli int64) int64 { return max(1000, milli*cpuPeriod/1000) }

// resources turns limits into what this node can enforce of them.
func (r *Runtime) resources(l dcos.Limits) *cgroups.Resources {
	res := &cgroups.Resources{SkipDevices: !r.caps.Devices}
	if r.caps.Devices {
		res.Devices = []*devices.Rule{}
		for _, d := range specconv.AllowedDevices {
			res.Devices = append(res.Devices, &d.Rule)
		}
	}
	if milli := int64(l.CPUs); milli > 0 && r.caps.CPU {
		res.CpuPeriod, res.CpuQuota = cpuPeriod, cpuQuota(milli)
		if r.caps.CgroupVersion == 2 {
			res.CpuWeight = cgroups.ConvertCPUSharesToCgroupV2Value(cpuShares(milli))
		} else {
			res.CpuShares = cpuShares(milli)
		}
	}
	if l.MemBytes > 0 && r.caps.Memory {
		res.Memory = l.MemBytes
	}
	if l.Pids > 0 && r.caps.Pids {
		res.PidsLimit = &l.Pids
	}
	return res
}

// makeGroup creates a task's control group with its limits.
func (r *Runtime) makeGroup(name string, l dcos.Limits) (cgroups.Manager, error) {
	res := r.resources(l)
	m, err := r.group(name, res)
	if err != nil {
		return nil, err
	}
	if err := m.Apply(-1); err != nil {
		return nil, fmt.Errorf("create control group %s: %w", r.groupPath(name), err)
	}
	if err := m.Set(res); err != nil {
		return nil, fmt.Errorf("limits of control group %s: %w", r.groupPath(name), err)
	}
	return m, nil
}

// procsFiles are the files by which a process joins a group, in a fixed order.
func procsFiles(m cgroups.Manager) []string {
	var files []string
	for _, path := range m.GetPaths() {
		if path != "" {
			files = append(files, filepath.Join(path, cgroups.CgroupProcesses))
		}
	}
	slices.Sort(files)
	return slices.Compact(files)
}

// oomFile is where the kernel counts the processes of a group that the memory
// limit has killed; "" when memory is not limited here.
func (r *Runtime) oomFile(m cgroups.Manager) string {
	switch {
	case !r.caps.Memory:
		return ""
	case r.caps.CgroupVersion == 2:
		return filepath.Join(m.Path(""), "memory.events")
	}
	return filepath.Join(m.Path("memory"), "memory.oom_control")
}

// killGroup kills every process of a group until there is none.
func killGroup(ctx context.Context, m cgroups.Manager) error {
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		left := 0
		for _, file := range procsFiles(m) {
			pids, err := cgroups.GetAllPids(filepath.Dir(file))
			if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ENODEV) {
				return fmt.Errorf("processes of control group: %w", err)
			}
			for _, pid := range pids {
				left++
				_ = unix.Kill(pid, unix.SIGKILL) // it may have ended meanwhile
			}
		}
		if left == 0 {
			return nil
		}
		if err := pause(ctx, wait); err != nil {
			return fmt.Errorf("%w: %d processes do not end when killed", dcos.ErrUnavailable, left)
		}
	}
}

// pause waits, or ends early with the context.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// Probe finds out what can be enforced here for an agent of the given id. It
// creates the agent's control groups, where it may.
func Probe(agentID string) Capabilities {
	c := Capabilities{Root: os.Geteuid() == 0, Seccomp: seccompSupported()}
	if !c.Root {
		c.tell()
		return c
	}
	parent := filepath.Join("/dcos", agentID)
	m, err := manager.New(&cgroups.Cgroup{Path: filepath.Join(parent, shimsName), Resources: &cgroups.Resources{SkipDevices: true}})
	if err == nil {
		err = m.Apply(-1)
	}
	if devices := m.Path("devices"); err == nil && devices != "" && !cgroups.IsCgroup2UnifiedMode() {
		// Without rules the group is not made there; a shim would stay in the
		// agent's own, which its service manager then could not remove.
		err = os.MkdirAll(devices, 0o755)
	}
	if err != nil {
		c.tell()
		return c
	}
	c.CgroupVersion = 1
	if cgroups.IsCgroup2UnifiedMode() {
		c.CgroupVersion = 2
		have, _ := os.ReadFile(filepath.Join(m.Path(""), "cgroup.controllers"))
		list := strings.Fields(string(have))
		c.CPU, c.Memory, c.Pids = slices.Contains(list, "cpu"), slices.Contains(list, "memory"), slices.Contains(list, "pids")
		c.Devices = true // by a BPF program; one that cannot be attached is an error at the start
	} else {
		c.CPU, c.Memory, c.Pids, c.Devices = m.Path("cpu") != "", m.Path("memory") != "", m.Path("pids") != "", m.Path("devices") != ""
	}
	c.tell()
	return c
}

// tell fills in the words for what is missing.
func (c *Capabilities) tell() {
	c.NotEnforced = nil
	miss := func(have bool, what string) {
		if !have {
			c.NotEnforced = append(c.NotEnforced, what)
		}
	}
	miss(c.Root, "isolation: without root tasks run as plain processes of this user")
	miss(!c.Root || c.CgroupVersion != 0, "isolation: control groups cannot be written, tasks run as plain processes")
	miss(c.CPU, "cpus: no cpu controller")
	miss(c.Memory, "mem: no memory controller")
	miss(c.Pids, "number of processes: no pids controller")
	miss(c.Devices, "devices: no device rules")
	miss(c.Seccomp, "system calls: built without seccomp")
	miss(false, "disk: the size of a sandbox is not limited by the kernel")
}
