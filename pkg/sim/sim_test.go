package sim

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/dcos-go/dcos/pkg/app"
	"github.com/dcos-go/dcos/pkg/consensus"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/resource"
	"github.com/dcos-go/dcos/pkg/state"
)

// The test binary is the simulator too, when it is started as one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == "--child" || os.Args[1] == "--seed") {
		if err := Command(m0, os.Args[:1], os.Args[1:], os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// Simulations replace crypto/rand.Reader: the tests here do not run in parallel.

func TestSameSeedGivesTheSameTraceByteForByte(t *testing.T) {
	for _, seed := range []uint64{3, 11} {
		var first, second []string
		a := Seeded(Run{Seed: seed, Length: Least, Trace: func(l string) { first = append(first, l) }})
		b := Seeded(Run{Seed: seed, Length: Least, Trace: func(l string) { second = append(second, l) }})
		if a.Violation != "" {
			t.Fatalf("seed %d: %s", seed, a.Violation)
		}
		for i := range min(len(first), len(second)) {
			if first[i] != second[i] {
				t.Fatalf("seed %d: line %d is %q, then %q", seed, i, first[i], second[i])
			}
		}
		if len(first) != len(second) || a.Hash != b.Hash || a.Events != b.Events {
			t.Fatalf("seed %d: %d lines with hash %x, then %d with %x", seed, len(first), a.Hash, len(second), b.Hash)
		}
		quiet := Seeded(Run{Seed: seed, Length: Least})
		if quiet.Hash != a.Hash {
			t.Fatalf("seed %d: hash %x with a trace, %x without", seed, a.Hash, quiet.Hash)
		}
	}
	if a, b := Seeded(Run{Seed: 1, Length: Least}), Seeded(Run{Seed: 2, Length: Least}); a.Hash == b.Hash {
		t.Fatalf("seeds 1 and 2 have the same trace %x", a.Hash)
	}
}

func TestEventsComeInTheOrderOfTimeThenOfAsking(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q queue
		var want []item
		for i, at := range rapid.SliceOf(rapid.IntRange(0, 20)).Draw(t, "moments") {
			it := item{at: time.Duration(at), seq: uint64(i)}
			q.push(it)
			want = append(want, it)
			if rapid.IntRange(0, 3).Draw(t, "pop") == 0 {
				got := q.pop()
				k := least(want)
				if got.at != want[k].at || got.seq != want[k].seq {
					t.Fatalf("got %v/%d, want %v/%d", got.at, got.seq, want[k].at, want[k].seq)
				}
				want = slices.Delete(want, k, k+1)
			}
		}
		for len(want) > 0 {
			got := q.pop()
			k := least(want)
			if got.at != want[k].at || got.seq != want[k].seq {
				t.Fatalf("got %v/%d, want %v/%d", got.at, got.seq, want[k].at, want[k].seq)
			}
			want = slices.Delete(want, k, k+1)
		}
	})
}

func least(items []item) int {
	k := 0
	for i := range items {
		if items[i].before(&items[k]) {
			k = i
		}
	}
	return k
}

// caught runs f and gives the violation that it ends with.
func caught(f func()) (text string) {
	defer func() {
		if v, ok := recover().(violation); ok {
			text = v.text
		}
	}()
	f()
	return ""
}

