package app_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/dcos-go/dcos/pkg/app"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/placement"
	"github.com/dcos-go/dcos/pkg/resource"
	"github.com/dcos-go/dcos/pkg/state"
)

// world is a real store with made-up nodes that run what is placed on them.
type world struct {
	t       testing.TB
	store   *state.Store
	index   dcos.Index
	now     dcos.Time
	seq     uint64
	asked   int // how often Reconcile was called, and by counts alone
	counted int
	fatal   func(format string, args ...any)
}

const web = dcos.AppID("/web")

func newWorld(t testing.TB, nodes int) *world {
	w := &world{t: t, store: state.New(), now: 1_700_000_000_000}
	w.fatal = func(format string, args ...any) { t.Helper(); t.Fatalf(format, args...) }
	w.must(state.InitCluster{Info: dcos.ClusterInfo{ID: "5ee70a5c-0000-4000-8000-000000000001", Name: "test", Level: state.Level}})
	for i := range nodes {
		w.must(state.PutNode{Node: dcos.Node{
			ID: dcos.NodeID(fmt.Sprintf("node-%d", i)), Hostname: fmt.Sprintf("host-%d", i), Addr: "127.0.0.1:7445", IP: "127.0.0.1", Boot: "boot-1",
			Zone: fmt.Sprintf("zone-%d", i%3), Isolation: dcos.IsolationContainer,
			Total: resource.Set{CPUs: resource.Whole(64), Mem: resource.Whole(64_000), Disk: resource.Whole(64_000), Ports: resource.NewRanges(resource.Range{First: 31000, Last: 32000})},
		}})
	}
	return w
}

func (w *world) apply(cmds ...state.Command) state.Result {
	w.index++
	w.now++
	w.seq++
	p, err := state.EncodeProposal(state.Proposal{ID: dcos.ProposalID{Proposer: 1, Seq: w.seq}, Commands: cmds})
	if err != nil {
		w.fatal("encode %v: %v", cmds, err)
	}
	_, results, err := w.store.Apply(w.index, state.EncodeEntry(w.now, p))
	if err != nil {
		w.fatal("apply %v: %v", cmds, err)
	}
	return results[0]
}

func (w *world) must(cmds ...state.Command) state.Result {
	r := w.apply(cmds...)
	for i, item := range r.Items {
		if item.Err != nil {
			w.fatal("command %d of %#v: %v", i, cmds, item.Err)
		}
		for _, err := range item.Each {
			if err != nil {
				w.fatal("command %d of %#v: %v", i, cmds, err)
			}
		}
	}
	return r
}

// define writes an app with the given instances; a higher revision is another
// configuration.
func (w *world) define(instances, revision int, change ...func(*dcos.App)) state.Item {
	a, err := app.Parse([]byte(fmt.Sprintf(`{"id":"/web","cmd":"serve %d","instances":%d,"cpus":0.1,"mem":10,"backoffSeconds":5}`, revision, instances)))
	if err != nil {
		w.fatal("parse: %v", err)
	}
	for _, c := range change {
		c(&a)
	}
	return w.apply(state.PutApp{App: a, Force: true}).Items[0]
}

// ask is Reconcile, held to what a look at every instance says.
func (w *world) ask(row *state.AppRow) (cmds []state.Command, wake dcos.Time, left int) {
	v := w.store.View()
	cmds, wake, left = app.Reconcile(v, row, w.now)
	all, wakeAll, leftAll := app.ReconcileAll(v, row, w.now)
	if d := cmp.Diff(all, cmds); d != "" || wake != wakeAll || left != leftAll {
		w.fatal("by counts: wake %d, left %d; by a look at all: wake %d, left %d; commands differ (-all +counts):\n%s", wake, left, wakeAll, leftAll, d)
	}
	w.asked++
	if app.ByCounts(v, row, w.now) {
		w.counted++
	}
	return cmds, wake, left
}

