package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// lockDir takes a data directory for this process alone. A second start is
// refused with the pid of the first. The kernel frees the lock when the process
// ends, however it ends.
func lockDir(dir string) (release func(), err error) {
	if dir == "" {
		return nil, fmt.Errorf("%w: the data directory is empty: give --data-dir DIR", dcos.ErrInvalid)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w: give another --data-dir, or make it writable for this user", err)
	}
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock of data directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		pid, _ := os.ReadFile(path) // without it the message is only shorter
		return nil, fmt.Errorf("%w: data directory %s is in use by process %s: stop that one, or give another --data-dir", dcos.ErrConflict, dir, strings.TrimSpace(string(pid)))
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("write %s: %w", path, err), f.Close())
	}
	return func() { _ = f.Close() }, nil // closing frees the lock
}
