package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strings"
)

const maxFileLines = 800

// measures are the raw counts over a tree of Go files, tests apart.
type measures struct {
	fileLines, funcLines  []int
	testLines             int
	packages              int
	exported, exportedDoc int
	wraps, goStmts        int
	globals               int

	bare   []string // packages without a comment
	long   []string // files over the ceiling
	sleeps []string // places of time.Sleep in tests
}

// breaches names what is wrong without exception.
func (m *measures) breaches() []string {
	var out []string
	for _, p := range m.bare {
		out = append(out, p+": package without a comment")
	}
	for _, f := range m.long {
		out = append(out, fmt.Sprintf("%s: over %d lines", f, maxFileLines))
	}
	for _, s := range m.sleeps {
		out = append(out, s+": time.Sleep in a test: wait for the event, or use testing/synctest")
	}
	return out
}

// measureTree reads every Go file below root that belongs to the module.
func measureTree(root fs.FS) (*measures, error) {
	m := &measures{}
	documented := map[string]bool{}
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := path.Base(name)
		if d.IsDir() {
			if name != "." && (base == "testdata" || base == "node_modules" || base[0] == '.' || base[0] == '_') {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(base) != ".go" {
			return nil
		}
		hasDoc, err := m.addFile(root, name)
		documented[path.Dir(name)] = documented[path.Dir(name)] || hasDoc
		return err
	})
	for dir, has := range documented {
		m.packages++
		if !has {
			m.bare = append(m.bare, dir)
		}
	}
	slices.Sort(m.bare)
	return m, err
}

// addFile measures one file and says whether it carries a package comment.
func (m *measures) addFile(root fs.FS, name string) (bool, error) {
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return false, fmt.Errorf("read %s: %w", name, err)
	}
	set := token.NewFileSet()
	tree, err := parser.ParseFile(set, name, text, parser.ParseComments)
	if err != nil {
		return false, fmt.Errorf("parse %s: %w", name, err)
	}
	hasDoc := tree.Doc != nil
	if ast.IsGenerated(tree) {
		return hasDoc, nil
	}
	lines := strings.Count(string(text), "\n")
	if lines > maxFileLines {
		m.long = append(m.long, name)
	}
	if strings.HasSuffix(name, "_test.go") {
		m.testLines += lines
		m.addSleeps(set, tree)
		return hasDoc, nil
	}
	m.fileLines = append(m.fileLines, lines)
	m.wraps += strings.Count(string(text), "%w")
	for _, d := range tree.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			m.funcLines = append(m.funcLines, set.Position(d.End()).Line-set.Position(d.Pos()).Line+1)
			if d.Name.IsExported() && (d.Recv == nil || exportedReceiver(d.Recv)) {
				m.addExported(d.Doc != nil)
			}
		case *ast.GenDecl:
			m.addDecl(d)
		}
	}
	ast.Inspect(tree, func(n ast.Node) bool {
		if _, ok := n.(*ast.GoStmt); ok {
			m.goStmts++
		}
		return true
	})
	return hasDoc, nil
}

func (m *measures) addExported(hasDoc bool) {
	m.exported++
	if hasDoc {
		m.exportedDoc++
	}
}

// addDecl counts exported types, constants and variables; a comment on their
// group or behind the name counts as well. Package variables named _ are no variables.
func (m *measures) addDecl(d *ast.GenDecl) {
	for _, spec := range d.Specs {
		switch s := spec.(type) {
		case *ast.TypeSpec:
			if s.Name.IsExported() {
				m.addExported(s.Doc != nil || d.Doc != nil || s.Comment != nil)
			}
		case *ast.ValueSpec:
			for _, name := range s.Names {
				if name.IsExported() {
					m.addExported(s.Doc != nil || d.Doc != nil || s.Comment != nil)
				}
			}
			if d.Tok == token.VAR && s.Names[0].Name != "_" {
				m.globals++
			}
		}
	}
}

func (m *measures) addSleeps(set *token.FileSet, tree *ast.File) {
	ast.Inspect(tree, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == "Sleep" {
			if id, ok := sel.X.(*ast.Ident); ok && id.Name == "time" {
				at := set.Position(n.Pos())
				m.sleeps = append(m.sleeps, fmt.Sprintf("%s:%d", at.Filename, at.Line))
			}
		}
		return true
	})
}

func exportedReceiver(recv *ast.FieldList) bool {
	t := recv.List[0].Type
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	switch generic := t.(type) {
	case *ast.IndexExpr:
		t = generic.X
	case *ast.IndexListExpr:
		t = generic.X
	}
	id, ok := t.(*ast.Ident)
	return ok && id.IsExported()
}
