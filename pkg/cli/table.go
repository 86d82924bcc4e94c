package cli

import (
	"bufio"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// table is rows for people: upper-case headers, two spaces between columns, no
// borders, columns of numbers to the right.
type table struct {
	head []string
	rows [][]string
}

func newTable(head ...string) *table { return &table{head: head} }

func (t *table) add(cells ...string) {
	for i, c := range cells {
		cells[i] = strings.ReplaceAll(printable(c), "\n", " ")
		if c == "" {
			cells[i] = "-"
		}
	}
	t.rows = append(t.rows, cells)
}

// write prints the table. An empty one is said on standard error, so that
// standard output stays data. On a terminal the last column is cut to fit.
func (t *table) write(e *Env, empty string) error {
	if len(t.rows) == 0 {
		fmt.Fprintln(e.Err, empty)
		return nil
	}
	width, right := t.columns()
	w := bufio.NewWriter(e.Out)
	for _, row := range append([][]string{t.head}, t.rows...) {
		var line strings.Builder
		for i, cell := range row {
			if i > 0 {
				line.WriteString("  ")
			}
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if right[i] {
				line.WriteString(pad + cell)
			} else {
				line.WriteString(cell + pad)
			}
		}
		fmt.Fprintln(w, cut(strings.TrimRight(line.String(), " "), e.Width))
	}
	return w.Flush()
}

func (t *table) columns() (width []int, right []bool) {
	width, right = make([]int, len(t.head)), make([]bool, len(t.head))
	for i, head := range t.head {
		width[i] = utf8.RuneCountInString(head)
		numbers := 0
		right[i] = true
		for _, row := range t.rows {
			width[i] = max(width[i], utf8.RuneCountInString(row[i]))
			if row[i] == "-" {
				continue
			}
			if _, err := strconv.ParseFloat(row[i], 64); err != nil {
				right[i] = false
			}
			numbers++
		}
		right[i] = right[i] && numbers > 0
	}
	return width, right
}

// cut shortens a line to a terminal's width; 0 is no limit.
func cut(s string, width int) string {
	if width <= 1 || utf8.RuneCountInString(s) <= width {
		return s
	}
	return string([]rune(s)[:width-1]) + "\u2026"
}

// number is a number as short as it can be.
func number(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// of shows a part of a whole.
func of(part, whole float64) string { return number(part) + "/" + number(whole) }

// jsonFlag adds --json.
func jsonFlag(c *cobra.Command) *bool {
	return c.Flags().Bool("json", false, "print JSON, as the API answers it")
}

// show prints a list either way: rows as JSON, or the table.
func show[T any](e *Env, asJSON bool, rows []T, t *table, empty string) error {
	if asJSON {
		if rows == nil {
			rows = []T{}
		}
		return printJSON(e, rows)
	}
	return t.write(e, empty)
}
