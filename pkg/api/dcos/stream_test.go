package dcos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dcos-go/dcos/pkg/api/apitest"
	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

// listen pulls frames of a stream one by one.
func listen(t *testing.T, c *client.Client, topics client.Topics) (next func() client.Event, stop func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	pull, end := iter.Pull2(c.Stream(ctx, topics))
	stop = func() { cancel(); end() }
	t.Cleanup(stop)
	return func() client.Event {
		t.Helper()
		e, err, ok := pull()
		if err != nil || !ok {
			t.Fatalf("the stream ended: %v", err)
		}
		return e
	}, stop
}

// until reads frames up to the one that matches.
func until(t *testing.T, next func() client.Event, what string, match func(client.Event) bool) client.Event {
	t.Helper()
	for range 1000 {
		if e := next(); match(e) {
			return e
		}
	}
	t.Fatalf("no frame: %s", what)
	return client.Event{}
}

func TestAStreamBeginsWithEverythingAndGoesOnWithChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	next, _ := listen(t, w.admin, client.Topics{Names: []string{"cluster", "nodes", "services", "tasks", "packages", "deployments"}})
	var ops []string
	for e := next(); e.Op != "ping"; e = next() {
		ops = append(ops, e.Op+" "+e.Topic)
	}
	if d := cmp.Diff([]string{"snapshot cluster", "snapshot nodes", "snapshot services", "snapshot tasks", "snapshot packages", "snapshot deployments"}, ops); d != "" {
		t.Error(d)
	}
	w.app(t, `{"id":"/web","cmd":"sleep 1","instances":1}`)
	id := string(w.Run("/web", "n1")[0])
	until(t, next, "the task runs", func(e client.Event) bool {
		k, _ := client.Row[client.Task](e)
		return e.Topic == "tasks" && e.Op == "upsert" && e.Key == id && k.State == "running"
	})
	w.end()
	until(t, next, "the service runs", func(e client.Event) bool {
		s, _ := client.Row[client.Service](e)
		return e.Topic == "services" && e.Key == "/web" && s.State == "running"
	})
	w.Do(state.DeleteApp{App: "/web", Force: true})
	w.Status(dcos.TaskID(id), dcos.TaskKilled)
	for d := range w.View().Deployments() {
		w.Do(state.CancelDeployment{ID: d.ID, Force: true})
	}
	w.Do(state.RemoveApp{App: "/web"})
	gone := map[string]bool{}
	until(t, next, "service and task are gone", func(e client.Event) bool {
		if e.Op == "delete" {
			gone[e.Topic] = true
		}
		return gone["services"] && gone["tasks"]
	})
}

func TestAStreamShowsTheTasksOfOneAppOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.app(t, `{"id":"/a","cmd":"sleep 1"}`)
	w.app(t, `{"id":"/b","cmd":"sleep 1"}`)
	w.Run("/a", "n1")
	w.Run("/b", "n1")
	next, _ := listen(t, w.admin, client.Topics{Names: []string{"tasks"}, App: "/b"})
	rows, err := client.Rows[client.Task](next())
	if err != nil || len(rows) != 1 || rows[0].App != "/b" {
		t.Errorf("%+v, %v", rows, err)
	}
}

func TestAStreamGoesOnWhereItLeftOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	next, stop := listen(t, w.admin, client.Topics{Names: []string{"nodes"}})
	last := until(t, next, "end of the snapshot", func(e client.Event) bool { return e.Op == "ping" })
	stop()
	w.Do(state.PutNode{Node: apitest.Node("n2")})
	w.Do(state.PutNode{Node: apitest.Node("n3")})
	next, _ = listen(t, w.admin, client.Topics{Names: []string{"nodes"}, Since: last.Seq})
	seen := map[string]bool{}
	until(t, next, "both nodes", func(e client.Event) bool {
		if e.Op == "snapshot" || e.Op == "reset" {
			t.Fatalf("frame %s after a resume", e.Op)
		}
		seen[e.Key] = true
		return seen["n2"] && seen["n3"]
	})
}

func TestAStreamThatCannotGoOnBeginsAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Do(state.PutNode{Node: apitest.Node("n2")})
	w.Forget()
	next, _ := listen(t, w.admin, client.Topics{Names: []string{"nodes"}, Since: 1})
	if e := next(); e.Op != "reset" {
		t.Errorf("first frame %+v, want a reset", e)
	}
	rows, err := client.Rows[client.Node](next())
	if err != nil || len(rows) != 2 {
		t.Errorf("snapshot of %d nodes, %v", len(rows), err)
	}
}

func TestALargeSnapshotComesInParts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range snapshotRows + 5 {
		w.Do(state.PutNode{Node: apitest.Node(fmt.Sprintf("x%04d", i))})
	}
	next, _ := listen(t, w.admin, client.Topics{Names: []string{"nodes"}})
	first, err1 := client.Rows[client.Node](next())
	e := next()
	rest, err2 := client.Rows[client.Node](e)
	if err := errors.Join(err1, err2); err != nil || len(first) != snapshotRows || e.Op != "append" || len(rest) != 6 {
		t.Errorf("%d rows, then %s with %d, %v", len(first), e.Op, len(rest), err)
	}
}

