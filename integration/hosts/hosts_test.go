package hosts

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"

	"github.com/dcos-go/dcos/integration/hosts/cache"
)

const childEnv = "DCOS_TEST_HOSTS_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		child()
	}
	goleak.VerifyTestMain(m)
}

// child makes a host, names it on its output, and waits to be killed.
func child() {
	n, err := OpenNet(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stdout, "error", err)
		os.Exit(1)
	}
	h, err := n.NewHost(context.Background(), Options{Name: "orphan"})
	if err != nil {
		fmt.Fprintln(os.Stdout, "error", err)
		os.Exit(1)
	}
	fmt.Fprintln(os.Stdout, "up", n.claim.n, n.state, h.PID1())
	select {}
}

// together starts hosts at once.
func together(t *testing.T, n *Net, options ...Options) []*Host {
	t.Helper()
	out := make([]*Host, len(options))
	errs := make([]error, len(options))
	var wg sync.WaitGroup
	for i, o := range options {
		wg.Go(func() { out[i], errs[i] = n.NewHost(t.Context(), o) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	return out
}

func run(t *testing.T, h *Host, command ...string) string {
	t.Helper()
	out, _, err := h.Run(t.Context(), command...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// reaches says whether one host's ping comes back.
func reaches(h *Host, ip string) bool {
	_, err := h.Enter("ping", "-c", "1", "-W", "2", ip)
	return err == nil
}

func TestHostsOfBothModesBootAtOnceAndReachEachOther(t *testing.T) {
	t.Parallel()
	n := NewNet(t)
	began := time.Now()
	all := together(t, n, Options{Name: "a"}, Options{Name: "b", MemoryBytes: 512 << 20}, Options{Name: "c", Mode: V2})
	t.Logf("3 hosts in %v", time.Since(began))
	for i, h := range all {
		if got := run(t, h, "hostname"); got != h.Name() {
			t.Errorf("hostname = %q, want %q", got, h.Name())
		}
		if got := run(t, h, "cat", "/proc/sys/kernel/random/boot_id"); got != h.BootID() {
			t.Errorf("boot id = %q, want %q", got, h.BootID())
		}
		if got := run(t, h, "cat", "/proc/1/comm"); got != "systemd" {
			t.Errorf("PID 1 is %q, want systemd", got)
		}
		if peer := all[(i+1)%len(all)]; !reaches(h, peer.IP()) {
			t.Errorf("%s does not reach %s", h.Name(), peer.Name())
		}
		if !reaches(h, n.OutsideIP()) {
			t.Errorf("%s does not reach the test", h.Name())
		}
	}
	if limit, err := readNumber(inotifyFile); err != nil || limit < inotifyWide {
		t.Errorf("inotify instances = %d, %v; want %d while a network is there", limit, err, inotifyWide)
	}
	kinds := map[string]string{}
	for _, h := range all {
		kinds[h.Name()] = run(t, h, "stat", "-f", "-c", "%T", "/sys/fs/cgroup")
	}
	if want := map[string]string{"a": "tmpfs", "b": "tmpfs", "c": "cgroup2fs"}; !cmp.Equal(kinds, want) {
		t.Errorf("cgroup trees: %s", cmp.Diff(want, kinds))
	}
	if got := run(t, all[1], "cat", "/sys/fs/cgroup/memory/memory.limit_in_bytes"); got != fmt.Sprint(512<<20) {
		t.Errorf("memory limit = %s, want %d", got, 512<<20)
	}
}

func TestHostCommandsKeepTheirWordsAndExitCodes(t *testing.T) {
	t.Parallel()
	h := NewNet(t).Host(t, Options{Name: "h"})
	if got := run(t, h, "printf", "%s|", "a b", "it's", "$HOME", "", "*"); got != "a b|it's|$HOME||*|" {
		t.Errorf("words = %q", got)
	}
	_, stderr, err := h.Run(t.Context(), "sh", "-c", "echo why >&2; exit 7")
	var exit *ExitError
	if !errors.As(err, &exit) || exit.Code != 7 || stderr != "why\n" {
		t.Errorf("err = %v, stderr = %q; want exit code 7 and why", err, stderr)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, _, err := h.Run(ctx, "sleep", "600"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("err = %v, want the deadline", err)
	}
	local := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(local, []byte("#!/bin/sh\necho copied\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := h.Copy(local, "/usr/local/bin/program"); err != nil {
		t.Fatal(err)
	}
	if got := run(t, h, "program"); got != "copied" {
		t.Errorf("output = %q, want copied", got)
	}
	run(t, h, "ln", "-s", "/etc/hostname", "/root/link")
	if got, err := h.ReadFile("/root/link"); err != nil || string(got) != "h\n" {
		t.Errorf("link = %q, %v; want the host's own file", got, err)
	}
}

func TestHostProcessesAreFoundAndKilledByTheirOwnNumbers(t *testing.T) {
	t.Parallel()
	h := NewNet(t).Host(t, Options{Name: "h"})
	run(t, h, "systemd-run", "--unit=nap", "sleep", "100000")
	want := run(t, h, "systemctl", "show", "-P", "MainPID", "nap")
	pids, err := h.Pids("sleep")
	if err != nil || len(pids) != 1 || fmt.Sprint(pids[0]) != want {
		t.Fatalf("pids = %v, %v; want [%s]", pids, err, want)
	}
	if err := h.Kill(pids[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	err = poll(20*time.Second, func() error {
		if pids, err := h.Pids("sleep"); err != nil || len(pids) > 0 {
			return fmt.Errorf("sleep is still there: %v, %w", pids, err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestPartitionedHostIsSilentUntilHealed(t *testing.T) {
	t.Parallel()
	n := NewNet(t)
	all := together(t, n, Options{Name: "a"}, Options{Name: "b"})
	a, b := all[0], all[1]
	if err := b.Partition(); err != nil {
		t.Fatal(err)
	}
	if reaches(a, b.IP()) || reaches(b, a.IP()) || reaches(b, n.OutsideIP()) {
		t.Error("a frame passed a partition")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, _, err := b.Run(ctx, "true"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ssh to a partitioned host: %v, want the deadline", err)
	}
	if got, err := b.Enter("cat", "/sys/class/net/eth0/carrier"); err != nil || strings.TrimSpace(got) != "1" {
		t.Errorf("carrier = %q, %v; want 1: a partition shows only by silence", got, err)
	}
	if err := b.Heal(); err != nil {
		t.Fatal(err)
	}
	if !reaches(a, b.IP()) {
		t.Error("a does not reach b after Heal")
	}
	if got := run(t, b, "hostname"); got != "b" {
		t.Errorf("hostname = %q, want b", got)
	}
}

func TestCutIsOneWayAndLossIsPartial(t *testing.T) {
	t.Parallel()
	n := NewNet(t)
	all := together(t, n, Options{Name: "a"}, Options{Name: "b"})
	a, b := all[0], all[1]
	counters := func(h *Host, what string) string {
		t.Helper()
		out, err := h.Enter("sh", "-c", "grep Icmp: /proc/net/snmp | tail -1 | cut -d' ' -f"+what)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(out)
	}
	if !reaches(a, b.IP()) { // and both know the other's hardware address
		t.Fatal("a does not reach b")
	}
	if err := n.Cut(b, a); err != nil {
		t.Fatal(err)
	}
	before := counters(b, "2") // InMsgs
	if reaches(a, b.IP()) {
		t.Error("an answer came through the cut")
	}
	if after := counters(b, "2"); after == before {
		t.Errorf("b has got %s messages, as before: the cut held in the other direction too", after)
	}
	if err := n.HealAll(); err != nil {
		t.Fatal(err)
	}
	if !reaches(a, b.IP()) {
		t.Error("a does not reach b after HealAll")
	}
	if err := n.Loss(a, b, 50); err != nil {
		t.Fatal(err)
	}
	out, _ := a.Enter("ping", "-q", "-c", "200", "-i", "0.005", "-W", "1", b.IP())
	if strings.Contains(out, " 0% packet loss") || strings.Contains(out, " 100% packet loss") || !strings.Contains(out, "% packet loss") {
		t.Errorf("half of the packets should be lost:\n%s", out)
	}
	if err := n.Loss(a, b, 101); err == nil {
		t.Error("a loss of 101 percent was taken")
	}
}

func TestDiskOutlivesAPowerCutAndMemoryDoesNot(t *testing.T) {
	t.Parallel()
	h := NewNet(t).Host(t, Options{Name: "h"})
	run(t, h, "sh", "-c", `mkdir -p /var/lib/dcos/l /var/lib/dcos/u /var/lib/dcos/w /var/lib/dcos/m
		mount -t overlay overlay -o lowerdir=/var/lib/dcos/l,upperdir=/var/lib/dcos/u,workdir=/var/lib/dcos/w /var/lib/dcos/m
		echo kept > /var/lib/dcos/m/file; echo etc > /etc/kept; touch /run/lost /tmp/lost; sync`)
	first := h.BootID()
	for name, off := range map[string]func() error{"power cut": h.PowerOff, "crash": h.Crash} {
		pid := h.PID1()
		if err := off(); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("%s: PID 1 is still there: %v", name, err)
		}
		if _, err := h.ReadFile("/etc/kept"); !errors.Is(err, errOff) {
			t.Errorf("%s: read of a host that is off: %v", name, err)
		}
		began := time.Now()
		if err := h.Boot(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Logf("reboot after %s: %v", name, time.Since(began))
		if got := run(t, h, "cat", "/var/lib/dcos/u/file", "/etc/kept"); got != "kept\netc" {
			t.Errorf("%s: disk holds %q, want kept and etc", name, got)
		}
		if got := run(t, h, "sh", "-c", "ls /run/lost /tmp/lost 2>/dev/null | wc -l"); got != "0" {
			t.Errorf("%s: %s files of memory file systems are left", name, got)
		}
		if h.BootID() == first {
			t.Errorf("%s: the boot id is the old one", name)
		}
	}
}

func TestBootLeavesTheMachinesSettingsAlone(t *testing.T) {
	read := func() map[string]string {
		out := map[string]string{}
		for _, name := range guardedSysctls {
			data, err := os.ReadFile(filepath.Join("/proc/sys", name))
			if err == nil {
				out[name] = strings.TrimSpace(string(data))
			}
		}
		return out
	}
	before := read()
	NewNet(t).Host(t, Options{Name: "h"})
	if diff := cmp.Diff(before, read()); diff != "" {
		t.Errorf("sysctls changed:\n%s", diff)
	}
}

// leftovers lists what of a claim is on the machine.
func leftovers(t *testing.T, number int, state string) []string {
	t.Helper()
	var out []string
	c := claim{n: number}
	trees, err := hierarchies()
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range trees {
		if dir := filepath.Join(h.Mount, c.cgroup()); there(dir) {
			out = append(out, dir)
		}
	}
	if _, err := netlink.LinkByName(c.outside()); err == nil {
		out = append(out, "link "+c.outside())
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), state) {
		out = append(out, "mount in "+state)
	}
	for _, path := range []string{state, claimPath(number)} {
		if there(path) {
			out = append(out, path)
		}
	}
	return out
}

func TestClosedNetworkLeavesNothing(t *testing.T) {
	t.Parallel()
	n, err := OpenNet(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	together(t, n, Options{Name: "a"}, Options{Name: "b"})
	number, state := n.claim.n, n.state
	if got := leftovers(t, number, state); len(got) < 4 {
		t.Errorf("a running network shows only %v: this test looks in the wrong places", got)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	// Another test may hold the number by now, but not with this state.
	f, err := cache.TryLock(claimPath(number))
	if err != nil {
		t.Logf("number %d is in use again: %v", number, err)
		return
	}
	defer f.Close()
	defer os.Remove(claimPath(number))
	for _, left := range leftovers(t, number, state) {
		if left != claimPath(number) {
			t.Errorf("left: %s", left)
		}
	}
}

func TestKilledRunIsSweptByTheNext(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	var number, pid int
	var state string
	if _, err := fmt.Sscanf(line, "up %d %s %d", &number, &state, &pid); err != nil {
		t.Fatalf("the child said %q: %v", line, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if got := leftovers(t, number, state); len(got) < 3 {
		t.Errorf("the killed run left only %v: this test looks in the wrong places", got)
	}
	if err := sweep(); err != nil {
		t.Fatal(err)
	}
	if got := leftovers(t, number, state); len(got) > 0 {
		t.Errorf("left after the sweep: %v", got)
	}
	// The machine's PID 1 reaps orphans every second or two.
	err = poll(20*time.Second, func() error {
		comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if err == nil && strings.TrimSpace(string(comm)) == "systemd" {
			return fmt.Errorf("the host's PID 1 (%d) lives", pid)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestInjectedFaultHitsOneProcessUntilItEnds(t *testing.T) {
	t.Parallel()
	h := NewNet(t).Host(t, Options{Name: "h"})
	// Each line that it reads is a synced write.
	run(t, h, "sh", "-c", `mkfifo /run/go; (while read n < /run/go; do dd if=/dev/zero of=/var/lib/x bs=4k count=1 conv=fdatasync 2>&1 |
		grep -q "Input/output" && echo $n bad >> /run/said || echo $n good >> /run/said; done) > /dev/null 2>&1 & echo $! > /run/pid`)
	pid, err := strconv.Atoi(strings.TrimSpace(run(t, h, "cat", "/run/pid")))
	if err != nil {
		t.Fatal(err)
	}
	write := func(n int) {
		t.Helper()
		run(t, h, "sh", "-c", fmt.Sprintf(`echo %d > /run/go; until grep -q '^%d ' /run/said; do sleep 0.01; done`, n, n))
	}
	write(1)
	end, err := h.Inject(t.Context(), pid, "fdatasync", "error=EIO")
	if err != nil {
		t.Fatal(err)
	}
	write(2)
	if err := end(); err != nil {
		t.Fatal(err)
	}
	write(3)
	if got, want := run(t, h, "cat", "/run/said"), "1 good\n2 bad\n3 good"; got != want {
		t.Errorf("the process said %q, want %q", got, want)
	}
	if _, err := h.Inject(t.Context(), 99999, "fdatasync", "error=EIO"); err == nil {
		t.Error("a fault was injected into a process that does not exist")
	}
}

func TestThrottledDiskTakesFewWrites(t *testing.T) {
	t.Parallel()
	h := NewNet(t).Host(t, Options{Name: "h"})
	run(t, h, "sh", "-c", `mkfifo /run/go; (while read n < /run/go; do dd if=/dev/zero of=/var/lib/x bs=4k count=20 oflag=dsync; echo $n >> /run/said; done) > /dev/null 2>&1 & echo $! > /run/pid`)
	pid, err := strconv.Atoi(strings.TrimSpace(run(t, h, "cat", "/run/pid")))
	if err != nil {
		t.Fatal(err)
	}
	end, err := h.Throttle(pid, 10)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	run(t, h, "sh", "-c", `echo 1 > /run/go; until grep -q '^1$' /run/said; do sleep 0.01; done`)
	// 20 synced writes are at least as many to the disk.
	if took := time.Since(began); took < time.Second {
		t.Errorf("20 writes took %v at 10 a second", took)
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
}

func TestDirectoryWithAMountIsNotDeleted(t *testing.T) {
	dir := t.TempDir()
	sub := filepath.Join(dir, "mounted")
	if err := os.Mkdir(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", sub, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(sub, 0) })
	if err := removeAll(dir); err == nil || !strings.Contains(err.Error(), sub) {
		t.Errorf("removeAll = %v, want a refusal that names %s", err, sub)
	}
	if !there(sub) {
		t.Error("the mount point is gone")
	}
}
