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

func TestStatusesAreResentUntilAcknowledged(t *testing.T) {
	t.Parallel()
	x := newTrace(t)
	x.open()
	x.run("i._app.1", 5)
	const all = "i._app.1 TASK_STAGING, i._app.1 TASK_RUNNING"
	x.later(resendAfter)
	x.wantReport(all)
	x.do(Unlinked{Link: x.link})
	x.open()
	x.wantReport(all)
	x.do(Got{Link: x.link, Msg: wire.Ack{Seqs: []uint64{1}}})
	x.later(time.Second) // the acknowledgement reaches the disk
	x.restore(config())
	x.do(Listed{})
	x.do(Adopted{Task: "i._app.1", Alive: true})
	x.open()
	x.wantReport("i._app.1 TASK_RUNNING")
	x.ackAll()
	x.later(10 * resendAfter)
	x.wantReport("")
}

func TestRestartAdoptsWhatLivesAndReportsWhatEnded(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		started bool
		found   Adopted
		want    string // effects or reports
	}{
		"alive":                        {true, Adopted{Alive: true}, ""},
		"ended":                        {true, Adopted{Exit: &dcos.Exit{Code: 42}}, "i._app.1 TASK_FAILED"},
		"gone":                         {true, Adopted{}, "i._app.1 TASK_FAILED"},
		"not known to be started":      {false, Adopted{Alive: true}, "i._app.1 TASK_RUNNING"},
		"started and ended unseen":     {false, Adopted{Exit: &dcos.Exit{}}, "i._app.1 TASK_RUNNING, i._app.1 TASK_FINISHED"},
		"never started, is started":    {false, Adopted{}, "Cleanup"},
		"cannot be found out, try on ": {true, Adopted{Err: dcos.ErrUnavailable}, "Note"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newTrace(t)
			x.open()
			if tt.started {
				x.run("i._app.1", 5)
			} else {
				x.assign(wire.Assign{Run: []dcos.Launch{launch("i._app.1", 5)}})
			}
			x.ackAll()
			x.later(2 * time.Second)
			x.restore(config())
			x.want("Adopt")
			x.do(Listed{Tasks: []dcos.TaskID{"i._app.1"}})
			x.wantNo("Cleanup")
			x.open()
			tt.found.Task = "i._app.1"
			x.do(tt.found)
			switch tt.want {
			case "Cleanup":
				x.want("Cleanup")
				x.wantNo("StartProcess")
				x.do(Cleaned{Task: "i._app.1"})
				x.want("CreateSandbox")
			case "Note":
				x.later(retryFirst)
				x.want("Adopt")
			default:
				x.wantReport(tt.want)
			}
		})
	}
}

// A crash in the middle of a write keeps the first records only.
func TestNoStatusIsForgottenWhereverTheCheckpointIsCut(t *testing.T) {
	t.Parallel()
	x := newTrace(t)
	x.open()
	x.run("i._app.1", 5)
	x.do(Exited{Task: "i._app.1", Exit: dcos.Exit{Code: 3}})
	for n := range len(x.disk) + 1 {
		c, _, err := Restore(config(), x.now, x.disk[:n])
		if err != nil {
			t.Fatal(err)
		}
		k := c.tasks["i._app.1"]
		if k == nil {
			continue
		}
		items := c.outbox.items
		if len(items) == 0 || items[len(items)-1].status.State != k.rec.State {
			t.Errorf("after %d of %d records the task is %v, and %v wait to be told", n, len(x.disk), k.rec.State, items)
		}
	}
}

func TestNewBootLosesOldTasksAndCleansThem(t *testing.T) {
	t.Parallel()
	x := newTrace(t)
	x.open()
	x.run("i._app.1", 5)
	x.ackAll()
	x.later(2 * time.Second)
	cfg := config()
	cfg.Node.Boot = "b2"
	x.restore(cfg)
	x.wantNo("Adopt")
	x.do(Listed{})
	x.want("Cleanup")
	x.open()
	x.wantReport("i._app.1 TASK_LOST")
	x.restore(cfg) // in the middle of it: the cleanup is done again
	x.want("Cleanup")
}

func TestStraysOfALostCheckpointEndBeforeAnythingStarts(t *testing.T) {
	t.Parallel()
	x := &trace{t: t, now: time.UnixMilli(1767225600000)}
	x.restore(config())
	x.open()
	x.assign(wire.Assign{Run: []dcos.Launch{launch("i._app.2", 5)}})
	x.wantNo("CreateSandbox")
	x.do(Listed{Err: dcos.ErrUnavailable})
	x.later(retryFirst)
	x.want("List")
	x.do(Listed{Tasks: []dcos.TaskID{"i._app.1"}, Sandboxes: []dcos.TaskID{"i._app.1", "i._app.2"}})
	x.want("Cleanup")
	if r, ok := find[RemoveSandbox](x.out); !ok || r.Task != "i._app.1" {
		t.Errorf("effects %s, want the sandbox of the stray to go", names(x.out))
	}
	x.do(Cleaned{Task: "i._app.1", Err: dcos.ErrUnavailable})
	x.wantNo("CreateSandbox")
	x.later(2 * retryFirst)
	x.want("Cleanup")
	x.do(Cleaned{Task: "i._app.1"})
	x.want("CreateSandbox")
}

