package marathon

import (
	"github.com/dcos-go/dcos/pkg/app"
	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

// embed says what is written with an app besides its definition and counts.
type embed struct {
	tasks, failure bool
}

// embeds reads the embed parameters; unknown ones are ignored.
func embeds(values []string) embed {
	var e embed
	for _, v := range values {
		switch trimEmbed(v) {
		case "tasks":
			e.tasks = true
		case "lastTaskFailure":
			e.failure = true
		case "failures":
			e.tasks, e.failure = true, true
		}
	}
	return e
}

func trimEmbed(v string) string {
	for _, prefix := range []string{"group.apps.", "apps.", "app."} {
		if len(v) > len(prefix) && v[:len(prefix)] == prefix {
			return v[len(prefix):]
		}
	}
	return v
}

// renderApp is an app as reads show it.
func renderApp(v state.View, row *state.AppRow, e embed) client.App {
	out := app.Render(row.App)
	counts, tasks := client.AppCounts{}, []client.AppTask{}
	for k := range v.TasksOf(row.App.ID) {
		if !k.Live() {
			continue
		}
		switch {
		case k.Goal == dcos.GoalStop:
		case k.State == dcos.TaskRunning:
			counts.TasksRunning++
		default:
			counts.TasksStaged++
		}
		if e.tasks {
			tasks = append(tasks, renderTask(v, k, false))
		}
	}
	out.AppCounts = &counts
	deployments := []client.DeploymentRef{}
	if d, ok := v.DeploymentOf(row.App.ID); ok {
		deployments = append(deployments, client.DeploymentRef{ID: string(d.ID)})
	}
	out.Deployments = &deployments
	if e.tasks {
		out.Tasks = &tasks
	}
	if e.failure && row.LastFailure != nil {
		out.LastTaskFailure = renderFailure(row.App.ID, row.LastFailure)
	}
	return out
}

func renderFailure(id dcos.AppID, f *state.LastFailure) *client.TaskFailure {
	return &client.TaskFailure{
		AppID: string(id), Host: f.Host, Message: f.Message, State: f.State.String(), TaskID: string(f.Task),
		Timestamp: f.At.String(), Version: f.Version.String(), SlaveID: string(f.Node),
	}
}

// taskState is a task's state in Marathon's terms: one that is to stop is
// being killed.
func taskState(k *dcos.Task) string {
	switch {
	case k.Live() && k.Goal == dcos.GoalStop:
		return "TASK_KILLING"
	case k.Unreachable != 0:
		return "TASK_UNREACHABLE"
	}
	return k.State.String()
}

// renderTask is one task. Only the list of all tasks fills the service ports.
func renderTask(v state.View, k *dcos.Task, servicePorts bool) client.AppTask {
	out := client.AppTask{
		ID: string(k.ID), AppID: string(k.App), SlaveID: string(k.Node), State: taskState(k), Role: "*",
		Ports: []int{}, ServicePorts: []int{}, IPAddresses: []client.IPAddress{}, HealthCheckResults: []struct{}{}, LocalVolumes: []struct{}{},
	}
	if n, ok := v.Node(k.Node); ok {
		out.Host, out.Region, out.Zone = n.Hostname, n.Region, n.Zone
		out.IPAddresses = append(out.IPAddresses, client.IPAddress{IPAddress: n.IP, Protocol: "IPv4"})
	}
	if k.Live() {
		out.StagedAt, out.StartedAt, out.Version = k.PlacedAt.String(), k.StartedAt.String(), k.Version.String()
		for _, p := range k.Ports {
			out.Ports = append(out.Ports, int(p))
		}
	}
	if def, ok := v.AppAt(k.App, k.Version); ok && servicePorts {
		for _, p := range def.Ports {
			out.ServicePorts = append(out.ServicePorts, int(p.Port))
		}
	}
	return out
}

// renderDeployment is one running deployment.
func renderDeployment(d *dcos.Deployment) client.DeploymentInfo {
	out := client.DeploymentInfo{
		ID: string(d.ID), Version: d.Version.String(), AffectedApps: []string{string(d.App)}, AffectedPods: []string{},
		Steps: steps(d), CurrentActions: []client.DeploymentAction{}, CurrentStep: d.Step, TotalSteps: len(d.Steps),
	}
	if d.Step >= 1 && d.Step <= len(d.Steps) {
		out.CurrentActions = out.Steps[d.Step-1].Actions
	}
	return out
}

func steps(d *dcos.Deployment) []client.DeploymentStep {
	out := []client.DeploymentStep{}
	for _, a := range d.Steps {
		out = append(out, client.DeploymentStep{Actions: []client.DeploymentAction{{
			Action: string(a), App: string(d.App), ReadinessCheckResults: []struct{}{},
		}}})
	}
	return out
}
