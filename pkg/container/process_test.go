package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/sandbox"
)

func TestEveryExitCodeComesBackAsItWas(t *testing.T) {
	b := newBench(t)
	const parallel = 8
	var wg sync.WaitGroup
	for first := range parallel {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for code := first; code < 256; code += parallel {
				id := dcos.TaskID(fmt.Sprintf("code.%d", code))
				dir, err := b.boxes.Create(id, "")
				if err == nil {
					_, err = b.r.Start(t.Context(), dcos.Spec{Task: id, Kind: dcos.KindProcess, Argv: []string{"/bin/sh", "-c", fmt.Sprintf("exit %d", code)}, Sandbox: dir})
				}
				var exit dcos.Exit
				if err == nil {
					exit, err = b.r.Wait(t.Context(), id)
				}
				if err != nil || exit.Code != code || exit.Signal != 0 || exit.OOM || exit.Unknown || exit.At == 0 {
					t.Errorf("exit %d: got %+v, %v", code, exit, err)
				}
				if err := b.r.Remove(t.Context(), id); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	wg.Wait()
}

func TestOutputEndsUpInTheSandbox(t *testing.T) {
	b := newBench(t)
	s := b.spec(dcos.KindProcess, "out", "echo one; echo two >&2; pwd; cat; echo $X")
	s.Env = append(s.Env, "X=a b")
	exit, out := b.run(s)
	if exit != (dcos.Exit{}) || out != "one\n"+s.Sandbox+"\na b\n" || b.log("out", sandbox.Stderr) != "two\n" {
		t.Errorf("exit %+v, stdout %q, stderr %q", exit, out, b.log("out", sandbox.Stderr))
	}
}

func TestSignalThatEndsATaskIsTold(t *testing.T) {
	b := newBench(t)
	for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGUSR1, unix.SIGKILL} {
		id := dcos.TaskID(fmt.Sprintf("sig.%d", sig))
		s := b.spec(dcos.KindProcess, id, "")
		s.Argv = []string{"sleep", "1000"}
		b.start(s)
		if err := b.r.Signal(id, int(sig)); err != nil {
			t.Fatal(err)
		}
		if exit := b.wait(id); exit.Signal != int(sig) || exit.Code != -1 {
			t.Errorf("signal %d: exit %+v", sig, exit)
		}
		if err := b.r.Signal(id, int(sig)); err != nil {
			t.Errorf("signal after the end: %v", err)
		}
	}
}

func TestCommandThatDoesNotExistIsAStartError(t *testing.T) {
	b := newBench(t)
	for _, row := range []struct{ argv0, want string }{
		{"no-such-program", "no-such-program: No such file"},
		{"/etc/passwd", "/etc/passwd: Permission denied"},
		{"/no/such/dir/x", "/no/such/dir/x: No such file"},
	} {
		s := b.spec(dcos.KindProcess, "bad", "")
		s.Argv = []string{row.argv0}
		_, err := b.r.Start(t.Context(), s)
		if !errors.Is(err, dcos.ErrInvalid) || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want ErrInvalid with %q", row.argv0, err, row.want)
		}
	}
	s := b.spec(dcos.KindProcess, "bad", "true")
	s.WorkDir = "/no/such/dir"
	if _, err := b.r.Start(t.Context(), s); !errors.Is(err, dcos.ErrInvalid) {
		t.Errorf("missing working directory: %v", err)
	}
	if ids, err := b.r.List(); err != nil || len(ids) != 0 {
		t.Errorf("failed starts left %v, %v", ids, err)
	}
	if exit, _ := b.run(b.spec(dcos.KindProcess, "shell", "no-such-program")); exit.Code != 127 {
		t.Errorf("a shell's missing command: exit %+v, want code 127", exit)
	}
}

func TestSecondStartOfATaskIsRefusedAndHarmsNothing(t *testing.T) {
	b := newBench(t)
	s := b.spec(dcos.KindProcess, "twice", "sleep 1000")
	pid := b.start(s)
	if _, err := b.r.Start(t.Context(), s); !errors.Is(err, dcos.ErrConflict) {
		t.Errorf("second start: %v, want ErrConflict", err)
	}
	if st, err := b.r.Adopt(t.Context(), "twice"); err != nil || st.State != Alive || st.Pid != pid {
		t.Errorf("first one: %+v, %v", st, err)
	}
}

