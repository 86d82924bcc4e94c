package hosts

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Inventory is all that a program can leave on a host. A key starts with its
// kind ("file", "mount", "unit", "user", "group", "listen", "nft", "cgroup",
// "netns", "link", "route", "process", "sysctl"), and the value tells two of
// one name apart. What systemd and sshd change by themselves is not in it.
type Inventory map[string]string

// Diff says, one line for each thing, what after has that before has not, what
// it lacks, and what changed. Nothing means that the two are equal.
func Diff(before, after Inventory) []string {
	keys := maps.Clone(before)
	maps.Copy(keys, after)
	var out []string
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		b, had := before[k]
		a, has := after[k]
		switch {
		case !had:
			out = append(out, "+ "+k+" "+a)
		case !has:
			out = append(out, "- "+k+" "+b)
		case a != b:
			out = append(out, "~ "+k+" "+b+" -> "+a)
		}
	}
	return out
}

// Inventory looks at the running host. Files are those that differ from the
// base, so it takes well under a second.
func (h *Host) Inventory(ctx context.Context) (Inventory, error) {
	if h.PID1() == 0 {
		return nil, fmt.Errorf("%s: inventory: %w", h.opt.Name, errOff)
	}
	inv := Inventory{}
	steps := []func(Inventory) error{
		h.addDisk, h.addVolatile, h.addMounts, h.addAccounts, h.addNetwork, h.addProcesses, h.addCgroups,
		func(i Inventory) error { return h.addUnits(ctx, i) },
	}
	for _, step := range steps {
		if err := step(inv); err != nil {
			return nil, fmt.Errorf("%s: inventory: %w", h.opt.Name, err)
		}
	}
	return inv, nil
}

// ownChanges are files that the system itself writes while it runs.
var ownChanges = []string{
	"/var/log/journal", "/var/log/lastlog", "/var/log/wtmp", "/var/log/btmp", "/var/lib/systemd/random-seed",
	"/var/lib/systemd/timers", "/var/lib/systemd/catalog", "/run/systemd", "/run/log", "/run/dbus", "/run/udev",
	"/run/utmp", "/run/mount", "/run/boot-id", "/run/sshd", "/run/sshd.pid", "/run/user", "/tmp/systemd-private-",
	"/var/tmp/systemd-private-", "/etc/.pwd.lock",
}

// generated units are below /run/systemd, and may be someone's.
var unitsOfRun = []string{"/run/systemd/transient", "/run/systemd/system", "/run/systemd/system.control"}

func own(path string) bool {
	for _, p := range unitsOfRun {
		if strings.HasPrefix(path, p+"/") {
			return false
		}
	}
	for _, p := range ownChanges {
		if path == p || strings.HasPrefix(path, p+"/") || strings.HasSuffix(p, "-") && strings.HasPrefix(path, p) {
			return true
		}
	}
	return false
}

// addDisk adds what the disk has or lacks beside the base.
func (h *Host) addDisk(inv Inventory) error {
	err := h.addTree(inv, h.disk("upper"), h.net.root.Dir, "/")
	return errors.Join(err, h.addTree(inv, h.disk("lib"), filepath.Join(h.net.root.Dir, "var/lib"), "/var/lib"))
}

// addTree adds the files below dir, which the host has at as, that are not the
// same below base. dir holds overlayfs' marks when it is an upper directory.
func (h *Host) addTree(inv Inventory, dir, base, as string) error {
	err := walkOneFS(dir, func(path string, info fs.FileInfo) error {
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		name := filepath.Join(as, rel)
		if own(name) {
			return skipOf(info)
		}
		under := filepath.Join(base, rel)
		here, err := describe(path, info)
		if err != nil {
			return err
		}
		old, errOld := os.Lstat(under)
		if whiteout(info) {
			if errOld == nil {
				inv["file "+name] = "deleted"
			}
			return nil
		}
		if errOld == nil {
			there, err := describe(under, old)
			if err != nil {
				return err
			}
			if here == there {
				return opaque(inv, path, under, name, info)
			}
		}
		inv["file "+name] = here
		return opaque(inv, path, under, name, info)
	})
	if err != nil {
		return fmt.Errorf("files of %s: %w", as, err)
	}
	return nil
}

func skipOf(info fs.FileInfo) error {
	if info.IsDir() {
		return fs.SkipDir
	}
	return nil
}

func whiteout(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.Mode()&fs.ModeCharDevice != 0 && st.Rdev == 0
}

// opaque adds the base's files that a directory made anew hides.
func opaque(inv Inventory, path, under, name string, info fs.FileInfo) error {
	if !info.IsDir() {
		return nil
	}
	var mark [1]byte
	if n, err := unix.Lgetxattr(path, "trusted.overlay.opaque", mark[:]); err != nil || n != 1 || mark[0] != 'y' {
		return nil
	}
	entries, err := os.ReadDir(under)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	for _, e := range entries {
		if _, err := os.Lstat(filepath.Join(path, e.Name())); errors.Is(err, fs.ErrNotExist) {
			inv["file "+filepath.Join(name, e.Name())] = "deleted"
		}
	}
	return err
}

// addVolatile adds the files of the host's memory file systems.
func (h *Host) addVolatile(inv Inventory) error {
	for _, dir := range []string{"/run", "/tmp", "/dev", "/dev/shm", "/dev/mqueue", "/sys/fs/bpf"} {
		root := fmt.Sprintf("/proc/%d/root%s", h.PID1(), dir)
		err := walkOneFS(root, func(path string, info fs.FileInfo) error {
			name := dir + strings.TrimPrefix(path, root)
			if path == root {
				return nil
			}
			if own(name) && !slices.ContainsFunc(unitsOfRun, func(u string) bool { return strings.HasPrefix(u, name) }) {
				return skipOf(info)
			}
			if own(name) {
				return nil
			}
			text, err := describe(path, info)
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			inv["file "+name] = text
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("files of %s: %w", dir, err)
		}
	}
	return nil
}

// walkOneFS calls f for dir and all below it on the same file system; a mount
// point is passed over. Files that go away meanwhile are no error.
func walkOneFS(dir string, f func(path string, info fs.FileInfo) error) error {
	top, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	dev := top.Sys().(*syscall.Stat_t).Dev
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return ignoreGone(err)
		}
		info, err := d.Info()
		if err != nil {
			return ignoreGone(err)
		}
		if info.Sys().(*syscall.Stat_t).Dev != dev {
			return skipOf(info)
		}
		return f(path, info)
	})
}

// describe is one line that differs when the file does. Times are not in it.
func describe(path string, info fs.FileInfo) (string, error) {
	st := info.Sys().(*syscall.Stat_t)
	text := fmt.Sprintf("%v %d:%d", info.Mode(), st.Uid, st.Gid)
	switch {
	case info.Mode().IsRegular():
		f, err := os.Open(path)
		if err != nil {
			return "", err
		}
		defer f.Close()
		sum := sha256.New()
		if _, err := io.Copy(sum, f); err != nil {
			return "", err
		}
		text += fmt.Sprintf(" %d bytes sha256:%s", info.Size(), hex.EncodeToString(sum.Sum(nil))[:16])
	case info.Mode()&fs.ModeSymlink != 0:
		to, err := os.Readlink(path)
		if err != nil {
			return "", err
		}
		text += " -> " + to
	case info.Mode()&fs.ModeDevice != 0:
		text += fmt.Sprintf(" %d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	}
	return text, nil
}
