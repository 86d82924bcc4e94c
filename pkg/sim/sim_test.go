package sim

import (
	"os"
	"strconv"
	"testing"
	"time"
)

func TestTry(t *testing.T) {
	from, to := 1, 5
	if s := os.Getenv("SEED"); s != "" {
		from, _ = strconv.Atoi(s)
		to = from
	}
	if s := os.Getenv("TO"); s != "" {
		to, _ = strconv.Atoi(s)
	}
	for seed := from; seed <= to; seed++ {
		at := time.Now()
		var tr func(string)
		if os.Getenv("TRACE") != "" {
			tr = func(s string) { t.Log(s) }
		}
		o := Seeded(Run{Seed: uint64(seed), Length: 10 * time.Minute, Trace: tr})
		t.Logf("seed %d: %v events %d hash %x conv %v %s", seed, time.Since(at).Round(time.Millisecond), o.Events, o.Hash, o.Converged, o.Violation)
		if o.Violation != "" {
			if from == to {
				for _, l := range o.Last {
					t.Log(l)
				}
				t.Log(o.At, o.Violation)
			}
			t.Fail()
		} else if from == to {
			t.Log(o.Counts)
		}
	}
}
