package journal

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
)

// Directory is the FS of a real directory. Names cannot leave it: every access
// goes through an os.Root.
type Directory struct {
	root *os.Root
	path string
}

// Dir opens the directory at path, making it (mode 0700, with a durable entry
// in its parent) when it does not exist. The caller closes it.
func Dir(path string) (*Directory, error) {
	if err := makeDir(filepath.Clean(path)); err != nil {
		return nil, fmt.Errorf("journal: make directory %s: %w", path, err)
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("journal: open directory: %w", err)
	}
	return &Directory{root: root, path: path}, nil
}

// Path is the directory's path, for messages.
func (d *Directory) Path() string { return d.path }

// Close releases the directory; open files stay open.
func (d *Directory) Close() error { return d.root.Close() }

// Create implements FS.
func (d *Directory) Create(name string) (File, error) {
	return d.open(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
}

// Open implements FS.
func (d *Directory) Open(name string) (File, error) { return d.open(name, os.O_RDWR) }

func (d *Directory) open(name string, flag int) (File, error) {
	f, err := d.root.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, err
	}
	return &realFile{f}, nil
}

// Rename implements FS.
func (d *Directory) Rename(from, to string) error { return d.root.Rename(from, to) }

// Remove implements FS.
func (d *Directory) Remove(name string) error { return d.root.Remove(name) }

// SyncDir implements FS.
func (d *Directory) SyncDir() error {
	f, err := d.root.Open(".")
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// List implements FS. Directories inside are not listed.
func (d *Directory) List() ([]string, error) {
	f, err := d.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// realFile adds Size and a cheaper Sync to an *os.File.
type realFile struct{ *os.File }

// Size implements File.
func (f *realFile) Size() (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

// makeDir makes path and what it misses above it, and makes each new entry
// durable in its parent.
func makeDir(path string) error {
	_, err := os.Stat(path)
	if !errors.Is(err, iofs.ErrNotExist) {
		return err
	}
	above := filepath.Dir(path)
	if err := makeDir(above); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, iofs.ErrExist) {
		return err
	}
	return syncPath(above)
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
