package catalog

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// Catalog is every package of a repository, by name and then newest release
// first.
type Catalog struct {
	Source   string // where it is from, shown to users
	packages []*Package
}

// Load reads a repository in Universe's source layout:
// <Initial>/<name>/<release>/{package.json,config.json,marathon.json.mustache,resource.json}.
// repo is file contents by path. It fails on the first package that is not
// right, naming the folder.
func Load(source string, repo map[string][]byte) (*Catalog, error) {
	dirs := map[string]bool{}
	for name := range repo {
		if strings.Count(name, "/") != 3 {
			return nil, fmt.Errorf("%w: %s is not at <Initial>/<name>/<release>/<part>", dcos.ErrInvalid, name)
		}
		dirs[path.Dir(name)] = true
	}
	c := &Catalog{Source: source}
	for _, dir := range slices.Sorted(maps.Keys(dirs)) {
		p, err := loadRelease(repo, dir)
		if err != nil {
			return nil, fmt.Errorf("read package %s: %w", dir, err)
		}
		c.packages = append(c.packages, p)
	}
	slices.SortFunc(c.packages, func(a, b *Package) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(b.Release, a.Release))
	})
	return c, nil
}

func loadRelease(repo map[string][]byte, dir string) (*Package, error) {
	release, err := strconv.ParseInt(path.Base(dir), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%w: the folder's name must be the release number", dcos.ErrInvalid)
	}
	doc, err := readPart(repo, dir, "package.json")
	if err != nil {
		return nil, err
	}
	p := &Package{}
	if err := decodeStrict(doc, p); err != nil {
		return nil, fmt.Errorf("package.json: %w", err)
	}
	p.Release = release
	if want := path.Base(path.Dir(dir)); p.Name != want {
		return nil, fmt.Errorf("%w: package.json names %q, the folder %q", dcos.ErrInvalid, p.Name, want)
	}
	if p.Config, err = readJSON(repo, dir, "config.json"); err != nil {
		return nil, err
	}
	if p.Resource, err = readJSON(repo, dir, "resource.json"); err != nil {
		return nil, err
	}
	if _, ok := repo[path.Join(dir, "marathon.json.mustache")]; ok {
		template, err := readPart(repo, dir, "marathon.json.mustache")
		if err != nil {
			return nil, err
		}
		p.Marathon = &Template{template}
	}
	return p, p.check()
}

func readPart(repo map[string][]byte, dir, name string) ([]byte, error) {
	b, ok := repo[path.Join(dir, name)]
	if !ok {
		return nil, fmt.Errorf("%w: %s is not there", dcos.ErrInvalid, name)
	}
	if len(b) > maxDocument {
		return nil, fmt.Errorf("%w: %s has %d bytes, expected at most %d", dcos.ErrInvalid, name, len(b), maxDocument)
	}
	return b, nil
}

// readJSON reads an optional part; nil when it is not there.
func readJSON(repo map[string][]byte, dir, name string) (json.RawMessage, error) {
	if _, ok := repo[path.Join(dir, name)]; !ok {
		return nil, nil
	}
	b, err := readPart(repo, dir, name)
	if err != nil {
		return nil, err
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, b); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", dcos.ErrInvalid, name, err)
	}
	return compact.Bytes(), nil
}

func decodeStrict(doc []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(doc))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("%w: %w", dcos.ErrInvalid, err)
	}
	return nil
}

// Get is a package's release by version, or its newest for "". The error says
// whether the name or the version is not there.
func (c *Catalog) Get(name, version string) (*Package, error) {
	var newest *Package
	for _, p := range c.packages {
		if p.Name != name {
			continue
		}
		if p.Version == version || version == "" {
			return p, nil
		}
		newest = p
	}
	if newest != nil {
		return nil, &NotFound{Name: name, Version: version}
	}
	return nil, &NotFound{Name: name}
}

// NotFound says which package, or which version of it, is not in the catalog.
type NotFound struct {
	Name    string
	Version string // "": no version at all
}

// Error names what is missing, in Cosmos' words.
func (e *NotFound) Error() string {
	if e.Version != "" {
		return fmt.Sprintf("Version [%s] of package [%s] not found", e.Version, e.Name)
	}
	return fmt.Sprintf("Package [%s] not found", e.Name)
}

// Unwrap makes it a dcos.ErrNotFound.
func (e *NotFound) Unwrap() error { return dcos.ErrNotFound }

// Versions are all releases of a package, newest first.
func (c *Catalog) Versions(name string) []*Package {
	var out []*Package
	for _, p := range c.packages {
		if p.Name == name {
			out = append(out, p)
		}
	}
	return out
}

// Search finds packages by a word in name, description or tags (any case), or
// by a glob when the query has a *; "" finds all. One element per package, its
// newest release; selected ones first, then by name.
func (c *Catalog) Search(query string) []*Package {
	match := matcher(query)
	var out []*Package
	for i, p := range c.packages {
		if i > 0 && c.packages[i-1].Name == p.Name {
			continue // an older release
		}
		if match(p.Name) || match(p.Description) || slices.ContainsFunc(p.Tags, match) {
			out = append(out, p)
		}
	}
	slices.SortStableFunc(out, func(a, b *Package) int {
		switch {
		case a.Selected == b.Selected:
			return strings.Compare(a.Name, b.Name)
		case a.Selected:
			return -1
		}
		return 1
	})
	return out
}

func matcher(query string) func(string) bool {
	if strings.Contains(query, "*") {
		parts := strings.Split(query, "*")
		for i, p := range parts {
			parts[i] = regexp.QuoteMeta(p)
		}
		return regexp.MustCompile("(?s)^" + strings.Join(parts, ".*") + "$").MatchString
	}
	word := strings.ToLower(query)
	return func(text string) bool { return strings.Contains(strings.ToLower(text), word) }
}