func TestNewRuntimeFindsRunningAndEndedTasks(t *testing.T) {
	b := newBench(t)
	pid := b.start(b.spec(dcos.KindProcess, "runs", "sleep 1000"))
	b.start(b.spec(dcos.KindProcess, "ended", "exit 42"))
	b.wait("ended")
	b.restart()
	if ids, err := b.r.List(); err != nil || fmt.Sprint(ids) != "[ended runs]" {
		t.Errorf("List: %v, %v", ids, err)
	}
	if st, err := b.r.Adopt(t.Context(), "runs"); err != nil || st.State != Alive || st.Pid != pid {
		t.Errorf("runs: %+v, %v", st, err)
	}
	if st, err := b.r.Adopt(t.Context(), "ended"); err != nil || st.State != Ended || st.Exit.Code != 42 {
		t.Errorf("ended: %+v, %v", st, err)
	}
	if st, err := b.r.Adopt(t.Context(), "never"); err != nil || st.State != Gone || !st.Exit.Unknown {
		t.Errorf("never: %+v, %v", st, err)
	}
	if err := b.r.Kill("runs"); err != nil {
		t.Fatal(err)
	}
	if exit := b.wait("runs"); exit.Signal != int(unix.SIGKILL) {
		t.Errorf("killed by the new runtime: %+v", exit)
	}
	b.remove("runs")
	if err := b.r.Remove(t.Context(), "runs"); err != nil {
		t.Errorf("second removal: %v", err)
	}
}

func TestWhatATaskLeavesBehindEndsWithIt(t *testing.T) {
	b := newBench(t)
	// Two forks and a session of its own: no longer below the task in any tree.
	cmd := `setsid sh -c 'setsid sleep 1000 & echo $! >left; echo ready' ; exit 3`
	s := b.spec(dcos.KindProcess, "daemon", cmd)
	b.start(s)
	if exit := b.wait("daemon"); exit.Code != 3 {
		t.Errorf("exit %+v", exit)
	}
	text, err := os.ReadFile(filepath.Join(s.Sandbox, "left"))
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Sscan(string(text), &pid); err != nil || alive(pid) {
		t.Errorf("process %d outlived its task (%v)", pid, err)
	}
}

func TestTaskWhoseShimWasKilledIsGoneAndNothingOfItRuns(t *testing.T) {
	b := newBench(t)
	s := b.spec(dcos.KindProcess, "shimless", "setsid sleep 1000 & echo $! >left; echo ready; wait")
	pid := b.start(s)
	b.until("shimless", "ready")
	p, err := readPids(b.r.taskDir("shimless"))
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(p.shim, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	exit := b.wait("shimless")
	if !exit.Unknown {
		t.Errorf("exit %+v, want unknown", exit)
	}
	text, _ := os.ReadFile(filepath.Join(s.Sandbox, "left"))
	var left int
	_, _ = fmt.Sscan(string(text), &left)
	if alive(pid) || left == 0 || alive(left) {
		t.Errorf("still runs: task %t, its child %d %t", alive(pid), left, alive(left))
	}
}

func TestStartEndsWithItsContextAndLeavesNothing(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := b.spec(dcos.KindProcess, "cancelled", "sleep 1000")
	if pid, err := b.r.Start(ctx, s); err == nil {
		t.Logf("started as %d before the context was looked at", pid)
		b.remove("cancelled")
	} else if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error", err)
	}
	if ids, _ := b.r.List(); len(ids) != 0 {
		t.Errorf("left %v", ids)
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	b := newBench(t)
	b.start(b.spec(dcos.KindProcess, "long", "sleep 1000"))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := b.r.Wait(ctx, "long")
		done <- err
	}()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestLogIsBoundedAndReadsOnAcrossSegments(t *testing.T) {
	b := newBench(t)
	s := b.spec(dcos.KindProcess, "flood", "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done")
	s.Limits.LogBytes = 64 << 10
	exit, tail := b.run(s)
	if exit != (dcos.Exit{}) || !strings.HasSuffix(tail, "\nline 19999\n") || len(tail) > 64<<10 || len(tail) < 32<<10 {
		t.Errorf("exit %+v, %d bytes end in %q", exit, len(tail), tail[max(0, len(tail)-20):])
	}
	var total int64
	files, _ := filepath.Glob(filepath.Join(s.Sandbox, "stdout*"))
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	if total > 64<<10 || len(files) > 4 {
		t.Errorf("%d bytes in %v, want at most 65536", total, files)
	}
	// The offsets count what was deleted.
	l, err := b.boxes.Open("flood", sandbox.Stdout, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	part := make([]byte, 10)
	if n, err := l.Read(part); err != nil || n == 0 || l.Offset() < 100_000 {
		t.Errorf("first read at offset %d: %d, %v", l.Offset(), n, err)
	}
}

func TestUserWithoutRootIsRefusedWithTheReason(t *testing.T) {
	b := newBench(t)
	s := b.spec(dcos.KindProcess, "who", "true")
	s.User = "no-such-user"
	if _, err := b.r.Start(t.Context(), s); !errors.Is(err, dcos.ErrInvalid) || !strings.Contains(err.Error(), "no-such-user") {
		t.Errorf("got %v", err)
	}
	s.User = "4294967295"
	if _, err := b.r.Start(t.Context(), s); !errors.Is(err, dcos.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}
