package cosmos

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dcos-go/dcos/packages"
	"github.com/dcos-go/dcos/pkg/api"
	"github.com/dcos-go/dcos/pkg/api/apitest"
	"github.com/dcos-go/dcos/pkg/catalog"
	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

const config = `{"type":"object","additionalProperties":false,"properties":{"service":{"type":"object","properties":{
 "name":{"type":"string","default":"/db"},"count":{"type":"integer","default":1,"minimum":1},"cpus":{"type":"number","default":0.1}}}}}`

const template = `{"id":"{{service.name}}","cmd":"sleep 1","instances":{{service.count}},"cpus":{{service.cpus}}}`

func repo() map[string][]byte {
	meta := func(name, version, more string) []byte {
		return []byte(`{"packagingVersion":"4.0","name":"` + name + `","version":"` + version +
			`","maintainer":"m","description":"100% a database","tags":["db"],"postInstallNotes":"ready","postUninstallNotes":"gone"` + more + `}`)
	}
	return map[string][]byte{
		"D/db/0/package.json":            meta("db", "1.0", ""),
		"D/db/0/config.json":             []byte(config),
		"D/db/0/marathon.json.mustache":  []byte(template),
		"D/db/1/package.json":            meta("db", "2.0", `,"selected":true`),
		"D/db/1/config.json":             []byte(config),
		"D/db/1/resource.json":           []byte(`{"images":{"icon-small":"icon.png"}}`),
		"D/db/1/marathon.json.mustache":  []byte(template),
		"B/bad/0/package.json":           meta("bad", "1", ""),
		"B/bad/0/marathon.json.mustache": []byte(`{"id":"bad","cmd":"sleep 1","cpus":-1}`),
		"T/tool/0/package.json":          meta("tool", "1", ""),
	}
}

func setup(t *testing.T) (*apitest.Cluster, http.Handler) {
	t.Helper()
	cat, err := catalog.Load("bundled", repo())
	if err != nil {
		t.Fatal(err)
	}
	c := apitest.New()
	return c, apitest.Handler(apitest.Admin(), Routes(Config{State: c.State(), Catalog: cat, Log: apitest.Quiet()}))
}

func post(t *testing.T, h http.Handler, status int, verb, body string, into any) {
	t.Helper()
	w := apitest.Do(h, "POST", "/package/"+verb, body)
	if w.Code != status {
		t.Fatalf("%s %s: %d %s, want %d", verb, body, w.Code, w.Body, status)
	}
	if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
		t.Fatalf("%s: %v in %s", verb, err, w.Body)
	}
}

func TestAPackageIsFoundInstalledListedAndUninstalled(t *testing.T) {
	t.Parallel()
	c, h := setup(t)
	var found client.PackageSearch
	post(t, h, 200, "search", `{"query":"DATA"}`, &found)
	want := client.PackageSummary{
		Name: "db", CurrentVersion: "2.0", Versions: map[string]string{"1.0": "0", "2.0": "1"}, Description: "100% a database",
		Tags: []string{"db"}, Selected: true, Images: json.RawMessage(`{"icon-small":"icon.png"}`),
	}
	if d := cmp.Diff(want, found.Packages[0]); d != "" || len(found.Packages) != 3 {
		t.Errorf("%d found, the first (-want +got):\n%s", len(found.Packages), d)
	}
	var versions client.PackageVersions
	post(t, h, 200, "list-versions", `{"packageName":"db","includePackageVersions":true}`, &versions)
	if d := cmp.Diff(want.Versions, versions.Results); d != "" {
		t.Error(d)
	}
	var rendered client.PackageRendered
	post(t, h, 200, "render", `{"packageName":"db","options":{"service":{"count":3}}}`, &rendered)
	if !strings.Contains(string(rendered.MarathonJSON), `"instances":3`) {
		t.Errorf("rendered %s", rendered.MarathonJSON)
	}
	var installed client.PackageInstalled
	post(t, h, 200, "install", `{"packageName":"db","packageVersion":"1.0","options":{"service":{"count":2}},"appId":"prod/db"}`, &installed)
	if d := cmp.Diff(client.PackageInstalled{PackageName: "db", PackageVersion: "1.0", AppID: "/prod/db", PostInstallNotes: "ready"}, installed); d != "" {
		t.Error(d)
	}
	row, _ := c.View().App("/prod/db")
	if row == nil || row.App.Instances != 2 || row.App.Labels["DCOS_PACKAGE_NAME"] != "db" || row.App.Labels["DCOS_PACKAGE_SOURCE"] != "bundled" {
		t.Fatalf("app %+v", row)
	}
	p, ok := c.View().Package("/prod/db")
	if !ok || string(p.Options) != `{"service":{"count":2}}` || p.Release != 0 {
		t.Errorf("package row %+v", p)
	}
	var list client.PackageList
	post(t, h, 200, "list", `{}`, &list)
	if len(list.Packages) != 1 || list.Packages[0].AppID != "/prod/db" ||
		strings.Contains(string(list.Packages[0].PackageInformation.PackageDefinition), "mustache") {
		t.Errorf("list %+v", list)
	}
	var gone client.PackageUninstalled
	post(t, h, 200, "uninstall", `{"packageName":"db"}`, &gone)
	if d := cmp.Diff([]client.PackageUninstallResult{{PackageName: "db", PackageVersion: "1.0", AppID: "/prod/db", PostUninstallNotes: "gone"}}, gone.Results); d != "" {
		t.Error(d)
	}
	if row, _ := c.View().App("/prod/db"); !row.Deleting {
		t.Error("the app is not being deleted")
	}
	post(t, h, 200, "list", `null`, &list)
	if len(list.Packages) != 0 {
		t.Errorf("listed after uninstall: %+v", list)
	}
}

