package dispatch

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/resource"
	"github.com/dcos-go/dcos/pkg/state"
	"github.com/dcos-go/dcos/pkg/wire"
)

// rig drives one core by hand against a real state.
type rig struct {
	t     *testing.T
	now   time.Time
	core  *Core
	store *state.Store
	index dcos.Index
	out   []Effect // since the last clear
	hold  bool     // proposals stay unanswered
	held  []Propose
	ids   []dcos.TaskID
	ver   dcos.Version
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, now: time.UnixMilli(1767225600000), core: New(), store: state.New()}
	r.apply(state.InitCluster{Info: dcos.ClusterInfo{ID: "c", Name: "c", Level: state.Level}})
	res := r.apply(state.PutApp{App: dcos.App{
		ID: "/a", Cmd: "true", Instances: 1, Need: resource.Set{CPUs: 1},
		Backoff: dcos.Backoff{InitialMillis: 1, FactorMilli: 1000, MaxMillis: 1}, Upgrade: dcos.Upgrade{MinHealth: 1, MaxOver: 1},
	}})
	r.ver = res.Items[0].Version
	r.lead(1)
	return r
}

func (r *rig) lead(term dcos.Term) {
	r.step(Lead{Term: term, View: r.store.View()})
}

// apply commits commands, which must all be good, and tells the core.
func (r *rig) apply(cmds ...state.Command) state.Result {
	r.t.Helper()
	res, commit := r.commit(cmds...)
	for _, item := range res.Items {
		if err := errors.Join(append(item.Each, item.Err)...); err != nil {
			r.t.Fatalf("apply: %v", err)
		}
	}
	r.changed(commit)
	return res
}

// changed tells the core of a commit as the feed does: not of one that changed
// nothing.
func (r *rig) changed(commit state.Commit) {
	r.t.Helper()
	if len(commit.Changes) > 0 {
		r.step(Changed{View: commit.View, Changes: commit.Changes})
	}
}

func (r *rig) commit(cmds ...state.Command) (state.Result, state.Commit) {
	r.t.Helper()
	b, err := state.EncodeProposal(state.Proposal{Commands: cmds})
	if err != nil {
		r.t.Fatal(err)
	}
	r.index++
	commit, results, err := r.store.Apply(r.index, state.EncodeEntry(dcos.TimeOf(r.now), b))
	if err != nil {
		r.t.Fatal(err)
	}
	return results[0], commit
}

// step gives an event and carries proposals out, unless they are held.
func (r *rig) step(ev Event) {
	r.t.Helper()
	for _, e := range r.core.Step(r.now, ev) {
		r.out = append(r.out, e)
		if p, ok := e.(Propose); ok {
			if r.held = append(r.held, p); !r.hold {
				r.settle()
			}
		}
	}
}

// settle applies the proposals that are held.
func (r *rig) settle() {
	r.t.Helper()
	held := r.held
	r.held = nil
	for _, p := range held {
		res, commit := r.commit(p.Commands...)
		r.step(Done{ID: p.ID, Result: res})
		r.changed(commit)
	}
}

// fail answers the held proposals with an error.
func (r *rig) fail(err error) {
	r.t.Helper()
	held := r.held
	r.held = nil
	for _, p := range held {
		r.step(Done{ID: p.ID, Err: err})
	}
}

func (r *rig) later(d time.Duration) {
	r.t.Helper()
	for end := r.now.Add(d); r.now.Before(end); {
		r.now = r.now.Add(min(100*time.Millisecond, end.Sub(r.now)))
		r.step(Fired{})
	}
}

func testNode(id string) dcos.Node {
	return dcos.Node{
		ID: dcos.NodeID(id), Hostname: id, Addr: id + ":7445", Boot: "b1", Isolation: dcos.IsolationContainer,
		Total: resource.Set{CPUs: resource.Whole(100), Mem: resource.Whole(1000)},
	}
}

