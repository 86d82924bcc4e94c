package integration

import (
	"bufio"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	modulePath = "github.com/dcos-go/dcos"

	maxFileLines    = 800
	maxPackageLines = 6000
)

// row is one line of levels.txt.
type row struct {
	level int
	path  string // below the module
	kind  string // pure, step, edge, data or test; top for a name in the top directory
}

// sourceFile is one parsed Go file of the module.
type sourceFile struct {
	name      string // below the module
	dir       string
	lines     int
	generated bool
	test      bool
	set       *token.FileSet
	tree      *ast.File
}

// at prints the place of a node as file:line.
func (f *sourceFile) at(n ast.Node) string {
	return fmt.Sprintf("%s:%d", f.name, f.set.Position(n.Pos()).Line)
}

// imports returns the paths that the file imports, each with its node.
func (f *sourceFile) imports() map[string]*ast.ImportSpec {
	m := make(map[string]*ast.ImportSpec)
	for _, spec := range f.tree.Imports {
		if p, err := strconv.Unquote(spec.Path.Value); err == nil {
			m[p] = spec
		}
	}
	return m
}

func TestImportsOfThisModuleFollowTheTable(t *testing.T) {
	t.Parallel()
	root := os.DirFS("..")
	table, err := readTable(root)
	if err != nil {
		t.Fatal(err)
	}
	files, err := readSources(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 2 {
		t.Fatalf("found %d Go files: the test looks at the wrong directory", len(files))
	}
	for _, finding := range checkTree(table, files) {
		t.Error(finding)
	}
	top, err := fs.ReadDir(root, ".")
	if err != nil {
		t.Fatal(err)
	}
	for _, finding := range checkTop(table, top) {
		t.Error(finding)
	}
}

// checkTop keeps the top directory what a newcomer can take in at one look.
func checkTop(table map[string]row, entries []fs.DirEntry) []string {
	var out []string
	for _, e := range entries {
		name := e.Name()
		if _, ok := table["/"+name]; !ok && name[0] != '.' && name != "bin" && name != "dist" {
			out = append(out, name+": does not belong into the top directory, which integration/levels.txt lists")
		}
	}
	return out
}

// checkTree holds every rule; each finding names a place, the rule and the reason.
func checkTree(table map[string]row, files []*sourceFile) []string {
	var out []string
	for _, f := range files {
		r, ok := table[f.dir]
		if !ok {
			out = append(out, fmt.Sprintf("%s: package %s is not in integration/levels.txt: give it a level and a kind", f.name, f.dir))
			continue
		}
		out = append(out, checkImports(table, r, f)...)
		out = append(out, checkKind(r, f)...)
		if f.lines > maxFileLines && !f.generated {
			out = append(out, fmt.Sprintf("%s: %d lines, the ceiling is %d: split it by idea", f.name, f.lines, maxFileLines))
		}
	}
	out = append(out, checkPackages(files)...)
	slices.Sort(out)
	return slices.Compact(out)
}

// checkImports compares levels. Test files of the product may import anything that compiles.
func checkImports(table map[string]row, from row, f *sourceFile) []string {
	if f.test && from.kind != "test" {
		return nil
	}
	var out []string
	for p, spec := range f.imports() {
		target, ours := strings.CutPrefix(p, modulePath+"/")
		if !ours {
			continue
		}
		to, ok := table[target]
		switch {
		case !ok:
			out = append(out, fmt.Sprintf("%s: imports %s, which is not in integration/levels.txt", f.at(spec), target))
		case from.kind == "test" && target != "pkg/client" && to.kind != "test":
			out = append(out, fmt.Sprintf("%s: imports %s: tests of the binary see it from outside, by pkg/client only", f.at(spec), target))
		case from.kind != "test" && to.level >= from.level:
			out = append(out, fmt.Sprintf("%s: %s (level %d) imports %s (level %d): imports go to a lower level only; upward talk is by watching state, or by an interface that lives with its consumer",
				f.at(spec), from.path, from.level, target, to.level))
		}
	}
	return out
}

// checkPackages looks at what only the files of a package together can show.
func checkPackages(files []*sourceFile) []string {
	lines, documented, seen := map[string]int{}, map[string]bool{}, map[string]bool{}
	for _, f := range files {
		seen[f.dir] = true
		if !f.test && !f.generated {
			lines[f.dir] += f.lines
		}
		documented[f.dir] = documented[f.dir] || f.tree.Doc != nil
	}
	var out []string
	for dir := range seen {
		if !documented[dir] {
			out = append(out, dir+": no package comment: say what it owns, what it promises and what it must not do")
		}
		if lines[dir] > maxPackageLines {
			out = append(out, fmt.Sprintf("%s: %d lines, the ceiling of a package is %d: it holds two ideas", dir, lines[dir], maxPackageLines))
		}
	}
	return out
}

// readTable parses levels.txt. Packages are keyed by path, names of the top directory by "/" and name.
func readTable(root fs.FS) (map[string]row, error) {
	file, err := root.Open("integration/levels.txt")
	if err != nil {
		return nil, fmt.Errorf("read the table of packages: %w", err)
	}
	defer file.Close()
	table := make(map[string]row)
	lines := bufio.NewScanner(file)
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(text)
		if len(fields) == 0 {
			continue
		}
		if len(fields) != 3 || !slices.Contains([]string{"pure", "step", "edge", "data", "test", "top"}, fields[2]) {
			return nil, fmt.Errorf("levels.txt:%d: want level, path and kind (pure, step, edge, data, test, top), got %q", n, text)
		}
		if fields[2] == "top" {
			table["/"+fields[1]] = row{path: fields[1], kind: "top"}
			continue
		}
		level, err := strconv.Atoi(fields[0])
		if err != nil {
			return nil, fmt.Errorf("levels.txt:%d: level: %w", n, err)
		}
		if _, twice := table[fields[1]]; twice {
			return nil, fmt.Errorf("levels.txt:%d: %s is listed twice", n, fields[1])
		}
		table[fields[1]] = row{level, fields[1], fields[2]}
	}
	return table, lines.Err()
}

// readSources parses every Go file of the module, for all systems and build tags.
func readSources(root fs.FS) ([]*sourceFile, error) {
	var out []*sourceFile
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := path.Base(name)
		if d.IsDir() {
			if name != "." && (base == "testdata" || base == "node_modules" || base == "vendor" || base[0] == '.' || base[0] == '_') {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(base) != ".go" || base[0] == '.' || base[0] == '_' {
			return nil
		}
		f, err := readSource(root, name)
		if err == nil {
			out = append(out, f)
		}
		return err
	})
	return out, err
}

func readSource(root fs.FS, name string) (*sourceFile, error) {
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	set := token.NewFileSet()
	tree, err := parser.ParseFile(set, name, text, parser.ParseComments)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", name, err)
	}
	return &sourceFile{
		name: name, dir: path.Dir(name), set: set, tree: tree,
		lines:     strings.Count(string(text), "\n"),
		generated: ast.IsGenerated(tree),
		test:      strings.HasSuffix(name, "_test.go"),
	}, nil
}
