package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

const (
	goodMakefile = "test: lint short\n\tgo vet\nlint: imports ## all\n\ntags := a:b\nimports:\n\tgo test\nshort:\n\t@$(MAKE) integration RUN='^TestA'\nintegration: build\nbuild:\nbench:\n"
	goodScript   = "#!/bin/sh\n# make bench is not run\n.ci/need build\nmake test\n"
	onePass      = "package integration\nimport \"testing\"\nfunc TestApple(t *testing.T) {}\n"
)

func proofOf(lines ...string) string {
	return "issues:\n- issue: 3\n  title: t\n  run: ^TestA\n  lines:\n  - " + strings.Join(lines, "\n  - ") + "\n"
}

// module makes a small module with one integration package and works in it.
func module(t *testing.T, source, proof string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":                        "module example.org/m\n\ngo 1.26\n",
		"Makefile":                      goodMakefile,
		".ci/run":                       goodScript,
		"integration/proof.yaml":        proof,
		"integration/a_test.go":         source,
		"integration/tools/x/x_test.go": "package x\nthis does not compile, and must not be run\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
}

// Real runs of go test: whatever is not a clean pass must end in an error and in one line of counts.
func TestOnlyACleanRunIsProven(t *testing.T) {
	const named = "{done: d, test: [TestApple]}"
	for _, tt := range []struct{ name, source, proof, run, want, counts string }{
		{"pass", onePass, proofOf(named), "^TestA", "", "1 passed, 0 failed, 0 skipped"},
		{"failure", onePass + "func TestAnt(t *testing.T) { t.Error(\"ant lost\") }\n", proofOf(named), "^TestA", "ant lost", "1 passed, 1 failed, 0 skipped"},
		{"skip", onePass + "func TestAnt(t *testing.T) { t.Skip(\"no legs\") }\n", proofOf(named), "^TestA", "no legs", "1 passed, 0 failed, 1 skipped"},
		{"skipped part", onePass + "func TestAnt(t *testing.T) { t.Run(\"leg\", func(t *testing.T) { t.Skip() }) }\n", proofOf(named), "^TestA", "SKIP  TestAnt/leg", "1 passed, 0 failed, 1 skipped"},
		{"nothing matched", onePass, proofOf(named), "^TestZ", "no test matches", "0 passed, 0 failed, 0 skipped"},
		{"named test is missing", onePass, proofOf("{done: d, test: [TestApple, TestArrow]}"), "^TestA", "test TestArrow does not exist", "1 passed, 0 failed, 0 skipped"},
		{"named test failed", strings.Replace(onePass, "{}", "{ t.Fail() }", 1), proofOf(named), "^TestA", "test TestApple: fail", "0 passed, 1 failed, 0 skipped"},
		{"does not compile", onePass + "func TestAnt(", proofOf(named), "^TestA", "package example.org/m/integration failed", "0 passed, 0 failed, 0 skipped"},
		{"crash", onePass + "func TestAnt(t *testing.T) { c := make(chan int); go func() { panic(\"ant died\") }(); <-c }\n", proofOf(named), "^TestA", "ant died", "1 passed, 1 failed, 0 skipped"},
		{"target is not run by CI", onePass, proofOf(named, "{done: e, ci: [bench]}"), "^TestA", `does not reach the make target "bench"`, "1 passed, 0 failed, 0 skipped"},
		{"other tests' lines are not judged", onePass, proofOf("{done: d, test: [TestArrow]}", "{done: e, ci: [bench]}"), "^TestApple$", "", "1 passed, 0 failed, 0 skipped"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			module(t, tt.source, tt.proof)
			var out strings.Builder
			err := prove(t.Context(), &out, tt.run, time.Minute)
			if (err == nil) != (tt.want == "") || !strings.Contains(out.String(), tt.want) {
				t.Errorf("error %v, output:\n%s\nwant %q", err, out.String(), tt.want)
			}
			lines := strings.Split(strings.TrimSpace(out.String()), "\n")
			if last := lines[len(lines)-1]; last != tt.counts {
				t.Errorf("last line %q, want %q", last, tt.counts)
			}
			if n := len(regexp.MustCompile(`(?m)^\d+ passed, `).FindAllString(out.String(), -1)); n != 1 {
				t.Errorf("%d lines of counts, want 1:\n%s", n, out.String())
			}
		})
	}
}

