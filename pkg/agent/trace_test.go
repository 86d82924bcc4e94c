package agent

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/wire"
)

// trace drives one core by hand. Checkpoints are durable only when it says so.
type trace struct {
	t    *testing.T
	now  time.Time
	core *Core
	out  []Effect // of the last step
	all  []Effect
	disk [][]byte
	seq  uint64 // of the last checkpoint written
	at   uint64 // of the last assignment
	link uint64
}

func config() Config {
	return Config{
		Cluster: "c", Seed: 1, Binary: "/usr/bin/dcos", KeepPerApp: 2, KeepFor: time.Hour,
		Node: dcos.Node{ID: "n", Hostname: "h", Boot: "b1", Isolation: dcos.IsolationContainer},
	}
}

func newTrace(t *testing.T) *trace {
	x := &trace{t: t, now: time.UnixMilli(1767225600000)}
	x.restore(config())
	x.step(Listed{})
	return x
}

// restore is the agent's next life on what the disk holds.
func (x *trace) restore(cfg Config) {
	x.t.Helper()
	core, effects, err := Restore(cfg, x.now, x.disk)
	if err != nil {
		x.t.Fatal(err)
	}
	x.core, x.link, x.seq = core, 0, 0
	x.take(effects)
}

func (x *trace) take(effects []Effect) {
	x.out = effects
	x.all = append(x.all, effects...)
	for _, e := range effects {
		switch e := e.(type) {
		case WriteCheckpoint:
			x.disk, x.seq = append(x.disk, e.Records...), e.Seq
		case Compact:
			x.disk, x.seq = e.Records, e.Seq
		case Connect:
			x.link = e.Link
		}
	}
}

// step gives one event and leaves checkpoints waiting.
func (x *trace) step(ev Event) {
	x.take(x.core.Step(x.now, ev))
}

// do gives an event and makes the checkpoints durable; out is of both.
func (x *trace) do(ev Event) {
	x.step(ev)
	first := x.out
	x.step(Checkpointed{Seq: x.seq})
	x.out = append(first, x.out...)
}

func (x *trace) later(d time.Duration) {
	x.now = x.now.Add(d)
	x.do(Fired{})
}

// open brings the session up.
func (x *trace) open() {
	x.t.Helper()
	for range 10 {
		if _, ok := find[Connect](x.out); ok {
			break
		}
		x.later(time.Second)
	}
	x.do(Linked{Link: x.link})
	x.do(Got{Link: x.link, Msg: wire.Welcome{Version: 1, Term: 1, BeatMillis: 2000}})
	opened := x.out
	// The master names what it wants here: all that runs.
	m := wire.Assign{Full: true}
	for _, k := range x.core.sorted() {
		m.Keep = append(m.Keep, wire.TaskRef{ID: k.id(), Epoch: k.rec.Launch.Epoch})
	}
	x.assign(m)
	x.out = append(opened, x.out...)
}

func launch(id string, epoch dcos.Epoch) dcos.Launch {
	task := dcos.TaskID(id)
	return dcos.Launch{Task: task, App: "/a", Epoch: epoch, Instance: dcos.InstanceOf(task), Cmd: "true", KillGraceMillis: 3000}
}

// assign sends an assignment with the right hash.
func (x *trace) assign(m wire.Assign) {
	x.t.Helper()
	x.at++
	m.Term, m.Seq = 1, x.at
	x.step(Got{Link: x.link, Msg: m})
	first := x.out
	m.Hash = x.core.hash
	x.step(Checkpointed{Seq: x.seq})
	x.out = append(first, x.out...)
}

func (x *trace) run(id string, epoch dcos.Epoch) {
	x.t.Helper()
	x.assign(wire.Assign{Run: []dcos.Launch{launch(id, epoch)}})
	x.want("CreateSandbox")
	x.do(SandboxReady{Task: dcos.TaskID(id), Dir: "/s"})
	x.want("StartProcess")
	x.do(Started{Task: dcos.TaskID(id), Pid: 1})
}

func find[E Effect](effects []Effect) (E, bool) {
	for _, e := range effects {
		if e, ok := e.(E); ok {
			return e, true
		}
	}
	var none E
	return none, false
}

func names(effects []Effect) string {
	var out []string
	for _, e := range effects {
		out = append(out, reflect.TypeOf(e).Name())
	}
	return strings.Join(out, " ")
}