// reconcile carries out what Reconcile asks for until it asks for nothing,
// and answers with the time to wake up.
func (w *world) reconcile() dcos.Time {
	for range 20 {
		row, ok := w.store.View().App(web)
		if !ok {
			return 0
		}
		cmds, wake, _ := w.ask(row)
		if len(cmds) == 0 {
			return wake
		}
		w.step(cmds)
	}
	w.fatal("Reconcile never stops asking for more though nothing else happens")
	return 0
}

// step applies one answer of Reconcile and holds it to the bounds of a rolling
// change.
func (w *world) step(cmds []state.Command) {
	before := w.look()
	d, deploying := w.store.View().DeploymentOf(web)
	w.must(cmds...)
	after := w.look()
	row, ok := w.store.View().App(web)
	if !ok || row.Deleting {
		return
	}
	moving, over := w.moving()
	rolling := deploying && slices.Contains(d.Steps, dcos.ActionRestart) || !deploying && moving
	n := int(row.App.Instances)
	least, most := n, n
	if rolling {
		least = ceil(row.App.Upgrade.MinHealth, n)
		most = n + floor(row.App.Upgrade.MaxOver, n)
		if least == most {
			if most++; row.App.Fence != dcos.FenceNone {
				least, most = least-1, most-1
			}
		}
	}
	if over {
		least = 0
	}
	if after.running < min(before.running, least) {
		w.fatal("%v took the running instances from %d to %d, at least %d of %d must stay", cmds, before.running, after.running, least, n)
	}
	if rolling && after.all > max(before.all, most) {
		w.fatal("%v took the tasks from %d to %d, at most %d are allowed for %d", cmds, before.all, after.all, most, n)
	}
}

// moving says that tasks are on nodes that are being drained, and whether the
// time of one of these is over.
func (w *world) moving() (moving, over bool) {
	for _, t := range w.live() {
		if n, ok := w.store.View().Node(t.Node); ok && n.Drain != nil && t.Unreachable == 0 {
			moving = true
			over = over || n.Drain.Deadline != 0 && n.Drain.Deadline <= w.now
		}
	}
	return moving, over
}

func ceil(share float64, n int) int {
	for k := range n + 1 {
		if float64(k) >= share*float64(n)-1e-9 {
			return k
		}
	}
	return n
}

func floor(share float64, n int) int {
	for k := n; k >= 0; k-- {
		if float64(k) <= share*float64(n)+1e-9 {
			return k
		}
	}
	return 0
}

type counts struct {
	running int // and meant to, on a node that answers
	all     int // waiting, or possibly with a process
	waiting int
	current int // running the present configuration
}

func (w *world) look() counts {
	var c counts
	v := w.store.View()
	row, ok := v.App(web)
	if !ok {
		return c
	}
	for t := range v.TasksOf(web) {
		// An unreachable task may have ceased to count (unreachableStrategy), unless
		// it is fenced.
		def, ok := v.AppAt(web, t.Version)
		if !t.State.Terminal() && (t.Unreachable == 0 || ok && def.Fence != dcos.FenceNone) {
			c.all++
		}
		if t.State == dcos.TaskWaiting {
			c.waiting++
		}
		if n, ok := v.Node(t.Node); ok && n.State == dcos.NodeActive && t.State == dcos.TaskRunning && t.Goal == dcos.GoalRun {
			c.running++
			if def, ok := v.AppAt(web, t.Version); ok && def.LastConfigChange == row.App.LastConfigChange {
				c.current++
			}
		}
	}
	return c
}

// back opens the session of a node anew.
func (w *world) back(i int) {
	if n, ok := w.store.View().Node(dcos.NodeID(fmt.Sprintf("node-%d", i))); ok {
		w.must(state.PutNode{Node: *n})
	}
}

