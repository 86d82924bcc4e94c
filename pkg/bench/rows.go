package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Row is one figure. Value is nil when it could not be measured, and Note says
// why; Budget and OK are nil where there is no budget.
type Row struct {
	Name   string   `json:"name"`
	Value  *float64 `json:"value"`
	Unit   string   `json:"unit"`
	Budget *float64 `json:"budget"`
	OK     *bool    `json:"ok"`
	What   string   `json:"what"`
	Note   string   `json:"note,omitempty"`

	atLeast bool // the budget is a lower bound
}

// figure is what a benchmark hands over for one row.
type figure struct {
	row   string
	value float64
	note  string
}

func newRow(b Budget) Row {
	return Row{Name: b.Name, Unit: b.Unit, What: b.What, Budget: b.bound(), atLeast: b.AtLeast != nil}
}

func (r *Row) fill(b Budget, f figure) {
	value := round(f.value)
	r.Value, r.Note, r.OK = &value, f.note, b.keeps(f.value)
}

// round keeps three significant digits: what is behind them is noise.
func round(v float64) float64 {
	out, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 3, 64), 64)
	if err != nil || math.IsInf(v, 0) || math.IsNaN(v) {
		return 0
	}
	return out
}

// median is the middle of the values, 0 of none.
func median(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	switch n := len(v); {
	case n == 0:
		return 0
	case n%2 == 1:
		return v[n/2]
	default:
		return (v[n/2-1] + v[n/2]) / 2
	}
}

// spanned is the median with the least and the greatest value in words.
func spanned(row string, values []float64, note string) figure {
	words := fmt.Sprintf("%s to %s in %d runs", number(slices.Min(values)), number(slices.Max(values)), len(values))
	if note != "" {
		words += "; " + note
	}
	return figure{row, median(values), words}
}

// number writes a figure for people: three digits, thousands set apart.
func number(v float64) string {
	v = round(v)
	if math.Abs(v) < 1000 {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	text := strconv.FormatFloat(math.Abs(v), 'f', 0, 64)
	for at := len(text) - 3; at > 0; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	if v < 0 {
		text = "-" + text
	}
	return text
}

func writeJSON(out io.Writer, rows []Row) error {
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	if err := enc.Encode(rows); err != nil {
		return fmt.Errorf("write the rows: %w", err)
	}
	return nil
}

func writeTable(out io.Writer, head string, rows []Row) error {
	if _, err := fmt.Fprintln(out, head); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ROW\tVALUE\tBUDGET\t\tWHAT") // errors come out of Flush
	missed := 0
	for _, r := range rows {
		value, budget, verdict := "-", "none", ""
		if r.Value != nil {
			value = number(*r.Value) + " " + r.Unit
		} else {
			verdict = "not measured"
		}
		if r.Budget != nil {
			sign := "<="
			if r.atLeast {
				sign = ">="
			}
			budget = sign + " " + number(*r.Budget) + " " + r.Unit
		}
		if r.OK != nil {
			verdict = "ok"
			if !*r.OK {
				verdict = "MISSED"
				missed++
			}
		}
		what := r.What
		if r.Note != "" {
			what += " (" + strings.Join(strings.Fields(r.Note), " ") + ")"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.Name, value, budget, verdict, what)
	}
	fmt.Fprintf(w, "%d rows, %d missed\n", len(rows), missed)
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	return nil
}

// quantile is the value that a share q of all values does not exceed.
func quantile(values []float64, q float64) float64 {
	v := slices.Sorted(slices.Values(values))
	if len(v) == 0 {
		return 0
	}
	return v[min(len(v)-1, int(math.Ceil(q*float64(len(v))))-1)]
}
