package state

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/resource"
)

func TestPlaceRefusesWhatDoesNotHold(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.must(PutNode{Node: testNode("n1")})
	c.must(PutNode{Node: testNode("n2")})
	c.must(SetNodeState{Node: "n2", Boot: "boot-1", State: dcos.NodeSuspect})
	app := testApp("/a", 3)
	app.Ports = []dcos.PortDef{{Protocol: "tcp"}, {Protocol: "tcp"}}
	tasks := c.start(app)
	big := testApp("/big", 1)
	big.Need.Mem = resource.Whole(4096)
	huge := c.start(big)[0]
	fixed := testApp("/fixed", 2)
	fixed.RequirePorts, fixed.Ports = true, []dcos.PortDef{{Port: 31050}}
	exact := c.start(fixed)
	c.place(tasks[0].ID, "n1", 31000, 31001)
	for _, tt := range []struct {
		name string
		p    Placement
		want error
		text string
	}{
		{"unknown task", Placement{Task: "x", Node: "n1"}, dcos.ErrNotFound, "task x"},
		{"placed already", Placement{Task: tasks[0].ID, Node: "n1", Ports: []uint16{31002, 31003}}, dcos.ErrConflict, "does not wait"},
		{"unknown node", Placement{Task: tasks[1].ID, Node: "n9", Ports: []uint16{31002, 31003}}, dcos.ErrNotFound, "node n9"},
		{"node not active", Placement{Task: tasks[1].ID, Node: "n2", Ports: []uint16{31002, 31003}}, dcos.ErrConflict, "n2 is suspect"},
		{"too few ports", Placement{Task: tasks[1].ID, Node: "n1", Ports: []uint16{31002}}, dcos.ErrInvalid, "1 host ports"},
		{"port twice", Placement{Task: tasks[1].ID, Node: "n1", Ports: []uint16{31002, 31002}}, dcos.ErrInvalid, "twice"},
		{"port 0", Placement{Task: tasks[1].ID, Node: "n1", Ports: []uint16{0, 31002}}, dcos.ErrInvalid, "host port 0"},
		{"port in use", Placement{Task: tasks[1].ID, Node: "n1", Ports: []uint16{31001, 31002}}, dcos.ErrConflict, "in use"},
		{"port the node has not", Placement{Task: tasks[1].ID, Node: "n1", Ports: []uint16{80, 31002}}, dcos.ErrExhausted, "ports"},
		{"too little memory", Placement{Task: huge.ID, Node: "n1"}, dcos.ErrExhausted, "mem"},
		{"another port than required", Placement{Task: exact[0].ID, Node: "n1", Ports: []uint16{31051}}, dcos.ErrInvalid, "requires 31050"},
	} {
		if err := c.refusal(tt.want, Place{Items: []Placement{tt.p}}); !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: error %q does not say %q", tt.name, err, tt.text)
		}
	}
	c.place(exact[0].ID, "n1", 31050)
	c.refuse(dcos.ErrConflict, Place{Items: []Placement{{Task: exact[1].ID, Node: "n1", Ports: []uint16{31050}}}})
	k := c.place(tasks[1].ID, "n1", 31005, 31004)
	if k.State != dcos.TaskPlaced || k.Epoch != dcos.Epoch(c.index) || !slices.Equal(k.Ports, []uint16{31005, 31004}) || k.Need.Ports.String() != "[31004-31005]" {
		t.Errorf("placed as %+v", k)
	}
	free, _ := c.s.View().Free("n1")
	if want := "cpus:1; mem:3712; disk:10000; gpus:1; ports:[31002-31003,31006-31049,31051-31099]"; free.String() != want {
		t.Errorf("free on n1: %s, want %s", free, want)
	}
}

