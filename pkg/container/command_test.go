package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/resource"
	"github.com/dcos-go/dcos/pkg/sandbox"
)

// status is what the kernel says of a task's privileges; every kind of task
// that is isolated has the same.
const statusScript = `grep -E '^(Uid|Gid|Cap|NoNewPrivs|Seccomp:)' /proc/self/status`

const statusOfRoot = `Uid:	0	0	0	0
Gid:	0	0	0	0
CapInh:	0000000000000000
CapPrm:	00000000a80425fb
CapEff:	00000000a80425fb
CapBnd:	00000000a80425fb
CapAmb:	0000000000000000
NoNewPrivs:	1
Seccomp:	2
`

const statusOfNobody = `Uid:	65534	65534	65534	65534
Gid:	65534	65534	65534	65534
CapInh:	0000000000000000
CapPrm:	0000000000000000
CapEff:	0000000000000000
CapBnd:	00000000a80425fb
CapAmb:	0000000000000000
NoNewPrivs:	1
Seccomp:	2
`

func TestCommandHasDefaultPrivilegesOnly(t *testing.T) {
	needRoot(t)
	b := newBench(t)
	if exit, out := b.run(b.spec(dcos.KindCommand, "root", statusScript)); exit != (dcos.Exit{}) || out != statusOfRoot {
		t.Errorf("exit %+v, stderr %q, status:\n%s", exit, b.log("root", "stderr"), cmp.Diff(statusOfRoot, out))
	}
	s := b.spec(dcos.KindCommand, "nobody", statusScript)
	s.User = "nobody"
	if exit, out := b.run(s); exit != (dcos.Exit{}) || out != statusOfNobody {
		t.Errorf("exit %+v, stderr %q, status:\n%s", exit, b.log("nobody", "stderr"), cmp.Diff(statusOfNobody, out))
	}
}

func TestCommandSeesOnlyItsOwnProcessesAndSandbox(t *testing.T) {
	needRoot(t)
	b := newBench(t)
	other := b.spec(dcos.KindCommand, "other", "sleep 1000")
	b.start(other)
	s := b.spec(dcos.KindCommand, "view", `pwd; ls /proc >procs; grep -c '^[0-9]' procs; ls `+filepath.Dir(b.conf.Dir)+` `+filepath.Dir(other.Sandbox)+`; echo kept >mine; touch `+filepath.Dir(b.conf.Dir)+`/x`)
	exit, out := b.run(s)
	want := fmt.Sprintf("%s\n3\n%s:\nsandboxes\n\n%s:\nview\n", s.Sandbox, filepath.Dir(b.conf.Dir), filepath.Dir(other.Sandbox))
	if exit.Code != 1 || out != want {
		t.Errorf("exit %+v\n%s", exit, cmp.Diff(want, out))
	}
	if text, err := os.ReadFile(filepath.Join(s.Sandbox, "mine")); err != nil || string(text) != "kept\n" {
		t.Errorf("what the task wrote: %q, %v", text, err)
	}
}

// Each line tries something that must not be possible, and prints what came through.
const breakout = `
try() { if (eval "$1") >/dev/null 2>&1; then echo "possible: $1"; fi; }
try 'echo x >/proc/sys/kernel/hostname'
try 'echo c >/proc/sysrq-trigger'
try 'test -s /proc/kcore'
try 'test -s /proc/keys'
try 'test "$(ls /sys/firmware)"'
try 'mkdir /sys/fs/cgroup/x'
try 'mkdir /sys/fs/cgroup/pids/x'
try 'mount -t tmpfs tmpfs /mnt'
try 'umount /proc'
try 'unshare -r true'
try 'unshare -m true'
try 'mknod ./disk b 254 0 && cat ./disk | head -c 1 | grep -q .'
try 'head -c 1 /dev/vda'
try 'head -c 1 /dev/mem'
try 'chroot /proc/1/root true'
try 'test -e /proc/1/cwd/etc'
try 'hostname x'
try 'nsenter -t 1 -m true'
try 'dmesg'
ls /dev | tr '\n' ' '
`

const devList = "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero "

