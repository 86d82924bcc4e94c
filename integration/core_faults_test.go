package integration

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dcos-go/dcos/integration/hosts"
)

// fault is something that goes wrong with masters until it is ended.
type fault struct {
	name  string
	begin func(ctx context.Context, c *cluster, victim *hosts.Host) (end func() error, err error)
	// leader says that the victim is who leads; otherwise it is any master.
	leader bool
}

// noEnd is for what needs no ending: systemd starts a killed process again.
func noEnd() error { return nil }

// processFaults befall the processes and disks of masters.
var processFaults = []fault{
	{name: "leader killed", leader: true, begin: killed},
	{name: "master killed", begin: killed},
	{name: "all killed", begin: func(_ context.Context, c *cluster, _ *hosts.Host) (func() error, error) {
		var errs []error
		for _, h := range c.masters {
			errs = append(errs, killUnit(h))
		}
		return noEnd, errors.Join(errs...)
	}},
	{name: "leader paused", leader: true, begin: paused},
	{name: "master paused", begin: paused},
	{name: "leader's disk slow", leader: true, begin: slowDisk("delay_enter=200ms")},
	{name: "leader's disk stalls", leader: true, begin: slowDisk("delay_enter=2500ms")},
	{name: "master's disk stalls", begin: slowDisk("delay_enter=2500ms")},
	{name: "leader's disk throttled", leader: true, begin: throttled},
	{name: "all disks slow", begin: func(ctx context.Context, c *cluster, _ *hosts.Host) (func() error, error) {
		return onAll(c.masters, func(h *hosts.Host) (func() error, error) { return slowDisk("delay_enter=100ms")(ctx, c, h) })
	}},
}

// networkFaults befall what goes between masters. Clients reach them all, but
// for one that is isolated.
var networkFaults = []fault{
	{name: "leader cut off", leader: true, begin: cut(true, true)},
	{name: "leader deaf", leader: true, begin: cut(true, false)},
	{name: "leader mute", leader: true, begin: cut(false, true)},
	{name: "master cut off", begin: cut(true, true)},
	{name: "master mute", begin: cut(false, true)},
	{name: "leader isolated", leader: true, begin: func(_ context.Context, _ *cluster, h *hosts.Host) (func() error, error) {
		return h.Heal, h.Partition()
	}},
	{name: "one as a bridge", begin: func(_ context.Context, c *cluster, bridge *hosts.Host) (func() error, error) {
		ends := slices.DeleteFunc(slices.Clone(c.masters), func(h *hosts.Host) bool { return h == bridge })
		return lose(c, 100, [2]*hosts.Host{ends[0], ends[1]}, [2]*hosts.Host{ends[1], ends[0]})
	}},
	{name: "a third of all lost", begin: func(_ context.Context, c *cluster, _ *hosts.Host) (func() error, error) {
		var ways [][2]*hosts.Host
		for _, from := range c.masters {
			for _, to := range c.masters {
				if from != to {
					ways = append(ways, [2]*hosts.Host{from, to})
				}
			}
		}
		return lose(c, 33, ways...)
	}},
}

func killed(_ context.Context, _ *cluster, h *hosts.Host) (func() error, error) {
	return noEnd, killUnit(h)
}

func paused(_ context.Context, _ *cluster, h *hosts.Host) (func() error, error) {
	pid, err := mainPid(h)
	if err != nil {
		return nil, err
	}
	return func() error { return h.Kill(pid, syscall.SIGCONT) }, h.Kill(pid, syscall.SIGSTOP)
}

// diskSyncs are the calls that wait for the disk.
const diskSyncs = "fdatasync,fsync"

func slowDisk(how string) func(context.Context, *cluster, *hosts.Host) (func() error, error) {
	return func(ctx context.Context, _ *cluster, h *hosts.Host) (func() error, error) {
		pid, err := mainPid(h)
		if err != nil {
			return nil, err
		}
		return h.Inject(ctx, pid, diskSyncs, how)
	}
}

func throttled(_ context.Context, _ *cluster, h *hosts.Host) (func() error, error) {
	pid, err := mainPid(h)
	if err != nil {
		return nil, err
	}
	return h.Throttle(pid, 10)
}

