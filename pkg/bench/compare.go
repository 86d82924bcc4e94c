package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
)

// Difference is a row of two runs.
type Difference struct {
	Name string   `json:"name"`
	Unit string   `json:"unit"`
	Old  *float64 `json:"old"`
	New  *float64 `json:"new"`
	// Ratio is New by Old; nil when one of them is missing or nothing.
	Ratio *float64 `json:"ratio"`
	// Apart says that the runs of one build all lie above those of the other:
	// what overlaps may be chance.
	Apart bool   `json:"apart"`
	What  string `json:"what"`
}

// Compare prints two files of `dcos bench --json` side by side.
func Compare(old, next string, asJSON bool, out io.Writer) error {
	var rows [2][]Row
	for i, name := range []string{old, next} {
		b, err := os.ReadFile(name)
		if err != nil {
			return fmt.Errorf("read a run: %w", err)
		}
		if err := json.Unmarshal(b, &rows[i]); err != nil {
			return fmt.Errorf("read a run: %s: %w", name, err)
		}
	}
	return writeDifferences(differences(rows[0], rows[1]), asJSON, out)
}

// both measures another binary and then this one.
func (o Options) both(ctx context.Context, s sizes, out io.Writer) error {
	var rows [2][]Row
	var failed error
	for i, binary := range []string{o.Against, o.Binary} {
		one := o
		one.Against, one.Binary, one.JSON = "", binary, true
		var b bytes.Buffer
		err := one.measure(ctx, s, &b)
		if err != nil && !errors.Is(err, ErrNotMeasured) {
			return err
		}
		failed = errors.Join(failed, err)
		if err := json.Unmarshal(b.Bytes(), &rows[i]); err != nil {
			return fmt.Errorf("compare two binaries: %w", err)
		}
	}
	return errors.Join(writeDifferences(differences(rows[0], rows[1]), o.JSON, out), failed)
}

// differences are the rows of both runs, in the order of the newer one; what
// only the older one has comes last.
func differences(old, next []Row) []Difference {
	before := map[string]Row{}
	for _, r := range old {
		before[r.Name] = r
	}
	out := make([]Difference, 0, len(next))
	for _, r := range next {
		was := before[r.Name]
		delete(before, r.Name)
		d := Difference{Name: r.Name, Unit: r.Unit, Old: was.Value, New: r.Value, What: r.What}
		if d.Old != nil && d.New != nil && *d.Old != 0 {
			ratio := round(*d.New / *d.Old)
			d.Ratio = &ratio
		}
		if was.Min != nil && was.Max != nil && r.Min != nil && r.Max != nil {
			d.Apart = *r.Min > *was.Max || *r.Max < *was.Min
		}
		out = append(out, d)
	}
	for _, r := range old {
		if _, left := before[r.Name]; left {
			out = append(out, Difference{Name: r.Name, Unit: r.Unit, Old: r.Value, What: r.What})
		}
	}
	return out
}

func writeDifferences(rows []Difference, asJSON bool, out io.Writer) error {
	if asJSON {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		if err := enc.Encode(rows); err != nil {
			return fmt.Errorf("write the comparison: %w", err)
		}
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ROW\tOLD\tNEW\tRATIO\t\tWHAT") // errors come out of Flush
	show := func(v *float64, unit string) string {
		if v == nil {
			return "-"
		}
		return number(*v) + unit
	}
	for _, r := range rows {
		apart := ""
		if r.Apart {
			apart = "runs do not overlap"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", r.Name, show(r.Old, " "+r.Unit), show(r.New, " "+r.Unit), show(r.Ratio, ""), apart, r.What)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write the comparison: %w", err)
	}
	return nil
}
