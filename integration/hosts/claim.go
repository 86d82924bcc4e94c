package hosts

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/dcos-go/dcos/integration/hosts/cache"
)

// claimDir is the same for every user of the machine, whatever their cache
// directory is: subnets and cgroup names are the machine's.
const claimDir = "/run/dcos-test"

const claimLimit = 250

// claim is a number that no other living Net of the machine has. Its file is
// locked, so the kernel gives it back with the process, and it names the
// directory that a killed owner leaves.
type claim struct {
	n    int
	file *os.File
}

var sweepOnce sync.Once

// newClaim takes a free number; state is the directory for its Net's files,
// with the number in the place of %d.
func newClaim(state string) (*claim, error) {
	if err := os.MkdirAll(claimDir, 0o755); err != nil {
		return nil, fmt.Errorf("claim a test network: %w", err)
	}
	var swept error
	sweepOnce.Do(func() { swept = sweep() })
	if swept != nil {
		return nil, swept
	}
	for n := range claimLimit {
		if taken(n) {
			continue
		}
		f, err := cache.TryLock(claimPath(n))
		if errors.Is(err, unix.EWOULDBLOCK) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("claim a test network: %w", err)
		}
		c := &claim{n: n, file: f}
		if err := c.sweep(); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if err := os.WriteFile(claimPath(n), []byte(c.dir(state)), 0o644); err != nil {
			return nil, errors.Join(fmt.Errorf("claim a test network: %w", err), f.Close())
		}
		if err := widenInotify(); err != nil {
			return nil, errors.Join(err, c.release())
		}
		return c, nil
	}
	return nil, fmt.Errorf("all %d test networks are in use (%s)", claimLimit, claimDir)
}

func claimPath(n int) string { return filepath.Join(claimDir, strconv.Itoa(n)+".lock") }

func (c *claim) dir(state string) string { return fmt.Sprintf(state, c.n) }

// cgroup is the name, below each tree's root, of all that this Net runs.
func (c *claim) cgroup() string { return fmt.Sprintf("dcos-test-%d", c.n) }

// outside is the name of the link in the machine's own namespace.
func (c *claim) outside() string { return fmt.Sprintf("dcostest%d", c.n) }

// prefix holds the first three parts of the addresses.
func (c *claim) prefix() [3]byte { return [3]byte{10, 211, byte(c.n)} }

// taken says that some other part of the machine has the subnet.
func taken(n int) bool {
	c := claim{n: n}
	if _, err := netlink.LinkByName(c.outside()); err == nil {
		return false // left by a killed run, or locked: the lock decides
	}
	p := c.prefix()
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return false
	}
	for _, r := range routes {
		if r.Dst == nil {
			continue
		}
		if ones, _ := r.Dst.Mask.Size(); ones > 0 && r.Dst.Contains([]byte{p[0], p[1], p[2], 1}) {
			return true
		}
	}
	return false
}

// release gives the number back. Everything of the Net must be gone.
func (c *claim) release() error {
	// Removed while locked: see cache.TryLock.
	return errors.Join(removeIfThere(claimPath(c.n)), c.file.Close(), restoreInotify())
}

// sweep removes what killed runs left, for all numbers that nobody holds.
func sweep() error {
	entries, err := os.ReadDir(claimDir)
	if err != nil {
		return fmt.Errorf("sweep old test networks: %w", err)
	}
	for _, e := range entries {
		n, err := strconv.Atoi(strings.TrimSuffix(e.Name(), ".lock"))
		if err != nil {
			continue
		}
		f, err := cache.TryLock(claimPath(n))
		if errors.Is(err, unix.EWOULDBLOCK) {
			continue
		}
		if err != nil {
			return fmt.Errorf("sweep old test networks: %w", err)
		}
		c := &claim{n: n, file: f}
		if err := errors.Join(c.sweep(), c.release()); err != nil {
			return err
		}
	}
	return nil
}

// sweep removes what an earlier holder of this number left. The caller holds
// the lock, so that holder is dead.
func (c *claim) sweep() error {
	trees, err := hierarchies()
	if err != nil {
		return err
	}
	// Processes first: with them the namespaces, mounts and links go.
	if err := removeCgroups(trees, c.cgroup()); err != nil {
		return fmt.Errorf("sweep test network %d: %w", c.n, err)
	}
	if link, err := netlink.LinkByName(c.outside()); err == nil {
		if err := netlink.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("sweep test network %d: %w", c.n, err)
		}
	}
	state, err := os.ReadFile(claimPath(c.n))
	if err != nil {
		return fmt.Errorf("sweep test network %d: %w", c.n, err)
	}
	if len(state) == 0 {
		return nil
	}
	// The name is checked, since what it holds is deleted.
	if want := fmt.Sprintf("/nets/%d", c.n); !filepath.IsAbs(string(state)) || !strings.HasSuffix(string(state), want) {
		return fmt.Errorf("sweep test network %d: %s holds %q, which is no directory of a test network", c.n, claimPath(c.n), state)
	}
	return removeAll(string(state))
}

// removeAll deletes dir, and refuses when anything is mounted in it: what is
// mounted there would be deleted too.
func removeAll(dir string) error {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("remove %s: %w", dir, err)
	}
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) > 4 && (f[4] == dir || strings.HasPrefix(f[4], dir+"/")) {
			return fmt.Errorf("remove %s: %s is mounted in it", dir, f[4])
		}
	}
	return os.RemoveAll(dir)
}