func TestBatchOfPlacementsCountsEachOne(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.must(PutNode{Node: testNode("n1")})
	var batch Place
	for _, k := range c.start(testApp("/a", 6)) {
		batch.Items = append(batch.Items, Placement{Task: k.ID, Node: "n1"})
	}
	item := c.do(batch)[0]
	for i, err := range item.Each {
		if want := i >= 4; errors.Is(err, dcos.ErrExhausted) != want {
			t.Errorf("task %d on a node for 4: %v", i, err)
		}
	}
	if n, _ := c.s.View().t.waiting.Get("/a"); n != 2 {
		t.Errorf("%d tasks wait, want 2", n)
	}
}

func TestStatusesOfNodesOnlyMoveTasksForward(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.must(PutNode{Node: testNode("n1")})
	c.must(PutNode{Node: testNode("n2")})
	tasks := c.start(testApp("/a", 2))
	k := c.place(tasks[0].ID, "n1")
	send := func(node dcos.NodeID, s dcos.Status) TaskStatuses {
		return TaskStatuses{Node: node, Statuses: []dcos.Status{s}}
	}
	c.must(send("n1", dcos.Status{Task: k.ID, Epoch: k.Epoch, Seq: 5, State: dcos.TaskRunning, Message: "up"}))
	for _, tt := range []struct {
		name string
		node dcos.NodeID
		s    dcos.Status
		want error
	}{
		{"unknown task", "n1", dcos.Status{Task: "x", Epoch: k.Epoch, Seq: 6, State: dcos.TaskFinished}, dcos.ErrNotFound},
		{"waiting task", "n1", dcos.Status{Task: tasks[1].ID, Seq: 6, State: dcos.TaskFinished}, dcos.ErrConflict},
		{"waiting task, no node", "", dcos.Status{Task: tasks[1].ID, Seq: 6, State: dcos.TaskFinished}, dcos.ErrConflict},
		{"other node", "n2", dcos.Status{Task: k.ID, Epoch: k.Epoch, Seq: 6, State: dcos.TaskFinished}, dcos.ErrConflict},
		{"other epoch", "n1", dcos.Status{Task: k.ID, Epoch: k.Epoch - 1, Seq: 6, State: dcos.TaskFinished}, dcos.ErrConflict},
		{"repeated", "n1", dcos.Status{Task: k.ID, Epoch: k.Epoch, Seq: 5, State: dcos.TaskRunning}, dcos.ErrConflict},
		{"older number", "n1", dcos.Status{Task: k.ID, Epoch: k.Epoch, Seq: 4, State: dcos.TaskFinished}, dcos.ErrConflict},
		{"backward", "n1", dcos.Status{Task: k.ID, Epoch: k.Epoch, Seq: 6, State: dcos.TaskStaging}, dcos.ErrConflict},
		{"the scheduler's state", "n1", dcos.Status{Task: k.ID, Epoch: k.Epoch, Seq: 6, State: dcos.TaskPlaced}, dcos.ErrInvalid},
		{"no state", "n1", dcos.Status{Task: k.ID, Epoch: k.Epoch, Seq: 6, State: dcos.TaskLost + 1}, dcos.ErrInvalid},
		{"long message", "n1", dcos.Status{Task: k.ID, Epoch: k.Epoch, Seq: 6, State: dcos.TaskFailed, Message: strings.Repeat("x", dcos.MaxMessage+1)}, dcos.ErrInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) { c.refuse(tt.want, send(tt.node, tt.s)) })
	}
	exit := &dcos.Exit{Code: 7, At: 99}
	c.now += 50
	c.must(send("n1", dcos.Status{Task: k.ID, Epoch: k.Epoch, Seq: 9, State: dcos.TaskFailed, Reason: dcos.ReasonCommand, Exit: exit}))
	got, _ := c.s.View().Task(k.ID)
	if diff := cmp.Diff(exit, got.Exit); diff != "" || got.EndedAt != c.now || got.StartedAt != epoch0 || got.Reason != dcos.ReasonCommand {
		t.Errorf("ended as %+v, exit (-want +got):\n%s", got, diff)
	}
	if _, held := c.s.View().t.ledger.Get("n1"); held {
		t.Error("a task that ended holds resources")
	}
	c.refuse(dcos.ErrConflict, send("n1", dcos.Status{Task: k.ID, Epoch: k.Epoch, Seq: 10, State: dcos.TaskLost}))
}

