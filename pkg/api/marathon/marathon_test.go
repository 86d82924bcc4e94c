package marathon

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/dcos-go/dcos/pkg/api"
	"github.com/dcos-go/dcos/pkg/api/apitest"
	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares a document with testdata/name.json.
func golden(t *testing.T, name string, doc []byte) {
	t.Helper()
	var tree any
	if err := json.Unmarshal(doc, &tree); err != nil {
		t.Fatalf("%s: %v in %s", name, err, doc)
	}
	got, err := json.MarshalIndent(tree, "", "  ")
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

func dialect(c *apitest.Cluster) api.Dialect {
	return Routes(Config{
		State: c.State(), Leader: func() dcos.MasterID { return 1 }, Scheme: "https",
		Version: client.Version{Version: "0.1.0", Commit: "abc"}, Log: apitest.Quiet(),
	})
}

func setup(t *testing.T) (*apitest.Cluster, http.Handler) {
	t.Helper()
	c := apitest.New()
	c.Do(state.PutNode{Node: apitest.Node("n1")})
	return c, apitest.Handler(apitest.Admin(), dialect(c), dialect(c).Mount("/service/marathon"))
}

// must asks and fails the test unless the status is the one wanted.
func must(t *testing.T, h http.Handler, status int, method, path, body string, headers ...string) *respond {
	t.Helper()
	w := apitest.Do(h, method, path, body, headers...)
	if w.Code != status {
		t.Fatalf("%s %s %s: %d %s, want %d", method, path, body, w.Code, w.Body, status)
	}
	return &respond{w.Body.Bytes(), w.Header()}
}

type respond struct {
	body   []byte
	header http.Header
}

func (r *respond) into(t *testing.T, v any) {
	t.Helper()
	if err := json.Unmarshal(r.body, v); err != nil {
		t.Fatalf("%v in %s", err, r.body)
	}
}

func finish(c *apitest.Cluster) {
	var cmds []state.Command
	for d := range c.View().Deployments() {
		for n := d.Step; n <= len(d.Steps); n++ {
			cmds = append(cmds, state.AdvanceDeployment{ID: d.ID, Step: n})
		}
	}
	for _, cmd := range cmds {
		c.Do(cmd)
	}
}

const web = `{"id":"/prod/web","cmd":"sleep 100","instances":2,"cpus":0.5,"mem":64,"labels":{"tier":"front"}}`

func TestAnAppIsCreatedReadChangedAndDeletedInMarathonsShapes(t *testing.T) {
	t.Parallel()
	c, h := setup(t)
	r := must(t, h, 201, "POST", "/v2/apps/", web)
	golden(t, "created", r.body)
	for name, want := range map[string]string{
		"Location": "/prod/web", "Cache-Control": "no-cache, no-store, must-revalidate", "Pragma": "no-cache", "Expires": "0",
		"X-Marathon-Leader": "https://10.0.0.1:8443",
	} {
		if got := r.header.Get(name); got != want {
			t.Errorf("header %s: %q, want %q", name, got, want)
		}
	}
	var created client.App
	r.into(t, &created)
	if len(*created.Deployments) != 1 || (*created.Deployments)[0].ID != r.header.Get("Marathon-Deployment-Id") {
		t.Errorf("deployments %v, header %q", created.Deployments, r.header.Get("Marathon-Deployment-Id"))
	}
	golden(t, "deployments", must(t, h, 200, "GET", "/v2/deployments", "").body)
	first, _ := c.View().App("/prod/web")
	c.Do(state.AddTasks{App: "/prod/web", Version: first.App.Version, Count: 2})
	golden(t, "queue", must(t, h, 200, "GET", "/service/marathon/v2/queue", "").body)

	c.Run("/prod/web", "n1")
	golden(t, "app", must(t, h, 200, "GET", "/service/marathon//v2/apps//prod/web", "").body)
	golden(t, "apps", must(t, h, 200, "GET", "/v2/apps?embed=apps.tasks", "").body)
	golden(t, "tasks", must(t, h, 200, "GET", "/v2/tasks", "").body)
	golden(t, "groups", must(t, h, 200, "GET", "/v2/groups", "").body)
	golden(t, "info", must(t, h, 200, "GET", "/v2/info", "").body)
	finish(c)

	must(t, h, 200, "PUT", "/v2/apps/prod/web", `{"id":"/prod/web","instances":3,"ports":null,"dependencies":null}`)
	row, _ := c.View().App("/prod/web")
	if row.App.Instances != 3 || row.App.Cmd != "sleep 100" {
		t.Errorf("after a partial update: %+v", row.App)
	}
	finish(c)
	var versions struct{ Versions []string }
	must(t, h, 200, "GET", "/v2/apps/prod/web/versions", "").into(t, &versions)
	if len(versions.Versions) != 2 {
		t.Fatalf("versions %v, want two", versions)
	}
	must(t, h, 200, "GET", "/v2/apps/prod/web/versions/"+versions.Versions[1], "")
	must(t, h, 200, "PUT", "/v2/apps/prod/web", `{"version":"`+versions.Versions[1]+`"}`)
	if row, _ := c.View().App("/prod/web"); row.App.Instances != 2 {
		t.Errorf("instances %d after a rollback, want 2", row.App.Instances)
	}
	finish(c)
	must(t, h, 200, "POST", "/v2/apps/prod/web/restart", `{}`)
	must(t, h, 200, "DELETE", "/v2/apps/prod/web", "")
	must(t, h, 404, "GET", "/v2/apps/prod/web", "")
}

func TestErrorsHaveMarathonsStatusesAndWords(t *testing.T) {
	t.Parallel()
	_, h := setup(t)
	must(t, h, 201, "POST", "/v2/apps", web) // its deployment holds it
	for _, tt := range []struct {
		name, method, path, body string
		status                   int
		want                     string
	}{
		{"not JSON", "POST", "/v2/apps", `{"id":`, 400, `"message":"Invalid JSON","details":"`},
		{"array", "POST", "/v2/apps", `[]`, 400, `"message":"Invalid JSON"`},
		{"no id", "POST", "/v2/apps", `{"cmd":"sleep 1"}`, 422, `{"message":"Invalid JSON","details":[{"path":"/id","errors":["error.path.missing"]}]}`},
		{"wrong type", "POST", "/v2/apps", `{"id":"/a","cmd":"sleep 1","cpus":"1"}`, 422, `"error.expected.jsnumber"`},
		{"too large a number", "POST", "/v2/apps", `{"id":"/a","cmd":"sleep 1","cpus":1e309}`, 422, `"path":"/cpus"`},
		{"NaN", "POST", "/v2/apps", `{"id":"/a","cmd":"sleep 1","cpus":NaN}`, 400, "Invalid JSON"},
		{"negative", "POST", "/v2/apps", `{"id":"/a","cmd":"sleep 1","mem":-1}`, 422, `"error.min"`},
		{"no command", "POST", "/v2/apps", `{"id":"/a"}`, 422, `"message":"Object is not valid"`},
		{"not supported", "POST", "/v2/apps", `{"id":"/a","cmd":"sleep 1","healthChecks":[{}]}`, 422, `"/healthChecks"`},
		{"bad id", "POST", "/v2/apps", `{"id":"/A b","cmd":"sleep 1"}`, 422, `"path":"/id"`},
		{"large body", "POST", "/v2/apps", `{"id":"/a","cmd":"` + strings.Repeat("x", api.MaxBody) + `"}`, 413, "1048576"},
		{"exists", "POST", "/v2/apps", web, 409, `{"message":"An app with id [/prod/web] already exists."}`},
		{"locked", "PUT", "/v2/apps/prod/web", `{"instances":7}`, 409, `"deployments":[{"id":"`},
		{"locked restart", "POST", "/v2/apps/prod/web/restart", ``, 409, `"deployments":[{"id":"`},
		{"bad flag", "PUT", "/v2/apps/prod/web?force=maybe", `{}`, 422, "force=maybe"},
		{"unknown app", "GET", "/v2/apps/x", ``, 404, `{"message":"App '/x' does not exist"}`},
		{"id that cannot be", "GET", "/v2/apps/X%20Y", ``, 404, `App '/X Y' does not exist`},
		{"patch never creates", "PATCH", "/v2/apps/x", `{"cmd":"sleep 1"}`, 404, `App '/x' does not exist`},
		{"unknown version", "GET", "/v2/apps/prod/web/versions/2020-01-01T00:00:00.000Z", ``, 404, "2020-01-01"},
		{"bad version", "GET", "/v2/apps/prod/web/versions/yesterday", ``, 422, "yesterday"},
		{"bad selector", "GET", "/v2/apps?label=a%20b", ``, 422, "label selector"},
		{"scale and wipe", "DELETE", "/v2/apps/prod/web/tasks?scale=true&wipe=true", ``, 400, "scale and wipe"},
		{"unknown task", "DELETE", "/v2/apps/prod/web/tasks/nope", ``, 404, "Task 'nope' does not exist"},
		{"bad task id", "POST", "/v2/tasks/delete", `{"ids":["a/b"]}`, 400, "cannot be read"},
		{"unknown deployment", "DELETE", "/v2/deployments/nope", ``, 404, "Deployment 'nope' does not exist"},
		{"bulk no array", "PUT", "/v2/apps", `{}`, 400, "expected an array"},
		{"bulk no id", "PUT", "/v2/apps", `[{"instances":1}]`, 422, `"path":"(0)/id"`},
		{"bulk bad field", "PUT", "/v2/apps", `[{"id":"/b","cmd":"sleep 1"},{"id":"/c","cmd":"sleep 1","cpus":"x"}]`, 422, `"path":"(1)/cpus"`},
		{"nothing waits", "DELETE", "/v2/queue/prod/web/delay", ``, 404, "not found in task queue"},
		{"groups", "POST", "/v2/groups", `{}`, 422, "not supported yet"},
		{"no stream asked for", "GET", "/v2/events", ``, 405, "text/event-stream"},
		{"plain text only", "GET", "/v2/tasks", ``, 406, "application/json"},
		{"put to a word", "PUT", "/v2/apps/prod/web/tasks", `{}`, 405, "method not allowed"},
	} {
		headers := []string{}
		if tt.status == 406 {
			headers = append(headers, "Accept: text/plain")
		}
		w := apitest.Do(h, tt.method, tt.path, tt.body, headers...)
		if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.want) {
			t.Errorf("%s: %d %s, want %d with %s", tt.name, w.Code, w.Body, tt.status, tt.want)
		}
	}
	if n := len(list(t, h, "")); n != 1 {
		t.Errorf("%d apps after all that was refused, want 1", n)
	}
}

