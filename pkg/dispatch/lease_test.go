package dispatch

import (
	"fmt"
	"testing"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/resource"
	"github.com/dcos-go/dcos/pkg/state"
	"github.com/dcos-go/dcos/pkg/wire"
)

// fencedRig is a rig whose app is fenced.
func fencedRig(t *testing.T, change func(*dcos.App)) *rig {
	r := newRig(t)
	a := dcos.App{
		ID: "/a", Cmd: "true", Instances: 1, Need: resource.Set{CPUs: 1}, Fence: dcos.FenceLease,
		Backoff: dcos.Backoff{InitialMillis: 1, FactorMilli: 1000, MaxMillis: 1}, Upgrade: dcos.Upgrade{MinHealth: 1, MaxOver: 1},
	}
	if change != nil {
		change(&a)
	}
	r.ver = r.apply(state.PutApp{App: a, Force: true}).Items[0].Version
	return r
}

func fencing(id string) wire.Hello {
	h := hello(id)
	h.Fences = true
	return h
}

// loseNode ends the session of a node whose machine is silent.
func (r *rig) silence(sess uint64) {
	r.t.Helper()
	r.clear()
	r.step(Closed{Sess: sess, How: HowSilence})
	r.step(Probed{ID: effects[Probe](r)[0].ID})
	r.later(probeWait)
}

func (r *rig) state(id dcos.TaskID) dcos.TaskState {
	k, _ := r.store.View().Task(id)
	return k.State
}

func TestLeaseIsGrantedOnlyAfterAMajorityConfirmsTheLeaderOfTheBeat(t *testing.T) {
	t.Parallel()
	r := fencedRig(t, nil)
	r.open(1, fencing("n1"))
	r.clear()
	r.step(Got{Sess: 1, Msg: wire.Beat{N: 1}})
	if len(effects[Confirm](r)) != 0 {
		t.Error("a node without fenced tasks costs a round")
	}
	r.place("n1", 1)
	r.clear()
	r.step(Got{Sess: 1, Msg: wire.Beat{N: 2}})
	asked := effects[Confirm](r)
	if len(asked) != 1 || asked[0].Term != 1 {
		t.Fatalf("asked %+v, want one round for term 1", asked)
	}
	r.step(Got{Sess: 1, Msg: wire.Beat{N: 3}}) // comes after the round began
	for _, a := range sent[wire.BeatAck](r, 1) {
		if a.Lease != 0 {
			t.Errorf("beat %d got a lease before anything was confirmed", a.N)
		}
	}
	r.step(Confirmed{ID: asked[0].ID + 1, OK: true})
	r.step(Confirmed{ID: asked[0].ID, OK: true})
	acks := sent[wire.BeatAck](r, 1)
	if last := acks[len(acks)-1]; last.Lease != 2 {
		t.Errorf("granted %+v, want the lease of beat 2: beat 3 came after the round began", last)
	}
	next := effects[Confirm](r)
	if len(next) != 2 {
		t.Fatalf("%d rounds, want another one for beat 3", len(next))
	}
	r.clear()
	r.step(Confirmed{ID: next[1].ID})
	if acks := sent[wire.BeatAck](r, 1); len(acks) != 0 {
		t.Errorf("granted %+v though another master leads", acks)
	}
	r.step(Follow{})
	r.step(Confirmed{ID: next[1].ID, OK: true})
	if acks := sent[wire.BeatAck](r, 1); len(acks) != 0 {
		t.Errorf("a master that does not lead granted %+v", acks)
	}
}

func TestFencedTaskIsGivenUpWhenItsLeaseHasEndedForCertain(t *testing.T) {
	t.Parallel()
	r := fencedRig(t, nil)
	r.open(1, fencing("n1"))
	id := r.place("n1", 1)[0]
	r.later(4 * time.Second)
	r.beat(1)
	contact := r.now
	r.later(3 * time.Second)
	r.silence(1)
	r.wantNode("n1", dcos.NodeLost)
	for r.now.Before(contact.Add(dcos.LeaseFor + dcos.LeaseMargin - 100*time.Millisecond)) {
		if got := r.state(id); got.Terminal() {
			t.Fatalf("%v after the last contact the task is %s", r.now.Sub(contact), got)
		}
		r.later(100 * time.Millisecond)
	}
	r.later(200 * time.Millisecond)
	if got := r.state(id); got != dcos.TaskLost {
		t.Errorf("the task is %s, want it to be given up", got)
	}
	r.later(2 * farOff)
	if len(r.core.nodes) != 0 {
		t.Errorf("%d nodes are kept though nothing waits for them", len(r.core.nodes))
	}
}