// place puts up to n waiting tasks on nodes.
func (w *world) place(n int) {
	v := w.store.View()
	row, ok := v.App(web)
	if !ok || row.Deleting || row.Backoff.Until > w.now {
		return
	}
	x := placement.New()
	for node := range v.Nodes() {
		free, _ := v.Free(node.ID)
		x.Update(node, free)
	}
	var items []state.Placement
	for t := range v.TasksOf(web) {
		if t.State != dcos.TaskWaiting || len(items) == n {
			continue
		}
		def, _ := v.AppAt(web, t.Version)
		r := placement.NewRequest(def, nil)
		r.Seed = uint64(len(items))
		got, _ := x.Pick(&r, 1)
		if len(got) == 1 {
			items = append(items, state.Placement{Task: t.ID, Node: got[0].Node, Ports: got[0].Ports})
		}
	}
	if len(items) > 0 {
		w.must(state.Place{Items: items})
	}
}

// report sends one status of a task.
func (w *world) report(t *dcos.Task, s dcos.TaskState) {
	w.seq++
	w.apply(state.TaskStatuses{Node: t.Node, Statuses: []dcos.Status{{Task: t.ID, Epoch: t.Epoch, Seq: w.seq, State: s}}})
}

func (w *world) live() []*dcos.Task {
	var out []*dcos.Task
	for t := range w.store.View().TasksOf(web) {
		if t.Live() {
			out = append(out, t)
		}
	}
	return out
}

// work lets every live task do what is wanted of it.
func (w *world) work() {
	for _, t := range w.live() {
		switch {
		case t.Goal == dcos.GoalStop:
			w.report(t, dcos.TaskKilled)
		case t.State != dcos.TaskRunning:
			w.report(t, dcos.TaskRunning)
		}
	}
}

// settle lets the world go on without faults until the app is what it is to
// be.
func (w *world) settle() {
	for range 200 {
		wake := w.reconcile()
		if wake > w.now {
			w.now = wake
		}
		w.place(1000)
		w.work()
		w.reconcile()
		if w.done() {
			return
		}
	}
	row, _ := w.store.View().App(web)
	d, _ := w.store.View().DeploymentOf(web)
	w.fatal("the app does not reach its goal: %+v, wanted %d, deployment %+v", w.look(), row.App.Instances, d)
}

func (w *world) done() bool {
	v := w.store.View()
	row, ok := v.App(web)
	if !ok {
		return true
	}
	if _, deploying := v.DeploymentOf(web); deploying || row.Deleting {
		return false
	}
	c := w.look()
	return c.running == int(row.App.Instances) && c.all == c.running
}

