package dispatch_test

import (
	"container/heap"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/dcos-go/dcos/pkg/agent"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/dispatch"
	"github.com/dcos-go/dcos/pkg/resource"
	"github.com/dcos-go/dcos/pkg/state"
	"github.com/dcos-go/dcos/pkg/wire"
)

// world is one leader with the real state and dispatch, and machines with real
// agents, in virtual time. Network, disks, processes and raft are played by it,
// as badly as its chance wants.
type world struct {
	t     *rapid.T
	rng   *rand.Rand
	now   time.Time
	queue events
	seq   int
	bad   bool // faults are on
	log   []string

	store  *state.Store
	index  dcos.Index
	core   *dispatch.Core
	leads  bool
	term   dcos.Term
	era    int // of leadership; work of an older one is gone
	tick   int // the core's present timer
	nextID uint64

	machines []*machine
	sess     map[uint64]*machine
	first    uint32 // next ordinal
	version  dcos.Version
}

type machine struct {
	w       *world
	id      dcos.NodeID
	boot    int
	core    *agent.Core // nil: the process is down
	life    int
	tick    int
	disk    [][]byte
	dirty   [][]byte
	up      bool // the machine
	cut     bool // from the masters
	link    uint64
	sess    uint64
	procs   map[dcos.TaskID]*proc
	started map[dcos.TaskID]int
	boxes   map[dcos.TaskID]bool
}

type proc struct {
	instance string
	exit     *dcos.Exit
}

type event struct {
	at  time.Time
	seq int
	run func()
}
type events []event

func (q events) Len() int { return len(q) }
func (q events) Less(i, j int) bool {
	return q[i].at.Before(q[j].at) || q[i].at.Equal(q[j].at) && q[i].seq < q[j].seq
}
func (q events) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *events) Push(x any)   { *q = append(*q, x.(event)) }
func (q *events) Pop() any     { o := *q; x := o[len(o)-1]; *q = o[:len(o)-1]; return x }

func (w *world) at(at time.Time, f func()) {
	w.seq++
	heap.Push(&w.queue, event{at, w.seq, f})
}

func (w *world) after(d time.Duration, f func()) { w.at(w.now.Add(d), f) }

func (w *world) ms(n int) time.Duration { return time.Duration(1+w.rng.IntN(n)) * time.Millisecond }

func (w *world) chance(percent int) bool { return w.bad && w.rng.IntN(100) < percent }

func (w *world) note(format string, args ...any) {
	w.log = append(w.log, w.now.Format("04:05.000 ")+fmt.Sprintf(format, args...))
	if len(w.log) > 4000 {
		w.log = w.log[1000:]
	}
}

func (w *world) fail(format string, args ...any) {
	tail := w.log[max(0, len(w.log)-150):]
	w.t.Fatalf("%s\n%s", strings.Join(tail, "\n"), fmt.Sprintf(format, args...))
}

func (w *world) run(d time.Duration) {
	end := w.now.Add(d)
	for steps := 0; len(w.queue) > 0 && !w.queue[0].at.After(end); steps++ {
		if steps > 2_000_000 {
			w.fail("no end of events: something turns in circles")
		}
		e := heap.Pop(&w.queue).(event)
		w.now = e.at
		e.run()
	}
	w.now = end
}

// --- the master

