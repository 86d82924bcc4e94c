package container

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/sandbox"
)

// layers makes the smallest image with a shell: busybox of this machine.
func (b *bench) layers() []string {
	b.t.Helper()
	base, top := b.t.TempDir(), b.t.TempDir()
	box, err := exec.LookPath("busybox")
	if err != nil {
		b.t.Fatal("this test needs a static busybox: apt-get install busybox-static")
	}
	program, err := os.ReadFile(box)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, dir := range []string{"bin", "etc", "tmp"} {
		if err := os.Mkdir(filepath.Join(base, dir), 0o755); err != nil {
			b.t.Fatal(err)
		}
	}
	write := func(dir, name, text string, mode os.FileMode) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			b.t.Fatal(err)
		}
	}
	write(base, "bin/busybox", string(program), 0o755)
	for _, name := range strings.Fields("sh cat echo ls grep sleep mkdir mount umount unshare mknod head chroot test hostname nsenter dmesg tr pwd touch setsid id kill tail") {
		if err := os.Symlink("busybox", filepath.Join(base, "bin", name)); err != nil {
			b.t.Fatal(err)
		}
	}
	write(base, "etc/passwd", "root:x:0:0:root:/:/bin/sh\nweb:x:1234:1235:web:/:/bin/sh\n", 0o644)
	write(base, "etc/group", "root:x:0:\nweb:x:1235:\nextra:x:77:web\n", 0o644)
	write(base, "layer", "base", 0o644)
	write(top, "layer", "top", 0o644)
	for _, dir := range []string{base, top} {
		if err := os.Chmod(dir, 0o755); err != nil {
			b.t.Fatal(err)
		}
	}
	return []string{top, base}
}

func (b *bench) image(id dcos.TaskID, layers []string, cmd string) dcos.Spec {
	b.t.Helper()
	s := b.spec(dcos.KindImage, id, cmd)
	s.Lower, s.Env = layers, append(s.Env, "HOME=/")
	return s
}

func TestImageRunsOnItsLayersWithDefaultPrivileges(t *testing.T) {
	needRoot(t)
	b := newBench(t)
	layers := b.layers()
	s := b.image("root", layers, `pwd; cat /layer; echo; echo new >/layer; echo $$; ls /proc >/tmp/procs; grep -c '^[0-9]' /tmp/procs; echo kept >mine; `+statusScript)
	want := "/mnt/mesos/sandbox\ntop\n1\n2\n" + statusOfRoot
	if exit, out := b.run(s); exit != (dcos.Exit{}) || out != want {
		t.Errorf("exit %+v, stderr %q\n%s", exit, b.log("root", sandbox.Stderr), cmp.Diff(want, out))
	}
	if text, err := os.ReadFile(filepath.Join(s.Sandbox, "mine")); err != nil || string(text) != "kept\n" {
		t.Errorf("what the task wrote into its sandbox: %q, %v", text, err)
	}
	if text, err := os.ReadFile(filepath.Join(layers[0], "layer")); err != nil || string(text) != "top" {
		t.Errorf("the layer of the image was written: %q, %v", text, err)
	}
	s = b.image("web", layers, "id; "+statusScript)
	s.User = "web"
	want = "uid=1234(web) gid=1235(web) groups=77(extra)\n" + strings.NewReplacer("65534	65534	65534	65534\nGid:	65534	65534	65534	65534",
		"1234	1234	1234	1234\nGid:	1235	1235	1235	1235").Replace(statusOfNobody)
	if exit, out := b.run(s); exit != (dcos.Exit{}) || out != want {
		t.Errorf("exit %+v, stderr %q\n%s", exit, b.log("web", sandbox.Stderr), cmp.Diff(want, out))
	}
}

func TestImageCannotReachTheMachine(t *testing.T) {
	needRoot(t)
	b := newBench(t)
	before := hostCanary(t)
	// The first process is the task itself here, and its root its own.
	script := strings.NewReplacer("try 'chroot /proc/1/root true'\n", "", "try 'test -e /proc/1/cwd/etc'\n", "").Replace(breakout)
	exit, out := b.run(b.image("breakout", b.layers(), script))
	if exit != (dcos.Exit{}) || out != devList {
		t.Errorf("exit %+v, output %q, want %q, stderr %q", exit, out, devList, b.log("breakout", sandbox.Stderr))
	}
	if after := hostCanary(t); after != before {
		t.Errorf("the host changed:\n%s", cmp.Diff(before, after))
	}
}

