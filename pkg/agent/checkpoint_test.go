package agent

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/wire"
)

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

func TestRebootWhoseCheckpointIsCutOffAnywhereStartsNoTaskAgain(t *testing.T) {
	t.Parallel()
	x := newTrace(t)
	x.open()
	for i := range 3 {
		id := dcos.TaskID(fmt.Sprintf("i%d._app.1", i))
		x.assign(wire.Assign{Run: []dcos.Launch{launch(string(id), dcos.Epoch(5+i))}})
		x.do(SandboxReady{Task: id, Dir: "/s"})
		x.want("StartProcess") // it runs when the power goes, and nobody heard of it
	}
	before := x.disk
	cfg := config()
	cfg.Node.Boot = "b2"
	x.restore(cfg)
	x.do(Listed{})
	written := x.disk[len(before):]
	if len(written) != 4 {
		t.Fatalf("%d records of three lost tasks and a boot", len(written))
	}
	for n := range len(written) + 1 {
		y := &trace{t: t, now: x.now, disk: slices.Concat(before, written[:n])}
		y.restore(cfg)
		y.do(Checkpointed{Seq: y.seq})
		y.do(Listed{})
		for i := 0; i < len(y.all); i++ { // the runtime holds nothing of them any more
			switch e := y.all[i].(type) {
			case Adopt:
				y.do(Adopted{Task: e.Task})
			case Cleanup:
				y.do(Cleaned{Task: e.Task})
			case CreateSandbox, StartProcess:
				t.Fatalf("with %d of %d records: %+v", n, len(written), e)
			}
		}
		for id, k := range y.core.tasks {
			if k.rec.Phase != phaseCleaned || k.rec.State != dcos.TaskLost || k.rec.Reason != dcos.ReasonReboot {
				t.Errorf("with %d of %d records %s is %s (%s) in phase %d", n, len(written), id, k.rec.State, k.rec.Reason, k.rec.Phase)
			}
		}
	}
}

func TestStraysEndBeforeMastersHearOfTheNewBootAlsoWhenTheAgentIsKilledMeanwhile(t *testing.T) {
	t.Parallel()
	x := &trace{t: t, now: time.UnixMilli(1767225600000)}
	for range 3 {
		x.restore(config())
		x.do(Checkpointed{Seq: x.seq})
		x.wantNo("Connect")
		x.do(Listed{Tasks: []dcos.TaskID{"i._app.1"}})
		x.want("Cleanup")
		x.later(retryFirst)
		x.wantNo("Connect")
	}
	x.do(Cleaned{Task: "i._app.1"})
	x.later(0)
	x.want("Connect")
	x.restore(config()) // now it is known that nothing is left of before
	x.want("Connect")
}

func TestStraysOfALostCheckpointEndBeforeMastersHearOfTheNewBootAndBeforeAnythingStarts(t *testing.T) {
	t.Parallel()
	for _, stuck := range []bool{false, true} {
		x := &trace{t: t, now: time.UnixMilli(1767225600000)}
		x.restore(config())
		x.later(0)
		x.wantNo("Connect")
		x.do(Listed{Err: dcos.ErrUnavailable})
		x.later(retryFirst)
		x.want("List")
		x.do(Listed{Tasks: []dcos.TaskID{"i._app.1"}, Sandboxes: []dcos.TaskID{"i._app.1", "i._app.2"}})
		x.want("Cleanup")
		if r, ok := find[RemoveSandbox](x.out); !ok || r.Task != "i._app.1" {
			t.Errorf("effects %s, want the sandbox of the stray to go", names(x.out))
		}
		x.do(Cleaned{Task: "i._app.1", Err: dcos.ErrUnavailable})
		x.wantNo("Connect")
		x.later(2 * retryFirst)
		x.want("Cleanup")
		if stuck { // then its lease ends before masters may hear that it has
			x.later(dcos.LeaseFor + dcos.LeaseMargin)
			x.want("Connect")
			x.open()
			x.assign(wire.Assign{Run: []dcos.Launch{launch("i._app.2", 5)}})
			x.wantNo("CreateSandbox")
			x.do(Cleaned{Task: "i._app.1"})
			x.want("CreateSandbox")
			continue
		}
		x.do(Cleaned{Task: "i._app.1"})
		x.later(0)
		x.want("Connect")
	}
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
