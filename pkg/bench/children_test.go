package bench_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/dcos-go/dcos/pkg/bench"
	"github.com/dcos-go/dcos/pkg/cli"
)

// TestMain lets this test program stand for the binary: what benchmarks and
// agents start has a command as its first argument, never a flag.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-") {
		os.Exit(cli.Main())
	}
	goleak.VerifyTestMain(m)
}

func TestBenchmarksOfTheBinaryMeasureAndLeaveNothing(t *testing.T) {
	before := agentGroups(t)
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	// Children with the race detector would each wait a second when they end.
	t.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	var out bytes.Buffer
	err := bench.MeasureTiny(t.Context(), bench.Options{JSON: true, Run: "^(dev|submit|task|agent)-"}, &out)
	rows := rowsOf(t, err, out.Bytes())
	for _, r := range rows {
		// A few tasks are less than the noise of the agent's memory, and an
		// idle agent may do nothing at all for a moment.
		mayBeNothing := strings.HasPrefix(r.Name, "task-memory") || r.Name == "agent-cpu"
		if r.Value == nil || *r.Value <= 0 && !mayBeNothing {
			t.Errorf("row %s has the value %v: %s", r.Name, r.Value, r.Note)
		}
	}
	if len(rows) != 6 {
		t.Errorf("%d rows, want 6", len(rows))
	}
	left, err := os.ReadDir(temp)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	for group := range agentGroups(t) {
		if procs, err := os.ReadFile(filepath.Join(group, ".shims", "cgroup.procs")); err == nil && !before[group] && startedHere(string(procs)) {
			t.Errorf("left behind: control group %s with %s", group, procs)
		}
	}
}

// agentGroups are the control groups of all agents on this machine, those of
// other tests as well.
func agentGroups(t *testing.T) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for _, pattern := range []string{"/sys/fs/cgroup/dcos/*", "/sys/fs/cgroup/*/dcos/*"} {
		groups, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range groups {
			out[g] = true
		}
	}
	return out
}

// startedHere says whether one of the processes runs this test program.
func startedHere(pids string) bool {
	self, err := os.Stat("/proc/self/exe")
	if err != nil {
		return false
	}
	for _, pid := range strings.Fields(pids) {
		if exe, err := os.Stat(filepath.Join("/proc", pid, "exe")); err == nil && os.SameFile(self, exe) {
			return true
		}
	}
	return false
}

// rowsOf are the rows of a run. What could not be measured is said alone, one
// line for each cause: the other rows hide it.
func rowsOf(t *testing.T, err error, out []byte) (rows []bench.Row) {
	t.Helper()
	if jerr := json.Unmarshal(out, &rows); jerr != nil {
		t.Fatalf("%v: %v: %s", err, jerr, out)
	}
	var notes []string
	missing := map[string][]string{} // by note
	for _, r := range rows {
		if r.Value == nil {
			if missing[r.Note] == nil {
				notes = append(notes, r.Note)
			}
			missing[r.Note] = append(missing[r.Note], r.Name)
		}
	}
	for _, note := range notes {
		t.Errorf("%s: %s", strings.Join(missing[note], ", "), note)
	}
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func TestBenchmarksAtScaleMeasureAndLeaveNothing(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	// Children with the race detector would each wait a second when they end.
	t.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	var out bytes.Buffer
	err := bench.MeasureTiny(t.Context(), bench.Options{JSON: true, Run: "^(read|write|list|fleet|failover|million)-"}, &out)
	rows := rowsOf(t, err, out.Bytes())
	for _, r := range rows {
		// A moment may pass in which an idle master does nothing.
		if r.Value == nil || *r.Value <= 0 && r.Name != "fleet-cpu" {
			t.Errorf("row %s has the value %v: %s", r.Name, r.Value, r.Note)
		}
		if r.Name != "failover-killed-p99" && (r.Min == nil || r.Max == nil || r.Rounds == 0) {
			t.Errorf("row %s does not say how its runs differ", r.Name)
		}
	}
	if len(rows) != 19 {
		t.Errorf("%d rows, want 19", len(rows))
	}
	left, err := os.ReadDir(temp)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