func list(t *testing.T, h http.Handler, query string) []string {
	t.Helper()
	var out struct{ Apps []client.App }
	must(t, h, 200, "GET", "/v2/apps"+query, "").into(t, &out)
	ids := []string{}
	for _, a := range out.Apps {
		ids = append(ids, a.ID)
	}
	return ids
}

func TestListsAreFilteredByIdCommandAndLabels(t *testing.T) {
	t.Parallel()
	_, h := setup(t)
	must(t, h, 200, "PUT", "/v2/apps", `[{"id":"/a","cmd":"sleep 1","labels":{"x":"1"}},{"id":"/b/a","cmd":"date; true","labels":{"x":"2","y":"z w"}}]`)
	for query, want := range map[string]string{
		"": "/a /b/a", "?id=B": "/b/a", "?cmd=SLEEP": "/a", "?label=x": "/a /b/a", "?label=x==1": "/a", "?label=x!%3D1": "/b/a",
		"?label=x%20in%20(1,3)": "/a", "?label=x%20notin%20(1),y": "/b/a", "?label=y==z%5C%20w": "/b/a", "?label=nope!%3D1": "",
	} {
		if got := strings.Join(list(t, h, query), " "); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	var below map[string][]client.App
	must(t, h, 200, "GET", "/v2/apps/b/*", "").into(t, &below)
	if len(below["*"]) != 1 || below["*"][0].ID != "/b/a" {
		t.Errorf("below /b: %v", below)
	}
}

func TestIfMatchKeepsAChangeFromBeingLost(t *testing.T) {
	t.Parallel()
	c, h := setup(t)
	must(t, h, 201, "POST", "/v2/apps", web)
	row, _ := c.View().App("/prod/web")
	old := row.App.Version.String()
	if tag := must(t, h, 200, "GET", "/v2/apps/prod/web", "").header.Get("ETag"); tag != `"`+old+`"` {
		t.Errorf("ETag %s, want the version %s", tag, old)
	}
	must(t, h, 200, "PUT", "/v2/apps/prod/web?force=true", `{"instances":3}`, `If-Match: "`+old+`"`)
	must(t, h, 412, "PUT", "/v2/apps/prod/web?force=true", `{"instances":4}`, `If-Match: "`+old+`"`)
	must(t, h, 412, "PUT", "/v2/apps/new", `{"cmd":"sleep 1"}`, `If-Match: "`+old+`"`)
	must(t, h, 422, "PUT", "/v2/apps/prod/web?force=true", `{"instances":4}`, `If-Match: "latest"`)
	if row, _ := c.View().App("/prod/web"); row.App.Instances != 3 {
		t.Errorf("instances %d, want 3", row.App.Instances)
	}
}

func TestADryRunChangesNothingAndSaysWhatWouldHappen(t *testing.T) {
	t.Parallel()
	c, h := setup(t)
	must(t, h, 201, "POST", "/v2/apps", web)
	c.Run("/prod/web", "n1")
	before := c.View().Index()
	for _, tt := range []struct{ method, path, body, want string }{
		{"POST", "/v2/apps?dryRun=1", `{"id":"/big","cmd":"sleep 1","cpus":64}`, "ask for 3 cpus instead of 64"},
		{"POST", "/v2/apps?dryRun", `{"id":"/small","cmd":"sleep 1"}`, "fits on 1 of 1 nodes"},
		{"PUT", "/v2/apps/prod/web?dryRun=1&force=true", `{"instances":5}`, "from 2 to 5"},
		{"DELETE", "/v2/apps/prod/web?dryRun=1", ``, "end its 2 tasks"},
		{"POST", "/v2/apps/prod/web/restart?dryRun=1&force=1", ``, "replace the 2 tasks"},
		{"DELETE", "/v2/apps/prod/web/tasks?dryRun=1", ``, "end 2 tasks"},
	} {
		if r := must(t, h, 200, tt.method, tt.path, tt.body); !strings.Contains(string(r.body), tt.want) || !strings.Contains(string(r.body), `"dryRun":true`) {
			t.Errorf("%s %s: %s, want %q", tt.method, tt.path, r.body, tt.want)
		}
	}
	must(t, h, 409, "POST", "/v2/apps/prod/web/restart?dryRun=1", ``)
	must(t, h, 422, "POST", "/v2/apps?dryRun=1", `{"id":"/x"}`)
	if c.View().Index() != before {
		t.Error("a dry run changed the state")
	}
}

func TestKilledTasksAreReplacedOrTheAppShrinks(t *testing.T) {
	t.Parallel()
	c, h := setup(t)
	must(t, h, 201, "POST", "/v2/apps", web)
	ids := c.Run("/prod/web", "n1")
	finish(c)
	r := must(t, h, 200, "DELETE", "/v2/apps/prod/web/tasks?host=elsewhere", "")
	if string(r.body) != "{\"tasks\":[]}\n" {
		t.Errorf("tasks of another host: %s", r.body)
	}
	var one struct{ Task client.AppTask }
	must(t, h, 200, "DELETE", "/v2/apps/wrong/tasks/"+string(ids[0]), "").into(t, &one)
	if one.Task.ID != string(ids[0]) {
		t.Errorf("killed %+v", one)
	}
	if k, _ := c.View().Task(ids[0]); k.Goal != dcos.GoalStop || k.Final {
		t.Errorf("task %+v, want to stop, its instance to go on", k)
	}
	r = must(t, h, 200, "POST", "/v2/tasks/delete?scale=true", fmt.Sprintf(`{"ids":[%q,%q,"gone"]}`, ids[0], ids[1]))
	if !strings.Contains(string(r.body), `"deploymentId"`) {
		t.Errorf("scale: %s", r.body)
	}
	row, _ := c.View().App("/prod/web")
	if k, _ := c.View().Task(ids[1]); row.App.Instances != 1 || !k.Final {
		t.Errorf("instances %d, want 1: one victim was being killed already; task %+v", row.App.Instances, k)
	}
}

func TestAChangeWorkedOutOnAnOldStateIsWorkedOutAnew(t *testing.T) {
	t.Parallel()
	c := apitest.New()
	// Between the look and the proposal somebody else changes the app, twice.
	races := 0
	st := c.State()
	st.Proposer = racing{c, func() {
		if row, ok := c.View().App("/a"); ok && races < 2 {
			races++
			a := *row.App
			a.Instances++
			c.Do(state.PutApp{App: a, Force: true})
		}
	}}
	h := apitest.Handler(apitest.Admin(), Routes(Config{State: st, Leader: func() dcos.MasterID { return 1 }, Log: apitest.Quiet()}))
	must(t, h, 201, "POST", "/v2/apps", `{"id":"/a","cmd":"sleep 1","instances":1}`)
	must(t, h, 200, "PATCH", "/v2/apps/a?force=true", `{"cmd":"sleep 2"}`)
	if row, _ := c.View().App("/a"); races != 2 || row.App.Instances != 3 || row.App.Cmd != "sleep 2" {
		t.Errorf("%d races, app %+v, want both changes", races, row.App)
	}
}

func TestReadsFailWhenTheStateCannotBeRead(t *testing.T) {
	t.Parallel()
	c, h := setup(t)
	c.Fail(fmt.Errorf("no majority: %w", dcos.ErrUnavailable))
	r := must(t, h, 503, "GET", "/v2/apps", "")
	if r.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	r = must(t, h, 200, "GET", "/v2/apps?stale", "")
	if r.header.Get("X-Dcos-Stale") != "true" || r.header.Get("X-Dcos-Index") == "" {
		t.Errorf("headers of a stale read: %v", r.header)
	}
	must(t, h, 503, "POST", "/v2/apps", web)
	c.Fail(fmt.Errorf("cut off: %w", dcos.ErrUnknown))
	if r := must(t, h, 503, "POST", "/v2/apps", web); !strings.Contains(string(r.body), "outcome unknown") {
		t.Errorf("%s", r.body)
	}
	c.Fail(errors.New("secret inner text"))
	if r := must(t, h, 500, "POST", "/v2/apps", web); strings.Contains(string(r.body), "secret") {
		t.Errorf("inner text shown: %s", r.body)
	}
}

func TestPingAnswersInTheFormAskedFor(t *testing.T) {
	t.Parallel()
	_, h := setup(t)
	for accept, want := range map[string]string{"": "pong", "text/html": "pong", "*/*": "pong", "application/json": "\"pong\"\n"} {
		if w := apitest.Do(h, "GET", "/ping", "", "Accept: "+accept); w.Body.String() != want {
			t.Errorf("%q: %q, want %q", accept, w.Body, want)
		}
	}
	if w := apitest.Do(h, "GET", "/ping", "", "Accept: image/png"); w.Code != 204 {
		t.Errorf("image: %d, want 204", w.Code)
	}
}

func TestPathsBelowAppsAreSplitAtTheLastWord(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"a": "a||", "a/b": "a/b||", "a/tasks": "a|tasks|", "a/tasks/t.1": "a|tasks|t.1", "a/versions/x": "a|versions|x",
		"a/restart": "a|restart|", "a/restart/b": "a/restart/b||", "tasks": "tasks||", "versions/tasks": "versions|tasks|", "a/tasks/b/tasks": "a/tasks/b|tasks|",
	} {
		id, sub, rest := below(path)
		if got := id + "|" + sub + "|" + rest; got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

type racing struct {
	*apitest.Cluster
	before func()
}

func FuzzSelector(f *testing.F) {
	f.Add("a==b,c in (d, e),f")
	f.Fuzz(func(t *testing.T, text string) {
		match, err := selector(text)
		if err != nil {
			if !errors.Is(err, dcos.ErrInvalid) {
				t.Errorf("%q: %v is no ErrInvalid", text, err)
			}
			return
		}
		match(map[string]string{"a": "b"})
	})
}

func FuzzPutApp(f *testing.F) {
	f.Add("a", `{"cmd":"sleep 1"}`, true)
	f.Add("", `[{"id":"a","cmd":"sleep 1"}]`, false)
	f.Add("a", `{"version":"2026-01-31T12:00:00.000Z"}`, true)
	f.Fuzz(func(t *testing.T, id, body string, partial bool) {
		c := apitest.New()
		h := apitest.Handler(apitest.Admin(), dialect(c))
		path := "/v2/apps"
		if dcosID, err := dcos.ParseAppID(id); err == nil {
			path += string(dcosID)
		}
		for range 2 { // the second time it exists
			w := apitest.Do(h, "PUT", fmt.Sprintf("%s?partialUpdate=%v&force=true", path, partial), body)
			if w.Code >= 500 {
				t.Errorf("PUT %s %q: %d %s", path, body, w.Code, w.Body)
			}
		}
	})
}

func (r racing) Propose(ctx context.Context, by state.Origin, cmds ...state.Command) (state.Result, error) {
	r.before()
	return r.Cluster.Propose(ctx, by, cmds...)
}
