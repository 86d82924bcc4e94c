package container

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// planProcess is the plan of a plain process: nothing is enforced.
func (r *Runtime) planProcess(p *plan, s dcos.Spec) error {
	if s.User != "" {
		who, err := hostUser(s.User)
		if err != nil {
			return err
		}
		switch {
		case r.caps.Root:
			addIdentity(p, who)
		case who.uid != os.Getuid():
			return fmt.Errorf("%w: user %q: this agent runs without root and cannot change to another user: leave the user out, or run the agent as root", dcos.ErrInvalid, s.User)
		}
	}
	if err := checkDir(s); err != nil {
		return err
	}
	p.add("chdir", workDir(s))
	p.program(s)
	return nil
}

// planCommand is the plan of a command on the host's file system: own mount,
// pid, ipc and cgroup namespaces, own /dev and /proc, the kernel's knobs
// masked or read-only, limits, no new privileges, default capabilities.
func (r *Runtime) planCommand(p *plan, name string, s dcos.Spec) error {
	who, err := hostUser(s.User)
	if err != nil {
		return err
	}
	if err := checkDir(s); err != nil {
		return err
	}
	group, err := r.makeGroup(name, s.Limits)
	if err != nil {
		return err
	}
	p.add("oom", r.oomFile(group))
	p.add("ns", strconv.Itoa(unix.CLONE_NEWPID|unix.CLONE_NEWNS|unix.CLONE_NEWIPC))
	if r.filter != "" {
		p.add("filter", r.filter)
	}
	r.planMounts(p, s.Sandbox)
	for _, file := range procsFiles(group) {
		p.add("cgroup", file)
	}
	p.add("cgroupns")
	p.add("chdir", workDir(s))
	caps := strconv.FormatUint(defaultCapBits, 16)
	p.add("bound", caps)
	addIdentity(p, who)
	p.add("caps", caps)
	p.add("nonewprivs")
	if r.filter != "" {
		p.add("seccomp")
	}
	p.program(s)
	return nil
}

// planMounts makes the private view of the host's file system. Unmounting on
// the host still reaches it, so that a task keeps no disk busy.
func (r *Runtime) planMounts(p *plan, sandbox string) {
	const quiet = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	p.mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, "")
	p.mount("proc", "/proc", "proc", quiet, "")
	planDev(p)
	for _, path := range maskedPaths {
		p.add("mask", path)
	}
	for _, path := range readonlyPaths {
		p.add("readonly", path)
	}
	p.add("readonly", "/sys")
	for _, dir := range r.hide {
		below := sandbox == dir || strings.HasPrefix(sandbox, dir+"/")
		if below {
			p.add("hold", sandbox)
		}
		p.mount("tmpfs", dir, "tmpfs", quiet, "mode=755,size=64k,nr_inodes=64")
		if below {
			for at := dir; at != sandbox; {
				rest, _, _ := strings.Cut(strings.TrimPrefix(sandbox, at+"/"), "/")
				at = filepath.Join(at, rest)
				p.add("mkdir", at, "755")
			}
			p.add("place", sandbox)
		}
		p.mount("tmpfs", dir, "", quiet|unix.MS_REMOUNT|unix.MS_RDONLY, "mode=755,size=64k,nr_inodes=64")
	}
}

// planDev makes a /dev of its own: the host's has its disks, and a shared
// /dev/ptmx is the way into other terminals.
func planDev(p *plan) {
	p.mount("tmpfs", "/dev", "tmpfs", unix.MS_NOSUID|unix.MS_STRICTATIME, "mode=755,size=65536k")
	for _, d := range []struct {
		name         string
		major, minor uint32
	}{{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}} {
		p.add("mknod", "/dev/"+d.name, "20666", strconv.FormatUint(unix.Mkdev(d.major, d.minor), 10))
	}
	p.add("mkdir", "/dev/pts", "755")
	p.mount("devpts", "/dev/pts", "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5")
	p.add("symlink", "pts/ptmx", "/dev/ptmx")
	p.add("mkdir", "/dev/shm", "1777")
	p.mount("shm", "/dev/shm", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=1777,size=65536k")
	p.add("mkdir", "/dev/mqueue", "755")
	p.mount("mqueue", "/dev/mqueue", "mqueue", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	p.add("symlink", "/proc/self/fd", "/dev/fd")
	p.add("symlink", "fd/0", "/dev/stdin")
	p.add("symlink", "fd/1", "/dev/stdout")
	p.add("symlink", "fd/2", "/dev/stderr")
}

func addIdentity(p *plan, who identity) {
	for _, g := range who.groups {
		p.add("group", strconv.Itoa(g))
	}
	p.add("gid", strconv.Itoa(who.gid))
	p.add("uid", strconv.Itoa(who.uid))
}

// hostUser finds a user of the host; "" is the agent's own.
func hostUser(name string) (identity, error) {
	if name == "" {
		name = strconv.Itoa(os.Getuid()) + ":" + strconv.Itoa(os.Getgid())
	}
	passwd, err := hostFile("/etc/passwd")
	if err != nil {
		return identity{}, err
	}
	defer passwd.Close()
	group, err := hostFile("/etc/group")
	if err != nil {
		return identity{}, err
	}
	defer group.Close()
	return resolve(name, passwd, group)
}

func hostFile(path string) (io.ReadCloser, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return io.NopCloser(strings.NewReader("")), nil
	}
	return f, err
}

func workDir(s dcos.Spec) string {
	if s.WorkDir == "" {
		return s.Sandbox
	}
	return s.WorkDir
}

// checkDir refuses a working directory that only the kernel would name: a way
// to a descriptor of somebody else.
func checkDir(s dcos.Spec) error {
	if d := workDir(s); !filepath.IsAbs(d) || filepath.Clean(d) == "/proc" || strings.HasPrefix(filepath.Clean(d), "/proc/") {
		return fmt.Errorf("%w: working directory %q: want an absolute path outside /proc", dcos.ErrInvalid, d)
	}
	return nil
}