// want says that the last step had an effect of this name, not that it hadn't.
func (x *trace) want(name string) {
	x.t.Helper()
	if !strings.Contains(" "+names(x.out)+" ", " "+name+" ") {
		x.t.Fatalf("effects are %q, want %s", names(x.out), name)
	}
}

func (x *trace) wantNo(name string) {
	x.t.Helper()
	if strings.Contains(" "+names(x.out)+" ", " "+name+" ") {
		x.t.Fatalf("effects are %q, want no %s", names(x.out), name)
	}
}

// reported are the statuses sent in the last step, as "task STATE".
func (x *trace) reported() string {
	var out []string
	for _, e := range x.out {
		if s, ok := e.(Send); ok {
			if r, ok := s.Msg.(wire.Report); ok {
				for _, st := range r.Statuses {
					out = append(out, fmt.Sprintf("%s %s", st.Task, st.State))
				}
			}
		}
	}
	return strings.Join(out, ", ")
}

func (x *trace) wantReport(want string) {
	x.t.Helper()
	if got := x.reported(); got != want {
		x.t.Fatalf("reported %q, want %q (effects %s)", got, want, names(x.out))
	}
}

func (x *trace) ackAll() {
	var seqs []uint64
	for _, i := range x.core.outbox.items {
		seqs = append(seqs, i.status.Seq)
	}
	x.do(Got{Link: x.link, Msg: wire.Ack{Seqs: seqs}})
}

func TestNothingIsDoneBeforeItIsInTheCheckpoint(t *testing.T) {
	t.Parallel()
	x := newTrace(t)
	x.open()
	x.step(Got{Link: x.link, Msg: wire.Assign{Term: 1, Seq: x.at + 1, Run: []dcos.Launch{launch("i._app.1", 5)}, Hash: wire.TaskHash("i._app.1", 5)}})
	x.want("WriteCheckpoint")
	x.wantNo("CreateSandbox")
	x.wantReport("")
	x.step(Checkpointed{Seq: x.seq})
	x.want("CreateSandbox")
	x.wantReport("i._app.1 TASK_STAGING")
	x.do(SandboxReady{Task: "i._app.1", Dir: "/s"})
	x.step(Started{Task: "i._app.1", Pid: 9})
	x.wantReport("")
	x.step(Checkpointed{Seq: x.seq})
	x.wantReport("i._app.1 TASK_RUNNING")
	x.step(Exited{Task: "i._app.1", Exit: dcos.Exit{Code: 3}})
	x.wantNo("Cleanup") // the exit would be lost with it
	x.step(Checkpointed{Seq: x.seq})
	x.want("Cleanup")
	x.wantReport("i._app.1 TASK_FAILED")
}

func TestTaskIsNeverStartedTwice(t *testing.T) {
	t.Parallel()
	x := newTrace(t)
	x.open()
	x.run("i._app.1", 5)
	x.assign(wire.Assign{Run: []dcos.Launch{launch("i._app.1", 5)}})
	x.wantNo("CreateSandbox")
	x.do(Exited{Task: "i._app.1", Exit: dcos.Exit{}})
	x.ackAll()
	x.do(Cleaned{Task: "i._app.1"})
	x.assign(wire.Assign{Run: []dcos.Launch{launch("i._app.1", 5)}})
	x.wantNo("CreateSandbox")
	x.wantReport("i._app.1 TASK_FINISHED") // told once more
}

func TestOlderAssignmentsAreRefused(t *testing.T) {
	t.Parallel()
	x := newTrace(t)
	x.open()
	x.run("i._app.1", 5)
	for _, m := range []wire.Assign{
		{Term: 1, Seq: x.at, Full: true},
		{Term: 1, Seq: x.at - 1, Full: true},
		{Term: 0, Seq: 99, Full: true},
	} {
		x.do(Got{Link: x.link, Msg: m})
		x.wantNo("Signal")
	}
	x.do(Got{Link: x.link, Msg: wire.Assign{Term: 2, Seq: 1, Full: true}})
	x.want("Signal")
	x.restore(config())
	if got := x.core.hello(); got.Term != 2 || got.Seq != 1 {
		t.Errorf("after a restart the agent says it has seen (%d, %d), want (2, 1)", got.Term, got.Seq)
	}
}