func TestSandboxesOfEndedTasksAreBoundedAndThenRecordsGo(t *testing.T) {
	t.Parallel()
	x := newTrace(t)
	x.open()
	for i := range 5 {
		id := fmt.Sprintf("i%d._app.1", i)
		x.run(id, dcos.Epoch(i+1))
		x.do(Exited{Task: dcos.TaskID(id)})
		x.ackAll()
		x.do(Cleaned{Task: dcos.TaskID(id)})
		if i < 2 {
			x.wantNo("RemoveSandbox")
			continue
		}
		r, _ := find[RemoveSandbox](x.out)
		if want := dcos.TaskID(fmt.Sprintf("i%d._app.1", i-2)); r.Task != want {
			t.Fatalf("the sandbox of %q goes, want %q", r.Task, want)
		}
		x.do(SandboxRemoved{Task: r.Task})
	}
	if n := x.core.Records(); n != 2 {
		t.Errorf("%d records are left, want 2", n)
	}
	x.later(time.Hour + time.Second)
	for _, e := range x.out {
		if r, ok := e.(RemoveSandbox); ok {
			x.do(SandboxRemoved{Task: r.Task, Err: dcos.ErrUnavailable})
		}
	}
	x.later(retryFirst)
	for _, e := range x.out {
		if r, ok := e.(RemoveSandbox); ok {
			x.do(SandboxRemoved{Task: r.Task})
		}
	}
	if n := x.core.Records(); n != 0 {
		t.Errorf("%d records are left after an hour, want none", n)
	}
	x.restore(config())
	if n := x.core.Records(); n != 0 {
		t.Errorf("%d records come back after a restart, want none", n)
	}
}

func TestSandboxesOfManyAppsAreBoundedToo(t *testing.T) {
	t.Parallel()
	x := newTrace(t)
	x.open()
	for i := range maxKept + 1 {
		l := launch(fmt.Sprintf("i%d._app.1", i), dcos.Epoch(i+1))
		l.App = dcos.AppID(fmt.Sprintf("/a%d", i))
		x.assign(wire.Assign{Run: []dcos.Launch{l}})
		x.assign(wire.Assign{Stop: []wire.TaskRef{{ID: l.Task}}})
		x.ackAll()
		x.now = x.now.Add(time.Millisecond)
		x.do(Cleaned{Task: l.Task})
	}
	gone := 0
	for _, e := range x.out {
		if r, ok := e.(RemoveSandbox); ok {
			if want := dcos.TaskID(fmt.Sprintf("i%d._app.1", gone)); r.Task != want {
				t.Fatalf("the sandbox of %s goes, want the oldest, %s", r.Task, want)
			}
			gone++
		}
	}
	if gone != maxKept/10+1 {
		t.Errorf("%d sandboxes go at %d, want %d", gone, maxKept+1, maxKept/10+1)
	}
}

func TestTasksBeyondTheLimitOfANodeFail(t *testing.T) {
	t.Parallel()
	x := newTrace(t)
	x.open()
	x.core.live = maxLive
	x.assign(wire.Assign{Run: []dcos.Launch{launch("i._app.1", 5)}})
	x.wantReport("i._app.1 TASK_FAILED")
	if x.core.Records() != 0 {
		t.Error("a record is kept of it")
	}
}

func TestRecordStaysUntilItsEndIsAcknowledged(t *testing.T) {
	t.Parallel()
	x := newTrace(t)
	x.open()
	x.run("i._app.1", 5)
	x.do(Exited{Task: "i._app.1"})
	x.do(Cleaned{Task: "i._app.1"})
	x.later(2 * time.Hour)
	x.do(SandboxRemoved{Task: "i._app.1"})
	if x.core.Records() != 1 {
		t.Fatal("the record is gone before any master knows of the end")
	}
	x.ackAll()
	if x.core.Records() != 0 {
		t.Error("the record stays although nothing is left of the task")
	}
}

func TestCheckpointIsCompacted(t *testing.T) {
	t.Parallel()
	x := newTrace(t)
	x.open()
	x.run("keep._app.1", 1)
	x.ackAll()
	for i := range 600 {
		id := fmt.Sprintf("i%d._app.1", i)
		x.run(id, dcos.Epoch(i+2))
		x.do(Exited{Task: dcos.TaskID(id), Exit: dcos.Exit{Code: 1}})
		x.ackAll()
		x.do(Cleaned{Task: dcos.TaskID(id)})
		if r, ok := find[RemoveSandbox](x.out); ok {
			x.do(SandboxRemoved{Task: r.Task})
		}
	}
	if len(x.disk) > 1200 {
		t.Errorf("the checkpoint holds %d records after 600 tasks", len(x.disk))
	}
	next := x.core.outbox.next
	x.restore(config())
	if x.core.outbox.next < next {
		t.Errorf("statuses are numbered from %d after a restart, before it they were at %d", x.core.outbox.next, next)
	}
	if n := x.core.Records(); n != 3 || x.core.tasks["keep._app.1"] == nil {
		t.Errorf("%d records after a restart, want the running task and 2 ended ones", n)
	}
}

