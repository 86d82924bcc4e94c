package container

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/sandbox"
)

// The test binary is its own shim, as the product's is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == helperWord {
		// As Init does it, but for os.Exit, which waits for a second under the
		// race detector, in each container's start.
		syscall.Exit(runHelper(os.Args[2:]))
	}
	Init()
	if text := os.Getenv(starterEnv); text != "" {
		fmt.Fprintln(os.Stderr, runStarter(text))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// bench is one node under test: a runtime, sandboxes, and the check at the end
// that nothing of it is left.
type bench struct {
	t     testing.TB
	r     *Runtime
	boxes *sandbox.Sandboxes
	conf  Config
}

var benches int

func newBench(t testing.TB) *bench {
	t.Helper()
	dir := t.TempDir()
	boxes, err := sandbox.New(filepath.Join(dir, "sandboxes"))
	if err != nil {
		t.Fatal(err)
	}
	benches++
	b := &bench{t: t, boxes: boxes, conf: Config{Dir: filepath.Join(dir, "run"), AgentID: fmt.Sprintf("test-%d-%d", os.Getpid(), benches), Hide: []string{dir}}}
	b.restart()
	before := trace()
	t.Cleanup(func() { b.finish(before) })
	return b
}

// restart is what an agent that was killed finds: nothing but the directory.
func (b *bench) restart() {
	b.t.Helper()
	r, err := New(b.conf)
	if err != nil {
		b.t.Fatal(err)
	}
	b.r = r
}

// trace is what a task could leave in this process's sight.
func trace() map[string]int {
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	fds, _ := os.ReadDir("/proc/self/fd")
	return map[string]int{"mounts": bytes.Count(mounts, []byte("\n")), "descriptors": len(fds), "children": len(children())}
}

func children() []string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/children", os.Getpid()))
	return strings.Fields(string(text))
}

func (b *bench) finish(before map[string]int) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ids, err := b.r.List()
	if err != nil {
		b.t.Error(err)
	}
	for _, id := range ids {
		if err := b.r.Remove(ctx, id); err != nil {
			b.t.Error(err)
		}
	}
	if err := b.r.Close(); err != nil {
		b.t.Error(err)
	}
	if groups, _ := filepath.Glob("/sys/fs/cgroup/*/dcos/" + b.conf.AgentID); len(groups) > 0 {
		b.t.Errorf("control groups are left: %v", groups)
	}
	left, _ := os.ReadDir(b.conf.Dir)
	left = slices.DeleteFunc(left, func(e os.DirEntry) bool { return e.Name() == filterFile })
	if len(left) > 0 {
		b.t.Errorf("the run directory holds %v", left)
	}
	if after := trace(); fmt.Sprint(after) != fmt.Sprint(before) {
		b.t.Errorf("left behind: %v, before: %v", after, before)
	}
}

// spec is a shell command of a kind.
func (b *bench) spec(kind dcos.Kind, id dcos.TaskID, cmd string) dcos.Spec {
	b.t.Helper()
	dir, err := b.boxes.Create(id, "")
	if err != nil {
		b.t.Fatal(err)
	}
	return dcos.Spec{
		Task: id, Kind: kind, Argv: []string{"/bin/sh", "-c", cmd}, Sandbox: dir,
		Env:    []string{"MESOS_TASK_ID=" + string(id), "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		Limits: dcos.Limits{LogBytes: 1 << 20},
	}
}

func (b *bench) start(s dcos.Spec) int {
	b.t.Helper()
	pid, err := b.r.Start(b.t.Context(), s)
	if err != nil {
		b.t.Fatal(err)
	}
	return pid
}

func (b *bench) wait(id dcos.TaskID) dcos.Exit {
	b.t.Helper()
	exit, err := b.r.Wait(b.t.Context(), id)
	if err != nil {
		b.t.Fatal(err)
	}
	return exit
}

func (b *bench) log(id dcos.TaskID, stream string) string {
	b.t.Helper()
	text, _, err := b.boxes.Tail(id, stream, 1<<20)
	if err != nil {
		b.t.Fatal(err)
	}
	return string(text)
}

// run is start, wait and the standard output.
func (b *bench) run(s dcos.Spec) (dcos.Exit, string) {
	b.t.Helper()
	b.start(s)
	exit := b.wait(s.Task)
	exit.At = 0
	return exit, b.log(s.Task, sandbox.Stdout)
}

func (b *bench) remove(id dcos.TaskID) {
	b.t.Helper()
	if err := b.r.Remove(b.t.Context(), id); err != nil {
		b.t.Fatal(err)
	}
}

// until waits for a task's output to hold a text.
func (b *bench) until(id dcos.TaskID, want string) string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
	defer cancel()
	l, err := b.boxes.Follow(ctx, id, sandbox.Stdout, 0)
	if err != nil {
		b.t.Fatal(err)
	}
	defer l.Close()
	var have []byte
	part := make([]byte, 4096)
	for !strings.Contains(string(have), want) {
		n, err := l.Read(part)
		if err != nil {
			b.t.Fatalf("output %q, want %q: %v", have, want, err)
		}
		have = append(have, part[:n]...)
	}
	return string(have)
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test makes namespaces and control groups: run it as root")
	}
}

// alive says whether a process still runs after a moment to end in: one that
// was killed leaves its control group before it is over.
func alive(pid int) bool {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 2000)
	return err != nil || n == 0
}