func TestCheckerSeesEveryBreach(t *testing.T) {
	const app, id = dcos.AppID("/a"), dcos.TaskID("a.instance-1._app.1")
	task := func(s dcos.TaskState, change func(*dcos.Task)) *dcos.Task {
		k := &dcos.Task{ID: id, App: app, Attempt: 1, Goal: dcos.GoalRun, State: s}
		if s > dcos.TaskWaiting {
			k.Node, k.Epoch = "n1", 7
		}
		if change != nil {
			change(k)
		}
		return k
	}
	for _, tt := range []struct {
		name, want string
		do         func(w *world, c *checker)
	}{
		{"two leaders", "term 4 has two leaders, 1 and 2", func(w *world, c *checker) {
			c.leads(w.masters[0], consensus.Lead{Term: 4, Leader: 1})
			c.leads(w.masters[1], consensus.Lead{Term: 4, Leader: 2})
		}},
		{"leader without what was acknowledged", "9 was acknowledged in term 3", func(w *world, c *checker) {
			c.terms[3] = 9
			c.leads(w.masters[0], consensus.Lead{Term: 4, Leader: 1, Ready: true})
		}},
		{"lost write", "has lost t1", func(w *world, c *checker) {
			c.tokens, c.ackedAt["t1"] = []string{"t1"}, 2
			c.leads(w.masters[0], consensus.Lead{Term: 4, Leader: 1, Ready: true})
		}},
		{"answer before apply", "and has applied 0", func(w *world, c *checker) {
			c.answered(w.masters[0], consensus.Resolved{Result: state.Result{Index: 5}}, false, []byte("mine"))
		}},
		{"answer of another entry", "with index 1, where another one is", func(w *world, c *checker) {
			c.data[1] = []byte("another's")
			c.answered(w.masters[0], consensus.Resolved{Result: state.Result{Index: 1}}, false, []byte("mine"))
		}},
		{"no place though there is room", "waits for a place for 45s, and there is room", func(w *world, c *checker) {
			c.watchVitals()
			v := waitingView(t)
			for range 2 {
				c.placeable(v)
				w.now += overdue + time.Second
			}
		}},
		{"backward", "goes from TASK_LOST to TASK_RUNNING", func(_ *world, c *checker) {
			c.task(state.Commit{}, task(dcos.TaskLost, nil), task(dcos.TaskRunning, nil))
		}},
		{"moved", "moves from n1 at 7 to n2 at 7", func(_ *world, c *checker) {
			c.task(state.Commit{}, task(dcos.TaskPlaced, nil), task(dcos.TaskPlaced, func(k *dcos.Task) { k.Node = "n2" }))
		}},
		{"epoch of another index", "placed at index 8 with epoch 7", func(_ *world, c *checker) {
			c.task(state.Commit{Index: 8}, task(dcos.TaskWaiting, nil), task(dcos.TaskPlaced, nil))
		}},
		{"running without a process", "was never started", func(_ *world, c *checker) {
			c.task(state.Commit{}, task(dcos.TaskPlaced, nil), task(dcos.TaskRunning, nil))
		}},
		{"ended while it runs", "and its process runs", func(w *world, c *checker) {
			c.procs[id] = &proc{on: w.machines[0], alive: true}
			c.task(state.Commit{}, task(dcos.TaskRunning, nil), task(dcos.TaskFailed, nil))
		}},
		{"wrong exit code", "exited with code 3, its process has exited with code 4", func(w *world, c *checker) {
			c.procs[id] = &proc{on: w.machines[0], exit: &dcos.Exit{Code: 4}}
			c.task(state.Commit{}, task(dcos.TaskRunning, nil), task(dcos.TaskFailed, func(k *dcos.Task) { k.Exit = &dcos.Exit{Code: 3} }))
		}},
		{"forgotten end", "its agent has lost nothing", func(_ *world, c *checker) {
			c.task(state.Commit{}, task(dcos.TaskRunning, nil), task(dcos.TaskLost, func(k *dcos.Task) { k.Reason = dcos.ReasonReconciliation }))
		}},
		{"removed alive", "is removed while it is TASK_RUNNING", func(_ *world, c *checker) {
			c.task(state.Commit{}, task(dcos.TaskRunning, nil), nil)
		}},
		{"started before the checkpoint", "before that is in its checkpoint", func(w *world, c *checker) {
			c.started(w.machines[0], id, false)
		}},
		{"started twice", "which was started on h1 before", func(w *world, c *checker) {
			w.machines[0].durable[id] = true
			c.procs[id] = &proc{on: w.machines[1]}
			c.started(w.machines[0], id, false)
		}},
		{"started elsewhere", "which is placed on \"n1\"", func(w *world, c *checker) {
			w.machines[0].durable[id] = true
			c.placed[id] = place{node: "n1"}
			c.started(w.machines[0], id, false)
		}},
		{"two of one instance", "a.instance-1._app.0 of the same instance runs", func(w *world, c *checker) {
			m := w.machines[0]
			m.durable[id] = true
			c.placed[id] = place{node: m.id}
			m.tasks["a.instance-1._app.0"] = &container{alive: true}
			c.started(m, id, false)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := threeMasters()
			for _, m := range w.masters {
				m.store = state.New()
			}
			if got := caught(func() { tt.do(w, &w.check) }); !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// waitingView is a state with a node and a task that has no place.
func waitingView(t testing.TB) state.View {
	t.Helper()
	def, err := app.Parse([]byte(`{"id":"/a","cmd":"sleep 9","cpus":1,"mem":64}`))
	if err != nil {
		t.Fatal(err)
	}
	total := resource.Set{CPUs: resource.Whole(2), Mem: resource.Whole(128), Disk: resource.Whole(128), Ports: resource.NewRanges(resource.Range{First: 31000, Last: 31020})}
	s := state.New()
	data, err := state.EncodeProposal(state.Proposal{Commands: []state.Command{
		state.InitCluster{Info: dcos.ClusterInfo{ID: cluster, Level: state.Level}},
		state.PutNode{Node: dcos.Node{ID: "n1", Boot: "b", Total: total}},
		state.PutApp{App: def},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, res, err := s.Apply(1, state.EncodeEntry(dcos.TimeOf(epoch), data)); err != nil || res[0].Err() != nil {
		t.Fatal(err, res)
	}
	row, ok := s.View().App("/a")
	if !ok {
		t.Fatal("no app")
	}
	cmds, _, _ := app.Reconcile(s.View(), row, dcos.TimeOf(epoch))
	if data, err = state.EncodeProposal(state.Proposal{Commands: cmds}); err != nil {
		t.Fatal(err)
	}
	if _, res, err := s.Apply(2, state.EncodeEntry(dcos.TimeOf(epoch), data)); err != nil || res[0].Err() != nil || s.View().Waiting("/a") == 0 {
		t.Fatal(err, res)
	}
	return s.View()
}

func TestSilentWaysEndSessionsAndShortCutsDoNot(t *testing.T) {
	for _, tt := range []struct {
		away time.Duration
		open bool
	}{{3 * time.Second, true}, {10 * time.Second, false}} {
		w := threeMasters()
		a, m := w.machines[0], w.masters[0]
		m.start()
		a.up, a.life = true, 1
		s := w.net.connect(a, m, 1)
		w.net.sever(a.host, m.host)
		w.after(tt.away, "heal", 0, func() { w.net.heal(a.host, m.host) })
		for len(w.q.items) > 0 && w.q.items[0].at < 20*time.Second {
			it := w.q.pop()
			w.now = it.at
			if strings.HasPrefix(it.what, "kernel") || it.what == "heal" {
				it.run()
			}
			if it.what == "silence" {
				s.endAgent()
				s.endMaster()
			}
		}
		if got := s.atAgent && s.atMast; got != tt.open {
			t.Errorf("cut for %v: open is %v, want %v", tt.away, got, tt.open)
		}
	}
}

func TestAPanicOfACoreIsAViolationWithItsPlace(t *testing.T) {
	w := threeMasters()
	out := func() (out Outcome) {
		defer w.end(&out, 2)
		w.masters[w.rng.below(1)+len(w.masters)].tick() // a core looks where nothing is
		return out
	}()
	if !strings.HasPrefix(out.Violation, "panic: ") || len(out.Last) == 0 || !strings.Contains(out.Last[0], "pkg/sim/sim_test.go") {
		t.Errorf("got %q with %q", out.Violation, out.Last)
	}
}

func TestAMachineThatJoinsAnewAndHasNotRunYetDoesNotVote(t *testing.T) {
	w := threeMasters()
	m := w.masters[0]
	m.start()
	if !m.votes() {
		t.Fatal("one of the first three does not vote")
	}
	m.end(time.Second)
	if !m.votes() {
		t.Fatal("one that is down for a moment has lost its vote")
	}
	m.power = false
	w.operator.join(m)
	if m.votes() {
		t.Errorf("master %d has never run, and passes for one that votes", m.id)
	}
}

func TestUsersRepeatNothingOnceTheFaultsAreOver(t *testing.T) {
	w := threeMasters() // all are down, so that the outcome is not known
	w.client.putUser(false)
	asked := 0
	for len(w.q.items) > 0 {
		it := w.q.pop()
		w.now = it.at
		switch it.what {
		case "user tries again":
			w.calm = true // the next attempt was agreed on before
		case "request":
			asked++
		}
		it.run()
	}
	if !w.calm || asked != 1 {
		t.Errorf("asked %d times, a repeat was due: %v; want once, and a repeat that did not come", asked, w.calm)
	}
}

var _ io.Reader = (*jitter)(nil)

// threeMasters is a world that begins with three.
func threeMasters() *world {
	for seed := uint64(1); ; seed++ {
		if w := newWorld(Run{Seed: seed}); len(w.members()) == 3 {
			return w
		}
	}
}
