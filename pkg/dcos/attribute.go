package dcos

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"
)

// AttributeText is an attribute's value as constraints see it, in Marathon's
// form: decimals with three places at most, ranges and sets sorted and without
// spaces. Everything else is text and stays as it is; so do whole numbers, of
// which people write leading zeros on purpose.
func AttributeText(v string) string {
	s := strings.TrimSpace(v)
	if len(s) < 2 {
		return v
	}
	switch first, last := s[0], s[len(s)-1]; {
	case first == '[' && last == ']':
		if text, ok := rangesText(s[1 : len(s)-1]); ok {
			return text
		}
	case first == '{' && last == '}':
		items := strings.Split(s[1:len(s)-1], ",")
		for i := range items {
			items[i] = strings.TrimSpace(items[i])
		}
		slices.Sort(items)
		return "{" + strings.Join(items, ",") + "}"
	case strings.ContainsRune(s, '.') && strings.Trim(s, "0123456789+-.") == "":
		if f, err := strconv.ParseFloat(s, 64); err == nil && math.Abs(f) < 1e15 {
			return strconv.FormatFloat(math.RoundToEven(f*1000)/1000, 'f', -1, 64)
		}
	}
	return v
}

// rangesText sorts "5-7, 1-2".
func rangesText(list string) (string, bool) {
	type span struct{ first, last uint64 }
	var all []span
	for part := range strings.SplitSeq(list, ",") {
		lo, hi, ok := strings.Cut(part, "-")
		first, err1 := strconv.ParseUint(strings.TrimSpace(lo), 10, 64)
		last, err2 := strconv.ParseUint(strings.TrimSpace(hi), 10, 64)
		if !ok || err1 != nil || err2 != nil {
			return "", false
		}
		all = append(all, span{first, last})
	}
	slices.SortFunc(all, func(a, b span) int { return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.last, b.last)) })
	parts := make([]string, len(all))
	for i, r := range all {
		parts[i] = strconv.FormatUint(r.first, 10) + "-" + strconv.FormatUint(r.last, 10)
	}
	return "[" + strings.Join(parts, ",") + "]", true
}
