package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dcos-go/dcos/pkg/client"
)

// fleetLoads are the loads whose tasks are all reported running by simulated
// agents. batch stands for a batch of 1,000 tasks: as many apps of one task.
func fleetLoads(s sizes) []load {
	return append(loads(s.instances), load{"batch", s.batch, 1, `[]`})
}

func fleetRows() []string {
	return []string{
		"fleet-cpu", "list-page", "list-whole",
		"fleet-one-app", "fleet-20-apps", "fleet-spread", "fleet-batch", "fleet-churn", "fleet-memory",
	}
}

// withFleet is one master with many simulated agents.
func withFleet(ctx context.Context, b *bench) (out []figure, err error) {
	g, err := b.cluster(ctx, 1)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, g.end()) }()
	b.say("%d simulated agents", b.fleet)
	if err := g.agents(ctx, b.fleet); err != nil {
		return nil, err
	}
	do := func(row string, f func(context.Context, string) (figure, error)) {
		if err != nil || !b.wanted(row) {
			return
		}
		b.say("%s", row)
		var got figure
		if got, err = f(ctx, row); err == nil {
			out = append(out, got)
		} else {
			err = fmt.Errorf("%s: %w", row, err)
		}
	}
	do("fleet-cpu", g.idleCPU)
	do("list-page", func(ctx context.Context, row string) (figure, error) {
		return g.reads(ctx, row, "/dcos/v1/nodes?limit=100")
	})
	do("list-whole", func(ctx context.Context, row string) (figure, error) {
		return g.reads(ctx, row, "/dcos/v1/nodes?limit=5000")
	})
	for _, l := range fleetLoads(b.sizes) {
		do("fleet-"+l.row, func(ctx context.Context, row string) (figure, error) { return g.running(ctx, row, l) })
	}
	do("fleet-churn", g.churn)
	do("fleet-memory", g.memory)
	return out, err
}

// idleCPU is what the master needs for agents that do nothing.
func (g *group) idleCPU(ctx context.Context, row string) (figure, error) {
	if err := pause(ctx, g.b.settle); err != nil {
		return figure{}, err
	}
	pid := g.masters[0].pid()
	var shares []float64
	for range g.b.rounds {
		before, from := cpuOf(pid), time.Now()
		if err := pause(ctx, g.b.window); err != nil {
			return figure{}, err
		}
		shares = append(shares, 100*float64(cpuOf(pid)-before)/float64(time.Since(from)))
	}
	rss, err := kilobytes(pid, "status", "VmRSS:")
	return spanned(row, shares, fmt.Sprintf("%d agents, windows of %s; the master has %s MB", g.count, g.b.window, number(rss/1e6))), err
}

// tasks is how many tasks are in a state.
func (g *group) tasks(ctx context.Context, state string) (int, error) {
	s, err := g.masters[0].client.Cluster(ctx)
	return s.Tasks[state], err
}

// awaitRunning waits until so many tasks were reported running.
func (g *group) awaitRunning(ctx context.Context, want int) error {
	return await(ctx, fmt.Sprintf("%d running tasks", want), 10*time.Millisecond, g.children(), func() (bool, error) {
		n, err := g.tasks(ctx, "running")
		return n == want, err
	})
}

// running measures a load from the first POST to the last task that was
// reported running and counted by the API. After the last round the master is
// killed right behind that, and must come back with all of it.
func (g *group) running(ctx context.Context, row string, l load) (figure, error) {
	var rates []float64
	var cost *Cost
	want := l.apps * l.each
	m := g.masters[0]
	for i := range g.b.rounds {
		before, from := g.spent(), time.Now()
		if err := g.post(ctx, l.specs()); err != nil {
			return figure{}, err
		}
		if err := g.awaitRunning(ctx, want); err != nil {
			return figure{}, err
		}
		rates = append(rates, float64(want)/time.Since(from).Seconds())
		if i == g.b.rounds-1 {
			if err := g.crash(ctx, want); err != nil {
				return figure{}, err
			}
		} else {
			cost = g.spent().since(before)
		}
		if err := g.clear(ctx); err != nil {
			return figure{}, err
		}
	}
	rss, err := kilobytes(m.pid(), "status", "VmRSS:")
	f := spanned(row, rates, fmt.Sprintf("found again running after kill -9: %d; the master has %s MB", want, number(rss/1e6)))
	f.cost = cost
	return f, err
}

// post sends the apps, a few at once.
func (g *group) post(ctx context.Context, specs [][]byte) error {
	const atOnce = 32
	e, ctx := errgroup.WithContext(ctx)
	e.SetLimit(atOnce)
	for _, spec := range specs {
		e.Go(func() error { _, err := g.masters[0].client.CreateApp(ctx, spec); return err })
	}
	return e.Wait()
}

