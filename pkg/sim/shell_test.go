package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
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
	report(&out, Options{Length: 2 * Least}, Outcome{Seed: 17, Violation: "two leaders", At: "3.5", Events: 9, Last: []string{"before it"}}, true)
	for _, want := range []string{"before it\n", "seed 17 fails at 3.5 s, 9 events", "two leaders", "dcos sim --seed 17 --minutes 8 --trace"} {
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

// A failure must be seen again: the run, to the byte, and what is wrong. A bug
// is planted, found as `make sim` finds it, and replayed.
func TestASeedThatFailsIsReplayedIdenticallyTenTimes(t *testing.T) {
	root, err := sourceRoot("")
	if err != nil {
		t.Fatal(err)
	}
	planted, err := readMutants(root, "dispatch-ack-before-applied")
	if err != nil {
		t.Fatal(err)
	}
	program, err := planted[0].build(t.Context(), "go", root, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Self: []string{program}, From: 1, Length: 10 * time.Minute, Jobs: 1}
	found, err := spread(t.Context(), o, o.Self, mutantSeeds, true)
	if err != nil || len(found.failed) == 0 {
		t.Fatalf("%d seeds find nothing: %v", found.runs, err)
	}
	failure := found.failed[0]
	var out bytes.Buffer
	o.Seed, o.Again = failure.Seed, 10
	if err := runAgain(t.Context(), o, o.Self, &out); !errors.Is(err, ErrFound) {
		t.Fatalf("the failure was not seen again: %v\n%s", err, &out)
	}
	for _, want := range []string{verdict(o, failure) + "\n", fmt.Sprintf("seed %d run 10 times,", failure.Seed), " bytes of trace equal each time"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in %q", want, out.String())
		}
	}
}

// What is not the same each time is said: here the program tells the time.
func TestARunThatDiffersFromTheFirstIsFound(t *testing.T) {
	program := filepath.Join(t.TempDir(), "program")
	script := "#!/bin/sh\ncase \"$*\" in *--child*) echo '{\"Seed\":6}'; echo '{\"Seed\":7}';; *) date +%N;; esac\n"
	if err := os.WriteFile(program, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err := Command(t.Context(), []string{program}, []string{"--seed", "7", "--replay", "3"}, &out)
	if !errors.Is(err, ErrFound) || !strings.Contains(out.String(), "run 2 of 3 differs from the first") {
		t.Errorf("got %v, %q", err, &out)
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
