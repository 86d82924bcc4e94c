package sandbox

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// Entry is one name in a directory of a sandbox.
type Entry struct {
	Name     string
	Size     int64
	Mode     fs.FileMode
	Modified time.Time
	UID, GID uint32
}

// maxEntries bounds a listing.
const maxEntries = 10_000

// inside turns a path as a client gives it, with or without a leading slash,
// into one that os.Root takes.
func inside(name string) (string, error) {
	if strings.ContainsRune(name, 0) || len(name) > 4096 {
		return "", fmt.Errorf("%w: not a path", dcos.ErrInvalid)
	}
	name = path.Clean(strings.TrimLeft(name, "/"))
	if !fs.ValidPath(name) {
		return "", fmt.Errorf("%w: path leaves the sandbox", dcos.ErrInvalid)
	}
	return name, nil
}

// ReadDir lists a directory of a sandbox, sorted by name, at most 10,000 names.
// Links are shown, not followed.
func (s *Sandboxes) ReadDir(id dcos.TaskID, name string) ([]Entry, error) {
	clean, err := inside(name)
	if err != nil {
		return nil, fmt.Errorf("sandbox of %s: %w", id, err)
	}
	r, err := s.root(id)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	d, err := r.Open(clean)
	if err != nil {
		return nil, s.told(id, name, err)
	}
	defer d.Close()
	found, err := d.ReadDir(maxEntries)
	if err != nil && len(found) == 0 && !errors.Is(err, io.EOF) {
		return nil, s.told(id, name, err)
	}
	var list []Entry
	for _, e := range found {
		info, err := e.Info()
		if err != nil {
			continue // it went away while we looked
		}
		entry := Entry{Name: e.Name(), Size: info.Size(), Mode: info.Mode(), Modified: info.ModTime()}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			entry.UID, entry.GID = st.Uid, st.Gid
		}
		list = append(list, entry)
	}
	slices.SortFunc(list, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// OpenFile opens a regular file of a sandbox for reading. Links are followed
// within the sandbox only; pipes, devices and what lies outside are refused.
func (s *Sandboxes) OpenFile(id dcos.TaskID, name string) (*os.File, error) {
	clean, err := inside(name)
	if err != nil {
		return nil, fmt.Errorf("sandbox of %s: %w", id, err)
	}
	r, err := s.root(id)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	f, err := r.OpenFile(clean, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, s.told(id, name, err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%w: not a regular file", dcos.ErrInvalid)
	}
	if err != nil {
		f.Close()
		return nil, s.told(id, name, err)
	}
	return f, nil
}

// told gives an error of a path its kind. What the root refuses (a way out, a
// loop of links) is the asker's fault.
func (s *Sandboxes) told(id dcos.TaskID, name string, err error) error {
	kind := dcos.ErrInvalid
	switch {
	case errors.Is(err, dcos.ErrInvalid):
		return fmt.Errorf("sandbox of %s: %q: %w", id, name, err)
	case errors.Is(err, fs.ErrNotExist):
		kind = dcos.ErrNotFound
	case errors.Is(err, fs.ErrPermission):
		kind = dcos.ErrDenied
	}
	return fmt.Errorf("sandbox of %s: %q: %w: %w", id, name, kind, err)
}