// Whoever sees only the end of a log finds the cause there: behind what failed
// comes nothing but the counts, and hosts' logs do not push it out.
func TestTheEndOfTheOutputSaysInShortWhatFailed(t *testing.T) {
	module(t, onePass+`func TestAnt(t *testing.T) {
	t.Log("the ant set out")
	t.Error("the ant is lost")
	for range 3 {
		t.Log("log of a host" + strings.Repeat("\nline", 1000))
	}
}
func TestAsp(t *testing.T) {
	t.Run("bite", func(t *testing.T) {
		for i := range 100 { t.Log("bite", i) }
		t.Fatal(strings.Repeat("no teeth ", 1000))
	})
}
`, proofOf("{done: d, test: [TestApple]}"))
	name := filepath.Join("integration", "a_test.go")
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	text = []byte(strings.Replace(string(text), `import "testing"`, `import ("strings"; "testing")`, 1))
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := prove(t.Context(), &out, "^TestA", time.Minute); err == nil {
		t.Error("it is proven")
	}
	end := out.String()[strings.Index(out.String(), "FAILED: "):]
	if n := strings.Count(end, "\n"); n > 45 || len(end) > 6000 {
		t.Errorf("the end has %d lines, %d bytes", n, len(end))
	}
	for _, want := range []string{"FAILED: TestAnt\n", "the ant set out", "the ant is lost", "FAILED: TestAsp\n", "bite 99", "no teeth"} {
		if !strings.Contains(end, want) {
			t.Errorf("the end lacks %q:\n%s", want, end)
		}
	}
	if strings.Contains(end, "bite 50\n") {
		t.Errorf("the end is long:\n%s", end)
	}
}

func TestTheDigestOfACrashIsItsBeginning(t *testing.T) {
	output := []string{"    a_test.go:1: before\n", "panic: ant died\n", "\n", "goroutine 7 [running]:\n"}
	for i := range 100 {
		output = append(output, fmt.Sprintf("frame %d\n", i))
	}
	got := digest(output)
	if len(got) != digestLines || got[0] != "panic: ant died" || got[1] != "goroutine 7 [running]:" {
		t.Errorf("got %q", got)
	}
}

func TestProofFileThatShowsNothingIsRefused(t *testing.T) {
	for _, tt := range []struct{ name, proof, want string }{
		{"nothing shows it", proofOf("{done: d}"), "nothing shows it"},
		{"unknown key", proofOf("{done: d, tests: [TestA]}"), "unknown field"},
		{"test outside of run", proofOf("{done: d, test: [TestB]}"), "so nothing would check it"},
		{"note without commit", proofOf("{done: d, note: {command: make up, last: [ok]}}"), "a note needs command, commit"},
		{"note without output", proofOf("{done: d, note: {command: make up, commit: 0123abcd}}"), "a note needs command, commit"},
		{"no lines", "issues: [{issue: 3, run: ^TestA}]", "needs a number, lines"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			module(t, onePass, tt.proof)
			if _, err := readProof(".", "."); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("proof %s\ngot %v, want %q", tt.proof, err, tt.want)
			}
		})
	}
}

func TestProofFileAcceptsEachKindOfProof(t *testing.T) {
	module(t, onePass, proofOf("{done: a, test: [TestA1, TestA2]}", "{done: b, ci: [imports, short, integration, build]}", "{done: c, note: {command: make up, commit: 0123abcd, last: [ok]}}"))
	got, err := readProof(".", "^TestA/part")
	if want := "[{3 a TestA1} {3 a TestA2}]"; err != nil || fmt.Sprint(got) != want {
		t.Errorf("got %v, %v; want %s", got, err, want)
	}
}

// The file of this repository must be good at any time, also between full runs.
func TestOwnProofFileIsWellFormed(t *testing.T) {
	if _, err := readProof("../../..", "."); err != nil {
		t.Error(err)
	}
}
