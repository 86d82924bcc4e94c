package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/dcos-go/dcos/pkg/dcos"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// talk makes a client of a server that always gives the same answer.
func talk(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c, err := New(Config{URL: s.URL + "/", Token: "t"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestErrorsKeepTheServersWordsAndHaveAKind(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		status int
		header string // X-Dcos-Error
		body   string
		kind   error
		want   string
	}{
		{404, "", `{"message":"App '/x' does not exist"}`, dcos.ErrNotFound, "App '/x' does not exist"},
		{409, "", `{"message":"locked","deployments":[{"id":"d1"}]}`, dcos.ErrConflict, "locked (held by d1)"},
		{412, "", `{"message":"moved"}`, dcos.ErrConflict, "moved"},
		{422, "", `{"message":"Object is not valid","details":[{"path":"/cpus","errors":["a","b"]}]}`, dcos.ErrInvalid, "Object is not valid; /cpus: a, b"},
		{400, "", `{"message":"Invalid JSON","details":"at byte 3"}`, dcos.ErrInvalid, "Invalid JSON: at byte 3"},
		{400, "", `{"type":"PackageNotFound","message":"Package [x] not found","data":{"packageName":"x"}}`, dcos.ErrNotFound, "Package [x] not found"},
		{409, "", `{"type":"PackageAlreadyInstalled","message":"Package is already installed"}`, dcos.ErrConflict, "Package is already installed"},
		{400, "", `{"type":"JsonSchemaMismatch","message":"no match","data":{"errors":[{"instance":{"pointer":"/a"},"message":"too small"}]}}`, dcos.ErrInvalid, "no match; /a: too small"},
		{401, "", `{"type":"about:blank","status":401,"code":"unauthenticated","detail":"no token","hint":"log in"}`, dcos.ErrUnauthenticated, "no token: log in"},
		{403, "", `{"detail":"denied"}`, dcos.ErrDenied, "denied"},
		{429, "", `{"detail":"later"}`, dcos.ErrExhausted, "later"},
		{503, "", `{"detail":"no leader","code":"unavailable"}`, dcos.ErrUnavailable, "no leader"},
		{503, "", `{"detail":"cut","code":"unknown_outcome"}`, dcos.ErrUnknown, "cut"},
		{503, "unknown_outcome", `{"message":"cut"}`, dcos.ErrUnknown, "cut"},
		{500, "", `<html>`, dcos.ErrUnknown, "POST /service/marathon/v2/apps: 500 Internal Server Error"},
		{418, "", ``, dcos.ErrInvalid, "418"},
	} {
		c := talk(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "token=t" {
				t.Errorf("Authorization %q", r.Header.Get("Authorization"))
			}
			if tt.header != "" {
				w.Header().Set("X-Dcos-Error", tt.header)
			}
			w.WriteHeader(tt.status)
			fmt.Fprint(w, tt.body)
		})
		_, err := c.CreateApp(t.Context(), []byte(`{}`))
		var e *Error
		if !errors.Is(err, tt.kind) || !errors.As(err, &e) || e.Status != tt.status || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%d %s: %v, want %v with %q", tt.status, tt.body, err, tt.kind, tt.want)
		}
	}
}

