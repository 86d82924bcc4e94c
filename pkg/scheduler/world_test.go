package scheduler_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/dcos-go/dcos/pkg/app"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/resource"
	"github.com/dcos-go/dcos/pkg/scheduler"
	"github.com/dcos-go/dcos/pkg/state"
)

// world is a real store, a core that leads, and agents that do what they are
// told.
type world struct {
	store   *state.Store
	core    *scheduler.Core
	index   dcos.Index
	now     dcos.Time
	behind  time.Duration // the leader's clock is behind command time by so much
	seq     uint64
	changes []state.Change // since the core's last turn
	fatal   func(format string, args ...any)
}

func newWorld(t testing.TB) *world {
	w := &world{store: state.New(), core: scheduler.New(), now: 1_700_000_000_000}
	w.fatal = func(format string, args ...any) { t.Helper(); t.Fatalf(format, args...) }
	w.must(state.InitCluster{Info: dcos.ClusterInfo{ID: "5ee70a5c-0000-4000-8000-000000000001", Name: "test", Level: state.Level}})
	return w
}

func (w *world) addNodes(n int, cpus int64) {
	for i := range n {
		w.must(state.PutNode{Node: node(i, cpus)})
	}
}

func nodeID(i int) dcos.NodeID { return dcos.NodeID(fmt.Sprintf("a0c4d000-0000-4000-8000-%012d", i)) }

func node(i int, cpus int64) dcos.Node {
	return dcos.Node{
		ID: nodeID(i), Hostname: fmt.Sprintf("host-%d", i), Addr: "127.0.0.1:7445", IP: "127.0.0.1", Boot: "boot",
		Zone: fmt.Sprintf("zone-%d", i%3), Isolation: dcos.IsolationContainer, Attributes: map[string]string{"rack": fmt.Sprint(i % 7)},
		Total: resource.Set{CPUs: resource.Whole(cpus), Mem: resource.Whole(1 << 20), Disk: resource.Whole(1 << 20), Ports: resource.NewRanges(resource.Range{First: 31000, Last: 32000})},
	}
}

func (w *world) apply(cmds ...state.Command) state.Result {
	w.index++
	w.seq++
	p, err := state.EncodeProposal(state.Proposal{ID: dcos.ProposalID{Proposer: 1, Seq: w.seq}, Commands: cmds})
	if err != nil {
		w.fatal("encode: %v", err)
	}
	if len(p) > state.MaxEntry {
		w.fatal("a batch of %d bytes, more than an entry may hold", len(p))
	}
	commit, results, err := w.store.Apply(w.index, state.EncodeEntry(w.now, p))
	if err != nil {
		w.fatal("apply: %v", err)
	}
	w.changes = append(w.changes, commit.Changes...)
	return results[0]
}

func (w *world) must(cmds ...state.Command) state.Result {
	r := w.apply(cmds...)
	if err := r.Err(); err != nil {
		w.fatal("%#v: %v", cmds, err)
	}
	return r
}

func (w *world) define(id string, instances int, more string) state.Item {
	a, err := app.Parse([]byte(fmt.Sprintf(`{"id":%q,"cmd":"serve","instances":%d,"cpus":1,"mem":10%s}`, id, instances, more)))
	if err != nil {
		w.fatal("parse: %v", err)
	}
	return w.must(state.PutApp{App: a, Force: true}).Items[0]
}

// turn runs one turn and applies its batch.
func (w *world) turn() (cmds []state.Command, wake dcos.Time) {
	cmds, wake = w.core.Turn(w.now.Add(-w.behind), w.store.View(), w.changes)
	w.changes = nil
	if wake != 0 {
		wake = wake.Add(w.behind)
	}
	if len(cmds) > 0 {
		w.now++
		w.core.Done(w.now.Add(-w.behind), w.apply(cmds...), nil)
	}
	return cmds, wake
}

// rest runs turns until there is nothing to do now, and answers when there is.
func (w *world) rest() dcos.Time {
	for range 300 {
		cmds, wake := w.turn()
		if len(cmds) == 0 && len(w.changes) == 0 && (wake == 0 || wake > w.now) {
			return wake
		}
	}
	w.fatal("the scheduler never comes to rest")
	return 0
}

// work lets every agent do what is wanted of its tasks.
func (w *world) work() {
	v := w.store.View()
	for n := range v.Nodes() {
		var all []dcos.Status
		for t := range v.TasksOn(n.ID) {
			w.seq++
			s := dcos.Status{Task: t.ID, Epoch: t.Epoch, Seq: w.seq, State: dcos.TaskRunning}
			if t.Goal == dcos.GoalStop {
				s.State = dcos.TaskKilled
			} else if t.State == dcos.TaskRunning {
				continue
			}
			all = append(all, s)
		}
		if len(all) > 0 {
			w.must(state.TaskStatuses{Node: n.ID, Statuses: all})
		}
	}
}

func (w *world) report(t *dcos.Task, s dcos.TaskState) {
	w.seq++
	w.apply(state.TaskStatuses{Node: t.Node, Statuses: []dcos.Status{{Task: t.ID, Epoch: t.Epoch, Seq: w.seq, State: s}}})
}

func (w *world) tasks(id dcos.AppID) []*dcos.Task {
	var out []*dcos.Task
	for t := range w.store.View().TasksOf(id) {
		out = append(out, t)
	}
	return out
}

func (w *world) count(id dcos.AppID, s dcos.TaskState) int {
	n := 0
	for _, t := range w.tasks(id) {
		if t.State == s {
			n++
		}
	}
	return n
}

// settle lets scheduler and agents go on until every app is what it is to be.
func (w *world) settle() {
	for range 200 {
		if wake := w.rest(); wake > w.now {
			w.now = wake
		}
		w.work()
		w.rest()
		if w.done() == "" {
			return
		}
	}
	w.fatal("no end: %s", w.done())
}

// done says what is not yet as it should be.
func (w *world) done() string {
	v := w.store.View()
	for d := range v.Deployments() {
		why, _ := scheduler.Explain(v, d.App, w.now)
		return fmt.Sprintf("deployment %+v: %s, %+v", d, why.Summary, why)
	}
	for row := range v.Apps() {
		running, others := 0, 0
		for t := range v.TasksOf(row.App.ID) {
			if t.State == dcos.TaskRunning && t.Goal == dcos.GoalRun {
				running++
			} else {
				others++
			}
		}
		if row.Deleting || running != int(row.App.Instances) || others > 0 {
			return fmt.Sprintf("app %s: %d running, %d others, wanted %d, deleting %v", row.App.ID, running, others, row.App.Instances, row.Deleting)
		}
	}
	return ""
}
