package node

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dcos-go/dcos/pkg/api"
	"github.com/dcos-go/dcos/pkg/auth"
	"github.com/dcos-go/dcos/pkg/config"
	"github.com/dcos-go/dcos/pkg/dcos"
)

// testMaster is a master that was put together and never run.
func testMaster(t *testing.T) *master {
	t.Helper()
	c := config.Defaults()
	c.DataDir, c.Bind, c.Advertise = t.TempDir(), "127.0.0.1", "127.0.0.1"
	c.PeerPort, c.APIPort, c.GossipPort = 0, 0, 0
	p := &process{c: c, log: slog.New(slog.DiscardHandler), dev: true, advertise: "127.0.0.1", hostname: "test"}
	m, err := newMaster(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.close)
	p.master = m
	if _, err := m.parts(); err != nil {
		t.Fatal(err)
	}
	return m
}

// tokens are credentials by kind.
type tokens map[string]auth.Principal

func (k tokens) Authenticate(r *http.Request) (auth.Principal, error) {
	p, ok := k[r.Header.Get("Authorization")]
	if !ok {
		return auth.Principal{}, dcos.ErrUnauthenticated
	}
	return p, nil
}

var wildcard = regexp.MustCompile(`\{[^}]*\}`)

func TestEveryRouteIsClosedToThoseWhoMayNotUseIt(t *testing.T) {
	t.Parallel()
	m := testMaster(t)
	ds := m.dialects()
	for i := range ds {
		for j := range ds[i].Routes {
			// What a handler does is not asked here: whether it is reached is.
			ds[i].Routes[j].Handler = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }
			ds[i].Routes[j].Place = api.AnyMaster
		}
	}
	table, err := api.NewTable(ds...)
	if err != nil {
		t.Fatal(err)
	}
	user := func(actions ...string) auth.Principal {
		p := auth.Principal{ID: "u", Kind: auth.KindUser}
		for _, a := range actions {
			p.Grants = append(p.Grants, dcos.Grant{Path: "/", Actions: []string{a}})
		}
		return p
	}
	kinds := tokens{
		"nobody": user(), "reader": user("read"), "writer": user("write"), "admin": user("full"),
		"agent": auth.NodePrincipal(dcos.AgentIdentity("c", "n1")),
	}
	h := api.New(api.Config{Table: table, Auth: kinds, Log: slog.New(slog.DiscardHandler)})
	var public []string
	for _, r := range table.Rows() {
		if r.Access == api.Public {
			public = append(public, strings.TrimSpace(r.Method+" "+r.Pattern))
		}
		for _, who := range []string{"", "garbage", "nobody", "reader", "writer", "admin", "agent"} {
			method := r.Method
			if method == "" {
				method = http.MethodGet
			}
			req := httptest.NewRequest(method, wildcard.ReplaceAllString(strings.TrimSuffix(r.Pattern, "{$}"), "x"), http.NoBody)
			req.Header.Set("Authorization", who)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, req)
			if want := wantStatus(r, kinds, who); w.Code != want {
				t.Errorf("%s %s as %q: status %d, want %d", method, r.Pattern, who, w.Code, want)
			}
		}
	}
	slices.Sort(public)
	golden(t, "public_routes.txt", strings.Join(public, "\n")+"\n")
	if len(table.Rows()) < 60 {
		t.Errorf("only %d routes: the table is not whole", len(table.Rows()))
	}
}

func wantStatus(r api.Route, kinds tokens, who string) int {
	_, known := kinds[who]
	switch {
	case r.Access == api.Public:
		return http.StatusTeapot
	case !known:
		return http.StatusUnauthorized
	case r.Access == api.LoggedIn, who == "admin", who == "reader" && r.Need.Action == auth.ActionRead, who == "writer" && r.Need.Action == auth.ActionWrite:
		return http.StatusTeapot
	}
	return http.StatusForbidden
}

// golden compares with a file that is changed on purpose only: the list of what
// anybody may reach.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got):\n%s", path, d)
	}
}

func TestAReadNeverNeedsToWrite(t *testing.T) {
	t.Parallel()
	for _, d := range testMaster(t).dialects() {
		for _, r := range d.Routes {
			if r.Method == http.MethodGet && r.Access == api.Permitted && r.Need.Action == auth.ActionWrite {
				t.Errorf("%s: %s", d.Name, r.Row())
			}
			if r.Access == api.Permitted && r.Method != http.MethodGet && r.Method != http.MethodHead && r.Need.Action == auth.ActionRead && !strings.HasPrefix(r.Pattern, "/package/") && !strings.HasPrefix(r.Pattern, "/cosmos/") {
				t.Errorf("%s: %s is open to readers", d.Name, r.Row())
			}
		}
	}
}
