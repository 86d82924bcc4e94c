package leak

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// local looks at this machine.
func local(ctx context.Context, s Scope) (snapshot, error) {
	out := snapshot{}
	trees, err := out.mounts(s)
	if err != nil {
		return nil, err
	}
	for _, step := range []func() error{
		func() error { return out.cgroups(s, trees) },
		func() error { return out.namespaces(s) },
		func() error { return out.links(s) },
		func() error { return out.tables(ctx, s) },
		func() error { return out.processes(s) },
		func() error { return out.openFiles(s) },
		func() error { return out.files(s) },
		func() error { return out.terminal("/dev/ptmx") },
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// mounts also returns where the cgroup trees are.
func (out snapshot) mounts(s Scope) (trees []string, err error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("mounts: %w", err)
	}
	return out.addMounts(s, string(data)), nil
}

// addMounts reads the format of /proc/self/mountinfo.
func (out snapshot) addMounts(s Scope, text string) (trees []string) {
	for line := range strings.Lines(text) {
		before, after, ok := strings.Cut(strings.TrimSpace(line), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 5 || len(right) < 2 {
			continue
		}
		if right[0] == "cgroup" || right[0] == "cgroup2" {
			trees = append(trees, left[4])
		}
		if s.matches(line) {
			out.add("mount of %s (%s) on %s", right[1], right[0], left[4])
		}
	}
	return trees
}

// cgroups counts those below the named ones, or without names all that match.
func (out snapshot) cgroups(s Scope, trees []string) error {
	named := s.Cgroups
	if len(named) == 0 {
		named = []string{""}
	}
	for _, tree := range trees {
		for _, name := range named {
			root := filepath.Join(tree, name)
			err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
				if err != nil {
					return gone(err)
				}
				if d.IsDir() && path != tree && (name != "" || s.matches(path)) {
					out.add("cgroup %s", path)
				}
				return nil
			})
			if err != nil {
				return fmt.Errorf("cgroups: %w", err)
			}
		}
	}
	return nil
}

func gone(err error) error {
	for _, known := range []error{fs.ErrNotExist, syscall.ENODEV, syscall.ESRCH, syscall.ENOTDIR} {
		if errors.Is(err, known) {
			return nil
		}
	}
	return err
}

// namespaces counts network namespaces that have names or processes.
func (out snapshot) namespaces(s Scope) error {
	for _, dir := range []string{"/run/netns", "/run/dcos/netns"} {
		entries, err := os.ReadDir(dir)
		if err := gone(err); err != nil {
			return fmt.Errorf("network namespaces: %w", err)
		}
		for _, e := range entries {
			if path := filepath.Join(dir, e.Name()); s.matches(path) {
				out.add("network namespace %s", path)
			}
		}
	}
	seen := map[string]bool{}
	all, err := procs()
	for _, p := range all {
		ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", p.pid))
		if err == nil && !seen[ns] && s.matches(p.text()) {
			seen[ns] = true
			out.add("network namespace %s", ns)
		}
	}
	return err
}

func (out snapshot) links(s Scope) error {
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("links: %w", err)
	}
	for _, l := range links {
		a := l.Attrs()
		if s.matches(a.Name) || a.Alias != "" && s.matches(a.Alias) {
			out.add("link %s (%s)", a.Name, l.Type())
		}
	}
	return nil
}

// tables counts every line of the tables whose names match.
func (out snapshot) tables(ctx context.Context, s Scope) error {
	program, err := exec.LookPath("nft")
	if err != nil {
		if program = "/usr/sbin/nft"; os.Geteuid() != 0 || !present(program) {
			return nil // then nothing of ours can have made a rule that nft would show
		}
	}
	text, err := exec.CommandContext(ctx, program, "-s", "list", "ruleset").Output()
	if err != nil {
		if os.Geteuid() != 0 {
			return nil // nor could the test have changed it
		}
		return fmt.Errorf("nft list ruleset: %w", err)
	}
	out.addRuleset(s, string(text))
	return nil
}

