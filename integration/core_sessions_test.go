package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dcos-go/dcos/integration/hosts"
	"github.com/dcos-go/dcos/pkg/client"
)

// nodeOf is the node on a host.
func (c *cluster) nodeOf(t *testing.T, h *hosts.Host) string {
	t.Helper()
	nodes, err := answer(t.Context(), c, func(ctx context.Context, api *client.Client) ([]client.Node, error) {
		return client.All(ctx, api.Nodes, client.Query{})
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		if n.IP == h.IP() {
			return n.ID
		}
	}
	t.Fatalf("no node on %s", h.Name())
	return ""
}

// command runs dcos, which must succeed.
func (c *cluster) command(t *testing.T, args ...string) string {
	t.Helper()
	out, err := c.dcos(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// processes are the pids of a task on a host.
func processesOf(h *hosts.Host, task string) ([]int, error) {
	groups, err := taskProcesses(h)
	var out []int
	for _, p := range groups[task] {
		out = append(out, p.PID)
	}
	return out, err
}

// on are the live tasks of an app on a node.
func on(tasks []client.Task, node string) (out []client.Task) {
	for _, k := range tasks {
		if k.Node == node {
			out = append(out, k)
		}
	}
	return out
}

func TestCoreDrainAndDecommission(t *testing.T) {
	beside(t)
	c := newCluster(t, 1, 3)
	// One per host, and one host more: an instance can move only to that one.
	app := apart("/web", 2)
	app["upgradeStrategy"] = map[string]any{"minimumHealthCapacity": 1, "maximumOverCapacity": 0.5}
	c.create(t, app)
	tasks := c.running(t, time.Minute, "/web", 2)
	node, stays := tasks[0].Node, tasks[1]
	from := c.nodes[node]

	// While it moves, never less than two run.
	watch := make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	go func() { // until stop
		for ctx.Err() == nil {
			live, err := c.live(ctx, "/web")
			run := slices.DeleteFunc(live, func(k client.Task) bool { return k.State != "running" })
			if err == nil && len(run) < 2 {
				watch <- fmt.Errorf("only %v run while one moves", ids(run))
				return
			}
			pauseFor(ctx, 50*time.Millisecond)
		}
		watch <- nil
	}()
	c.command(t, "node", "drain", node, "--why", "new disk", "--wait", "--timeout", "90s")
	stop()
	if err := <-watch; err != nil {
		t.Error(err)
	}
	now := c.running(t, 30*time.Second, "/web", 2)
	if len(on(now, node)) != 0 || !slices.Contains(ids(now), stays.ID) {
		t.Errorf("after the drain %v run, %d of them on the drained node; %s should have stayed", ids(now), len(on(now, node)), stays.ID)
	}
	if err := c.nodeIs(t.Context(), from, "drained"); err != nil {
		t.Error(err)
	}
	if out := c.command(t, "node", "list"); !strings.Contains(out, "DRAINED") || !strings.Contains(out, "new disk") {
		t.Errorf("node list does not tell:\n%s", out)
	}
	// It takes nothing until the drain is undone.
	app["instances"] = 3
	c.create(t, app)
	eventually(t, 30*time.Second, "why names the drained node", func() error {
		out, err := c.dcos(t, "why", "/web")
		if err == nil && !strings.Contains(out, "not active") && !strings.Contains(out, "drain") {
			err = errors.New(out)
		}
		return err
	})
	c.command(t, "node", "drain", node, "--undo")
	c.running(t, 30*time.Second, "/web", 3)

	// Three on three hosts: none can move. The deadline stops it.
	c.command(t, "node", "drain", node, "--deadline", "3s", "--wait", "--timeout", "90s")
	eventually(t, 30*time.Second, "two run and one waits", func() error {
		live, err := c.live(t.Context(), "/web")
		if err == nil && (len(on(live, node)) != 0 || len(live) != 3) {
			err = fmt.Errorf("%v", ids(live))
		}
		return err
	})
	c.command(t, "node", "drain", node, "--undo")
	c.running(t, 30*time.Second, "/web", 3)

	app["instances"] = 2
	c.create(t, app)
	c.running(t, 30*time.Second, "/web", 2)
	c.command(t, "node", "decommission", node, "--wait", "--timeout", "90s")
	now = c.running(t, 30*time.Second, "/web", 2)
	if len(on(now, node)) != 0 {
		t.Errorf("tasks are on the removed node: %v", ids(now))
	}
	delete(c.nodes, node)
	refused := func() error {
		out, _, err := from.Run(t.Context(), "journalctl", "-u", "dcos", "--no-pager")
		if err == nil && !strings.Contains(out, "was removed from the cluster") {
			err = errors.New("its agent does not say that it was removed")
		}
		return err
	}
	eventually(t, 30*time.Second, "the removed machine is refused and says why", refused)
	mustRun(t, from, "systemctl", "restart", "dcos")
	throughout(t, 10*time.Second, "its certificate opens no session, also after a restart", func() error {
		if err := c.nodeIs(t.Context(), from, "active"); err == nil {
			return errors.New("the removed node is active")
		}
		return nil
	})
	c.clear(t)
}

func pauseFor(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// fenced is an app of one instance that never runs twice, kept off the hosts
// of masters by its constraint.
func fenced(id string) map[string]any {
	app := sleeper(id, 1)
	app["fence"] = "lease"
	return app
}

func TestCoreFencingLease(t *testing.T) {
	beside(t)
	c := newCluster(t, 1, 3)
	c.create(t, fenced("/one"))
	c.create(t, apart("/free", 3))
	first := c.running(t, time.Minute, "/one", 1)[0]
	free := c.running(t, time.Minute, "/free", 3)
	cut := c.nodes[first.Node]
	if err := cut.Partition(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	var dead, started time.Duration
	var second client.Task
	eventually(t, 2*time.Minute, "the fenced task is replaced, after its old copy has ended", func() error {
		old, err := processesOf(cut, first.ID)
		if err != nil {
			return err
		}
		if dead == 0 && len(old) == 0 {
			dead = time.Since(began)
		}
		live, err := c.live(t.Context(), "/one")
		if err != nil {
			return err
		}
		for _, k := range live {
			if k.ID == first.ID {
				continue
			}
			if len(old) > 0 {
				t.Fatalf("%v after the partition its replacement is %s while the old copy runs as %v", time.Since(began), k.State, old)
			}
			if k.State == "running" {
				second, started = k, time.Since(began)
				return nil
			}
		}
		return fmt.Errorf("%d live", len(live))
	})
	t.Logf("the old copy was dead after %v, the new one ran after %v", dead.Round(time.Second), started.Round(time.Second))
	if out, err := c.dcos(t, "why", "/one"); err != nil || out == "" {
		t.Errorf("why: %q, %v", out, err)
	}
	for _, k := range on(free, first.Node) { // without a fence nothing stops behind a partition
		if pids, err := processesOf(cut, k.ID); err != nil || len(pids) == 0 {
			t.Errorf("the task %s without a fence does not run any more: %v", k.ID, err)
		}
	}
	if err := cut.Heal(); err != nil {
		t.Fatal(err)
	}
	c.mustBeWhole(t)
	if now := c.running(t, 30*time.Second, "/one", 1)[0]; now.ID != second.ID {
		t.Errorf("%s runs, want %s to go on", now.ID, second.ID)
	}
	c.clear(t)
}

// No master at all, and an agent that cannot act: the task ends all the same.
func TestCoreFencingLeaseEndsWithoutMasters(t *testing.T) {
	beside(t)
	c := newCluster(t, 1, 2)
	c.create(t, fenced("/one"))
	c.create(t, apart("/free", 2))
	one := c.running(t, time.Minute, "/one", 1)[0]
	host := c.nodes[one.Node]
	others := c.running(t, time.Minute, "/free", 2)
	pids := c.mustPids(t, others)
	c.holdDown(t, c.masters[0])
	pid, err := mainPid(host)
	if err != nil {
		t.Fatal(err)
	}
	if err := host.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	eventually(t, 75*time.Second, "the fenced task has ended without a master and without its agent", func() error {
		left, err := processesOf(host, one.ID)
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("it runs as %v", left)
		}
		return err
	})
	t.Logf("it ended %v after the masters", time.Since(began).Round(time.Second))
	if got := c.mustPids(t, others); fmt.Sprint(got) != fmt.Sprint(pids) {
		t.Errorf("tasks without a fence run as %v, were %v", got, pids)
	}
	if err := host.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	c.letUp(t, c.masters[0])
	c.mustBeWhole(t)
	c.running(t, time.Minute, "/one", 1)
	c.clear(t)
}

func TestCoreUnreachableStrategy(t *testing.T) {
	beside(t)
	c := newCluster(t, 1, 3)
	app := sleeper("/late", 1)
	app["unreachableStrategy"] = map[string]any{"inactiveAfterSeconds": 8, "expungeAfterSeconds": 600}
	c.create(t, app)
	never := sleeper("/never", 1)
	never["unreachableStrategy"] = "disabled"
	first := c.running(t, time.Minute, "/late", 1)[0]
	cut := c.nodes[first.Node]
	never["constraints"] = onHosts(cut)
	c.create(t, never)
	kept := c.running(t, time.Minute, "/never", 1)[0]
	never["constraints"] = [][]string{}
	if err := cut.Partition(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 45*time.Second, "the node is lost and its tasks are unreachable", func() error {
		for _, id := range []string{first.ID, kept.ID} {
			k, err := c.task(t.Context(), id)
			if err != nil {
				return err
			}
			if k.State != "unreachable" {
				return fmt.Errorf("%s is %s", id, k.State)
			}
		}
		return nil
	})
	if live, err := c.live(t.Context(), "/late"); err == nil && len(live) != 1 {
		t.Errorf("%v: replaced before inactiveAfterSeconds", ids(live))
	}
	if out, err := c.dcos(t, "why", "/never"); err != nil || !strings.Contains(out, "disabled") || !strings.Contains(out, "--gone") {
		t.Errorf("why /never: %v\n%s", err, out)
	}
	var other client.Task
	eventually(t, 40*time.Second, "another instance runs beside the inactive one", func() error {
		live, err := c.live(t.Context(), "/late")
		for _, k := range live {
			if k.ID != first.ID && k.State == "running" {
				other = k
			}
		}
		if err == nil && (other.ID == "" || len(live) != 2) {
			err = fmt.Errorf("%v", ids(live))
		}
		return err
	})
	if err := cut.Heal(); err != nil {
		t.Fatal(err)
	}
	c.mustBeWhole(t)
	// Both count now; the youngest goes, as Marathon has it.
	if now := c.running(t, 30*time.Second, "/late", 1)[0]; now.ID != first.ID {
		t.Errorf("%s goes on, want the original %s", now.ID, first.ID)
	}
	if now := c.running(t, 30*time.Second, "/never", 1)[0]; now.ID != kept.ID {
		t.Errorf("%s runs, want %s to have been waited for", now.ID, kept.ID)
	}
	// The machine is off for good: the operator says so.
	if err := cut.Crash(); err != nil {
		t.Fatal(err)
	}
	node := first.Node
	eventually(t, 45*time.Second, "the node is lost", func() error { return c.nodeIs(t.Context(), cut, "lost") })
	if out, err := c.dcos(t, "node", "remove", node); err == nil || !strings.Contains(err.Error(), "--gone") {
		t.Errorf("removed although tasks wait for it: %q %v", out, err)
	}
	c.create(t, never) // may run anywhere now
	c.command(t, "node", "remove", node, "--gone")
	delete(c.nodes, node)
	if now := c.running(t, time.Minute, "/never", 1)[0]; now.Node == node {
		t.Errorf("%s is on the removed node", now.ID)
	}
	c.running(t, time.Minute, "/late", 1)
	c.clear(t)
}

func TestCoreClonedAgentIsRefused(t *testing.T) {
	beside(t)
	c := newCluster(t, 1, 1)
	original := c.agents[0]
	c.create(t, sleeper("/app", 2))
	tasks := c.running(t, time.Minute, "/app", 2)
	pids := c.mustPids(t, tasks)
	clone := c.more(t, "clone")[0]
	if _, err := install(t.Context(), clone, append(slices.Clone(c.lines["agent"]), c.mirror()...)...); err != nil {
		t.Fatal(err)
	}
	own := c.nodeOf(t, clone)
	mustRun(t, clone, "systemctl", "stop", "dcos")
	disk := mustRun(t, original, "tar", "-C", "/var/lib/dcos", "--exclude=agent/run", "--exclude=agent/sandboxes", "-cf", "-", ".")
	mustRun(t, clone, "sh", "-c", "rm -rf /var/lib/dcos/*")
	if _, errs, err := clone.RunInput(t.Context(), bytes.NewReader([]byte(disk)), "tar", "-C", "/var/lib/dcos", "-xf", "-"); err != nil {
		t.Fatalf("%v: %s", err, errs)
	}
	mustRun(t, clone, "systemctl", "start", "--no-block", "dcos")
	eventually(t, time.Minute, "the clone is refused and told what to do", func() error {
		out, _, err := clone.Run(t.Context(), "journalctl", "-u", "dcos", "--no-pager")
		if err == nil && !strings.Contains(out, "cloned") {
			err = errors.New("its journal does not say so")
		}
		return err
	})
	eventually(t, 10*time.Second, "the leader's log raises the alarm", func() error {
		out, _, err := c.masters[0].Run(t.Context(), "journalctl", "-u", "dcos", "--no-pager")
		if err == nil && !strings.Contains(out, "another machine holds a session under the same id") {
			err = errors.New("its journal does not say so")
		}
		return err
	})
	throughout(t, 8*time.Second, "the original goes on undisturbed", func() error {
		return c.nodeIs(t.Context(), original, "active")
	})
	if now := c.mustPids(t, c.running(t, 30*time.Second, "/app", 2)); fmt.Sprint(now) != fmt.Sprint(pids) {
		t.Errorf("processes are %v, were %v", now, pids)
	}
	mustRun(t, clone, "systemctl", "stop", "dcos")
	eventually(t, 2*time.Minute, "the node that the clone was is lost and removed", func() error {
		_, err := c.dcos(t, "node", "remove", own)
		return err
	})
	c.clear(t)
}
