// Package sandbox owns the task directories of a node and the layout of the
// logs in them.
//
// It promises that nothing here follows a link out of a task's directory: the
// directory is the task's to write, so every name in it is a stranger's. It
// promises that a removal stays on one file system. It must not know what runs
// in a directory: package container's shim writes the log segments by the
// constants of layout.go, and agents decide when a directory goes.
package sandbox

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// Sandboxes is the directory that holds one directory per task.
type Sandboxes struct {
	dir string
}

// A file with idSuffix says whose directory it lies beside, where that has not
// the task's id for a name; the inside is the task's.
const idSuffix, trashPrefix = ".id", ".trash-"

// New opens dir, makes it if need be, and finishes removals that were cut short.
func New(dir string) (*Sandboxes, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("sandboxes: %w", err)
	}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, fmt.Errorf("sandboxes: %w", err)
	}
	s := &Sandboxes{dir: dir}
	names, err := s.names()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if strings.HasPrefix(name, trashPrefix) {
			if err := RemoveTree(filepath.Join(dir, name)); err != nil {
				return nil, err
			}
		}
	}
	return s, nil
}

func (s *Sandboxes) names() ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("list sandboxes: %w", err)
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

// DirName turns a task's id into one safe name of a directory or a cgroup.
// Ids of letters, digits, dots, dashes and underscores stay readable; others
// and long ones are cut and get a hash, which no plain name can equal.
func DirName(id dcos.TaskID) string {
	const longest, kept = 200, 100
	safe := func(c byte) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '-' || c == '_'
	}
	plain := id != "" && id[0] != '.' && len(id) <= longest && !strings.HasSuffix(string(id), idSuffix)
	var b strings.Builder
	for i := range len(id) {
		if !safe(id[i]) {
			plain = false
		} else if b.Len() < kept && (b.Len() > 0 || id[i] != '.') {
			b.WriteByte(id[i])
		}
	}
	if plain {
		return string(id)
	}
	return fmt.Sprintf("%s~%x", b.String(), sha256.Sum256([]byte(id)))
}

// Dir is the directory of a task, whether it exists or not.
func (s *Sandboxes) Dir(id dcos.TaskID) string { return filepath.Join(s.dir, DirName(id)) }

// Create makes the task's directory with mode 0700, owned by the user (a name
// or a number, "" for the user of this process). It may be called again for
// the same task: what is in the directory stays.
func (s *Sandboxes) Create(id dcos.TaskID, userName string) (string, error) {
	uid, gid, err := owner(userName)
	if err != nil {
		return "", fmt.Errorf("sandbox of %s: %w", id, err)
	}
	dir := s.Dir(id)
	// Where the directory does not show its task, the name comes first: a
	// directory without one would be nobody's.
	if filepath.Base(dir) != string(id) {
		if err := os.WriteFile(dir+idSuffix, []byte(id), 0o600); err != nil {
			return "", fmt.Errorf("sandbox of %s: %w", id, err)
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("sandbox of %s: %w", id, err)
	}
	if uid != os.Getuid() || gid != os.Getgid() {
		if err := os.Lchown(dir, uid, gid); err != nil {
			return "", fmt.Errorf("sandbox of %s: give it to user %s (that needs root): %w", id, userName, err)
		}
	}
	return dir, nil
}

// maxID is the highest user id taken; above it are overflow tricks.
const maxID = 1<<31 - 1

func owner(name string) (uid, gid int, err error) {
	if name == "" {
		return os.Getuid(), os.Getgid(), nil
	}
	first, group, _ := strings.Cut(name, ":")
	if n, err := strconv.ParseUint(first, 10, 64); err == nil {
		g, gerr := strconv.ParseUint(group, 10, 64)
		if group != "" && gerr != nil || n > maxID || g > maxID {
			return 0, 0, fmt.Errorf("%w: user %q, want a name or a number up to %d", dcos.ErrInvalid, name, maxID)
		}
		if group == "" {
			if u, err := user.LookupId(first); err == nil {
				g, _ = strconv.ParseUint(u.Gid, 10, 31)
			}
		}
		return int(n), int(g), nil
	}
	u, err := user.Lookup(first)
	if err != nil {
		return 0, 0, fmt.Errorf("%w: user %q does not exist on this node: create it there or name another", dcos.ErrInvalid, first)
	}
	uid, err = strconv.Atoi(u.Uid)
	if err == nil {
		gid, err = strconv.Atoi(u.Gid)
	}
	return uid, gid, err
}

// Remove deletes a task's directory and all that is in it; it is a success
// when there is none. Mounts below it make it fail and stay whole.
func (s *Sandboxes) Remove(id dcos.TaskID) error {
	dir := s.Dir(id)
	trash := filepath.Join(s.dir, trashPrefix+filepath.Base(dir))
	if err := checkMounts(dir); err != nil {
		return fmt.Errorf("remove sandbox of %s: %w", id, err)
	}
	if err := RemoveTree(trash); err != nil { // of an earlier try
		return fmt.Errorf("remove sandbox of %s: %w", id, err)
	}
	if err := os.Rename(dir, trash); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove sandbox of %s: %w", id, err)
	}
	if err := os.Remove(dir + idSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove sandbox of %s: %w", id, err)
	}
	if err := RemoveTree(trash); err != nil {
		return fmt.Errorf("remove sandbox of %s: %w", id, err)
	}
	return nil
}

// List names the tasks that have a directory, sorted.
func (s *Sandboxes) List() ([]dcos.TaskID, error) {
	names, err := s.names()
	if err != nil {
		return nil, err
	}
	var ids []dcos.TaskID
	for _, name := range names {
		if DirName(dcos.TaskID(name)) == name {
			ids = append(ids, dcos.TaskID(name))
		}
		if !strings.HasSuffix(name, idSuffix) {
			continue
		}
		id, err := os.ReadFile(filepath.Join(s.dir, name))
		if err != nil {
			return nil, fmt.Errorf("list sandboxes: %w", err)
		}
		if DirName(dcos.TaskID(id))+idSuffix == name {
			ids = append(ids, dcos.TaskID(id))
		} else if err := os.Remove(filepath.Join(s.dir, name)); err != nil { // a crash while it was written
			return nil, fmt.Errorf("list sandboxes: %w", err)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// root opens a task's directory as the root that no name in it can leave.
func (s *Sandboxes) root(id dcos.TaskID) (*os.Root, error) {
	r, err := os.OpenRoot(s.Dir(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("sandbox of %s: %w: it was removed or the task never ran on this node", id, dcos.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("sandbox of %s: %w", id, err)
	}
	return r, nil
}

// Usage is what a task's directory takes on disk, in bytes. A file with
// several names counts once for each.
func (s *Sandboxes) Usage(ctx context.Context, id dcos.TaskID) (int64, error) {
	r, err := s.root(id)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	var total int64
	err = fs.WalkDir(r.FS(), ".", func(_ string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil || d == nil { // it went away while we looked
			return nil
		}
		info, err := d.Info()
		if err == nil {
			total += allocated(info)
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("usage of sandbox of %s: %w", id, err)
	}
	return total, nil
}