func TestCommandCannotReachTheMachine(t *testing.T) {
	needRoot(t)
	b := newBench(t)
	before := hostCanary(t)
	s := b.spec(dcos.KindCommand, "breakout", breakout)
	exit, out := b.run(s)
	if exit != (dcos.Exit{}) || out != devList {
		t.Errorf("exit %+v, output %q, want %q", exit, out, devList)
	}
	if after := hostCanary(t); after != before {
		t.Errorf("the host changed:\n%s", cmp.Diff(before, after))
	}
}

// hostCanary is what a careless runtime changes on the host.
func hostCanary(t *testing.T) string {
	t.Helper()
	var lines []string
	for _, path := range []string{"/dev/ptmx", "/dev/null", "/dev/pts", "/dev/shm"} {
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, fmt.Sprintf("%s %o %d %d %d", path, st.Mode, st.Rdev, st.Ino, st.Dev))
	}
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(append(lines, name, fmt.Sprint(len(exe))), "\n")
}

func TestMemoryLimitIsEnforcedAndTold(t *testing.T) {
	needRoot(t)
	b := newBench(t)
	testMemory(t, b, b.spec(dcos.KindCommand, "oom", `x=0123456789abcdef; while :; do x=$x$x; done`))
}

func testMemory(t *testing.T, b *bench, s dcos.Spec) {
	t.Helper()
	if !b.r.caps.Memory {
		notEnforced(t, b, "mem:")
		return
	}
	s.Limits.MemBytes = 32 << 20
	exit, _ := b.run(s)
	if !exit.OOM || exit.Signal != int(unix.SIGKILL) {
		t.Errorf("exit %+v, want a kill by the memory limit", exit)
	}
}

// notEnforced checks that a node that cannot limit something says so.
func notEnforced(t *testing.T, b *bench, what string) {
	t.Helper()
	if all := strings.Join(b.r.caps.NotEnforced, "\n"); !strings.Contains(all, what) {
		t.Errorf("not enforced here, and not told: %q", all)
	}
}

func TestNumberOfProcessesIsLimited(t *testing.T) {
	needRoot(t)
	b := newBench(t)
	if !b.r.caps.Pids {
		notEnforced(t, b, "number of processes:")
		return
	}
	s := b.spec(dcos.KindCommand, "bomb", `i=0; while [ $i -lt 40 ]; do sleep 100 & i=$((i+1)); done; echo all`)
	s.Limits.Pids = 20
	exit, out := b.run(s)
	if exit.Code == 0 || strings.Contains(out, "all") || !strings.Contains(b.log("bomb", sandbox.Stderr), "fork") {
		t.Errorf("exit %+v, output %q, errors %q", exit, out, b.log("bomb", sandbox.Stderr))
	}
}

func TestCPULimitIsGivenToTheKernel(t *testing.T) {
	needRoot(t)
	b := newBench(t)
	if b.r.caps.CgroupVersion != 1 {
		t.Log("control groups version 2: the values are in other files, checked by the integration test")
		return
	}
	s := b.spec(dcos.KindCommand, "cpu", "sleep 1000")
	s.Limits.CPUs = resource.Scalar(250)
	b.start(s)
	for file, want := range map[string]string{"cpu.cfs_quota_us": "25000", "cpu.cfs_period_us": "100000", "cpu.shares": "256"} {
		got, err := os.ReadFile(filepath.Join("/sys/fs/cgroup/cpu/dcos", b.conf.AgentID, "cpu", file))
		if err != nil || strings.TrimSpace(string(got)) != want {
			t.Errorf("%s is %q, %v, want %s", file, got, err, want)
		}
	}
}

