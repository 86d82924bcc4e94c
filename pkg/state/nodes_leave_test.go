package state

import (
	"bytes"
	"testing"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/resource"
)

// leveled is a cluster at this build's level with a node and one task of an app
// on it.
func leveled(t *testing.T, change func(*dcos.App)) (*cluster, *dcos.Task) {
	t.Helper()
	c := newCluster(t)
	c.must(InitCluster{Info: dcos.ClusterInfo{ID: "c", Name: "c", Level: Level}})
	c.must(PutNode{Node: testNode("n1")})
	c.must(PutNode{Node: testNode("n2")})
	a := testApp("/a", 1)
	if change != nil {
		change(&a)
	}
	v := c.must(PutApp{App: a}).Version
	c.must(AddTasks{App: "/a", Version: v, Count: 1})
	k := c.tasks("/a")[0]
	c.must(Place{Items: []Placement{{Task: k.ID, Node: "n1"}}})
	return c, c.tasks("/a")[0]
}

func (c *cluster) loseNode(id dcos.NodeID) {
	c.t.Helper()
	c.must(SetNodeState{Node: id, Boot: "boot-1", State: dcos.NodeLost, Why: "its machine does not answer"})
}

func TestDrainedNodeTakesNoTasksUntilItIsActivated(t *testing.T) {
	t.Parallel()
	c, k := leveled(t, nil)
	c.must(DrainNode{Node: "n1", Why: "new disk"})
	first, _ := c.s.View().Node("n1")
	c.now += 1000
	c.must(DrainNode{Node: "n1", Why: "new disk", Deadline: c.now + 5000, Remove: true})
	n, _ := c.s.View().Node("n1")
	if want := (dcos.Drain{Since: first.Drain.Since, Deadline: c.now + 5000, Remove: true, Why: "new disk"}); *n.Drain != want {
		t.Errorf("drain is %+v, want %+v", *n.Drain, want)
	}
	if now, _ := c.s.View().Task(k.ID); now.Goal != dcos.GoalRun {
		t.Error("a drain itself stopped a task: that is the reconciler's to decide")
	}
	c.must(AddTasks{App: "/a", Version: k.Version, Count: 1, First: 1})
	second := c.tasks("/a")[1].ID
	c.refuse(dcos.ErrConflict, Place{Items: []Placement{{Task: second, Node: "n1"}}})
	// What the agent says of itself later does not end the drain.
	again := testNode("n1")
	again.Zone = "b"
	c.must(PutNode{Node: again})
	c.refuse(dcos.ErrConflict, Place{Items: []Placement{{Task: second, Node: "n1"}}})
	c.must(ActivateNode{Node: "n1"})
	c.must(Place{Items: []Placement{{Task: second, Node: "n1"}}})
	c.refuse(dcos.ErrNotFound, DrainNode{Node: "n9"})
	c.refuse(dcos.ErrInvalid, DrainNode{Node: "n1", Deadline: -1})
}

func TestRemovedNodeIsRefusedUntilItsCertificateIsVoidOrItJoinsAnew(t *testing.T) {
	t.Parallel()
	c, k := leveled(t, nil)
	c.refuse(dcos.ErrConflict, RetireNode{Node: "n1"})
	c.refuse(dcos.ErrConflict, RetireNode{Node: "n1", Gone: true}) // it is there
	c.refuse(dcos.ErrConflict, RetireNode{Node: "n2"})             // empty, but nobody asked to drain it
	c.must(DrainNode{Node: "n1", Remove: true})
	c.refuse(dcos.ErrConflict, RetireNode{Node: "n1"})
	c.must(StopTasks{Tasks: []dcos.TaskID{k.ID}, Final: true})
	c.must(TaskStatuses{Node: "n1", Statuses: []dcos.Status{{Task: k.ID, Epoch: k.Epoch, Seq: 1, State: dcos.TaskKilled}}})
	c.must(RetireNode{Node: "n1", Why: "decommissioned"})

	v := c.s.View()
	if _, ok := v.Node("n1"); ok {
		t.Error("a removed node is still seen")
	}
	for n := range v.Nodes() {
		if n.ID == "n1" {
			t.Error("a removed node is still listed")
		}
	}
	if n, ok := v.Removed("n1"); !ok || n.Why != "decommissioned" || len(n.Total.Ports) != 0 {
		t.Errorf("what is left of it is %+v, %v", n, ok)
	}
	if _, ok := v.Removed("n2"); ok {
		t.Error("another node counts as removed")
	}
	c.refuse(dcos.ErrDenied, PutNode{Node: testNode("n1")})
	c.refuse(dcos.ErrNotFound, SetNodeState{Node: "n1", Boot: "boot-1", State: dcos.NodeLost})
	c.refuse(dcos.ErrNotFound, RemoveNode{Node: "n1"})
	c.refuse(dcos.ErrNotFound, RetireNode{Node: "n1"})
	c.must(ReadmitNode{Node: "n1"})
	c.must(ReadmitNode{Node: "n2"})
	c.must(PutNode{Node: testNode("n1")})

	// Forgotten at the next removal after its certificate has ended.
	c.must(DrainNode{Node: "n1", Remove: true})
	c.must(RetireNode{Node: "n1"})
	for end := c.now + forgetAfter + 1; c.s.View().Time() < end; { // time goes on in bounded jumps
		c.now = min(end, c.now.Add(MaxJump))
		c.must(DrainNode{Node: "n2", Remove: true, Deadline: c.now})
	}
	c.must(DrainNode{Node: "n2", Remove: true})
	c.must(RetireNode{Node: "n2"})
	if _, ok := c.s.View().Removed("n1"); ok {
		t.Error("a removed node is remembered for ever")
	}
	if _, ok := c.s.View().Removed("n2"); !ok {
		t.Error("the node that was just removed is forgotten")
	}
}

