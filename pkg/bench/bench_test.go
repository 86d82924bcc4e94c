package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// tiny are sizes that take no time; the figures mean nothing.
func tiny() sizes {
	return sizes{
		rounds: 2, nodes: 30, instances: 60, submits: 2, window: time.Millisecond, settle: time.Millisecond, few: 1, many: 3,
		fleet: 8, tasks: 100, batch: 10, million: 1000, failovers: 2,
	}
}

// measured runs the wanted rows with tiny sizes.
func measured(t *testing.T, o Options) []Row {
	t.Helper()
	o.JSON = true
	var out bytes.Buffer
	err := o.measure(t.Context(), tiny(), &out)
	var rows []Row
	if uerr := json.Unmarshal(out.Bytes(), &rows); uerr != nil {
		t.Fatalf("%v (%v): %s", uerr, err, out.String())
	}
	if err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	for _, r := range rows {
		if r.Value == nil || *r.Value <= 0 {
			t.Errorf("row %s has the value %v: %s", r.Name, r.Value, r.Note)
		}
	}
	return rows
}

func TestBenchmarksInThisProcessMeasureAndLeaveNothing(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	rows := measured(t, Options{Run: "^(decide|commit|binary)-"})
	if len(rows) != 7 {
		t.Errorf("%d rows, want 7: %+v", len(rows), rows)
	}
	for _, r := range rows {
		if strings.HasPrefix(r.Name, "commit-") && !strings.Contains(r.Note, "fsyncs") {
			t.Errorf("row %s does not say how many fsyncs it took: %q", r.Name, r.Note)
		}
	}
	left, err := os.ReadDir(os.TempDir())
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestThroughputDoesNotCountWhenAPlacementIsLost(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	log, err := openDisk(filepath.Join(dir, "raft"))
	must(t, err)
	snaps, err := openDisk(filepath.Join(dir, "snapshots"))
	must(t, err)
	_, err = reopen(t.Context(), dir)
	if err == nil {
		t.Error("an empty directory passes for a master")
	}
	must(t, log.Close(), snaps.Close())
}

func TestRowSaysWhyItCouldNotBeMeasured(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	err := Options{JSON: true, Run: "^binary-size$", Binary: filepath.Join(t.TempDir(), "none")}.measure(t.Context(), tiny(), &out)
	if !errors.Is(err, ErrNotMeasured) {
		t.Errorf("error %v, want ErrNotMeasured", err)
	}
	var rows []Row
	must(t, json.Unmarshal(out.Bytes(), &rows))
	if len(rows) != 1 || rows[0].Value != nil || rows[0].OK != nil || !strings.Contains(rows[0].Note, "no such file") {
		t.Errorf("rows: %s", out.String())
	}
}

func TestRowsToRunMustMatchSomething(t *testing.T) {
	t.Parallel()
	for _, run := range []string{"^nothing$", "("} {
		if err := Main(t.Context(), Options{Run: run}, &bytes.Buffer{}); err == nil || errors.Is(err, ErrNotMeasured) {
			t.Errorf("--run %q: error %v", run, err)
		}
	}
}

func TestBenchmarkEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := Options{JSON: true, Run: "^(decide|commit)-"}.measure(ctx, tiny(), &bytes.Buffer{})
	if !errors.Is(err, ErrNotMeasured) {
		t.Errorf("error %v, want ErrNotMeasured", err)
	}
}
