package scheduler_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/dcos-go/dcos/pkg/app"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/placement"
	"github.com/dcos-go/dcos/pkg/resource"
	"github.com/dcos-go/dcos/pkg/scheduler"
	"github.com/dcos-go/dcos/pkg/state"
)

func (w *world) parse(id string, instances int, more string) dcos.App {
	a, err := app.Parse([]byte(fmt.Sprintf(`{"id":%q,"cmd":"serve","instances":%d,"cpus":1,"mem":10%s}`, id, instances, more)))
	if err != nil {
		w.fatal("parse: %v", err)
	}
	return a
}

func (w *world) sized(id string, cpus int64) dcos.App {
	a := w.parse(id, 1, "")
	a.Need.CPUs = resource.Whole(cpus)
	return a
}

func (w *world) try(cmds ...state.Command) scheduler.Forecast {
	v := w.store.View()
	before := v.Hash()
	f, err := scheduler.Try(v, w.now, cmds...)
	if err != nil {
		w.fatal("try: %v", err)
	}
	if v.Hash() != before || w.store.View().Hash() != before {
		w.fatal("a trial changed the state")
	}
	return f
}

func TestAForecastSaysWhatGoesWhereAndWhyNotTheRest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.addNodes(3, 2)
	got := w.try(state.PutApp{App: w.parse("/web", 8, "")}).Apps[0]
	if got.Started != 6 || got.Waiting != 2 || got.Nodes != 3 || len(got.Zones) != 3 {
		t.Fatalf("got %+v, want 6 of 8 on 3 nodes", got)
	}
	text := strings.Join(append(got.Reasons, got.Changes...), "\n")
	for _, want := range []string{"needs 1 cpus", "be content with the 6 of 8", "add a node like"} {
		if !strings.Contains(text, want) {
			t.Errorf("the forecast does not say %q:\n%s", want, text)
		}
	}
}

func TestAForecastOfAnUpgradeGoesThroughItsSteps(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.addNodes(2, 2)
	w.define("/web", 3, "")
	w.settle()
	changed := w.parse("/web", 3, `,"env":{"A":"2"}`)
	// One place is free: the new ones come one after the other as old ones go.
	got := w.try(state.PutApp{App: changed}).Apps[0]
	if got.Started != 3 || got.Stopped != 3 || got.Kept != 0 || got.Waiting != 0 || len(got.Reasons) > 0 {
		t.Errorf("got %+v, want all 3 replaced", got)
	}
	// No place is free, and all must stay healthy: it cannot even begin.
	w.define("/other", 1, "")
	w.settle()
	got = w.try(state.PutApp{App: changed}).Apps[0]
	if got.Started != 0 || got.Kept != 3 || len(got.Reasons) == 0 {
		t.Errorf("got %+v, want the old ones kept and a reason", got)
	}
	got = w.try(state.PutApp{App: w.parse("/web", 3, `,"env":{"A":"2"},"upgradeStrategy":{"minimumHealthCapacity":0.5,"maximumOverCapacity":0}`)}).Apps[0]
	if got.Started != 3 || got.Waiting != 0 {
		t.Errorf("got %+v, want all 3 replaced in the places of the old ones", got)
	}
	got = w.try(state.DeleteApp{App: "/web"}).Apps[0]
	if got.Stopped != 3 || got.Wanted != 0 {
		t.Errorf("got %+v, want all 3 ended", got)
	}
}

func TestAForecastOfSeveralAppsLetsThemShareTheRoom(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.addNodes(1, 3)
	f := w.try(state.All{Commands: []state.Command{state.PutApp{App: w.parse("/a", 2, "")}, state.PutApp{App: w.parse("/b", 2, "")}}})
	if n := f.Apps[0].Started + f.Apps[1].Started; n != 3 {
		t.Errorf("%d find a place, want 3: %+v", n, f.Apps)
	}
}

func TestAForecastIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.addNodes(2, 64)
	f := w.try(state.PutApp{App: w.parse("/huge", 1_000_000, "")})
	if got := f.Apps[0]; got.Started != 128 || got.Untried == 0 || got.Wanted+got.Untried != 1_000_000 {
		t.Errorf("got %+v", got)
	}
	if _, err := scheduler.Try(w.store.View(), w.now, state.RestartApp{App: "/none"}); err == nil {
		t.Error("a restart of an app that does not exist was foretold")
	}
}

