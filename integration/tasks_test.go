package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dcos-go/dcos/integration/hosts"
	"github.com/dcos-go/dcos/pkg/client"
)

// tasks are the tasks of an app, or all with app "".
func (c *cluster) tasks(ctx context.Context, app string) ([]client.Task, error) {
	q := client.Query{}
	if app != "" {
		q.Filter = "app=" + app
	}
	return answer(ctx, c, func(ctx context.Context, api *client.Client) ([]client.Task, error) {
		return client.All(ctx, api.Tasks, q)
	})
}

// ended says that a task is in one of the states that it never leaves.
func ended(k client.Task) bool {
	switch k.State {
	case "finished", "failed", "killed", "error", "lost":
		return true
	}
	return false
}

// live are the tasks of an app that have not ended.
func (c *cluster) live(ctx context.Context, app string) ([]client.Task, error) {
	all, err := c.tasks(ctx, app)
	return slices.DeleteFunc(all, ended), err
}

// running waits until an app has exactly n live tasks and all run.
func (c *cluster) running(t *testing.T, limit time.Duration, app string, n int) []client.Task {
	t.Helper()
	var found []client.Task
	eventually(t, limit, fmt.Sprintf("%d tasks of %s run", n, app), func() error {
		var err error
		if found, err = c.live(t.Context(), app); err != nil {
			return err
		}
		for _, k := range found {
			if k.State != "running" {
				return fmt.Errorf("%s is %s: %s", k.ID, k.State, k.Message)
			}
		}
		if len(found) != n {
			return fmt.Errorf("%d live tasks", len(found))
		}
		return nil
	})
	return found
}

// create makes an app of a definition.
func (c *cluster) create(t *testing.T, app map[string]any) {
	t.Helper()
	doc, err := json.Marshal(app)
	if err != nil {
		t.Fatal(err)
	}
	err = c.ask(t.Context(), func(ctx context.Context, api *client.Client) error {
		_, err := api.PutApp(ctx, app["id"].(string), doc, client.Write{Force: true})
		return err
	})
	if err != nil {
		t.Fatalf("create %v: %v", app["id"], err)
	}
}

// sleeper is an app of command tasks that run until they are killed.
func sleeper(id string, instances int) map[string]any {
	return map[string]any{"id": id, "cmd": "exec sleep 100000", "instances": instances, "cpus": 0.1, "mem": 32}
}

// onHosts are an app's constraints that bind it to some hosts.
func onHosts(h ...*hosts.Host) [][]string {
	var names []string
	for _, one := range h {
		names = append(names, one.Name())
	}
	return [][]string{{"hostname", "LIKE", strings.Join(names, "|")}}
}

func isNotFound(err error) bool {
	var refusal *client.Error
	return errors.As(err, &refusal) && refusal.Status == http.StatusNotFound
}

// forget removes the node of a host that has been taken away.
func (c *cluster) forget(t *testing.T, h *hosts.Host) {
	t.Helper()
	for id, on := range c.nodes {
		if on == h {
			delete(c.nodes, id)
		}
	}
	eventually(t, time.Minute, "the node of "+h.Name()+" is forgotten", func() error {
		return c.ask(t.Context(), func(ctx context.Context, api *client.Client) error {
			nodes, err := api.Nodes(ctx, client.Query{})
			for _, n := range nodes.Items {
				if n.IP == h.IP() {
					err = errors.Join(err, api.RemoveNode(ctx, n.ID, false))
				}
			}
			return err
		})
	})
}

