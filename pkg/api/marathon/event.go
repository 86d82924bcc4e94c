package marathon

import (
	"maps"
	"strings"

	"github.com/dcos-go/dcos/pkg/app"
	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

// event is one frame of the stream (marathon-api section 5.4).
type event map[string]any

func (e event) kind() string { s, _ := e["eventType"].(string); return s }

func newEvent(kind string, at dcos.Time, fields event) event {
	e := event{"eventType": kind, "timestamp": at.String()}
	maps.Copy(e, fields)
	return e
}

// eventsOf are Marathon's events for the changes of one commit, in an order in
// which they make sense: what was asked for, then what is done about it.
func eventsOf(c *state.Commit) []event {
	m := &mapping{c: c, replaced: map[dcos.AppID]bool{}, cancelled: map[string]bool{}}
	for _, ch := range c.Changes {
		m.look(ch)
	}
	for _, table := range []state.Table{state.TableApps, state.TableTasks, state.TableDeployments} {
		for _, ch := range c.Changes {
			if ch.Table == table {
				m.change(ch)
			}
		}
	}
	return m.out
}

// mapping is the work on one commit.
type mapping struct {
	c   *state.Commit
	out []event
	// replaced are apps for which a deployment was started here: one that
	// ended here as well did not succeed.
	replaced  map[dcos.AppID]bool
	cancelled map[string]bool // deployments
}

func (m *mapping) emit(kind string, fields event) {
	m.out = append(m.out, newEvent(kind, m.c.Time, fields))
}

func (m *mapping) look(ch state.Change) {
	switch row := ch.New.(type) {
	case *dcos.Deployment:
		if ch.Old == nil {
			m.replaced[row.App] = true
		}
	case *state.AuditRow:
		if row.Act == "cancel-deployment" {
			m.cancelled[row.Subject] = true
		}
	}
}

func (m *mapping) change(ch state.Change) {
	switch ch.Table {
	case state.TableApps:
		before, _ := ch.Old.(*state.AppRow)
		after, _ := ch.New.(*state.AppRow)
		m.app(before, after)
	case state.TableTasks:
		before, _ := ch.Old.(*dcos.Task)
		after, _ := ch.New.(*dcos.Task)
		m.task(before, after)
	case state.TableDeployments:
		before, _ := ch.Old.(*dcos.Deployment)
		after, _ := ch.New.(*dcos.Deployment)
		m.deployment(before, after)
	}
}

func (m *mapping) app(before, after *state.AppRow) {
	switch {
	case after == nil:
		m.emit("app_terminated_event", event{"appId": before.App.ID})
	case before == nil || before.App.Version != after.App.Version:
		m.emit("api_post_event", event{"clientIp": "", "uri": "/v2/apps" + string(after.App.ID), "appDefinition": app.Render(after.App)})
		m.group(after.App)
	case before.Deleting != after.Deleting:
		m.group(after.App)
	}
}

func (m *mapping) group(a *dcos.App) {
	group := string(a.ID[:strings.LastIndexByte(string(a.ID), '/')])
	if group == "" {
		group = "/"
	}
	m.emit("group_change_success", event{"groupId": group, "version": m.c.Time.String()})
}

func (m *mapping) task(before, after *dcos.Task) {
	if after == nil {
		return // forgotten, long after it ended
	}
	condition := conditionOf(after)
	if before == nil || conditionOf(before) != condition || before.Goal != after.Goal {
		m.emit("instance_changed_event", event{
			"instanceId": dcos.InstanceOf(after.ID), "condition": condition, "runSpecId": after.App,
			"agentId": after.Node, "host": m.host(after), "runSpecVersion": after.Version.String(),
		})
	}
	if after.State < dcos.TaskStaging || before != nil && before.State == after.State {
		return
	}
	t := renderTask(m.c.View, after, false)
	m.emit("status_update_event", event{
		"slaveId": after.Node, "taskId": after.ID, "taskStatus": after.State.String(), "message": after.Message, "appId": after.App,
		"host": t.Host, "ipAddresses": t.IPAddresses, "ports": ports(after), "version": after.Version.String(),
	})
}

func ports(k *dcos.Task) []int {
	out := make([]int, len(k.Ports))
	for i, p := range k.Ports {
		out[i] = int(p)
	}
	return out
}

func (m *mapping) host(k *dcos.Task) string {
	if n, ok := m.c.View.Node(k.Node); ok {
		return n.Hostname
	}
	return ""
}

var conditions = map[dcos.TaskState]string{
	dcos.TaskWaiting: "Scheduled", dcos.TaskPlaced: "Provisioned", dcos.TaskStaging: "Staging", dcos.TaskStarting: "Starting",
	dcos.TaskRunning: "Running", dcos.TaskFinished: "Finished", dcos.TaskFailed: "Failed", dcos.TaskKilled: "Killed",
	dcos.TaskError: "Error", dcos.TaskLost: "Gone",
}

func conditionOf(k *dcos.Task) string {
	if k.Live() && k.Goal == dcos.GoalStop {
		return "Killing"
	}
	return conditions[k.State]
}

// deployment maps a deployment's start, steps and end. A deployment that is
// gone has succeeded, unless it was cancelled or another took its place.
func (m *mapping) deployment(before, after *dcos.Deployment) {
	switch {
	case before == nil:
		m.step("deployment_info", after, after.Step)
	case after != nil:
		m.step("deployment_step_success", before, before.Step)
		m.step("deployment_info", after, after.Step)
	case m.replaced[before.App] || m.cancelled[string(before.ID)]:
		m.emit("deployment_failed", event{"id": before.ID, "plan": plan(before)})
	default:
		m.step("deployment_step_success", before, before.Step)
		m.emit("deployment_success", event{"id": before.ID, "plan": plan(before)})
	}
}

func (m *mapping) step(kind string, d *dcos.Deployment, n int) {
	current := client.DeploymentStep{Actions: []client.DeploymentAction{}}
	if all := steps(d); n >= 1 && n <= len(all) {
		current = all[n-1]
	}
	m.emit(kind, event{"plan": plan(d), "currentStep": current})
}

func plan(d *dcos.Deployment) event {
	return event{"id": d.ID, "version": d.Version.String(), "steps": steps(d)}
}