func TestAStreamShowsOnlyWhatTheListenerMaySee(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	reader := w.as(t, "reader")
	next, _ := listen(t, reader, client.Topics{Names: []string{"services", "tasks"}})
	if e := next(); e.Op != "snapshot" {
		t.Errorf("%+v", e)
	}
	for _, err := range reader.Stream(t.Context(), client.Topics{Names: []string{"services", "nodes"}}) {
		if !errors.Is(err, dcos.ErrDenied) {
			t.Errorf("nodes by a reader of apps: %v", err)
		}
	}
}

// flaky breaks connections.
type flaky struct {
	next http.RoundTripper
	fail int
}

func (f *flaky) RoundTrip(r *http.Request) (*http.Response, error) {
	if f.fail > 0 {
		f.fail--
		return nil, errors.New("connection reset by a test")
	}
	return f.next.RoundTrip(r)
}

func TestAClientConnectsAgainByItself(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	broken := &flaky{next: w.server.Client().Transport, fail: 2}
	u, _ := w.View().User("admin")
	token, err := w.gate.Issue(u)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(client.Config{URL: w.server.URL, Token: token, HTTP: &http.Client{Transport: broken}})
	if err != nil {
		t.Fatal(err)
	}
	next, _ := listen(t, c, client.Topics{Names: []string{"nodes"}})
	until(t, next, "end of the snapshot", func(e client.Event) bool { return e.Op == "ping" })
	w.server.CloseClientConnections()
	w.Do(state.PutNode{Node: apitest.Node("n2")})
	until(t, next, "the node, after the connection broke", func(e client.Event) bool { return e.Op == "upsert" && e.Key == "n2" })
}

// tired is a feed whose watches end, the first time with ErrReset and then for
// good.
type tired struct {
	*apitest.Cluster
	watches atomic.Int32
}

func (f *tired) Watch(ctx context.Context, from dcos.Index) (iter.Seq2[state.Commit, error], error) {
	switch f.watches.Add(1) {
	case 1, 2:
		return func(yield func(state.Commit, error) bool) { yield(state.Commit{}, dcos.ErrReset) }, nil
	case 3:
		return f.Cluster.Watch(ctx, from)
	}
	return nil, dcos.ErrUnavailable
}

func TestAListenerThatFallsBehindGetsEverythingAnew(t *testing.T) {
	t.Parallel()
	c := &tired{Cluster: apitest.New()}
	c.Do(state.PutNode{Node: apitest.Node("n1")})
	st := c.State()
	st.Feed = c
	s := httptest.NewServer(apitest.Handler(apitest.Admin(), Routes(Config{
		State: st, Leader: func() dcos.MasterID { return 1 }, Term: func() dcos.Term { return 1 }, Log: apitest.Quiet(),
	})))
	defer s.Close()
	cl, err := client.New(client.Config{URL: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	next, stop := listen(t, cl, client.Topics{Names: []string{"nodes"}})
	var ops []string
	for len(ops) < 8 {
		ops = append(ops, next().Op)
	}
	if d := cmp.Diff([]string{"snapshot", "ping", "reset", "snapshot", "ping", "reset", "snapshot", "ping"}, ops); d != "" {
		t.Error(d)
	}
	stop()
}

func TestTooManyWaitingRowsMakeAReset(t *testing.T) {
	t.Parallel()
	st := &stream{topics: map[string]bool{"tasks": true}, dirty: map[rowKey]bool{}, view: state.New().View()}
	commit := state.Commit{Index: 7, View: st.view}
	for i := range maxDirty + 1 {
		commit.Changes = append(commit.Changes, state.Change{Table: state.TableTasks, Key: fmt.Sprint(i), New: &dcos.Task{App: "/a"}})
	}
	st.note(&commit)
	if len(st.dirty) <= maxDirty || st.index != 7 {
		t.Fatalf("%d rows, index %d", len(st.dirty), st.index)
	}
}

func TestEventsOfMarathonFollowTheState(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	pull, stop := iter.Pull2(w.admin.MarathonEvents(ctx))
	defer stop()
	next := func() client.MarathonEvent {
		e, err, ok := pull()
		if err != nil || !ok {
			t.Fatalf("the stream ended: %v", err)
		}
		return e
	}
	if e := next(); e.Type != "event_stream_attached" {
		t.Fatalf("first event %s", e.Raw)
	}
	w.app(t, `{"id":"/g/web","cmd":"sleep 1"}`)
	w.Run("/g/web", "n1")
	w.end()
	var got []string
	for len(got) == 0 || got[len(got)-1] != "deployment_success" {
		e := next()
		var f struct {
			TaskStatus, Condition, GroupID, AppID string
			CurrentStep                           struct{ Actions []struct{ Action string } }
		}
		if err := json.Unmarshal(e.Raw, &f); err != nil {
			t.Fatal(err)
		}
		line := e.Type
		for _, s := range []string{f.TaskStatus, f.Condition, f.GroupID} {
			if s != "" {
				line += " " + s
			}
		}
		for _, a := range f.CurrentStep.Actions {
			line += " " + a.Action
		}
		got = append(got, line)
	}
	want := []string{
		"api_post_event", "group_change_success /g", "deployment_info StartApplication",
		"instance_changed_event Scheduled", "instance_changed_event Provisioned",
		"instance_changed_event Running", "status_update_event TASK_RUNNING",
		"deployment_step_success StartApplication", "deployment_info ScaleApplication",
		"deployment_step_success ScaleApplication", "deployment_success",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("events (-want +got):\n%s", d)
	}
}
