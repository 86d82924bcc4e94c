package cli

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dcos-go/dcos/packages"
	"github.com/dcos-go/dcos/pkg/api"
	"github.com/dcos-go/dcos/pkg/api/apitest"
	"github.com/dcos-go/dcos/pkg/api/cosmos"
	dcosapi "github.com/dcos-go/dcos/pkg/api/dcos"
	"github.com/dcos-go/dcos/pkg/api/marathon"
	"github.com/dcos-go/dcos/pkg/auth"
	"github.com/dcos-go/dcos/pkg/catalog"
	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/sandbox"
	"github.com/dcos-go/dcos/pkg/scheduler"
	"github.com/dcos-go/dcos/pkg/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a cluster without machines: the real API, state and scheduler, and
// an agent that only says that tasks run.
type world struct {
	t       *testing.T
	cluster *apitest.Cluster
	server  *httptest.Server
	boxes   *sandbox.Sandboxes
	secrets *auth.Secrets
	home    string
}

const password = "correct-horse-battery"

func newWorld(t *testing.T, https bool) *world {
	t.Helper()
	w := &world{t: t, cluster: apitest.New(), home: t.TempDir()}
	var err error
	if w.secrets, err = auth.NewSecrets("c0ffee00-0000-4000-8000-000000000001", time.Now(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	if w.boxes, err = sandbox.New(filepath.Join(t.TempDir(), "boxes")); err != nil {
		t.Fatal(err)
	}
	admin, err := auth.NewUser("admin", password, []dcos.Grant{{Path: "/", Actions: []string{auth.ActionFull}}}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w.cluster.Do(state.PutUser{User: admin, Create: true}, state.PutNode{Node: apitest.Node("n1")})
	h := w.handler()
	w.server = httptest.NewUnstartedServer(h)
	w.server.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes that a client refuses
	if https {
		cert, err := w.secrets.CA.IssueServing([]string{"127.0.0.1"}, time.Now(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		w.server.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*cert}}
		w.server.StartTLS()
	} else {
		w.server.Start()
	}
	t.Cleanup(w.server.Close)
	return w
}

func (w *world) handler() http.Handler {
	cat, err := catalog.Load(packages.Source, packages.Files())
	if err != nil {
		w.t.Fatal(err)
	}
	secrets := func() *auth.Secrets { return w.secrets }
	gate := auth.NewGate(secrets, nil)
	st := w.cluster.State()
	leader := func() dcos.MasterID { return 1 }
	mara := marathon.Routes(marathon.Config{State: st, Leader: leader, Scheme: "http", Log: apitest.Quiet()})
	logs := dcosapi.AgentRoutes(dcosapi.AgentConfig{Node: "n1", Logs: w.boxes, Log: apitest.Quiet()})
	return apitest.Handler(api.Credentials{Bearers: gate, Feed: w.cluster},
		mara, mara.Mount("/service/marathon"), logs,
		cosmos.Routes(cosmos.Config{State: st, Catalog: cat, Log: apitest.Quiet()}),
		dcosapi.Routes(dcosapi.Config{
			State: st, Leader: leader, Term: func() dcos.Term { return 1 }, Gate: gate, Secrets: secrets,
			Version: client.Version{Version: "0.1.0", Level: 1}, Log: apitest.Quiet(),
		}))
}

// live lets scheduler and agent act until the test ends.
func (w *world) live() {
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	s := scheduler.NewScheduler(w.cluster, w.cluster, leads{}, apitest.Quiet())
	group.Go(func() { _ = s.Run(ctx) }) // its error would only be ctx's
	group.Go(func() { w.agent(ctx) })
	w.t.Cleanup(func() { cancel(); group.Wait() })
}

type leads struct{}

func (leads) Lead(ctx context.Context) (context.Context, error) { return ctx, ctx.Err() }

// agent runs what is placed and ends what is to end.
func (w *world) agent(ctx context.Context) {
	view := w.cluster.View()
	changes, err := w.cluster.Watch(ctx, view.Index())
	if err != nil {
		w.t.Error(err)
		return
	}
	for _, err := range changes {
		if err != nil {
			return // the test has ended
		}
		view = w.cluster.View()
		for k := range view.Tasks() {
			switch {
			case k.Node == "" || k.State.Terminal():
			case k.Goal == dcos.GoalStop:
				w.cluster.Status(k.ID, dcos.TaskKilled)
			case k.State != dcos.TaskRunning:
				w.cluster.Status(k.ID, dcos.TaskRunning)
			}
		}
	}
}

// env is a command line that was set up for the cluster.
func (w *world) env(in string, args ...string) (*Env, *bytes.Buffer, *bytes.Buffer) {
	var out, errs bytes.Buffer
	return &Env{Args: args, In: strings.NewReader(in), Out: &out, Err: &errs, Home: w.home}, &out, &errs
}

// attach logs the command line in.
func (w *world) attach() {
	w.t.Helper()
	e, _, errs := w.env("", "cluster", "setup", w.server.URL)
	e.Environ = []string{"DCOS_USERNAME=admin", "DCOS_PASSWORD=" + password}
	if code := Run(w.t.Context(), e); code != exitOK {
		w.t.Fatalf("cluster setup: exit code %d: %s", code, errs)
	}
}

// run gives a command's standard output; its exit code must be as wanted.
func (w *world) run(code int, in string, args ...string) (out, errs string) {
	w.t.Helper()
	e, o, x := w.env(in, args...)
	if got := Run(w.t.Context(), e); got != code {
		w.t.Fatalf("dcos %s: exit code %d, want %d\nout: %s\nerr: %s", strings.Join(args, " "), got, code, o, x)
	}
	return o.String(), x.String()
}

// contains fails unless a text has all the parts.
func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%q is not in:\n%s", p, text)
		}
	}
}

// writeLog writes a task's output as its shim would.
func (w *world) writeLog(id dcos.TaskID, stream, text string) {
	w.t.Helper()
	dir, err := w.boxes.Create(id, "")
	if err != nil {
		w.t.Fatal(err)
	}
	for name, content := range map[string]string{stream: text, sandbox.IndexName(stream): "0 0 1700000000000\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
}
