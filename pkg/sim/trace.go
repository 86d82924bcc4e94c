package sim

import (
	"fmt"
	"time"
)

// kept is how many lines of the story are kept for a report.
const kept = 120

// trace is the run as a text of which only the hash and the last lines of the
// story are kept.
type trace struct {
	sum  uint64 // FNV-1a
	to   func(string)
	ring [kept]string
	n    int
}

func newTrace(to func(string)) trace { return trace{sum: 14695981039346656037, to: to} }

func (t *trace) hash(b byte) { t.sum = (t.sum ^ uint64(b)) * 1099511628211 }

func (t *trace) number(n uint64) {
	for range 8 {
		t.hash(byte(n))
		n >>= 8
	}
}

func (t *trace) text(s string) {
	for i := range len(s) {
		t.hash(s[i])
	}
	t.hash(0)
}

// event is one turn of the loop.
func (t *trace) event(at time.Duration, what string, who int) {
	t.number(uint64(at))
	t.text(what)
	t.hash(byte(who))
	if t.to != nil {
		t.to(fmt.Sprintf("%12.6f %s %d", at.Seconds(), what, who))
	}
}

// story is a line that a reader of a failure wants to see.
func (t *trace) story(line string) {
	t.text(line)
	t.ring[t.n%kept] = line
	t.n++
	if t.to != nil {
		t.to(line)
	}
}

// recent are the last lines of the story, oldest first.
func (t *trace) recent() []string {
	var out []string
	for i := max(0, t.n-kept); i < t.n; i++ {
		out = append(out, t.ring[i%kept])
	}
	return out
}
