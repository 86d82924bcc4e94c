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
	// Min, Max and Rounds are of the runs whose median Value is.
	Min    *float64 `json:"min,omitempty"`
	Max    *float64 `json:"max,omitempty"`
	Rounds int      `json:"rounds,omitempty"`
	// What the masters took for the last run.
	Cost *Cost  `json:"cost,omitempty"`
	Note string `json:"note,omitempty"`

	atLeast bool // the budget is a lower bound
}

// Cost is what a row took of the machine.
type Cost struct {
	Fsyncs     int     `json:"fsyncs,omitempty"` // where they can be counted
	Bytes      int64   `json:"bytes,omitempty"`  // written to disk
	CPUSeconds float64 `json:"cpuSeconds"`
}

// String is the cost in words.
func (c Cost) String() string {
	out := fmt.Sprintf("%s s of CPU, %s bytes written", number(c.CPUSeconds), number(float64(c.Bytes)))
	if c.Fsyncs > 0 {
		out = fmt.Sprintf("%d fsyncs, ", c.Fsyncs) + out
	}
	return out
}

// figure is what a benchmark hands over for one row.
type figure struct {
	row   string
	value float64
	note  string
	// of the runs
	min, max float64
	rounds   int
	cost     *Cost
}

func newRow(b Budget) Row {
	return Row{Name: b.Name, Unit: b.Unit, What: b.What, Budget: b.bound(), atLeast: b.AtLeast != nil}
}

func (r *Row) fill(b Budget, f figure) {
	value := round(f.value)
	r.Value, r.Note, r.OK, r.Cost = &value, f.note, b.keeps(f.value), f.cost
	if r.Rounds = f.rounds; f.rounds > 0 {
		least, most := round(f.min), round(f.max)
		r.Min, r.Max = &least, &most
	}
	if f.cost != nil {
		r.Note += "; " + f.cost.String()
	}
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
	return figure{row: row, value: median(values), note: words, min: slices.Min(values), max: slices.Max(values), rounds: len(values)}
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
