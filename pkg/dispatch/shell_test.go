package dispatch_test

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dcos-go/dcos/pkg/agent"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/dispatch"
	"github.com/dcos-go/dcos/pkg/journal"
	"github.com/dcos-go/dcos/pkg/journal/journaltest"
	"github.com/dcos-go/dcos/pkg/resource"
	"github.com/dcos-go/dcos/pkg/state"
	"github.com/dcos-go/dcos/pkg/wire"
)

// raft is one master that agrees with itself: the real state behind the real
// interfaces.
type raft struct {
	t     *testing.T
	mu    sync.Mutex
	store *state.Store
	log   []state.Commit
	more  chan struct{} // closed at the next commit
	role  dispatch.Role
	turn  chan struct{} // closed at the next change of role
}

func newRaft(t *testing.T) *raft {
	r := &raft{t: t, store: state.New(), more: make(chan struct{}), turn: make(chan struct{}), role: dispatch.Role{Term: 1, Leads: true}}
	r.must(state.InitCluster{Info: dcos.ClusterInfo{ID: "c", Name: "c", Level: state.Level}})
	return r
}

func (r *raft) Propose(_ context.Context, _ state.Origin, cmds ...state.Command) (state.Result, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.role.Leads {
		return state.Result{}, dcos.NotLeader{}
	}
	b, err := state.EncodeProposal(state.Proposal{Commands: cmds})
	if err != nil {
		return state.Result{}, err
	}
	commit, results, err := r.store.Apply(dcos.Index(len(r.log)+1), state.EncodeEntry(dcos.TimeOf(time.Now()), b))
	if err != nil {
		return state.Result{}, err
	}
	r.log = append(r.log, commit)
	close(r.more)
	r.more = make(chan struct{})
	return results[0], nil
}

func (r *raft) must(cmds ...state.Command) state.Result {
	r.t.Helper()
	res, err := r.Propose(context.Background(), state.Origin{}, cmds...)
	if err = errors.Join(err, res.Err()); err != nil {
		r.t.Fatalf("propose %v: %v", cmds, err)
	}
	return res
}

func (r *raft) View() state.View {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.store.View()
}

func (r *raft) Read(context.Context) (state.View, error) { return r.View(), nil }

func (r *raft) Watch(ctx context.Context, from dcos.Index) (iter.Seq2[state.Commit, error], error) {
	return func(yield func(state.Commit, error) bool) {
		for i := int(from); ; {
			r.mu.Lock()
			commits, more := r.log[i:], r.more
			r.mu.Unlock()
			for _, c := range commits {
				if !yield(c, nil) {
					return
				}
			}
			i += len(commits)
			select {
			case <-more:
			case <-ctx.Done():
				return
			}
		}
	}, nil
}

func (r *raft) leadership() (dispatch.Role, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.role, r.turn
}

func (r *raft) become(role dispatch.Role) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.role = role
	close(r.turn)
	r.turn = make(chan struct{})
}

// runtime plays processes that outlive the agent.
type runtime struct {
	mu      sync.Mutex
	procs   map[dcos.TaskID]*process // guarded by mu
	started []dcos.Spec              // guarded by mu
	refuse  error                    // guarded by mu: of the next starts
}

type process struct {
	ended chan struct{}
	exit  dcos.Exit
}

func newRuntime() *runtime { return &runtime{procs: make(map[dcos.TaskID]*process)} }

func (r *runtime) Start(_ context.Context, s dcos.Spec) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refuse != nil {
		return 0, r.refuse
	}
	if r.procs[s.Task] != nil {
		return 0, dcos.ErrConflict
	}
	r.procs[s.Task] = &process{ended: make(chan struct{})}
	r.started = append(r.started, s)
	return len(r.started), nil
}

func (r *runtime) get(id dcos.TaskID) *process {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.procs[id]
}

func (r *runtime) Adopt(_ context.Context, id dcos.TaskID) (bool, *dcos.Exit, error) {
	p := r.get(id)
	if p == nil {
		return false, nil, nil
	}
	select {
	case <-p.ended:
		return false, &p.exit, nil
	default:
		return true, nil, nil
	}
}

func (r *runtime) Wait(ctx context.Context, id dcos.TaskID) (dcos.Exit, error) {
	p := r.get(id)
	if p == nil {
		return dcos.Exit{Unknown: true}, nil
	}
	select {
	case <-p.ended:
		return p.exit, nil
	case <-ctx.Done():
		return dcos.Exit{}, ctx.Err()
	}
}