// TestAForecastComesTrue makes the write after it was tried.
func TestAForecastComesTrue(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		w.fatal = rt.Fatalf
		w.addNodes(rapid.IntRange(1, 5).Draw(rt, "nodes"), rapid.Int64Range(1, 4).Draw(rt, "cpus"))
		constraints := []string{"", `,"constraints":[["hostname","UNIQUE"]]`, `,"constraints":[["@zone","GROUP_BY"]]`, `,"constraints":[["rack","LIKE","[0-2]"]]`}
		w.define("/other", rapid.IntRange(0, 3).Draw(rt, "others"), "")
		if rapid.Bool().Draw(rt, "settled") {
			w.settleSome()
		}
		put := state.PutApp{App: w.parse("/web", rapid.IntRange(0, 9).Draw(rt, "instances"), rapid.SampledFrom(constraints).Draw(rt, "constraints"))}
		want := w.try(put).Apps[0]
		w.must(put)
		w.settleSome()
		got := placement.Outcome{}
		by := map[dcos.NodeID]int{}
		for _, k := range w.tasks("/web") {
			if k.Live() {
				got.Started++
				by[k.Node]++
			}
		}
		if got.Started != want.Started || len(by) != want.Nodes {
			rt.Fatalf("%d came to run on %d nodes, foretold was %+v", got.Started, len(by), want)
		}
		for _, s := range want.Spots {
			if by[s.Node] != s.Tasks {
				rt.Fatalf("%d on %s, foretold was %+v", by[s.Node], s.Node, want)
			}
		}
	})
}

// settleSome goes on until nothing moves, though something may be missing.
func (w *world) settleSome() {
	for range 60 {
		before := w.store.View().Hash()
		if wake := w.rest(); wake > w.now {
			w.now = wake
		}
		w.work()
		if w.store.View().Hash() == before && w.rest() == 0 {
			return
		}
	}
}

func TestAStuckAppIsTriedAgainOnlyWhenRoomForItIsMade(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.addNodes(1, 4)
	w.define("/small", 2, "")
	w.settle()
	w.must(state.PutApp{App: w.sized("/large", 3)})
	w.rest()
	w.work()
	w.rest()
	if w.count("/large", dcos.TaskWaiting) != 1 {
		t.Fatal("the large one found a place")
	}
	w.define("/small", 1, "") // frees 1 of 2: enough
	w.rest()
	w.work()
	w.rest()
	if got := w.count("/large", dcos.TaskPlaced); got != 1 {
		t.Errorf("%d placed after room was made", got)
	}
}

// TestProgressOfTasksDoesNotMeanALookAtAllOfThem counts what a turn costs by
// what it allocates: a status of one task among many makes nobody look at the
// others.
func TestProgressOfTasksDoesNotMeanALookAtAllOfThem(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.addNodes(50, 64)
	w.define("/app", 2000, "")
	w.rest()
	// The deployment waits for all to run: it ends with the last one, not before.
	all := w.tasks("/app")
	for i, k := range all {
		w.report(k, dcos.TaskRunning)
		cmds, _ := w.turn()
		if last := i == len(all)-1; (len(cmds) > 0) != last {
			t.Fatalf("after %d of %d came to run: %v", i+1, len(all), cmds)
		}
	}
	w.rest()
	for d := range w.store.View().Deployments() {
		t.Errorf("deployment %+v has not ended", d)
	}
	k := w.tasks("/app")[7]
	w.report(k, dcos.TaskFailed)
	w.rest()
	if now := w.tasks("/app")[7]; now.Attempt != 2 {
		t.Errorf("the task that failed was not tried again: %+v", now)
	}
}

func TestTimesComeInOrderOnceEach(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := scheduler.NewTimers()
		want := map[dcos.AppID]dcos.Time{}
		for range rapid.IntRange(0, 300).Draw(t, "acts") {
			id := dcos.AppID(rapid.SampledFrom([]string{"/a", "/b", "/c", "/d"}).Draw(t, "app"))
			at := dcos.Time(rapid.Int64Range(1, 50).Draw(t, "at"))
			switch rapid.IntRange(0, 3).Draw(t, "act") {
			case 0:
				s.Drop(id)
				delete(want, id)
			case 1:
				var got, due []dcos.AppID
				for id, ok := s.Pop(at); ok; id, ok = s.Pop(at) {
					got = append(got, id)
				}
				for id, when := range want {
					if when <= at {
						due = append(due, id)
					}
				}
				slices.SortFunc(due, func(a, b dcos.AppID) int {
					if want[a] != want[b] {
						return int(want[a] - want[b])
					}
					return strings.Compare(string(a), string(b))
				})
				if d := cmp.Diff(due, got); d != "" {
					t.Fatalf("at %d (-want +got):\n%s", at, d)
				}
				for _, id := range got {
					delete(want, id)
				}
			default:
				s.Set(id, at)
				want[id] = at
			}
		}
	})
}