func TestEveryProcessOfAKilledCommandEnds(t *testing.T) {
	needRoot(t)
	b := newBench(t)
	cmd := `trap '' TERM; setsid sh -c 'trap "" TERM; sleep 1000 & sleep 1000 & wait' & sleep 1000 & echo ready; wait`
	s := b.spec(dcos.KindCommand, "stubborn", cmd)
	pid := b.start(s)
	b.until("stubborn", "ready")
	if err := b.r.Signal("stubborn", int(unix.SIGTERM)); err != nil {
		t.Fatal(err)
	}
	b.restart()
	if st, err := b.r.Adopt(t.Context(), "stubborn"); err != nil || st.State != Alive || st.Pid != pid {
		t.Errorf("after SIGTERM, which it ignores: %+v, %v", st, err)
	}
	if err := b.r.Kill("stubborn"); err != nil {
		t.Fatal(err)
	}
	if exit := b.wait("stubborn"); exit.Signal != int(unix.SIGKILL) || exit.OOM {
		t.Errorf("exit %+v", exit)
	}
	for _, file := range groupFiles(t, b, "stubborn") {
		if pids, err := os.ReadFile(file); err != nil || len(pids) > 0 {
			t.Errorf("%s: %q, %v", file, pids, err)
		}
	}
}

func groupFiles(t *testing.T, b *bench, id dcos.TaskID) []string {
	t.Helper()
	m, err := b.r.group(sandbox.DirName(id), b.r.resources(dcos.Limits{}))
	if err != nil {
		t.Fatal(err)
	}
	return procsFiles(m)
}

func TestCommandEndsBySIGTERMLikeAnyProcess(t *testing.T) {
	needRoot(t)
	b := newBench(t)
	b.start(b.spec(dcos.KindCommand, "polite", "sleep 1000; exit 5"))
	if err := b.r.Signal("polite", int(unix.SIGTERM)); err != nil {
		t.Fatal(err)
	}
	if exit := b.wait("polite"); exit.Signal != int(unix.SIGTERM) {
		t.Errorf("exit %+v, want an end by signal 15", exit)
	}
}

func TestCommandWhoseShimWasKilledEndsWithIt(t *testing.T) {
	needRoot(t)
	b := newBench(t)
	pid := b.start(b.spec(dcos.KindCommand, "shimless", "sleep 1000 & sleep 1000"))
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

// What stayed behind in one hierarchy would keep systemd from removing the
// agent's unit there when dcos is uninstalled.
func TestShimLeavesTheAgentsGroupsInEveryHierarchyOfItsTask(t *testing.T) {
	needRoot(t)
	b := newBench(t)
	b.start(b.spec(dcos.KindCommand, "apart", "sleep 1000"))
	p, err := readPids(b.r.taskDir("apart"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range groupFiles(t, b, "apart") {
		shims := filepath.Join(filepath.Dir(filepath.Dir(file)), shimsName, filepath.Base(file))
		pids, err := os.ReadFile(shims)
		if err != nil || !slices.Contains(strings.Fields(string(pids)), strconv.Itoa(p.shim)) {
			t.Errorf("%s: %q, %v; want the shim %d", shims, pids, err, p.shim)
		}
	}
}

func TestCommandThatCannotRunLeavesNothing(t *testing.T) {
	needRoot(t)
	b := newBench(t)
	s := b.spec(dcos.KindCommand, "bad", "")
	s.Argv = []string{"no-such-program"}
	if _, err := b.r.Start(t.Context(), s); !errors.Is(err, dcos.ErrInvalid) || !strings.Contains(err.Error(), "no-such-program") {
		t.Errorf("got %v", err)
	}
	s.Argv, s.WorkDir = []string{"true"}, "/proc/self/fd/3"
	if _, err := b.r.Start(t.Context(), s); !errors.Is(err, dcos.ErrInvalid) {
		t.Errorf("a working directory of somebody else's descriptor: %v", err)
	}
	if ids, err := b.r.List(); err != nil || len(ids) != 0 {
		t.Errorf("left %v, %v", ids, err)
	}
}

func TestTaskInheritsNoDescriptorsAndNoSignals(t *testing.T) {
	needRoot(t)
	b := newBench(t)
	for _, kind := range []dcos.Kind{dcos.KindProcess, dcos.KindCommand} {
		id := dcos.TaskID(fmt.Sprintf("clean.%d", kind))
		s := b.spec(kind, id, `ls /proc/self/fd | tr '\n' ' '; grep -E '^Sig(Blk|Ign)' /proc/self/status; umask`)
		_, out := b.run(s)
		if want := "0 1 2 3 SigBlk:	0000000000000000\nSigIgn:	0000000000000000\n0022\n"; out != want {
			t.Errorf("kind %d: %q, want %q", kind, out, want)
		}
	}
}
