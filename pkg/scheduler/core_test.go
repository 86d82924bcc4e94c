package scheduler_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/scheduler"
	"github.com/dcos-go/dcos/pkg/state"
)

func TestAnAppIsCreatedPlacedAndItsDeploymentEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.addNodes(3, 4)
	w.define("/web", 5, "")
	w.rest()
	if got := w.count("/web", dcos.TaskPlaced); got != 5 {
		t.Fatalf("%d tasks placed, want 5", got)
	}
	zones := map[dcos.NodeID]int{}
	for _, task := range w.tasks("/web") {
		zones[task.Node]++
	}
	if len(zones) != 3 {
		t.Errorf("5 instances are on %d of 3 nodes, want all", len(zones))
	}
	if len(w.done()) == 0 {
		t.Error("the deployment ended before the tasks ran")
	}
	w.work()
	w.rest()
	if left := w.done(); left != "" {
		t.Errorf("after all tasks run: %s", left)
	}
	if cmds, wake := w.turn(); len(cmds) > 0 || wake != 0 {
		t.Errorf("at rest the scheduler still proposes %v, wake %v", cmds, wake)
	}
}

func TestACrashIsRetriedAfterItsBackoffAndALossAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.addNodes(2, 4)
	w.define("/web", 2, `,"backoffSeconds":30`)
	w.settle()
	w.report(w.tasks("/web")[0], dcos.TaskLost)
	w.rest()
	if got := w.count("/web", dcos.TaskPlaced); got != 1 {
		t.Fatalf("%d tasks placed after a loss, want 1 at once", got)
	}
	w.settle()
	w.report(w.tasks("/web")[1], dcos.TaskFailed)
	failed := w.now
	wake := w.rest()
	if w.count("/web", dcos.TaskPlaced) != 0 || w.count("/web", dcos.TaskWaiting) != 1 {
		t.Fatalf("a failed task was placed before its backoff ended")
	}
	if wake != failed+30_000 {
		t.Fatalf("wakes at %d, want %d", wake, failed+30_000)
	}
	w.now = wake
	w.rest()
	if got := w.count("/web", dcos.TaskPlaced); got != 1 {
		t.Fatalf("%d tasks placed after the backoff, want 1", got)
	}
	if why, err := scheduler.Explain(w.store.View(), "/web", w.now); err != nil || why.Failures != 1 || why.LastFailure == nil {
		t.Errorf("explained %+v, %v", why, err)
	}
}

func TestALargeAppDoesNotKeepOthersWaiting(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.addNodes(20, 1000)
	w.define("/big", 12_000, "")
	w.turn()
	w.turn()
	w.define("/later", 1, "")
	for turn := 1; ; turn++ {
		w.turn()
		if w.count("/later", dcos.TaskPlaced) == 1 {
			break
		}
		if turn == 5 {
			t.Fatalf("after 5 turns the small app waits, %d of the large one are placed", w.count("/big", dcos.TaskPlaced))
		}
	}
	if got := w.count("/big", dcos.TaskPlaced); got == 12_000 {
		t.Error("the large app was done before: the test shows nothing")
	}
	w.settle()
}

func TestAppsWithoutAPlaceDoNotKeepOthersWaitingAndRunWhenThereIsRoom(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.addNodes(1, 4)
	for i := range 600 {
		w.define(fmt.Sprintf("/huge/%03d", i), 1, `,"constraints":[["rack","LIKE","none"]]`)
	}
	w.define("/wide", 1, `,"constraints":[["hostname","LIKE","host-1"]]`)
	w.rest()
	w.define("/small", 1, "")
	w.rest()
	if w.count("/small", dcos.TaskPlaced) != 1 {
		t.Fatal("the small app was not placed beside 600 that fit nowhere")
	}
	if w.count("/wide", dcos.TaskPlaced) != 0 {
		t.Fatal("placed against its constraint")
	}
	w.must(state.PutNode{Node: node(1, 4)})
	w.rest()
	if w.count("/wide", dcos.TaskPlaced) != 1 {
		t.Fatal("the app that waited for the new node was not placed on it")
	}
}