func TestStoppingEndsWaitingTasksAtOnceAndAsksForOthers(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.must(PutNode{Node: testNode("n1")})
	tasks := c.start(testApp("/a", 3))
	c.place(tasks[0].ID, "n1")
	c.must(StopTasks{Tasks: []dcos.TaskID{tasks[0].ID, tasks[1].ID}, Message: "scaled down"})
	rows := c.tasks("/a")
	if rows[0].State != dcos.TaskPlaced || rows[0].Goal != dcos.GoalStop || rows[0].Message != "scaled down" {
		t.Errorf("a placed task became %+v", rows[0])
	}
	if rows[1].State != dcos.TaskKilled || rows[1].Final || rows[1].EndedAt == 0 {
		t.Errorf("a waiting task became %+v", rows[1])
	}
	c.refuse(dcos.ErrConflict, StopTasks{Tasks: []dcos.TaskID{tasks[1].ID}})
	c.refuse(dcos.ErrNotFound, StopTasks{Tasks: []dcos.TaskID{"x"}})
	before := c.s.View().Hash()
	c.must(StopTasks{Tasks: []dcos.TaskID{tasks[0].ID}})
	if c.s.View().Hash() != before {
		t.Error("stopping twice changed something")
	}

	c.must(RetryTasks{Tasks: []dcos.TaskID{tasks[1].ID}, Version: rows[1].Version})
	c.refuse(dcos.ErrConflict, RetryTasks{Tasks: []dcos.TaskID{tasks[1].ID}, Version: rows[1].Version})
	c.refuse(dcos.ErrConflict, RetryTasks{Tasks: []dcos.TaskID{tasks[2].ID}, Version: rows[1].Version})
	again := c.tasks("/a")[1]
	if again.Attempt != 2 || again.State != dcos.TaskWaiting || dcos.InstanceOf(again.ID) != dcos.InstanceOf(tasks[1].ID) {
		t.Errorf("tried again as %+v", again)
	}

	c.must(StopTasks{Tasks: []dcos.TaskID{tasks[0].ID, tasks[2].ID}, Final: true})
	c.report(tasks[0].ID, dcos.TaskKilled)
	if left := c.tasks("/a"); len(left) != 1 || left[0].ID != again.ID {
		t.Errorf("after final stops %d instances are left", len(left))
	}
	c.refuse(dcos.ErrConflict, RetryTasks{Tasks: []dcos.TaskID{tasks[2].ID}, Version: again.Version})
	if n := len(slices.Collect(c.s.View().Ended("/a"))); n != 3 {
		t.Errorf("%d ended tasks, want 3", n)
	}
}

func TestFinalStopOfAnEndedTaskEndsItsInstance(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.must(PutNode{Node: testNode("n1")})
	k := c.start(testApp("/a", 1))[0]
	c.place(k.ID, "n1")
	c.report(k.ID, dcos.TaskFailed)
	c.must(StopTasks{Tasks: []dcos.TaskID{k.ID}, Final: true})
	if left := c.tasks("/a"); len(left) != 0 {
		t.Errorf("the instance goes on with %+v", left[0])
	}
}

func TestOnlyTheNewestEndedTasksAreKept(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.must(PutNode{Node: testNode("n1")})
	k := c.start(testApp("/a", 1))[0]
	c.place(k.ID, "n1")
	c.report(k.ID, dcos.TaskFailed)
	failed := k.ID
	for range 30 {
		c.now += 100_000
		c.must(RetryTasks{Tasks: []dcos.TaskID{k.ID}, Version: k.Version})
		k = c.tasks("/a")[0]
		c.must(StopTasks{Tasks: []dcos.TaskID{k.ID}})
	}
	ended := slices.Collect(c.s.View().Ended("/a"))
	if len(ended) != maxEnded+1 || ended[maxEnded].ID != failed {
		t.Errorf("%d ended tasks are kept, the last is %s; want %d with the newest failed one", len(ended), ended[len(ended)-1].ID, maxEnded+1)
	}
	if !slices.IsSortedFunc(ended, func(a, b *dcos.Task) int { return int(b.EndedAt - a.EndedAt) }) {
		t.Error("ended tasks are not newest first")
	}
}

