package catalog

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dcos-go/dcos/pkg/dcos"
)

func repo(files map[string]string) map[string][]byte {
	out := map[string][]byte{}
	for name, text := range files {
		out[name] = []byte(text)
	}
	return out
}

func meta(name, version string) string {
	return `{"packagingVersion":"4.0","name":"` + name + `","version":"` + version + `","maintainer":"m","description":"a ` + name + ` thing","tags":["db"]}`
}

func TestNewestReleaseIsByReleaseNumber(t *testing.T) {
	t.Parallel()
	c, err := Load("test", repo(map[string]string{
		"C/cassandra/0/package.json": meta("cassandra", "9.9"),
		"C/cassandra/2/package.json": meta("cassandra", "1.0"),
		"K/kafka/0/package.json":     meta("kafka", "1.0"),
	}))
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.Get("cassandra", "")
	if err != nil || p.Version != "1.0" || p.Release != 2 {
		t.Errorf("newest is %+v, %v, want release 2", p, err)
	}
	if p, err := c.Get("cassandra", "9.9"); err != nil || p.Release != 0 {
		t.Errorf("9.9 is %+v, %v", p, err)
	}
	for _, tt := range []struct{ name, version, want string }{
		{"cassandra", "3", "Version [3] of package [cassandra] not found"},
		{"spark", "", "Package [spark] not found"},
	} {
		_, err := c.Get(tt.name, tt.version)
		if !errors.Is(err, dcos.ErrNotFound) || err.Error() != tt.want {
			t.Errorf("Get(%q, %q): %v, want %q", tt.name, tt.version, err, tt.want)
		}
	}
	if got := len(c.Versions("cassandra")); got != 2 {
		t.Errorf("%d versions, want 2", got)
	}
	for query, want := range map[string]int{"": 2, "KAF": 1, "db": 2, "k*": 1, "*a*thing": 2, "k": 1, "zz": 0} {
		if got := c.Search(query); len(got) != want {
			t.Errorf("Search(%q) finds %d, want %d", query, len(got), want)
		}
	}
}

func TestARepositoryThatIsNotRightIsRefusedByFile(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ file, text, want string }{
		"other name":    {"C/cassandra/0/package.json", meta("kafka", "1"), `"kafka"`},
		"bad name":      {"C/Cassandra/0/package.json", meta("Cassandra", "1"), "package name"},
		"unknown field": {"C/cassandra/0/package.json", `{"nmae":"x"}`, "nmae"},
		"no number":     {"C/cassandra/one/package.json", meta("cassandra", "1"), "release number"},
		"not JSON":      {"C/cassandra/0/package.json", `{`, "package.json"},
	} {
		_, err := Load("test", repo(map[string]string{tt.file: tt.text}))
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "C/") {
			t.Errorf("%s: %v, want an error with %q and the folder", name, err, tt.want)
		}
	}
}

const config = `{"type":"object","additionalProperties":false,"properties":{
 "service":{"type":"object","properties":{"name":{"type":"string","default":"svc"},"count":{"type":"integer","default":0,"minimum":0},"cpus":{"type":"number","default":0.5}}},
 "text":{"type":"string","default":"a \"b\" <c> \\ d"},
 "list":{"type":"array","items":{"type":"string"},"default":["x","y \"z\""]},
 "on":{"type":"boolean","default":false},"empty":{"type":"string","default":""}}}`

func sample(template string) *Package {
	return &Package{
		PackagingVersion: "4.0", Name: "svc", Version: "1", Maintainer: "m", Description: "d",
		Config: json.RawMessage(config), Resource: json.RawMessage(`{"assets":{"container":{"docker":{"img":"a/b:1"}}}}`),
		Marathon: &Template{[]byte(template)},
	}
}

func TestTemplatesPrintAsTheJavaDialectDoes(t *testing.T) {
	t.Parallel()
	p := sample(`{"id":"{{service.name}}","n":{{service.count}},"c":{{{service.cpus}}},"t":"{{text}}","l":{{list}},"img":"{{resource.assets.container.docker.img}}",
 "zero":"{{#service.count}}truthy{{/service.count}}","on":"{{#on}}yes{{/on}}{{^on}}no{{/on}}","none":"{{#empty}}yes{{/empty}}{{^empty}}no{{/empty}}","missing":"{{nope}}",
 "each":[{{#list}}{{.}},{{/list}}"end"]}`)
	doc, err := p.Render("here", []byte(`{"service":{"cpus":1.25}}`), "")
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(doc, &got); err != nil {
		t.Fatal(err)
	}
	labels := got["labels"].(map[string]any)
	delete(got, "labels")
	want := map[string]any{
		"id": "svc", "n": 0.0, "c": 1.25, "t": `a "b" <c> \ d`, "l": []any{"x", `y "z"`}, "img": "a/b:1",
		"zero": "truthy", "on": "no", "none": "no", "missing": "", "each": []any{"x", `y "z"`, "end"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("rendered (-want +got):\n%s", d)
	}
	options, err := base64.StdEncoding.DecodeString(labels["DCOS_PACKAGE_OPTIONS"].(string))
	if err != nil || string(options) != `{"service":{"cpus":1.25}}` || labels["DCOS_PACKAGE_SOURCE"] != "here" {
		t.Errorf("options %s, %v, labels %v", options, err, labels)
	}
}

func TestOptionsThatBreakTheSchemaAreNamed(t *testing.T) {
	t.Parallel()
	p := sample(`{"id":"{{service.name}}"}`)
	for options, want := range map[string]string{
		`{"service":{"count":-1}}`: "/service/count",
		`{"service":{"name":7}}`:   "/service/name",
		`{"nope":1}`:               "nope",
		`[]`:                       "JSON object",
		`null`:                     "JSON object",
		`{"list":["a",2]}`:         "/list/1",
		`{"service":{"cpus":1e999`: "JSON",
		`{} {}`:                    "after the end",
	} {
		_, err := p.Render("here", []byte(options), "")
		if !errors.Is(err, dcos.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("options %s: %v, want an ErrInvalid with %q", options, err, want)
		}
	}
}

func TestOptionsCannotBreakOutOfTheTemplate(t *testing.T) {
	t.Parallel()
	p := sample(`{"id":"{{service.name}}","cmd":"run {{text}}"}`)
	evil := `x","cmd":"rm -rf /`
	options, err := json.Marshal(map[string]any{"text": evil})
	if err != nil {
		t.Fatal(err)
	}
	doc, err := p.Render("here", options, "/other")
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ ID, Cmd string }
	if err := json.Unmarshal(doc, &got); err != nil || got.Cmd != "run "+evil || got.ID != "/other" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func FuzzRender(f *testing.F) {
	f.Add(`{"id":"{{service.name}}"}`, `{"text":"a"}`)
	f.Fuzz(func(t *testing.T, template, options string) {
		if len(template)+len(options) > 1<<14 {
			return
		}
		doc, err := sample(template).Render("fuzz", []byte(options), "")
		if err == nil && !json.Valid(doc) {
			t.Errorf("template %q with %q gives %q", template, options, doc)
		}
	})
}
