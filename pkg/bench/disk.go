package bench

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/dcos-go/dcos/pkg/journal"
)

// errPower is what the disk answers once its power is cut.
var errPower = errors.New("the power was cut")

// disk is a real directory that counts what it is asked to make durable, and
// that can lose its power: then it takes nothing more, and forget undoes what
// was written and not synced. Entries of the directory itself are kept.
type disk struct {
	*journal.Directory
	delay time.Duration // of each sync; set before use

	mu     sync.Mutex
	cut    bool                // guarded by mu, as all below
	fsyncs int                 //
	bytes  int64               // written
	files  map[string]*unsafes // by name
}

// unsafes are what a file holds that is not durable.
type unsafes struct {
	size    int64 // that is durable
	extents []extent
}

type extent struct{ at, n int64 }

func openDisk(path string) (*disk, error) {
	dir, err := journal.Dir(path)
	if err != nil {
		return nil, fmt.Errorf("open the disk: %w", err)
	}
	return &disk{Directory: dir, files: map[string]*unsafes{}}, nil
}

// do runs f under the lock unless the power is cut.
func (d *disk) do(f func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cut {
		return errPower
	}
	return f()
}

// cutPower makes everything that comes fail, and gives what was counted.
func (d *disk) cutPower() {
	d.mu.Lock()
	d.cut = true
	d.mu.Unlock()
}

func (d *disk) counted() (fsyncs int, bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.fsyncs, d.bytes
}

// Create implements journal.FS.
func (d *disk) Create(name string) (f journal.File, err error) {
	err = d.do(func() error {
		f, err = d.Directory.Create(name)
		d.files[name] = &unsafes{}
		return err
	})
	return &diskFile{f, d, d.of(name)}, err
}

// Open implements journal.FS.
func (d *disk) Open(name string) (journal.File, error) {
	f, err := d.Directory.Open(name)
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	d.mu.Lock()
	if d.files[name] == nil {
		d.files[name] = &unsafes{size: size}
	}
	d.mu.Unlock()
	return &diskFile{f, d, d.of(name)}, nil
}

func (d *disk) of(name string) *unsafes {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.files[name]
}

// Rename implements journal.FS.
func (d *disk) Rename(from, to string) error {
	return d.do(func() error {
		d.files[to] = d.files[from]
		delete(d.files, from)
		return d.Directory.Rename(from, to)
	})
}

// Remove implements journal.FS.
func (d *disk) Remove(name string) error {
	return d.do(func() error {
		delete(d.files, name)
		return d.Directory.Remove(name)
	})
}

// SyncDir implements journal.FS.
func (d *disk) SyncDir() error {
	return d.do(func() error {
		d.fsyncs++
		return d.Directory.SyncDir()
	})
}

// forget undoes what was not synced: files end where their last sync left
// them, and holds of zeros are where bytes were on their way.
func (d *disk) forget() (lost int64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, u := range d.files {
		if u == nil {
			continue
		}
		n, err := u.forget(filepath.Join(d.Path(), name))
		if err != nil {
			return lost, fmt.Errorf("forget what was not synced of %s: %w", name, err)
		}
		lost += n
	}
	return lost, nil
}

func (u *unsafes) forget(path string) (lost int64, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close() // what was written was checked
	for _, e := range u.extents {
		if _, err := f.WriteAt(make([]byte, e.n), e.at); err != nil {
			return lost, err
		}
		lost += e.n
	}
	st, err := f.Stat()
	if err == nil && st.Size() > u.size {
		err = f.Truncate(u.size)
	}
	return lost, err
}

// diskFile is one file of a disk.
type diskFile struct {
	journal.File
	d *disk
	u *unsafes
}

// WriteAt implements journal.File.
func (f *diskFile) WriteAt(p []byte, at int64) (n int, err error) {
	err = f.d.do(func() error {
		f.d.bytes += int64(len(p))
		f.u.extents = append(f.u.extents, extent{at, int64(len(p))})
		return nil
	})
	if err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, at)
}

// Truncate implements journal.File.
func (f *diskFile) Truncate(size int64) error {
	return f.d.do(func() error { return f.File.Truncate(size) })
}

// Sync implements journal.File: what was written before it began is durable.
func (f *diskFile) Sync() error {
	var before int
	if err := f.d.do(func() error { f.d.fsyncs++; before = len(f.u.extents); return nil }); err != nil {
		return err
	}
	size, err := f.Size()
	if err != nil {
		return err
	}
	if f.d.delay > 0 {
		<-time.After(f.d.delay)
	}
	if err := f.File.Sync(); err != nil {
		return err
	}
	f.d.mu.Lock()
	f.u.extents, f.u.size = f.u.extents[before:], size
	f.d.mu.Unlock()
	return nil
}
