package agent

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/wire"
)

func fencedLaunch(id string, epoch dcos.Epoch) dcos.Launch {
	l := launch(id, epoch)
	l.Fenced = true
	return l
}

// grant has the master answer the newest beat with a lease.
func (x *trace) grant() {
	n := x.core.link.beat
	x.do(Got{Link: x.link, Msg: wire.BeatAck{N: n, BeatMillis: 2000, Lease: n}})
}

// started brings a fenced task up.
func (x *trace) started(id dcos.TaskID) {
	x.t.Helper()
	x.assign(wire.Assign{Run: []dcos.Launch{fencedLaunch(string(id), 5)}})
	x.grant()
	x.do(SandboxReady{Task: id, Dir: "/s"})
	x.want("StartProcess")
	x.do(Started{Task: id, Pid: 1})
}

func TestFencedTaskStartsOnlyUnderALease(t *testing.T) {
	t.Parallel()
	x := newTrace(t)
	x.open()
	x.assign(wire.Assign{Run: []dcos.Launch{fencedLaunch("i._app.1", 5)}})
	x.wantNo("CreateSandbox")
	if x.core.link.beat == 0 {
		t.Errorf("effects %s, want a beat at once, to get the lease", names(x.out))
	}
	sent := x.now
	x.now = x.now.Add(3 * time.Second)
	x.do(Got{Link: x.link, Msg: wire.BeatAck{N: x.core.link.beat, BeatMillis: 2000}}) // an answer, but no lease
	x.wantNo("CreateSandbox")
	x.grant()
	x.want("CreateSandbox")
	x.do(SandboxReady{Task: "i._app.1", Dir: "/s"})
	if s, ok := find[StartProcess](x.out); !ok || !s.Spec.Lease.Equal(sent.Add(dcos.LeaseFor)) {
		t.Errorf("started with %+v, want a lease counted from when the beat was sent", s.Spec.Lease)
	}
}

func TestLeaseEndsTasksByForceWhenNoMasterAnswers(t *testing.T) {
	t.Parallel()
	x := newTrace(t)
	x.open()
	x.assign(wire.Assign{Run: []dcos.Launch{launch("j._app.1", 4)}})
	x.do(SandboxReady{Task: "j._app.1", Dir: "/s"})
	x.do(Started{Task: "j._app.1", Pid: 2})
	x.started("i._app.1")
	x.later(10 * time.Second)
	x.core.link.beat++
	x.core.lease.sent(x.core.link.beat, x.now)
	x.grant()
	if e, ok := find[ExtendLease](x.out); !ok || len(e.Tasks) != 1 || !e.Until.Equal(x.now.Add(dcos.LeaseFor)) {
		t.Fatalf("effects %s, want the lease of the fenced task alone to be extended", names(x.out))
	}
	end := x.now.Add(dcos.LeaseFor)
	x.do(Unlinked{Link: x.link})
	for x.now.Add(time.Second).Before(end) {
		x.later(time.Second)
		x.wantNo("Kill")
	}
	x.now = end
	x.do(Fired{})
	if k, ok := find[Kill](x.out); !ok || k.Task != "i._app.1" {
		t.Fatalf("effects %s, want the fenced task to be killed", names(x.out))
	}
	if _, ok := find[Signal](x.out); ok {
		t.Error("it was asked to end: there is no time for that")
	}
	x.do(Exited{Task: "i._app.1", Exit: dcos.Exit{Code: -1, Signal: 9}})
	k := x.core.tasks["i._app.1"]
	if k.rec.State != dcos.TaskKilled || k.rec.Reason != dcos.ReasonAgentLost || k.rec.Message == "" {
		t.Errorf("it ended as %s (%s): %s", k.rec.State, k.rec.Reason, k.rec.Message)
	}
	if o := x.core.tasks["j._app.1"]; o.rec.Phase != phaseRunning {
		t.Error("the task without a fence did not go on")
	}
}

