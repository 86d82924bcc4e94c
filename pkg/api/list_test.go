package api

import (
	"net/url"
	"slices"
	"strings"
	"testing"
)

func TestAPageLeavesTheRowsAsTheyAre(t *testing.T) {
	t.Parallel()
	columns := map[string]Column[string]{"name": {Text: func(s string) string { return s }}}
	for _, query := range []string{"", "sort=-name", "filter=name!%3Db", "filter=name!%3Db&sort=-name", "limit=2&cursor=a"} {
		for _, given := range [][]string{{"a", "b", "c", "d"}, {"d", "a", "c", "b"}} {
			rows := slices.Clone(given)
			q, err := url.ParseQuery(query)
			if err != nil {
				t.Fatal(err)
			}
			list, err := Page(q, 1, rows, func(s string) string { return s }, columns)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(rows, given) {
				t.Errorf("query %q changed %v to %v", query, given, rows)
			}
			want := map[string]string{"": "abcd", "sort=-name": "dcba", "filter=name!%3Db": "acd", "filter=name!%3Db&sort=-name": "dca", "limit=2&cursor=a": "bc"}[query]
			if got := strings.Join(list.Items, ""); got != want {
				t.Errorf("query %q of %v gives %q, want %q", query, given, got, want)
			}
		}
	}
}