// The leader before may have extended the lease until the new one began.
func TestNewLeaderCountsTheLeaseFromItsOwnBegin(t *testing.T) {
	t.Parallel()
	r := fencedRig(t, nil)
	r.open(1, fencing("n1"))
	id := r.place("n1", 1)[0]
	r.silence(1)
	r.later(50 * time.Second)
	r.lead(2)
	r.later(dcos.LeaseFor + dcos.LeaseMargin - 200*time.Millisecond)
	if got := r.state(id); got.Terminal() {
		t.Fatalf("the task is %s before the lease that the old leader may have given has ended", got)
	}
	r.later(time.Second)
	if got := r.state(id); got != dcos.TaskLost {
		t.Errorf("the task is %s", got)
	}
}

func TestNodeThatComesBackKeepsItsFencedTask(t *testing.T) {
	t.Parallel()
	r := fencedRig(t, nil)
	r.open(1, fencing("n1"))
	id := r.place("n1", 1)[0]
	r.report(1, r.status(id, 1, dcos.TaskRunning))
	r.later(time.Second)
	r.silence(1)
	r.later(30 * time.Second)
	h := fencing("n1")
	h.Tasks = []wire.TaskRef{r.ref(id)}
	r.open(2, h)
	for range 60 {
		r.beat(2)
		r.later(2 * time.Second)
	}
	if k, _ := r.store.View().Task(id); k.State != dcos.TaskRunning || k.Unreachable != 0 {
		t.Errorf("the task is %s, unreachable since %s", k.State, k.Unreachable)
	}
}

func TestFencedTaskOfADisabledStrategyWaitsUntilItIsToStop(t *testing.T) {
	t.Parallel()
	r := fencedRig(t, func(a *dcos.App) { a.Unreachable.Disabled = true })
	r.open(1, fencing("n1"))
	id := r.place("n1", 1)[0]
	r.silence(1)
	r.later(5 * time.Minute)
	if got := r.state(id); got.Terminal() {
		t.Fatalf("the task is %s, want it to wait for ever", got)
	}
	r.apply(state.StopTasks{Tasks: []dcos.TaskID{id}, Final: true})
	r.later(2 * time.Second)
	if got := r.state(id); got != dcos.TaskLost {
		t.Errorf("the task is %s: its lease has ended long ago, and it is to stop", got)
	}
}

func TestAgentThatCannotFenceGetsNoFencedTask(t *testing.T) {
	t.Parallel()
	r := fencedRig(t, nil)
	r.open(1, hello("n1"))
	id := r.place("n1", 1)[0]
	for _, m := range sent[wire.Assign](r, 1) {
		if len(m.Run) > 0 {
			t.Errorf("sent %v", m.Run[0].Task)
		}
	}
	if k, _ := r.store.View().Task(id); k.State != dcos.TaskFailed || k.Message == "" {
		t.Errorf("the task is %s: %s", k.State, k.Message)
	}
}

func TestRemovedMachineIsToldAndItsSessionEnds(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open(1, hello("n1"))
	r.clear()
	r.apply(state.DrainNode{Node: "n1", Remove: true})
	r.apply(state.RetireNode{Node: "n1"})
	if m := sent[wire.Refused](r, 1); len(m) != 1 || !m[0].Removed {
		t.Errorf("told %+v, want that it was removed", m)
	}
	if len(effects[CloseSession](r)) != 1 || len(r.core.sessions) != 0 || len(r.core.nodes) != 0 {
		t.Errorf("%d sessions and %d nodes are left", len(r.core.sessions), len(r.core.nodes))
	}
	r.clear()
	r.step(Closed{Sess: 1, How: HowClosed})
	r.open(2, hello("n1"))
	if m := sent[wire.Refused](r, 2); len(m) != 1 || !m[0].Removed {
		t.Errorf("another session was told %+v", m)
	}
	r.later(2 * time.Minute)
	if _, ok := r.store.View().Removed("n1"); !ok || len(r.core.nodes) != 0 {
		t.Error("the removed node is looked for, or was registered anew")
	}
	r.apply(state.ReadmitNode{Node: "n1"})
	r.open(3, hello("n1"))
	r.wantNode("n1", dcos.NodeActive)
}