func hello(id string, tasks ...wire.TaskRef) wire.Hello {
	return wire.Hello{Versions: wire.Supported, Cluster: "c", Node: testNode(id), Tasks: tasks}
}

func (r *rig) open(sess uint64, h wire.Hello) {
	r.t.Helper()
	r.step(Opened{Sess: sess, Peer: dcos.AgentIdentity("c", h.Node.ID), Hello: h})
}

func (r *rig) beat(sess uint64) { r.step(Got{Sess: sess, Msg: wire.Beat{}}) }

// place makes n tasks and puts them on a node.
func (r *rig) place(node string, n uint32) []dcos.TaskID {
	r.t.Helper()
	r.apply(state.AddTasks{App: "/a", Version: r.ver, Count: n, First: uint32(len(r.ids))})
	var ids []dcos.TaskID
	var items []state.Placement
	for t := range r.store.View().TasksOf("/a") {
		if !slices.Contains(r.ids, t.ID) {
			ids = append(ids, t.ID)
			items = append(items, state.Placement{Task: t.ID, Node: dcos.NodeID(node)})
		}
	}
	r.ids = append(r.ids, ids...)
	r.apply(state.Place{Items: items})
	slices.Sort(ids)
	return ids
}

func (r *rig) ref(id dcos.TaskID) wire.TaskRef {
	k, _ := r.store.View().Task(id)
	return wire.TaskRef{ID: id, Epoch: k.Epoch, State: k.State}
}

func (r *rig) status(id dcos.TaskID, seq uint64, s dcos.TaskState) dcos.Status {
	return dcos.Status{Task: id, Epoch: r.ref(id).Epoch, Seq: seq, State: s}
}

func (r *rig) report(sess uint64, statuses ...dcos.Status) {
	r.t.Helper()
	r.step(Got{Sess: sess, Msg: wire.Report{Statuses: statuses}})
}

// sent are the messages of one type on a session since the last clear.
func sent[M wire.Msg](r *rig, sess uint64) []M {
	var out []M
	for _, e := range r.out {
		if s, ok := e.(Send); ok && s.Sess == sess {
			if m, ok := s.Msg.(M); ok {
				out = append(out, m)
			}
		}
	}
	return out
}

func effects[E Effect](r *rig) []E {
	var out []E
	for _, e := range r.out {
		if e, ok := e.(E); ok {
			out = append(out, e)
		}
	}
	return out
}

func (r *rig) clear() { r.out = nil }

func (r *rig) wantNode(id string, want dcos.NodeState) {
	r.t.Helper()
	row, ok := r.store.View().Node(dcos.NodeID(id))
	if !ok || row.State != want {
		r.t.Fatalf("node %s is %+v, want it %v", id, row, want)
	}
}

func (r *rig) wantTask(id dcos.TaskID, want dcos.TaskState) {
	r.t.Helper()
	if k, ok := r.store.View().Task(id); !ok || k.State != want {
		r.t.Fatalf("task %s is %+v, want it %v", id, k, want)
	}
}

func TestThreeMissingBeatsSuspectSixClose(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open(1, hello("n"))
	r.wantNode("n", dcos.NodeActive)
	r.later(5900 * time.Millisecond)
	r.wantNode("n", dcos.NodeActive)
	r.later(200 * time.Millisecond)
	r.wantNode("n", dcos.NodeSuspect)
	r.beat(1)
	r.wantNode("n", dcos.NodeActive)
	r.clear()
	r.later(11900 * time.Millisecond)
	if len(effects[CloseSession](r)) != 0 {
		t.Fatal("closed before six beats were missing")
	}
	r.later(200 * time.Millisecond)
	if len(effects[CloseSession](r)) != 1 || len(effects[Probe](r)) != 1 {
		t.Errorf("effects %v, want the session closed and the machine probed", r.out)
	}
}

