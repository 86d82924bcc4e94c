// Package history records what the clients of a cluster did with its apps and
// judges whether one order of all operations explains what they saw.
//
// It owns the model of an app as clients may rely on it (created once, read,
// replaced, patched, deleted, and changed only at a named version), and the
// verdict. It promises that an operation whose outcome is not known is taken to
// have happened at any time after its call, or never, and that no history is
// called legal that was not decided. It must not talk to a cluster.
package history

import (
	"sync"
	"time"
)

// Kind is what an operation does.
type Kind uint8

// The kinds of operation.
const (
	Read    Kind = iota
	Create       // refused when the app exists
	Replace      // the whole definition, made when it does not exist
	Patch        // one field of an app that exists
	Delete
)

var kindWords = [...]string{"read", "create", "replace", "patch", "delete"}

// Input is one operation on one app. Value names the write: no two writes of a
// history have the same one.
type Input struct {
	Kind    Kind
	Key     string
	Value   string
	IfMatch string // the version that the app must have; "" is any
}

// Outcome is what the client was told.
type Outcome uint8

// The outcomes.
const (
	Unknown  Outcome = iota // nothing: it happens some time from now on, or never
	Done                    // it happened
	Missing                 // there is no such app
	Exists                  // there is one already
	Mismatch                // the app is not at the version of IfMatch
)

var outcomeWords = [...]string{"outcome unknown", "done", "not found", "exists already", "another version"}

// Output is an answer. Full and Part are what a read found: the value of the
// last write of the whole definition, and of the last write at all. Version is
// the app's after a write, or as a read found it; "" is not known.
type Output struct {
	Outcome    Outcome
	Full, Part string
	Version    string
}

type record struct {
	client int
	in     Input
	out    Output
	call   int64
	end    int64
}

// Recorder collects the operations of one history. Its methods may be called
// by all clients at once.
type Recorder struct {
	began time.Time

	mu      sync.Mutex
	records []record // guarded by mu
	asked   int      // guarded by mu
}

// NewRecorder starts a history in which no app exists.
func NewRecorder() *Recorder { return &Recorder{began: time.Now()} }

// Now is the moment in the history's own time, to be taken before a call and
// again after its answer.
func (r *Recorder) Now() int64 { return int64(time.Since(r.began)) }

// Add records the operations that one request of a client answered. A request
// without an answer that says anything is not added.
func (r *Recorder) Add(client int, call, end int64, did ...Operation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	for _, d := range did {
		r.records = append(r.records, record{client, d.Input, d.Output, call, end})
	}
}

// Operation is an input with its output.
type Operation struct {
	Input
	Output
}

// Requests is how many requests were added.
func (r *Recorder) Requests() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked
}

// Count is how many requests for operations had an outcome.
func (r *Recorder) Count(o Outcome) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, k := range r.records {
		if k.out.Outcome == o {
			n++
		}
	}
	return n
}