func TestATaskThatEndsMakesRoomForWhatWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.addNodes(1, 1)
	w.define("/a", 1, "")
	w.settle()
	w.define("/b", 1, "")
	w.rest()
	if w.count("/b", dcos.TaskWaiting) != 1 {
		t.Fatal("there was room for both")
	}
	w.must(state.DeleteApp{App: "/a"})
	w.rest()
	w.work()
	w.rest()
	if w.count("/b", dcos.TaskPlaced) != 1 {
		t.Fatal("the waiting app did not take the place that was freed")
	}
	if _, there := w.store.View().App("/a"); there {
		t.Error("the deleted app is still there")
	}
}

func TestNothingIsProposedWhileABatchIsInFlightOrNotYetVisible(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.addNodes(1, 4)
	w.define("/a", 1, "")
	before := w.store.View()
	cmds, _ := w.core.Turn(w.now, before, nil)
	if len(cmds) == 0 {
		t.Fatal("nothing proposed")
	}
	w.changes = nil
	w.define("/b", 1, "")
	if more, _ := w.core.Turn(w.now, w.store.View(), w.changes); len(more) > 0 {
		t.Fatalf("a second batch while one is in flight: %v", more)
	}
	w.changes = nil
	seen := w.store.View()
	w.core.Done(w.now, w.apply(cmds...), nil)
	if more, _ := w.core.Turn(w.now, seen, nil); len(more) > 0 {
		t.Fatalf("decided on a view without its own batch: %v", more)
	}
	w.settle()
}

func TestARefusedCommandIsTriedAgainLaterAndLater(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.addNodes(1, 4)
	w.define("/a", 1, "")
	var pauses []dcos.Time
	for range 4 {
		cmds, _ := w.core.Turn(w.now, w.store.View(), w.changes)
		w.changes = nil
		if len(cmds) == 0 {
			t.Fatal("nothing proposed")
		}
		w.core.Done(w.now, state.Result{}, dcos.NotLeader{})
		more, wake := w.core.Turn(w.now, w.store.View(), nil)
		if len(more) > 0 || wake <= w.now {
			t.Fatalf("tried again at once: %v, wake %d", more, wake)
		}
		pauses = append(pauses, wake-w.now)
		w.now = wake
	}
	for i := 1; i < len(pauses); i++ {
		if pauses[i] <= pauses[i-1] {
			t.Errorf("pauses do not grow: %v", pauses)
		}
	}
	w.settle()
}

// world.apply refuses a batch that is larger than an entry may be.
func TestBatchesFitIntoAnEntryHoweverLongTheIdsAre(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.addNodes(20, 1000)
	id := "/" + strings.Repeat("long-", 99) + "name"
	w.define(id, 3000, `,"ports":[0,0,0,0]`)
	w.settle()
	w.must(state.DeleteApp{App: dcos.AppID(id)})
	w.settle()
	if _, there := w.store.View().App(dcos.AppID(id)); there {
		t.Error("the app is still there")
	}
}