func TestBeatsStretchWithTheNumberOfSessions(t *testing.T) {
	t.Parallel()
	c := New()
	for n, want := range map[int]time.Duration{0: 2 * time.Second, 500: 2 * time.Second, 2750: 6 * time.Second, 5000: 10 * time.Second, 9000: 10 * time.Second} {
		clear(c.sessions)
		for i := range n {
			c.sessions[uint64(i)] = nil
		}
		if got := c.every(); got != want {
			t.Errorf("with %d sessions beats come every %s, want %s", n, got, want)
		}
	}
}

func TestMachineThatAnswersGetsAMinuteOneThatDoesNotIsLost(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		own     Probed
		members []bool // what they answer; fewer than two: the rest is silent
		lost    bool
	}{
		"alive":                            {Probed{Alive: true}, nil, false},
		"alive to a member":                {Probed{}, []bool{false, true}, false},
		"silent to all":                    {Probed{}, []bool{false, false}, true},
		"silent, a member does not answer": {Probed{}, []bool{false}, true},
		"silent, no member answers":        {Probed{}, nil, true},
		"nothing learned here":             {Probed{Unknown: true}, []bool{false, false}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			for i, id := range []string{"m1", "m2", "n"} {
				r.open(uint64(i+1), hello(id))
			}
			ids := r.place("n", 1)
			r.clear()
			r.step(Closed{Sess: 3, How: HowClosed})
			r.wantNode("n", dcos.NodeSuspect)
			probes := effects[Probe](r)
			if len(probes) != 1 || probes[0].Addr != "n:7445" || len(sent[wire.ProbeAsk](r, 1)) != 1 || len(sent[wire.ProbeAsk](r, 2)) != 1 {
				t.Fatalf("effects %v, want a probe and two members asked", r.out)
			}
			tt.own.ID = probes[0].ID
			for i, alive := range tt.members {
				r.step(Got{Sess: uint64(i + 1), Msg: wire.ProbeAnswer{ID: tt.own.ID, Alive: alive}})
			}
			r.step(tt.own)
			for range 20 { // beats go on
				r.later(time.Second)
				r.beat(1)
				r.beat(2)
				for _, p := range effects[Probe](r)[1:] {
					r.step(Probed{ID: p.ID, Alive: !tt.own.Unknown, Unknown: tt.own.Unknown})
				}
			}
			want := map[bool]dcos.NodeState{true: dcos.NodeLost, false: dcos.NodeSuspect}[tt.lost]
			r.wantNode("n", want)
			if tt.lost {
				r.wantTask(ids[0], dcos.TaskLost)
				return
			}
			r.wantTask(ids[0], dcos.TaskPlaced)
			for range 41 {
				r.later(time.Second)
				r.beat(1)
				r.beat(2)
			}
			r.wantNode("n", dcos.NodeLost)
		})
	}
}

func TestMachineThatDiesWhileItsAgentIsAwayIsLostBeforeTheMinute(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open(1, hello("n"))
	r.clear()
	r.step(Closed{Sess: 1})
	r.step(Probed{ID: effects[Probe](r)[0].ID, Alive: true})
	r.clear()
	r.later(probeAgain + time.Second)
	r.step(Probed{ID: effects[Probe](r)[0].ID})
	r.wantNode("n", dcos.NodeLost)
}

func TestClonedDiskIsRefusedAndARebootIsNot(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open(1, hello("n"))
	ids := r.place("n", 2)
	r.report(1, r.status(ids[0], 1, dcos.TaskStaging))
	r.later(time.Second)
	other := hello("n")
	other.Node.Boot = "b2"
	r.clear()
	r.open(2, other)
	if refused := sent[wire.Refused](r, 2); len(refused) != 1 || !strings.Contains(refused[0].Why, "cloned") {
		t.Fatalf("effects %v, want a refusal that names the cloned disk", r.out)
	}
	r.wantTask(ids[0], dcos.TaskStaging)
	r.step(Closed{Sess: 1})
	r.open(3, other)
	if len(sent[wire.Welcome](r, 3)) != 1 {
		t.Fatalf("effects %v, want a welcome after the first session ended", r.out)
	}
	r.wantTask(ids[0], dcos.TaskLost)
	r.wantTask(ids[1], dcos.TaskLost)
	if a := sent[wire.Assign](r, 3); len(a) != 1 || !a[0].Full || len(a[0].Keep) != 0 {
		t.Errorf("assigned %+v, want a full and empty set", a)
	}
}