func TestAddTasksIsHarmlessWhenRepeated(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	v := c.must(PutApp{App: testApp("/a", 2)}).Version
	c.must(AddTasks{App: "/a", Version: v, Count: 2})
	c.refuse(dcos.ErrConflict, AddTasks{App: "/a", Version: v, Count: 2})
	c.refuse(dcos.ErrConflict, AddTasks{App: "/a", Version: v, Count: 1, First: 3})
	c.refuse(dcos.ErrInvalid, AddTasks{App: "/a", Version: v, First: 2})
	c.refuse(dcos.ErrInvalid, AddTasks{App: "/a", Version: v, First: 2, Count: MaxAddTasks + 1})
	c.refuse(dcos.ErrNotFound, AddTasks{App: "/a", Version: v + 1, First: 2, Count: 1})
	c.refuse(dcos.ErrNotFound, AddTasks{App: "/b", Version: v, Count: 1})
	c.must(DeleteApp{App: "/a", Force: true})
	c.refuse(dcos.ErrConflict, AddTasks{App: "/a", Version: v, First: 2, Count: 1})
	c.must(RemoveApp{App: "/a"})
	if n := c.s.View().t.tasks.Len() + c.s.View().t.versions.Len(); n != 0 {
		t.Errorf("%d rows of a removed app are left", n)
	}
	c.must(PutApp{App: testApp("/a", 1)})
}

func TestAppRemovedAndMadeInOneEntryGetsNoOldTaskIDs(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.must(PutApp{App: testApp("/a", 1)})
	items := c.do(DeleteApp{App: "/a", Force: true}, RemoveApp{App: "/a"}, PutApp{App: testApp("/a", 1)})
	if items[1].Err != nil || !errors.Is(items[2].Err, dcos.ErrUnavailable) {
		t.Errorf("answers %+v", items)
	}
	c.must(PutApp{App: testApp("/a", 1)})
}

// Epochs order the attempts at one instance, so that two never share one.
func TestAttemptsPlacedInOneEntryWouldShareAnEpoch(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.must(PutNode{Node: testNode("n1")})
	k := c.start(testApp("/a", 1))[0]
	retry := RetryTasks{Tasks: []dcos.TaskID{k.ID}, Version: k.Version}
	items := c.do(Place{Items: []Placement{{Task: k.ID, Node: "n1"}}}, LoseTasks{Node: "n1", Tasks: []dcos.TaskID{k.ID}}, retry)
	if err := firstError(items[1]); err != nil {
		t.Fatal(err)
	}
	if err := firstError(items[2]); !errors.Is(err, dcos.ErrUnavailable) {
		t.Errorf("tried again in the same entry: %v", err)
	}
	c.must(retry)
	if again := c.place(c.tasks("/a")[0].ID, "n1"); again.Epoch <= k.Epoch {
		t.Errorf("epoch %d after %d", again.Epoch, k.Epoch)
	}
}

func TestRebootLosesWhatRanBefore(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.must(PutNode{Node: testNode("n1")})
	tasks := c.start(testApp("/a", 2))
	c.place(tasks[0].ID, "n1")
	c.must(PutNode{Node: testNode("n1")}) // a new session of the same boot
	if k := c.tasks("/a")[0]; k.State != dcos.TaskPlaced {
		t.Errorf("a new session made the task %s", k.State)
	}
	n := testNode("n1")
	n.Boot = "boot-2"
	c.must(PutNode{Node: n})
	k := c.tasks("/a")[0]
	if k.State != dcos.TaskLost || k.Reason != dcos.ReasonReboot {
		t.Errorf("after a reboot the task is %+v", k)
	}
	row, _ := c.s.View().App("/a")
	if row.LastFailure == nil || row.LastFailure.State != dcos.TaskLost || row.Backoff.Failures != 0 {
		t.Errorf("a lost task left %+v, backoff %+v", row.LastFailure, row.Backoff)
	}
	c.refuse(dcos.ErrConflict, SetNodeState{Node: "n1", Boot: "boot-1", State: dcos.NodeLost})
}