// crash kills the master, starts it again and looks for all tasks.
func (g *group) crash(ctx context.Context, want int) error {
	m := g.masters[0]
	m.kill()
	before, err := g.agentsSince(ctx)
	if err != nil {
		return err
	}
	if err := m.again(g.b); err != nil {
		return err
	}
	if err := m.answers(ctx); err != nil {
		return err
	}
	if n, err := g.tasks(ctx, "running"); err != nil || n != want {
		return errors.Join(err, fmt.Errorf("%d tasks were reported running, %d are after kill -9: the throughput does not count", want, n))
	}
	if err := g.whole(ctx, 0); err != nil {
		return err
	}
	// No healthy task was replaced when the agents came back.
	if err := g.awaitRunning(ctx, want); err != nil {
		return err
	}
	return g.noneAgain(ctx, before)
}

// noneAgain is an error when the fleet has started tasks since then.
func (g *group) noneAgain(ctx context.Context, since FleetStatus) error {
	now, err := g.agentsSince(ctx)
	if err != nil {
		return err
	}
	if again := now.Started - since.Started; again > 0 {
		return fmt.Errorf("%d tasks were started again although all ran: the figure does not count (before %+v, now %+v)", again, since, now)
	}
	return nil
}

// clear removes all apps and waits until nothing runs.
func (g *group) clear(ctx context.Context) error {
	c := g.masters[0].client
	apps, err := client.All(ctx, c.Services, client.Query{})
	if err != nil {
		return fmt.Errorf("list the apps: %w", err)
	}
	e, ectx := errgroup.WithContext(ctx)
	e.SetLimit(32)
	for _, a := range apps {
		e.Go(func() error { _, err := c.DeleteApp(ectx, a.ID, client.Write{Force: true}); return err })
	}
	if err := e.Wait(); err != nil {
		return fmt.Errorf("delete the apps: %w", err)
	}
	return await(ctx, "the end of all apps", 50*time.Millisecond, g.children(), func() (bool, error) {
		s, err := c.Cluster(ctx)
		if err != nil || s.Apps > 0 || s.Tasks["running"] > 0 {
			return false, err
		}
		left, err := c.Deployments(ctx)
		return len(left) == 0, err
	})
}

// churn ends half of the running tasks and starts as many, again and again.
func (g *group) churn(ctx context.Context, row string) (figure, error) {
	l := loads(g.b.instances)[0]
	if err := g.post(ctx, l.specs()); err != nil {
		return figure{}, err
	}
	if err := g.awaitRunning(ctx, l.each); err != nil {
		return figure{}, err
	}
	var rates []float64
	half := l.each / 2
	before := g.spent()
	for range g.b.rounds {
		from := time.Now()
		for _, n := range []int{half, l.each} {
			if _, err := g.masters[0].client.ScaleApp(ctx, "/bench/app-000", n, client.Write{Force: true}); err != nil {
				return figure{}, fmt.Errorf("scale: %w", err)
			}
			if err := g.awaitRunning(ctx, n); err != nil {
				return figure{}, err
			}
		}
		rates = append(rates, float64(2*(l.each-half))/time.Since(from).Seconds())
	}
	f := spanned(row, rates, fmt.Sprintf("scaled from %d to %d and back; ends and starts together", l.each, half))
	f.cost = g.spent().since(before)
	return f, g.clear(ctx)
}

// memory is the master's while many tasks run.
func (g *group) memory(ctx context.Context, row string) (figure, error) {
	const apps = 50
	l := load{"memory", apps, g.b.tasks / apps, `[]`}
	if err := g.post(ctx, l.specs()); err != nil {
		return figure{}, err
	}
	if err := g.awaitRunning(ctx, apps*l.each); err != nil {
		return figure{}, err
	}
	var sizes []float64
	for range g.b.rounds {
		if err := pause(ctx, g.b.settle); err != nil {
			return figure{}, err
		}
		rss, err := kilobytes(g.masters[0].pid(), "status", "VmRSS:")
		if err != nil {
			return figure{}, err
		}
		sizes = append(sizes, rss/1e6)
	}
	peak, err := kilobytes(g.masters[0].pid(), "status", "VmHWM:")
	return spanned(row, sizes, fmt.Sprintf("%d agents, %d tasks running; at most %s MB meanwhile", g.count, apps*l.each, number(peak/1e6))), errors.Join(err, g.clear(ctx))
}