// A task that should be stopped would go on, or its end never be told, when an
// assignment was lost and the next change was taken.
func TestChangesBehindALostAssignmentAreNotTaken(t *testing.T) {
	t.Parallel()
	run := wire.Assign{Run: []dcos.Launch{launch("i._app.1", 5)}}
	for name, lose := range map[string]func(x *trace){
		"a change": func(x *trace) { x.at++ },
		"the full one of a connection": func(x *trace) {
			x.do(Unlinked{Link: x.link})
			x.later(time.Second)
			x.do(Linked{Link: x.link})
			x.do(Got{Link: x.link, Msg: wire.Welcome{Version: 1, Term: 1, BeatMillis: 2000}})
			x.at++
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newTrace(t)
			x.open()
			lose(x)
			x.assign(run)
			x.wantNo("CreateSandbox")
			if x.core.seen.Seq == x.at {
				t.Error("its number is said to be taken: the master would not name the set again")
			}
			run := run
			run.Full = true
			x.assign(run)
			x.want("CreateSandbox")
		})
	}
}

func TestFullAssignmentStopsWhatItDoesNotName(t *testing.T) {
	t.Parallel()
	x := newTrace(t)
	x.open()
	x.run("i._app.1", 5)
	x.run("j._app.1", 6)
	x.assign(wire.Assign{Full: true, Keep: []wire.TaskRef{{ID: "i._app.1", Epoch: 5}, {ID: "j._app.1", Epoch: 7}}})
	if s, ok := find[Signal](x.out); !ok || s.Task != "j._app.1" {
		t.Errorf("effects %s, want a signal to j, whose epoch is another", names(x.out))
	}
}

func TestKillComesWhenTheGraceIsOver(t *testing.T) {
	t.Parallel()
	x := newTrace(t)
	x.open()
	x.run("i._app.1", 5)
	x.assign(wire.Assign{Stop: []wire.TaskRef{{ID: "i._app.1", Epoch: 5, State: dcos.TaskRunning}}})
	x.want("Signal")
	x.later(2900 * time.Millisecond)
	x.wantNo("Kill")
	x.later(200 * time.Millisecond)
	x.want("Kill")
	x.later(killAgain)
	x.want("Kill")
	x.do(Exited{Task: "i._app.1", Exit: dcos.Exit{Code: -1, Signal: 9}})
	x.wantReport("i._app.1 TASK_KILLED")
	x.later(killAgain)
	x.wantNo("Kill")
}

func TestTaskStoppedBeforeItStartedNeverStarts(t *testing.T) {
	t.Parallel()
	stop := wire.Assign{Stop: []wire.TaskRef{{ID: "i._app.1", Epoch: 5, State: dcos.TaskStaging}}}
	t.Run("while it is prepared", func(t *testing.T) {
		t.Parallel()
		x := newTrace(t)
		x.open()
		x.assign(wire.Assign{Run: []dcos.Launch{launch("i._app.1", 5)}})
		x.assign(stop)
		x.wantReport("i._app.1 TASK_KILLED")
		x.want("Cleanup")
		x.do(SandboxReady{Task: "i._app.1", Dir: "/s"})
		x.wantNo("StartProcess")
	})
	t.Run("while it is started", func(t *testing.T) {
		t.Parallel()
		x := newTrace(t)
		x.open()
		x.assign(wire.Assign{Run: []dcos.Launch{launch("i._app.1", 5)}})
		x.do(SandboxReady{Task: "i._app.1", Dir: "/s"})
		x.assign(stop)
		x.wantNo("Cleanup")
		x.do(Started{Task: "i._app.1", Pid: 1})
		x.want("Signal")
	})
	t.Run("before it came", func(t *testing.T) {
		t.Parallel()
		x := newTrace(t)
		x.open()
		x.assign(stop)
		x.wantReport("i._app.1 TASK_KILLED")
		x.assign(stop)
		x.wantReport("") // it waits to be acknowledged
		x.ackAll()
		x.assign(wire.Assign{Stop: []wire.TaskRef{{ID: "j._app.1", State: dcos.TaskLost}}})
		x.wantReport("")
	})
}

func TestNewerTaskOfAnInstanceWaitsForTheOlder(t *testing.T) {
	t.Parallel()
	x := newTrace(t)
	x.open()
	x.run("i._app.1", 5)
	x.assign(wire.Assign{Run: []dcos.Launch{launch("i._app.2", 9)}})
	x.want("Signal") // the newer one wins
	x.wantNo("CreateSandbox")
	x.do(Exited{Task: "i._app.1", Exit: dcos.Exit{Signal: 15, Code: -1}})
	x.wantNo("CreateSandbox")
	x.do(Cleaned{Task: "i._app.1"})
	x.want("CreateSandbox")
	x.assign(wire.Assign{Run: []dcos.Launch{launch("i._app.0", 3)}})
	x.wantReport("i._app.0 TASK_STAGING, i._app.0 TASK_KILLED")
	x.wantNo("CreateSandbox")
}

