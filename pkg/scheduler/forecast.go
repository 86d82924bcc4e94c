package scheduler

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/placement"
	"github.com/dcos-go/dcos/pkg/state"
)

// Forecast is what would come of a write to apps, were it made now.
type Forecast struct {
	Result state.Result // of the write itself
	Apps   []placement.Outcome
}

// The bounds of a forecast.
const (
	maxTried  = 10_000 // instances of an app that are tried
	maxRounds = 1_000  // turns and answers of agents
	maxAhead  = 100    // other apps that are served before
	maxSpots  = 20     // nodes and zones that are named
)

// Try carries a write out on a copy of the state, with the scheduler's own
// turns and with agents that always succeed, until nothing moves any more. It
// is the same code that will decide when the write is made; nothing is
// proposed. The error is the write's own. There is no answer for an app that
// has more instances than can be tried.
func Try(v state.View, now dcos.Time, cmds ...state.Command) (Forecast, error) {
	now = max(now, v.Time())
	ids := appsOf(v, cmds)
	tried, untried := trim(cmds)
	after, res, _ := v.Try(now, tried...)
	f := Forecast{Result: res}
	for _, item := range res.Items {
		if err := firstOf(item); err != nil {
			return f, err
		}
	}
	t := trial{view: after, now: now, apps: ids}
	for _, id := range ids {
		if row, ok := v.App(id); ok && row.App.Instances > maxTried {
			return f, nil // too large to be tried
		}
	}
	t.core = newTrial(after, append(ahead(v, ids), ids...))
	t.run()
	for _, id := range ids {
		a := t.compare(v, id)
		a.Untried = untried[id]
		f.Apps = append(f.Apps, a)
	}
	return f, nil
}

func firstOf(i state.Item) error {
	if i.Err != nil {
		return i.Err
	}
	for _, err := range i.Each {
		if err != nil {
			return err
		}
	}
	return nil
}

