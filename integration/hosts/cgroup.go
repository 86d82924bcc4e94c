package hosts

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// hierarchy is one mounted cgroup tree of the machine.
type hierarchy struct {
	Mount string // where the machine has it, e.g. /sys/fs/cgroup/memory
	V2    bool
	// Options are what a v1 mount needs to be the same tree: "cpu,cpuacct",
	// "name=systemd".
	Options string
}

func (h hierarchy) has(controller string) bool {
	for o := range strings.SplitSeq(h.Options, ",") {
		if o == controller {
			return true
		}
	}
	return false
}

// hierarchies lists the cgroup trees of this mount namespace.
func hierarchies() ([]hierarchy, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list cgroup trees: %w", err)
	}
	var out []hierarchy
	seen := map[string]bool{}
	for line := range strings.Lines(string(data)) {
		before, after, ok := strings.Cut(strings.TrimSpace(line), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 5 || len(right) < 3 {
			continue
		}
		h := hierarchy{Mount: left[4], V2: right[0] == "cgroup2"}
		if right[0] == "cgroup" {
			h.Options = v1Options(right[2])
		} else if !h.V2 {
			continue
		}
		key := right[0] + h.Options
		if seen[key] {
			continue
		}
		seen[key] = true
		out = append(out, h)
	}
	if len(out) == 0 {
		return nil, errors.New("no cgroup tree is mounted below /sys/fs/cgroup")
	}
	return out, nil
}

func v1Options(super string) string {
	var keep []string
	for o := range strings.SplitSeq(super, ",") {
		switch o {
		case "rw", "ro", "xattr", "clone_children", "noprefix":
		default:
			if !strings.HasPrefix(o, "release_agent=") {
				keep = append(keep, o)
			}
		}
	}
	return strings.Join(keep, ",")
}

// makeCgroups makes the cgroup name in every tree, ready to take processes.
func makeCgroups(trees []hierarchy, name string) error {
	for _, h := range trees {
		dir := filepath.Join(h.Mount, name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make cgroup %s: %w", name, err)
		}
		if h.has("cpuset") {
			if err := inheritCPUSet(h.Mount, name); err != nil {
				return err
			}
		}
		if h.V2 {
			delegateV2(h.Mount, name)
		}
	}
	return nil
}

// inheritCPUSet copies cpus and memory nodes downwards: a new v1 cpuset has
// none and takes no process.
func inheritCPUSet(mount, name string) error {
	dir := mount
	for part := range strings.SplitSeq(name, "/") {
		next := filepath.Join(dir, part)
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			value, err := os.ReadFile(filepath.Join(dir, file))
			if err == nil {
				err = os.WriteFile(filepath.Join(next, file), value, 0o644)
			}
			if err != nil {
				return fmt.Errorf("cpuset of %s: %w", name, err)
			}
		}
		dir = next
	}
	return nil
}

// delegateV2 hands down what controllers the v2 tree has. On a hybrid machine
// there are none, so a failure is not one.
func delegateV2(mount, name string) {
	dir := mount
	for part := range strings.SplitSeq(name, "/") {
		list, _ := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
		for c := range strings.FieldsSeq(string(list)) {
			_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0o644)
		}
		dir = filepath.Join(dir, part)
	}
}

// joinCgroups moves the process pid.
func joinCgroups(trees []hierarchy, name string, pid int) error {
	for _, h := range trees {
		file := filepath.Join(h.Mount, name, "cgroup.procs")
		if err := os.WriteFile(file, []byte(strconv.Itoa(pid)), 0o644); err != nil {
			return fmt.Errorf("join cgroup: %w", err)
		}
	}
	return nil
}

// cgroupPids lists the processes in name and below it, in the machine's
// numbers. Zombies are not among them.
func cgroupPids(trees []hierarchy, name string) (map[int]bool, error) {
	pids := map[int]bool{}
	for _, h := range trees {
		err := filepath.WalkDir(filepath.Join(h.Mount, name), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.Name() != "cgroup.procs" {
				return ignoreGone(err)
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return ignoreGone(err)
			}
			for f := range bytes.FieldsSeq(data) {
				if pid, err := strconv.Atoi(string(f)); err == nil && pid != 0 {
					pids[pid] = true
				}
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("processes of cgroup %s: %w", name, err)
		}
	}
	return pids, nil
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) {
		return nil
	}
	return err
}

// emptyCgroups kills what is in name and below until nothing is.
func emptyCgroups(trees []hierarchy, name string, limit time.Duration) error {
	return poll(limit, func() error {
		pids, err := cgroupPids(trees, name)
		if err != nil || len(pids) == 0 {
			return err
		}
		for pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		return fmt.Errorf("%d processes in cgroup %s do not end", len(pids), name)
	})
}

// removeCgroups kills what is left in name and removes it from every tree.
func removeCgroups(trees []hierarchy, name string) error {
	if err := emptyCgroups(trees, name, 20*time.Second); err != nil {
		return err
	}
	return poll(10*time.Second, func() error {
		var all error
		for _, h := range trees {
			all = errors.Join(all, removeTree(filepath.Join(h.Mount, name)))
		}
		return all
	})
}

// removeTree removes a cgroup with all below it, deepest first.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ignoreGone(err)
	}
	var all error
	for _, e := range entries {
		if e.IsDir() {
			all = errors.Join(all, removeTree(filepath.Join(dir, e.Name())))
		}
	}
	if err := syscall.Rmdir(dir); err != nil && !errors.Is(err, syscall.ENOENT) {
		all = errors.Join(all, fmt.Errorf("remove cgroup %s: %w", dir, err))
	}
	return all
}

// poll calls try until it returns nil, at most for limit, and returns its
// last answer. Kernel clean-up has no event to wait for.
func poll(limit time.Duration, try func() error) error {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	wait := time.NewTicker(5 * time.Millisecond)
	defer wait.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-deadline.C:
			return err
		case <-wait.C:
		}
	}
}