func TestFailuresToStartEndTheTask(t *testing.T) {
	t.Parallel()
	bad := errors.New("no space")
	for name, tt := range map[string]struct {
		image string
		event []Event
		want  string
	}{
		"image":         {"x", []Event{ImageReady{Task: "i._app.1", Err: bad}}, "TASK_FAILED CONTAINER_PREPARATION_FAILED"},
		"bad image":     {"x", []Event{ImageReady{Task: "i._app.1", Err: dcos.ErrInvalid}}, "TASK_ERROR CONTAINER_PREPARATION_FAILED"},
		"empty image":   {"x", []Event{ImageReady{Task: "i._app.1"}, SandboxReady{Task: "i._app.1"}}, ""},
		"sandbox":       {"", []Event{SandboxReady{Task: "i._app.1", Err: bad}}, "TASK_FAILED CONTAINER_LAUNCH_FAILED"},
		"start":         {"", []Event{SandboxReady{Task: "i._app.1"}, Started{Task: "i._app.1", Err: bad}}, "TASK_FAILED CONTAINER_LAUNCH_FAILED"},
		"no such thing": {"", []Event{SandboxReady{Task: "i._app.1"}, Started{Task: "i._app.1", Err: dcos.ErrInvalid}}, "TASK_ERROR CONTAINER_LAUNCH_FAILED"},
		"memory":        {"", []Event{SandboxReady{Task: "i._app.1"}, Started{Task: "i._app.1"}, Exited{Task: "i._app.1", Exit: dcos.Exit{Code: 137, OOM: true}}}, "TASK_FAILED CONTAINER_LIMITATION_MEMORY"},
		"unseen":        {"", []Event{SandboxReady{Task: "i._app.1"}, Started{Task: "i._app.1"}, Exited{Task: "i._app.1", Exit: dcos.Exit{Unknown: true}}}, "TASK_FAILED EXECUTOR_TERMINATED"},
		"exit first":    {"", []Event{SandboxReady{Task: "i._app.1"}, Exited{Task: "i._app.1"}, Started{Task: "i._app.1"}}, "TASK_FINISHED "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newTrace(t)
			x.open()
			l := launch("i._app.1", 5)
			l.Image = tt.image
			x.assign(wire.Assign{Run: []dcos.Launch{l}})
			for _, ev := range tt.event {
				x.do(ev)
			}
			k := x.core.tasks["i._app.1"]
			got := fmt.Sprint(k.rec.State, " ", k.rec.Reason)
			if tt.want == "" {
				if k.ended() {
					t.Errorf("ended as %s", got)
				}
				return
			}
			if got != tt.want || !k.ended() {
				t.Errorf("ended as %q, want %q", got, tt.want)
			}
			if _, ok := find[Cleanup](x.all); !ok {
				t.Error("nothing was cleaned up")
			}
		})
	}
}

func TestAnAgentGoesToTheLeaderOfANewerTermAtOnce(t *testing.T) {
	t.Parallel()
	x := newTrace(t)
	x.open()
	was := x.link
	term := x.core.link.term
	x.step(Leads{Term: term, Addr: "same:7444"})
	x.wantNo("Disconnect")
	x.step(Leads{Term: term + 1, Addr: "new:7444"})
	x.want("Disconnect")
	x.later(time.Second)
	c, ok := find[Connect](x.all[len(x.all)-len(x.out):])
	if !ok || c.Addr != "new:7444" || c.Link != was+1 {
		t.Fatalf("after a newer leader was heard of: %+v, want a connection to it", x.out)
	}
	// It was a lie, or it lost its term: the agent looks around, and the same
	// hint does not send it there again.
	x.step(Unlinked{Link: c.Link, Why: "refused"})
	x.step(Leads{Term: term + 1, Addr: "new:7444"})
	x.later(5 * time.Second)
	if c, ok := find[Connect](x.all[len(x.all)-len(x.out):]); !ok || c.Addr != "" {
		t.Fatalf("after the hint failed: %+v, want a connection to any master", x.out)
	}
}
