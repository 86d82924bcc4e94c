// Command metrics prints how the code measures against the house style.
//
// It owns the figures and their targets. It promises an exit status that is
// zero unless a rule without exceptions is broken: a package without comment, a
// file over 800 lines, a time.Sleep in a test. The other figures are for
// people: they show where the code drifts. Generated files are not measured.
// It must not change anything.
package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
)

func main() {
	ok, err := report(os.Stdout, os.DirFS("."))
	if err != nil {
		fmt.Fprintln(os.Stderr, "metrics:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// report prints the figures of the tree with the target beside each. It returns
// false when a rule without exceptions is broken, after naming each breach.
func report(out io.Writer, root fs.FS) (bool, error) {
	m, err := measureTree(root)
	if err != nil {
		return false, err
	}
	kloc := float64(max(sum(m.fileLines), 1)) / 1000
	perKloc := func(n int) string { return fmt.Sprintf("%.1f", float64(n)/kloc) }
	for _, row := range [][3]string{
		{"figure", "here", "target"},
		{"files, lines of code, lines of tests", fmt.Sprintf("%d, %d, %d", len(m.fileLines), sum(m.fileLines), m.testLines), ""},
		{"file lines p50/p90/max", fmt.Sprintf("%d/%d/%d", at(m.fileLines, 0.5), at(m.fileLines, 0.9), at(m.fileLines, 1)), "100/400/800"},
		{"function lines p50/p90/p99", fmt.Sprintf("%d/%d/%d", at(m.funcLines, 0.5), at(m.funcLines, 0.9), at(m.funcLines, 0.99)), "10/45/90"},
		{"test lines per line of code", fmt.Sprintf("%.2f", float64(m.testLines)/1000/kloc), ">= 1.0"},
		{"packages with a comment %", percent(m.packages-len(m.bare), m.packages), "100"},
		{"exported names with a comment %", percent(m.exportedDoc, m.exported), ">= 95"},
		{"%w per 1000 lines", perKloc(m.wraps), ">= 8"},
		{"go statements per 1000 lines", perKloc(m.goStmts), "<= 1.5"},
		{"time.Sleep in tests", fmt.Sprint(len(m.sleeps)), "0"},
		{"package variables per 1000 lines", perKloc(m.globals), "<= 2"},
	} {
		fmt.Fprintf(out, "%-40s %18s   %s\n", row[0], row[1], row[2])
	}
	for _, breach := range m.breaches() {
		fmt.Fprintln(out, "BROKEN:", breach)
	}
	return len(m.breaches()) == 0, nil
}

// at returns the value at a quantile; 0 of nothing.
func at(values []int, quantile float64) int {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[int(quantile*float64(len(sorted)-1))]
}

func sum(values []int) int {
	total := 0
	for _, v := range values {
		total += v
	}
	return total
}

func percent(part, whole int) string {
	return fmt.Sprintf("%.1f", 100*float64(part)/float64(max(whole, 1)))
}
