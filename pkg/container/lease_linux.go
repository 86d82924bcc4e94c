package container

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// leaseFile holds when a fenced task must end: eight bytes, nanoseconds of
// CLOCK_BOOTTIME, which goes on while the machine sleeps and which nobody can
// set. The shim looks at it twice a second and kills the task when the moment
// has passed, whether or not there is an agent. The file outlives agents, so
// the next one knows the lease; nothing outlives the machine.
const leaseFile = "lease"

// bootTime is the time since the machine was started, sleep included.
func bootTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic("container: a kernel without CLOCK_BOOTTIME: " + err.Error())
	}
	return time.Duration(t.Nano())
}

// Now is the clock of leases. It starts from the wall clock and then goes on by
// itself: no step of the wall clock moves it, and no sleep stops it.
func (r *Runtime) Now() time.Time { return r.started.Add(bootTime()) }

// Extend lets a fenced task run until a moment by Now. It is for tasks that were
// started with a lease; for others it does nothing.
func (r *Runtime) Extend(id dcos.TaskID, until time.Time) error {
	f, err := os.OpenFile(filepath.Join(r.taskDir(id), leaseFile), os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		_, err = f.WriteAt(r.leaseBytes(until), 0)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fmt.Errorf("extend the lease of %s: %w", id, err)
	}
	return nil
}

// Lease is the latest moment until which an agent has let a fenced task run
// here; zero when there is none.
func (r *Runtime) Lease() (time.Time, error) {
	ids, err := r.List()
	if err != nil {
		return time.Time{}, err
	}
	var latest time.Time
	for _, id := range ids {
		dir := r.taskDir(id)
		b, err := os.ReadFile(filepath.Join(dir, leaseFile))
		rec, err2 := r.record(dir)
		if err != nil || err2 != nil || len(b) != 8 || rec.Boot != r.boot {
			continue // none, or of another boot of the machine, whose clock was another
		}
		if until := r.started.Add(time.Duration(binary.NativeEndian.Uint64(b))); until.After(latest) {
			latest = until
		}
	}
	return latest, nil
}

// planLease gives the shim its lease, before it exists.
func (r *Runtime) planLease(p *plan, dir string, s dcos.Spec) error {
	if s.Lease.IsZero() {
		return nil
	}
	path := filepath.Join(dir, leaseFile)
	if err := os.WriteFile(path, r.leaseBytes(s.Lease), 0o600); err != nil {
		return fmt.Errorf("write the lease: %w", err)
	}
	p.add("lease", path)
	return nil
}

func (r *Runtime) leaseBytes(until time.Time) []byte {
	return binary.NativeEndian.AppendUint64(nil, uint64(max(0, until.Sub(r.started))))
}