// clear deletes every app and waits until no task is left, neither in the
// cluster's eyes nor on any host that is on.
func (c *cluster) clear(t *testing.T) {
	t.Helper()
	apps, err := answer(t.Context(), c, func(ctx context.Context, api *client.Client) ([]client.App, error) {
		return api.Apps(ctx, client.AppFilter{})
	})
	if err != nil {
		t.Fatal(err)
	}
	const deleters = 8 // a test may leave thousands of apps
	errs := make([]error, deleters)
	var all sync.WaitGroup
	for d := range deleters {
		all.Go(func() {
			for i := d; i < len(apps) && errs[d] == nil; i += deleters {
				errs[d] = c.ask(t.Context(), func(ctx context.Context, api *client.Client) error {
					_, err := api.DeleteApp(ctx, apps[i].ID, client.Write{Force: true})
					if isNotFound(err) {
						return nil
					}
					return err
				})
			}
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatalf("delete all apps: %v", err)
	}
	c.idle(t)
}

// idle waits until nothing of any task is left.
func (c *cluster) idle(t *testing.T) {
	t.Helper()
	eventually(t, time.Minute, "no task is left", func() error {
		live, err := c.live(t.Context(), "")
		if err != nil {
			return err
		}
		if len(live) > 0 {
			return fmt.Errorf("%d tasks live, one is %s: %s", len(live), live[0].ID, live[0].State)
		}
		return nil
	})
	for _, h := range c.agents {
		if h.PID1() == 0 {
			continue
		}
		eventually(t, 30*time.Second, h.Name()+" holds nothing of tasks", func() error {
			left, err := leftOfTasks(t.Context(), h)
			if err == nil && len(left) > 0 {
				err = fmt.Errorf("left: %s", strings.Join(left, "; "))
			}
			return err
		})
	}
}

// leftOfTasks lists what tasks need on a host: processes, control groups,
// mounts, network namespaces and run directories.
func leftOfTasks(ctx context.Context, h *hosts.Host) ([]string, error) {
	var left []string
	groups, err := taskProcesses(h)
	if err != nil {
		return nil, err
	}
	for task, all := range groups {
		for _, p := range all {
			left = append(left, fmt.Sprintf("process %d %s of %s", p.PID, strings.Join(p.Args, " "), task))
		}
	}
	out, _, err := h.Run(ctx, "sh", "-c", `grep -o ' /var/lib/dcos/[^ ]*' /proc/self/mountinfo
		find /sys/fs/cgroup/dcos /sys/fs/cgroup/*/dcos -mindepth 2 -type d ! -name .shims 2>/dev/null
		find /var/lib/dcos/agent/run -mindepth 1 -maxdepth 1 -type d 2>/dev/null
		find /run/netns /run/dcos -mindepth 1 2>/dev/null; true`)
	for line := range strings.Lines(out) {
		left = append(left, strings.TrimSpace(line))
	}
	slices.Sort(left)
	return left, err
}

// taskProcesses are the processes of each task on a host, by the name of their
// control group. Shims count as a task of their own.
func taskProcesses(h *hosts.Host) (map[string][]hosts.Process, error) {
	all, err := h.Processes()
	if err != nil {
		return nil, err
	}
	out := map[string][]hosts.Process{}
	for _, p := range all {
		groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", p.Machine))
		if err != nil {
			continue // it has ended
		}
		for line := range strings.Lines(string(groups)) {
			// ID:CONTROLLERS:PATH with the path from the machine's root.
			if _, name, ok := strings.Cut(strings.TrimSpace(line), "/dcos/n-"); ok {
				if _, task, ok := strings.Cut(name, "/"); ok {
					task, _, _ = strings.Cut(task, "/")
					out[task] = append(out[task], p)
					break
				}
			}
		}
	}
	return out, nil
}

// pids are the processes of tasks as the machine numbers them, so that two of
// different hosts differ.
func (c *cluster) pids(tasks []client.Task) (map[string][]int, error) {
	out := map[string][]int{}
	for _, k := range tasks {
		h := c.nodes[k.Node]
		if h == nil {
			return nil, fmt.Errorf("task %s is on the unknown node %s", k.ID, k.Node)
		}
		groups, err := taskProcesses(h)
		if err != nil {
			return nil, err
		}
		for _, p := range groups[k.ID] {
			out[k.ID] = append(out[k.ID], p.Machine)
		}
		if len(out[k.ID]) == 0 {
			return nil, fmt.Errorf("task %s has no process on %s, which has %v", k.ID, h.Name(), slices.Sorted(maps.Keys(groups)))
		}
		slices.Sort(out[k.ID])
	}
	return out, nil
}

func (c *cluster) mustPids(t *testing.T, tasks []client.Task) map[string][]int {
	t.Helper()
	got, err := c.pids(tasks)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// mainPid is the process of the unit on a host, as the host numbers it. It
// looks from outside, so that it is quick and works behind a partition.
func mainPid(h *hosts.Host) (int, error) {
	all, err := h.Processes()
	if err != nil {
		return 0, err
	}
	for _, p := range all {
		if len(p.Args) > 1 && p.Args[0] == "/usr/local/bin/dcos" && (p.Args[1] == "master" || p.Args[1] == "agent") {
			return p.PID, nil
		}
	}
	return 0, fmt.Errorf("%s: no process of dcos runs", h.Name())
}
