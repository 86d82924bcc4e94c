package bench

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// workspace makes a directory below which children live, and gives the
// function that removes it with everything that they have left.
func workspace() (work string, sweep func() error, err error) {
	work, err = os.MkdirTemp("", "dcos-bench-")
	if err != nil {
		return "", nil, fmt.Errorf("make a directory: %w", err)
	}
	return work, func() error { return sweepUp(work) }, nil
}

// sweepUp ends the processes of the agents whose data is below work, removes
// their control groups, and removes work once nothing is mounted there.
func sweepUp(work string) error {
	var errs []error
	for _, id := range agentsIn(work) {
		errs = append(errs, sweepAgent(id))
	}
	errs = append(errs, unmountBelow(work))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("sweep up below %s: %w", work, err)
	}
	if err := os.RemoveAll(work); err != nil {
		return fmt.Errorf("sweep up: %w", err)
	}
	return nil
}

// agentID is what may name a control group of an agent; everything else is
// left alone.
var agentID = regexp.MustCompile(`^n-[0-9a-f]{8,}$`)

func agentsIn(work string) []string {
	var out []string
	for _, pattern := range []string{"agent/id", "*/agent/id"} {
		files, _ := filepath.Glob(filepath.Join(work, pattern)) // the pattern is good
		for _, file := range files {
			b, err := os.ReadFile(file)
			if id := strings.TrimSpace(string(b)); err == nil && agentID.MatchString(id) {
				out = append(out, id)
			}
		}
	}
	return out
}

// groupsOf are the control groups of an agent in all hierarchies.
func groupsOf(id string) []string {
	var out []string
	for _, pattern := range []string{"/sys/fs/cgroup/dcos/", "/sys/fs/cgroup/*/dcos/"} {
		dirs, _ := filepath.Glob(pattern + id) // the id has no wildcards
		out = append(out, dirs...)
	}
	return out
}

// sweepAgent kills what is left in the groups of an agent, and removes them.
func sweepAgent(id string) error {
	const rounds = 100
	for range rounds {
		left := 0
		for _, group := range groupsOf(id) {
			var dirs []string
			_ = filepath.WalkDir(group, func(path string, d fs.DirEntry, err error) error { // what has gone has gone
				if err == nil && d.IsDir() {
					dirs = append(dirs, path)
				}
				return nil
			})
			for _, dir := range slices.Backward(dirs) { // the lower ones first
				for _, pid := range pidsIn(dir) {
					_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
				}
				if err := os.Remove(dir); err != nil && !os.IsNotExist(err) {
					left++
				}
			}
		}
		if left == 0 {
			return nil
		}
		<-time.After(20 * time.Millisecond) // the kernel says nothing when a group gets empty
	}
	return fmt.Errorf("control groups of agent %s cannot be removed", id)
}

func pidsIn(group string) []int {
	b, _ := os.ReadFile(filepath.Join(group, "cgroup.procs")) // gone is empty
	var out []int
	for _, f := range strings.Fields(string(b)) {
		if pid, err := strconv.Atoi(f); err == nil && pid > 1 {
			out = append(out, pid)
		}
	}
	return out
}

// unmountBelow takes away what is mounted below a directory, so that removing
// the directory reaches nothing else.
func unmountBelow(dir string) error {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("read the mounts: %w", err)
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	for _, line := range slices.Backward(lines) { // the last ones lie on top
		f := strings.Fields(line)
		if len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			if err := unix.Unmount(f[4], unix.MNT_DETACH); err != nil {
				return fmt.Errorf("unmount %s: %w", f[4], err)
			}
		}
	}
	return nil
}
