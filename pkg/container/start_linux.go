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
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/sandbox"
)

// Start runs a task and returns the pid of its first process once the program
// runs. When it fails nothing is left and nothing runs. A task that has state
// here already is an ErrConflict: adopt or remove it first.
func (r *Runtime) Start(ctx context.Context, s dcos.Spec) (int, error) {
	if err := r.check(s); err != nil {
		return 0, fmt.Errorf("start %s: %w", s.Task, err)
	}
	dir := r.taskDir(s.Task)
	if err := os.Mkdir(dir, 0o700); err != nil {
		if errors.Is(err, fs.ErrExist) {
			err = fmt.Errorf("%w: the task was started before: adopt or remove it", dcos.ErrConflict)
		}
		return 0, fmt.Errorf("start %s: %w", s.Task, err)
	}
	pid, err := r.start(ctx, dir, s)
	if err != nil {
		// What was asked for is no longer wanted, the cleaning is.
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		if cerr := r.Remove(clean, s.Task); cerr != nil {
			r.log.Error("clean up after a failed start", "task", s.Task, "error", cerr)
		}
		return 0, fmt.Errorf("start %s: %w", s.Task, err)
	}
	return pid, nil
}

// check refuses what can never run here.
func (r *Runtime) check(s dcos.Spec) error {
	switch {
	case s.Task == "":
		return fmt.Errorf("%w: no task id", dcos.ErrInvalid)
	case len(s.Argv) == 0 || s.Argv[0] == "":
		return fmt.Errorf("%w: no command: give cmd or args, or an image that has one", dcos.ErrInvalid)
	case !filepath.IsAbs(s.Sandbox):
		return fmt.Errorf("%w: sandbox %q is not an absolute path", dcos.ErrInvalid, s.Sandbox)
	case s.Limits.CPUs < 0 || s.Limits.MemBytes < 0 || s.Limits.Pids < 0 || s.Limits.LogBytes < 0:
		return fmt.Errorf("%w: negative limit", dcos.ErrInvalid)
	case s.Kind < dcos.KindImage || s.Kind > dcos.KindProcess:
		return fmt.Errorf("%w: kind of task %d", dcos.ErrInvalid, s.Kind)
	case s.Kind == dcos.KindImage && len(s.Lower) == 0:
		return fmt.Errorf("%w: an image task without image layers", dcos.ErrInvalid)
	}
	if s.Kind != dcos.KindProcess && len(r.caps.Kinds()) == 1 {
		return fmt.Errorf("%w: this agent runs plain processes only: %s", dcos.ErrInvalid, strings.Join(r.caps.NotEnforced, "; "))
	}
	return nil
}

func (r *Runtime) start(ctx context.Context, dir string, s dcos.Spec) (int, error) {
	text, err := json.Marshal(record{Task: s.Task, Kind: s.Kind, Boot: r.boot})
	if err != nil {
		return 0, err
	}
	if err := replaceFile(filepath.Join(dir, recordFile), text); err != nil {
		return 0, err
	}
	lock, busy, err := tryLock(dir)
	if err != nil || busy {
		return 0, fmt.Errorf("lock: busy %t: %w", busy, err)
	}
	defer lock.Close()
	p := &plan{}
	r.planCommon(p, dir, s)
	if err := r.planLease(p, dir, s); err != nil {
		return 0, err
	}
	switch s.Kind {
	case dcos.KindProcess:
		err = r.planProcess(p, s)
	case dcos.KindCommand:
		err = r.planCommand(p, filepath.Base(dir), s)
	case dcos.KindImage:
		err = r.planImage(p, dir, s)
	}
	if err != nil {
		return 0, err
	}
	return r.spawn(ctx, p, lock, s)
}

// tryLock opens a run directory's record and takes its lock, unless a shim (or a
// starter that is about to become one) holds it. It is kept until closed.
func tryLock(dir string) (f *os.File, busy bool, err error) {
	f, err = os.OpenFile(filepath.Join(dir, recordFile), os.O_RDWR, 0)
	if err != nil {
		return nil, false, err
	}
	switch err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case err == nil:
		return f, false, nil
	case errors.Is(err, unix.EWOULDBLOCK):
		f.Close()
		return nil, true, nil
	}
	f.Close()
	return nil, false, fmt.Errorf("lock: %w", err)
}

// spawn starts the shim and reads its report.
func (r *Runtime) spawn(ctx context.Context, p *plan, lock *os.File, s dcos.Spec) (int, error) {
	file, err := p.file()
	if err != nil {
		return 0, err
	}
	defer file.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	report, end, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer report.Close()
	n := null.Fd()
	pid, err := syscall.ForkExec(r.exe, []string{"dcos", shimWord, string(s.Task)}, &syscall.ProcAttr{
		Dir:   "/",
		Files: []uintptr{n, n, n, file.Fd(), end.Fd(), lock.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	end.Close()
	if err != nil {
		return 0, fmt.Errorf("start the shim: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = report.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	text, err := io.ReadAll(io.LimitReader(report, 4096))
	word, rest, _ := strings.Cut(strings.TrimSuffix(string(text), "\n"), " ")
	switch {
	case err != nil:
		err = context.Cause(ctx)
	case word == "ok":
		var taskPid int
		if taskPid, err = strconv.Atoi(rest); err == nil {
			return taskPid, nil
		}
	case word == "err":
		err = launchError(rest)
	default:
		err = errors.New("the shim ended without a report")
	}
	// The shim is our child and not yet waited for: its pid is its own. Its
	// processes die with it.
	_ = unix.Kill(pid, unix.SIGKILL)
	waitChild(pid)
	return 0, err
}

// waitChild reaps a child of this process that has ended or is about to.
func waitChild(pid int) {
	for {
		if _, err := unix.Wait4(pid, nil, 0, nil); !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// launchError turns what the shim says into an error with its kind: a command
// that cannot be run is the spec's fault.
func launchError(text string) error {
	if rest, ok := strings.CutPrefix(text, "command "); ok {
		return fmt.Errorf("%w: command %s: check its name and that it is installed where the task runs", dcos.ErrInvalid, rest)
	}
	if rest, ok := strings.CutPrefix(text, dcos.ErrInvalid.Error()+": "); ok { // the helper's errors arrive as text
		return fmt.Errorf("%w: %s", dcos.ErrInvalid, rest)
	}
	if strings.HasPrefix(text, "chdir ") {
		return fmt.Errorf("%w: working directory: %s", dcos.ErrInvalid, text)
	}
	return fmt.Errorf("%w: %s", dcos.ErrUnavailable, text)
}

// removeDir puts a run directory aside and deletes it.
func (r *Runtime) removeDir(dir string) error {
	trash := filepath.Join(r.dir, trashPrefix+filepath.Base(dir))
	if err := sandbox.RemoveTree(trash); err != nil {
		return err
	}
	if err := os.Rename(dir, trash); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return sandbox.RemoveTree(trash)
}
