package app_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

// moves is what one call of Reconcile does: "start 2", "kill 1", in order.
func (w *world) moves() []string {
	row, ok := w.store.View().App(web)
	if !ok {
		return nil
	}
	cmds, _, _ := w.ask(row)
	var out []string
	for _, cmd := range cmds {
		switch cmd := cmd.(type) {
		case state.AddTasks:
			out = append(out, fmt.Sprintf("start %d", cmd.Count))
		case state.StopTasks:
			out = append(out, fmt.Sprintf("kill %d", len(cmd.Tasks)))
		case state.RetryTasks:
			out = append(out, fmt.Sprintf("retry %d", len(cmd.Tasks)))
		case state.AdvanceDeployment:
			out = append(out, "advance")
		case state.RemoveApp:
			out = append(out, "remove")
		}
	}
	if len(cmds) > 0 {
		w.step(cmds)
	}
	return out
}

// The worked examples of marathon-api section 4.4. Between two entries either
// all tasks get running, or all stops are carried out.
func TestRollingChangeGoesAsMarathonsDoes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name      string
		n         int
		min, over float64
		want      []string
	}{
		{"1 of 1, the new before the old", 1, 1, 1, []string{"start 1", "kill 1", "advance"}},
		{"4, half may go", 4, 0.5, 0, []string{"kill 2", "start 2", "kill 2", "start 2", "advance"}},
		{"1, nothing must stay", 1, 0, 0, []string{"kill 1", "start 1", "advance"}},
		{"2, no room, over by one", 2, 1, 0, []string{"start 1", "kill 1", "start 1", "kill 1", "advance"}},
		{"10, a fifth over", 10, 1, 0.2, []string{"start 2", "kill 2", "start 2", "kill 2", "start 2", "kill 2", "start 2", "kill 2", "start 2", "kill 2", "advance"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 4)
			up := func(a *dcos.App) { a.Upgrade = dcos.Upgrade{MinHealth: tt.min, MaxOver: tt.over} }
			w.define(tt.n, 1, up)
			w.settle()
			w.define(tt.n, 2, up)
			var got []string
			for range 40 {
				got = append(got, w.moves()...)
				w.place(100)
				w.work()
				if _, deploying := w.store.View().DeploymentOf(web); !deploying {
					break
				}
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("moves differ:\n%s", d)
			}
		})
	}
}

func TestScaleDownKillsWhatIsLeastFarAndByAge(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		sel  dcos.KillSelection
		want []uint32 // ordinals that stay
	}{
		{"youngest first", dcos.YoungestFirst, []uint32{0, 1}},
		{"oldest first", dcos.OldestFirst, []uint32{1, 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 3)
			sel := func(a *dcos.App) { a.KillSelection = tt.sel }
			for n := 1; n <= 3; n++ { // one after the other, so that ages differ
				w.define(n, 1, sel)
				w.settle()
			}
			w.define(4, 1, sel)
			w.reconcile()
			w.place(1) // staging only
			w.define(2, 1, sel)
			w.settle()
			var got []uint32
			for task := range w.store.View().TasksOf(web) {
				got = append(got, task.Ordinal)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("instances %v stay, want %v", got, tt.want)
			}
		})
	}
}

func TestScaleDownKeepsTheSpreadOfGroupBy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	group := func(a *dcos.App) {
		a.Constraints = []dcos.Constraint{{Field: "@zone", Operator: dcos.GroupBy}}
	}
	w.define(9, 1, group)
	w.reconcile()
	var items []state.Placement
	i := 0
	for task := range w.store.View().TasksOf(web) { // 5 in zone 0, 3 in zone 1, 1 in zone 2
		node := []int{0, 0, 0, 1, 1, 1, 2, 0, 0}[i]
		items = append(items, state.Placement{Task: task.ID, Node: dcos.NodeID(fmt.Sprintf("node-%d", node)), Ports: []uint16{31000 + uint16(i)}})
		i++
	}
	w.must(state.Place{Items: items})
	w.work()
	w.define(4, 1, group)
	w.settle()
	got := map[dcos.NodeID]int{}
	for task := range w.store.View().TasksOf(web) {
		got[task.Node]++
	}
	if got["node-2"] != 1 || max(got["node-0"], got["node-1"]) != 2 {
		t.Errorf("4 instances stay as %v, want them even", got)
	}
}

func TestAnUpdateThatCannotRunIsRolledBackWithoutTouchingTheOldInstance(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.define(1, 1)
	w.settle()
	before := w.live()[0]
	item := w.define(1, 2, func(a *dcos.App) { a.Need.CPUs = 900_000 })
	w.reconcile()
	w.must(state.CancelDeployment{ID: item.Deployment})
	w.settle()
	if live := w.live(); len(live) != 1 || live[0] != before {
		t.Errorf("after the roll-back %v is live, want %v untouched", live, before)
	}
}

func TestARestartReplacesEveryInstance(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.define(3, 1)
	w.settle()
	old := map[dcos.TaskID]bool{}
	for _, task := range w.live() {
		old[task.ID] = true
	}
	w.must(state.RestartApp{App: web})
	w.settle()
	for _, task := range w.live() {
		if old[task.ID] {
			t.Errorf("task %s was not replaced", task.ID)
		}
	}
}