// onAll begins a fault on several hosts; what began is ended when one fails.
func onAll(all []*hosts.Host, begin func(*hosts.Host) (func() error, error)) (func() error, error) {
	ends := make([]func() error, len(all))
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, h := range all {
		wg.Go(func() { ends[i], errs[i] = begin(h) })
	}
	wg.Wait()
	end := func() error {
		var errs []error
		for _, e := range ends {
			if e != nil {
				errs = append(errs, e())
			}
		}
		return errors.Join(errs...)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, errors.Join(err, end())
	}
	return end, nil
}

// cut separates a master from the others, in one direction or both.
func cut(in, out bool) func(context.Context, *cluster, *hosts.Host) (func() error, error) {
	return func(_ context.Context, c *cluster, h *hosts.Host) (func() error, error) {
		var ways [][2]*hosts.Host
		for _, other := range c.masters {
			if other == h {
				continue
			}
			if in {
				ways = append(ways, [2]*hosts.Host{other, h})
			}
			if out {
				ways = append(ways, [2]*hosts.Host{h, other})
			}
		}
		return lose(c, 100, ways...)
	}
}

func lose(c *cluster, percent int, ways ...[2]*hosts.Host) (func() error, error) {
	set := func(percent int) error {
		var errs []error
		for _, w := range ways {
			errs = append(errs, c.net.Loss(w[0], w[1], percent))
		}
		return errors.Join(errs...)
	}
	return func() error { return set(0) }, set(percent)
}

// plan is a fault with its times, drawn from a seed.
type plan struct {
	fault
	after, lasts time.Duration
	victim       int
}

// draw makes a plan; first, unless it is negative, is its fault.
func draw(dice *rand.Rand, of []fault, first int) plan {
	if first < 0 {
		first = dice.IntN(len(of))
	}
	return plan{
		fault: of[first%len(of)], victim: dice.IntN(1 << 16),
		after: time.Duration(dice.Int64N(int64(1200 * time.Millisecond))), lasts: 300*time.Millisecond + time.Duration(dice.Int64N(int64(3*time.Second))),
	}
}

// injured counts the faults of a history by name.
type injured struct {
	mu    sync.Mutex
	times map[string]int
}

func (i *injured) add(name string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.times[name]++
}

// injure lets faults of one kind happen one after the other until ctx ends,
// and ends the last. What cannot begin because of another fault is left out.
func (c *cluster) injure(ctx context.Context, t *testing.T, dice *rand.Rand, of []fault, first int, seen *injured) {
	for {
		p := draw(dice, of, first)
		first = -1
		if pause(ctx, p.after) != nil {
			return
		}
		victim := c.masters[p.victim%len(c.masters)]
		if p.leader {
			if h := c.leadsNow(ctx); h != nil {
				victim = h
			}
		}
		end, err := p.begin(ctx, c, victim)
		if err != nil {
			if ctx.Err() == nil {
				t.Logf("%s on %s: %v", p.name, victim.Name(), err)
			}
			if end != nil {
				_ = end() // a part of it may have begun
			}
			continue
		}
		seen.add(p.name)
		_ = pause(ctx, p.lasts) // ended below in any case
		if err := end(); err != nil {
			t.Errorf("end of %s on %s: %v", p.name, victim.Name(), err)
		}
	}
}

// leadsNow asks every master at once who leads, and believes the one with the
// highest term. nil is nobody, as far as they know.
func (c *cluster) leadsNow(ctx context.Context) *hosts.Host {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	term, address := uint64(0), ""
	for _, h := range c.masters {
		wg.Go(func() {
			api, err := c.on(h)
			if err != nil {
				return
			}
			s, err := api.Cluster(ctx)
			mu.Lock()
			defer mu.Unlock()
			if err == nil && s.Leader != "" && s.Term > term {
				term, address = s.Term, s.Leader
			}
		})
	}
	wg.Wait()
	for _, h := range c.masters {
		if address == fmt.Sprintf("%s:8443", h.IP()) {
			return h
		}
	}
	return nil
}