func TestALostConnectionLeavesOnlyWritesUnknown(t *testing.T) {
	t.Parallel()
	c := talk(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	if _, err := c.Cluster(t.Context()); !errors.Is(err, dcos.ErrUnavailable) || errors.Is(err, dcos.ErrUnknown) {
		t.Errorf("read: %v", err)
	}
	if _, err := c.CreateApp(t.Context(), nil); !errors.Is(err, dcos.ErrUnknown) {
		t.Errorf("write: %v", err)
	}
	gone, err := New(Config{URL: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gone.CreateApp(t.Context(), nil); !errors.Is(err, dcos.ErrUnavailable) || errors.Is(err, dcos.ErrUnknown) {
		t.Errorf("write that was never sent: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Cluster(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestCertificatesThatAreNotTrustedAreRefused(t *testing.T) {
	t.Parallel()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{}`) }))
	defer s.Close()
	s.Config.ErrorLog = nil
	c, err := New(Config{URL: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.CreateApp(t.Context(), nil); !errors.Is(err, dcos.ErrUnavailable) || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("unknown CA: %v", err)
	}
	if _, err := New(Config{URL: s.URL, CA: []byte("nothing")}); !errors.Is(err, dcos.ErrInvalid) {
		t.Errorf("a CA that is none: %v", err)
	}
	for _, bad := range []string{"", "localhost:80", "ftp://x", "http://", "://"} {
		if _, err := New(Config{URL: bad}); !errors.Is(err, dcos.ErrInvalid) {
			t.Errorf("URL %q: %v", bad, err)
		}
	}
}

func TestPathsAndQueriesAreBuiltSafely(t *testing.T) {
	t.Parallel()
	var got []string
	c := talk(t, func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Method+" "+r.URL.RequestURI()+" "+r.Header.Get("If-Match"))
		fmt.Fprint(w, `{}`)
	})
	ctx := t.Context()
	for _, call := range []func() error{
		func() error { _, err := c.App(ctx, "/a/b?c"); return err },
		func() error {
			_, err := c.PutApp(ctx, "a", nil, Write{Force: true, Replace: true, IfMatch: "v"})
			return err
		},
		func() error { _, err := c.DeleteApp(ctx, "/a", Write{}); return err },
		func() error { _, err := c.AppVersion(ctx, "/a", "2026-01-31T12:00:00.000Z"); return err },
		func() error { return c.ResetDelay(ctx, "/a/b") },
		func() error { _, err := c.Why(ctx, "/a/b"); return err },
		func() error {
			_, err := c.Nodes(ctx, Query{Filter: "state=lost", Sort: "-cpus", Limit: 7, Stale: true})
			return err
		},
		func() error { _, err := c.KillTask(ctx, "a/../b"); return err },
		func() error { _, err := c.KillAppTasks(ctx, "/a", Kill{Host: "*", Wipe: true}); return err },
	} {
		if err := call(); err != nil {
			t.Error(err)
		}
	}
	want := []string{
		"GET /service/marathon/v2/apps/a/b%3Fc ", `PUT /service/marathon/v2/apps/a?force=true&partialUpdate=false "v"`,
		"DELETE /service/marathon/v2/apps/a?force=false ", "GET /service/marathon/v2/apps/a/versions/2026-01-31T12:00:00.000Z ",
		"DELETE /service/marathon/v2/queue/a/b/delay ", "GET /dcos/v1/why/a/b ",
		"GET /dcos/v1/nodes?filter=state%3Dlost&limit=7&sort=-cpus&stale=true ", "POST /dcos/v1/tasks/a%2F..%2Fb/kill ",
		"DELETE /service/marathon/v2/apps/a/tasks?host=%2A&wipe=true ",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("requests (-want +got):\n%s", d)
	}
}

func TestAListIsReadToItsEndAndAnewWhenItsPlaceIsLost(t *testing.T) {
	t.Parallel()
	asked := 0
	c := talk(t, func(w http.ResponseWriter, r *http.Request) {
		asked++
		switch r.URL.Query().Get("cursor") {
		case "":
			fmt.Fprint(w, `{"items":[{"id":"a"}],"total":2,"cursor":"a"}`)
		default:
			if asked == 2 {
				w.WriteHeader(http.StatusConflict)
				return
			}
			fmt.Fprint(w, `{"items":[{"id":"b"}],"total":2}`)
		}
	})
	rows, err := All(t.Context(), c.Nodes, Query{})
	if err != nil || len(rows) != 2 || asked != 4 {
		t.Errorf("%v, %v, asked %d times", rows, err, asked)
	}
}

func TestAStreamThatIsRefusedEndsWithTheRefusal(t *testing.T) {
	t.Parallel()
	asked := 0
	c := talk(t, func(w http.ResponseWriter, _ *http.Request) { asked++; w.WriteHeader(http.StatusUnauthorized) })
	var last error
	for _, err := range c.Stream(t.Context(), Topics{Names: []string{"nodes"}}) {
		last = err
	}
	if !errors.Is(last, dcos.ErrUnauthenticated) || asked != 1 {
		t.Errorf("%v after %d tries", last, asked)
	}
}

func TestAStreamAsksForWhatItHasNotSeen(t *testing.T) {
	t.Parallel()
	var since []string
	c := talk(t, func(w http.ResponseWriter, r *http.Request) {
		since = append(since, r.Header.Get("Last-Event-ID"))
		fmt.Fprintf(w, ": hello\n\nid: %d\ndata: {\"seq\":%d,\ndata: \"op\":\"upsert\"}\n\n", len(since), len(since))
	})
	n := 0
	for e, err := range c.Stream(t.Context(), Topics{Names: []string{"nodes"}}) {
		if err != nil || e.Op != "upsert" {
			t.Fatalf("%+v, %v", e, err)
		}
		if n++; n == 3 {
			break
		}
	}
	if d := cmp.Diff([]string{"", "1", "2"}, since); d != "" {
		t.Error(d)
	}
}

func TestAnEventIsBounded(t *testing.T) {
	t.Parallel()
	endless := io.MultiReader(strings.NewReader("data: "), io.LimitReader(zeros{}, maxFrame+10))
	if _, err := newFrames(endless).next(); !errors.Is(err, dcos.ErrExhausted) {
		t.Errorf("%v, want ErrExhausted", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
	}
	return len(p), nil
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte("id: 1\r\nevent: x\r\ndata: {}\r\n\r\n: c\n\ndata\n\n"))
	f.Fuzz(func(t *testing.T, doc []byte) {
		s := newFrames(bytes.NewReader(doc))
		for range len(doc) + 1 {
			e, err := s.next()
			if err != nil {
				return
			}
			if len(e.data) > len(doc) {
				t.Errorf("%q: an event larger than the document", doc)
			}
		}
		t.Errorf("%q: more events than bytes", doc)
	})
}

func FuzzError(f *testing.F) {
	f.Add(400, []byte(`{"type":"X","message":"m","details":[{"path":"/a","errors":["e"]}]}`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		res := &http.Response{StatusCode: status, Status: fmt.Sprint(status), Header: http.Header{}}
		if err := newError(call{method: "GET", path: "/x"}, res, body); err.Error() == "" {
			t.Errorf("%d %q: no words", status, body)
		}
	})
}
