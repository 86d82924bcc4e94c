package dcos

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/dcos-go/dcos/pkg/api"
	"github.com/dcos-go/dcos/pkg/api/apitest"
	"github.com/dcos-go/dcos/pkg/api/marathon"
	"github.com/dcos-go/dcos/pkg/auth"
	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares a document with testdata/name.json.
func golden(t *testing.T, name string, doc any) {
	t.Helper()
	got, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", name+".json")
	if *update {
		if err := os.WriteFile(file, append(got, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(strings.TrimSpace(string(want)), string(got)); d != "" {
		t.Errorf("%s (-want +got):\n%s", name, d)
	}
}

const password = "correct horse battery"

// world is a cluster with a node, an app of two tasks of which one runs, the
// shell with real authentication around it, and a client of its administrator.
type world struct {
	*apitest.Cluster
	gate   *auth.Gate
	server *httptest.Server
	anon   *client.Client
	admin  *client.Client
}

func newWorld(t *testing.T) *world {
	t.Helper()
	c := apitest.New()
	secrets, err := auth.NewSecrets("test", time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	gate := auth.NewGate(func() *auth.Secrets { return secrets }, nil)
	admin, err := auth.NewUser("admin", password, auth.System().Grants, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	reader, err := auth.NewUser("reader", password, []dcos.Grant{{Path: "/apps", Actions: []string{"read"}}, {Path: "/users", Actions: []string{"full"}}}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.Do(state.PutNode{Node: apitest.Node("n1")}, state.PutUser{User: admin}, state.PutUser{User: reader})
	leader := func() dcos.MasterID { return 1 }
	h := apitest.Handler(api.Credentials{Bearers: gate, Feed: c},
		Routes(Config{
			State: c.State(), Leader: leader, Term: func() dcos.Term { return 3 }, Gate: gate, Secrets: func() *auth.Secrets { return secrets },
			Version: client.Version{Version: "0.1.0", Commit: "abc"}, Log: apitest.Quiet(),
		}),
		marathon.Routes(marathon.Config{State: c.State(), Leader: leader, Log: apitest.Quiet()}).Mount("/service/marathon"))
	w := &world{Cluster: c, gate: gate, server: httptest.NewServer(h)}
	t.Cleanup(w.server.Close)
	if w.anon, err = client.New(client.Config{URL: w.server.URL}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.anon.Close)
	w.admin = w.as(t, "admin")
	return w
}

func (w *world) as(t *testing.T, user string) *client.Client {
	t.Helper()
	u, _ := w.View().User(user)
	token, err := w.gate.Issue(u)
	if err != nil {
		t.Fatal(err)
	}
	return w.anon.As(token)
}

func (w *world) app(t *testing.T, doc string) client.App {
	t.Helper()
	a, err := w.admin.CreateApp(t.Context(), []byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// end ends all deployments.
func (w *world) end() {
	var cmds []state.Command
	for d := range w.View().Deployments() {
		for n := d.Step; n <= len(d.Steps); n++ {
			cmds = append(cmds, state.AdvanceDeployment{ID: d.ID, Step: n})
		}
	}
	for _, c := range cmds {
		w.Do(c)
	}
}

func TestRowsHaveTheirShapes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	w.app(t, `{"id":"/web","cmd":"sleep 1","instances":2,"cpus":1,"mem":64}`)
	ids := w.Run("/web", "n1")
	w.Status(ids[1], dcos.TaskFailed)
	w.app(t, `{"id":"/huge","cmd":"sleep 1","cpus":64}`)
	w.Do(state.AddTasks{App: "/huge", Version: mustApp(w, "/huge").Version, Count: 1})

	show := func(name string, v any, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		golden(t, name, v)
	}
	nodes, err := w.admin.Nodes(ctx, client.Query{})
	show("nodes", nodes, err)
	tasks, err := w.admin.Tasks(ctx, client.Query{Sort: "created", Filter: "app=/web"})
	show("tasks", tasks, err)
	services, err := w.admin.Services(ctx, client.Query{})
	show("services", services, err)
	cluster, err := w.admin.Cluster(ctx)
	show("cluster", cluster, err)
	why, err := w.admin.Why(ctx, "/huge")
	show("why", why, err)
	events, err := w.admin.Events(ctx, client.Query{})
	show("events", events, err)
	words, err := w.admin.StateWords(ctx)
	show("enums", words, err)
}

func mustApp(w *world, id dcos.AppID) *dcos.App {
	row, _ := w.View().App(id)
	return row.App
}

func TestEveryStateHasAWordWithAGlyph(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for _, word := range words {
		known[word.Of+" "+word.Word] = true
		if glyphs[word.Severity] == "" || word.Meaning == "" {
			t.Errorf("%+v has no glyph or no meaning", word)
		}
	}
	for s := dcos.TaskWaiting; s <= dcos.TaskLost; s++ {
		if !known["task "+taskWord(&dcos.Task{State: s, Goal: dcos.GoalRun})] {
			t.Errorf("task state %v has no word", s)
		}
	}
	for s := dcos.NodeActive; s <= dcos.NodeLost; s++ {
		if !known["node "+s.String()] {
			t.Errorf("node state %v has no word", s)
		}
	}
	for _, tt := range []struct {
		row       state.AppRow
		s         client.Service
		busy      int
		deploying bool
		want      string
	}{
		{s: client.Service{Instances: 2, Running: 2}, want: "running"},
		{s: client.Service{Instances: 2, Running: 1}, want: "degraded"},
		{s: client.Service{Instances: 2, Running: 1}, deploying: true, want: "deploying"},
		{s: client.Service{Instances: 2, Running: 1, Waiting: 1}, deploying: true, want: "waiting"},
		{s: client.Service{Instances: 3, Running: 1, Waiting: 1}, busy: 1, deploying: true, want: "deploying"},
		{row: state.AppRow{Backoff: state.BackoffRow{Failures: 2}}, s: client.Service{Instances: 3, Waiting: 1}, busy: 1, want: "waiting"},
		{row: state.AppRow{Deleting: true}, s: client.Service{Instances: 2, Running: 2}, want: "deleting"},
		{want: "suspended"},
	} {
		got, _ := serviceState(&tt.row, tt.s, tt.busy, tt.deploying)
		if got != tt.want || !known["service "+got] {
			t.Errorf("%+v: %q, want %q", tt, got, tt.want)
		}
	}
}

func TestLoginGivesATokenAndACookieThatWritesOnlyFromOurPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	if _, err := w.anon.Login(ctx, "admin", "wrong"); !errors.Is(err, dcos.ErrUnauthenticated) {
		t.Errorf("wrong password: %v", err)
	}
	token, err := w.anon.Login(ctx, "admin", password)
	if err != nil {
		t.Fatal(err)
	}
	if me, err := w.anon.As(token).Me(ctx); err != nil || me.ID != "admin" {
		t.Errorf("me: %+v, %v", me, err)
	}
	once := w.gate.LoginLink("admin")
	if _, err := w.anon.LoginOnce(ctx, once); err != nil {
		t.Errorf("login link: %v", err)
	}
	if _, err := w.anon.LoginOnce(ctx, once); !errors.Is(err, dcos.ErrUnauthenticated) {
		t.Errorf("login link, the second time: %v", err)
	}

	h := w.server.Config.Handler
	res := apitest.Do(h, "POST", "/acs/api/v1/auth/login", `{"uid":"admin","password":"`+password+`"}`)
	set := res.Result().Cookies()[0]
	if !set.HttpOnly || set.SameSite != http.SameSiteStrictMode || set.Path != "/" || set.Name != auth.CookieName {
		t.Errorf("cookie %+v", set)
	}
	cookie := "Cookie: " + set.Name + "=" + set.Value
	for _, tt := range []struct {
		method, path string
		headers      []string
		want         int
	}{
		{"GET", "/dcos/v1/nodes", []string{cookie}, 200},
		{"GET", "/dcos/v1/nodes", nil, 401},
		{"GET", "/dcos/v1/nodes", []string{"Authorization: token="}, 401},
		{"GET", "/dcos/v1/nodes", []string{"Authorization: Bearer " + token}, 200},
		{"GET", "/dcos/v1/nodes", []string{"Authorization: Basic eDp5"}, 401},
		{"DELETE", "/dcos/v1/nodes/nope", []string{cookie}, 401},
		{"DELETE", "/dcos/v1/nodes/nope", []string{cookie, "Origin: https://evil.example"}, 401},
		{"DELETE", "/dcos/v1/nodes/nope", []string{cookie, "Origin: null"}, 401},
		{"DELETE", "/dcos/v1/nodes/nope", []string{cookie, "Origin: https://example.com"}, 404}, // httptest's Host
		{"DELETE", "/dcos/v1/nodes/nope", []string{"Authorization: token=" + token, "Origin: https://evil.example"}, 404},
		{"GET", "/acs/api/v1/auth/logout", []string{cookie}, 204},
	} {
		if got := apitest.Do(h, tt.method, tt.path, "", tt.headers...); got.Code != tt.want {
			t.Errorf("%s %s %v: %d %s, want %d", tt.method, tt.path, tt.headers, got.Code, got.Body, tt.want)
		}
	}
}

func TestNobodyGivesMoreThanTheyHave(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	reader := w.as(t, "reader")
	grant := func(path, action string) []client.Grant {
		return []client.Grant{{Path: path, Actions: []string{action}}}
	}
	if _, err := reader.CreateUser(ctx, client.User{ID: "evil", Password: password, Grants: grant("/", "full")}); !errors.Is(err, dcos.ErrDenied) {
		t.Errorf("full grant by a reader: %v", err)
	}
	if err := reader.SetPassword(ctx, "admin", password+"!"); !errors.Is(err, dcos.ErrDenied) {
		t.Errorf("the administrator's password by a reader: %v", err)
	}
	if err := reader.RemoveUser(ctx, "admin"); !errors.Is(err, dcos.ErrDenied) {
		t.Errorf("removal of the administrator by a reader: %v", err)
	}
	made, err := reader.CreateUser(ctx, client.User{ID: "second", Password: password, Grants: grant("/apps/web", "read")})
	if err != nil || made.ID != "second" || made.Password != "" {
		t.Errorf("made %+v, %v", made, err)
	}
	if _, err := w.admin.CreateUser(ctx, client.User{ID: "second", Password: password}); !errors.Is(err, dcos.ErrConflict) {
		t.Errorf("the same user again: %v", err)
	}
	second := w.as(t, "second")
	if err := w.admin.SetPassword(ctx, "second", password+"2"); err != nil {
		t.Fatal(err)
	}
	if _, err := second.Me(ctx); !errors.Is(err, dcos.ErrUnauthenticated) {
		t.Errorf("a token from before the new password: %v", err)
	}
	if err := w.admin.RemoveUser(ctx, "admin"); !errors.Is(err, dcos.ErrConflict) {
		t.Errorf("removing oneself: %v", err)
	}
	users, err := w.admin.Users(ctx, client.Query{})
	if text := fmt.Sprintf("%+v", users); err != nil || strings.Contains(text, "argon2") || users.Total != 3 {
		t.Errorf("users %s, %v", text, err)
	}
}

func TestJoinTokensAreShownOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	token, err := w.admin.CreateToken(ctx, "agent")
	if err != nil || !strings.HasPrefix(token.Token, token.ID+".") || !strings.Contains(token.Command, "--join 10.0.0.1:7444 --token "+token.Token) {
		t.Fatalf("%+v, %v", token, err)
	}
	if _, err := auth.ParseToken(token.Token); err != nil {
		t.Error(err)
	}
	rows, err := w.admin.Tokens(ctx, client.Query{})
	secret := strings.Split(token.Token, ".")[1]
	if err != nil || rows.Total != 1 || strings.Contains(fmt.Sprint(rows), secret) {
		t.Errorf("%v, %v", rows, err)
	}
	if _, err := w.admin.CreateToken(ctx, "king"); !errors.Is(err, dcos.ErrInvalid) {
		t.Errorf("role king: %v", err)
	}
	if err := w.admin.RemoveToken(ctx, token.ID); err != nil {
		t.Error(err)
	}
	if err := w.admin.RemoveToken(ctx, token.ID); !errors.Is(err, dcos.ErrNotFound) {
		t.Errorf("removed again: %v", err)
	}
}

func TestATaskIsKilledOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.app(t, `{"id":"/web","cmd":"sleep 1"}`)
	id := string(w.Run("/web", "n1")[0])
	k, err := w.admin.KillTask(t.Context(), id)
	if err != nil || k.State != "stopping" || k.Goal != "stop" || k.Message != "killed by admin" {
		t.Errorf("%+v, %v", k, err)
	}
	w.Status(dcos.TaskID(id), dcos.TaskKilled)
	if _, err := w.admin.KillTask(t.Context(), id); !errors.Is(err, dcos.ErrConflict) {
		t.Errorf("an ended task: %v", err)
	}
	if _, err := w.admin.KillTask(t.Context(), "nope"); !errors.Is(err, dcos.ErrNotFound) {
		t.Errorf("an unknown task: %v", err)
	}
}

func TestBadInputChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h, before := w.server.Config.Handler, w.View().Index()
	u, _ := w.View().User("admin")
	token, err := w.gate.Issue(u)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"POST", "/dcos/v1/users", `{"id":"x","password":"p","grant":[]}`, 422, "grant"},
		{"POST", "/dcos/v1/users", `{"id":7}`, 422, "id: got number, expected string"},
		{"POST", "/dcos/v1/users", `{"id":"x"`, 422, "JSON"},
		{"POST", "/dcos/v1/users", `{"id":"../x","password":"` + password + `"}`, 422, "user id"},
		{"POST", "/dcos/v1/users", `{"id":"x","password":"short"}`, 422, "password"},
		{"POST", "/dcos/v1/users", `{"id":"x","password":"` + password + `","grants":[{"path":"x","actions":["fly"]}]}`, 422, "grant on"},
		{"POST", "/dcos/v1/users", strings.Repeat("x", api.MaxBody+1), 413, "too_large"},
		{"POST", "/dcos/v1/tokens", `{"role":1e309}`, 422, "role"},
		{"POST", "/acs/api/v1/auth/login", `[]`, 422, `"description":"`},
		{"GET", "/dcos/v1/nodes?filter=cpus", "", 422, "filter"},
		{"GET", "/dcos/v1/nodes?limit=-1", "", 422, "limit"},
		{"GET", "/dcos/v1/why/A%20B", "", 422, "app id"},
		{"GET", "/dcos/v1/why/x", "", 404, "not found"},
		{"GET", "/dcos/v1/stream", "", 422, "topics"},
		{"GET", "/dcos/v1/stream?topics=nodes,secrets", "", 422, "secrets"},
		{"POST", "/dcos/v1/tokens?dryRun=perhaps", `{"role":"agent"}`, 422, "dryRun"},
		{"POST", "/dcos/v1/tokens?dryRun=1", `{"role":"agent"}`, 200, `"dryRun":true`},
		{"GET", "/system/v1/logs/v2/task/nope", "", 404, "not found"},
	} {
		got := apitest.Do(h, tt.method, tt.path, tt.body, "Authorization: token="+token)
		if got.Code != tt.status || !strings.Contains(got.Body.String(), tt.want) {
			t.Errorf("%s %s: %d %s, want %d with %q", tt.method, tt.path, got.Code, got.Body, tt.status, tt.want)
		}
	}
	if w.View().Index() != before {
		t.Error("the state has changed")
	}
}

func TestWaitingForADeploymentEndsWithIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	a := w.app(t, `{"id":"/web","cmd":"sleep 1"}`)
	id := (*a.Deployments)[0].ID
	steps := make(chan int, 16)
	done := make(chan error, 1)
	go func() {
		done <- w.admin.WaitDeployment(ctx, id, func(d client.DeploymentInfo) { steps <- d.CurrentStep })
	}()
	if n := <-steps; n != 1 {
		t.Errorf("first step %d, want 1", n)
	}
	w.end()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := w.admin.WaitDeployment(ctx, id, nil); err != nil {
		t.Errorf("one that has ended: %v", err)
	}
}
