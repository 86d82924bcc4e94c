package dcos

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dcos-go/dcos/pkg/api/apitest"
	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/gateway"
	"github.com/dcos-go/dcos/pkg/sandbox"
	"github.com/dcos-go/dcos/pkg/state"
)

// taskLogs is a node's sandboxes with one task that has written.
type taskLogs struct {
	*sandbox.Sandboxes
	dir string
}

func newLogs(t *testing.T, task dcos.TaskID, text string) *taskLogs {
	t.Helper()
	s, err := sandbox.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir, err := s.Create(task, "")
	if err != nil {
		t.Fatal(err)
	}
	l := &taskLogs{s, dir}
	if err := os.WriteFile(filepath.Join(dir, sandbox.IndexName("stdout")), []byte("1 0 0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l.write(t, text)
	return l
}

func (l *taskLogs) write(t *testing.T, text string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(l.dir, "stdout"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(text)
		f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestPartsOfALogAreChosenAsInDcosLog(t *testing.T) {
	t.Parallel()
	logs := newLogs(t, "t.1", "one\ntwo\nthree\nfour")
	h := apitest.Handler(apitest.Admin(), AgentRoutes(AgentConfig{Node: "n1", Logs: logs, Log: apitest.Quiet()}))
	const base = "/system/v1/agent/n1/logs/v2/task/"
	for _, tt := range []struct {
		path   string
		status int
		want   string
	}{
		{"t.1", 200, "one\ntwo\nthree\nfour\n"},
		{"t.1/file/stdout?cursor=END&skip=-2", 200, "three\nfour\n"},
		{"t.1/file/stdout?cursor=END&skip=-100", 200, "one\ntwo\nthree\nfour\n"},
		{"t.1/file/stdout?cursor=BEG&skip=1&limit=2", 200, "two\nthree\n"},
		{"t.1/file/stdout?cursor=4", 200, "two\nthree\nfour\n"},
		{"t.1/file/stdout?cursor=8&skip=-1&limit=1", 200, "two\n"},
		{"t.1/file/stdout?cursor=END", 204, ""},
		{"t.1/file/stdout/download", 200, "one\ntwo\nthree\nfour\n"},
		{"t.1/file/stderr", 204, ""},
		{"t.1/file/core", 204, ""},
		{"t.1/file/..%2f..%2fetc%2fpasswd", 404, "no such route"},
		{"t.2", 404, "not found"},
		{"..", 404, ""},
		{"t.1/x", 404, "no such route"},
		{"t.1?cursor=x", 422, "cursor"},
		{"t.1?cursor=-4", 422, "cursor"},
		{"t.1?skip=9999999999", 422, "skip"},
		{"t.1?limit=0", 422, "limit"},
	} {
		w := apitest.Do(h, "GET", base+tt.path, "")
		if w.Code != tt.status || tt.status == 200 && w.Body.String() != tt.want || !strings.Contains(w.Body.String(), tt.want) {
			t.Errorf("%s: %d %q, want %d %q", tt.path, w.Code, w.Body, tt.status, tt.want)
		}
	}
	if w := apitest.Do(h, "GET", "/system/v1/agent/n2/logs/v2/task/t.1", ""); w.Code != 404 {
		t.Errorf("another node's log: %d", w.Code)
	}
	w := apitest.Do(h, "GET", base+"t.1?limit=1", "", "Accept: application/json")
	want := `{"offset":0,"text":"one","fields":{"AGENT_ID":"n1","CONTAINER_ID":"t.1","EXECUTOR_ID":"","FILE":"stdout","FRAMEWORK_ID":"","MESSAGE":"one"},"cursor":"4"}` + "\n"
	if w.Body.String() != want {
		t.Errorf("as JSON: %s", w.Body)
	}
}

func TestLinesAreCutToABound(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", maxLine+10)
	logs := newLogs(t, "t", long+"\r\nend\n")
	h := apitest.Handler(apitest.Admin(), AgentRoutes(AgentConfig{Node: "n1", Logs: logs, Log: apitest.Quiet()}))
	w := apitest.Do(h, "GET", "/system/v1/agent/n1/logs/v2/task/t", "")
	if got := strings.Split(w.Body.String(), "\n"); len(got) != 4 || len(got[0]) != maxLine || len(got[1]) != 10 || got[2] != "end" {
		t.Errorf("%d lines of %d, %d bytes", len(got), len(got[0]), len(got[1]))
	}
}

func TestTheCutterLosesNothingAndKeepsItsOffsets(t *testing.T) {
	t.Parallel()
	var c cutter
	var got []string
	take := func(at int64, line []byte, next int64) (bool, error) {
		got = append(got, fmt.Sprintf("%d:%s:%d", at, line, next))
		return false, nil
	}
	for _, part := range []string{"a\nb", "c\n", "", "d"} {
		if _, err := c.feed([]byte(part), take); err != nil {
			t.Fatal(err)
		}
	}
	c.jump(100)
	if _, err := c.feed([]byte("late"), take); err != nil {
		t.Fatal(err)
	}
	if _, err := c.flush(take); err != nil {
		t.Fatal(err)
	}
	if _, err := c.feed([]byte("\nz\n"), take); err != nil { // only ends what was given out already
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"0:a:2", "2:bc:5", "100:late:104", "105:z:107"}, got); d != "" {
		t.Error(d)
	}
}

func TestALogIsFollowedThroughTheMaster(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.app(t, `{"id":"/web","cmd":"sleep 1"}`)
	id := w.Run("/web", "n1")[0]
	logs := newLogs(t, id, "first\nsecond\n")
	agent := httptest.NewServer(agentOnly(t, AgentConfig{Node: "n1", Logs: logs, Log: apitest.Quiet()}))
	defer agent.Close()
	down := false
	g := gateway.New(gateway.Config{Feed: w.Cluster, Log: apitest.Quiet(), Dial: func(ctx context.Context, n dcos.NodeID, addr string) (net.Conn, error) {
		if n != "n1" || addr != "n1.example:7445" || down {
			return nil, &net.OpError{Op: "dial", Err: errors.New("no route to " + addr)}
		}
		return (&net.Dialer{}).DialContext(ctx, "tcp", agent.Listener.Addr().String())
	}})
	defer g.Close()
	front := httptest.NewServer(apitest.Handler(apitest.Admin(),
		Routes(Config{State: w.State(), Leader: func() dcos.MasterID { return 1 }, Log: apitest.Quiet()}), g.Routes()))
	defer front.Close()
	c, err := client.New(client.Config{URL: front.URL, Token: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()

	var whole []string
	for e, err := range c.Log(t.Context(), string(id), client.Logs{}) {
		if err != nil {
			t.Fatal(err)
		}
		whole = append(whole, e.Text)
	}
	if d := cmp.Diff([]string{"first", "second"}, whole); d != "" {
		t.Error(d)
	}

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	pull, stop := iter.Pull2(c.Log(ctx, string(id), client.Logs{Lines: 1, Follow: true}))
	next := func() string {
		e, err, ok := pull()
		if err != nil || !ok {
			t.Fatalf("the log ended: %v", err)
		}
		return e.Text + "@" + e.Cursor
	}
	if got := next(); got != "second@13" {
		t.Errorf("last line %s", got)
	}
	logs.write(t, "third\nfour")
	if got := next(); got != "third@19" {
		t.Errorf("new line %s", got)
	}
	if got := next(); got != "four@23" { // a line that does not end
		t.Errorf("partial line %s", got)
	}
	agent.CloseClientConnections()
	logs.write(t, "\nfifth\n")
	if got := next(); got == "four@23" {
		t.Errorf("again after the connection broke: %s", got)
	}
	stop()
	cancel()

	down = true
	agent.CloseClientConnections()
	w.Do(state.SetNodeState{Node: "n1", Boot: "b1", State: dcos.NodeSuspect, Why: "missed 3 beats"})
	for _, err := range c.Log(t.Context(), string(id), client.Logs{}) {
		if !errors.Is(err, dcos.ErrUnavailable) || !strings.Contains(err.Error(), "suspect: missed 3 beats") {
			t.Errorf("an agent that cannot be reached: %v", err)
		}
	}
	for path, want := range map[string]int{"/system/v1/agent/nope/logs/v2/task/x": 404, "/system/v1/logs/v2/task/nope/file/stdout": 404} {
		res, err := http.Get(front.URL + path) //nolint:forbidigo // a test's own server
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, res.StatusCode, want)
		}
	}
}

// agentOnly is an agent's API that fails the test when a user's credential
// reaches it.
func agentOnly(t *testing.T, c AgentConfig) http.Handler {
	h := apitest.Handler(apitest.Admin(), AgentRoutes(c))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" || r.Header.Get("Cookie") != "" {
			t.Error("a credential was passed on to an agent")
		}
		h.ServeHTTP(w, r)
	})
}

func FuzzLogQuery(f *testing.F) {
	f.Add("t/file/stdout", "cursor=END&skip=-3&limit=2")
	logs, err := sandbox.New(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	if _, err := logs.Create("t", ""); err != nil {
		f.Fatal(err)
	}
	a := &agentServer{AgentConfig{Node: "n1", Logs: logs, Log: apitest.Quiet()}}
	f.Fuzz(func(t *testing.T, path, query string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.URL.RawQuery = query
		r.SetPathValue("node", "n1")
		r.SetPathValue("rest", path)
		w := httptest.NewRecorder()
		if err := a.taskLog(w, r); err != nil && w.Body.Len() > 0 {
			t.Errorf("%q %q: an error after an answer", path, query)
		}
	})
}
