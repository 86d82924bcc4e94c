package hosts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dcos-go/dcos/integration/hosts/cache"
)

// tracerLimit bounds how long a tracer takes to seize or to let go of all
// threads of a process, on a loaded machine.
const tracerLimit = 20 * time.Second

// Inject makes system calls of a process fail or wait, as strace's own words
// for it say: "error=EIO:when=1", "delay_enter=200ms". pid is the host's. The
// fault lasts until end is called or the process is gone; end may be called
// once. A host's disk is a directory of the machine's, so this is what a bad
// disk looks like to one process.
func (h *Host) Inject(ctx context.Context, pid int, calls, fault string) (end func() error, err error) {
	if err := cache.Need(ctx, cache.Tool{Program: "strace", Package: "strace"}); err != nil {
		return nil, err
	}
	machine, err := h.machinePid(pid)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("strace", "-f", "-qq", "-p", strconv.Itoa(machine), "-o", "/dev/null",
		"-e", "trace="+calls, "-e", "inject="+calls+":"+fault)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: inject a fault: %w", h.opt.Name, err)
	}
	done := make(chan struct{})
	go func() { // ends with strace
		_ = cmd.Wait() // its status is that of what it traced
		close(done)
	}()
	end = func() error { return letGo(cmd.Process, done) }
	err = poll(tracerLimit, func() error { return seized(machine, cmd.Process.Pid) })
	select {
	case <-done:
		return nil, fmt.Errorf("%s: inject %s into process %d: strace ended: %s", h.opt.Name, fault, pid, said.String())
	default:
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: inject %s: %w", h.opt.Name, fault, err), end())
	}
	return end, nil
}

// letGo ends a tracer. Told to end, it takes the faults back; killed, the
// kernel lets its processes run on.
func letGo(p *os.Process, done <-chan struct{}) error {
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		_ = p.Signal(sig) // it may have ended with what it traced
		select {
		case <-done:
			return nil
		case <-time.After(tracerLimit / 4):
		}
	}
	return fmt.Errorf("strace (%d) does not end", p.Pid)
}

// seized says nil when every thread of a process has this tracer.
func seized(pid, tracer int) error {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(threads) == 0 {
		return fmt.Errorf("process %d is gone", pid)
	}
	for _, file := range threads {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended
		}
		if !strings.Contains(string(text), fmt.Sprintf("\nTracerPid:\t%d\n", tracer)) {
			return fmt.Errorf("%s: not traced yet", file)
		}
	}
	return nil
}

func (h *Host) machinePid(pid int) (int, error) {
	all, err := h.Processes()
	if err != nil {
		return 0, err
	}
	for _, p := range all {
		if p.PID == pid {
			return p.Machine, nil
		}
	}
	return 0, fmt.Errorf("%s: no process %d", h.opt.Name, pid)
}

// Throttle lets the cgroup of a process write to the host's disk so many times
// a second at most, until end is called.
func (h *Host) Throttle(pid, writesPerSecond int) (end func() error, err error) {
	machine, err := h.machinePid(pid)
	if err != nil {
		return nil, err
	}
	var disk unix.Stat_t
	if err := unix.Stat(h.dir, &disk); err != nil {
		return nil, fmt.Errorf("%s: find the disk: %w", h.opt.Name, err)
	}
	file, err := h.throttleFile(machine)
	if err != nil {
		return nil, err
	}
	limit := func(n int) error {
		rule := fmt.Sprintf("%d:%d %d", unix.Major(disk.Dev), unix.Minor(disk.Dev), n)
		if err := os.WriteFile(file, []byte(rule), 0o644); ignoreGone(err) != nil {
			return fmt.Errorf("%s: throttle the disk: %w", h.opt.Name, err)
		}
		return nil
	}
	return func() error { return limit(0) }, limit(writesPerSecond)
}

// throttleFile is where the writes of a process's cgroup are limited.
func (h *Host) throttleFile(machine int) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", machine))
	if err != nil {
		return "", fmt.Errorf("%s: throttle the disk: %w", h.opt.Name, err)
	}
	for line := range strings.Lines(string(text)) {
		part := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(part) != 3 || !(hierarchy{Options: part[1]}).has("blkio") {
			continue
		}
		for _, t := range h.net.trees {
			if t.has("blkio") {
				return filepath.Join(t.Mount, part[2], "blkio.throttle.write_iops_device"), nil
			}
		}
	}
	return "", fmt.Errorf("%s: throttle the disk: the machine has no blkio controller", h.opt.Name)
}
