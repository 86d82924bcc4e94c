package integration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dcos-go/dcos/integration/hosts"
	"github.com/dcos-go/dcos/pkg/client"
)

const (
	// newLeaderLimit is the bound that is promised for a bad disk of the
	// leader: until another master leads and writes are taken.
	newLeaderLimit = 10 * time.Second
	// hangLimit is how long a master waits for its disk before it ends, with
	// room for a loaded machine.
	hangLimit = 90 * time.Second
)

// writing is a stream of writes that goes on while something breaks.
type writing struct {
	seen *writes
	stop func()
	rest atomic.Int64 // of each writer between two writes, in nanoseconds

	mu  sync.Mutex
	ack time.Time // guarded by mu; the last acknowledgement
}

// startWriting creates apps by all masters, a few dozen a second, until stop
// is called.
func (c *cluster) startWriting(t *testing.T, prefix string) *writing {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &writing{seen: &writes{acknowledged: map[string]bool{}, unknown: map[string]error{}}}
	w.rest.Store(int64(50 * time.Millisecond))
	var all sync.WaitGroup
	for i, h := range c.masters {
		for j := range 2 {
			api := c.own(t, h)
			all.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					w.create(ctx, t, api, fmt.Sprintf("%s/w%d-%d-%d", prefix, i, j, n))
					_ = pause(ctx, time.Duration(w.rest.Load())) // ends with ctx, as the loop does
				}
			})
		}
	}
	w.stop = sync.OnceFunc(func() { cancel(); all.Wait() })
	t.Cleanup(w.stop)
	return w
}

func (w *writing) create(ctx context.Context, t *testing.T, api *client.Client, id string) {
	one, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	_, err := api.CreateApp(one, fmt.Appendf(nil, `{"id": %q, "cmd": "true", "instances": 0}`, id))
	var refusal *client.Error
	w.seen.mu.Lock()
	defer w.seen.mu.Unlock()
	switch {
	case err == nil:
		w.seen.acknowledged[id] = true
		w.mu.Lock()
		w.ack = time.Now()
		w.mu.Unlock()
	case errors.As(err, &refusal) && refusal.Code != "unknown_outcome" && refusal.Status < 500:
		t.Errorf("create %s: %v; nothing is wrong with it", id, err)
	case errors.As(err, &refusal) && refusal.Code != "unknown_outcome", isDialing(err):
		w.seen.refused++
	default:
		w.seen.unknown[id] = err
	}
}

// count is how many writes were acknowledged so far.
func (w *writing) count() int {
	w.seen.mu.Lock()
	defer w.seen.mu.Unlock()
	return len(w.seen.acknowledged)
}

// last is when the last write was acknowledged.
func (w *writing) last() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ack
}

// goesOn waits for acknowledgements of writes that begin from now on.
func (w *writing) goesOn(t *testing.T, limit time.Duration, what string) {
	t.Helper()
	from, have := time.Now(), w.count()
	eventually(t, limit, what, func() error {
		if n := w.count() - have; n < 10 || !w.last().After(from) {
			return fmt.Errorf("%d writes were acknowledged", n)
		}
		return nil
	})
}

// allThere ends the writes and finds every acknowledged one on every master.
func (c *cluster) allThere(t *testing.T, w *writing) {
	t.Helper()
	w.stop()
	c.mustBeWhole(t)
	t.Logf("%d acknowledged, %d of unknown outcome, %d refused", len(w.seen.acknowledged), len(w.seen.unknown), w.seen.refused)
	for _, h := range c.masters {
		c.holdsAll(t, h, w.seen)
	}
	c.clear(t)
}

// leaderIsReplaced waits until another master leads and takes writes, and says
// how long that took.
func (c *cluster) leaderIsReplaced(t *testing.T, old *hosts.Host, w *writing) {
	t.Helper()
	began := time.Now()
	var now *hosts.Host
	eventually(t, newLeaderLimit, "another master leads", func() error {
		if now = c.leadsNow(t.Context()); now == nil || now == old {
			return errors.New("none does")
		}
		return nil
	})
	elected := time.Since(began)
	w.goesOn(t, newLeaderLimit-min(elected, newLeaderLimit-time.Second), "writes are taken again")
	t.Logf("%s leads instead of %s after %v; 10 further writes after %v", now.Name(), old.Name(),
		elected.Round(10*time.Millisecond), time.Since(began).Round(10*time.Millisecond))
}

// started waits until systemd has started a process again after one ended.
func (c *cluster) startedAgain(t *testing.T, h *hosts.Host, old int, limit time.Duration) {
	t.Helper()
	eventually(t, limit, "dcos on "+h.Name()+" ended and was started again", func() error {
		pid, err := mainPid(h)
		if err == nil && pid == old {
			err = errors.New("it goes on")
		}
		return err
	})
}