func TestLinkIsGivenUpAfterThreeBeatsWithoutAnswer(t *testing.T) {
	t.Parallel()
	x := newTrace(t)
	x.open()
	beats := 0
	for range 20 {
		x.later(500 * time.Millisecond)
		if s, ok := find[Send](x.out); ok {
			if b, ok := s.Msg.(wire.Beat); ok {
				beats++
				if beats <= 2 {
					x.do(Got{Link: x.link, Msg: wire.BeatAck{N: b.N, BeatMillis: 2000}})
				}
			}
		}
		if _, ok := find[Disconnect](x.out); ok {
			break
		}
	}
	if beats != 5 {
		t.Errorf("gave up after %d beats, want 2 answered and 3 not", beats)
	}
	x.open()
	if !x.core.Online() {
		t.Error("no session after connecting anew")
	}
}

func TestRedirectsAreFollowedButNotInCircles(t *testing.T) {
	t.Parallel()
	x := newTrace(t)
	for i := range maxHops + 1 {
		if i == 0 {
			x.later(time.Second)
		}
		x.do(Linked{Link: x.link})
		x.do(Got{Link: x.link, Msg: wire.Redirect{Leader: "m2:1"}})
		c, ok := find[Connect](x.out)
		if ok != (i < maxHops) || ok && c.Addr != "m2:1" {
			t.Fatalf("redirect %d: connect %v to %q", i+1, ok, c.Addr)
		}
	}
	x.later(time.Second)
	x.want("Connect")
}

func TestReconnectsBackOffAndStayBelowTheLeadersGrace(t *testing.T) {
	t.Parallel()
	x := newTrace(t)
	var last time.Duration
	for range 12 {
		begin := x.now
		for {
			if _, ok := find[Connect](x.out); ok {
				break
			}
			x.later(10 * time.Millisecond)
		}
		last = x.now.Sub(begin)
		x.do(Unlinked{Link: x.link, Why: "refused"})
	}
	if last < backoffLast/2 || last > backoffLast*3/2+20*time.Millisecond {
		t.Errorf("the twelfth try comes after %s, want about %s", last, backoffLast)
	}
}

func TestRefusedAgentWaitsAsToldAndNewProtocolIsNotSpoken(t *testing.T) {
	t.Parallel()
	x := newTrace(t)
	x.later(time.Second)
	x.do(Linked{Link: x.link})
	x.do(Got{Link: x.link, Msg: wire.Refused{Why: "cloned", RetryMillis: 5000}})
	x.want("Note")
	x.later(4 * time.Second)
	x.wantNo("Connect")
	x.later(time.Second)
	x.want("Connect")
	x.do(Linked{Link: x.link})
	x.do(Got{Link: x.link, Msg: wire.Welcome{Version: 99, Term: 1, BeatMillis: 1}})
	x.want("Disconnect")
}

func TestQuitSaysByeAndStaysAway(t *testing.T) {
	t.Parallel()
	x := newTrace(t)
	x.open()
	x.do(Quit{})
	if s, ok := find[Send](x.out); !ok || s.Msg != (wire.Bye{}) {
		t.Errorf("effects %s, want a bye", names(x.out))
	}
	x.want("Disconnect")
	x.do(Unlinked{Link: x.link})
	x.later(time.Hour)
	x.wantNo("Connect")
}

func TestEventsOfAnOlderLinkAreIgnored(t *testing.T) {
	t.Parallel()
	x := newTrace(t)
	x.open()
	old := x.link
	x.do(Unlinked{Link: old})
	x.open()
	x.do(Unlinked{Link: old})
	x.do(Got{Link: old, Msg: wire.Redirect{Leader: "m:1"}})
	x.do(Got{Link: old, Msg: wire.Assign{Term: 9, Seq: 9, Run: []dcos.Launch{launch("i._app.1", 5)}}})
	x.wantNo("CreateSandbox")
	if !x.core.Online() {
		t.Error("an event of an older link closed the new one")
	}
}

func FuzzRestore(f *testing.F) {
	x := newTrace(&testing.T{})
	x.open()
	x.run("i._app.1", 5)
	x.do(Exited{Task: "i._app.1"})
	for _, b := range x.disk {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<16 {
			return
		}
		c, _, err := Restore(config(), time.UnixMilli(0), [][]byte{b, b})
		if err != nil {
			if !errors.Is(err, dcos.ErrInvalid) {
				t.Errorf("%x: %v is of no kind", b, err)
			}
			return
		}
		if _, _, err := Restore(config(), time.UnixMilli(0), c.snapshot()); err != nil {
			t.Errorf("%x: its snapshot does not read back: %v", b, err)
		}
	})
}