func TestSameBootTakesItsSessionOver(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open(1, hello("n"))
	r.clear()
	r.open(2, hello("n"))
	if c := effects[CloseSession](r); len(c) != 1 || c[0].Sess != 1 || len(sent[wire.Welcome](r, 2)) != 1 {
		t.Errorf("effects %v, want the older session closed and a welcome", r.out)
	}
	if len(effects[Propose](r)) != 0 {
		t.Error("a node whose row is right is proposed again")
	}
	r.step(Closed{Sess: 1})
	r.wantNode("n", dcos.NodeActive)
}

func TestNewLeaderWaitsForAgentsBeforeItJudges(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open(1, hello("n1"))
	r.open(2, hello("n2"))
	r.step(Follow{Leader: "m2:7444"})
	if m := sent[wire.Redirect](r, 1); len(m) != 1 || m[0].Leader != "m2:7444" {
		t.Fatalf("effects %v, want the agents sent on", r.out)
	}
	r.core = New()
	r.lead(2)
	r.clear()
	r.later(10 * time.Second)
	r.open(3, hello("n1"))
	r.later(4 * time.Second)
	r.beat(3)
	if len(effects[Probe](r)) != 0 {
		t.Fatal("judged a node before 15 s had passed")
	}
	r.later(2 * time.Second)
	p := effects[Probe](r)
	if len(p) != 1 || p[0].Addr != "n2:7445" {
		t.Fatalf("probes %v, want one of n2", p)
	}
}

func TestStaleLeaderSendsAgentsAway(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	h := hello("n")
	h.Term = 2
	r.open(1, h)
	if len(sent[wire.Redirect](r, 1)) != 1 || len(effects[Propose](r)) != 0 {
		t.Errorf("effects %v, want a redirect of an agent that has seen a newer leader", r.out)
	}
}

func TestWhatALostCheckpointForgotIsLostWhatIsOnItsWayIsSentAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open(1, hello("n"))
	ids := r.place("n", 3)
	r.report(1, r.status(ids[0], 1, dcos.TaskRunning), r.status(ids[1], 2, dcos.TaskRunning))
	r.later(time.Second)
	r.clear()
	r.open(2, hello("n", r.ref(ids[0])))
	r.wantTask(ids[0], dcos.TaskRunning)
	r.wantTask(ids[1], dcos.TaskLost)
	r.wantTask(ids[2], dcos.TaskPlaced)
	a := sent[wire.Assign](r, 2)
	if len(a) != 1 || len(a[0].Run) != 1 || a[0].Run[0].Task != ids[2] || len(a[0].Keep) != 2 {
		t.Errorf("assigned %+v, want the set named and the third task's launch", a)
	}
}

func TestAssignmentsAreDeltasAndTheirHashesFollow(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open(1, hello("n"))
	ids := r.place("n", 150)
	r.apply(state.StopTasks{Tasks: ids[:1]})
	r.report(1, r.status(ids[1], 1, dcos.TaskRunning), r.status(ids[1], 2, dcos.TaskFinished))
	r.later(time.Second)
	told := make(map[dcos.TaskID]dcos.Epoch)
	seq, runs := uint64(0), 0
	for _, m := range sent[wire.Assign](r, 1) {
		if m.Seq <= seq {
			t.Fatalf("assignment %d after %d", m.Seq, seq)
		}
		seq = m.Seq
		if m.Full {
			clear(told)
		}
		for _, k := range m.Keep {
			told[k.ID] = k.Epoch
		}
		for _, l := range m.Run {
			told[l.Task] = l.Epoch
			runs++
		}
		for _, s := range m.Stop {
			delete(told, s.ID)
		}
		if len(m.Run) > assignRun {
			t.Errorf("%d launches in one message", len(m.Run))
		}
		var refs []wire.TaskRef
		for id, epoch := range told {
			refs = append(refs, wire.TaskRef{ID: id, Epoch: epoch})
		}
		if m.Hash != wire.SetHash(refs) {
			t.Errorf("assignment %d: hash %x, the set after it has %x", m.Seq, m.Hash, wire.SetHash(refs))
		}
	}
	if runs != 150 || len(told) != 148 {
		t.Errorf("%d launches sent and %d tasks told, want 150 and 148", runs, len(told))
	}
}

func TestWrongHashBringsTheWholeSetAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open(1, hello("n"))
	ids := r.place("n", 1)
	last := sent[wire.Assign](r, 1)[1]
	r.clear()
	r.step(Got{Sess: 1, Msg: wire.Beat{Term: 1, Seq: last.Seq, Hash: last.Hash}})
	r.step(Got{Sess: 1, Msg: wire.Beat{Term: 1, Seq: last.Seq - 1}}) // the last is on its way
	if a := sent[wire.Assign](r, 1); len(a) != 0 {
		t.Fatalf("assigned %+v although nothing is wrong", a)
	}
	for range 3 {
		r.step(Got{Sess: 1, Msg: wire.Beat{Term: 1, Seq: last.Seq, Hash: 1}})
	}
	a := sent[wire.Assign](r, 1)
	if len(a) != 1 || !a[0].Full || len(a[0].Run) != 1 || a[0].Run[0].Task != ids[0] {
		t.Errorf("assigned %+v, want everything once", a)
	}
	r.later(4 * time.Second)
	r.beat(1)
	r.later(2 * time.Second)
	r.clear()
	r.step(Got{Sess: 1, Msg: wire.Beat{Term: 1, Seq: 1}}) // the assignment was lost
	if a := sent[wire.Assign](r, 1); len(a) != 1 || !a[0].Full {
		t.Errorf("assigned %+v, want everything", a)
	}
}

func TestStatusesAreAcknowledgedWhenTheyAreInTheState(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open(1, hello("n"))
	ids := r.place("n", 2)
	r.hold = true
	r.clear()
	r.report(1, r.status(ids[0], 1, dcos.TaskStaging), r.status(ids[0], 2, dcos.TaskRunning), r.status(ids[0], 3, dcos.TaskFinished))
	if len(r.held) != 0 {
		t.Fatal("proposed before the others of 10 ms could come")
	}
	r.later(flushEvery)
	want := []Propose{{ID: r.held[0].ID, Commands: []state.Command{state.TaskStatuses{Node: "n", Statuses: []dcos.Status{
		r.status(ids[0], 2, dcos.TaskRunning), r.status(ids[0], 3, dcos.TaskFinished),
	}}}}}
	if diff := cmp.Diff(want, r.held); diff != "" {
		t.Fatalf("proposed (-want +got)\n%s", diff)
	}
	r.report(1, r.status(ids[1], 4, dcos.TaskRunning))
	r.later(time.Second)
	if len(r.held) != 1 {
		t.Fatal("two batches of one node are in flight")
	}
	r.fail(dcos.ErrUnknown)
	if len(sent[wire.Ack](r, 1)) != 0 {
		t.Fatal("acknowledged although the outcome is not known")
	}
	r.later(retryAfter)
	r.settle()
	if diff := cmp.Diff([]wire.Ack{{Seqs: []uint64{1, 2, 3, 4}}}, sent[wire.Ack](r, 1)); diff != "" {
		t.Errorf("acknowledged (-want +got)\n%s", diff)
	}
	r.wantTask(ids[0], dcos.TaskFinished)
	r.clear()
	r.report(1, r.status(ids[0], 5, dcos.TaskRunning)) // stale
	r.later(flushEvery)
	r.settle()
	if diff := cmp.Diff([]wire.Ack{{Seqs: []uint64{5}}}, sent[wire.Ack](r, 1)); diff != "" {
		t.Errorf("a stale status is acknowledged all the same (-want +got)\n%s", diff)
	}
}

func TestStatusesThatWaitAreBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open(1, hello("n"))
	ids := r.place("n", 1)
	r.hold = true
	for i := range uint64(3 * maxPending) {
		r.report(1, r.status(ids[0], i+1, dcos.TaskRunning))
	}
	r.later(time.Second)
	n := r.core.nodes["n"]
	if len(n.pending) != maxPending || len(r.held) != 1 || len(r.held[0].Commands[0].(state.TaskStatuses).Statuses) > batchNode {
		t.Errorf("%d statuses wait and %d proposals are out", len(n.pending), len(r.held))
	}
}

func TestSessionsAreBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for i := range uint64(maxSessions) {
		r.core.sessions[1000+i] = nil
	}
	r.open(1, hello("n"))
	if len(sent[wire.Refused](r, 1)) != 1 || len(effects[CloseSession](r)) != 1 {
		t.Errorf("effects %v, want a refusal", r.out)
	}
}

func TestStatusesOfManyNodesShareProposals(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for i := range 40 {
		r.open(uint64(i+1), hello(fmt.Sprint("n", i)))
		ids := r.place(fmt.Sprint("n", i), 1)
		defer func() { r.wantTask(ids[0], dcos.TaskRunning) }()
	}
	r.hold = true
	for i := range 40 {
		r.report(uint64(i+1), r.status(r.ids[i], 1, dcos.TaskRunning))
	}
	r.later(flushEvery)
	if len(r.held) != 1 || len(r.held[0].Commands) != 40 {
		t.Fatalf("%d proposals for 40 nodes", len(r.held))
	}
	r.settle()
}

func TestTaskStoppedBeforeItWasAssignedIsNamedToItsAgent(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open(1, hello("n"))
	r.step(Closed{Sess: 1})
	// It was placed and stopped before the core saw any of it.
	node, _ := r.store.View().Node("n")
	r.commit(state.SetNodeState{Node: "n", Boot: node.Boot, State: dcos.NodeActive})
	r.commit(state.AddTasks{App: "/a", Version: r.ver, Count: 1})
	ids := []dcos.TaskID{slices.Collect(r.store.View().TasksOf("/a"))[0].ID}
	r.commit(state.Place{Items: []state.Placement{{Task: ids[0], Node: "n"}}})
	r.commit(state.StopTasks{Tasks: ids})
	r.step(Changed{View: r.store.View(), Reset: true})
	r.clear()
	r.open(2, hello("n"))
	a := sent[wire.Assign](r, 2)
	if len(a) != 1 || len(a[0].Stop) != 1 || a[0].Stop[0].ID != ids[0] || a[0].Stop[0].State != dcos.TaskPlaced || len(a[0].Keep) != 0 {
		t.Errorf("assigned %+v, want the task among those to stop", a)
	}
}

func TestRefusedProposalsAreTriedAgainUntilTheRowIsRight(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.hold = true
	r.open(1, hello("n"))
	for range 5 {
		r.fail(dcos.ErrUnavailable)
		if len(r.held) != 0 {
			t.Fatal("proposed again at once")
		}
		r.later(retryAfter)
	}
	r.settle()
	r.wantNode("n", dcos.NodeActive)
	if len(sent[wire.Welcome](r, 1)) != 1 {
		t.Error("no welcome")
	}
	r.step(Closed{Sess: 1})
	r.fail(dcos.ErrUnknown)
	r.later(retryAfter)
	r.settle()
	r.wantNode("n", dcos.NodeSuspect)
}

