package sim

import (
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"

	"github.com/dcos-go/dcos/pkg/agent"
	"github.com/dcos-go/dcos/pkg/consensus"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/dispatch"
	"github.com/dcos-go/dcos/pkg/state"
)

// cover counts what happened in a run, by type. What the rules of a run make
// happen is counted by name, see world.count.
type cover struct {
	types map[reflect.Type]int
}

func newCover() cover { return cover{types: map[reflect.Type]int{}} }

func (c *cover) effect(f any) { c.types[reflect.TypeOf(f)]++ }

func (c *cover) commands(cmds []state.Command) {
	for _, k := range cmds {
		c.types[reflect.TypeOf(k)]++
	}
}

// into adds the types to the counts, by what they are called.
func (c *cover) into(counts map[string]int) {
	for t, n := range c.types {
		counts[nameOf(t)] += n
	}
}

// named are all counts of a run; what has no group is an event.
func (w *world) named() map[string]int {
	all := map[string]int{}
	for name, n := range w.counts {
		if group, _, _ := strings.Cut(name, " "); !slices.Contains(groups, group) {
			name = "event " + name
		}
		all[name] += n
	}
	w.cover.into(all)
	return all
}

// nameOf is "effect consensus.Append", "command Place".
func nameOf(t reflect.Type) string {
	if strings.HasPrefix(t.String(), "state.") {
		return "command " + t.Name()
	}
	return "effect " + t.String()
}

// The groups of the table, in its order.
var groups = []string{"fault", "effect", "command", "task", "node", "deployment", "refusal", "event"}

// expected is everything that many runs together must have seen: an event that
// never comes shows that a fault does not reach its target.
func expected() []string {
	var all []string
	for _, f := range allFaults {
		all = append(all, "fault "+f.name)
	}
	for _, f := range []any{
		consensus.Append{},
		consensus.Apply{},
		consensus.Install{},
		consensus.Send{},
		consensus.SendSnapshot{},
		consensus.SaveSnapshot{},
		consensus.CompactLog{},
		consensus.ReadOK{},
		consensus.Resolved{},
		consensus.Lead{},
		consensus.Wake{},
		consensus.Stop{},
		dispatch.Send{},
		dispatch.CloseSession{},
		dispatch.Propose{},
		dispatch.Probe{},
		dispatch.Confirm{},
		dispatch.Used{},
		dispatch.SetTimer{},
		dispatch.Note{},
		agent.WriteCheckpoint{},
		agent.Compact{},
		agent.PullImage{},
		agent.CreateSandbox{},
		agent.StartProcess{},
		agent.Adopt{},
		agent.Signal{},
		agent.Kill{},
		agent.ExtendLease{},
		agent.Cleanup{},
		agent.List{},
		agent.RemoveSandbox{},
		agent.Connect{},
		agent.Disconnect{},
		agent.Send{},
		agent.Probe{},
		agent.ReadUsage{},
		agent.SetTimer{},
		agent.Note{},
		state.InitCluster{},
		state.RaiseLevel{},
		state.PutMaster{},
		state.RemoveMaster{},
		state.PutNode{},
		state.SetNodeState{},
		state.PutApp{},
		state.RestartApp{},
		state.DeleteApp{},
		state.RemoveApp{},
		state.AdvanceDeployment{},
		state.CancelDeployment{},
		state.ResetBackoff{},
		state.AddTasks{},
		state.RetryTasks{},
		state.Place{},
		state.StopTasks{},
		state.TaskStatuses{},
		state.LoseTasks{},
		state.PutUser{},
		state.PutToken{},
		state.DrainNode{},
		state.ActivateNode{},
	} {
		all = append(all, nameOf(reflect.TypeOf(f)))
	}
	for from := dcos.TaskWaiting; from <= dcos.TaskLost; from++ {
		for to := from + 1; to <= dcos.TaskLost; to++ {
			if from.CanBecome(to) && isTaken(from, to) {
				all = append(all, became(from, to))
			}
		}
	}
	for _, s := range []dcos.NodeState{dcos.NodeActive, dcos.NodeSuspect, dcos.NodeLost} {
		all = append(all, "node "+s.String())
	}
	for _, kind := range refusals {
		all = append(all, "refusal "+kind.name)
	}
	all = append(all, "deployment started", "deployment advanced", "deployment over")
	for _, what := range events {
		all = append(all, "event "+what)
	}
	return all
}

