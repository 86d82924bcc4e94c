package apitest_test

import (
	"crypto/rand"
	"errors"
	"flag"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dcos-go/dcos/pkg/api"
	"github.com/dcos-go/dcos/pkg/api/apitest"
	"github.com/dcos-go/dcos/pkg/api/cosmos"
	apidcos "github.com/dcos-go/dcos/pkg/api/dcos"
	"github.com/dcos-go/dcos/pkg/api/marathon"
	"github.com/dcos-go/dcos/pkg/api/mesos"
	"github.com/dcos-go/dcos/pkg/auth"
	"github.com/dcos-go/dcos/pkg/catalog"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/gateway"
	"github.com/dcos-go/dcos/pkg/state"
)

var update = flag.Bool("update", false, "write the golden list anew")

// everything is the routes of a master, over one cluster with real
// authentication.
func everything(t *testing.T) (*apitest.Cluster, *auth.Gate, []api.Dialect) {
	t.Helper()
	c := apitest.New()
	secrets, err := auth.NewSecrets("test", time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	gate := auth.NewGate(func() *auth.Secrets { return secrets }, nil)
	leader := func() dcos.MasterID { return 1 }
	m := marathon.Routes(marathon.Config{State: c.State(), Leader: leader, Log: apitest.Quiet()})
	return c, gate, []api.Dialect{
		m, m.Mount("/service/marathon"),
		cosmos.Routes(cosmos.Config{State: c.State(), Catalog: &catalog.Catalog{Source: "empty"}, Log: apitest.Quiet()}),
		apidcos.Routes(apidcos.Config{
			State: c.State(), Leader: leader, Term: func() dcos.Term { return 1 }, Gate: gate, Secrets: func() *auth.Secrets { return secrets }, Log: apitest.Quiet(),
		}),
		mesos.Routes(mesos.Config{State: c.State(), Leader: leader, Log: apitest.Quiet()}),
		gateway.New(gateway.Config{Feed: c, Log: apitest.Quiet()}).Routes(),
	}
}

func TestTheTableOfRoutesIsTheGoldenOne(t *testing.T) {
	t.Parallel()
	_, _, ds := everything(t)
	table, err := api.NewTable(ds...)
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, r := range table.Rows() {
		rows = append(rows, r.Row())
	}
	got := strings.Join(rows, "\n") + "\n"
	const file = "testdata/routes.txt"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("every route needs a look at who may use it; then run with -update (-want +got):\n%s", d)
	}
}

// TestEveryRouteRefusesWhoMayNotUseIt walks the table with each kind of
// credential that is not good enough.
func TestEveryRouteRefusesWhoMayNotUseIt(t *testing.T) {
	t.Parallel()
	c, gate, ds := everything(t)
	table, err := api.NewTable(ds...)
	if err != nil {
		t.Fatal(err)
	}
	h := apitest.Handler(api.Credentials{Bearers: gate, Feed: c}, ds...)
	token := func(id string, grants ...dcos.Grant) string {
		u := dcos.User{ID: id, PasswordHash: "x", Grants: grants}
		c.Do(state.PutUser{User: u})
		text, err := gate.Issue(&u)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	nobody := token("nobody")
	revoked := token("revoked", auth.System().Grants...)
	c.Do(state.PutUser{User: dcos.User{ID: "revoked", Generation: 2, Grants: auth.System().Grants}})
	foreign := auth.NewGate(func() *auth.Secrets { s, _ := auth.NewSecrets("test", time.Now(), rand.Reader); return s }, nil)
	forged, err := foreign.Issue(&dcos.User{ID: "nobody"})
	if err != nil {
		t.Fatal(err)
	}
	before := c.View().Index()
	walked := 0
	for _, r := range table.Rows() {
		if r.Access == api.Public {
			continue
		}
		walked++
		method := r.Method
		path := regexp.MustCompile(`\{[a-z]+(\.\.\.)?\}`).ReplaceAllString(r.Pattern, "x")
		ask := func(what string, want int, headers ...string) {
			t.Helper()
			if w := apitest.Do(h, method, path, "", headers...); w.Code != want {
				t.Errorf("%s %s %s: %d %s, want %d", method, path, what, w.Code, w.Body, want)
			}
		}
		ask("without a credential", 401)
		ask("with an empty token", 401, "Authorization: token=")
		ask("with a token that is none", 401, "Authorization: Bearer x.y.z")
		ask("with another cluster's token", 401, "Authorization: token="+forged)
		ask("with a revoked token", 401, "Authorization: token="+revoked)
		ask("with a password", 401, "Authorization: Basic YWRtaW46eA==")
		if method != http.MethodGet {
			ask("by cookie from elsewhere", 401, "Cookie: "+auth.CookieName+"="+nobody, "Origin: https://evil.example")
		}
		if r.Access != api.Permitted {
			continue
		}
		ask("without grants", 403, "Authorization: token="+nobody)
		beside := dcos.Grant{Path: r.Need.Path + "x", Actions: []string{"full"}}
		ask("with a grant beside", 403, "Authorization: token="+token("beside", beside))
		other := dcos.Grant{Path: "/", Actions: []string{map[string]string{"read": "write", "write": "read"}[r.Need.Action]}}
		ask("with the other action", 403, "Authorization: token="+token("other", other))
		exact := dcos.Grant{Path: r.Need.Path, Actions: []string{r.Need.Action}}
		if r.Stream {
			continue // it would answer for ever
		}
		good := token("exact", exact)
		if w := apitest.Do(h, method, path, "", "Authorization: token="+good); w.Code == 401 || w.Code == 403 {
			t.Errorf("%s %s with the grant it needs: %d %s", method, path, w.Code, w.Body)
		}
	}
	if walked < 60 {
		t.Errorf("walked %d routes only", walked)
	}
	for a := range c.View().Audit() {
		if a.Index > before && a.Principal != "exact" {
			t.Errorf("%s did %s", a.Principal, a.Act)
		}
	}
}

func TestThePublicRoutesAreFew(t *testing.T) {
	t.Parallel()
	_, _, ds := everything(t)
	var public []string
	for _, d := range ds {
		for _, r := range d.Routes {
			if r.Access == api.Public {
				public = append(public, r.Method+" "+r.Pattern)
			}
		}
	}
	want := []string{
		"GET /ping", "POST /acs/api/v1/auth/login", "GET /acs/api/v1/auth/providers", "GET /ca/dcos-ca.crt", "GET /dcos-metadata/dcos-version.json",
	}
	if d := cmp.Diff(want, public); d != "" {
		t.Errorf("routes open to everybody (-want +got):\n%s", d)
	}
}

func TestAWatchThatIsForgottenSaysSo(t *testing.T) {
	t.Parallel()
	c := apitest.New()
	c.Do(state.PutNode{Node: apitest.Node("n1")})
	c.Forget()
	if _, err := api.StartWatch(t.Context(), c, 0); !errors.Is(err, dcos.ErrReset) {
		t.Errorf("%v, want ErrReset", err)
	}
	w, err := api.StartWatch(t.Context(), c, c.View().Index())
	if err != nil {
		t.Fatal(err)
	}
	c.Do(state.PutNode{Node: apitest.Node("n2")})
	if commit := <-w.C; commit.Index != c.View().Index() {
		t.Errorf("commit %d", commit.Index)
	}
	w.Stop()
	if w.Err() != nil {
		t.Error(w.Err())
	}
}
