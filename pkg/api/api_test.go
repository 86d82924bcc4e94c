package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/dcos-go/dcos/pkg/auth"
	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type byHeader struct{}

func (byHeader) Authenticate(r *http.Request) (auth.Principal, error) {
	switch r.Header.Get("Authorization") {
	case "admin":
		return auth.System(), nil
	case "nobody":
		return auth.Principal{ID: "nobody", Kind: auth.KindUser}, nil
	}
	return auth.Principal{}, fmt.Errorf("%w: no token", dcos.ErrUnauthenticated)
}

type leader struct {
	leads bool
	peer  *Peer
}

func (l leader) Leads() bool                                          { return l.leads }
func (l leader) Forward(w http.ResponseWriter, r *http.Request) error { return l.peer.Pass(w, r) }

func say(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		b, err := ReadBody(r)
		if err != nil {
			WriteProblem(w, r, err)
			return
		}
		fmt.Fprint(w, text, r.PathValue("id"), len(b))
	}
}

func routes() []Dialect {
	need := auth.Permission{Path: "/things", Action: auth.ActionWrite}
	return []Dialect{{Name: "test", WriteError: WriteProblem, Routes: []Route{
		{Method: "GET", Pattern: "/ping", Access: Public, Handler: say("pong")},
		{Method: "GET", Pattern: "/me", Access: LoggedIn, Handler: func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, PrincipalOf(r.Context()).ID)
		}},
		{Method: "PUT", Pattern: "/things/{id...}", Access: Permitted, Need: need, Place: LeaderOnly, Handler: say("put ")},
		{Method: "GET", Pattern: "/boom", Access: Public, Handler: func(http.ResponseWriter, *http.Request) { panic("boom") }},
	}}}
}

func server(t *testing.T, l Leader) *Server {
	t.Helper()
	table, err := NewTable(routes()...)
	if err != nil {
		t.Fatal(err)
	}
	return New(Config{Table: table, Auth: byHeader{}, Leader: l, Log: slog.New(slog.DiscardHandler)})
}

func do(h http.Handler, method, path, who, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Authorization", who)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestNoHandlerRunsBeforeItsPermission(t *testing.T) {
	t.Parallel()
	h := server(t, leader{leads: true})
	for _, tt := range []struct {
		method, path, who, body string
		status                  int
		want                    string
	}{
		{"GET", "/ping", "", "", 200, "pong0"},
		{"GET", "/ping/", "", "", 200, "pong0"},
		{"GET", "/me", "", "", 401, "unauthenticated"},
		{"GET", "/me", "nobody", "", 200, "nobody"},
		{"PUT", "/things/a/b", "", "x", 401, "unauthenticated"},
		{"PUT", "/things/a/b", "nobody", "x", 403, "denied"},
		{"PUT", "/things/a/b", "admin", "xyz", 200, "put a/b3"},
		{"PUT", "//things//a", "admin", "", 200, "put a0"},
		{"GET", "//things/..%2fme", "admin", "", 405, "method_not_allowed"}, // an encoded slash makes no other path
		{"DELETE", "/things/a", "admin", "", 405, "method_not_allowed"},
		{"GET", "/nope", "admin", "", 404, "not_found"},
		{"PUT", "/things", "admin", "", 404, "not_found"}, // no redirect to /things/, which is the same here
		{"PUT", "/things/a", "admin", strings.Repeat("x", MaxBody+1), 413, "too_large"},
		{"GET", "/boom", "", "", 500, "internal error"},
	} {
		w := do(h, tt.method, tt.path, tt.who, tt.body)
		if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.want) {
			t.Errorf("%s %s as %q: %d %s, want %d with %q", tt.method, tt.path, tt.who, w.Code, w.Body, tt.status, tt.want)
		}
	}
}

func TestABodyOfUnknownLengthIsBoundedToo(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest("PUT", "/things/a", io.MultiReader(strings.NewReader(strings.Repeat("x", MaxBody)), strings.NewReader("y")))
	r.ContentLength = -1
	r.Header.Set("Authorization", "admin")
	w := httptest.NewRecorder()
	server(t, leader{leads: true}).ServeHTTP(w, r)
	if w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("status %d, want 413", w.Code)
	}
}

func TestAWriteIsPassedOnOnceAndNeverTwice(t *testing.T) {
	t.Parallel()
	serve := func(l Leader) string {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- Serve(ctx, ln, server(t, l), true, slog.New(slog.DiscardHandler)) }()
		t.Cleanup(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
		return ln.Addr().String()
	}
	to := func(addr string) *Peer {
		p := NewPeer(func(ctx context.Context) (net.Conn, error) { return (&net.Dialer{}).DialContext(ctx, "tcp", addr) })
		t.Cleanup(p.Close)
		return p
	}
	leads := serve(leader{leads: true})
	follows := serve(leader{leads: false, peer: to(leads)})

	if w := do(server(t, leader{peer: to(leads)}), "PUT", "/things/a", "admin", "xy"); w.Code != 200 || w.Body.String() != "put a2" {
		t.Errorf("by way of a follower: %d %s", w.Code, w.Body)
	}
	if w := do(server(t, leader{peer: to(follows)}), "PUT", "/things/a", "admin", "xy"); w.Code != 503 || w.Header().Get("Retry-After") == "" {
		t.Errorf("by way of two followers: %d %s, want 503", w.Code, w.Body)
	}
	if w := do(server(t, leader{peer: to("127.0.0.1:1")}), "PUT", "/things/a", "admin", "xy"); w.Code != 503 || !strings.Contains(w.Body.String(), `"unavailable"`) {
		t.Errorf("leader not there: %d %s, want 503 unavailable", w.Code, w.Body)
	}
}

