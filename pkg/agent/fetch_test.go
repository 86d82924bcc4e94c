package agent

import (
	"fmt"
	"testing"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/wire"
)

func fetching(id string) dcos.Launch {
	l := launch(id, 5)
	l.Fetch = []dcos.Artifact{{URI: "http://x/y"}}
	return l
}

func TestArtifactsAreFetchedBeforeTheStart(t *testing.T) {
	t.Parallel()
	x := newTrace(t)
	x.open()
	x.assign(wire.Assign{Run: []dcos.Launch{fetching("i._app.1")}})
	x.do(SandboxReady{Task: "i._app.1", Dir: "/s"})
	e, ok := find[FetchArtifacts](x.out)
	if _, started := find[StartProcess](x.out); !ok || started || e.Dir != "/s" || len(e.All) != 1 {
		t.Fatalf("after the sandbox: %+v", x.out)
	}
	x.do(Fetched{Task: "i._app.1"})
	x.want("StartProcess")
	x.do(Started{Task: "i._app.1", Pid: 1})
	if k := x.core.tasks["i._app.1"]; k.rec.Phase != phaseRunning {
		t.Errorf("phase %d", k.rec.Phase)
	}
}

func TestFetchThatFailsEndsTheTaskWithItsReason(t *testing.T) {
	t.Parallel()
	for _, err := range []error{dcos.ErrInvalid, dcos.ErrNotFound, dcos.ErrUnavailable, dcos.ErrExhausted} {
		x := newTrace(t)
		x.open()
		x.assign(wire.Assign{Run: []dcos.Launch{fetching("i._app.1")}})
		x.do(SandboxReady{Task: "i._app.1", Dir: "/s"})
		x.do(Fetched{Task: "i._app.1", Err: fmt.Errorf("fetch http://x/y: %w", err)})
		k := x.core.tasks["i._app.1"]
		if k.rec.State != dcos.TaskFailed || k.rec.Reason != dcos.ReasonFetch || k.rec.Message != "fetch http://x/y: "+err.Error() {
			t.Errorf("%v: ended as %s %s %q", err, k.rec.State, k.rec.Reason, k.rec.Message)
		}
		x.want("Cleanup")
	}
}

func TestFetchIsDoneAgainAfterARestartAndNotAtAllAfterAStop(t *testing.T) {
	t.Parallel()
	x := newTrace(t)
	x.open()
	x.assign(wire.Assign{Run: []dcos.Launch{fetching("i._app.1"), fetching("j._app.2")}})
	x.do(SandboxReady{Task: "i._app.1", Dir: "/s"})
	x.do(SandboxReady{Task: "j._app.2", Dir: "/t"})
	x.assign(wire.Assign{Stop: []wire.TaskRef{{ID: "j._app.2", Epoch: 5}}})
	x.want("Cleanup")
	x.do(Fetched{Task: "j._app.2"}) // too late
	if _, ok := find[StartProcess](x.out); ok {
		t.Error("a task that was stopped during its fetch was started")
	}
	x.restore(config())
	x.do(Listed{})
	x.do(Adopted{Task: "i._app.1"})
	x.do(Cleaned{Task: "i._app.1"})
	x.do(SandboxReady{Task: "i._app.1", Dir: "/s"})
	x.want("FetchArtifacts")
}
