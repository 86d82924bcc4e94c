package api

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
)

// Limits of one page.
const (
	DefaultPage = 200
	MaxPage     = 5000
)

// Column is a field by which a list can be filtered and sorted. Exactly one of
// the two functions is set.
type Column[T any] struct {
	Text   func(T) string
	Number func(T) float64
}

// Page filters, sorts and cuts a list by a query: filter=state=lost,cpus>2
// (comma is "and"; operators = != ~ (contains) < >), sort=-cpus, limit and
// cursor. key gives each row's unique id, which breaks ties and makes the
// cursor stable while rows come and go. rows are not changed; they are best
// given in the order of their keys.
func Page[T any](q url.Values, index dcos.Index, rows []T, key func(T) string, columns map[string]Column[T]) (client.List[T], error) {
	keep, err := filter(q.Get("filter"), columns)
	if err != nil {
		return client.List[T]{}, err
	}
	own := false // rows may be changed
	if keep != nil {
		own = true
		kept := make([]T, 0, len(rows))
		for _, r := range rows {
			if keep(r) {
				kept = append(kept, r)
			}
		}
		rows = kept
	}
	order, err := sorting(q.Get("sort"), key, columns)
	if err != nil {
		return client.List[T]{}, err
	}
	if !slices.IsSortedFunc(rows, order) {
		if !own {
			rows = slices.Clone(rows)
		}
		slices.SortFunc(rows, order)
	}
	limit := DefaultPage
	if text := q.Get("limit"); text != "" {
		limit, err = strconv.Atoi(text)
		if err != nil || limit < 1 || limit > MaxPage {
			return client.List[T]{}, fmt.Errorf("%w: limit %q, expected a number from 1 to %d", dcos.ErrInvalid, text, MaxPage)
		}
	}
	out := client.List[T]{Items: []T{}, Total: len(rows), Index: uint64(index)}
	start := 0
	if cursor := q.Get("cursor"); cursor != "" {
		// The cursor is the key of the last row seen.
		start = slices.IndexFunc(rows, func(r T) bool { return key(r) == cursor }) + 1
		if start == 0 {
			return out, fmt.Errorf("%w: cursor %q names a row that is gone, list again from the start", dcos.ErrConflict, cursor)
		}
	}
	end := min(start+limit, len(rows))
	out.Items = append(out.Items, rows[start:end]...)
	if end < len(rows) && end > start {
		out.Cursor = key(rows[end-1])
	}
	return out, nil
}

// filter is nil when all rows are wanted.
func filter[T any](text string, columns map[string]Column[T]) (func(T) bool, error) {
	var tests []func(T) bool
	for _, term := range strings.Split(text, ",") {
		if term = strings.TrimSpace(term); term == "" {
			continue
		}
		test, err := filterTerm(term, columns)
		if err != nil {
			return nil, err
		}
		tests = append(tests, test)
	}
	if len(tests) == 0 {
		return nil, nil
	}
	return func(r T) bool {
		for _, t := range tests {
			if !t(r) {
				return false
			}
		}
		return true
	}, nil
}

func filterTerm[T any](term string, columns map[string]Column[T]) (func(T) bool, error) {
	i := strings.IndexAny(term, "=!~<>")
	if i < 1 {
		return nil, fmt.Errorf("%w: filter %q, expected FIELD OPERATOR VALUE with one of = != ~ < >", dcos.ErrInvalid, term)
	}
	op, n := term[i:i+1], 1
	if strings.HasPrefix(term[i:], "!=") {
		op, n = "!=", 2
	}
	field, value := strings.TrimSpace(term[:i]), strings.TrimSpace(term[i+n:])
	c, ok := columns[field]
	if !ok {
		return nil, unknownColumn("filter", field, columns)
	}
	if c.Number != nil {
		want, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return nil, fmt.Errorf("%w: filter %q: %q is not a number", dcos.ErrInvalid, term, value)
		}
		return compare(op, term, func(r T) int { return cmp.Compare(c.Number(r), want) }, nil)
	}
	contains := func(r T) bool { return strings.Contains(c.Text(r), value) }
	return compare(op, term, func(r T) int { return strings.Compare(c.Text(r), value) }, contains)
}

func compare[T any](op, term string, order func(T) int, contains func(T) bool) (func(T) bool, error) {
	switch {
	case op == "=":
		return func(r T) bool { return order(r) == 0 }, nil
	case op == "!=":
		return func(r T) bool { return order(r) != 0 }, nil
	case op == "<":
		return func(r T) bool { return order(r) < 0 }, nil
	case op == ">":
		return func(r T) bool { return order(r) > 0 }, nil
	case op == "~" && contains != nil:
		return contains, nil
	}
	return nil, fmt.Errorf("%w: filter %q: operator %q does not go with this field", dcos.ErrInvalid, term, op)
}

func sorting[T any](text string, key func(T) string, columns map[string]Column[T]) (func(a, b T) int, error) {
	byKey := func(a, b T) int { return strings.Compare(key(a), key(b)) }
	if text == "" {
		return byKey, nil
	}
	field, sign := strings.TrimPrefix(text, "-"), 1
	if strings.HasPrefix(text, "-") {
		sign = -1
	}
	c, ok := columns[field]
	if !ok {
		return nil, unknownColumn("sort", field, columns)
	}
	return func(a, b T) int {
		var d int
		if c.Number != nil {
			d = cmp.Compare(c.Number(a), c.Number(b))
		} else {
			d = strings.Compare(c.Text(a), c.Text(b))
		}
		if d == 0 {
			return byKey(a, b)
		}
		return sign * d
	}, nil
}

func unknownColumn[T any](act, field string, columns map[string]Column[T]) error {
	names := make([]string, 0, len(columns))
	for n := range columns {
		names = append(names, n)
	}
	slices.Sort(names)
	return fmt.Errorf("%w: %s by %q, expected one of %s", dcos.ErrInvalid, act, field, strings.Join(names, ", "))
}