func TestErrorsHaveCosmosTypes(t *testing.T) {
	t.Parallel()
	c, h := setup(t)
	var ok any
	post(t, h, 200, "install", `{"packageName":"db"}`, &ok)
	post(t, h, 200, "install", `{"packageName":"db","appId":"/db2"}`, &ok)
	before := c.View().Index()
	for _, tt := range []struct {
		verb, body string
		status     int
		typ, want  string
	}{
		{"describe", `{"packageName":"nope"}`, 400, "PackageNotFound", `{"packageName":"nope"}`},
		{"describe", `{"packageName":"db","packageVersion":"9"}`, 400, "VersionNotFound", `"packageVersion":"9"`},
		{"install", `{"packageName":"db"}`, 409, "PackageAlreadyInstalled", "already installed"},
		{"install", `{"packageName":"db","appId":"/Db 3"}`, 400, "MarathonBadResponse", "/id"},
		{"install", `{"packageName":"db","appId":"/a","options":{"service":{"count":0}}}`, 400, "JsonSchemaMismatch", `"pointer":"/service/count"`},
		{"install", `{"packageName":"db","appId":"/a","options":{"service":{"cpus":1e309}}}`, 400, "", ""},
		{"install", `{"packageName":"bad"}`, 400, "MarathonBadResponse", "/cpus"},
		{"install", `{"packageName":"bad","options":{"x":1}}`, 400, "OptionsNotAllowed", "no options"},
		{"install", `{"packageName":"tool"}`, 400, "ServiceMarathonTemplateNotFound", "nothing to run"},
		{"install", `{"packageName":"db","managerId":"m"}`, 400, "CustomPackageManagerNotFound", "m"},
		{"install", `{"packageName":7}`, 400, "JsonDecodingError", "packageName"},
		{"install", `{"package":"db"}`, 400, "JsonDecodingError", "package"},
		{"install", `{"packageName"`, 400, "JsonParsingError", "JSON"},
		{"install", strings.Repeat(" ", api.MaxBody+1), 413, "GenericHttpError", "1048576"},
		{"uninstall", `{"packageName":"db"}`, 400, "AmbiguousAppId", `"appIds":["/db","/db2"]`},
		{"uninstall", `{"packageName":"kafka"}`, 400, "PackageNotInstalled", "kafka"},
		{"uninstall", `{"packageName":"db","appId":"/x"}`, 400, "UninstallNonExistentAppForPackage", "/x"},
		{"uninstall", `{}`, 400, "JsonDecodingError", "packageName"},
		{"repository/add", `{"name":"x","uri":"https://x"}`, 400, "UnsupportedOperation", "not supported yet"},
	} {
		w := apitest.Do(h, "POST", "/package/"+tt.verb, tt.body)
		var e client.CosmosError
		if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil {
			t.Errorf("%s %.60s: %v in %s", tt.verb, tt.body, err, w.Body)
		}
		if w.Code != tt.status || tt.typ != "" && e.Type != tt.typ || !strings.Contains(w.Body.String(), tt.want) || strings.Contains(e.Message, "%") {
			t.Errorf("%s %.60s: %d %s, want %d %s with %s", tt.verb, tt.body, w.Code, w.Body, tt.status, tt.typ, tt.want)
		}
	}
	if w := apitest.Do(h, "POST", "/package/list", `{}`, "Content-Type: text/html"); w.Code != 400 || !strings.Contains(w.Body.String(), "UnsupportedContentType") {
		t.Errorf("text/html: %d %s", w.Code, w.Body)
	}
	if c.View().Index() != before {
		t.Error("what was refused has changed the state")
	}
	post(t, h, 200, "uninstall", `{"packageName":"db","all":true}`, &ok)
}