func TestImageKeepsExitCodesAndSignals(t *testing.T) {
	needRoot(t)
	b := newBench(t)
	layers := b.layers()
	for _, code := range []int{0, 1, 42, 126, 127, 137, 255} {
		id := dcos.TaskID(fmt.Sprintf("code.%d", code))
		if exit, _ := b.run(b.image(id, layers, fmt.Sprintf("exit %d", code))); exit != (dcos.Exit{Code: code}) {
			t.Errorf("exit %d: got %+v", code, exit)
		}
		b.remove(id)
	}
	pid := b.start(b.image("killed", layers, `trap "exit 9" TERM; echo ready; while :; do sleep 1000 & wait; done`))
	b.until("killed", "ready")
	b.restart()
	if st, err := b.r.Adopt(t.Context(), "killed"); err != nil || st.State != Alive || st.Pid != pid {
		t.Errorf("adopted: %+v, %v", st, err)
	}
	if err := b.r.Signal("killed", int(unix.SIGTERM)); err != nil {
		t.Fatal(err)
	}
	if exit := b.wait("killed"); exit.Code != 9 {
		t.Errorf("after SIGTERM: %+v", exit)
	}
}

func TestImageMemoryLimitIsEnforcedAndTold(t *testing.T) {
	needRoot(t)
	b := newBench(t)
	testMemory(t, b, b.image("oom", b.layers(), `tail /dev/zero`))
}

func TestImageThatCannotRunSaysWhyAndLeavesNothing(t *testing.T) {
	needRoot(t)
	b := newBench(t)
	layers := b.layers()
	for _, row := range []struct {
		name, want string
		kind       error
		spoil      func(*dcos.Spec)
	}{
		{"missing command", "no-such-program", dcos.ErrInvalid, func(s *dcos.Spec) { s.Argv = []string{"no-such-program"} }},
		{"not executable", "/etc/passwd", dcos.ErrInvalid, func(s *dcos.Spec) { s.Argv = []string{"/etc/passwd"} }},
		{"unknown user", "nobody-here", dcos.ErrInvalid, func(s *dcos.Spec) { s.User = "nobody-here" }},
		{"user beyond the limit", "4294967295", dcos.ErrInvalid, func(s *dcos.Spec) { s.User = "4294967295" }},
		{"descriptor as directory", "/proc/self/fd/7", dcos.ErrInvalid, func(s *dcos.Spec) { s.WorkDir = "/proc/self/fd/7" }},
		{"missing layer", "/no/such/layer", dcos.ErrUnavailable, func(s *dcos.Spec) { s.Lower = []string{"/no/such/layer"} }},
		{"no layers", "layers", dcos.ErrInvalid, func(s *dcos.Spec) { s.Lower = nil }},
	} {
		s := b.image("bad", layers, "true")
		row.spoil(&s)
		_, err := b.r.Start(t.Context(), s)
		if err == nil || !strings.Contains(err.Error(), row.want) || !errors.Is(err, row.kind) {
			t.Errorf("%s: %v, want %v with %q", row.name, err, row.kind, row.want)
		}
		if ids, err := b.r.List(); err != nil || len(ids) != 0 {
			t.Errorf("%s: left %v, %v", row.name, ids, err)
		}
	}
}

func TestImageWhoseShimWasKilledEnds(t *testing.T) {
	needRoot(t)
	b := newBench(t)
	pid := b.start(b.image("shimless", b.layers(), "sleep 1000 & sleep 1000"))
	p, err := readPids(b.r.taskDir("shimless"))
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(p.shim, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if exit := b.wait("shimless"); !exit.Unknown || alive(pid) {
		t.Errorf("exit %+v, task runs: %t", exit, alive(pid))
	}
}

func TestLayersInUseAreFoundByAnotherRuntime(t *testing.T) {
	needRoot(t)
	b := newBench(t)
	layers := b.layers()
	b.start(b.image("stands", layers, "sleep 1000"))
	b.start(b.image("too", layers, "sleep 1000"))
	b.restart()
	got, err := b.r.Layers()
	slices.Sort(got)
	want := slices.Sorted(slices.Values(layers))
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("in use: %v, %v, want %v", got, err, want)
	}
	b.remove("stands")
	b.remove("too")
	if got, err := b.r.Layers(); err != nil || len(got) != 0 {
		t.Errorf("after the end: %v, %v", got, err)
	}
}