func TestNodeGoesThroughItsStates(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.must(PutNode{Node: testNode("n1")})
	k := c.start(testApp("/a", 1))[0]
	c.place(k.ID, "n1")
	c.refuse(dcos.ErrConflict, RemoveNode{Node: "n1"})
	c.refuse(dcos.ErrNotFound, RemoveNode{Node: "n2"})
	c.refuse(dcos.ErrNotFound, SetNodeState{Node: "n2", Boot: "boot-1", State: dcos.NodeLost})
	c.refuse(dcos.ErrInvalid, SetNodeState{Node: "n1", Boot: "boot-1"})
	c.now += 10
	c.must(SetNodeState{Node: "n1", Boot: "boot-1", State: dcos.NodeSuspect, Why: "3 beats missing"})
	c.refuse(dcos.ErrConflict, RemoveNode{Node: "n1"})
	if n, _ := c.s.View().Node("n1"); n.State != dcos.NodeSuspect || n.Since != c.now || n.Why == "" {
		t.Errorf("suspect node is %+v", n)
	}
	c.must(SetNodeState{Node: "n1", Boot: "boot-1", State: dcos.NodeLost, Why: "silent"})
	if got, _ := c.s.View().Task(k.ID); got.State != dcos.TaskLost || got.Reason != dcos.ReasonAgentLost {
		t.Errorf("on a lost node the task is %+v", got)
	}
	c.refuse(dcos.ErrConflict, SetNodeState{Node: "n1", Boot: "boot-1", State: dcos.NodeActive})
	c.must(PutNode{Node: testNode("n1")})
	if n, _ := c.s.View().Node("n1"); n.State != dcos.NodeActive || n.CreatedAt != epoch0 {
		t.Errorf("node is back as %+v", n)
	}
	c.must(SetNodeState{Node: "n1", Boot: "boot-1", State: dcos.NodeLost})
	c.must(RemoveNode{Node: "n1"})
}

func TestNodeThatShrinksKeepsItsTasksAndTakesNoMore(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.must(PutNode{Node: testNode("n1")})
	tasks := c.start(testApp("/a", 4))
	for _, k := range tasks[:3] {
		c.place(k.ID, "n1")
	}
	small := testNode("n1")
	small.Total.CPUs = 2000
	c.must(PutNode{Node: small})
	if free, _ := c.s.View().Free("n1"); free.CPUs != -1000 {
		t.Errorf("free is %s, want cpus:-1", free)
	}
	c.refuse(dcos.ErrExhausted, Place{Items: []Placement{{Task: tasks[3].ID, Node: "n1"}}})
	c.report(tasks[0].ID, dcos.TaskFinished)
	c.must(ResetBackoff{App: "/a"})
	c.refuse(dcos.ErrExhausted, Place{Items: []Placement{{Task: tasks[3].ID, Node: "n1"}}})
	c.report(tasks[1].ID, dcos.TaskFinished)
	c.must(ResetBackoff{App: "/a"})
	c.place(tasks[3].ID, "n1")
}

