package bench

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTwoRunsAreComparedRowByRow(t *testing.T) {
	t.Parallel()
	v := func(x float64) *float64 { return &x }
	dir := t.TempDir()
	write := func(name string, rows []Row) string {
		b, err := json.Marshal(rows)
		path := filepath.Join(dir, name)
		must(t, err, os.WriteFile(path, b, 0o600))
		return path
	}
	old := write("old", []Row{
		{Name: "same", Value: v(10), Unit: "/s", Min: v(8), Max: v(12)},
		{Name: "faster", Value: v(10), Unit: "/s", Min: v(9), Max: v(11)},
		{Name: "gone", Value: v(1), Unit: "s"},
	})
	next := write("new", []Row{
		{Name: "faster", Value: v(30), Unit: "/s", Min: v(29), Max: v(31)},
		{Name: "same", Value: v(11), Unit: "/s", Min: v(9), Max: v(13)},
		{Name: "failed", Unit: "s"},
	})
	var out bytes.Buffer
	must(t, Compare(old, next, true, &out))
	var got []Difference
	must(t, json.Unmarshal(out.Bytes(), &got))
	want := []Difference{
		{Name: "faster", Unit: "/s", Old: v(10), New: v(30), Ratio: v(3), Apart: true},
		{Name: "same", Unit: "/s", Old: v(10), New: v(11), Ratio: v(1.1)},
		{Name: "failed", Unit: "s"},
		{Name: "gone", Unit: "s", Old: v(1)},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("comparison (-want +got):\n%s", d)
	}
	out.Reset()
	must(t, Compare(old, next, false, &out))
	if text := out.String(); !strings.Contains(text, "runs do not overlap") || !strings.Contains(text, "30 /s") {
		t.Errorf("table:\n%s", text)
	}
	if err := Compare(old, filepath.Join(dir, "none"), true, &out); err == nil {
		t.Error("a file that is not there was compared")
	}
}
