package resource

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestFromFloatRefusesWhatIsNoAmount(t *testing.T) {
	t.Parallel()
	for _, f := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), -0.001, 1e308, 2e9} {
		if got, err := FromFloat(f); err == nil {
			t.Errorf("FromFloat(%v) = %v, want an error", f, got)
		}
	}
	for f, want := range map[float64]Scalar{0: 0, 0.1: 100, 1.5: 1500, 0.0004: 0, 0.0006: 1, 128: 128000} {
		if got, err := FromFloat(f); err != nil || got != want {
			t.Errorf("FromFloat(%v) = %v, %v, want %v", f, got, err, want)
		}
	}
}

func TestRangesParseAndPrint(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, in, want string }{
		{"single", "80", "[80-80]"},
		{"unsorted and overlapping", "[6-9, 1-7]", "[1-9]"},
		{"adjacent merge", "1-4,5-9", "[1-9]"},
		{"whole space", "[0-65535]", "[0-65535]"},
		{"empty", "[]", "[]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseRanges(tt.in)
			if err != nil || got.String() != tt.want {
				t.Errorf("ParseRanges(%q) = %v, %v, want %v", tt.in, got, err, tt.want)
			}
		})
	}
	for _, bad := range []string{"[1-2", "1-2]", "9-1", "65536", "-1", "a", "1-2-3", ","} {
		if got, err := ParseRanges(bad); err == nil {
			t.Errorf("ParseRanges(%q) = %v, want an error", bad, got)
		}
	}
}

func TestPortInsideRangeSplitsIt(t *testing.T) {
	t.Parallel()
	have := NewRanges(Range{1, 9})
	if got := have.Minus(PortSet(5)).String(); got != "[1-4,6-9]" {
		t.Errorf("[1-9] minus 5 = %s, want [1-4,6-9]", got)
	}
}

func drawRanges(t *rapid.T, label string) Ranges {
	n := rapid.IntRange(0, 6).Draw(t, label+"-n")
	rs := make([]Range, n)
	for i := range rs {
		first := rapid.Uint16Range(0, 300).Draw(t, label)
		rs[i] = Range{first, first + rapid.Uint16Range(0, 20).Draw(t, label+"-len")}
	}
	return NewRanges(rs...)
}

func TestRangesAreSets(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawRanges(t, "a"), drawRanges(t, "b")
		union, minus := a.Union(b), a.Minus(b)
		overlap := false
		for p := uint16(0); p < 400; p++ {
			if want := a.Has(p) || b.Has(p); union.Has(p) != want {
				t.Fatalf("%v union %v: port %d is %v, want %v", a, b, p, !want, want)
			}
			if want := a.Has(p) && !b.Has(p); minus.Has(p) != want {
				t.Fatalf("%v minus %v: port %d is %v, want %v", a, b, p, !want, want)
			}
			overlap = overlap || a.Has(p) && b.Has(p)
		}
		if a.Overlaps(b) != overlap {
			t.Fatalf("%v overlaps %v = %v, want %v", a, b, !overlap, overlap)
		}
		if got, want := a.Contains(b), len(b.Minus(a)) == 0; got != want {
			t.Fatalf("%v contains %v = %v, want %v", a, b, got, want)
		}
		back, err := ParseRanges(a.String())
		if err != nil || !cmp.Equal(back, a) {
			t.Fatalf("parse(%s) = %v, %v", a, back, err)
		}
	})
}

func drawSet(t *rapid.T, label string) Set {
	amount := func(k string) Scalar { return Scalar(rapid.Int64Range(0, 100_000).Draw(t, label+k)) }
	return Set{amount("cpus"), amount("mem"), amount("disk"), rapid.Int64Range(0, 8).Draw(t, label+"gpus"), drawRanges(t, label)}
}

func TestTakingAndGivingBackIsExact(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		need, rest := drawSet(t, "need"), drawSet(t, "rest")
		rest.Ports = rest.Ports.Minus(need.Ports)
		total := need.Plus(rest)
		if !need.FitsIn(total) {
			t.Fatalf("%v does not fit in %v", need, total)
		}
		if left := total.Minus(need); !left.Equal(rest) {
			t.Fatalf("%v minus %v = %v, want %v", total, need, left, rest)
		}
		if !total.Minus(need).Plus(need).Equal(total) {
			t.Fatalf("%v was not given back to %v", need, total)
		}
	})
}

func TestLackingNamesTheFirstShortage(t *testing.T) {
	t.Parallel()
	free := Set{CPUs: 1000, Mem: Whole(100), Disk: Whole(10), GPUs: 1, Ports: PortSet(80)}
	for _, tt := range []struct {
		need Set
		want Kind
	}{
		{Set{CPUs: 1001, Mem: Whole(101)}, CPUs},
		{Set{Mem: Whole(101)}, Mem},
		{Set{Disk: Whole(11)}, Disk},
		{Set{GPUs: 2}, GPUs},
		{Set{Ports: PortSet(80, 81)}, Ports},
		{Set{CPUs: 1000, Ports: PortSet(80)}, ""},
	} {
		if got, lacks := tt.need.Lacking(free); got != tt.want || lacks != (tt.want != "") {
			t.Errorf("%v in %v: lacking %q, want %q", tt.need, free, got, tt.want)
		}
	}
}

func FuzzParseRanges(f *testing.F) {
	f.Add("[1-4,6-9]")
	f.Fuzz(func(t *testing.T, text string) {
		rs, err := ParseRanges(text)
		if err != nil {
			return
		}
		if back, err := ParseRanges(rs.String()); err != nil || !cmp.Equal(back, rs) {
			t.Errorf("%q: %v does not read back: %v, %v", text, rs, back, err)
		}
	})
}