// stillRuns fails the test when a process has ended.
func stillRuns(t *testing.T, h *hosts.Host, pid int) {
	t.Helper()
	if now, err := mainPid(h); err != nil || now != pid {
		t.Fatalf("dcos on %s ended: it was process %d, now it is %d, %v", h.Name(), pid, now, err)
	}
}

func mustPid(t *testing.T, h *hosts.Host) int {
	t.Helper()
	pid, err := mainPid(h)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func mustInject(t *testing.T, h *hosts.Host, pid int, calls, how string) (end func()) {
	t.Helper()
	stop, err := h.Inject(t.Context(), pid, calls, how)
	if err != nil {
		t.Fatal(err)
	}
	end = sync.OnceFunc(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(end)
	return end
}

// failingDisk lets a call of the leader fail: the process must end, another
// one lead, and nothing acknowledged be lost.
func failingDisk(t *testing.T, calls, how, said string) {
	t.Helper()
	c := sharedMasters.use(t)
	w := c.startWriting(t, "/disk")
	w.goesOn(t, 30*time.Second, "writes are taken")
	h := c.mustLeader(t)
	pid := mustPid(t, h)
	end := mustInject(t, h, pid, calls, how)
	c.leaderIsReplaced(t, h, w)
	c.startedAgain(t, h, pid, 30*time.Second)
	end()
	if log := mustRun(t, h, "journalctl", "--boot", "--unit=dcos", "--no-pager", "--output=cat", "--lines=200"); !strings.Contains(log, said) {
		t.Errorf("the journal of %s does not say %q", h.Name(), said)
	}
	c.allThere(t, w)
}

func TestCoreDiskErrorOnTheLeader(t *testing.T) {
	t.Run("fsync", func(t *testing.T) { failingDisk(t, "fdatasync", "error=EIO", "input/output error") })
	t.Run("write", func(t *testing.T) { failingDisk(t, "pwrite64", "error=EIO", "input/output error") })
}

func TestCoreDiskFullOnTheLeader(t *testing.T) {
	failingDisk(t, "pwrite64", "error=ENOSPC", "no space left on device")
}

func TestCoreDiskHangOfTheLeader(t *testing.T) {
	beside(t)
	c := newCluster(t, 3, 0)
	w := c.startWriting(t, "/hang")
	w.goesOn(t, 30*time.Second, "writes are taken")
	h := c.mustLeader(t)
	pid := mustPid(t, h)
	end := mustInject(t, h, pid, diskSyncs, "delay_enter=300s")
	began := time.Now()
	c.leaderIsReplaced(t, h, w)
	stillRuns(t, h, pid) // it steps down and stays
	w.rest.Store(int64(500 * time.Millisecond))
	eventually(t, hangLimit, "the process whose disk hangs ends", func() error {
		if now, err := mainPid(h); err == nil && now == pid {
			return errors.New("it goes on")
		}
		return nil
	})
	t.Logf("it took %v to give up", time.Since(began).Round(time.Second))
	end() // a process is not gone before its last call is
	c.startedAgain(t, h, pid, 30*time.Second)
	c.allThere(t, w)
}

func TestCoreDiskStallsOfTheLeader(t *testing.T) {
	c := sharedMasters.use(t)
	w := c.startWriting(t, "/stalls")
	w.goesOn(t, 30*time.Second, "writes are taken")
	h := c.mustLeader(t)
	pid := mustPid(t, h)
	end := mustInject(t, h, pid, diskSyncs, "delay_enter=3s")
	c.leaderIsReplaced(t, h, w)
	throughout(t, 10*time.Second, "while every fsync of one master takes 3 s", func() error {
		if quiet := time.Since(w.last()); quiet > newLeaderLimit {
			return fmt.Errorf("no write was taken for %v", quiet)
		}
		return nil
	})
	stillRuns(t, h, pid)
	end()
	stillRuns(t, h, pid)
	c.allThere(t, w)
}

func TestCoreSlowDiskChangesNoLeader(t *testing.T) {
	c := sharedMasters.use(t)
	w := c.startWriting(t, "/slow")
	w.goesOn(t, 30*time.Second, "writes are taken")
	h := c.mustLeader(t)
	end := mustInject(t, h, mustPid(t, h), diskSyncs, "delay_enter=200ms")
	before, err := c.status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	from := w.count()
	throughout(t, 15*time.Second, "while every fsync of the leader takes 200 ms", func() error {
		now, err := c.status(t.Context())
		if err != nil {
			return err
		}
		if now.Term != before.Term || now.Leader != before.Leader {
			return fmt.Errorf("%s leads in term %d, it was %s in %d", now.Leader, now.Term, before.Leader, before.Term)
		}
		return nil
	})
	t.Logf("%d writes were taken meanwhile", w.count()-from)
	w.goesOn(t, 30*time.Second, "writes go on")
	end()
	c.allThere(t, w)
}

func TestCoreAllDisksStall(t *testing.T) {
	c := sharedMasters.use(t)
	w := c.startWriting(t, "/still")
	w.goesOn(t, 30*time.Second, "writes are taken")
	pids := make([]int, len(c.masters))
	for i, h := range c.masters {
		pids[i] = mustPid(t, h)
	}
	end, err := onAll(c.masters, func(h *hosts.Host) (func() error, error) {
		return h.Inject(t.Context(), pids[slices.Index(c.masters, h)], diskSyncs, "delay_enter=10s")
	})
	if err != nil {
		t.Fatal(err)
	}
	err = pause(t.Context(), 10*time.Second)
	if err := errors.Join(err, end()); err != nil {
		t.Fatal(err)
	}
	w.goesOn(t, 30*time.Second, "writes are taken after all disks have stalled for 10 s")
	for i, h := range c.masters {
		stillRuns(t, h, pids[i])
	}
	c.allThere(t, w)
	for i, h := range c.masters {
		stillRuns(t, h, pids[i])
	}
}

// A host's disk is a directory of the machine's; only a disk of its own can be
// filled without harm to others.
const (
	ownDisk   = "mkdir -p /var/lib/dcos && mount -t tmpfs -o size=2g,mode=0700 tmpfs /var/lib/dcos"
	smallDisk = "mount -o remount,size=400m /var/lib/dcos" // less than an installation asks for
	fillDisk  = "fallocate -l 200M /var/lib/dcos/filler"
	clearDisk = "rm /var/lib/dcos/filler"
	// spaceLimit is how long it may take until a change of free space has its
	// effect: masters look every few seconds.
	spaceLimit = 30 * time.Second
)

func TestCoreFreeSpaceReserve(t *testing.T) {
	beside(t)
	c, err := openClusterOn(t.Context(), 3, 0, func(ctx context.Context, h *hosts.Host) error {
		_, _, err := h.Run(ctx, "sh", "-c", ownDisk)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			c.tell(t)
		}
		if err := c.close(); err != nil {
			t.Error(err)
		}
	})
	for _, h := range c.masters {
		mustRun(t, h, "sh", "-c", smallDisk)
	}
	w := c.startWriting(t, "/space")
	w.goesOn(t, 30*time.Second, "writes are taken")
	pids := map[*hosts.Host]int{}
	for _, h := range c.masters {
		pids[h] = mustPid(t, h)
	}

	// The leader's disk fills: another one leads, and the leader keeps its log.
	first := c.mustLeader(t)
	mustRun(t, first, "sh", "-c", fillDisk)
	eventually(t, spaceLimit, "leadership is handed over", func() error {
		if h := c.leadsNow(t.Context()); h == nil || h == first {
			return errors.New("it is not")
		}
		return nil
	})
	w.goesOn(t, spaceLimit, "writes go on with one full disk")

	// All disks are full: no writes, a clear refusal, and reads.
	for _, h := range c.masters {
		if h != first {
			mustRun(t, h, "sh", "-c", fillDisk)
		}
	}
	api, tries := c.own(t, c.masters[0]), 0
	eventually(t, spaceLimit, "writes are refused with 503", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), requestLimit)
		defer cancel()
		tries++ // one of unknown outcome may be there
		id := fmt.Sprintf("/refused/%d", tries)
		_, err := api.CreateApp(ctx, fmt.Appendf(nil, `{"id": %q, "cmd": "true", "instances": 0}`, id))
		var refusal *client.Error
		switch {
		case err == nil:
			return errors.New("it was taken")
		case !errors.As(err, &refusal) || refusal.Status != 503:
			return fmt.Errorf("it was refused with %w", err)
		case !strings.Contains(refusal.Error(), "disk"):
			return fmt.Errorf("the refusal does not name the disk: %w", err)
		}
		return nil
	})
	for _, h := range c.masters {
		began, want := time.Now(), w.count()
		apps, err := c.own(t, h).Apps(t.Context(), client.AppFilter{})
		if err != nil || len(apps) < want {
			t.Errorf("read from %s with full disks: %d apps, %v; %d were acknowledged", h.Name(), len(apps), err, want)
		}
		t.Logf("%s was read within %v", h.Name(), time.Since(began).Round(time.Millisecond))
	}

	// Room again: writes again, and no process has ended.
	for _, h := range c.masters {
		mustRun(t, h, "sh", "-c", clearDisk)
	}
	w.goesOn(t, spaceLimit, "writes are taken again")
	for h, pid := range pids {
		stillRuns(t, h, pid)
	}
	c.allThere(t, w)
}