func TestNodeThatTheStateCanNeverTakeIsRefusedOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.hold = true
	r.open(1, hello("n"))
	r.fail(fmt.Errorf("%w: the proposal is too large", dcos.ErrInvalid))
	if len(sent[wire.Refused](r, 1)) != 1 || len(effects[CloseSession](r)) != 1 {
		t.Fatalf("effects %v, want a refusal", r.out)
	}
	r.later(10 * time.Second)
	if len(r.held) != 0 || len(r.core.nodes) != 0 {
		t.Errorf("%d proposals and %d nodes are left of it", len(r.held), len(r.core.nodes))
	}
}

func TestRefusedNodeIsNotWelcomedForItsForgottenTasks(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open(1, hello("n"))
	ids := r.place("n", 1)
	r.report(1, r.status(ids[0], 1, dcos.TaskRunning))
	r.later(time.Second)
	bad := hello("n") // knows no task, and
	bad.Node.Total.CPUs = -1
	r.clear()
	r.open(2, bad)
	if len(sent[wire.Welcome](r, 2)) != 0 || len(sent[wire.Refused](r, 2)) != 1 {
		t.Errorf("effects %v, want a refusal", r.out)
	}
}

func TestRefusedHelloKeepsNoOtherWaiting(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open(1, hello("n"))
	r.wantNode("n", dcos.NodeActive)
	bad := hello("n")
	bad.Node.Total.CPUs = -1
	r.open(2, bad)
	if len(sent[wire.Refused](r, 2)) != 1 {
		t.Fatalf("effects %v, want a refusal", r.out)
	}
	r.wantNode("n", dcos.NodeSuspect) // it has no session any more
	r.open(3, hello("n"))
	if len(sent[wire.Welcome](r, 3)) != 1 {
		t.Fatalf("effects %v, want a welcome", r.out)
	}
	r.wantNode("n", dcos.NodeActive)
}

func TestAgentWithTooManyAttributesIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	h := hello("n")
	h.Node.Attributes = map[string]string{}
	for i := range 200 {
		h.Node.Attributes[fmt.Sprint("a", i)] = strings.Repeat("x", 400)
	}
	r.open(1, h)
	if refused := sent[wire.Refused](r, 1); len(refused) != 1 || !strings.Contains(refused[0].Why, "attributes") {
		t.Fatalf("effects %v, want a refusal that names the attributes", r.out)
	}
}

func TestCommandThatChangesNothingIsNotWaitedForLong(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open(1, hello("n"))
	r.hold = true
	r.step(Closed{Sess: 1})
	// Somebody else was faster: what this core proposes changes nothing, and
	// the feed has brought what did already.
	r.apply(state.SetNodeState{Node: "n", Boot: "b1", State: dcos.NodeSuspect, Why: "x"})
	r.settle()
	r.hold = false
	r.open(2, hello("n"))
	r.later(recheck)
	if len(sent[wire.Welcome](r, 2)) != 1 {
		t.Fatalf("effects %v, want a welcome", r.out)
	}
	r.wantNode("n", dcos.NodeActive)
}

// An agent that comes back before its machine was judged left a round of probes
// behind, each time, for as long as the master led.
func TestAnAgentThatComesAndGoesLeavesNoProbesBehind(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for sess := range uint64(20) {
		r.open(sess+1, hello("n1"))
		r.step(Closed{Sess: sess + 1, How: HowBroken})
	}
	r.open(21, hello("n1"))
	if n := len(r.core.probes); n != 0 {
		t.Errorf("%d rounds of probes are remembered of a node that is here", n)
	}
}

func TestNodesThatAreLostAreForgotten(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open(1, hello("n"))
	r.step(Closed{Sess: 1})
	for _, p := range effects[Probe](r) {
		r.step(Probed{ID: p.ID})
	}
	r.wantNode("n", dcos.NodeLost)
	r.later(10 * time.Second)
	if len(r.core.nodes) != 0 || len(r.core.sessions) != 0 || len(r.core.probes) != 0 || len(r.core.proposals) != 0 || len(r.core.open) != 0 {
		t.Errorf("left behind: %+v", r.core)
	}
}