// appsOf are the apps that commands are about, in the order of mention.
func appsOf(v state.View, cmds []state.Command) []dcos.AppID {
	var out []dcos.AppID
	add := func(id dcos.AppID) {
		if !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	for _, c := range cmds {
		switch c := c.(type) {
		case state.PutApp:
			add(c.App.ID)
		case state.RestartApp:
			add(c.App)
		case state.DeleteApp:
			add(c.App)
		case state.CancelDeployment:
			if d, ok := v.Deployment(c.ID); ok {
				add(d.App)
			}
		case state.All:
			for _, id := range appsOf(v, c.Commands) {
				add(id)
			}
		}
	}
	return out
}

// trim leaves out the instances above what is tried, so that a forecast costs
// a bounded time.
func trim(cmds []state.Command) ([]state.Command, map[dcos.AppID]int) {
	untried := make(map[dcos.AppID]int)
	var cut func(c state.Command) state.Command
	cut = func(c state.Command) state.Command {
		switch c := c.(type) {
		case state.PutApp:
			if n := c.App.Instances; n > maxTried {
				untried[c.App.ID] = int(n - maxTried)
				c.App.Instances = maxTried
			}
			return c
		case state.All:
			inner := make([]state.Command, len(c.Commands))
			for i := range inner {
				inner[i] = cut(c.Commands[i])
			}
			return state.All{Commands: inner}
		}
		return c
	}
	out := make([]state.Command, len(cmds))
	for i := range out {
		out[i] = cut(cmds[i])
	}
	return out, untried
}

// trial is a copy of the state with a scheduler that looks after some apps.
type trial struct {
	core *Core
	view state.View
	now  dcos.Time
	apps []dcos.AppID
	seq  uint64
}

// ahead are other apps that wait for places or are being deployed: they have
// their turn before.
func ahead(v state.View, ids []dcos.AppID) []dcos.AppID {
	var out []dcos.AppID
	add := func(id dcos.AppID) {
		if len(out) < maxAhead && !slices.Contains(ids, id) && !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	tasks := 0
	for id, n := range v.WaitingApps() {
		if tasks += n; tasks > maxTried {
			break
		}
		add(id)
	}
	for d := range v.Deployments() {
		if row, ok := v.App(d.App); ok && !row.Deleting {
			if tasks += int(row.App.Instances); tasks > maxTried {
				break
			}
			add(d.App)
		}
	}
	return out
}

// newTrial is a core that knows all nodes and looks at the given apps only.
func newTrial(v state.View, apps []dcos.AppID) *Core {
	c := New()
	c.fresh = false
	for n := range v.Nodes() {
		c.nodes.push(n.ID)
	}
	for _, id := range apps {
		c.dirty.push(id)
	}
	return c
}

// run goes on until neither the scheduler nor an agent has anything to do.
func (t *trial) run() {
	var changes []state.Change
	for range maxRounds {
		cmds, wake := t.core.Turn(t.now, t.view, changes)
		changes = nil
		switch {
		case len(cmds) > 0:
			var res state.Result
			t.view, res, changes = t.view.Try(t.now, cmds...)
			t.core.Done(t.now, res, nil)
			continue
		case wake != 0 && wake <= t.now:
			continue
		}
		if cmds = t.answers(); len(cmds) > 0 {
			t.view, _, changes = t.view.Try(t.now, cmds...)
			continue
		}
		if wake == 0 {
			return
		}
		t.now = wake
	}
}

// answers is what the agents say: what shall run runs, what shall stop has.
func (t *trial) answers() []state.Command {
	by := make(map[dcos.NodeID][]dcos.Status)
	var order []dcos.NodeID
	for _, id := range t.apps {
		for k := range t.view.TasksOf(id) {
			if n, ok := t.view.Node(k.Node); !k.Live() || !ok || n.State != dcos.NodeActive {
				continue
			}
			t.seq++
			s := dcos.Status{Task: k.ID, Epoch: k.Epoch, Seq: k.StatusSeq + t.seq, State: dcos.TaskRunning, At: t.now}
			switch {
			case k.Goal == dcos.GoalStop:
				s.State, s.Reason = dcos.TaskKilled, dcos.ReasonCommand
			case k.State == dcos.TaskRunning:
				continue
			}
			if by[k.Node] == nil {
				order = append(order, k.Node)
			}
			by[k.Node] = append(by[k.Node], s)
		}
	}
	cmds := make([]state.Command, len(order))
	for i, id := range order {
		cmds[i] = state.TaskStatuses{Node: id, Statuses: by[id]}
	}
	return cmds
}

// compare is what has become of an app.
func (t *trial) compare(before state.View, id dcos.AppID) placement.Outcome {
	f := placement.Outcome{App: id}
	was := make(map[dcos.TaskID]bool)
	for k := range before.TasksOf(id) {
		if k.Live() && k.Goal == dcos.GoalRun {
			was[k.ID] = true
		}
	}
	row, ok := t.view.App(id)
	if ok && !row.Deleting {
		f.Wanted = int(row.App.Instances)
	}
	nodes, zones := make(map[dcos.NodeID]int), make(map[[2]string]int)
	for k := range t.view.TasksOf(id) {
		switch {
		case k.Live() && k.Goal == dcos.GoalRun && was[k.ID]:
			f.Kept++
		case k.Live() && k.Goal == dcos.GoalRun:
			f.Started++
			nodes[k.Node]++
			if n, ok := t.view.Node(k.Node); ok {
				zones[[2]string{n.Region, n.Zone}]++
			}
		}
	}
	f.Stopped = len(was) - f.Kept
	f.Waiting = max(0, f.Wanted-f.Kept-f.Started)
	f.Nodes = len(nodes)
	f.Spots, f.Zones = t.spots(nodes), zonesOf(zones)
	if why, err := Explain(t.view, id, t.now); err == nil {
		for _, h := range why.Holds {
			f.Reasons = append(f.Reasons, fmt.Sprintf("%d: %s", h.Count, h.Words))
			if h.Placement == nil || f.Changes != nil {
				continue
			}
			for i := range h.Placement.Changes {
				f.Changes = append(f.Changes, Advice(&h.Placement.Changes[i]))
			}
		}
	}
	return f
}

func (t *trial) spots(nodes map[dcos.NodeID]int) []placement.Spot {
	out := make([]placement.Spot, 0, len(nodes))
	for id, tasks := range nodes {
		s := placement.Spot{Node: id, Tasks: tasks}
		if n, ok := t.view.Node(id); ok {
			s.Hostname, s.Region, s.Zone = n.Hostname, n.Region, n.Zone
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b placement.Spot) int {
		return cmp.Or(cmp.Compare(b.Tasks, a.Tasks), cmp.Compare(a.Hostname, b.Hostname), cmp.Compare(a.Node, b.Node))
	})
	return out[:min(len(out), maxSpots)]
}

func zonesOf(zones map[[2]string]int) []placement.Spot {
	out := make([]placement.Spot, 0, len(zones))
	for z, tasks := range zones {
		out = append(out, placement.Spot{Region: z[0], Zone: z[1], Tasks: tasks})
	}
	slices.SortFunc(out, func(a, b placement.Spot) int {
		return cmp.Or(cmp.Compare(b.Tasks, a.Tasks), cmp.Compare(a.Region, b.Region), cmp.Compare(a.Zone, b.Zone))
	})
	return out[:min(len(out), maxSpots)]
}