func (r *runtime) end(id dcos.TaskID, x dcos.Exit) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.procs[id]
	if p == nil {
		return
	}
	select {
	case <-p.ended:
	default:
		p.exit = x
		close(p.ended)
	}
}

func (r *runtime) Signal(id dcos.TaskID, sig int) error {
	r.end(id, dcos.Exit{Code: -1, Signal: sig})
	return nil
}

func (r *runtime) Kill(id dcos.TaskID) error { return r.Signal(id, 9) }

func (r *runtime) Remove(_ context.Context, id dcos.TaskID) error {
	r.end(id, dcos.Exit{Code: -1, Signal: 9})
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.procs, id)
	return nil
}

func (r *runtime) List() ([]dcos.TaskID, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ids []dcos.TaskID
	for id := range r.procs {
		ids = append(ids, id)
	}
	return ids, nil
}

// boxes are sandboxes that are names only.
type boxes struct {
	mu  sync.Mutex
	ids map[dcos.TaskID]bool // guarded by mu
}

func (b *boxes) Create(id dcos.TaskID, _ string) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ids[id] = true
	return "/sandboxes/" + string(id), nil
}

func (b *boxes) Remove(id dcos.TaskID) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.ids, id)
	return nil
}

func (b *boxes) List() ([]dcos.TaskID, error) { return nil, nil }

// rig is a master and an agent, both with their shells, on pipes.
type rig struct {
	t       *testing.T
	raft    *raft
	disp    *dispatch.Dispatcher
	runtime *runtime
	boxes   *boxes
	disk    *journaltest.FS
	boot    string
	serving sync.WaitGroup
	ctx     context.Context
	conns   []net.Conn // the agent's ends
	alive   bool       // what probes find
	peer    dcos.Identity
}

