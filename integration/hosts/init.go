package hosts

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// The test binary runs itself again as the first process of a host: under
// this name it makes the host's mounts and becomes systemd. It cannot wait
// for a TestMain, since a package without one would run its tests as PID 1.
const initName = "dcos-test-host-init"

// Files that the first process has open beside its output.
const (
	initConfigFD = 3 // the parent closes it when cgroups and network are ready
	initErrorFD  = 4 // closed by exec: no text means that systemd runs
)

func init() {
	if len(os.Args) != 1 || os.Args[0] != initName {
		return
	}
	unix.CloseOnExec(initErrorFD)
	err := becomeHost()
	_, _ = os.NewFile(initErrorFD, "error").WriteString(err.Error())
	os.Exit(1)
}

// initConfig is what the first process is told.
type initConfig struct {
	Name   string
	Lower  string // the base
	Disk   string // holds upper, work and lib
	Mount  string // where the root is put together, in the host's own mount namespace
	V2     bool
	Trees  []hierarchy
	BootID string
}

// becomeHost returns only an error.
func becomeHost() error {
	var c initConfig
	data, err := io.ReadAll(os.NewFile(initConfigFD, "config"))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return fmt.Errorf("host init: %w", err) // nothing: the parent gave up
	}
	_ = unix.Close(initConfigFD)
	unix.Umask(0)
	// The parent has moved us: the cgroup that we are in becomes the root.
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("cgroup namespace: %w", err)
	}
	steps := []func(initConfig) error{mountRoot, mountKernel, mountDev, mountCgroups, guardSysctls, newBootID, enterRoot}
	for _, step := range steps {
		if err := step(c); err != nil {
			return err
		}
	}
	if err := unix.Sethostname([]byte(c.Name)); err != nil {
		return fmt.Errorf("hostname: %w", err)
	}
	env := []string{"container=dcos-test", "TERM=linux", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	err = syscall.Exec("/lib/systemd/systemd", []string{"/lib/systemd/systemd", "--log-target=journal-or-kmsg", "--show-status=0"}, env)
	return fmt.Errorf("exec systemd: %w", err)
}

func mount(source, target, kind string, flags uintptr, data string) error {
	if err := unix.Mount(source, target, kind, flags, data); err != nil {
		return fmt.Errorf("mount %s on %s: %w", kind, target, err)
	}
	return nil
}

func mountRoot(c initConfig) error {
	if err := mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	data := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", c.Lower, filepath.Join(c.Disk, "upper"), filepath.Join(c.Disk, "work"))
	if err := mount("overlay", c.Mount, "overlay", 0, data); err != nil {
		return err
	}
	// An overlay cannot hold another one's upper directory: what daemons
	// keep is on the machine's own file system.
	return mount(filepath.Join(c.Disk, "lib"), filepath.Join(c.Mount, "var/lib"), "", unix.MS_BIND, "")
}

func mountKernel(c initConfig) error {
	const safe = unix.MS_NOSUID | unix.MS_NODEV
	in := func(p string) string { return filepath.Join(c.Mount, p) }
	err := errors.Join(
		mount("proc", in("proc"), "proc", safe|unix.MS_NOEXEC, ""),
		mount("sysfs", in("sys"), "sysfs", safe|unix.MS_NOEXEC, ""),
		mount("tmpfs", in("run"), "tmpfs", safe, "mode=755"),
		mount("tmpfs", in("tmp"), "tmpfs", safe, "mode=1777"),
	)
	if err == nil {
		// Not every kernel has it, and only eBPF tests need it.
		_ = unix.Mount("bpf", in("sys/fs/bpf"), "bpf", 0, "")
	}
	return err
}

