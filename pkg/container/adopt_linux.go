package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// pids is what the shim wrote before the task ran.
type pids struct{ shim, init, task int }

// readPids is an fs.ErrNotExist until the shim has come so far.
func readPids(dir string) (pids, error) {
	var p pids
	text, err := os.ReadFile(filepath.Join(dir, pidsFile))
	if err != nil {
		return p, err
	}
	if n, err := fmt.Sscan(string(text), &p.shim, &p.init, &p.task); n != 3 {
		return p, fmt.Errorf("%s: %w", pidsFile, err)
	}
	return p, nil
}

// maxExitFile bounds what is read of an exit file.
const maxExitFile = 16 << 10

// readExit is an fs.ErrNotExist while the end is not known.
func readExit(dir string) (dcos.Exit, error) {
	f, err := os.Open(filepath.Join(dir, exitFile))
	if err != nil {
		return dcos.Exit{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxExitFile))
	if err != nil {
		return dcos.Exit{}, err
	}
	return decodeExit(text)
}

func decodeExit(text []byte) (dcos.Exit, error) {
	var e struct {
		Code, Signal int
		OOMKills     int64 `json:"oom_kills"`
		AtMillis     int64 `json:"at_ms"`
	}
	if err := json.Unmarshal(text, &e); err != nil {
		return dcos.Exit{}, fmt.Errorf("%s: %w", exitFile, err)
	}
	return dcos.Exit{
		Code: e.Code, Signal: e.Signal, At: dcos.Time(e.AtMillis),
		// A task that outlived the killing of one of its processes and ended well has ended well.
		OOM: e.OOMKills > 0 && e.Code != 0,
	}, nil
}

var unknown = dcos.Exit{Code: -1, Unknown: true}

// Adopt finds out what became of a task that this or an earlier agent started.
// Gone and Ended tasks still have state here, until Remove. A task that this
// directory knows nothing of is Gone.
func (r *Runtime) Adopt(ctx context.Context, id dcos.TaskID) (Status, error) {
	dir := r.taskDir(id)
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		st, settled, err := r.look(ctx, dir)
		if err != nil {
			return Status{}, fmt.Errorf("adopt %s: %w", id, err)
		}
		if settled {
			return st, nil
		}
		// A shim that is about to start the task: it takes milliseconds.
		if err := pause(ctx, wait); err != nil {
			return Status{}, fmt.Errorf("adopt %s: it is being started: %w", id, err)
		}
	}
}

// look reads the state once; settled is false while a shim is starting.
func (r *Runtime) look(ctx context.Context, dir string) (st Status, settled bool, err error) {
	if exit, err := readExit(dir); !errors.Is(err, fs.ErrNotExist) {
		return Status{State: Ended, Exit: exit}, true, err
	}
	rec, err := r.record(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return Status{State: Gone, Exit: unknown}, true, nil
	}
	if err != nil {
		return Status{}, false, err
	}
	lock, busy, err := tryLock(dir)
	if err != nil {
		return Status{}, false, err
	}
	if busy && rec.Boot == r.boot {
		p, err := readPids(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return Status{}, false, nil
		}
		return Status{State: Alive, Pid: p.task}, true, err
	}
	if lock != nil {
		defer lock.Close()
	}
	// The shim ended, perhaps just now with an exit file.
	if exit, err := readExit(dir); !errors.Is(err, fs.ErrNotExist) {
		return Status{State: Ended, Exit: exit}, true, err
	}
	return Status{State: Gone, Exit: unknown}, true, r.killLeft(ctx, dir, rec)
}

// Wait returns how a task ended, as soon as all its processes have. Any number
// of goroutines may wait; none holds a thread.
func (r *Runtime) Wait(ctx context.Context, id dcos.TaskID) (dcos.Exit, error) {
	dir := r.taskDir(id)
	st, err := r.Adopt(ctx, id)
	if err != nil {
		return dcos.Exit{}, err
	}
	if err := r.waitShim(ctx, dir); err != nil {
		return dcos.Exit{}, fmt.Errorf("wait for %s: %w", id, err)
	}
	if st.State == Alive {
		if st, err = r.Adopt(ctx, id); err != nil {
			return dcos.Exit{}, err
		}
	}
	return st.Exit, nil
}

// waitShim returns when no shim is in charge of a run directory, and reaps it
// if it was a child of this process.
func (r *Runtime) waitShim(ctx context.Context, dir string) error {
	p, err := readPids(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	fd, err := unix.PidfdOpen(p.shim, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil // it has ended
	}
	f := os.NewFile(uintptr(fd), "shim")
	defer f.Close()
	lock, busy, err := tryLock(dir)
	if lock != nil {
		lock.Close()
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if busy { // so the pid is the shim's, and was when it was opened
		if err := waitPidfd(ctx, f); err != nil {
			return err
		}
	}
	// After a restart it is not our child: somebody else reaps it.
	if n, err := unix.Wait4(p.shim, nil, unix.WNOHANG, nil); n != 0 || err != nil || busy {
		return nil
	}
	// It lets go of its lock a moment before it can be reaped.
	short, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if waitPidfd(short, f) == nil {
		_, _ = unix.Wait4(p.shim, nil, unix.WNOHANG, nil)
	}
	return nil
}

// waitPidfd waits in the Go runtime's poller until the process has ended.
func waitPidfd(ctx context.Context, f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	err = raw.Read(func(fd uintptr) bool {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, perr := unix.Poll(p, 0)
		return perr == nil && n > 0
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// killLeft ends what a killed shim may have left. Its children die with it;
// what they started is in the control group, or for a plain process carries
// the task's id in its environment.
func (r *Runtime) killLeft(ctx context.Context, dir string, rec record) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	if rec.Boot != r.boot {
		return nil
	}
	if rec.Kind == dcos.KindProcess {
		return killMarked(ctx, rec.Task)
	}
	m, err := r.group(filepath.Base(dir), &cgroups.Resources{SkipDevices: true})
	if err != nil {
		return err
	}
	return killGroup(ctx, m)
}

// killMarked kills every process with the task's id in its environment.
func killMarked(ctx context.Context, id dcos.TaskID) error {
	mark := "MESOS_TASK_ID=" + string(id)
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		files, err := filepath.Glob("/proc/[0-9]*/environ")
		if err != nil {
			return err
		}
		left := 0
		for _, file := range files {
			var pid int
			if _, err := fmt.Sscanf(file, "/proc/%d/environ", &pid); err != nil || pid == os.Getpid() {
				continue
			}
			env, err := os.ReadFile(file)
			if err != nil || !hasLine(string(env), mark) {
				continue
			}
			left++
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		if left == 0 {
			return nil
		}
		if err := pause(ctx, wait); err != nil {
			return fmt.Errorf("%w: %d processes do not end when killed", dcos.ErrUnavailable, left)
		}
	}
}

func hasLine(env, want string) bool {
	for line := range strings.SplitSeq(env, "\x00") {
		if line == want {
			return true
		}
	}
	return false
}