func newRig(t *testing.T) *rig {
	ctx, cancel := context.WithCancel(t.Context())
	g := &rig{
		t: t, raft: newRaft(t), runtime: newRuntime(), boxes: &boxes{ids: make(map[dcos.TaskID]bool)}, disk: journaltest.New(1), boot: "b1",
		ctx: ctx, alive: true, peer: dcos.AgentIdentity("c", "n1"),
	}
	g.disp = dispatch.NewDispatcher(dispatch.Config{
		Proposer: g.raft, Feed: g.raft, Leadership: g.raft.leadership, Log: slog.New(slog.DiscardHandler),
		Probe: func(context.Context, string) (bool, error) { return g.alive, nil },
	})
	g.serving.Go(func() {
		if err := g.disp.Run(ctx); err != nil {
			t.Errorf("dispatcher: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); g.serving.Wait() })
	return g
}

func (g *rig) dial(context.Context, string) (net.Conn, error) {
	mine, theirs := net.Pipe()
	g.conns = append(g.conns, mine)
	g.serving.Go(func() { _ = g.disp.Serve(g.ctx, theirs, g.peer) })
	return mine, nil
}

// agent starts an agent on the rig's disk; the result stops it and waits.
func (g *rig) agent() (stop func()) {
	g.t.Helper()
	j, records, err := journal.Open(g.disk, journal.Options{})
	if err != nil {
		g.t.Fatal(err)
	}
	a, err := agent.New(agent.Config{Cluster: "c", Seed: 7, Node: dcos.Node{
		ID: "n1", Hostname: "h1", Addr: "10.0.0.1:7445", Boot: g.boot, Isolation: dcos.IsolationContainer,
		Total: resource.Set{CPUs: resource.Whole(8), Mem: resource.Whole(8000)},
	}}, agent.Parts{
		Runtime: g.runtime, Sandboxes: g.boxes, Journal: j, Dial: g.dial, Log: slog.New(slog.DiscardHandler),
		Probe: func(context.Context, string) (bool, error) { return true, nil },
		Usage: func(context.Context) (wire.Usage, error) { return wire.Usage{CPUMilli: 1234}, nil },
	}, records)
	if err != nil {
		g.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(g.ctx)
	over := make(chan struct{})
	g.serving.Go(func() {
		defer close(over)
		if err := a.Run(ctx); err != nil {
			g.t.Errorf("agent: %v", err)
		}
		if err := j.Close(); err != nil {
			g.t.Errorf("close the journal: %v", err)
		}
	})
	return func() { cancel(); <-over }
}

// place makes an app of n instances and places them on the node.
func (g *rig) place(n uint32) []dcos.TaskID {
	g.t.Helper()
	res := g.raft.must(state.PutApp{App: dcos.App{
		ID: "/a", Cmd: "sleep 1", Instances: n, Need: resource.Set{CPUs: 100, Mem: 1000},
		Backoff: dcos.Backoff{InitialMillis: 1, FactorMilli: 1000, MaxMillis: 1}, Upgrade: dcos.Upgrade{MinHealth: 1, MaxOver: 1},
	}})
	g.raft.must(state.AddTasks{App: "/a", Version: res.Items[0].Version, Count: n})
	var ids []dcos.TaskID
	var items []state.Placement
	for t := range g.raft.View().TasksOf("/a") {
		ids = append(ids, t.ID)
		items = append(items, state.Placement{Task: t.ID, Node: "n1"})
	}
	g.raft.must(state.Place{Items: items})
	return ids
}

func (g *rig) settle(d time.Duration) {
	<-time.NewTimer(d).C // in the bubble's time
	synctest.Wait()
}

func (g *rig) want(id dcos.TaskID, s dcos.TaskState) *dcos.Task {
	g.t.Helper()
	t, ok := g.raft.View().Task(id)
	if !ok || t.State != s {
		g.t.Fatalf("task %s is %+v, want it %v", id, t, s)
	}
	return t
}

func TestTasksRunAndTheirExitCodesComeBackThroughBothShells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		stop := g.agent()
		g.settle(3 * time.Second)
		ids := g.place(20)
		g.settle(time.Second)
		for i, id := range ids {
			g.want(id, dcos.TaskRunning)
			if i%2 == 0 {
				g.runtime.end(id, dcos.Exit{Code: i})
			}
		}
		stop()
		for i, id := range ids {
			if i%2 == 1 {
				g.runtime.end(id, dcos.Exit{Code: i})
			}
		}
		stop = g.agent()
		g.settle(5 * time.Second)
		for i, id := range ids {
			k, _ := g.raft.View().Task(id)
			if k.Exit == nil || k.Exit.Code != i {
				t.Errorf("task %d ended as %+v, want exit code %d", i, k, i)
			}
		}
		if u, ok := g.disp.Usage("n1"); !ok || u.CPUMilli != 1234 {
			t.Errorf("usage of the node is %+v, %v", u, ok)
		}
		if len(g.runtime.started) != len(ids) {
			t.Errorf("%d starts of %d tasks", len(g.runtime.started), len(ids))
		}
		stop()
	})
}

func TestAgentThatRestartsKeepsItsTasksAndItsNodeIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		stop := g.agent()
		g.settle(3 * time.Second)
		ids := g.place(3)
		g.settle(time.Second)
		stop()
		g.settle(30 * time.Second)
		if n, _ := g.raft.View().Node("n1"); n.State != dcos.NodeSuspect {
			t.Errorf("30 s after its agent stopped the node is %v, want suspect", n.State)
		}
		stop = g.agent()
		g.settle(3 * time.Second)
		for _, id := range ids {
			g.want(id, dcos.TaskRunning)
		}
		if n, _ := g.raft.View().Node("n1"); n.State != dcos.NodeActive || len(g.runtime.started) != 3 {
			t.Errorf("node is %v after %d starts, want active after 3", n.State, len(g.runtime.started))
		}
		stop()
	})
}

func TestAgentThatStaysAwayForAMinuteIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		stop := g.agent()
		g.settle(3 * time.Second)
		ids := g.place(1)
		g.settle(time.Second)
		stop()
		g.settle(62 * time.Second)
		g.want(ids[0], dcos.TaskLost)
		// The copy that still runs is stopped when the agent comes back.
		stop = g.agent()
		g.settle(5 * time.Second)
		if list, _ := g.runtime.List(); len(list) != 0 {
			t.Errorf("%v still run after the node came back", list)
		}
		stop()
	})
}

func TestSilentMachineIsLostAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		stop := g.agent()
		g.settle(3 * time.Second)
		ids := g.place(1)
		g.settle(time.Second)
		g.alive = false
		stop()
		g.settle(3 * time.Second)
		g.want(ids[0], dcos.TaskLost)
	})
}

func TestSessionsMoveToTheNewLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		stop := g.agent()
		g.settle(3 * time.Second)
		ids := g.place(2)
		g.settle(time.Second)
		g.raft.become(dispatch.Role{Term: 2, Leader: "10.0.0.9:7444"})
		g.settle(3 * time.Second)
		if _, ok := g.disp.Usage("n1"); ok {
			t.Error("a master that does not lead still tells usage")
		}
		g.raft.become(dispatch.Role{Term: 3, Leads: true})
		g.settle(20 * time.Second)
		for _, id := range ids {
			g.want(id, dcos.TaskRunning)
		}
		g.runtime.end(ids[0], dcos.Exit{Code: 5})
		g.settle(time.Second)
		g.want(ids[0], dcos.TaskFailed)
		if n, _ := g.raft.View().Node("n1"); n.State != dcos.NodeActive {
			t.Errorf("node is %v under the new leader, want active", n.State)
		}
		stop()
	})
}

func TestAgentComesBackAfterABrokenConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		stop := g.agent()
		g.settle(3 * time.Second)
		ids := g.place(1)
		g.settle(time.Second)
		for range 5 {
			g.conns[len(g.conns)-1].Close()
			g.settle(2 * time.Second)
		}
		g.runtime.end(ids[0], dcos.Exit{})
		g.settle(time.Second)
		g.want(ids[0], dcos.TaskFinished)
		stop()
	})
}

func TestStrangersGetNothingFromADispatcher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		g.settle(time.Second)
		hello := func(h wire.Hello) []byte {
			h.Node.Boot, h.Node.Addr = "b", "10.0.0.1:1"
			return frame(t, h)
		}
		for name, tt := range map[string]struct {
			first []byte
			says  string // in the refusal; "" for no answer at all
		}{
			"nothing":        {nil, ""},
			"no frame":       {[]byte("GET / HTTP/1.1\r\n\r\n"), ""},
			"no hello":       {frame(t, wire.Bye{}), ""},
			"another's name": {hello(wire.Hello{Versions: wire.Supported, Cluster: "c", Node: dcos.Node{ID: "n2"}}), "join the machine anew"},
			"wrong cluster":  {hello(wire.Hello{Versions: wire.Supported, Cluster: "d", Node: dcos.Node{ID: "n1"}}), "belongs to cluster \"d\""},
			"new version":    {hello(wire.Hello{Versions: wire.Versions{Min: 9, Max: 9}, Cluster: "c", Node: dcos.Node{ID: "n1"}}), "masters first"},
			"bad resources":  {hello(wire.Hello{Versions: wire.Supported, Cluster: "c", Node: dcos.Node{ID: "n1", Total: resource.Set{CPUs: -1}}}), "amount"},
		} {
			conn, _ := g.dial(g.ctx, "")
			go func() { _, _ = conn.Write(tt.first) }()
			var got []wire.Msg
			for {
				m, _, err := wire.ReadMsg(conn, nil)
				if err != nil {
					break
				}
				got = append(got, m)
			}
			switch {
			case tt.says == "" && len(got) == 0:
			case tt.says != "" && len(got) == 1 && strings.Contains(got[0].(wire.Refused).Why, tt.says):
			default:
				t.Errorf("%s: answered by %+v, want %q", name, got, tt.says)
			}
		}
		if nodes := slices.Collect(g.raft.View().Nodes()); len(nodes) != 0 {
			t.Errorf("strangers became nodes: %v", nodes)
		}
	})
}

func frame(t *testing.T, m wire.Msg) []byte {
	b, err := wire.AppendFrame(nil, m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAgentThatDoesNotReadIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		g.settle(time.Second)
		conn, _ := g.dial(g.ctx, "")
		if err := wire.WriteMsg(conn, wire.Hello{Versions: wire.Supported, Cluster: "c", Node: dcos.Node{ID: "n1", Boot: "b"}}); err != nil {
			t.Fatal(err)
		}
		if m, _, err := wire.ReadMsg(conn, nil); err != nil || m.(wire.Welcome).BeatMillis != 2000 {
			t.Fatalf("%v, %v, want a welcome", m, err)
		}
		var err error
		for i := 0; err == nil; i++ {
			if i > 100_000 {
				t.Fatal("beats go on forever without their answers being read")
			}
			err = wire.WriteMsg(conn, wire.Beat{N: uint64(i)})
		}
		g.settle(time.Second)
		if n, _ := g.raft.View().Node("n1"); n.State != dcos.NodeSuspect {
			t.Errorf("node is %v, want suspect", n.State)
		}
	})
}