func TestReconcileReachesTheGoalFromAnywhereWithinItsBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(t, 4)
		w.fatal = r.Fatalf
		revision := 0
		share := rapid.SampledFrom([]float64{0, 0.25, 0.34, 0.5, 0.7, 1})
		for range rapid.IntRange(1, 40).Draw(r, "events") {
			live := w.live()
			pick := func() *dcos.Task { return live[rapid.IntRange(0, len(live)-1).Draw(r, "task")] }
			switch what := rapid.IntRange(0, 19).Draw(r, "event"); {
			case what == 16:
				node := dcos.NodeID(fmt.Sprintf("node-%d", rapid.IntRange(0, 3).Draw(r, "node")))
				if rapid.Bool().Draw(r, "undo") {
					w.apply(state.ActivateNode{Node: node})
				} else {
					w.apply(state.DrainNode{Node: node, Deadline: rapid.SampledFrom([]dcos.Time{0, w.now + 5000}).Draw(r, "deadline")})
				}
			case what == 17:
				w.back(rapid.IntRange(0, 3).Draw(r, "node"))
			case what == 18:
				w.now += dcos.Time(rapid.IntRange(0, 200_000).Draw(r, "long pause"))
			case what == 0:
				revision++
				up := dcos.Upgrade{MinHealth: share.Draw(r, "min"), MaxOver: share.Draw(r, "over")}
				sel := dcos.KillSelection(rapid.IntRange(0, 1).Draw(r, "selection"))
				lost := rapid.SampledFrom([]dcos.Unreachable{{}, {InactiveSeconds: 5, ExpungeSeconds: 100}, {ExpungeSeconds: 100}, {Disabled: true}}).Draw(r, "unreachable")
				fence := dcos.Fence(rapid.IntRange(0, 1).Draw(r, "fence"))
				w.define(rapid.IntRange(0, 7).Draw(r, "instances"), revision, func(a *dcos.App) {
					a.Upgrade, a.KillSelection, a.Unreachable, a.Fence = up, sel, lost, fence
				})
			case what == 1:
				if row, ok := w.store.View().App(web); ok && !row.Deleting {
					a := *row.App
					a.Instances = uint32(rapid.IntRange(0, 7).Draw(r, "scale"))
					w.apply(state.PutApp{App: a, Force: true})
				}
			case what == 2:
				w.apply(state.RestartApp{App: web, Force: true})
			case what == 3:
				if d, ok := w.store.View().DeploymentOf(web); ok {
					w.apply(state.CancelDeployment{ID: d.ID, Force: rapid.Bool().Draw(r, "force")})
				}
			case what == 4 && rapid.IntRange(0, 3).Draw(r, "delete") == 0:
				w.apply(state.DeleteApp{App: web, Force: true})
			case what == 5 && len(live) > 0:
				w.apply(state.StopTasks{Tasks: []dcos.TaskID{pick().ID}, Final: rapid.Bool().Draw(r, "final")})
			case what == 6:
				node := dcos.NodeID(fmt.Sprintf("node-%d", rapid.IntRange(0, 3).Draw(r, "node")))
				w.apply(state.SetNodeState{Node: node, Boot: "boot-1", State: dcos.NodeState(rapid.IntRange(1, 3).Draw(r, "state"))})
			case what <= 9 && len(live) > 0:
				to := rapid.SampledFrom([]dcos.TaskState{dcos.TaskStaging, dcos.TaskFailed, dcos.TaskFinished, dcos.TaskLost, dcos.TaskError}).Draw(r, "to")
				w.report(pick(), to)
			case what <= 11 && len(live) > 0:
				w.report(pick(), dcos.TaskRunning)
			case what == 12:
				w.now += dcos.Time(rapid.IntRange(0, 20_000).Draw(r, "pause"))
				w.work()
			default:
				w.place(rapid.IntRange(0, 5).Draw(r, "placed"))
			}
			if row, ok := w.store.View().App(web); ok {
				w.ask(row) // wherever the others leave it
			}
			if rapid.Bool().Draw(r, "reconcile") {
				w.reconcile()
			}
		}
		for i := range 4 {
			w.back(i)
		}
		w.apply(state.ActivateNode{Node: "node-0"}) // the others may stay drained
		w.settle()
		before := w.store.View()
		if row, ok := before.App(web); ok {
			if cmds, wake, _ := w.ask(row); len(cmds) != 0 || wake != 0 {
				r.Fatalf("at the goal Reconcile still asks for %v, wake %d", cmds, wake)
			}
		}
	})
}

// Proposals whose outcome was unknown may be carried out twice.
func TestReconcileCarriedOutTwiceIsCarriedOutOnce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(t, 4)
		w.fatal = r.Fatalf
		w.define(rapid.IntRange(1, 6).Draw(r, "instances"), 1)
		for i := range rapid.IntRange(1, 30).Draw(r, "rounds") {
			switch rapid.IntRange(0, 5).Draw(r, "event") {
			case 0:
				w.define(rapid.IntRange(1, 6).Draw(r, "instances"), i+2)
			case 1:
				for _, t := range w.live() {
					if rapid.Bool().Draw(r, "fails") {
						w.report(t, dcos.TaskFailed)
					}
				}
			case 2, 3:
				w.place(3)
			default:
				w.work()
			}
			row, ok := w.store.View().App(web)
			if !ok {
				continue
			}
			if cmds, _, _ := w.ask(row); len(cmds) > 0 {
				w.must(cmds...)
				once := w.look()
				w.apply(cmds...)
				if twice := w.look(); once != twice {
					r.Fatalf("%v carried out twice: %+v, once: %+v", cmds, twice, once)
				}
			}
		}
		w.settle()
	})
}
