package bench

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMedianIsTheMiddleWhateverTheOrder(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		have []float64
		want float64
	}{
		{"nothing", nil, 0},
		{"one", []float64{7}, 7},
		{"odd", []float64{9, 1, 5}, 5},
		{"even is between the two", []float64{4, 1, 3, 2}, 2.5},
		{"an outlier does not count", []float64{1, 1, 1000}, 1},
	} {
		before := append([]float64(nil), tt.have...)
		if got := median(tt.have); got != tt.want {
			t.Errorf("%s: median of %v is %v, want %v", tt.name, tt.have, got, tt.want)
		}
		if diff := cmp.Diff(before, tt.have); diff != "" {
			t.Errorf("%s: the values were reordered: %s", tt.name, diff)
		}
	}
}

func TestQuantileIsAValueThatWasMeasured(t *testing.T) {
	t.Parallel()
	values := []float64{3, 1, 2, 4}
	for q, want := range map[float64]float64{0.01: 1, 0.5: 2, 0.75: 3, 0.99: 4, 1: 4} {
		if got := quantile(values, q); got != want {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
}

func TestNumbersKeepThreeDigits(t *testing.T) {
	t.Parallel()
	for have, want := range map[float64]string{
		0: "0", 0.12345: "0.123", 27.18: "27.2", 999.4: "999", 1234.5: "1,230", 1_234_567: "1,230,000", -4321: "-4,320", math.Inf(1): "0",
	} {
		if got := number(have); got != want {
			t.Errorf("%v is written %q, want %q", have, got, want)
		}
	}
}

func bound(v float64) *float64 { return &v }

// someRows are one of each kind.
func someRows() []Row {
	budgets := []Budget{
		{Name: "kept", What: "a thing", Unit: "ms", AtMost: bound(40)},
		{Name: "missed", What: "a rate", Unit: "/s", AtLeast: bound(100_000)},
		{Name: "free", What: "a figure", Unit: "MB", Budget: "none"},
		{Name: "failed", What: "a fault", Unit: "s", AtMost: bound(2)},
	}
	rows := make([]Row, 0, len(budgets))
	for _, b := range budgets {
		r := newRow(b)
		switch b.Name {
		case "kept":
			r.fill(b, figure{row: b.Name, value: 40, note: "said\n  so"})
		case "missed":
			r.fill(b, figure{row: b.Name, value: 99_999})
		case "free":
			r.fill(b, figure{row: b.Name, value: 1.23456})
		case "failed":
			r.Note = "could not run: no disk"
		}
		rows = append(rows, r)
	}
	return rows
}

func TestTableSaysWhatIsKeptMissedAndNotMeasured(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := writeTable(&out, "a machine", someRows()); err != nil {
		t.Fatal(err)
	}
	want := strings.TrimPrefix(`
a machine
ROW     VALUE       BUDGET                      WHAT
kept    40 ms       <= 40 ms      ok            a thing (said so)
missed  100,000 /s  >= 100,000 /s  MISSED        a rate
free    1.23 MB     none                        a figure
failed  -           <= 2 s        not measured  a fault (could not run: no disk)
4 rows, 1 missed
`, "\n")
	squeeze := func(s string) string {
		lines := strings.Split(s, "\n")
		for i := range lines {
			lines[i] = strings.Join(strings.Fields(lines[i]), " ")
		}
		return strings.Join(lines, "\n")
	}
	if diff := cmp.Diff(squeeze(want), squeeze(out.String())); diff != "" {
		t.Error(diff)
	}
}

func TestJSONIsOneArrayOfRowsWithNullsForWhatIsNotThere(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := writeJSON(&out, someRows()); err != nil {
		t.Fatal(err)
	}
	var got []map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := []map[string]any{
		{"name": "kept", "value": 40.0, "unit": "ms", "budget": 40.0, "ok": true, "what": "a thing", "note": "said\n  so"},
		{"name": "missed", "value": 100_000.0, "unit": "/s", "budget": 100_000.0, "ok": false, "what": "a rate"},
		{"name": "free", "value": 1.23, "unit": "MB", "budget": nil, "ok": nil, "what": "a figure"},
		{"name": "failed", "value": nil, "unit": "s", "budget": 2.0, "ok": nil, "what": "a fault", "note": "could not run: no disk"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestBudgetFileHoldsExactlyTheRowsThatAreMeasured(t *testing.T) {
	t.Parallel()
	budgets, err := Budgets()
	if err != nil {
		t.Fatal(err)
	}
	var listed, measured []string
	for _, b := range budgets {
		listed = append(listed, b.Name)
	}
	for _, b := range suite() {
		measured = append(measured, b.rows...)
	}
	if diff := cmp.Diff(listed, measured); diff != "" {
		t.Errorf("budgets.yaml (-) and the benchmarks (+) differ: %s", diff)
	}
}

func TestBudgetFileWithAHoleIsRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, row, want string }{
		{"no bound", "{name: a, what: b, unit: s}", "give one of"},
		{"two bounds", "{name: a, what: b, unit: s, atMost: 1, atLeast: 2}", "give one of"},
		{"a bound and none", "{name: a, what: b, unit: s, atMost: 1, budget: none}", "give one of"},
		{"no unit", "{name: a, what: b, atMost: 1}", "needs name, what and unit"},
		{"an unknown key", "{name: a, what: b, unit: s, atmost: 1, max: 3}", "max"},
		{"a row twice", "{name: a, what: b, unit: s, atMost: 1}\n- {name: a, what: b, unit: s, atMost: 1}", "there are two"},
	} {
		_, err := parseBudgets([]byte("rows:\n- " + tt.row + "\n"))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one with %q", tt.name, err, tt.want)
		}
	}
}
