package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// sleepers is the app whose tasks do nothing.
const sleepers = "/bench/sleepers"

// agentCosts measures an agent process of its own: idle first, then with tasks
// that sleep.
func agentCosts(ctx context.Context, b *bench) (out []figure, err error) {
	r, err := b.pair(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.end()) }()
	if b.wanted("agent-rss") || b.wanted("agent-cpu") {
		if out, err = b.idle(ctx, r); err != nil {
			return out, err
		}
	}
	for _, m := range []struct {
		row   string
		tasks int
	}{{"task-memory-20", b.few}, {"task-memory-100", b.many}} {
		if !b.wanted(m.row) {
			continue
		}
		f, err := b.taskMemory(ctx, r, m.row, m.tasks)
		if err != nil {
			return out, fmt.Errorf("%s: %w", m.row, err)
		}
		out = append(out, f)
	}
	return out, nil
}

// idle looks at the agent while nothing happens.
func (b *bench) idle(ctx context.Context, r *running) ([]figure, error) {
	b.say("agent-rss, agent-cpu: %d windows of %s", b.rounds, b.window)
	var rss, cpu []float64
	if err := pause(ctx, b.settle); err != nil {
		return nil, err
	}
	for range b.rounds {
		before, from := cpuOf(r.agent.pid()), time.Now()
		if err := pause(ctx, b.window); err != nil {
			return nil, err
		}
		cpu = append(cpu, 100*float64(cpuOf(r.agent.pid())-before)/float64(time.Since(from)))
		bytes, err := kilobytes(r.agent.pid(), "status", "VmRSS:")
		if err != nil {
			return nil, err
		}
		rss = append(rss, bytes/1e6)
	}
	return []figure{
		spanned("agent-rss", rss, "1 master, 1 agent"),
		spanned("agent-cpu", cpu, fmt.Sprintf("windows of %s", b.window)),
	}, nil
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// cpuOf is the CPU time that a process has used, in nanoseconds.
func cpuOf(pid int) int64 {
	const schedClock = 2 // CPUCLOCK_SCHED of a process: see clock_getcpuclockid(3)
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid)<<3|schedClock, &t); err != nil { // a pid fits
		return 0
	}
	return t.Nano()
}

// kilobytes reads a line of /proc/PID/FILE and gives it in bytes.
func kilobytes(pid int, file, key string) (float64, error) {
	path := filepath.Join("/proc", strconv.Itoa(pid), file)
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("read memory: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == key {
			kb, err := strconv.ParseFloat(f[1], 64)
			if err != nil {
				return 0, fmt.Errorf("read memory: %s: %w", path, err)
			}
			return kb * 1024, nil
		}
	}
	return 0, fmt.Errorf("read memory: %s has no line %s", path, key)
}

// taskMemory is what n running tasks add: the growth of the agent and all
// their shims, in proportional shares.
func (b *bench) taskMemory(ctx context.Context, r *running, row string, n int) (figure, error) {
	var each, shims []float64
	for i := range b.rounds {
		b.say("%s %d of %d", row, i+1, b.rounds)
		before, _, err := r.ours()
		if err != nil {
			return figure{}, err
		}
		spec := fmt.Appendf(nil, `{"id":%q,"cmd":"exec sleep 100000","cpus":0.01,"mem":16,"instances":%d}`, sleepers, n)
		if _, err := r.client.CreateApp(ctx, spec); err != nil {
			return figure{}, fmt.Errorf("create %s: %w", sleepers, err)
		}
		err = await(ctx, "the tasks", 20*time.Millisecond, r.children, func() (bool, error) {
			a, err := r.client.App(ctx, sleepers)
			return a.TasksRunning == n, err
		})
		if err == nil {
			err = pause(ctx, b.settle)
		}
		if err != nil {
			return figure{}, err
		}
		agent, shim, err := r.ours()
		if err != nil {
			return figure{}, err
		}
		each = append(each, (agent+shim-before)/1e6/float64(n))
		shims = append(shims, shim/1e6/float64(n))
		if err := r.remove(ctx, sleepers); err != nil {
			return figure{}, err
		}
	}
	return spanned(row, each, fmt.Sprintf("%d tasks, of which shims %s MB each; without the kernel's own memory", n, number(median(shims)))), nil
}

// ours is the proportional memory of the agent, and of the processes of this
// binary below it.
func (r *running) ours() (agent, shims float64, err error) {
	pid := r.agent.pid()
	if agent, err = kilobytes(pid, "smaps_rollup", "Pss:"); err != nil {
		return 0, 0, err
	}
	self, err := os.Stat(procFile(pid, "exe"))
	if err != nil {
		return 0, 0, fmt.Errorf("read the agent's binary: %w", err)
	}
	for _, p := range below(pid) {
		exe, err := os.Stat(procFile(p, "exe"))
		if err != nil || !os.SameFile(self, exe) {
			continue // it has ended, or is the task itself
		}
		pss, err := kilobytes(p, "smaps_rollup", "Pss:")
		if err == nil {
			shims += pss
		}
	}
	return agent, shims, nil
}

func procFile(pid int, name string) string { return filepath.Join("/proc", strconv.Itoa(pid), name) }

// below are all descendants of a process.
func below(root int) []int {
	children := map[int][]int{}
	entries, _ := os.ReadDir("/proc") // what cannot be read has no processes
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		b, err := os.ReadFile(procFile(pid, "stat"))
		if err != nil {
			continue // it has ended
		}
		// The name in parentheses may hold anything; state and parent follow.
		f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
		if len(f) > 1 {
			if parent, err := strconv.Atoi(string(f[1])); err == nil {
				children[parent] = append(children[parent], pid)
			}
		}
	}
	var out []int
	for next := children[root]; len(next) > 0; {
		pid := next[0]
		next = append(next[1:], children[pid]...)
		out = append(out, pid)
	}
	return out
}
