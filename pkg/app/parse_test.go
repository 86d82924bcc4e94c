package app_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dcos-go/dcos/pkg/app"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/resource"
)

func TestParseSetsMarathonsDefaults(t *testing.T) {
	t.Parallel()
	got, err := app.Parse([]byte(`{"id":"web","cmd":"sleep 100"}`))
	if err != nil {
		t.Fatal(err)
	}
	want := dcos.App{
		ID: "/web", Cmd: "sleep 100", Instances: 1,
		Need:    resource.Set{CPUs: 1000, Mem: 128_000},
		Ports:   []dcos.PortDef{{Protocol: "tcp", Name: "default"}},
		Backoff: dcos.Backoff{InitialMillis: 1000, FactorMilli: 1150, MaxMillis: 300_000},
		Upgrade: dcos.Upgrade{MinHealth: 1, MaxOver: 1},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("parsed app differs:\n%s", d)
	}
}

// Each file in testdata/accept is a definition as clients send them; the file
// beside it is how it reads back.
func TestParseAcceptsWhatClientsSendAndReadsBackAsRecorded(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/accept/*.json")
	if err != nil || len(files) < 5 {
		t.Fatalf("golden files: %v, %v", files, err)
	}
	for _, file := range files {
		doc, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		a, err := app.Parse(doc)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		a.Version, a.LastScaling, a.LastConfigChange = 1_700_000_000_123, 1_700_000_000_000, 1_700_000_000_000
		got, err := json.MarshalIndent(app.Render(&a), "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		golden := strings.TrimSuffix(file, ".json") + ".golden"
		if os.Getenv("UPDATE_GOLDEN") != "" {
			if err := os.WriteFile(golden, append(got, '\n'), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), string(got)+"\n"); d != "" {
			t.Errorf("%s reads back otherwise:\n%s", file, d)
		}
		again, err := app.Parse(got)
		if err != nil {
			t.Errorf("%s: its own output is refused: %v", file, err)
		}
		again.Version, again.LastScaling, again.LastConfigChange = a.Version, a.LastScaling, a.LastConfigChange
		if d := cmp.Diff(a, again); d != "" {
			t.Errorf("%s: parsing the output gives another app:\n%s", file, d)
		}
	}
}

func TestParseRefusesAndNamesTheField(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, doc string
		parse     bool
		path      string
		rule      string // part of it
	}{
		{"no id", `{"cmd":"sleep 1"}`, true, "/id", "error.path.missing"},
		{"id of another type", `{"id":7,"cmd":"sleep 1"}`, true, "/id", "error.expected.jsstring"},
		{"id with capitals", `{"id":"Web","cmd":"sleep 1"}`, false, "/id", "lower-case"},
		{"cmd of another type", `{"id":"a","cmd":["x"]}`, true, "/cmd", "error.expected.jsstring"},
		{"empty cmd", `{"id":"a","cmd":""}`, true, "/cmd", "error.minLength"},
		{"cmd of one letter", `{"id":"a","cmd":"x"}`, false, "/cmd", "longer"},
		{"cmd and args", `{"id":"a","cmd":"xx","args":["y"]}`, false, "/", "both"},
		{"nothing to run", `{"id":"a"}`, false, "/", "must have cmd"},
		{"negative cpus", `{"id":"a","cmd":"xx","cpus":-1}`, true, "/cpus", "error.min"},
		{"words for a negative", `{"id":"a","cmd":"xx","cpus":-1}`, true, "/cpus", "got -1, expected 0.001 or more"},
		{"no cpus at all", `{"id":"a","cmd":"xx","cpus":0}`, true, "/cpus", "error.min"},
		{"beyond floating point", `{"id":"a","cmd":"xx","mem":1e309}`, true, "/mem", "error.max"},
		{"absurd disk", `{"id":"a","cmd":"xx","disk":1e15}`, true, "/disk", "error.max"},
		{"text for a number", `{"id":"a","cmd":"xx","cpus":"1"}`, true, "/cpus", "error.expected.jsnumber"},
		{"half an instance", `{"id":"a","cmd":"xx","instances":1.5}`, true, "/instances", "error.expected.int"},
		{"negative instances", `{"id":"a","cmd":"xx","instances":-1}`, true, "/instances", "error.min"},
		{"too many instances", `{"id":"a","cmd":"xx","instances":99999999}`, true, "/instances", "error.max"},
		{"port beyond 16 bits", `{"id":"a","cmd":"xx","ports":[70000]}`, true, "/ports(0)", "error.max"},
		{"port twice", `{"id":"a","cmd":"xx","ports":[80,80]}`, false, "/portDefinitions", "unique"},
		{"port name twice", `{"id":"a","cmd":"xx","portDefinitions":[{"name":"x"},{"name":"x"}]}`, false, "/portDefinitions", "unique"},
		{"ports that differ", `{"id":"a","cmd":"xx","ports":[80],"portDefinitions":[{"port":81}]}`, false, "/ports", "match"},
		{"protocol", `{"id":"a","cmd":"xx","portDefinitions":[{"protocol":"sctp"}]}`, true, "/portDefinitions(0)/protocol", "error.unknown.enum.literal"},
		{"operator", `{"id":"a","cmd":"xx","constraints":[["hostname","SOMETIMES"]]}`, false, "/constraints(0)", "unknown, expected one of"},
		{"constraint of one part", `{"id":"a","cmd":"xx","constraints":[["hostname"]]}`, false, "/constraints(0)", "got 1 parts"},
		{"regular expression", `{"id":"a","cmd":"xx","constraints":[["rack","UNIQUE"],["hostname","LIKE","("]]}`, false, "/constraints(1)", "not a regular expression"},
		{"constraint twice", `{"id":"a","cmd":"xx","constraints":[["rack","UNIQUE"],["rack","unique"]]}`, false, "/constraints(1)", "unique"},
		{"upgrade above 1", `{"id":"a","cmd":"xx","upgradeStrategy":{"minimumHealthCapacity":1.1,"maximumOverCapacity":0}}`, true, "/upgradeStrategy/minimumHealthCapacity", "error.max"},
		{"half an upgrade", `{"id":"a","cmd":"xx","upgradeStrategy":{"minimumHealthCapacity":1}}`, true, "/upgradeStrategy/maximumOverCapacity", "error.path.missing"},
		{"kill selection", `{"id":"a","cmd":"xx","killSelection":"RANDOM"}`, true, "/killSelection", "error.unknown.enum.literal"},
		{"env with a secret", `{"id":"a","cmd":"xx","env":{"P":{"secret":"s"}}}`, false, "/env/P", "is not supported yet"},
		{"env of another type", `{"id":"a","cmd":"xx","env":{"P":1}}`, true, "/env/P", "error.expected.jsstring"},
		{"env name", `{"id":"a","cmd":"xx","env":{"A=B":"1"}}`, false, "/env", "not a name"},
		{"zero byte", `{"id":"a","cmd":"x\u0000x"}`, false, "/cmd", "zero byte"},
		{"image name", `{"id":"a","container":{"docker":{"image":"Not An Image"}}}`, false, "/container/docker/image", "not an image name"},
		{"image of dots 0", `{"id":"a","container":{"docker":{"image":"..:x"}}}`, false, "/container/docker/image", "not an image name"},
		{"image of dots 1", `{"id":"a","container":{"docker":{"image":"a/..:x"}}}`, false, "/container/docker/image", "not an image name"},
		{"image of dots 2", `{"id":"a","container":{"docker":{"image":"redis/..@sha256:0000000000000000000000000000000000000000000000000000000000000000"}}}`, false, "/container/docker/image", "not an image name"},
		{"image of dots 3", `{"id":"a","container":{"docker":{"image":"localhost:5000/..:x"}}}`, false, "/container/docker/image", "not an image name"},
		{"docker without image", `{"id":"a","cmd":"xx","container":{"type":"DOCKER"}}`, false, "/container/docker/image", "must not be empty"},
		{"docker without image key", `{"id":"a","cmd":"xx","container":{"docker":{}}}`, true, "/container/docker/image", "error.path.missing"},
		{"container type", `{"id":"a","cmd":"xx","container":{"type":"LXC"}}`, true, "/container/type", "error.unknown.enum.literal"},
		{"mistyped field", `{"id":"a","cmd":"xx","instance":2}`, true, "/instance", `did you mean "instances"?`},
		{"mistyped in capitals", `{"id":"a","cmd":"xx","CPUs":2}`, true, "/CPUs", `did you mean "cpus"?`},
		{"field of nobody", `{"id":"a","cmd":"xx","colour":"red"}`, true, "/colour", "unknown field"},
		{"nested mistyped field", `{"id":"a","container":{"docker":{"image":"redis","forcePulImage":true}}}`, true, "/container/docker/forcePulImage", `did you mean "forcePullImage"?`},
		{"single instance", `{"id":"a","cmd":"xx","instances":2,"labels":{"MARATHON_SINGLE_INSTANCE_APP":"true"}}`, false, "/instances", "1 or less"},
		{"migration label", `{"id":"a","cmd":"xx","labels":{"DCOS_MIGRATION_API_VERSION":"v2"}}`, false, "/labels/DCOS_MIGRATION_API_VERSION", "v1"},
		{"roles empty", `{"id":"a","cmd":"xx","acceptedResourceRoles":[]}`, false, "/acceptedResourceRoles", "must not be empty"},
		{"host network with a name", `{"id":"a","cmd":"xx","networks":[{"mode":"host","name":"x"}]}`, false, "/networks(0)/name", "must not be given"},
		{"inactive beyond expunge", `{"id":"a","cmd":"xx","unreachableStrategy":{"inactiveAfterSeconds":5,"expungeAfterSeconds":1}}`, false, "/unreachableStrategy", "must not be more"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := app.Parse([]byte(tt.doc))
			wantFault(t, err, tt.parse, tt.path, tt.rule)
		})
	}
}

func wantFault(t *testing.T, err error, parse bool, path, rule string) {
	t.Helper()
	var bad *dcos.InvalidFields
	if !errors.As(err, &bad) || !errors.Is(err, dcos.ErrInvalid) {
		t.Fatalf("got error %v, want invalid fields", err)
	}
	for _, f := range bad.Fields {
		if f.Path == path && strings.Contains(f.Rule, rule) && bad.Parse == parse {
			return
		}
	}
	t.Errorf("got %+v, want %s: %s (parse %v)", bad, path, rule, parse)
}

func TestParseTakesUnreachableStrategyAndFence(t *testing.T) {
	t.Parallel()
	half, full := dcos.Upgrade{MinHealth: 0.5}, dcos.Upgrade{MinHealth: 1, MaxOver: 1}
	for _, tt := range []struct {
		fields  string
		want    dcos.Unreachable
		fence   dcos.Fence
		upgrade dcos.Upgrade
	}{
		{`"unreachableStrategy":"disabled"`, dcos.Unreachable{Disabled: true}, dcos.FenceNone, full},
		{`"unreachableStrategy":{"inactiveAfterSeconds":1,"expungeAfterSeconds":2}`, dcos.Unreachable{InactiveSeconds: 1, ExpungeSeconds: 2}, dcos.FenceNone, full},
		{`"unreachableStrategy":{"expungeAfterSeconds":2}`, dcos.Unreachable{ExpungeSeconds: 2}, dcos.FenceNone, full},
		{`"unreachableStrategy":null,"fence":"none"`, dcos.Unreachable{}, dcos.FenceNone, full},
		{`"fence":"lease"`, dcos.Unreachable{}, dcos.FenceLease, half},
		{`"fence":"lease","labels":{"MARATHON_SINGLE_INSTANCE_APP":"true"}`, dcos.Unreachable{}, dcos.FenceLease, dcos.Upgrade{}},
		{`"fence":"lease","upgradeStrategy":{"minimumHealthCapacity":1,"maximumOverCapacity":1}`, dcos.Unreachable{}, dcos.FenceLease, full},
	} {
		a, err := app.Parse([]byte(`{"id":"a","cmd":"sleep 1",` + tt.fields + `}`))
		if err != nil || a.Unreachable != tt.want || a.Fence != tt.fence || a.Upgrade != tt.upgrade {
			t.Errorf("%s: %+v %v %+v, error %v", tt.fields, a.Unreachable, a.Fence, a.Upgrade, err)
		}
	}
	for _, bad := range []string{
		`"unreachableStrategy":{"inactiveAfterSeconds":3,"expungeAfterSeconds":2}`, `"unreachableStrategy":"enabled"`,
		`"unreachableStrategy":{"inactiveAfterSeconds":-1}`, `"unreachableStrategy":{"after":1}`, `"fence":"yes"`, `"fence":true`,
	} {
		if _, err := app.Parse([]byte(`{"id":"a","cmd":"sleep 1",` + bad + `}`)); !errors.Is(err, dcos.ErrInvalid) {
			t.Errorf("%s: error %v, want it refused", bad, err)
		}
	}
}

func TestParseNamesWhatIsNotSupportedYetAndTakesItsNeutralValue(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ field, refused, neutral string }{
		{"gpus", "1", "0"},
		{"secrets", `{"s":{"source":"x"}}`, "{}"},
		{"healthChecks", `[{"protocol":"TCP"}]`, "[]"},
		{"readinessChecks", `[{}]`, "[]"},
		{"dependencies", `["/b"]`, "[]"},
		{"check", `{"tcp":{}}`, "null"},
		{"ipAddress", `{}`, "null"},
		{"residency", `{}`, "null"},
		{"executorResources", `{"cpus":1}`, "null"},
		{"resourceLimits", `{"cpus":2}`, "{}"},
		{"tty", "true", "false"},
		{"executor", `"/opt/x"`, `"//cmd"`},
		{"role", `"dev"`, `"*"`},
		{"acceptedResourceRoles", `["slave_public"]`, `["*"]`},
		{"networks", `[{"mode":"container/bridge"}]`, `[{"mode":"host"}]`},
		{"networks", `[{"name":"dcos"}]`, `[]`},
		{"container", `{"type":"MESOS","volumes":[{"containerPath":"a"}]}`, `{"type":"MESOS","volumes":[],"portMappings":[],"docker":null}`},
		{"container", `{"type":"MESOS","portMappings":[{"containerPort":80}]}`, `{"type":"MESOS","portMappings":null,"linuxInfo":null}`},
		{"container", `{"docker":{"image":"x","privileged":true}}`, `{"docker":{"image":"x","privileged":false,"parameters":[]}}`},
		{"container", `{"docker":{"image":"x","parameters":[{"key":"a","value":"b"}]}}`, `{"docker":{"image":"x","parameters":null}}`},
		{"container", `{"docker":{"image":"x","network":"BRIDGE"}}`, `{"docker":{"image":"x","network":"HOST","portMappings":[]}}`},
		{"container", `{"docker":{"image":"x","pullConfig":{"secret":"s"}}}`, `{"docker":{"image":"x","pullConfig":null}}`},
	} {
		_, err := app.Parse([]byte(`{"id":"a","cmd":"sleep 1","` + tt.field + `":` + tt.refused + `}`))
		var bad *dcos.InvalidFields
		if !errors.As(err, &bad) || bad.Parse || !strings.HasPrefix(bad.Fields[0].Path, "/"+tt.field) || !strings.Contains(bad.Fields[0].Rule, "is not supported yet") {
			t.Errorf("%s %s: got %v, want that it is not supported yet", tt.field, tt.refused, err)
		}
		if _, err := app.Parse([]byte(`{"id":"a","cmd":"sleep 1","` + tt.field + `":` + tt.neutral + `}`)); err != nil {
			t.Errorf("%s %s: got %v, want no error", tt.field, tt.neutral, err)
		}
	}
}

func TestParseOfWhatIsNotAJSONObjectIsASyntaxError(t *testing.T) {
	t.Parallel()
	for _, doc := range []string{
		"", "{", "[]", `"x"`, "null", `{"id":"a"}{}`, `{"id":NaN}`, `{"cpus":Infinity}`, `{"id":"a","id":"b"}`, "{\"id\":\"\xff\"}",
		`{"a":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`,
		`{"id":"` + strings.Repeat("x", 1<<20) + `"}`,
		strings.Repeat(`{"a":`, 10_000),
	} {
		_, err := app.Parse([]byte(doc))
		var bad *app.SyntaxError
		if !errors.As(err, &bad) || !errors.Is(err, dcos.ErrInvalid) {
			t.Errorf("%.40q: got %v, want a syntax error", doc, err)
		}
	}
}

func TestManyFaultsAreAnsweredWithABoundedList(t *testing.T) {
	t.Parallel()
	doc := `{"id":"a","cmd":"xx","env":{`
	for i := range 1000 {
		doc += `"` + strings.Repeat("k", i+1) + `":1,`
	}
	_, err := app.Parse([]byte(doc + `"z":1}}`))
	var bad *dcos.InvalidFields
	if !errors.As(err, &bad) || len(bad.Fields) == 0 || len(bad.Fields) > 100 {
		t.Fatalf("got %v", err)
	}
	_, err = app.Parse([]byte(`{"id":"a","cmd":"xx","` + strings.Repeat("k", 1<<19) + `":1}`))
	if err == nil || len(err.Error()) > 4000 {
		t.Errorf("an error of %d bytes", len(err.Error()))
	}
}

func TestMergeReplacesOnlyTheFieldsGiven(t *testing.T) {
	t.Parallel()
	stored, err := app.Parse([]byte(`{"id":"/a","cmd":"sleep 1","env":{"A":"1","B":"2"},"labels":{"x":"y"},"ports":[1234,0],"instances":3,
		"constraints":[["hostname","UNIQUE"]],"upgradeStrategy":{"minimumHealthCapacity":0.5,"maximumOverCapacity":0.2},"container":{"type":"MESOS"}}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, patch string
		change      func(*dcos.App)
	}{
		{"nothing", `{}`, func(*dcos.App) {}},
		{"nulls, as go-marathon sends them", `{"id":"/a","ports":null,"dependencies":null,"cmd":null,"env":null}`, func(*dcos.App) {}},
		{"scale", `{"instances":7}`, func(a *dcos.App) { a.Instances = 7 }},
		{"env is replaced whole", `{"env":{"C":"3"}}`, func(a *dcos.App) { a.Env = map[string]string{"C": "3"} }},
		{"env is emptied", `{"env":{}}`, func(a *dcos.App) { a.Env = nil }},
		{"no more constraints", `{"constraints":[]}`, func(a *dcos.App) { a.Constraints = nil }},
		{"ports", `{"portDefinitions":[]}`, func(a *dcos.App) { a.Ports = nil }},
		{"image", `{"container":{"docker":{"image":"redis:8"}}}`, func(a *dcos.App) { a.Container = &dcos.Container{Type: "DOCKER", Image: "redis:8"} }},
		{"another id gives way", `{"id":"/b","cpus":2}`, func(a *dcos.App) { a.Need.CPUs = 2000 }},
	} {
		got, err := app.Merge(stored, []byte(tt.patch))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		want, _ := app.Merge(stored, []byte(`{}`))
		tt.change(&want)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: merged app differs:\n%s", tt.name, d)
		}
	}
	if _, err := app.Merge(stored, []byte(`{"args":["x"]}`)); err == nil {
		t.Error("args beside the stored cmd were taken")
	}
	if stored.Env["A"] != "1" || stored.Container.Image != "" {
		t.Error("merging changed the stored app")
	}
}

func TestMergeOfEverythingReadChangesNothing(t *testing.T) {
	t.Parallel()
	files, _ := filepath.Glob("testdata/accept/*.json")
	for _, file := range files {
		doc, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		a, err := app.Parse(doc)
		if err != nil {
			t.Fatal(err)
		}
		read, _ := json.Marshal(app.Render(&a))
		got, err := app.Merge(a, read)
		if err != nil {
			t.Errorf("%s: %v", file, err)
		}
		if d := cmp.Diff(a, got); d != "" {
			t.Errorf("%s: differs:\n%s", file, d)
		}
	}
}

func TestOnlyAVersionAloneRestores(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		patch string
		want  string
		ok    bool
		fails bool
	}{
		{`{"version":"2026-01-02T03:04:05.006Z"}`, "2026-01-02T03:04:05.006Z", true, false},
		{`{"id":"/a","version":"2026-01-02T04:04:05.006+01:00","cmd":null}`, "2026-01-02T03:04:05.006Z", true, false},
		{`{"version":"2026-01-02T03:04:05.006Z","cmd":"x"}`, "", false, false},
		{`{"instances":2}`, "", false, false},
		{`{"version":"yesterday"}`, "", false, true},
		{`{"version":5}`, "", false, true},
	} {
		at, ok, err := app.Restores([]byte(tt.patch))
		if ok != tt.ok || (err != nil) != tt.fails || ok && at.String() != tt.want {
			t.Errorf("%s: got %v %v %v", tt.patch, at, ok, err)
		}
	}
}

func seeds(f *testing.F) {
	files, _ := filepath.Glob("testdata/accept/*.json")
	for _, file := range files {
		doc, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(doc)
	}
	f.Add([]byte(`{"id":"a","cmd":"x","container":{"docker":{"image":"x"}},"ports":[1],"constraints":[["a","GROUP_BY","3"]]}`))
	f.Add([]byte(`{"id":"/..","cpus":1e308,"env":{"":{}},"unreachableStrategy":"disabled"}`))
}

func FuzzParse(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, doc []byte) {
		a, err := app.Parse(doc)
		if err != nil {
			if !errors.Is(err, dcos.ErrInvalid) {
				t.Fatalf("error of no kind: %v", err)
			}
			return
		}
		out, err := json.Marshal(app.Render(&a))
		if err != nil {
			t.Fatalf("render: %v", err)
		}
		again, err := app.Parse(out)
		if err != nil {
			t.Fatalf("own output %s refused: %v", out, err)
		}
		if d := cmp.Diff(a, again); d != "" {
			t.Fatalf("own output reads otherwise:\n%s", d)
		}
	})
}

func FuzzMerge(f *testing.F) {
	seeds(f)
	stored, err := app.Parse([]byte(`{"id":"/a","args":["sleep","1"],"env":{"A":"1"},"ports":[1234,0],"container":{"docker":{"image":"redis"}}}`))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		a, err := app.Merge(stored, doc)
		if err == nil && a.ID != stored.ID {
			t.Fatalf("merging changed the id to %s", a.ID)
		}
		if err != nil && !errors.Is(err, dcos.ErrInvalid) {
			t.Fatalf("error of no kind: %v", err)
		}
	})
}