// Case 41: a leader must not act on what it remembers. Two cores lead in turn;
// what one of them proposed may be applied late, twice, or never.
func TestLeadersThatChangeAllTheTimeDoNoHarmAndReachTheGoal(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(t)
		w.fatal = r.Fatalf
		w.addNodes(4, 6)
		var late [][]state.Command // proposed by someone, outcome unknown
		for i := range rapid.IntRange(1, 40).Draw(r, "rounds") {
			id := rapid.SampledFrom([]string{"/a", "/b", "/c"}).Draw(r, "app")
			switch rapid.IntRange(0, 9).Draw(r, "event") {
			case 0, 1:
				more := fmt.Sprintf(`,"env":{"R":"%d"},"constraints":[%s]`, i/3, rapid.SampledFrom([]string{"", `["hostname","MAX_PER","2"]`, `["@zone","GROUP_BY"]`}).Draw(r, "rule"))
				w.define(id, rapid.IntRange(0, 5).Draw(r, "instances"), more)
			case 2:
				w.apply(state.DeleteApp{App: dcos.AppID(id), Force: true})
			case 3:
				w.work()
			case 4:
				for _, task := range w.tasks(dcos.AppID(id)) {
					if task.Live() && rapid.Bool().Draw(r, "fails") {
						w.report(task, rapid.SampledFrom([]dcos.TaskState{dcos.TaskFailed, dcos.TaskLost, dcos.TaskFinished}).Draw(r, "how"))
					}
				}
			case 5:
				n := rapid.IntRange(0, 3).Draw(r, "node")
				w.apply(state.SetNodeState{Node: nodeID(n), Boot: "boot", State: dcos.NodeState(rapid.IntRange(1, 3).Draw(r, "state"))})
			case 6:
				if len(late) > 0 {
					w.apply(late[rapid.IntRange(0, len(late)-1).Draw(r, "late")]...)
				}
			case 7:
				w.core.Reset() // another master leads, or this one again
			default:
				w.now += dcos.Time(rapid.IntRange(0, 3000).Draw(r, "pause"))
			}
			cmds, _ := w.core.Turn(w.now, w.store.View(), w.changes)
			w.changes = nil
			if len(cmds) == 0 {
				continue
			}
			switch rapid.IntRange(0, 3).Draw(r, "outcome") {
			case 0:
				late = append(late, cmds)
				w.core.Done(w.now, state.Result{}, fmt.Errorf("propose: %w", dcos.ErrUnknown))
			case 1:
				late = append(late, cmds)
				w.apply(cmds...)
				w.core.Done(w.now, state.Result{}, fmt.Errorf("propose: %w", dcos.ErrUnknown))
			case 2:
				w.core.Done(w.now, state.Result{}, dcos.NotLeader{})
			default:
				w.core.Done(w.now, w.apply(cmds...), nil)
			}
		}
		for i := range 4 {
			w.apply(state.SetNodeState{Node: nodeID(i), Boot: "boot", State: dcos.NodeActive})
		}
		w.addNodes(12, 6) // room for everything, whatever the constraints
		w.settle()
		for _, cmds := range late {
			w.apply(cmds...) // as late as can be: nothing that was settled moves
		}
		w.settle()
	})
}

// An incremental core and one that starts from the view must want the same.
func TestACoreThatStartsAnewWantsNothingWhenTheOldOneIsAtRest(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(t)
		w.fatal = r.Fatalf
		w.addNodes(3, 3)
		for range rapid.IntRange(1, 25).Draw(r, "rounds") {
			id := rapid.SampledFrom([]string{"/a", "/b", "/c"}).Draw(r, "app")
			switch rapid.IntRange(0, 5).Draw(r, "event") {
			case 0:
				w.define(id, rapid.IntRange(0, 6).Draw(r, "instances"), "")
			case 1:
				w.apply(state.DeleteApp{App: dcos.AppID(id), Force: true})
			case 2:
				w.work()
			case 3:
				for _, task := range w.tasks(dcos.AppID(id)) {
					if task.Live() && rapid.Bool().Draw(r, "fails") {
						w.report(task, dcos.TaskFailed)
					}
				}
			case 4:
				n := rapid.IntRange(0, 2).Draw(r, "node")
				w.apply(state.SetNodeState{Node: nodeID(n), Boot: "boot", State: dcos.NodeState(rapid.IntRange(1, 3).Draw(r, "state"))})
			default:
				w.now += 400
			}
			wake := w.rest()
			fresh := scheduler.New()
			cmds, freshWake := fresh.Turn(w.now, w.store.View(), nil)
			if len(cmds) > 0 || freshWake != 0 && (wake == 0 || wake > freshWake) {
				r.Fatalf("the old core rests until %d, a new one wants %v, wake %d", wake, cmds, freshWake)
			}
		}
	})
}

func TestExplainNamesTheCauseAndTheSmallestChange(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		nodes int
		more  string
		cause scheduler.Cause
		words string
	}{
		{"no agents", 0, "", scheduler.CauseNoNodes, "has no agents"},
		{"too many cpus", 2, `,"cpus":9`, scheduler.CausePlacement, "ask for 4 cpus instead of 9 (2 nodes take it then)"},
		{"a constraint", 3, `,"constraints":[["rack","LIKE","x.*"]]`, scheduler.CausePlacement, "drop the constraint [rack LIKE x.*]"},
		{"a port that nobody has", 2, `,"ports":[80],"requirePorts":true`, scheduler.CausePlacement, "let the system choose the host ports"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.addNodes(tt.nodes, 4)
			w.define("/web", 2, strings.Replace(tt.more, `,"cpus":9`, "", 1))
			if strings.Contains(tt.more, "cpus") {
				a, _ := w.store.View().App("/web")
				big := *a.App
				big.Need.CPUs = 9000
				w.must(state.PutApp{App: big, Force: true})
			}
			w.rest()
			why, err := scheduler.Explain(w.store.View(), "/web", w.now)
			if err != nil {
				t.Fatal(err)
			}
			if len(why.Holds) == 0 || why.Holds[0].Cause != tt.cause || why.Waiting != 2 || why.Holds[0].Count != 2 {
				t.Fatalf("explained %+v", why)
			}
			if !strings.Contains(why.Holds[0].Words, tt.words) || !strings.Contains(why.Summary, "0 of 2 instances running") {
				t.Errorf("got %q and %q, want %q in it", why.Summary, why.Holds[0].Words, tt.words)
			}
		})
	}
}