// A new leader with 5,000 agents: all come back within the grace, none is
// judged, no healthy task is touched, and little is proposed.
func TestFiveThousandAgentsMoveToANewLeaderWithoutHarm(t *testing.T) {
	t.Parallel()
	const agents = 5000
	r := newRig(t)
	var cmds []state.Command
	for i := range agents {
		n := testNode(fmt.Sprintf("n%04d", i))
		cmds = append(cmds, state.PutNode{Node: n})
	}
	for len(cmds) > 0 {
		r.commit(cmds[:500]...)
		cmds = cmds[500:]
	}
	r.commit(state.AddTasks{App: "/a", Version: r.ver, Count: agents})
	var items []state.Placement
	i := 0
	for k := range r.store.View().TasksOf("/a") {
		items = append(items, state.Placement{Task: k.ID, Node: dcos.NodeID(fmt.Sprintf("n%04d", i))})
		i++
	}
	r.commit(state.Place{Items: items})
	r.lead(2)
	r.clear()
	index := r.index
	for i := range agents {
		id := fmt.Sprintf("n%04d", i)
		h := hello(id)
		for k := range r.store.View().TasksOn(dcos.NodeID(id)) {
			h.Tasks = append(h.Tasks, wire.TaskRef{ID: k.ID, Epoch: k.Epoch, State: dcos.TaskRunning})
		}
		r.open(uint64(i+1), h)
		if i%1000 == 999 { // they beat as they were told, every 2 s at first
			r.now = r.now.Add(2 * time.Second)
			for s := range i + 1 {
				k := r.core.sessions[uint64(s+1)]
				r.step(Got{Sess: k.id, Msg: wire.Beat{Term: 2, Seq: k.seq, Hash: k.hash}})
			}
			r.step(Fired{})
		}
	}
	if r.index != index {
		t.Errorf("%d entries were proposed for agents whose rows are right", r.index-index)
	}
	welcomes, runs, stops := 0, 0, 0
	var last time.Duration
	for _, e := range r.out {
		s, ok := e.(Send)
		if !ok {
			continue
		}
		switch m := s.Msg.(type) {
		case wire.Welcome:
			welcomes++
		case wire.BeatAck:
			last = time.Duration(m.BeatMillis) * time.Millisecond
		case wire.Assign:
			runs += len(m.Run)
			stops += len(m.Stop)
		}
	}
	if welcomes != agents || runs != 0 || stops != 0 || last != beatLong {
		t.Errorf("%d welcomed, %d tasks sent again, %d stopped, beats every %v", welcomes, runs, stops, last)
	}
	r.clear()
	r.step(Fired{})
	r.now = r.now.Add(leaderGrace)
	r.step(Fired{})
	if n := len(effects[Probe](r)); n != 0 {
		t.Errorf("%d machines are looked for", n)
	}
}

func TestNodeThatComesAndGoesDoesNotFillTheLog(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open(1, hello("n1"))
	r.later(time.Second)
	index := r.index
	for sess := uint64(1); sess < 60; sess++ { // for a minute
		r.step(Closed{Sess: sess, How: HowClosed})
		r.later(500 * time.Millisecond)
		r.open(sess+1, hello("n1"))
		r.later(500 * time.Millisecond)
	}
	if wrote := r.index - index; wrote > 14 {
		t.Errorf("%d entries were written, want two every %v", wrote, suspectEvery)
	}
	r.step(Closed{Sess: 60, How: HowClosed})
	r.later(suspectEvery)
	r.wantNode("n1", dcos.NodeSuspect)
}