func mountDev(c initConfig) error {
	dev := filepath.Join(c.Mount, "dev")
	if err := mount("tmpfs", dev, "tmpfs", unix.MS_NOSUID|unix.MS_STRICTATIME, "mode=755"); err != nil {
		return err
	}
	for _, d := range []string{"pts", "shm", "mqueue", "net"} {
		if err := os.Mkdir(filepath.Join(dev, d), 0o755); err != nil {
			return err
		}
	}
	err := errors.Join(
		mount("devpts", filepath.Join(dev, "pts"), "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"),
		mount("tmpfs", filepath.Join(dev, "shm"), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777"),
		mount("mqueue", filepath.Join(dev, "mqueue"), "mqueue", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""),
	)
	if err != nil {
		return err
	}
	for name, number := range map[string][2]uint32{
		"null": {1, 3}, "zero": {1, 5}, "full": {1, 7}, "random": {1, 8}, "urandom": {1, 9}, "tty": {5, 0},
		"fuse": {10, 229}, "net/tun": {10, 200},
	} {
		if err := unix.Mknod(filepath.Join(dev, name), unix.S_IFCHR|0o666, int(unix.Mkdev(number[0], number[1]))); err != nil {
			return fmt.Errorf("device %s: %w", name, err)
		}
	}
	for name, to := range map[string]string{
		"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2",
	} {
		if err := os.Symlink(to, filepath.Join(dev, name)); err != nil {
			return err
		}
	}
	console := filepath.Join(dev, "console")
	if err := os.WriteFile(console, nil, 0o600); err != nil {
		return err
	}
	return mount(filepath.Join(dev, "null"), console, "", unix.MS_BIND, "")
}

func mountCgroups(c initConfig) error {
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	root := filepath.Join(c.Mount, "sys/fs/cgroup")
	if c.V2 {
		return mount("cgroup2", root, "cgroup2", flags, "")
	}
	if err := mount("tmpfs", root, "tmpfs", flags, "mode=755"); err != nil {
		return err
	}
	for _, h := range c.Trees {
		name, kind := strings.TrimPrefix(h.Options, "name="), "cgroup"
		if h.V2 {
			name, kind = "unified", "cgroup2"
		}
		dir := filepath.Join(root, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		if err := mount("cgroup", dir, kind, flags, h.Options); err != nil {
			return err
		}
		if !strings.Contains(name, ",") {
			continue
		}
		for part := range strings.SplitSeq(name, ",") { // cpu -> cpu,cpuacct
			if err := os.Symlink(name, filepath.Join(root, part)); err != nil {
				return err
			}
		}
	}
	return nil
}

// guardedSysctls are the machine's, not the host's, and systemd would set
// them while it boots. Read-only here, they stay what they are.
var guardedSysctls = []string{
	"fs/file-max", "fs/nr_open", "fs/protected_fifos", "fs/protected_hardlinks", "fs/protected_regular",
	"fs/protected_symlinks", "fs/suid_dumpable", "kernel/core_pattern", "kernel/core_uses_pid", "kernel/pid_max",
	"kernel/printk", "kernel/sysrq", "kernel/panic", "kernel/panic_on_oops", "vm/max_map_count", "vm/overcommit_memory",
	"vm/swappiness", "vm/panic_on_oom",
}

func guardSysctls(c initConfig) error {
	for _, name := range guardedSysctls {
		file := filepath.Join(c.Mount, "proc/sys", name)
		if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err := mount(file, file, "", unix.MS_BIND, ""); err != nil {
			return err
		}
		if err := mount("", file, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
			return err
		}
	}
	return nil
}

// newBootID hides the kernel's boot id, which is the machine's and would be
// the same after a "reboot".
func newBootID(c initConfig) error {
	file := filepath.Join(c.Mount, "run/boot-id")
	if err := os.WriteFile(file, []byte(c.BootID+"\n"), 0o444); err != nil {
		return err
	}
	return mount(file, filepath.Join(c.Mount, "proc/sys/kernel/random/boot_id"), "", unix.MS_BIND, "")
}

func enterRoot(c initConfig) error {
	if err := os.Chdir(c.Mount); err != nil {
		return err
	}
	// The old root ends up on top of the new one, and goes.
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the machine's root: %w", err)
	}
	return os.Chdir("/")
}