// reconnect kills the leader of three masters and takes the time until all
// simulated agents have a session with the new one.
func reconnect(ctx context.Context, b *bench) (out []figure, err error) {
	g, err := b.cluster(ctx, 3)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, g.end()) }()
	b.say("fleet-reconnect: %d simulated agents", b.fleet)
	if err := g.agents(ctx, b.fleet); err != nil {
		return nil, err
	}
	l := loads(b.instances)[0]
	leader, err := g.leader(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := leader.client.CreateApp(ctx, l.specs()[0]); err != nil {
		return nil, fmt.Errorf("create the app: %w", err)
	}
	if err := g.awaitRunning(ctx, l.each); err != nil {
		return nil, err
	}
	start, err := g.agentsSince(ctx)
	if err != nil {
		return nil, err
	}
	var took []float64
	for range b.rounds {
		if leader, err = g.leader(ctx); err != nil {
			return nil, err
		}
		killed := time.Now()
		leader.kill()
		var at int64
		err = await(ctx, "the simulated agents", 20*time.Millisecond, nil, func() (bool, error) {
			s := g.agentsNow()
			at = s.Whole
			return s.Online == g.count && at > killed.UnixNano(), nil
		})
		if err != nil {
			return nil, fmt.Errorf("%w: %+v", err, g.agentsNow())
		}
		took = append(took, time.Duration(at-killed.UnixNano()).Seconds())
		if err := leader.again(b); err != nil {
			return nil, err
		}
		if err := leader.answers(ctx); err != nil {
			return nil, err
		}
		if err := g.awaitRunning(ctx, l.each); err != nil {
			return nil, err
		}
	}
	if err := g.noneAgain(ctx, start); err != nil {
		return nil, err
	}
	return []figure{spanned("fleet-reconnect", took, fmt.Sprintf("from kill -9 of the leader, its election included; %d tasks ran on", l.each))}, nil
}

// failover takes the time in which no write is accepted, after the leader's
// process was killed, and after it has fallen silent.
func failover(ctx context.Context, b *bench) (out []figure, err error) {
	g, err := b.cluster(ctx, 3)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, g.end()) }()
	if b.wanted("failover-killed") || b.wanted("failover-killed-p99") {
		var took []float64
		for i := range b.failovers {
			b.say("failover-killed %d of %d", i+1, b.failovers)
			d, err := g.withoutLeader(ctx, func(m *masterProc) error { m.kill(); return nil }, func(m *masterProc) error { return m.again(b) })
			if err != nil {
				return out, fmt.Errorf("failover-killed: %w", err)
			}
			took = append(took, d.Seconds())
		}
		f := spanned("failover-killed", took, "kill -9 to the next accepted write")
		worst := f
		worst.row, worst.value, worst.note = "failover-killed-p99", quantile(took, 0.99), fmt.Sprintf("of %d rounds", len(took))
		out = append(out, f, worst)
	}
	if b.wanted("failover-silent") {
		var took []float64
		for i := range b.failovers {
			b.say("failover-silent %d of %d", i+1, b.failovers)
			d, err := g.withoutLeader(ctx, (*masterProc).silence, (*masterProc).speak)
			if err != nil {
				return out, fmt.Errorf("failover-silent: %w", err)
			}
			took = append(took, d.Seconds())
		}
		out = append(out, spanned("failover-silent", took, fmt.Sprintf("SIGSTOP to the next accepted write; p99 %s s; the kernel of a stopped process still acknowledges, that of a machine that is gone does not",
			number(quantile(took, 0.99)))))
	}
	return out, nil
}

// withoutLeader takes the leader away and gives it back.
func (g *group) withoutLeader(ctx context.Context, away, back func(*masterProc) error) (took time.Duration, err error) {
	leader, err := g.leader(ctx)
	if err != nil {
		return 0, err
	}
	from := time.Now()
	if err := away(leader); err != nil {
		return 0, err
	}
	accepted, err := g.accepted(ctx, leader)
	if err = errors.Join(err, back(leader)); err != nil {
		return 0, err
	}
	// All three take part again before the next round.
	if err := leader.answers(ctx); err != nil {
		return 0, err
	}
	return accepted.Sub(from), pause(ctx, g.b.settle/10)
}

// accepted is when the first of many writes to the other masters was accepted.
func (g *group) accepted(ctx context.Context, without *masterProc) (at time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	first := make(chan time.Time, 1)
	every := time.NewTicker(5 * time.Millisecond)
	defer every.Stop()
	room := make(chan struct{}, 64)
	// A write to a master that still passes it on to the old leader is given up
	// for a new one, later and later: a busy machine needs long for each.
	from := time.Now()
	for n := 0; ; n++ {
		m := g.masters[n%len(g.masters)]
		if m != without {
			select {
			case room <- struct{}{}:
				wait := max(time.Second, time.Since(from)/4)
				all.Go(func() {
					defer func() { <-room }()
					wctx, stop := context.WithTimeout(ctx, wait)
					defer stop()
					doc := fmt.Appendf(nil, `{"id":"/bench/write","cmd":"true # %d","instances":0}`, n)
					if _, err := m.client.PutApp(wctx, "/bench/write", doc, client.Write{Force: true, Replace: true}); err == nil {
						select {
						case first <- time.Now():
						default:
						}
					}
				})
			default: // enough are under way
			}
		}
		select {
		case at := <-first:
			return at, nil
		case <-ctx.Done():
			return at, fmt.Errorf("no write was accepted: %w: %s", ctx.Err(), strings.TrimSpace(saidBy(g.children())))
		case <-every.C:
		}
	}
}
