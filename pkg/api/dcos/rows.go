package dcos

import (
	"fmt"
	"net"
	"strconv"

	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/resource"
	"github.com/dcos-go/dcos/pkg/state"
)

func resources(s resource.Set) client.Resources {
	out := client.Resources{CPUs: s.CPUs.Float(), Mem: s.Mem.Float(), Disk: s.Disk.Float(), GPUs: s.GPUs}
	if len(s.Ports) > 0 {
		out.Ports = s.Ports.String()
	}
	return out
}

// nodeRow is a node with what it uses now.
func (s *server) nodeRow(v state.View, n *dcos.Node) client.Node {
	out := s.nodeRowAtRest(v, n)
	if u, ok := s.Usage(n.ID); ok {
		out.Usage = &u
	}
	return out
}

// nodeRowAtRest is what the state knows of a node.
func (s *server) nodeRowAtRest(v state.View, n *dcos.Node) client.Node {
	out := client.Node{
		ID: string(n.ID), Hostname: n.Hostname, IP: n.IP, State: n.State.String(), Why: n.Why, Since: n.Since.String(), Version: n.Version,
		Region: n.Region, Zone: n.Zone, Attributes: n.Attributes, Total: resources(n.Total), Isolation: "container", NotEnforced: n.NotEnforced,
	}
	if d := n.Drain; d != nil {
		out.Drain = &client.Drain{Since: d.Since.String(), Deadline: d.Deadline.String(), Remove: d.Remove, Why: d.Why}
	}
	if n.Isolation == dcos.IsolationProcess {
		out.Isolation = "process"
	}
	if free, ok := v.Free(n.ID); ok {
		out.Free, out.Allocated = resources(free), resources(n.Total.Minus(free))
	}
	for range v.TasksOn(n.ID) {
		out.Tasks++
	}
	if out.Drain != nil && n.State == dcos.NodeActive {
		if out.State = "draining"; out.Tasks == 0 {
			out.State = "drained"
		}
		out.Why = drainWords(n.Drain, out.Tasks)
	}
	return out
}

// drainWords says how far a drain has come.
func drainWords(d *dcos.Drain, left int) string {
	words := "drained: takes no tasks until dcos node drain --undo"
	switch {
	case left > 0:
		if words = fmt.Sprintf("%s to move", count(left, "task")); d.Deadline != 0 {
			words += fmt.Sprintf(", what is left is stopped at %s", d.Deadline)
		}
	case d.Remove:
		words = "about to be removed"
	}
	if d.Why != "" {
		words += " (" + d.Why + ")"
	}
	return words
}

func taskRow(v state.View, k *dcos.Task) client.Task {
	out := client.Task{
		ID: string(k.ID), App: string(k.App), Instance: dcos.InstanceOf(k.ID), Attempt: int(k.Attempt), State: taskWord(k), Goal: "run",
		Node: string(k.Node), Need: resources(k.Need), Version: k.Version.String(), Reason: string(k.Reason), Message: k.Message,
		CreatedAt: k.CreatedAt.String(), PlacedAt: k.PlacedAt.String(), StartedAt: k.StartedAt.String(), EndedAt: k.EndedAt.String(),
	}
	if k.Goal == dcos.GoalStop {
		out.Goal = "stop"
	}
	if n, ok := v.Node(k.Node); ok {
		out.Hostname, out.IP = n.Hostname, n.IP
	}
	for _, p := range k.Ports {
		out.Ports = append(out.Ports, int(p))
	}
	if k.Exit != nil {
		out.Exit = &client.Exit{Code: k.Exit.Code, Signal: k.Exit.Signal, OOM: k.Exit.OOM, Unknown: k.Exit.Unknown}
	}
	return out
}

func serviceRow(v state.View, row *state.AppRow) client.Service {
	a := row.App
	out := client.Service{ID: string(a.ID), Instances: int(a.Instances), Version: a.Version.String(), Need: resources(a.Need)}
	busy := 0
	for k := range v.TasksOf(a.ID) {
		switch {
		case k.State == dcos.TaskWaiting:
			out.Waiting++
		case k.State == dcos.TaskRunning && k.Goal == dcos.GoalRun:
			out.Running++
			if n, ok := v.Node(k.Node); ok && len(k.Ports) > 0 {
				out.Endpoints = append(out.Endpoints, net.JoinHostPort(n.IP, strconv.Itoa(int(k.Ports[0]))))
			}
		case k.Live():
			busy++
		}
	}
	if p, ok := v.Package(a.ID); ok {
		out.Package, out.PkgVersion = p.Name, p.Version
	}
	d, deploying := v.DeploymentOf(a.ID)
	if deploying {
		out.Deployment = string(d.ID)
	}
	out.State, out.Why = serviceState(row, out, busy, deploying)
	return out
}

// serviceState sums a service up in one word. What is stuck outranks what is
// on its way: a change that waits for a place is "waiting".
func serviceState(row *state.AppRow, s client.Service, busy int, deploying bool) (word, why string) {
	switch {
	case row.Deleting:
		return "deleting", count(s.Running+busy, "task") + " to end"
	case s.Waiting > 0 && row.Backoff.Failures > 0:
		return "waiting", fmt.Sprintf("failed %s in a row, next try at %s", count(int(row.Backoff.Failures), "time"), row.Backoff.Until)
	case s.Waiting > 0 && busy == 0:
		return "waiting", fmt.Sprintf("%d of %d instances wait for a place", s.Waiting, s.Instances)
	case deploying:
		return "deploying", fmt.Sprintf("%d of %d instances run", s.Running, s.Instances)
	case s.Instances == 0:
		return "suspended", ""
	case s.Running < s.Instances:
		return "degraded", fmt.Sprintf("%d of %d instances run", s.Running, s.Instances)
	}
	return "running", ""
}

func deploymentRow(d *dcos.Deployment) client.DeploymentInfo {
	out := client.DeploymentInfo{
		ID: string(d.ID), Version: d.Version.String(), AffectedApps: []string{string(d.App)}, AffectedPods: []string{},
		Steps: []client.DeploymentStep{}, CurrentActions: []client.DeploymentAction{}, CurrentStep: d.Step, TotalSteps: len(d.Steps),
	}
	for i, a := range d.Steps {
		step := []client.DeploymentAction{{Action: string(a), App: string(d.App), ReadinessCheckResults: []struct{}{}}}
		out.Steps = append(out.Steps, client.DeploymentStep{Actions: step})
		if i+1 == d.Step {
			out.CurrentActions = step
		}
	}
	return out
}

func packageRow(p *dcos.Package) client.InstalledPackage {
	return client.InstalledPackage{App: string(p.App), Name: p.Name, Version: p.Version, Release: p.Release, InstalledAt: p.InstalledAt.String()}
}