// A client may name any header in Connection, and proxies take those out.
func TestWhoAsksCannotBeHiddenFromTheOtherMaster(t *testing.T) {
	t.Parallel()
	var got http.Header
	own := true
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got, own = r.Header, IsOwn(r) }))
	defer srv.Close()
	p := NewPeer(func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", srv.Listener.Addr().String())
	})
	defer p.Close()
	r := httptest.NewRequest("GET", "/things", http.NoBody)
	for name, value := range map[string]string{
		"Authorization": "nobody", "Cookie": "dcos-acs-auth-cookie=x", "X-Dcos-Own": "1", "Connection": "Authorization, Cookie, X-Dcos-Own",
	} {
		r.Header.Set(name, value)
	}
	if err := p.Pass(httptest.NewRecorder(), r); err != nil {
		t.Fatal(err)
	}
	if got.Get("Authorization") != "nobody" || got.Get("Cookie") == "" || own {
		t.Errorf("passed on as %v, own request: %v", got, own)
	}
	r = httptest.NewRequest("GET", "/things", http.NoBody)
	if err := p.Pass(httptest.NewRecorder(), r); err != nil || own || got.Get("Authorization") != "" {
		t.Errorf("without credentials: %v, own request: %v, %v", got, own, err)
	}
	res, err := p.RoundTrip(httptest.NewRequest("GET", "/things", http.NoBody))
	if err != nil || !own {
		t.Fatalf("own request: %v, %v", own, err)
	}
	res.Body.Close()
}

func TestATableRefusesRoutesThatAreOpenByMistake(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]Route{
		"no access":     {Method: "GET", Pattern: "/x", Handler: say("")},
		"no permission": {Method: "GET", Pattern: "/x", Access: Permitted, Handler: say("")},
		"no handler":    {Method: "GET", Pattern: "/x", Access: Public},
		"clash":         {Method: "GET", Pattern: "/ping", Access: Public, Handler: say("")},
	} {
		d := append(routes(), Dialect{Name: "more", Routes: []Route{r}})
		if _, err := NewTable(d...); err == nil {
			t.Errorf("%s: the table took the route", name)
		}
	}
}

func TestStatusesFollowTheKindOfTheError(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err  error
		want int
	}{
		{fmt.Errorf("app /a: %w", dcos.ErrNotFound), 404},
		{fmt.Errorf("app /a: %w", dcos.ErrConflict), 409},
		{&dcos.InvalidFields{}, 422},
		{dcos.NotLeader{}, 503},
		{fmt.Errorf("x: %w", dcos.ErrUnknown), 503},
		{dcos.ErrExhausted, 429},
		{errors.New("something of ours"), 500},
	} {
		w := httptest.NewRecorder()
		WriteProblem(w, nil, tt.err)
		var p client.Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != tt.want || p.Status != tt.want {
			t.Errorf("%v: %d %s, want %d", tt.err, w.Code, w.Body, tt.want)
		}
		if tt.want == 500 && strings.Contains(p.Detail, "ours") {
			t.Errorf("an internal error's text is shown: %s", p.Detail)
		}
	}
}

func TestPagesFilterSortAndContinue(t *testing.T) {
	t.Parallel()
	type row struct {
		id string
		n  float64
	}
	rows := func() []row { return []row{{"c", 1}, {"a", 3}, {"b", 2}, {"d", 2}} }
	columns := map[string]Column[row]{
		"id": {Text: func(r row) string { return r.id }},
		"n":  {Number: func(r row) float64 { return r.n }},
	}
	get := func(query string) (string, client.List[row], error) {
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		l, err := Page(q, 7, rows(), func(r row) string { return r.id }, columns)
		var ids string
		for _, r := range l.Items {
			ids += r.id
		}
		return ids, l, err
	}
	for query, want := range map[string]string{
		"": "abcd", "sort=-n": "abdc", "sort=n": "cbda", "filter=n>1,id!=a": "bd", "filter=id~b": "b", "filter=n=2&sort=-id": "db", "limit=2": "ab", "limit=2&cursor=b": "cd",
	} {
		if got, l, err := get(query); err != nil || got != want || l.Index != 7 {
			t.Errorf("%q: %q, %v, want %q", query, got, err, want)
		}
	}
	if _, l, _ := get("limit=3"); l.Cursor != "c" || l.Total != 4 {
		t.Errorf("limit=3: cursor %q, total %d", l.Cursor, l.Total)
	}
	for _, query := range []string{"sort=x", "filter=x=1", "filter=n", "filter=n~1", "filter=n>a", "limit=0", "limit=99999", "limit=a", "cursor=zz"} {
		if _, _, err := get(query); err == nil {
			t.Errorf("%q: no error", query)
		}
	}
}

func FuzzDecodeJSON(f *testing.F) {
	f.Add([]byte(`{"id":"a"}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		var into client.PackageRequest
		if err := DecodeJSON(doc, &into); err != nil && !errors.Is(err, dcos.ErrInvalid) {
			t.Errorf("%q: %v is no ErrInvalid", doc, err)
		}
	})
}
