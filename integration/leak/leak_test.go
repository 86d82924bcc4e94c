package leak

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"

	"github.com/dcos-go/dcos/integration/hosts"
	"github.com/dcos-go/dcos/integration/hosts/cache"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder is a test that keeps its failures to itself.
type recorder struct {
	testing.TB
	cleanups []func()
	failures []string
}

func (r *recorder) Helper()          {}
func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Errorf(format string, args ...any) {
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

// end runs the clean-up, last first, as a test does, and returns the failures.
func (r *recorder) end() []string {
	for _, f := range slices.Backward(r.cleanups) {
		f()
	}
	return r.failures
}

// word is unique on the machine, and short enough for a link.
func word(t *testing.T) string {
	return fmt.Sprintf("lk%d%s", os.Getpid()%100000, strings.ToLower(t.Name()[len(t.Name())-4:]))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestLocalLeakIsNamed(t *testing.T) {
	must(t, cache.Need(t.Context(), cache.Tool{Program: "nft", Package: "nftables"}))
	for _, tt := range []struct {
		name  string
		plant func(t *testing.T, dir, word string) (remove func() error)
		want  string // DIR and WORD stand for the two
	}{
		{"mount", func(_ *testing.T, dir, _ string) func() error {
			must(t, syscall.Mount("tmpfs", dir, "tmpfs", 0, ""))
			return func() error { return syscall.Unmount(dir, 0) }
		}, "leaked: mount of tmpfs (tmpfs) on DIR"},
		{"cgroup", func(t *testing.T, _, word string) func() error {
			path := filepath.Join(someTree(t), word)
			must(t, os.Mkdir(path, 0o755))
			return func() error { return syscall.Rmdir(path) }
		}, "leaked: cgroup "},
		{"link", func(_ *testing.T, _, word string) func() error {
			veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: word}, PeerName: word + "p"}
			must(t, netlink.LinkAdd(veth))
			return func() error { return netlink.LinkDel(veth) }
		}, "leaked: link WORD (veth)"},
		{"table", func(_ *testing.T, _, word string) func() error {
			must(t, cache.Run(exec.Command("/usr/sbin/nft", "add", "table", "inet", word)))
			return func() error { return cache.Run(exec.Command("/usr/sbin/nft", "delete", "table", "inet", word)) }
		}, "leaked: nft table inet WORD"},
		{"process", func(_ *testing.T, dir, _ string) func() error {
			cmd := exec.Command("tail", "-f", filepath.Join(dir, "nothing"), "/dev/null")
			must(t, cmd.Start())
			return func() error { return ended(cmd) }
		}, "tail: tail -f DIR/nothing"},
		{"process by its directory", func(_ *testing.T, dir, _ string) func() error {
			cmd := exec.Command("sleep", "1000")
			cmd.Dir = dir
			must(t, cmd.Start())
			return func() error { return ended(cmd) }
		}, "sleep: sleep 1000 (state S, parent "},
		{"zombie", func(_ *testing.T, dir, _ string) func() error {
			cmd := exec.Command("true")
			must(t, cmd.Start())
			return cmd.Wait
		}, "true:  (state Z, parent "},
		{"network namespace", func(_ *testing.T, dir, _ string) func() error {
			cmd := exec.Command("tail", "-f", filepath.Join(dir, "nothing"), "/dev/null")
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
			must(t, cmd.Start())
			return func() error { return ended(cmd) }
		}, "leaked: network namespace net:["},
		{"open file", func(_ *testing.T, dir, _ string) func() error {
			f, err := os.Create(filepath.Join(dir, "open"))
			must(t, err)
			return func() error { return errors.Join(f.Close(), os.Remove(f.Name())) }
		}, "DIR/open"},
		{"file", func(_ *testing.T, dir, _ string) func() error {
			path := filepath.Join(dir, "sub/file")
			must(t, os.Mkdir(filepath.Dir(path), 0o755))
			must(t, os.WriteFile(path, nil, 0o644))
			return func() error { return os.RemoveAll(filepath.Dir(path)) }
		}, "leaked: file DIR/sub/file (----------)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, w := t.TempDir(), word(t)
			scope := Scope{Match: []string{dir, w}, Dirs: []string{dir}, Limit: 300 * time.Millisecond}
			want := strings.NewReplacer("DIR", dir, "WORD", w).Replace(tt.want)

			r := &recorder{TB: t}
			Check(r, scope)
			remove := tt.plant(t, dir, w)
			failures := r.end()
			if !slices.ContainsFunc(failures, func(f string) bool { return strings.Contains(f, want) }) {
				t.Errorf("failures = %q, want one with %q", failures, want)
			}
			must(t, remove())

			r = &recorder{TB: t}
			scope.Limit = 20 * time.Second
			Check(r, scope)
			remove = tt.plant(t, dir, w)
			must(t, remove())
			if failures := r.end(); len(failures) > 0 {
				t.Errorf("planted and removed: failures = %q, want none", failures)
			}
		})
	}
}