func (w *world) apply(cmds ...state.Command) state.Result {
	b, err := state.EncodeProposal(state.Proposal{Commands: cmds})
	if err != nil {
		w.fail("encode %v: %v", cmds, err)
	}
	w.index++
	commit, results, err := w.store.Apply(w.index, state.EncodeEntry(dcos.TimeOf(w.now), b))
	if err != nil {
		w.fail("apply %v: %v", cmds, err)
	}
	for _, ch := range commit.Changes {
		before, _ := ch.Old.(*dcos.Task)
		after, _ := ch.New.(*dcos.Task)
		if before != nil && after != nil {
			if before.State != after.State {
				w.note("state: %s %d -> %d", short(after.ID), before.State, after.State)
			}
			if after.State != before.State && !before.State.CanBecome(after.State) {
				w.fail("task %s went from %v to %v", after.ID, before.State, after.State)
			}
		}
		if n, ok := ch.New.(*dcos.Node); ok && n != nil {
			w.note("state: node %s %s %s", n.ID, n.State, n.Why)
		}
	}
	view, era := commit.View, w.era
	w.after(2*time.Millisecond, func() { // in order, as a feed is
		if w.leads && era == w.era {
			w.master(dispatch.Changed{View: view, Changes: commit.Changes, Reset: w.chance(2)})
		}
	})
	return results[0]
}

func (w *world) propose(e dispatch.Propose) {
	era := w.era
	done := func(d dispatch.Done) {
		w.after(w.ms(5), func() {
			if era == w.era {
				w.master(d)
			}
		})
	}
	w.after(w.ms(20), func() {
		if !w.leads || era != w.era || w.chance(5) {
			done(dispatch.Done{ID: e.ID, Err: dcos.ErrUnavailable})
			return
		}
		res := w.apply(e.Commands...)
		if w.chance(10) {
			done(dispatch.Done{ID: e.ID, Err: dcos.ErrUnknown})
			return
		}
		done(dispatch.Done{ID: e.ID, Result: res})
	})
}

