package integration

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dcos-go/dcos/integration/hosts"
	"github.com/dcos-go/dcos/pkg/client"
)

// apart is an app whose instances run on a host each.
func apart(id string, instances int) map[string]any {
	app := sleeper(id, instances)
	app["constraints"] = [][]string{{"hostname", "UNIQUE"}}
	return app
}

func ids(tasks []client.Task) []string {
	var out []string
	for _, k := range tasks {
		out = append(out, k.ID)
	}
	slices.Sort(out)
	return out
}

func TestSpineLeaderLossLeavesTasksUntouched(t *testing.T) {
	c := sharedCluster(t)
	c.create(t, sleeper("/calm", 3))
	tasks := c.running(t, time.Minute, "/calm", 3)
	pids := c.mustPids(t, tasks)
	untouched := func(after string) {
		t.Helper()
		now := c.running(t, 30*time.Second, "/calm", 3)
		if d := cmp.Diff(ids(tasks), ids(now)); d != "" {
			t.Errorf("%s, tasks changed:\n%s", after, d)
		}
		if d := cmp.Diff(pids, c.mustPids(t, now)); d != "" {
			t.Errorf("%s, processes changed:\n%s", after, d)
		}
	}

	first := c.mustLeader(t)
	c.killUnit(t, first)
	second := c.otherLeader(t, first)
	c.packageInstall(t, "hello-world", `{"service": {"name": "after-kill"}}`)
	c.running(t, time.Minute, "/after-kill", 1)
	untouched("after the leading process was killed")

	if err := second.PowerOff(); err != nil {
		t.Fatal(err)
	}
	third := c.otherLeader(t, second)
	c.packageInstall(t, "hello-world", `{"service": {"name": "after-power-cut"}}`)
	c.running(t, time.Minute, "/after-power-cut", 1)
	untouched("after the leading host lost its power")

	if err := second.Boot(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.mustBeWhole(t)
	if now := c.mustLeader(t); now != third {
		t.Errorf("the master that came back took the lead: %s leads, want %s", now.Name(), third.Name())
	}
	untouched("after the old leader came back")
	c.clear(t)
}

func TestSpineHostAndProcessLossAreToldApart(t *testing.T) {
	c := sharedCluster(t)
	c.create(t, apart("/two", 2))
	tasks := c.running(t, time.Minute, "/two", 2)
	pids := c.mustPids(t, tasks)
	silent, deaf := c.nodes[tasks[0].Node], c.nodes[tasks[1].Node]

	// The agent's process ends, the machine lives: its tasks are left alone.
	c.holdDown(t, deaf)
	eventually(t, 20*time.Second, "the node whose agent ended is suspected", func() error {
		return c.nodeIs(t.Context(), deaf, "suspect")
	})
	// A machine falls silent at the same time: what ran there is replaced.
	if err := silent.PowerOff(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 45*time.Second, "the silent node is lost and its task replaced", func() error {
		if err := c.nodeIs(t.Context(), silent, "lost"); err != nil {
			return err
		}
		live, err := c.live(t.Context(), "/two")
		if err != nil {
			return err
		}
		for _, k := range live {
			if k.ID != tasks[0].ID && k.ID != tasks[1].ID && k.State == "running" {
				return nil
			}
		}
		return fmt.Errorf("no new task runs: %v", ids(live))
	})
	lost, err := c.task(t.Context(), tasks[0].ID)
	if err != nil || lost.State != "lost" {
		t.Errorf("task of the silent host: %s, %v; want lost", lost.State, err)
	}
	throughout(t, 10*time.Second, "while only the agent's process is down", func() error {
		k, err := c.task(t.Context(), tasks[1].ID)
		if err != nil {
			return err
		}
		if ended(k) || k.Goal != "run" {
			return fmt.Errorf("its task is %s, to %s: %s", k.State, k.Goal, k.Message)
		}
		return c.nodeIs(t.Context(), deaf, "suspect")
	})
	c.letUp(t, deaf)
	eventually(t, 30*time.Second, "the agent is back", func() error { return c.nodeIs(t.Context(), deaf, "active") })
	now := c.running(t, 30*time.Second, "/two", 2)
	if !slices.Contains(ids(now), tasks[1].ID) {
		t.Errorf("the task %s was replaced: %v", tasks[1].ID, ids(now))
	}
	if got := c.mustPids(t, now)[tasks[1].ID]; !slices.Equal(got, pids[tasks[1].ID]) {
		t.Errorf("processes of %s are %v, were %v", tasks[1].ID, got, pids[tasks[1].ID])
	}
	if err := silent.Boot(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.mustBeWhole(t)
	c.clear(t)
}

func TestSpineAgentRestartKeepsTasks(t *testing.T) {
	c := sharedCluster(t)
	h := c.agents[0]
	stays, ends := sleeper("/stays", 3), sleeper("/ends", 1)
	ends["cmd"] = "trap 'exit 42' TERM; sleep 100000 & wait"
	for _, app := range []map[string]any{stays, ends} {
		app["constraints"] = onHosts(h)
		app["backoffSeconds"], app["maxLaunchDelaySeconds"] = 3600, 3600
		c.create(t, app)
	}
	tasks := c.running(t, time.Minute, "/stays", 3)
	pids := c.mustPids(t, tasks)
	ending := c.running(t, time.Minute, "/ends", 1)[0]
	same := func() {
		t.Helper()
		now := c.running(t, 30*time.Second, "/stays", 3)
		if d := cmp.Diff(pids, c.mustPids(t, now)); d != "" {
			t.Errorf("processes changed:\n%s", d)
		}
	}
	for range 3 {
		c.killUnit(t, h)
		same() // nobody needs the agent for what runs
		eventually(t, 30*time.Second, "systemd has started the agent again", func() error {
			_, err := mainPid(h)
			return err
		})
		c.mustBeWhole(t)
		same()
	}
	// An orderly end, as an upgrade makes it: the process ends by itself.
	if result := mustRun(t, h, "sh", "-c", "systemctl stop dcos; systemctl show --property=Result --value dcos.service"); result != "success\n" {
		t.Errorf("the agent, told to stop, ended with the result %q, want success", result)
	}
	mustRun(t, h, "systemctl", "start", "dcos")
	c.mustBeWhole(t)
	same()

	c.holdDown(t, h)
	groups, err := taskProcesses(h)
	if err != nil {
		t.Fatal(err)
	}
	shell := slices.IndexFunc(groups[ending.ID], func(p hosts.Process) bool { return p.Name == "sh" || p.Name == "dash" })
	if shell < 0 {
		t.Fatalf("no shell among the processes of %s: %+v", ending.ID, groups)
	}
	if err := h.Kill(groups[ending.ID][shell].PID, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "the task ends while the agent is down", func() error {
		groups, err := taskProcesses(h)
		if err == nil && len(groups[ending.ID]) > 0 {
			err = fmt.Errorf("it has %+v", groups[ending.ID])
		}
		return err
	})
	c.letUp(t, h)
	eventually(t, 30*time.Second, "the exit code is reported", func() error {
		k, err := c.task(t.Context(), ending.ID)
		if err != nil {
			return err
		}
		if k.State != "failed" || k.Exit == nil || k.Exit.Code != 42 || k.Exit.Signal != 0 {
			return fmt.Errorf("%s is %s with exit %+v, want failed with 42", k.ID, k.State, k.Exit)
		}
		return nil
	})
	c.mustBeWhole(t)
	same()
	c.clear(t)
}

func TestSpinePartitionedAgentRejoinsOnce(t *testing.T) {
	c := sharedCluster(t)
	c.create(t, apart("/once", 2))
	tasks := c.running(t, time.Minute, "/once", 2)
	cut := c.nodes[tasks[0].Node]
	if err := cut.Partition(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 45*time.Second, "the task behind the partition is replaced", func() error {
		now, err := c.live(t.Context(), "/once")
		if err != nil {
			return err
		}
		for _, k := range now {
			if k.State != "running" || k.ID == tasks[0].ID {
				return fmt.Errorf("%s is %s", k.ID, k.State)
			}
		}
		if len(now) != 2 {
			return fmt.Errorf("%d live tasks", len(now))
		}
		return nil
	})
	groups, err := taskProcesses(cut)
	if err != nil || len(groups[tasks[0].ID]) == 0 {
		t.Errorf("behind the partition the task should run on, the host has %v, %v", slices.Sorted(maps.Keys(groups)), err)
	}
	if err := cut.Heal(); err != nil {
		t.Fatal(err)
	}
	// On no host an instance runs twice, at no time; in the end it runs once.
	eventually(t, time.Minute, "the old copy is gone and each instance runs once", func() error { return c.eachOnce(t, "/once", 2) })
	c.mustBeWhole(t)
	throughout(t, 3*time.Second, "after the agent is back", func() error { return c.eachOnce(t, "/once", 2) })
	c.clear(t)
}

// eachOnce says that the hosts run exactly the live tasks of an app.
func (c *cluster) eachOnce(t *testing.T, app string, n int) error {
	t.Helper()
	live, err := c.live(t.Context(), app)
	if err != nil {
		return err
	}
	want := ids(live)
	var have []string
	for _, h := range c.agents {
		groups, err := taskProcesses(h)
		if err != nil {
			return err
		}
		delete(groups, ".shims")
		for task, processes := range groups {
			have = append(have, task)
			if count := len(processes); count != 1 {
				t.Errorf("task %s on %s has %d processes, want the one of sleep: %+v", task, h.Name(), count, processes)
			}
		}
	}
	slices.Sort(have)
	if len(want) != n || !slices.Equal(want, have) {
		return fmt.Errorf("the cluster has %v, the hosts run %v", want, have)
	}
	return nil
}

func (c *cluster) task(ctx context.Context, id string) (client.Task, error) {
	return answer(ctx, c, func(ctx context.Context, api *client.Client) (client.Task, error) { return api.Task(ctx, id) })
}

// nodeIs says nil when the node on a host is in a state.
func (c *cluster) nodeIs(ctx context.Context, h *hosts.Host, state string) error {
	nodes, err := answer(ctx, c, func(ctx context.Context, api *client.Client) (client.List[client.Node], error) {
		return api.Nodes(ctx, client.Query{})
	})
	if err != nil {
		return err
	}
	for _, n := range nodes.Items {
		if n.IP == h.IP() {
			if n.State != state {
				return fmt.Errorf("node %s on %s is %s (%s), want %s", n.ID, h.Name(), n.State, n.Why, state)
			}
			return nil
		}
	}
	return fmt.Errorf("no node on %s", h.Name())
}

func (c *cluster) mustBeWhole(t *testing.T) {
	t.Helper()
	began := time.Now()
	if err := c.whole(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("the cluster is whole after %v", time.Since(began).Round(time.Millisecond))
}

func (c *cluster) mustLeader(t *testing.T) *hosts.Host {
	t.Helper()
	h, err := c.leader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// otherLeader waits until another host than the old one leads.
func (c *cluster) otherLeader(t *testing.T, old *hosts.Host) *hosts.Host {
	t.Helper()
	var h *hosts.Host
	eventually(t, 30*time.Second, "another master leads", func() error {
		var err error
		if h, err = c.leader(t.Context()); err == nil && h == old {
			err = fmt.Errorf("%s still leads", h.Name())
		}
		return err
	})
	return h
}

// killUnit kills dcos on a host with SIGKILL; systemd starts it again.
func (c *cluster) killUnit(t *testing.T, h *hosts.Host) {
	t.Helper()
	if err := killUnit(h); err != nil {
		t.Fatal(err)
	}
}

func killUnit(h *hosts.Host) error {
	pid, err := mainPid(h)
	if err != nil {
		return err
	}
	return h.Kill(pid, syscall.SIGKILL)
}

// holdDown kills dcos on a host and keeps systemd from starting it again.
func (c *cluster) holdDown(t *testing.T, h *hosts.Host) {
	t.Helper()
	const noRestart = "mkdir -p /run/systemd/system/dcos.service.d && " +
		"printf '[Service]\\nRestart=no\\n' > /run/systemd/system/dcos.service.d/held.conf && systemctl daemon-reload"
	mustRun(t, h, "sh", "-c", noRestart)
	c.killUnit(t, h)
	eventually(t, 10*time.Second, "dcos is down on "+h.Name(), func() error {
		out, _, err := h.Run(t.Context(), "systemctl", "show", "--property=ActiveState", "--value", "dcos.service")
		if err == nil && out != "failed\n" {
			err = fmt.Errorf("the unit is %q", out)
		}
		return err
	})
}

// letUp undoes holdDown.
func (c *cluster) letUp(t *testing.T, h *hosts.Host) {
	t.Helper()
	mustRun(t, h, "sh", "-c", "rm -r /run/systemd/system/dcos.service.d && systemctl daemon-reload && systemctl start --no-block dcos.service")
}

func mustRun(t *testing.T, h *hosts.Host, command ...string) string {
	t.Helper()
	out, _, err := h.Run(t.Context(), command...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
