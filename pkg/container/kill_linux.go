package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// Signal sends a signal to a task: to its first process in an image, as images
// expect, and to the process group of a command, so that what a shell started
// ends as well. A task that has ended takes it in silence; one without state
// here is an ErrNotFound.
func (r *Runtime) Signal(id dcos.TaskID, signal int) error {
	if signal <= 0 || signal > 64 {
		return fmt.Errorf("signal %s: %w: signal %d", id, dcos.ErrInvalid, signal)
	}
	dir := r.taskDir(id)
	rec, err := r.record(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("signal %s: %w: it does not run on this node", id, dcos.ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("signal %s: %w", id, err)
	}
	if err := r.signal(dir, rec.Kind, unix.Signal(signal)); err != nil {
		return fmt.Errorf("signal %s: %w", id, err)
	}
	return nil
}

func (r *Runtime) signal(dir string, kind dcos.Kind, signal unix.Signal) error {
	lock, busy, err := tryLock(dir)
	if lock != nil {
		lock.Close()
	}
	if err != nil || !busy {
		return err // no shim, so no task
	}
	p, err := readPids(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: it is being started, try again", dcos.ErrUnavailable)
	}
	if err != nil {
		return err
	}
	task, err := unix.PidfdOpen(p.task, 0)
	if err != nil {
		return nil // it has ended
	}
	defer unix.Close(task)
	// While the shim has not reaped it, the pid is the task's: it is the shim's
	// child, or that of a helper which has not ended yet.
	if parent := parentOf(p.task); parent != p.shim && parentOf(parent) != p.shim {
		return nil
	}
	if kind != dcos.KindImage && signal != unix.SIGKILL {
		err = unix.Kill(-p.task, signal)
	} else {
		err = unix.PidfdSendSignal(task, signal, nil, 0)
	}
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	return nil
}

// parentOf is a process's parent, 0 if it has ended.
func parentOf(pid int) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	var state string
	var parent int
	if i := strings.LastIndexByte(string(text), ')'); i >= 0 {
		if n, _ := fmt.Sscan(string(text[i+1:]), &state, &parent); n != 2 {
			return 0
		}
	}
	return parent
}

// Kill ends every process of a task with SIGKILL: the first one is killed, the
// shim then ends the rest. It does not wait; Wait does.
func (r *Runtime) Kill(id dcos.TaskID) error { return r.Signal(id, int(unix.SIGKILL)) }

// longestEnd is how long processes may take to die of SIGKILL before Remove
// gives up on the shim's order.
const longestEnd = 20 * time.Second

// Remove kills what runs of a task and leaves nothing of it: no process, mount,
// control group or file. It may be called at any time and again after an error.
func (r *Runtime) Remove(ctx context.Context, id dcos.TaskID) error {
	dir := r.taskDir(id)
	rec, err := r.record(dir)
	if errors.Is(err, fs.ErrNotExist) {
		rec = record{Task: id, Kind: dcos.KindProcess} // a start that came to nothing
	} else if err != nil {
		return fmt.Errorf("remove %s: %w", id, err)
	}
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := r.stop(ctx, dir, rec); err != nil {
		return fmt.Errorf("remove %s: %w", id, err)
	}
	if rec.Kind != dcos.KindProcess && r.caps.CgroupVersion != 0 {
		m, err := r.group(filepath.Base(dir), &cgroups.Resources{SkipDevices: true})
		if err != nil {
			return fmt.Errorf("remove %s: %w", id, err)
		}
		for _, file := range procsFiles(m) {
			if err := removeGroup(filepath.Dir(file)); err != nil {
				return fmt.Errorf("remove %s: %w", id, err)
			}
		}
	}
	if err := r.removeDir(dir); err != nil {
		return fmt.Errorf("remove %s: %w", id, err)
	}
	return nil
}

// stop returns when nothing of the task runs any more.
func (r *Runtime) stop(ctx context.Context, dir string, rec record) error {
	if rec.Boot != r.boot {
		return nil // its processes ended with the machine
	}
	bound, cancel := context.WithTimeout(ctx, longestEnd)
	defer cancel()
	for wait := time.Millisecond; ; wait = min(2*wait, time.Second) {
		err := r.signal(dir, rec.Kind, unix.SIGKILL)
		if err == nil {
			err = r.waitBriefly(bound, dir, 10*wait)
		} else if errors.Is(err, dcos.ErrUnavailable) { // it is being started
			err = pause(bound, wait)
		} else {
			return err
		}
		if err == nil && r.idle(dir) {
			break
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if bound.Err() != nil {
			if p, perr := readPids(dir); perr == nil { // its lock is held: the pid is its own
				_ = unix.Kill(p.shim, unix.SIGKILL)
			}
			break
		}
	}
	return r.killLeft(ctx, dir, rec)
}

// waitBriefly waits for the shim to end, for so long at most.
func (r *Runtime) waitBriefly(ctx context.Context, dir string, most time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	return r.waitShim(ctx, dir)
}

// idle says that no shim is in charge.
func (r *Runtime) idle(dir string) bool {
	lock, busy, err := tryLock(dir)
	if lock != nil {
		lock.Close()
	}
	return err == nil && !busy
}
