package sim

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var m0 = context.Background()

func self(t *testing.T) []string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return []string{exe}
}

func TestManySeedsRunInProcessesAndPrintWhatHappened(t *testing.T) {
	var out bytes.Buffer
	if err := Command(t.Context(), self(t), []string{"--seeds", "7", "--from", "20", "--minutes", "4", "--jobs", "2"}, &out); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	if text := out.String(); !strings.Contains(text, "\nsim: 7 seeds of 4m0s in ") || !strings.Contains(text, " 0 failures") || !strings.HasPrefix(text, "fault: ") {
		t.Errorf("got %q", text)
	}
}

func TestReplayCheckComparesWholeTraces(t *testing.T) {
	var out bytes.Buffer
	if err := Command(t.Context(), self(t), []string{"--seeds", "2", "--minutes", "4", "--replay-check"}, &out); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	if !strings.Contains(out.String(), "2 seeds replayed, traces equal byte for byte") {
		t.Errorf("got %q", out.String())
	}
}

func TestAFailureNamesItsSeedAndHowToSeeItAgain(t *testing.T) {
	var out bytes.Buffer
	report(&out, Options{Length: 2 * Least}, Outcome{Seed: 17, Violation: "two leaders", At: "3.5", Last: []string{"before it"}}, true)
	for _, want := range []string{"before it\n", "seed 17 fails at 3.5 s", "two leaders", "dcos sim --seed 17 --minutes 8 --trace"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in %q", want, out.String())
		}
	}
}

func TestBadOptionsAreRefused(t *testing.T) {
	for _, args := range [][]string{{"--minutes", "1"}, {"extra"}, {"--nonsense"}, {"--seeds", "x"}} {
		var out bytes.Buffer
		if err := Command(t.Context(), []string{"sim"}, args, &out); err == nil || errors.Is(err, ErrFound) {
			t.Errorf("%v: got error %v", args, err)
		}
	}
}

func TestAChildThatDiesIsAnErrorNotAFailure(t *testing.T) {
	var out bytes.Buffer
	err := Command(t.Context(), []string{"/bin/false"}, []string{"--seeds", "2"}, &out)
	if err == nil || errors.Is(err, ErrFound) || !strings.Contains(err.Error(), "the process for seeds 1 to 2") {
		t.Errorf("got %v", err)
	}
}

// A mutant whose text has changed in the real file must be written anew.
func TestEveryMutantFitsItsFile(t *testing.T) {
	root, err := sourceRoot("")
	if err != nil {
		t.Fatal(err)
	}
	all, err := readMutants(root, "")
	if err != nil {
		t.Fatal(err)
	}
	missing := map[string]bool{"consensus": true, "state": true, "scheduler": true, "dispatch": true, "agent": true}
	for _, m := range all {
		source, err := os.ReadFile(filepath.Join(root, m.file))
		if err != nil {
			t.Errorf("%s: %v", m.name, err)
			continue
		}
		if _, err := m.plant(string(source)); err != nil {
			t.Error(err)
		}
		delete(missing, filepath.Base(filepath.Dir(m.file)))
	}
	if len(all) < 6 || len(missing) > 0 {
		t.Errorf("%d mutants, none in %v", len(all), missing)
	}
}

func TestMutantsThatRotAreErrors(t *testing.T) {
	const good = "file: a.go\nbreaks: all\n--- before\nx := 1\n--- after\nx := 2\n"
	m, err := parseMutant("m", good)
	if err != nil || m.before != "x := 1" || m.after != "x := 2" {
		t.Fatalf("got %+v, %v", m, err)
	}
	if got, err := m.plant("f\nx := 1\ng"); err != nil || got != "f\nx := 2\ng" {
		t.Errorf("got %q, %v", got, err)
	}
	for _, source := range []string{"", "x := 1 x := 1"} {
		if _, err := m.plant(source); err == nil {
			t.Errorf("planted in %q", source)
		}
	}
	for _, text := range []string{"", "file: a\n--- before\nx\n", strings.Replace(good, "x := 2", "x := 1", 1), strings.Replace(good, "file", "fil", 1), strings.Replace(good, "breaks", "b", 1)} {
		if _, err := parseMutant("m", text); err == nil {
			t.Errorf("taken: %q", text)
		}
	}
}

func TestMutantsNeedASourceTree(t *testing.T) {
	var out bytes.Buffer
	err := Command(t.Context(), []string{"sim"}, []string{"--mutant", "any", "--source", t.TempDir()}, &out)
	if err == nil || !strings.Contains(err.Error(), "--source") {
		t.Errorf("got %v", err)
	}
	t.Setenv("PATH", t.TempDir())
	err = Command(t.Context(), []string{"sim"}, []string{"--mutant", "any"}, &out)
	if err == nil || !strings.Contains(err.Error(), "Go toolchain") {
		t.Errorf("got %v", err)
	}
}