func TestAgentThatSleptKillsBeforeItDoesAnythingElse(t *testing.T) {
	t.Parallel()
	x := newTrace(t)
	x.open()
	x.started("i._app.1")
	x.now = x.now.Add(10 * time.Minute)
	// What waits for it is an answer that grants a lease, and then more work.
	n := x.core.link.beat
	x.step(Got{Link: x.link, Msg: wire.BeatAck{N: n, BeatMillis: 2000, Lease: n}})
	if _, ok := x.out[0].(Kill); !ok {
		t.Errorf("effects %s, want the kill to be the first", names(x.out))
	}
	x.do(Exited{Task: "i._app.1", Exit: dcos.Exit{Code: -1, Signal: 9}})
	x.assign(wire.Assign{Run: []dcos.Launch{fencedLaunch("i._app.2", 6)}})
	x.wantNo("CreateSandbox")
}

func TestLeaseIsKeptAcrossAgentRestarts(t *testing.T) {
	t.Parallel()
	for _, over := range []bool{false, true} {
		x := newTrace(t)
		x.open()
		x.started("i._app.1")
		cfg := config()
		cfg.Lease = x.core.lease.until
		x.now = x.now.Add(30 * time.Second)
		if over {
			x.now = cfg.Lease
		}
		x.restore(cfg)
		x.do(Adopted{Task: "i._app.1", Alive: true})
		_, killed := find[Kill](x.all[len(x.all)-len(x.out)-8:])
		if stop := x.core.tasks["i._app.1"].rec.Stop; killed != over || (stop == stopLease) != over {
			t.Errorf("lease over %t: killed %t, stop %q", over, killed, stop)
		}
	}
}

func TestRemovedMachineEndsItsTasks(t *testing.T) {
	t.Parallel()
	x := newTrace(t)
	x.open()
	x.assign(wire.Assign{Run: []dcos.Launch{launch("j._app.1", 4)}})
	x.do(SandboxReady{Task: "j._app.1", Dir: "/s"})
	x.do(Started{Task: "j._app.1", Pid: 2})
	x.do(Got{Link: x.link, Msg: wire.Refused{Why: "removed", RetryMillis: 1000, Removed: true}})
	if s, ok := find[Signal](x.out); !ok || s.Task != "j._app.1" {
		t.Errorf("effects %s, want the task to be stopped", names(x.out))
	}
}

// Whatever happens, no fenced task runs at or after LeaseFor from the moment at
// which the last beat was sent that a master answered with a lease.
func TestNoFencedTaskOutlivesItsLeaseWhateverHappens(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		x := newTrace(t)
		x.open()
		id := dcos.TaskID("i._app.1")
		x.assign(wire.Assign{Run: []dcos.Launch{fencedLaunch(string(id), 5)}})
		running, killed := false, false
		var lease time.Time // what a master may believe, at most
		see := func() {
			for _, e := range x.out {
				switch e.(type) {
				case StartProcess:
					running = true
				case Kill:
					killed = true
				}
			}
			if running && !killed && !x.now.Before(lease) {
				r.Fatalf("at %v it runs, its lease ended at %v", x.now, lease)
			}
		}
		see()
		for range rapid.IntRange(1, 60).Draw(r, "events") {
			switch rapid.IntRange(0, 6).Draw(r, "event") {
			case 0:
				x.now = x.now.Add(time.Duration(rapid.IntRange(0, 100_000).Draw(r, "sleep")) * time.Millisecond)
				x.do(Fired{})
			case 1, 2:
				x.later(time.Duration(rapid.IntRange(0, 3000).Draw(r, "ms")) * time.Millisecond)
			case 3:
				if bs := x.core.lease.beats; len(bs) > 0 && x.core.link.state == linkOpen {
					b := bs[rapid.IntRange(0, len(bs)-1).Draw(r, "beat")]
					if until := b.at.Add(dcos.LeaseFor); until.After(lease) {
						lease = until
					}
					x.do(Got{Link: x.link, Msg: wire.BeatAck{N: b.n, BeatMillis: 2000, Lease: b.n}})
				}
			case 4:
				x.do(SandboxReady{Task: id, Dir: "/s"})
			case 5:
				x.do(Started{Task: id, Pid: 1})
			case 6:
				x.do(Unlinked{Link: x.link})
			}
			see()
		}
	})
}