func TestATaskThatIsKilledComesBackAsTheNextAttempt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.define(2, 1)
	w.settle()
	victim := w.live()[0]
	w.must(state.StopTasks{Tasks: []dcos.TaskID{victim.ID}})
	w.settle()
	found := false
	for _, task := range w.live() {
		found = found || task.Ordinal == victim.Ordinal && task.Attempt == victim.Attempt+1
	}
	if !found {
		t.Errorf("no next attempt of %s among %v", victim.ID, w.live())
	}
}

func TestADeletedAppIsRemovedOnceNothingOfItIsLive(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.define(3, 1)
	w.settle()
	w.must(state.DeleteApp{App: web})
	if got := w.moves(); !slices.Equal(got, []string{"kill 3"}) {
		t.Fatalf("moves %v, want kill 3", got)
	}
	if got := w.moves(); len(got) != 0 {
		t.Fatalf("moves %v while tasks are live, want none", got)
	}
	w.work()
	if got := w.moves(); !slices.Equal(got, []string{"remove"}) {
		t.Fatalf("moves %v, want remove", got)
	}
}

func TestACrashingInstanceDoesNotHoldUpAScaling(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.define(2, 1)
	w.settle()
	w.define(3, 1)
	w.reconcile()
	w.place(9)
	w.work()
	w.report(w.live()[0], dcos.TaskFailed)
	w.reconcile()
	if d, deploying := w.store.View().DeploymentOf(web); deploying {
		t.Errorf("the deployment %+v waits for an instance that it did not start", d)
	}
}

func TestALargeStopIsCutIntoCommandsThatFit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.define(9000, 1)
	w.reconcile()
	w.place(1)
	w.must(state.DeleteApp{App: web, Force: true})
	row, _ := w.store.View().App(web)
	cmds, _, _ := w.ask(row)
	if len(cmds) < 2 {
		t.Fatalf("%d commands for 9000 tasks", len(cmds))
	}
	for _, cmd := range cmds {
		p, err := state.EncodeProposal(state.Proposal{Commands: []state.Command{cmd}})
		if err != nil || len(p) > state.MaxEntry/2 {
			t.Errorf("a command of %d bytes, %v", len(p), err)
		}
	}
}

// drainOf sets or ends the drain of a node.
func (w *world) drain(node string, deadline dcos.Time) {
	w.must(state.DrainNode{Node: dcos.NodeID(node), Deadline: deadline})
}

func (w *world) on(node string) (n int) {
	for range w.store.View().TasksOn(dcos.NodeID(node)) {
		n++
	}
	return n
}

func TestADrainMovesInstancesWithinTheUpgradeStrategy(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name        string
		change      func(*dcos.App)
		least, most int // running, and altogether, while it moves
	}{
		{"default: another one runs first", nil, 4, 5},
		{"half may be missing: it ends first", func(a *dcos.App) { a.Upgrade = dcos.Upgrade{MinHealth: 0.5} }, 2, 4},
		{"no room either way: over by one", func(a *dcos.App) { a.Upgrade = dcos.Upgrade{MinHealth: 1} }, 4, 5},
		{"fenced: below by one", func(a *dcos.App) { a.Fence, a.Upgrade = dcos.FenceLease, dcos.Upgrade{MinHealth: 1} }, 3, 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 4)
			change := tt.change
			if change == nil {
				change = func(*dcos.App) {}
			}
			w.define(4, 1, change)
			w.settle()
			node := string(w.live()[0].Node)
			w.drain(node, 0)
			for range 100 {
				w.reconcile()
				if c := w.look(); c.running < tt.least || c.all > max(tt.most, 4+w.on(node)) {
					t.Fatalf("while it moves %d run, want at least %d; %d there, want at most %d", c.running, tt.least, c.all, tt.most)
				}
				w.place(1000)
				for _, k := range w.live() { // one thing at a time
					switch {
					case k.Goal == dcos.GoalStop:
						w.report(k, dcos.TaskKilled)
					case k.State != dcos.TaskRunning:
						w.report(k, dcos.TaskRunning)
					default:
						continue
					}
					break
				}
				if w.on(node) == 0 && w.done() {
					return
				}
			}
			t.Fatalf("%d tasks are still on the drained node: %+v", w.on(node), w.look())
		})
	}
}

func TestADrainsDeadlineStopsWhatFindsNoOtherPlace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.define(2, 1)
	w.settle()
	w.drain("node-0", w.now+60_000)
	if wake := w.reconcile(); wake == 0 || w.on("node-0") != 2 {
		t.Fatalf("the drain with no other node: wake %d, %d tasks left, want both to stay until the deadline", wake, w.on("node-0"))
	}
	w.now += 60_000
	w.reconcile()
	for _, k := range w.live() {
		if k.Goal != dcos.GoalStop {
			t.Errorf("task %s goes on after the deadline", k.ID)
		}
	}
	w.work()
	w.reconcile()
	if c := w.look(); c.waiting != 2 {
		t.Errorf("%d instances wait for another place, want 2", c.waiting)
	}
	w.must(state.ActivateNode{Node: "node-0"})
	w.settle()
}