func present(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (out snapshot) addRuleset(s Scope, text string) {
	table := ""
	for line := range strings.Lines(text) {
		trimmed := strings.TrimSpace(line)
		if strings.HasPrefix(line, "table ") {
			table = strings.TrimSpace(strings.TrimSuffix(trimmed, "{"))
			trimmed = ""
		}
		if trimmed != "}" && s.matches(table) && (trimmed != "" || strings.HasPrefix(line, "table ")) {
			out.add("%s", strings.TrimSpace("nft "+table+" "+trimmed))
		}
	}
}

// openFiles counts what the test process has open. The runtime's own poller
// comes with the first use and stays.
func (out snapshot) openFiles(s Scope) error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("open files: %w", err)
	}
	for _, e := range entries {
		to, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err != nil || strings.HasPrefix(to, "anon_inode:[event") || strings.HasPrefix(to, "/proc/") {
			continue
		}
		if s.OpenFiles || s.matches(to) {
			out.add("open file %s: %s", e.Name(), to)
		}
	}
	return nil
}

func (out snapshot) files(s Scope) error {
	for _, dir := range s.Dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return gone(err)
			}
			out.add("file %s (%s)", path, d.Type())
			return nil
		})
		if err != nil {
			return fmt.Errorf("files: %w", err)
		}
	}
	return nil
}

// terminal counts a broken /dev/ptmx: a container's setup that goes wrong in
// the machine's mount namespace replaces it by a file or a link.
func (out snapshot) terminal(path string) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		out.add("%s: %v", path, err)
		return nil
	}
	if st.Mode&unix.S_IFMT != unix.S_IFCHR || unix.Major(st.Rdev) != 5 || unix.Minor(st.Rdev) != 2 {
		out.add("%s is no terminal device any more (mode %o, device %d:%d)", path, st.Mode, unix.Major(st.Rdev), unix.Minor(st.Rdev))
	}
	return nil
}

// proc is a process, with all that Match is compared to.
type proc struct {
	pid, parent     int
	state           string
	name, args, cwd string
	cgroup          string
}

func (p proc) text() string { return p.name + " " + p.args + " " + p.cwd + " " + p.cgroup }

func procs() ([]proc, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("processes: %w", err)
	}
	var out []proc
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if p, ok := readProc(pid); ok {
			out = append(out, p)
		}
	}
	return out, nil
}

func readProc(pid int) (proc, bool) {
	dir := fmt.Sprintf("/proc/%d/", pid)
	stat, err := os.ReadFile(dir + "stat")
	if err != nil {
		return proc{}, false
	}
	// pid (name) state parent ...: the name may hold anything.
	open, end := strings.IndexByte(string(stat), '('), strings.LastIndexByte(string(stat), ')')
	if open < 0 || end < open {
		return proc{}, false
	}
	rest := strings.Fields(string(stat[end+1:]))
	if len(rest) < 2 {
		return proc{}, false
	}
	p := proc{pid: pid, state: rest[0], name: string(stat[open+1 : end])}
	p.parent, _ = strconv.Atoi(rest[1])
	args, _ := os.ReadFile(dir + "cmdline")
	p.args = strings.TrimSpace(strings.ReplaceAll(string(args), "\x00", " "))
	p.cwd, _ = os.Readlink(dir + "cwd")
	cgroup, _ := os.ReadFile(dir + "cgroup")
	p.cgroup = string(cgroup)
	return p, true
}

// processes counts those that match and, without Match, all descendants of
// this one. A zombie counts when it is our own child: nobody else reaps it.
func (out snapshot) processes(s Scope) error {
	all, err := procs()
	if err != nil {
		return err
	}
	self := os.Getpid()
	parent := map[int]int{}
	for _, p := range all {
		parent[p.pid] = p.parent
	}
	descends := func(pid int) bool {
		for range 100 {
			if pid = parent[pid]; pid == self || pid == 0 {
				break
			}
		}
		return pid == self
	}
	for _, p := range all {
		zombie := p.state == "Z"
		switch {
		case p.pid == self || zombie && p.parent != self:
		case descends(p.pid) && (len(s.Match) == 0 || zombie || s.matches(p.text())),
			len(s.Match) > 0 && s.matches(p.text()) && !ancestor(parent, self, p.pid):
			out.add("process %d %s: %s (state %s, parent %d)", p.pid, p.name, p.args, p.state, p.parent)
		}
	}
	return nil
}

// ancestor says that the test runs below pid, as below "go test ./dcos".
func ancestor(parent map[int]int, self, pid int) bool {
	for p := self; p > 1; p = parent[p] {
		if p == pid {
			return true
		}
	}
	return false
}
