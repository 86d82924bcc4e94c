package packages_test

import (
	"testing"

	"github.com/dcos-go/dcos/packages"
	"github.com/dcos-go/dcos/pkg/app"
	"github.com/dcos-go/dcos/pkg/catalog"
)

func load(t *testing.T) *catalog.Catalog {
	t.Helper()
	c, err := catalog.Load(packages.Source, packages.Files())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestEveryBundledPackageRendersToAValidApp(t *testing.T) {
	t.Parallel()
	found := load(t).Search("")
	if len(found) < 2 {
		t.Fatalf("%d packages, want at least hello-world and redis", len(found))
	}
	for _, p := range found {
		doc, err := p.Render(packages.Source, nil, "")
		if err != nil {
			t.Errorf("%s: %v", p.Name, err)
			continue
		}
		a, err := app.Parse(doc)
		if err != nil {
			t.Errorf("%s: %v\n%s", p.Name, err, doc)
			continue
		}
		if string(a.ID) != "/"+p.Name || a.Labels["DCOS_PACKAGE_NAME"] != p.Name || a.RequirePorts {
			t.Errorf("%s: id %s, labels %v, ports required: %v", p.Name, a.ID, a.Labels, a.RequirePorts)
		}
	}
}

func TestAFixedPortIsRequiredOfTheMachine(t *testing.T) {
	t.Parallel()
	c := load(t)
	for name, options := range map[string]string{
		"hello-world": `{"hello":{"port":8123,"fixed_port":true}}`,
		"redis":       `{"redis":{"port":8123,"fixed_port":true}}`,
	} {
		p, err := c.Get(name, "")
		if err != nil {
			t.Fatal(err)
		}
		doc, err := p.Render(packages.Source, []byte(options), "/x")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		a, err := app.Parse(doc)
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, doc)
		}
		if !a.RequirePorts || a.Ports[0].Port != 8123 || a.ID != "/x" {
			t.Errorf("%s: id %s, ports %v, required %v", name, a.ID, a.Ports, a.RequirePorts)
		}
	}
}