func (w *world) master(ev dispatch.Event) {
	for _, f := range w.core.Step(w.now, ev) {
		switch f := f.(type) {
		case dispatch.Send:
			w.toAgent(f.Sess, f.Msg)
		case dispatch.CloseSession:
			w.note("master closes %d: %s", f.Sess, f.Why)
			if m := w.sess[f.Sess]; m != nil {
				w.after(60*time.Millisecond, func() { m.unlinked(f.Sess) })
			}
		case dispatch.Propose:
			w.propose(f)
		case dispatch.Probe:
			m, era := w.byAddr(f.Addr), w.era
			alive := m.up && !m.cut
			w.after(w.ms(900), func() {
				if era == w.era {
					w.master(dispatch.Probed{ID: f.ID, Alive: alive, Unknown: w.chance(5)})
				}
			})
		case dispatch.SetTimer:
			w.tick++
			tick := w.tick
			w.at(later(w.now, f.At), func() {
				if tick == w.tick {
					w.master(dispatch.Fired{})
				}
			})
		case dispatch.Note:
			w.note("master: %s: %s", f.Node, f.Text)
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (w *world) byAddr(addr string) *machine {
	for _, m := range w.machines {
		if string(m.id) == addr {
			return m
		}
	}
	w.fail("no machine at %q", addr)
	return nil
}

func (w *world) changeLeader() {
	w.note("leader changes")
	w.leads = false
	w.master(dispatch.Follow{})
	w.era++
	w.term++
	w.after(w.ms(2000), func() {
		if w.leads {
			return
		}
		w.leads = true
		w.core = dispatch.New()
		w.apply(state.RaiseLevel{Level: state.Level}) // the entry of its own term
		w.master(dispatch.Lead{Term: w.term, View: w.store.View()})
	})
}

// --- the network

// deliver brings a message after a while, or badly.
func (w *world) deliver(f func()) {
	if w.chance(3) {
		return
	}
	d := 10 * time.Millisecond
	if w.chance(5) {
		d += w.ms(400)
	}
	w.after(d, f)
	if w.chance(3) {
		w.after(d+w.ms(300), f)
	}
}

func (w *world) toAgent(sess uint64, msg wire.Msg) {
	m := w.sess[sess]
	if m == nil || m.sess != sess {
		return
	}
	link := m.link
	w.deliver(func() {
		if m.sess == sess && m.link == link && m.core != nil && !m.cut && m.up {
			m.step(agent.Got{Link: link, Msg: roundTrip(w, msg)})
		}
	})
}

func (m *machine) toMaster(link uint64, msg wire.Msg) {
	w, sess := m.w, m.sess
	if link != m.link || sess == 0 {
		return
	}
	msg = roundTrip(w, msg)
	w.deliver(func() {
		if m.cut || !m.up || w.sess[sess] != m {
			return
		}
		if h, ok := msg.(wire.Hello); ok {
			w.master(dispatch.Opened{Sess: sess, Peer: dcos.AgentIdentity("c", m.id), Hello: h})
			return
		}
		w.master(dispatch.Got{Sess: sess, Msg: msg})
	})
}

// roundTrip sends a message through the real encoding.
func roundTrip(w *world, msg wire.Msg) wire.Msg {
	b, err := wire.AppendFrame(nil, msg)
	if err != nil {
		w.fail("encode %+v: %v", msg, err)
	}
	got, err := wire.Decode(b[4:])
	if err != nil {
		w.fail("decode %+v: %v", msg, err)
	}
	return got
}

// --- a machine

func (m *machine) unlinked(sess uint64) {
	if m.sess != sess || sess == 0 {
		return
	}
	m.sess = 0
	if m.core != nil {
		m.step(agent.Unlinked{Link: m.link, Why: "closed"})
	}
}

// hangUp ends the machine's side of its session; the master sees it at once,
// late, or never when the machine is silent.
func (m *machine) hangUp(how dispatch.How) {
	w, sess := m.w, m.sess
	m.sess = 0
	if sess == 0 || how == dispatch.HowSilence && w.chance(50) {
		return
	}
	d := 10 * time.Millisecond
	if how == dispatch.HowSilence {
		d = 6 * time.Second
	}
	w.after(d, func() { w.master(dispatch.Closed{Sess: sess, How: how}) })
}

func (m *machine) config() agent.Config {
	return agent.Config{
		Cluster: "c", Seed: uint64(len(m.id)), KeepPerApp: 3, KeepFor: 5 * time.Minute,
		Node: dcos.Node{
			ID: m.id, Hostname: string(m.id), Addr: string(m.id), IP: "10.0.0.1", Boot: fmt.Sprint("boot-", m.boot), Isolation: dcos.IsolationContainer,
			Total: resource.Set{CPUs: resource.Whole(64), Mem: resource.Whole(1 << 20), Disk: resource.Whole(1 << 20)},
		},
	}
}

func (m *machine) start() {
	if m.core != nil || !m.up {
		return
	}
	m.w.note("%s: agent starts with %d records", m.id, len(m.disk))
	m.life++
	core, effects, err := agent.Restore(m.config(), m.w.now, slices.Clone(m.disk))
	if err != nil {
		m.w.fail("restore: %v", err)
	}
	m.core = core
	m.carryOut(effects)
}

// kill -9: what was not synced is there or not.
func (m *machine) kill() {
	if m.core == nil {
		return
	}
	m.w.note("%s: agent killed", m.id)
	m.core = nil
	m.life++
	m.disk = append(m.disk, m.dirty[:m.w.rng.IntN(len(m.dirty)+1)]...)
	m.dirty = nil
	m.hangUp(dispatch.HowClosed)
	m.w.after(m.w.ms(3000), m.start)
}

func (m *machine) reboot(down time.Duration) {
	m.w.note("%s: machine reboots", m.id)
	m.kill()
	m.up = false
	m.boot++
	m.hangUp(dispatch.HowSilence)
	m.procs = make(map[dcos.TaskID]*proc)
	m.w.after(down, func() { m.up = true; m.start() })
}

func (m *machine) partition(d time.Duration) {
	if m.cut {
		return
	}
	m.w.note("%s: cut off for %s", m.id, d)
	m.cut = true
	sess := m.sess
	m.w.after(d, func() { m.cut = false })
	if m.w.chance(70) {
		m.w.after(6*time.Second, func() { // the kernels give up
			if m.sess == sess && sess != 0 {
				m.w.master(dispatch.Closed{Sess: sess, How: dispatch.HowSilence})
				m.unlinked(sess)
			}
		})
	}
}

func (m *machine) step(ev agent.Event) {
	m.carryOut(m.core.Step(m.w.now, ev))
}

// later gives the agent an event, unless it was killed meanwhile.
func (m *machine) later(d time.Duration, f func() agent.Event) {
	life := m.life
	m.w.after(d, func() {
		if life == m.life && m.core != nil {
			if ev := f(); ev != nil {
				m.step(ev)
			}
		}
	})
}

func (m *machine) carryOut(effects []agent.Effect) {
	w := m.w
	for _, f := range effects {
		switch f := f.(type) {
		case agent.WriteCheckpoint:
			m.dirty = append(m.dirty, f.Records...)
			n := len(m.dirty)
			m.later(w.ms(8), func() agent.Event {
				n = min(n, len(m.dirty))
				m.disk, m.dirty = append(m.disk, m.dirty[:n]...), m.dirty[n:]
				return nil
			})
			m.later(9*time.Millisecond, func() agent.Event { return agent.Checkpointed{Seq: f.Seq} })
		case agent.Compact:
			m.later(0, func() agent.Event { m.disk, m.dirty = f.Records, nil; return agent.Checkpointed{Seq: f.Seq} })
		case agent.CreateSandbox:
			m.later(w.ms(20), func() agent.Event {
				if w.chance(3) {
					return agent.SandboxReady{Task: f.Task, Err: dcos.ErrExhausted}
				}
				m.boxes[f.Task] = true
				return agent.SandboxReady{Task: f.Task, Dir: "/s/" + string(f.Task)}
			})
		case agent.StartProcess:
			m.later(w.ms(50), func() agent.Event { return m.startProc(f.Spec) })
		case agent.Adopt:
			m.later(w.ms(20), func() agent.Event { return m.adopt(f.Task) })
		case agent.Signal:
			m.later(w.ms(100), func() agent.Event { m.end(f.Task, dcos.Exit{Code: -1, Signal: 15}, w.chance(30)); return nil })
		case agent.Kill:
			m.later(w.ms(10), func() agent.Event { m.end(f.Task, dcos.Exit{Code: -1, Signal: 9}, false); return nil })
		case agent.Cleanup:
			m.later(w.ms(30), func() agent.Event {
				if w.chance(10) {
					return agent.Cleaned{Task: f.Task, Err: dcos.ErrUnavailable}
				}
				delete(m.procs, f.Task)
				return agent.Cleaned{Task: f.Task}
			})
		case agent.List:
			m.later(w.ms(30), func() agent.Event {
				if w.chance(20) {
					return agent.Listed{Err: dcos.ErrUnavailable}
				}
				return agent.Listed{Tasks: slices.Sorted(maps.Keys(m.procs)), Sandboxes: slices.Sorted(maps.Keys(m.boxes))}
			})
		case agent.RemoveSandbox:
			m.later(w.ms(30), func() agent.Event { delete(m.boxes, f.Task); return agent.SandboxRemoved{Task: f.Task} })
		case agent.Connect:
			m.connect(f)
		case agent.Disconnect:
			if f.Link == m.link {
				w.note("%s: disconnects: %s", m.id, f.Why)
				m.hangUp(dispatch.HowClosed)
			}
		case agent.Send:
			m.toMaster(f.Link, f.Msg)
		case agent.Probe:
			other := w.byAddr(f.Target)
			m.later(w.ms(600), func() agent.Event {
				return agent.Probed{Link: f.Link, ID: f.ID, Alive: other.up && !other.cut && !m.cut}
			})
		case agent.SetTimer:
			m.tick++
			tick := m.tick
			m.later(max(0, f.At.Sub(w.now)), func() agent.Event {
				if tick != m.tick {
					return nil
				}
				return agent.Fired{}
			})
		}
	}
}

func (m *machine) connect(f agent.Connect) {
	w := m.w
	m.hangUp(dispatch.HowClosed)
	m.link = f.Link
	m.later(w.ms(30), func() agent.Event {
		if f.Link != m.link {
			return nil
		}
		if m.cut || w.chance(10) {
			return agent.Unlinked{Link: f.Link, Why: "no route"}
		}
		w.nextID++
		m.sess = w.nextID
		w.sess[m.sess] = m
		return agent.Linked{Link: f.Link}
	})
}

func (m *machine) startProc(s dcos.Spec) agent.Event {
	if m.procs[s.Task] != nil {
		m.w.fail("%s: %s is started while it is there", m.id, s.Task)
	}
	if m.started[s.Task]++; m.started[s.Task] > 1 {
		m.w.fail("%s: %s is started twice", m.id, s.Task)
	}
	for id, p := range m.procs {
		if p.instance == dcos.InstanceOf(s.Task) && p.exit == nil {
			m.w.fail("%s: %s is started while %s of the same instance runs", m.id, s.Task, id)
		}
	}
	if m.w.chance(5) {
		m.started[s.Task]--
		return agent.Started{Task: s.Task, Err: dcos.ErrUnavailable}
	}
	m.w.note("%s: started %s", m.id, short(s.Task))
	p := &proc{instance: dcos.InstanceOf(s.Task)}
	m.procs[s.Task] = p
	if m.w.chance(20) {
		m.w.after(m.w.ms(20000), func() {
			if m.procs[s.Task] == p {
				m.end(s.Task, dcos.Exit{Code: m.w.rng.IntN(3)}, false)
			}
		})
	}
	return agent.Started{Task: s.Task, Pid: 1}
}

func (m *machine) adopt(id dcos.TaskID) agent.Event {
	p := m.procs[id]
	switch {
	case m.w.chance(5):
		return agent.Adopted{Task: id, Err: dcos.ErrUnavailable}
	case p == nil:
		return agent.Adopted{Task: id}
	case p.exit != nil:
		return agent.Adopted{Task: id, Exit: p.exit}
	}
	return agent.Adopted{Task: id, Alive: true}
}

func (m *machine) end(id dcos.TaskID, x dcos.Exit, ignores bool) {
	p := m.procs[id]
	if p == nil || p.exit != nil || ignores {
		return
	}
	m.w.note("%s: ended %s %s", m.id, short(id), x)
	p.exit = &x
	m.later(m.w.ms(5), func() agent.Event { return agent.Exited{Task: id, Exit: x} })
}

// --- what the scheduler would do

const app = dcos.AppID("/a")

func (w *world) schedule() {
	view := w.store.View()
	var active []dcos.NodeID
	for n := range view.Nodes() {
		if n.State == dcos.NodeActive {
			active = append(active, n.ID)
		}
	}
	for t := range view.TasksOf(app) {
		switch {
		case t.State == dcos.TaskWaiting && len(active) > 0:
			w.apply(state.Place{Items: []state.Placement{{Task: t.ID, Node: active[w.rng.IntN(len(active))]}}})
		case t.State.Terminal():
			w.apply(state.RetryTasks{Tasks: []dcos.TaskID{t.ID}, Version: t.Version})
		case t.Live() && t.Goal == dcos.GoalRun && w.chance(3):
			w.apply(state.StopTasks{Tasks: []dcos.TaskID{t.ID}, Final: w.rng.IntN(3) == 0})
		}
	}
	if w.bad && w.first < 12 && w.rng.IntN(3) == 0 {
		w.apply(state.AddTasks{App: app, Version: w.version, Count: 1, First: w.first})
		w.first++
	}
}

func (w *world) mischief() {
	m := w.machines[w.rng.IntN(len(w.machines))]
	switch w.rng.IntN(12) {
	case 0, 1, 2:
		m.kill()
	case 3:
		m.reboot(w.ms(40000))
	case 4, 5:
		m.partition(w.ms(20000))
	case 6:
		m.partition(90 * time.Second)
	case 7, 8:
		w.changeLeader()
	case 9: // the checkpoint is lost, and its owner knows
		m.kill()
		m.disk = nil
		m.boot++
	}
}

func newWorld(t *rapid.T, seed uint64) *world {
	w := &world{
		t: t, rng: rand.New(rand.NewPCG(seed, 1)), now: time.UnixMilli(1767225600000), store: state.New(), core: dispatch.New(),
		sess: make(map[uint64]*machine), term: 1, leads: true,
	}
	w.apply(state.InitCluster{Info: dcos.ClusterInfo{ID: "c", Name: "c", Level: state.Level}})
	grace := int64(500)
	res := w.apply(state.PutApp{App: dcos.App{
		ID: app, Cmd: "true", Need: resource.Set{CPUs: 100, Mem: 1000}, KillGraceMillis: &grace, Instances: 1,
		Backoff: dcos.Backoff{InitialMillis: 1, FactorMilli: 1000, MaxMillis: 1}, Upgrade: dcos.Upgrade{MinHealth: 1, MaxOver: 1},
	}})
	if res.Err() != nil {
		w.fail("put app: %v", res.Err())
	}
	w.version = res.Items[0].Version
	for i := range 3 {
		m := &machine{
			w: w, id: dcos.NodeID(strings.Repeat("n", i+1)), up: true, procs: make(map[dcos.TaskID]*proc),
			started: make(map[dcos.TaskID]int), boxes: make(map[dcos.TaskID]bool),
		}
		w.machines = append(w.machines, m)
		w.after(w.ms(100), m.start)
	}
	w.master(dispatch.Lead{Term: 1, View: w.store.View()})
	return w
}

func short(id dcos.TaskID) string { return string(id[len(id)-14:]) }

// Whatever is lost, doubled, late or killed meanwhile: when it ends, every node
// runs exactly what the state wants, nothing was started twice, no state went
// backward, and nothing waits to be acknowledged.
func TestAgentsComeToRunWhatTheStateWantsWhateverHappens(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, rapid.Uint64().Draw(t, "seed"))
		w.bad = true
		for range rapid.IntRange(1, 40).Draw(t, "rounds") {
			w.run(w.ms(5000))
			w.schedule()
			if w.rng.IntN(3) == 0 {
				w.mischief()
			}
		}
		w.bad = false
		for range 40 {
			w.run(10 * time.Second)
			w.schedule()
		}
		w.run(time.Minute)
		w.check()
	})
}

func (w *world) check() {
	view := w.store.View()
	if err := state.Check(view); err != nil {
		w.fail("state: %v", err)
	}
	for t := range view.TasksOf(app) {
		if t.State != dcos.TaskRunning || t.Goal != dcos.GoalRun {
			w.fail("task %s on %s is %v with goal %d (%s), want it to run", t.ID, t.Node, t.State, t.Goal, t.Message)
		}
	}
	for _, m := range w.machines {
		row, ok := view.Node(m.id)
		if !ok || row.State != dcos.NodeActive {
			w.fail("node %s is %+v, want it active", m.id, row)
		}
		var want, got []dcos.TaskID
		for t := range view.TasksOn(m.id) {
			want = append(want, t.ID)
		}
		for id := range m.procs {
			got = append(got, id)
		}
		slices.Sort(got)
		if !slices.Equal(want, got) {
			w.fail("node %s runs %v, the state wants %v", m.id, got, want)
		}
		if n := m.core.Unacknowledged(); n != 0 {
			w.fail("node %s has %d statuses that nobody acknowledged", m.id, n)
		}
		if len(m.boxes) > len(got)+3 {
			w.fail("node %s keeps %d sandboxes for %d tasks", m.id, len(m.boxes), len(got))
		}
	}
}