func TestTasksAnAgentDoesNotKnowAreLost(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.must(PutNode{Node: testNode("n1")})
	tasks := c.start(testApp("/a", 2))
	c.place(tasks[0].ID, "n1")
	c.refuse(dcos.ErrConflict, LoseTasks{Node: "n2", Tasks: []dcos.TaskID{tasks[0].ID}})
	c.refuse(dcos.ErrConflict, LoseTasks{Node: "", Tasks: []dcos.TaskID{tasks[1].ID}})
	c.refuse(dcos.ErrNotFound, LoseTasks{Node: "n1", Tasks: []dcos.TaskID{"x"}})
	c.refuse(dcos.ErrInvalid, LoseTasks{Node: "n1", Message: strings.Repeat("x", dcos.MaxMessage+1)})
	c.must(LoseTasks{Node: "n1", Tasks: []dcos.TaskID{tasks[0].ID}, Reason: dcos.ReasonReconciliation, Message: "not known there"})
	if k := c.tasks("/a")[0]; k.State != dcos.TaskLost || k.Message != "not known there" {
		t.Errorf("lost as %+v", k)
	}
}

func TestPutAppRefusesWhatWouldBreakTheState(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	for _, tt := range []struct {
		name   string
		change func(*dcos.App)
		want   error
	}{
		{"relative id", func(a *dcos.App) { a.ID = "a" }, dcos.ErrInvalid},
		{"bad id", func(a *dcos.App) { a.ID = "/A b" }, dcos.ErrInvalid},
		{"negative cpus", func(a *dcos.App) { a.Need.CPUs = -1 }, dcos.ErrInvalid},
		{"absurd memory", func(a *dcos.App) { a.Need.Mem = resource.MaxScalar + 1 }, dcos.ErrInvalid},
		{"absurd gpus", func(a *dcos.App) { a.Need.GPUs = math.MaxInt64 }, dcos.ErrInvalid},
		{"ports by number", func(a *dcos.App) { a.Need.Ports = resource.PortSet(80) }, dcos.ErrInvalid},
		{"too many instances", func(a *dcos.App) { a.Instances = MaxInstances + 1 }, dcos.ErrInvalid},
		{"too many ports", func(a *dcos.App) { a.Ports = make([]dcos.PortDef, maxPorts+1) }, dcos.ErrInvalid},
		{"share over 1", func(a *dcos.App) { a.Upgrade.MinHealth = 1.1 }, dcos.ErrInvalid},
		{"share that is no number", func(a *dcos.App) { a.Upgrade.MaxOver = math.NaN() }, dcos.ErrInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			app := testApp("/a", 1)
			tt.change(&app)
			c.refuse(tt.want, PutApp{App: app})
		})
	}
	c.refuse(dcos.ErrInvalid, PutApp{App: testApp("/a", 1), Mode: 9})
	v := c.must(PutApp{App: testApp("/a", 1)}).Version
	c.refuse(dcos.ErrConflict, PutApp{App: testApp("/a", 2), IfVersion: v + 1, Force: true})
	c.must(PutApp{App: testApp("/a", 2), IfVersion: v, Force: true})
	var locked ErrLocked
	d, _ := c.s.View().DeploymentOf("/a")
	if err := c.refusal(dcos.ErrConflict, PutApp{App: testApp("/a", 3)}); !errors.As(err, &locked) || !slices.Equal(locked.Deployments, []dcos.DeploymentID{d.ID}) {
		t.Errorf("locked by %v, error %v", d.ID, err)
	}
}

func TestVersionsGrowAndTheOldestAreDropped(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	first := c.start(testApp("/a", 1))[0] // the clock stands still from here on
	last := first.Version
	for i := range 60 {
		v := c.must(PutApp{App: testApp("/a", uint32(2+i)), Force: true}).Version
		if v <= last {
			t.Fatalf("version %d after %d", v, last)
		}
		last = v
	}
	versions := slices.Collect(c.s.View().AppVersions("/a"))
	if len(versions) != maxVersions+1 || versions[0].Version != last || versions[maxVersions].Version != first.Version {
		t.Errorf("%d versions are kept from %d to %d; want the newest %d and %d, which a task runs", len(versions),
			versions[len(versions)-1].Version, versions[0].Version, maxVersions, first.Version)
	}
	if a, ok := c.s.View().AppAt("/a", first.Version); !ok || a.Instances != 1 {
		t.Errorf("version %d is %+v", first.Version, a)
	}
	if _, ok := c.s.View().AppAt("/a", first.Version+1); ok {
		t.Errorf("version %d is still there", first.Version+1)
	}
}

