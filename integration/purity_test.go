package integration

import (
	"fmt"
	"go/ast"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

// effectImports may not be imported by pure code: path or prefix ending in "/", and the reason.
var effectImports = []struct{ path, why string }{
	{"math/rand", "ids and chance come in as arguments"},
	{"math/rand/", "ids and chance come in as arguments"},
	{"crypto/rand", "ids and chance come in as arguments"},
	{"os", "files and processes belong to a shell or an edge package"},
	{"os/", "files and processes belong to a shell or an edge package"},
	{"io/ioutil", "files belong to a shell or an edge package"},
	{"golang.org/x/sys/", "the system belongs to a shell or an edge package"},
	{"net", "sockets belong to a shell or an edge package (net/netip holds addresses)"},
	{"net/", "sockets belong to a shell or an edge package"},
	{"log", "a core returns reasons, its shell logs them"},
	{"log/", "a core returns reasons, its shell logs them"},
	{"golang.org/x/sync/errgroup", "goroutines belong to a shell or an edge package"},
}

// valueImports look like effects by their prefix but hold values only.
var valueImports = []string{"net/netip", "net/url", "net/textproto", "net/mail"}

// effectNames are what pure code may not use of packages that also hold plain values.
var effectNames = []struct {
	path  string
	names *regexp.Regexp
	why   string
}{
	{"time", regexp.MustCompile(`^(Now|Since|Until|Sleep|After|AfterFunc|NewTimer|NewTicker|Tick)$`), "time comes in as an argument"},
	{"io/fs", regexp.MustCompile(`FS$|^(WalkDir|ReadDir|ReadFile|ReadLink|Glob|Stat|Lstat|Sub)$`), "files belong to a shell or an edge package"},
	{"syscall", regexp.MustCompile(`^([^E]|E[a-z])`), "the system belongs to a shell or an edge package (error numbers are values)"},
}

// checkKind holds what pure code must not contain. In a step package the files
// named shell*.go are the shell; in edge, data and test packages all is allowed.
func checkKind(r row, f *sourceFile) []string {
	shell := r.kind == "step" && strings.HasPrefix(path.Base(f.name), "shell")
	if (r.kind != "pure" && r.kind != "step") || shell || f.test || f.generated {
		return nil
	}
	var out []string
	report := func(n ast.Node, what, why string) {
		out = append(out, fmt.Sprintf("%s: %s in a %s package: %s", f.at(n), what, r.kind, why))
	}
	for p, spec := range f.imports() {
		if why := effectOf(p); why != "" {
			report(spec, "import of "+p, why)
		}
		if spec.Name != nil && spec.Name.Name == "." {
			report(spec, "dot import of "+p, "it hides what the code uses")
		}
	}
	uses := localNames(f)
	ast.Inspect(f.tree, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			report(n, "go statement", "a core has one thread, its caller's")
		case *ast.SelectStmt:
			report(n, "select statement", "its choice is random; events come in as arguments")
		case *ast.SelectorExpr:
			id, ok := n.X.(*ast.Ident)
			if !ok {
				break
			}
			for _, e := range effectNames {
				if uses[id.Name] == e.path && e.names.MatchString(n.Sel.Name) {
					report(n, path.Base(e.path)+"."+n.Sel.Name, e.why)
				}
			}
		case *ast.CallExpr:
			if sel, ok := n.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "Go" && len(n.Args) == 1 {
				report(n, "call of Go", "a core has one thread, its caller's")
			}
		}
		return true
	})
	return out
}

func effectOf(p string) string {
	if slices.Contains(valueImports, p) {
		return ""
	}
	for _, e := range effectImports {
		if p == e.path || strings.HasSuffix(e.path, "/") && strings.HasPrefix(p, e.path) {
			return e.why
		}
	}
	return ""
}

// localNames maps what the file calls each imported package to its path.
func localNames(f *sourceFile) map[string]string {
	names := make(map[string]string)
	for p, spec := range f.imports() {
		if spec.Name != nil {
			names[spec.Name.Name] = p
		} else {
			names[path.Base(p)] = p
		}
	}
	return names
}