// isTaken says that something in the product takes this step of a task: no agent
// reports TASK_STARTING, one that ends well was running, and what waits is
// placed or killed.
func isTaken(from, to dcos.TaskState) bool {
	switch {
	case from == dcos.TaskStarting || to == dcos.TaskStarting:
		return false
	case from == dcos.TaskWaiting:
		return to == dcos.TaskPlaced || to == dcos.TaskKilled
	case to == dcos.TaskFinished:
		return from == dcos.TaskRunning
	case from == dcos.TaskRunning:
		return to != dcos.TaskError
	}
	return true
}

// events are what else must happen, as world.count names it.
var events = []string{
	"message lost", "message doubled", "message overtaken", "log compacted", "snapshot saved", "snapshot not saved", "snapshot installed",
	"checkpoint compacted", "runtime fails", "rival wins", "damage found", "master replaced", "master joined",
	"master left", "learner promoted", "removed master stops", "old build applies", "level raised", "level not raised", "proposal in parts",
	"proposal repeated", "proposal answered again", "clone refused", "leader elected", "write acknowledged", "outcome unknown",
	"master stops by its disk", "agent stops by its disk", "master's disk fails at its start", "agent's disk fails at its start",
	"process started", "user writes", "user restarts", "user cancels", "user deletes", "user reads", "read answered", "read refused",
	"drain begun", "fenced process started", "lease over", "agent killed before it acts", "master killed before it acts",
}

// stateNames tell apart what users see as one state.
var stateNames = map[dcos.TaskState]string{
	dcos.TaskWaiting: "waiting", dcos.TaskPlaced: "placed", dcos.TaskStaging: "staging", dcos.TaskStarting: "starting", dcos.TaskRunning: "running",
	dcos.TaskFinished: "finished", dcos.TaskFailed: "failed", dcos.TaskKilled: "killed", dcos.TaskError: "error", dcos.TaskLost: "lost",
}

func became(from, to dcos.TaskState) string {
	return "task " + stateNames[from] + " to " + stateNames[to]
}

// refusals are the kinds of errors that users see.
var refusals = []struct {
	name string
	kind error
}{
	{"not found", dcos.ErrNotFound},
	{"conflict", dcos.ErrConflict},
	{"unavailable", dcos.ErrUnavailable},
	{"unknown", dcos.ErrUnknown},
}

// table prints what happened, by group, and names what never did.
func table(out io.Writer, counts map[string]int) (never []string) {
	names := map[string]bool{}
	for _, n := range expected() {
		names[n] = true
		if counts[n] == 0 {
			never = append(never, n)
		}
	}
	for n := range counts {
		names[n] = true
	}
	byGroup := map[string][]string{}
	for n := range names {
		group, _, _ := strings.Cut(n, " ")
		byGroup[group] = append(byGroup[group], n)
	}
	for _, g := range groups {
		list := byGroup[g]
		slices.Sort(list)
		fmt.Fprintf(out, "%s:", g)
		width := len(g) + 1
		for i, n := range list {
			cell := fmt.Sprintf(" %s %d", strings.TrimPrefix(n, g+" "), counts[n])
			if i < len(list)-1 {
				cell += ","
			}
			if width+len(cell) > 150 {
				fmt.Fprint(out, "\n ")
				width = 1
			}
			fmt.Fprint(out, cell)
			width += len(cell)
		}
		fmt.Fprintln(out)
	}
	slices.Sort(never)
	return never
}