func TestServicePortsRunOut(t *testing.T) {
	t.Parallel()
	s := newTables()
	for p := firstServicePort; p <= lastServicePort; p++ {
		if p != 15_000 {
			s.servicePts.Set(uint16(p), 1)
		}
	}
	app := testApp("/a", 1)
	app.Ports = []dcos.PortDef{{}}
	if err := s.assignPorts(&app, nil); err != nil || app.Ports[0].Port != 15_000 {
		t.Errorf("the last free port is given out as %v, %v", app.Ports, err)
	}
	app.Ports = []dcos.PortDef{{}, {}}
	if err := s.assignPorts(&app, nil); !errors.Is(err, dcos.ErrExhausted) {
		t.Errorf("two of one port: %v", err)
	}
}

func TestAllOrNothing(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	pkg := PutPackage{Package: dcos.Package{App: "/a", Name: "redis", Version: "1"}}
	item := c.must(All{Commands: []Command{PutApp{App: testApp("/a", 1)}, pkg}})
	if p, ok := c.s.View().Package("/a"); !ok || p.InstalledAt != epoch0 || item.Deployment == "" || item.Version == 0 {
		t.Errorf("package %+v, answer %+v", p, item)
	}
	pkg.Package.App = "/b"
	err := c.refusal(dcos.ErrNotFound, All{Commands: []Command{PutApp{App: testApp("/b", 1)}, pkg, RemoveUser{ID: "x"}}})
	if !strings.Contains(err.Error(), "remove-user (part 3 of 3)") {
		t.Errorf("error %q does not name the part", err)
	}
	k := c.start(testApp("/c", 1))[0]
	c.refuse(dcos.ErrNotFound, All{Commands: []Command{PutUser{User: dcos.User{ID: "u"}}, StopTasks{Tasks: []dcos.TaskID{k.ID, "x"}}}})
}

func TestClusterIsMadeOnceAndItsLevelOnlyRises(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.refuse(dcos.ErrConflict, RaiseLevel{Level: 1})
	c.refuse(dcos.ErrInvalid, InitCluster{})
	c.must(InitCluster{Info: dcos.ClusterInfo{ID: "one", Name: "test"}})
	c.refuse(dcos.ErrConflict, InitCluster{Info: dcos.ClusterInfo{ID: "two"}})
	if info, ok := c.s.View().Cluster(); !ok || info.ID != "one" || info.Level != 1 || info.CreatedAt != epoch0 {
		t.Errorf("cluster is %+v", info)
	}
	c.must(PutMaster{Master: dcos.Master{ID: 7, Name: "m7", Level: 1}})
	c.refuse(dcos.ErrInvalid, PutMaster{})
	c.refuse(dcos.ErrConflict, RaiseLevel{Level: 2})
	c.refuse(dcos.ErrConflict, RaiseLevel{Level: 0})
	c.must(RaiseLevel{Level: 1})
	c.now += 5
	c.must(PutMaster{Master: dcos.Master{ID: 7, Name: "m7", Level: 2}})
	if m, _ := c.s.View().Master(7); m.Joined != epoch0 || m.Level != 2 {
		t.Errorf("master is %+v", m)
	}
	c.must(RemoveMaster{ID: 7})
	c.refuse(dcos.ErrNotFound, RemoveMaster{ID: 7})
}

