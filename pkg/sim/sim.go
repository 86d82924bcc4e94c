// Package sim runs a whole cluster in virtual time: masters and agents made of
// the real cores of consensus, state, scheduler, dispatch and agent, on a
// network, disks, clocks and a container runtime that fail as a seed wants.
//
// It owns the loop of events, the faults, a workload, and the invariants that
// are looked at while it runs. It promises that a seed gives the same run, byte
// for byte, on every machine, and that a run that breaks an invariant says
// which one, when, and what happened before. It must hold no decision of the
// product: what a core does not decide is carried out here in the plainest way
// that a shell may do it.
//
// Raft's election jitter reads crypto/rand.Reader. The files named shell*.go
// replace it, in a process that does nothing but simulate.
package sim

import (
	"fmt"
	"runtime/debug"
	"strings"
	"time"
)

// Run is what one run is made of.
type Run struct {
	Seed uint64
	// Length is the virtual time of the run; the faults end before it does.
	Length time.Duration
	// Trace, when not nil, is given every line of the trace.
	Trace func(line string)
}

// Least is the shortest run that makes sense: the liveness phase takes its
// share at the end.
const Least = 4 * time.Minute

// Outcome is what came of a run.
type Outcome struct {
	Seed      uint64
	Violation string   `json:",omitempty"` // "" is a good run
	At        string   `json:",omitempty"` // virtual time of the violation
	Last      []string `json:",omitempty"` // what happened before it
	Hash      uint64   // of the trace
	Events    int
	Counts    map[string]int // faults and other things of interest, by name
	Kinds     int            // of faults that happened
	Converged time.Duration  // from the end of the faults until all was at rest
}

// violation is what the loop is left with when an invariant does not hold.
type violation struct{ text string }

// Do runs one seed in this goroutine. Only one may run at a time in a process,
// and with the jitter of its seed (see SeedJitter).
func Do(r Run) (out Outcome) {
	w := newWorld(r)
	defer w.end(&out, r.Seed)
	w.run()
	return out
}

// end is deferred: it makes the outcome, whatever the loop ended with.
func (w *world) end(out *Outcome, seed uint64) {
	v := recover()
	switch v := v.(type) {
	case nil:
	case violation:
		out.Violation = v.text
	default: // an invariant of a core's own
		out.Violation = fmt.Sprintf("panic: %v", v)
		w.note("%s", stackOf(debug.Stack()))
	}
	out.Seed, out.Hash, out.Events, out.Counts, out.Converged = seed, w.trace.sum, w.events, w.named(), w.converged
	out.Kinds = len(w.struck)
	if v != nil {
		out.At = w.stamp()
		out.Last = w.trace.recent()
	}
}

// stackOf keeps the functions of a stack, without addresses, which differ from
// run to run.
func stackOf(stack []byte) string {
	var out []string
	for _, line := range strings.Split(string(stack), "\n") {
		if at := strings.Index(line, "/pkg/"); at >= 0 && strings.HasPrefix(line, "\t") {
			place, _, _ := strings.Cut(line[at+1:], " ")
			out = append(out, place)
		}
	}
	return "stack: " + strings.Join(out, " < ")
}
