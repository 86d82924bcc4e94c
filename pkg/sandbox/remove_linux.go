package sandbox

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/dcos-go/dcos/pkg/dcos"
)

func allocated(info fs.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512
	}
	return info.Size()
}

// checkMounts refuses to touch a directory that something is mounted on or in.
func checkMounts(dir string) error {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 {
			continue
		}
		point := unescape(fields[4])
		if point == dir || strings.HasPrefix(point, dir+"/") {
			return fmt.Errorf("%w: %s is a mount: unmount it first", dcos.ErrConflict, point)
		}
	}
	return lines.Err()
}

// unescape undoes the kernel's octal for blanks in mountinfo.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// RemoveTree deletes a directory and what is in it. It follows no link, does not
// cross into any other mount (that is an error), and takes trees of any depth.
// It is a success when there is none.
func RemoveTree(dir string) error {
	top, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP):
		return os.Remove(dir)
	case err != nil:
		return &os.PathError{Op: "remove", Path: dir, Err: err}
	}
	t := &tree{top: top, path: filepath.Clean(dir)}
	defer unix.Close(top)
	for {
		lifted := t.lifted
		if err := t.empty(top, t.path, 0); err != nil {
			return err
		}
		if t.lifted == lifted {
			break
		}
	}
	return os.Remove(dir)
}

// tree is a removal in progress. Directories deeper than maxDepth are lifted to
// the top and removed in the next round, so that no tree needs more descriptors.
type tree struct {
	top    int
	path   string
	lifted int
}

const maxDepth = 100

func (t *tree) empty(fd int, path string, depth int) error {
	// ReadDir owns its descriptor: it reads from a second one.
	again, err := unix.Openat(fd, ".", unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "remove", Path: path, Err: err}
	}
	d := os.NewFile(uintptr(again), path)
	defer d.Close()
	for {
		names, err := d.Readdirnames(1000)
		for _, name := range names {
			if err := t.remove(fd, path, name, depth); err != nil {
				return err
			}
		}
		if err != nil || len(names) == 0 {
			return nil
		}
		if _, err := d.Seek(0, 0); err != nil {
			return err
		}
	}
}

func (t *tree) remove(fd int, path, name string, depth int) error {
	full := filepath.Join(path, name)
	err := unix.Unlinkat(fd, name, 0)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM) {
		return &os.PathError{Op: "remove", Path: full, Err: err}
	}
	if depth == maxDepth {
		return t.lift(fd, name, full)
	}
	how := unix.OpenHow{Flags: unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_SYMLINKS}
	child, err := unix.Openat2(fd, name, &how)
	if errors.Is(err, unix.EXDEV) {
		return fmt.Errorf("remove %s: %w: it is a mount: unmount it first", full, dcos.ErrConflict)
	}
	if errors.Is(err, unix.EACCES) { // a directory its owner closed to himself
		if cerr := unix.Fchmodat(fd, name, 0o700, 0); cerr == nil {
			child, err = unix.Openat2(fd, name, &how)
		}
	}
	if err != nil {
		return &os.PathError{Op: "remove", Path: full, Err: err}
	}
	err = t.empty(child, full, depth+1)
	unix.Close(child)
	if err != nil {
		return err
	}
	if err := unix.Unlinkat(fd, name, unix.AT_REMOVEDIR); err != nil && !errors.Is(err, unix.ENOENT) {
		return &os.PathError{Op: "remove", Path: full, Err: err}
	}
	return nil
}

func (t *tree) lift(fd int, name, full string) error {
	for {
		t.lifted++
		err := unix.Renameat2(fd, name, t.top, fmt.Sprintf(".lifted-%d", t.lifted), unix.RENAME_NOREPLACE)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EEXIST) { // the name is the task's: try the next
			return &os.PathError{Op: "remove", Path: full, Err: err}
		}
	}
}