func TestExplainFollowsAnAppThroughItsLife(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.addNodes(2, 4)
	want := func(part string) {
		t.Helper()
		why, err := scheduler.Explain(w.store.View(), "/web", w.now)
		if err != nil || !strings.Contains(why.Summary, part) {
			t.Errorf("got %q, %v; want %q in it", why.Summary, err, part)
		}
	}
	if _, err := scheduler.Explain(w.store.View(), "/web", w.now); err == nil {
		t.Error("an app that does not exist was explained")
	}
	w.define("/web", 2, `,"backoffSeconds":30`)
	want("2 to come: the deployment")
	w.rest()
	want("2 starting: placed")
	w.settle()
	want("runs as wanted: 2 of 2 instances")
	w.report(w.tasks("/web")[0], dcos.TaskFailed)
	w.rest()
	want("1 of 2 instances running; 1 waiting: held back until")
	w.must(state.DeleteApp{App: "/web"})
	w.rest()
	want("is being deleted; 1 task has to stop")
}

// The clock of an earlier leader was an hour ahead, or this one's was set back,
// or is set right again: what waits goes by command time.
func TestABackoffEndsInTimeWhateverTheLeadersClockShows(t *testing.T) {
	w := newWorld(t)
	w.addNodes(2, 8)
	w.define("/web", 1, `,"backoffSeconds":30`)
	w.settle()
	w.behind = time.Hour
	w.report(w.tasks("/web")[0], dcos.TaskFailed)
	w.rest()
	w.behind = 30 * time.Minute
	wake := w.rest()
	if in := wake.Sub(w.now); wake == 0 || in > 31*time.Second {
		t.Fatalf("the next turn is in %v", in)
	}
	w.now = w.now.Add(31 * time.Second)
	w.rest()
	if w.count("/web", dcos.TaskPlaced) != 1 {
		t.Fatal("not placed after its backoff")
	}
	w.settle()
	w.behind = 2 * time.Hour
	w.report(w.tasks("/web")[0], dcos.TaskFailed)
	w.rest()
	w.behind = 0 // the wall clock jumps ahead before anything is committed
	w.now = w.now.Add(time.Second)
	for range 50 {
		w.now = w.now.Add(2 * time.Second)
		w.rest()
	}
	if w.count("/web", dcos.TaskPlaced) != 1 {
		t.Fatal("not placed after its backoff, when the clock was set right")
	}
}

// Between two entries command time is this leader's guess, and the next entry
// may show that it was too far ahead.
func TestWhatHasFoundNoPlaceIsNotForgottenWhenItsBackoffBeginsAnew(t *testing.T) {
	w := newWorld(t)
	w.addNodes(1, 2)
	w.define("/web", 1, `,"backoffSeconds":30`)
	w.settle()
	w.behind = time.Hour
	w.report(w.tasks("/web")[0], dcos.TaskFailed)
	w.define("/other", 2, "")
	w.now = w.rest()
	w.rest()
	if w.count("/web", dcos.TaskWaiting) != 1 {
		t.Fatal("there was to be no room")
	}
	w.now, w.behind = w.now.Add(-2*time.Second), w.behind-2*time.Second
	w.report(w.tasks("/other")[0], dcos.TaskKilled)
	w.define("/other", 1, "")
	wake := w.rest()
	if in := wake.Sub(w.now); wake == 0 || in > 2*time.Second {
		t.Fatalf("the next turn is in %v, not at the end of the backoff", in)
	}
	w.now = wake
	w.rest()
	if w.count("/web", dcos.TaskPlaced) != 1 {
		t.Fatal("not placed after its backoff, though there is room")
	}
}