func TestUnreachableTasksCountAreReplacedAndGivenUpAsMarathonSays(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	w.define(1, 1, func(a *dcos.App) { a.Unreachable = dcos.Unreachable{InactiveSeconds: 100, ExpungeSeconds: 300} })
	w.settle()
	old := w.live()[0]
	lose := func() {
		w.must(state.SetNodeState{Node: old.Node, Boot: "boot-1", State: dcos.NodeLost})
	}
	lose()
	at := w.now
	if wake := w.reconcile(); wake != at+100_000 || len(w.live()) != 1 {
		t.Fatalf("while it counts: wake after %d ms, %d tasks, want 100000 and no other task", wake-at, len(w.live()))
	}
	w.now = at + 100_000
	if wake := w.reconcile(); wake != at+300_000 {
		t.Fatalf("when it is inactive: wake after %d ms, want 300000", wake-at)
	}
	w.place(10)
	w.work()
	if got, _ := w.store.View().Task(old.ID); len(w.live()) != 2 || !got.Live() {
		t.Fatalf("an inactive task must stay beside its replacement: %d live", len(w.live()))
	}
	// Back before it is given up: both count, and the youngest goes.
	n, _ := w.store.View().Node(old.Node)
	back := *n
	w.must(state.PutNode{Node: back})
	w.settle()
	if got, ok := w.store.View().Task(old.ID); !ok || got.State != dcos.TaskRunning || len(w.live()) != 1 {
		t.Fatalf("the original is %+v with %d live, want it to run and its replacement to be stopped", got, len(w.live()))
	}
	// Not back: given up, and forgotten as an instance since another is there.
	lose()
	at = w.now
	w.now = at + 100_000
	w.reconcile()
	w.place(10)
	w.work()
	w.now = at + 300_000
	w.settle()
	if got, ok := w.store.View().Task(old.ID); ok && got.State != dcos.TaskLost || len(w.live()) != 1 {
		t.Fatalf("given up, it is %+v with %d live", got, len(w.live()))
	}
}

func TestUnreachableTaskIsGivenUpAndReplacedAtOnceWhenBothTimesAreTheSame(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	w.define(1, 1, func(a *dcos.App) { a.Unreachable = dcos.Unreachable{InactiveSeconds: 60, ExpungeSeconds: 60} })
	w.settle()
	old := w.live()[0]
	w.must(state.SetNodeState{Node: old.Node, Boot: "boot-1", State: dcos.NodeLost})
	w.now += 59_000
	w.reconcile()
	if len(w.live()) != 1 || w.look().waiting != 0 {
		t.Fatal("replaced before its time")
	}
	w.now += 1_000
	w.reconcile()
	if c := w.look(); c.waiting != 1 || len(w.live()) != 0 {
		t.Fatalf("%+v, want the next attempt of the same instance to wait", c)
	}
	w.settle()
	if k := w.live()[0]; k.Ordinal != old.Ordinal || k.Attempt != old.Attempt+1 {
		t.Errorf("replaced by instance %d attempt %d", k.Ordinal, k.Attempt)
	}
}

func TestDisabledUnreachableStrategyWaitsForEverUnlessTheTaskIsKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	w.define(1, 1, func(a *dcos.App) { a.Unreachable.Disabled = true })
	w.settle()
	old := w.live()[0]
	w.must(state.SetNodeState{Node: old.Node, Boot: "boot-1", State: dcos.NodeLost})
	w.now += 365 * 24 * 3600 * 1000
	if wake := w.reconcile(); wake != 0 || len(w.live()) != 1 {
		t.Fatalf("wake %d, %d live: want it to wait for ever", wake, len(w.live()))
	}
	w.must(state.StopTasks{Tasks: []dcos.TaskID{old.ID}, Final: true, Message: "killed with wipe"})
	w.settle()
	if k := w.live()[0]; k.ID == old.ID || k.Unreachable != 0 {
		t.Errorf("a wiped task is still there: %+v", k)
	}
}

// Only who knows the last contact can tell when a fenced task has ended.
func TestFencedTaskIsNeverGivenUpByTheReconciler(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	w.define(1, 1, func(a *dcos.App) { a.Fence, a.Unreachable = dcos.FenceLease, dcos.Unreachable{ExpungeSeconds: 10} })
	w.settle()
	old := w.live()[0]
	w.must(state.SetNodeState{Node: old.Node, Boot: "boot-1", State: dcos.NodeLost})
	w.now += 3600_000
	for _, stop := range []bool{false, true} {
		if stop {
			w.must(state.StopTasks{Tasks: []dcos.TaskID{old.ID}, Final: true})
		}
		w.reconcile()
		for _, k := range w.live() {
			if k.ID != old.ID {
				t.Fatalf("task %s was made beside the fenced one", k.ID)
			}
		}
		if k, _ := w.store.View().Task(old.ID); !k.Live() || w.look().waiting != 0 {
			t.Fatalf("the fenced task is %s", k.State)
		}
	}
}