func ended(cmd *exec.Cmd) error {
	err := cmd.Process.Kill()
	_ = cmd.Wait() // says that it was killed
	return err
}

// someTree is a cgroup tree that takes a directory.
func someTree(t *testing.T) string {
	t.Helper()
	for _, d := range []string{"/sys/fs/cgroup/pids", "/sys/fs/cgroup"} {
		if present(d) {
			return d
		}
	}
	t.Fatal("no cgroup tree")
	return ""
}

func TestOldThingsAreNotLeaks(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "old"), nil, 0o644))
	cmd := exec.Command("tail", "-f", filepath.Join(dir, "old"))
	must(t, cmd.Start())
	defer func() { _ = ended(cmd) }()
	r := &recorder{TB: t}
	Check(r, Scope{Match: []string{dir}, Dirs: []string{dir}, Limit: time.Second})
	if failures := r.end(); len(failures) > 0 {
		t.Errorf("failures = %q, want none", failures)
	}
}

func TestSlowCleanUpIsWaitedFor(t *testing.T) {
	dir := t.TempDir()
	r := &recorder{TB: t}
	Check(r, Scope{Match: []string{dir}, Dirs: []string{dir}, Limit: time.Minute})
	path := filepath.Join(dir, "late")
	must(t, os.WriteFile(path, nil, 0o644))
	gone := time.AfterFunc(300*time.Millisecond, func() { _ = os.Remove(path) })
	defer gone.Stop()
	if failures := r.end(); len(failures) > 0 {
		t.Errorf("failures = %q, want none", failures)
	}
}

func TestOpenSocketCountsWhenOpenFilesDo(t *testing.T) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	must(t, err)
	defer syscall.Close(pair[0])
	defer syscall.Close(pair[1])
	r := &recorder{TB: t}
	Check(r, Scope{Match: []string{"no such word"}, OpenFiles: true, Limit: 100 * time.Millisecond})
	more, err := syscall.Dup(pair[0])
	must(t, err)
	failures := r.end()
	must(t, syscall.Close(more))
	if len(failures) != 1 || !strings.Contains(failures[0], "socket:[") {
		t.Errorf("failures = %q, want one socket", failures)
	}
}

func TestBrokenTerminalDeviceIsNamed(t *testing.T) {
	for path, want := range map[string]bool{"/dev/ptmx": false, "/dev/null": true, "/dev/nothing-here": true} {
		out := snapshot{}
		must(t, out.terminal(path))
		if got := len(out) > 0; got != want {
			t.Errorf("terminal(%s) found %v, want a finding: %v", path, out, want)
		}
	}
}

func TestRemoteLeakIsNamed(t *testing.T) {
	h := hosts.NewNet(t).Host(t, hosts.Options{Name: "h"})
	sh := func(t *testing.T, text string) {
		t.Helper()
		if _, _, err := h.Run(t.Context(), "sh", "-ec", text); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct{ name, plant, want, remove string }{
		{"mount", "mkdir /mnt/x; mount -t tmpfs left /mnt/x", "h: leaked: mount of left (tmpfs) on /mnt/x", "umount /mnt/x; rmdir /mnt/x"},
		{"cgroup", "mkdir /sys/fs/cgroup/memory/left", "h: leaked: cgroup /sys/fs/cgroup/memory/left", "rmdir /sys/fs/cgroup/memory/left"},
		{"namespace", "ip netns add left", "h: leaked: network namespace /run/netns/left", "ip netns del left; umount /run/netns; rmdir /run/netns"},
		{"link", "ip link add left type veth peer name right", "h: leaked: link left", "ip link del left"},
		{"table", "nft add table ip left", "h: leaked: nft table ip left", "nft delete table ip left"},
		{"process", "setsid sleep 100002 >/dev/null 2>&1 </dev/null &", "sleep: sleep 100002", "pkill -x sleep"},
		{"file", "mkdir -p /opt/left; touch /opt/left/f", "h: leaked: file /opt/left/f (f)", "rm -r /opt/left"},
		{"terminal", "rm /dev/ptmx; touch /dev/ptmx", "h: leaked: /dev/ptmx is no terminal device", "rm /dev/ptmx; ln -s pts/ptmx /dev/ptmx"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			scope := Scope{Dirs: []string{"/opt"}, Limit: time.Second}
			r := &recorder{TB: t}
			CheckOn(r, h, scope)
			sh(t, tt.plant)
			failures := r.end()
			if !slices.ContainsFunc(failures, func(f string) bool { return strings.Contains(f, tt.want) }) {
				t.Errorf("failures = %q, want one with %q", failures, tt.want)
			}
			sh(t, tt.remove)

			r = &recorder{TB: t}
			scope.Limit = 30 * time.Second
			CheckOn(r, h, scope)
			sh(t, tt.plant)
			sh(t, tt.remove)
			if failures := r.end(); len(failures) > 0 {
				t.Errorf("planted and removed: failures = %q, want none", failures)
			}
		})
	}
}