func TestAPackageWhoseAppIsGoneCanBeInstalledAgain(t *testing.T) {
	t.Parallel()
	c, h := setup(t)
	var ok any
	post(t, h, 200, "install", `{"packageName":"db"}`, &ok)
	c.Do(state.DeleteApp{App: "/db", Force: true})
	for d := range c.View().Deployments() {
		c.Do(state.CancelDeployment{ID: d.ID, Force: true})
	}
	c.Do(state.RemoveApp{App: "/db"})
	post(t, h, 200, "install", `{"packageName":"db"}`, &ok)
	if p, there := c.View().Package("/db"); !there || p.Version != "2.0" {
		t.Errorf("package %+v", p)
	}
}

func TestADryRunInstallsNothing(t *testing.T) {
	t.Parallel()
	c, h := setup(t)
	before := c.View().Index()
	var dry client.DryRun
	post(t, h, 200, "install?dryRun=1", `{"packageName":"db"}`, &dry)
	if !dry.DryRun || len(dry.Apps) != 1 || dry.Apps[0].Waiting != 1 || !strings.Contains(strings.Join(dry.Would, "\n"), "no agents") || dry.App.ID != "/db" || c.View().Index() != before {
		t.Errorf("%+v", dry)
	}
}

func TestAnswersAreOfTheTypeAskedFor(t *testing.T) {
	t.Parallel()
	_, h := setup(t)
	for accept, want := range map[string]string{
		"":                 "application/json;charset=utf-8",
		"application/json": "application/json;charset=utf-8",
		"application/vnd.dcos.package.install-response+json;charset=utf-8;version=v1, application/vnd.dcos.package.error+json;charset=utf-8;version=v1": "application/vnd.dcos.package.install-response+json;charset=utf-8;version=v1",
		"application/vnd.dcos.package.install-response+json;charset=utf-8;version=v2":                                                                   "application/vnd.dcos.package.install-response+json;charset=utf-8;version=v2",
	} {
		w := apitest.Do(h, "POST", "/package/install?dryRun=1", `{"packageName":"db"}`, "Accept: "+accept,
			"Content-Type: application/vnd.dcos.package.install-request+json;charset=utf-8;version=v1")
		if got := w.Header().Get("Content-Type"); got != want || w.Code != 200 {
			t.Errorf("Accept %q: %d %q, want %q", accept, w.Code, got, want)
		}
	}
	if w := apitest.Do(h, "GET", "/capabilities", ""); !strings.Contains(w.Body.String(), "PACKAGE_MANAGEMENT") {
		t.Errorf("capabilities: %s", w.Body)
	}
}

func TestAnOutcomeThatIsNotKnownIsSaidSo(t *testing.T) {
	t.Parallel()
	c, h := setup(t)
	c.Fail(fmt.Errorf("cut off: %w", dcos.ErrUnknown))
	w := apitest.Do(h, "POST", "/package/install", `{"packageName":"db"}`)
	if w.Code != 503 || w.Header().Get("X-Dcos-Error") != "unknown_outcome" || !strings.Contains(w.Body.String(), "ServiceUnavailable") {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
}

func TestEveryBundledPackageInstallsWithItsDefaults(t *testing.T) {
	t.Parallel()
	cat, err := catalog.Load(packages.Source, packages.Files())
	if err != nil {
		t.Fatal(err)
	}
	c := apitest.New()
	h := apitest.Handler(apitest.Admin(), Routes(Config{State: c.State(), Catalog: cat, Log: apitest.Quiet()}))
	for _, p := range cat.Search("") {
		var out client.PackageInstalled
		post(t, h, 200, "install", `{"packageName":"`+p.Name+`"}`, &out)
	}
}

func FuzzInstall(f *testing.F) {
	f.Add(`{"packageName":"db","options":{"service":{"count":2}},"appId":"x"}`)
	cat, err := catalog.Load("bundled", repo())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body string) {
		c := apitest.New()
		h := apitest.Handler(apitest.Admin(), Routes(Config{State: c.State(), Catalog: cat, Log: apitest.Quiet()}))
		for _, verb := range []string{"install", "render", "uninstall", "list"} {
			if w := apitest.Do(h, "POST", "/package/"+verb, body); w.Code >= 500 || !json.Valid(w.Body.Bytes()) {
				t.Errorf("%s %q: %d %s", verb, body, w.Code, w.Body)
			}
		}
	})
}
