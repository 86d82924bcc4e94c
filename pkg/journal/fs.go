package journal

import (
	"errors"
	"fmt"
	"io"
)

// FS is the one directory a journal lives in. Dir is the real one; package
// journaltest has one that crashes. Names are plain file names, without a
// separator. An implementation may be used by one goroutine per file, and its
// directory operations by one goroutine at a time.
type FS interface {
	// Create makes an empty file, replacing one of that name.
	Create(name string) (File, error)
	// Open opens an existing file for reading and writing.
	Open(name string) (File, error)
	// Rename is atomic; it is durable after SyncDir.
	Rename(from, to string) error
	// Remove is durable after SyncDir.
	Remove(name string) error
	// SyncDir makes every earlier Create, Rename and Remove durable.
	SyncDir() error
	// List returns the names of all files, in no particular order.
	List() ([]string, error)
}

// File is one open file of an FS. Writes are durable after Sync.
type File interface {
	io.ReaderAt
	io.WriterAt
	// Size is the current length in bytes.
	Size() (int64, error)
	// Truncate sets the length.
	Truncate(size int64) error
	// Sync makes every earlier write and truncation of this file durable.
	Sync() error
	io.Closer
}

// Space is what an FS may also implement: how much it can still take.
type Space interface {
	// Free is the number of bytes an unprivileged writer may still write.
	Free() (uint64, error)
}

// HasRoom reports whether need more bytes fit on fs and leave reserve bytes
// free. A file system that cannot say has room. Callers ask before they accept
// work, so that a full disk is refused politely and never met inside Append.
func HasRoom(fs FS, need, reserve uint64) (bool, error) {
	s, ok := fs.(Space)
	if !ok {
		return true, nil
	}
	free, err := s.Free()
	if err != nil {
		return false, fmt.Errorf("journal: ask for free space: %w", err)
	}
	return free >= reserve && free-reserve >= need, nil
}

// ErrDamaged is the kind of every error that says: bytes that had been made
// durable are not what was written. Use errors.As with *DamagedError for the
// place.
var ErrDamaged = errors.New("damaged")

// ErrTooLarge says that a record is longer than Options.MaxRecord. Nothing was
// written and the journal goes on.
var ErrTooLarge = errors.New("record too large")

// ErrClosed is what every call after Close returns.
var ErrClosed = errors.New("journal is closed")

// DamagedError names what is damaged and what the operator can do.
type DamagedError struct {
	File   string // name of the file inside the journal's directory
	Offset int64  // where the first bad byte range starts
	Reason string // what was expected there
	Repair string // Options.Repair
}

// Error names the file, the offset, the reason and the next step.
func (e *DamagedError) Error() string {
	s := fmt.Sprintf("journal: %s is damaged at offset %d: %s", e.File, e.Offset, e.Reason)
	if e.Repair != "" {
		s += "; " + e.Repair
	}
	return s
}

// Is makes errors.Is(err, ErrDamaged) true.
func (e *DamagedError) Is(target error) bool { return target == ErrDamaged }
