package resource

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Range is an inclusive range of ports.
type Range struct {
	First uint16 `cbor:"1,keyasint" json:"begin"`
	Last  uint16 `cbor:"2,keyasint" json:"end"`
}

// Ranges is a set of ports: sorted, disjoint and not adjacent. The zero value
// is the empty set. Methods return new sets and leave the receiver as it was.
type Ranges []Range

// PortSet makes the set of the given single ports.
func PortSet(ports ...uint16) Ranges {
	rs := make(Ranges, 0, len(ports))
	for _, p := range ports {
		rs = append(rs, Range{p, p})
	}
	return NewRanges(rs...)
}

// NewRanges makes a set from ranges in any order; overlapping and adjacent
// ones are merged, and those that end before they begin are dropped.
func NewRanges(in ...Range) Ranges {
	rs := make(Ranges, 0, len(in))
	for _, r := range in {
		if r.First <= r.Last {
			rs = append(rs, r)
		}
	}
	slices.SortFunc(rs, func(a, b Range) int { return int(a.First) - int(b.First) })
	out := rs[:0]
	for _, r := range rs {
		if n := len(out); n > 0 && int(r.First) <= int(out[n-1].Last)+1 {
			out[n-1].Last = max(out[n-1].Last, r.Last)
			continue
		}
		out = append(out, r)
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// Size is the number of ports in the set.
func (rs Ranges) Size() int {
	n := 0
	for _, r := range rs {
		n += int(r.Last) - int(r.First) + 1
	}
	return n
}

// Has says whether port p is in the set.
func (rs Ranges) Has(p uint16) bool {
	_, ok := slices.BinarySearchFunc(rs, p, func(r Range, p uint16) int {
		switch {
		case r.Last < p:
			return -1
		case r.First > p:
			return 1
		}
		return 0
	})
	return ok
}

// Contains says whether every port of other is in the set.
func (rs Ranges) Contains(other Ranges) bool {
	i := 0
	for _, o := range other {
		for i < len(rs) && rs[i].Last < o.First {
			i++
		}
		if i == len(rs) || o.First < rs[i].First || o.Last > rs[i].Last {
			return false
		}
	}
	return true
}

// Overlaps says whether the sets share a port.
func (rs Ranges) Overlaps(other Ranges) bool {
	i, j := 0, 0
	for i < len(rs) && j < len(other) {
		switch {
		case rs[i].Last < other[j].First:
			i++
		case other[j].Last < rs[i].First:
			j++
		default:
			return true
		}
	}
	return false
}

// Union is the ports of both sets.
func (rs Ranges) Union(other Ranges) Ranges {
	switch {
	case len(rs) == 0:
		return slices.Clone(other)
	case len(other) == 0:
		return slices.Clone(rs)
	}
	out := make(Ranges, 0, len(rs)+len(other))
	for len(rs) > 0 || len(other) > 0 {
		var next Range
		if len(other) == 0 || len(rs) > 0 && rs[0].First <= other[0].First {
			next, rs = rs[0], rs[1:]
		} else {
			next, other = other[0], other[1:]
		}
		if n := len(out); n > 0 && int(next.First) <= int(out[n-1].Last)+1 {
			out[n-1].Last = max(out[n-1].Last, next.Last)
		} else {
			out = append(out, next)
		}
	}
	return out
}

// Minus is the ports of the set that are not in other.
func (rs Ranges) Minus(other Ranges) Ranges {
	var out Ranges
	j := 0
	for _, r := range rs {
		first, last := int(r.First), int(r.Last)
		for j < len(other) && int(other[j].Last) < first {
			j++
		}
		for k := j; k < len(other) && int(other[k].First) <= last; k++ {
			if int(other[k].First) > first {
				out = append(out, Range{uint16(first), other[k].First - 1})
			}
			first = int(other[k].Last) + 1
		}
		if first <= last {
			out = append(out, Range{uint16(first), uint16(last)})
		}
	}
	return out
}

// String prints the set as Mesos does: "[1-4,6-9]".
func (rs Ranges) String() string {
	parts := make([]string, len(rs))
	for i, r := range rs {
		parts[i] = fmt.Sprintf("%d-%d", r.First, r.Last)
	}
	return "[" + strings.Join(parts, ",") + "]"
}

// maxRangeText bounds the text form of a set of ports: 65,536 single ports
// need less than that, anything longer is not a port set.
const maxRangeText = 1 << 20

// ParseRanges reads "[1-4,6-9]", with or without the brackets; single ports
// may stand for a range of one.
func ParseRanges(text string) (Ranges, error) {
	if len(text) > maxRangeText {
		return nil, fmt.Errorf("port ranges of %d bytes, expected at most %d", len(text), maxRangeText)
	}
	s := strings.TrimSpace(text)
	if strings.HasPrefix(s, "[") != strings.HasSuffix(s, "]") {
		return nil, fmt.Errorf("port ranges %q: unbalanced bracket", text)
	}
	s = strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")
	if strings.TrimSpace(s) == "" {
		return nil, nil
	}
	var rs []Range
	for _, part := range strings.Split(s, ",") {
		lo, hi, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			hi = lo
		}
		first, err1 := strconv.ParseUint(strings.TrimSpace(lo), 10, 16)
		last, err2 := strconv.ParseUint(strings.TrimSpace(hi), 10, 16)
		if err1 != nil || err2 != nil || first > last {
			return nil, fmt.Errorf("port range %q: expected FIRST-LAST with ports from 0 to 65535", part)
		}
		rs = append(rs, Range{uint16(first), uint16(last)})
	}
	return NewRanges(rs...), nil
}
