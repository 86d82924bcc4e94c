package app_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dcos-go/dcos/pkg/app"
	"github.com/dcos-go/dcos/pkg/dcos"
)

func TestParseReadsArtifactsInBothForms(t *testing.T) {
	t.Parallel()
	sum := "sha256:" + strings.Repeat("a", 64)
	for _, tt := range []struct {
		fields string
		want   []dcos.Artifact
	}{
		{`"fetch":[{"uri":"http://x/y.tgz"}]`, []dcos.Artifact{{URI: "http://x/y.tgz", Extract: true}}},
		{
			`"fetch":[{"uri":"/opt/a","extract":false,"executable":true,"cache":true,"destPath":"b/c","checksum":"` + sum + `"}]`,
			[]dcos.Artifact{{URI: "/opt/a", Executable: true, Cache: true, Dest: "b/c", Checksum: sum}},
		},
		{`"uris":["https://x/a.tar.gz","https://x/b"]`, []dcos.Artifact{{URI: "https://x/a.tar.gz", Extract: true}, {URI: "https://x/b"}}},
		{`"uris":[],"fetch":[{"uri":"http://x/y"}]`, []dcos.Artifact{{URI: "http://x/y", Extract: true}}},
		{`"fetch":[{"uri":"http://x/y"}],"uris":[]`, []dcos.Artifact{{URI: "http://x/y", Extract: true}}},
		{`"fetch":[],"uris":[]`, nil},
		{`"fetch":null`, nil},
	} {
		a, err := app.Parse([]byte(`{"id":"a","cmd":"sleep 1",` + tt.fields + `}`))
		if diff := cmp.Diff(tt.want, a.Fetch); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", tt.fields, err, diff)
			continue
		}
		text, err := json.Marshal(app.Render(&a))
		if err != nil {
			t.Fatal(err)
		}
		again, err := app.Parse(text)
		if diff := cmp.Diff(a.Fetch, again.Fetch); err != nil || diff != "" {
			t.Errorf("%s: written and read: %v\n%s", tt.fields, err, diff)
		}
	}
	for _, tt := range []struct{ fields, path string }{
		{`"fetch":[{}]`, "/fetch(0)/uri"},
		{`"fetch":[{"uri":""}]`, "/fetch(0)"},
		{`"fetch":[{"uri":"x"}]`, "/fetch(0)"},
		{`"fetch":[{"uri":"http://x/y"},{"uri":"git://x/y"}]`, "/fetch(1)"},
		{`"fetch":[{"uri":"ftp://x/y"}]`, "/fetch(0)"},
		{`"fetch":[{"uri":"file://host/y"}]`, "/fetch(0)"},
		{`"fetch":[{"uri":"http:///y"}]`, "/fetch(0)"},
		{`"fetch":[{"uri":"http://x/%zz"}]`, "/fetch(0)"},
		{`"fetch":[{"uri":"http://x/y","destPath":"../y"}]`, "/fetch(0)"},
		{`"fetch":[{"uri":"http://x/y","destPath":"/y"}]`, "/fetch(0)"},
		{`"fetch":[{"uri":"http://x/y","checksum":"md5:1"}]`, "/fetch(0)"},
		{`"fetch":[{"uri":"http://x/y","outputFile":"z"}]`, "/fetch(0)/outputFile"},
		{`"fetch":[{"uri":"http://x/` + strings.Repeat("y", 1024) + `"}]`, "/fetch(0)"},
		{`"fetch":[` + strings.Repeat(`{"uri":"http://x/y"},`, 64) + `{"uri":"http://x/y"}]`, "/fetch"},
		{`"uris":["x"]`, "/uris(0)"},
		{`"uris":["http://x/a"],"fetch":[{"uri":"http://x/y"}]`, "/fetch"},
		{`"fetch":[{"uri":"http://x/y"}],"uris":["http://x/a"]`, "/uris"},
	} {
		_, err := app.Parse([]byte(`{"id":"a","cmd":"sleep 1",` + tt.fields + `}`))
		var bad *dcos.InvalidFields
		if !errors.As(err, &bad) || bad.Fields[0].Path != tt.path {
			t.Errorf("%.80s: %v, want a fault at %s", tt.fields, err, tt.path)
		}
	}
}