// Each source breaks one rule; the finding must name its line and the rule.
func TestImportsRulesFindEveryBreach(t *testing.T) {
	t.Parallel()
	const table = "0 pkg/low pure\n1 pkg/mid step\n2 pkg/top edge\n2 pkg/client edge\n9 integration test\n9 integration/hosts test\n"
	long := strings.Repeat("//\n", maxFileLines) + "// Package x.\npackage x\n"
	for _, tt := range []struct{ name, file, source, want string }{
		{"clock", "pkg/low/a.go", "import \"time\"\nvar x = time.Now()", "pkg/low/a.go:4: time.Now in a pure"},
		{"renamed clock", "pkg/low/a.go", "import t \"time\"\nvar x = t.Since", "pkg/low/a.go:4: time.Since in a pure"},
		{"duration is a value", "pkg/low/a.go", "import \"time\"\nvar x = time.Second", ""},
		{"file", "pkg/low/a.go", "import \"io/fs\"\nvar x fs.FS", "pkg/low/a.go:4: fs.FS in a pure"},
		{"file error is a value", "pkg/low/a.go", "import \"io/fs\"\nvar x, y = fs.ErrNotExist, fs.ModePerm", ""},
		{"system call", "pkg/low/a.go", "import \"syscall\"\nvar x = syscall.Kill(1, 9)", "pkg/low/a.go:4: syscall.Kill in a pure"},
		{"error number is a value", "pkg/low/a.go", "import \"syscall\"\nvar x = syscall.ENOSPC", ""},
		{"rand", "pkg/low/a.go", "import _ \"math/rand/v2\"", "pkg/low/a.go:3: import of math/rand/v2"},
		{"crypto rand", "pkg/mid/a.go", "import _ \"crypto/rand\"", "import of crypto/rand in a step"},
		{"shell may", "pkg/mid/shell_disk.go", "import _ \"os\"", ""},
		{"only step has a shell", "pkg/low/shell.go", "import _ \"os\"", "import of os in a pure"},
		{"edge may", "pkg/top/a.go", "import _ \"os\"\nfunc f() { go f() }", ""},
		{"test may", "pkg/low/a_test.go", "import _ \"os\"", ""},
		{"socket", "pkg/low/a.go", "import _ \"net/http\"", "import of net/http"},
		{"address is a value", "pkg/low/a.go", "import _ \"net/netip\"", ""},
		{"log", "pkg/mid/a.go", "import _ \"log/slog\"", "import of log/slog"},
		{"goroutine", "pkg/low/a.go", "func f() { go f() }", "pkg/low/a.go:3: go statement"},
		{"hidden goroutine", "pkg/low/a.go", "import \"sync\"\nvar w sync.WaitGroup\nfunc f() { w.Go(f) }", "pkg/low/a.go:5: call of Go"},
		{"select", "pkg/low/a.go", "func f() { select {} }", "pkg/low/a.go:3: select statement"},
		{"dot import", "pkg/low/a.go", "import . \"strings\"", "dot import of strings"},
		{"upward", "pkg/mid/a.go", "import _ \"" + modulePath + "/pkg/top\"", "pkg/mid/a.go:3: pkg/mid (level 1) imports pkg/top (level 2)"},
		{"sideways", "pkg/client/a.go", "import _ \"" + modulePath + "/pkg/top\"", "imports go to a lower level only"},
		{"downward", "pkg/top/a.go", "import _ \"" + modulePath + "/pkg/low\"", ""},
		{"upward from a test", "pkg/mid/a_test.go", "import _ \"" + modulePath + "/pkg/top\"", ""},
		{"inside view", "integration/a_test.go", "import _ \"" + modulePath + "/pkg/low\"", "integration/a_test.go:3: imports pkg/low: tests of the binary"},
		{"outside view", "integration/a_test.go", "import _ \"" + modulePath + "/pkg/client\"\nimport _ \"" + modulePath + "/integration/hosts\"", ""},
		{"tests in the product", "pkg/top/a.go", "import _ \"" + modulePath + "/integration/hosts\"", "imports go to a lower level only"},
		{"unknown package", "pkg/util/a.go", "", "package pkg/util is not in integration/levels.txt"},
		{"unknown import", "pkg/top/a.go", "import _ \"" + modulePath + "/pkg/util\"", "imports pkg/util, which is not in"},
		{"long file", "pkg/top/a.go", long, "pkg/top/a.go: 802 lines, the ceiling is 800"},
		{"long generated file", "pkg/top/a.pb.go", "// Code generated by protoc. DO NOT EDIT.\n" + long, ""},
		{"no package comment", "pkg/top/a.go", "package x\n", "pkg/top: no package comment"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			source := tt.source
			if !strings.Contains(source, "package x\n") {
				source = "// Package x.\npackage x\n" + source + "\n"
			}
			root := fstest.MapFS{"integration/levels.txt": {Data: []byte(table)}, tt.file: {Data: []byte(source)}}
			rows, err := readTable(root)
			if err != nil {
				t.Fatal(err)
			}
			files, err := readSources(root)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(checkTree(rows, files), "\n")
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("%s:\n%s\ngot %q, want %q", tt.file, tt.source, got, tt.want)
			}
		})
	}
}

func TestImportsRulesFindALargePackage(t *testing.T) {
	t.Parallel()
	root := fstest.MapFS{"integration/levels.txt": {Data: []byte("0 pkg/low pure\n")}}
	for i := range maxPackageLines/700 + 1 {
		root["pkg/low/"+strconv.Itoa(i)+".go"] = &fstest.MapFile{Data: []byte("// Package low.\npackage low\n" + strings.Repeat("//\n", 700))}
	}
	rows, err := readTable(root)
	if err != nil {
		t.Fatal(err)
	}
	files, err := readSources(root)
	if err != nil {
		t.Fatal(err)
	}
	got := checkTree(rows, files)
	if len(got) != 1 || !strings.Contains(got[0], "the ceiling of a package is 6000") {
		t.Errorf("9 files of 702 lines: got %q, want one finding about the size", got)
	}
}

func TestImportsTopDirectoryIsFixed(t *testing.T) {
	t.Parallel()
	root := fstest.MapFS{"integration/levels.txt": {Data: []byte("- integration top\n")}, "bin/dcos": {}, ".ci/run": {}, "scratch.go": {}}
	rows, err := readTable(root)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := root.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	if got := checkTop(rows, entries); len(got) != 1 || !strings.HasPrefix(got[0], "scratch.go: ") {
		t.Errorf("got %q, want one finding about scratch.go", got)
	}
}

func TestImportsTableRejectsBadLines(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"0 pkg/low", "x pkg/low pure", "0 pkg/low virtual", "0 pkg/low pure\n1 pkg/low edge"} {
		root := fstest.MapFS{"integration/levels.txt": {Data: []byte(text)}}
		if rows, err := readTable(root); err == nil {
			t.Errorf("table %q was accepted as %v", text, rows)
		}
	}
}