func TestUsersAndTokens(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.must(PutUser{User: dcos.User{ID: "ann", PasswordHash: "x"}, Create: true})
	c.refuse(dcos.ErrConflict, PutUser{User: dcos.User{ID: "ann"}, Create: true})
	c.refuse(dcos.ErrInvalid, PutUser{})
	c.now += 5
	c.must(PutUser{User: dcos.User{ID: "ann", Generation: 2}})
	if u, _ := c.s.View().User("ann"); u.CreatedAt != epoch0 || u.Generation != 2 {
		t.Errorf("user is %+v", u)
	}
	c.must(RemoveUser{ID: "ann"})
	c.must(PutToken{Token: dcos.JoinToken{ID: "t", Role: dcos.RoleAgent, SecretHash: []byte{1}}})
	c.refuse(dcos.ErrInvalid, PutToken{Token: dcos.JoinToken{ID: "t", Role: "cook", SecretHash: []byte{1}}})
	c.refuse(dcos.ErrInvalid, PutToken{Token: dcos.JoinToken{ID: "t", Role: dcos.RoleAgent}})
	c.must(RemoveToken{ID: "t"})
	c.refuse(dcos.ErrNotFound, RemoveToken{ID: "t"})
}

func TestWritesOfPrincipalsAreAuditedUpToABound(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.must(PutUser{User: dcos.User{ID: "by the system"}})
	c.apply(encode(t, Proposal{Principal: "ann", Commands: []Command{
		All{Commands: []Command{PutApp{App: testApp("/a", 1)}, PutPackage{Package: dcos.Package{App: "/a", Name: "x"}}}},
		RemoveUser{ID: "nobody"},
	}}))
	if c.last.Principal != "ann" {
		t.Errorf("commit is of %q", c.last.Principal)
	}
	var got []string
	for row := range c.s.View().Audit() {
		got = append(got, fmt.Sprintf("%s %s %s %d", row.Principal, row.Act, row.Subject, row.Index))
	}
	if diff := cmp.Diff([]string{"ann put-app /a 2", "ann put-package /a 2"}, got); diff != "" {
		t.Errorf("audit (-want +got):\n%s", diff)
	}
	cmds := make([]Command, 2000)
	for i := range cmds {
		cmds[i] = PutUser{User: dcos.User{ID: fmt.Sprint(i)}}
	}
	for range 6 {
		c.apply(encode(t, Proposal{Principal: "ann", Commands: cmds}))
	}
	rows := slices.Collect(c.s.View().Audit())
	if len(rows) != maxAudit || rows[maxAudit-1].Subject != "1999" || rows[0].Index != 4 {
		t.Errorf("%d rows from entry %d on, the last about %s", len(rows), rows[0].Index, rows[len(rows)-1].Subject)
	}
}

func TestAStartThatIsNotLaterThanTheLastIsRefused(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.must(InitCluster{Info: dcos.ClusterInfo{ID: "one", Level: Level}})
	c.refuse(dcos.ErrNotFound, StartMaster{ID: 7, Incarnation: 1, Start: 1})
	c.must(PutMaster{Master: dcos.Master{ID: 7, Level: Level}})
	c.refuse(dcos.ErrInvalid, StartMaster{ID: 7})
	c.must(StartMaster{ID: 7, Incarnation: 3, Start: 30})
	c.must(StartMaster{ID: 7, Incarnation: 3, Start: 30}) // said again
	c.refuse(dcos.ErrConflict, StartMaster{ID: 7, Incarnation: 3, Start: 31})
	c.refuse(dcos.ErrConflict, StartMaster{ID: 7, Incarnation: 2, Start: 30})
	c.must(HoldMaster{ID: 7, Hold: true})
	c.must(PutMaster{Master: dcos.Master{ID: 7, Name: "changed", Level: Level}})
	if m, _ := c.s.View().Master(7); m.Incarnation != 3 || m.Start != 30 || !m.Hold || m.Name != "changed" {
		t.Errorf("a change of the row forgets what state keeps: %+v", m)
	}
	c.must(HoldMaster{ID: 7})
	c.refuse(dcos.ErrNotFound, HoldMaster{ID: 8})
	c.must(StartMaster{ID: 7, Incarnation: 4, Start: 1})
	if m, _ := c.s.View().Master(7); m.Incarnation != 4 || m.Hold {
		t.Errorf("row is %+v", m)
	}
}