func TestTasksThatMayWaitForALostNodeAreUnreachableUntilItIsBackOrGivenUp(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		app   func(*dcos.App)
		stop  bool
		waits bool
	}{
		{"unfenced", nil, false, false},
		{"unreachable strategy", func(a *dcos.App) { a.Unreachable = dcos.Unreachable{InactiveSeconds: 0, ExpungeSeconds: 60} }, false, true},
		{"disabled", func(a *dcos.App) { a.Unreachable.Disabled = true }, false, true},
		{"disabled, and to stop", func(a *dcos.App) { a.Unreachable.Disabled = true }, true, false},
		{"fenced", func(a *dcos.App) { a.Fence = dcos.FenceLease }, false, true},
		{"fenced, and to stop", func(a *dcos.App) { a.Fence = dcos.FenceLease }, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, k := leveled(t, tt.app)
			if tt.stop {
				c.must(StopTasks{Tasks: []dcos.TaskID{k.ID}})
			}
			c.loseNode("n1")
			now, _ := c.s.View().Task(k.ID)
			if now.Live() != tt.waits || (now.Unreachable == c.now) != tt.waits {
				t.Fatalf("after its node was lost the task is %s, unreachable since %s", now.State, now.Unreachable)
			}
			if !tt.waits {
				return
			}
			c.must(PutNode{Node: testNode("n1")})
			if now, _ = c.s.View().Task(k.ID); now.Unreachable != 0 || !now.Live() {
				t.Errorf("its node is back, it is %s, unreachable since %s", now.State, now.Unreachable)
			}
			c.refuse(dcos.ErrConflict, LoseTasks{Node: "n1", Tasks: []dcos.TaskID{k.ID}, Unreachable: true})
			c.loseNode("n1")
			c.refuse(dcos.ErrConflict, RetireNode{Node: "n1"})
			if tt.stop {
				c.must(LoseTasks{Node: "n1", Tasks: []dcos.TaskID{k.ID}, Unreachable: true})
			} else {
				c.must(RetireNode{Node: "n1", Gone: true})
			}
			if now, _ = c.s.View().Task(k.ID); now.State != dcos.TaskLost || now.Unreachable != 0 {
				t.Errorf("given up, it is %s, unreachable since %s", now.State, now.Unreachable)
			}
		})
	}
}

func TestRebootLosesEvenFencedTasksAtOnce(t *testing.T) {
	t.Parallel()
	c, k := leveled(t, func(a *dcos.App) { a.Fence, a.Unreachable.Disabled = dcos.FenceLease, true })
	c.loseNode("n1")
	n := testNode("n1")
	n.Boot = "boot-2"
	c.must(PutNode{Node: n})
	if now, _ := c.s.View().Task(k.ID); now.State != dcos.TaskLost || now.Reason != dcos.ReasonReboot {
		t.Errorf("after a reboot the task is %s (%s)", now.State, now.Reason)
	}
}

// Masters of the first release apply the same entries.
func TestAtTheFirstLevelALostNodeLosesAllItsTasks(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.must(InitCluster{Info: dcos.ClusterInfo{ID: "c", Name: "c", Level: 1}})
	c.must(PutNode{Node: testNode("n1")})
	for _, cmd := range []Command{
		DrainNode{Node: "n1"},
		RetireNode{Node: "n1"},
		PutApp{App: dcos.App{ID: "/f", Fence: dcos.FenceLease}},
		PutApp{App: dcos.App{ID: "/u", Unreachable: dcos.Unreachable{Disabled: true}}},
		LoseTasks{Node: "n1", Unreachable: true},
	} {
		if err := c.s.View().Admits(cmd); err == nil {
			t.Errorf("%T may be proposed to masters that do not know it", cmd)
		}
	}
}

// A reservation names its node's row. Without this it outlived the row, and no
// master could read its own snapshots any more.
func TestNodeWithAReservationIsNotRemoved(t *testing.T) {
	t.Parallel()
	c, _ := leveled(t, nil)
	c.must(PutRole{Role: "eng"})
	c.must(Reserve{Reservation: dcos.Reservation{ID: "r1", Node: "n2", Role: "eng", Resources: resource.Set{CPUs: 1}}})
	c.must(DrainNode{Node: "n2", Remove: true})
	c.refuse(dcos.ErrConflict, RetireNode{Node: "n2"})
	c.loseNode("n2")
	c.refuse(dcos.ErrConflict, RetireNode{Node: "n2", Gone: true})
	c.must(Unreserve{ID: "r1"})
	c.must(RetireNode{Node: "n2", Gone: true})
	c.refuse(dcos.ErrNotFound, Reserve{Reservation: dcos.Reservation{ID: "r2", Node: "n2", Role: "eng", Resources: resource.Set{CPUs: 1}}})
	c.must(ReadmitNode{Node: "n2"})
	var b bytes.Buffer
	if err := c.s.View().WriteSnapshot(&b); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(&b); err != nil {
		t.Error(err)
	}
}
