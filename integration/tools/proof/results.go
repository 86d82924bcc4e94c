package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// event is one line of `go test -json`.
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Elapsed    float64
	Output     string
}

// outcome is how a top-level test ended; a test that never ended is running.
type outcome string

const (
	running outcome = "running"
	passed  outcome = "pass"
	failed  outcome = "fail"
	skipped outcome = "skip"
)

// results collects top-level tests by name and prints progress. A name that
// several packages use has its worst outcome.
type results struct {
	out      io.Writer
	outcomes map[string]outcome  // by package and test
	output   map[string][]string // by package and top-level test, dropped once it passed
	digests  map[string][]string // by package and top-level test, of those that failed
	broken   []string            // packages that failed
}

func newResults(out io.Writer) *results {
	return &results{out: out, outcomes: map[string]outcome{}, output: map[string][]string{}, digests: map[string][]string{}}
}

// read takes events until the stream ends. Lines that are no events are printed as they are.
func (r *results) read(stream io.Reader) error {
	lines := bufio.NewReader(stream)
	for {
		line, err := lines.ReadBytes('\n')
		var e event
		if json.Unmarshal(line, &e) == nil {
			r.add(e)
		} else if len(line) > 0 {
			fmt.Fprint(r.out, string(line))
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read from go test: %w", err)
		}
	}
}

func (r *results) add(e event) {
	top, sub, isSub := strings.Cut(e.Test, "/")
	key := e.Package + "." + top
	switch e.Action {
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "output":
		r.output[key] = append(r.output[key], e.Output)
	case "run":
		if !isSub {
			r.outcomes[key] = running
			fmt.Fprintf(r.out, "RUN   %s\n", top)
		}
	case "skip":
		if isSub { // a test with a skipped part did not show what its name says
			r.outcomes[key] = skipped
			fmt.Fprintf(r.out, "SKIP  %s/%s\n", top, sub)
		} else if top != "" {
			r.end(key, top, skipped, e.Elapsed)
		}
	case "pass", "fail":
		if top == "" {
			r.endPackage(key, e)
		} else if !isSub {
			r.end(key, top, outcome(e.Action), e.Elapsed)
		}
	}
}

func (r *results) end(key, top string, how outcome, seconds float64) {
	if r.outcomes[key] == skipped && how == passed {
		how = skipped
	}
	r.outcomes[key] = how
	if how != passed {
		fmt.Fprint(r.out, strings.Join(r.output[key], ""))
		r.digests[key] = digest(r.output[key])
	}
	delete(r.output, key)
	fmt.Fprintf(r.out, "%-5s %s %.1fs\n", strings.ToUpper(string(how)), top, seconds)
}

// endPackage prints what was written outside of any test when the package
// failed, and what its unfinished tests wrote: that is where a crash shows.
func (r *results) endPackage(key string, e event) {
	if e.Action == "fail" {
		r.broken = append(r.broken, e.Package)
		fmt.Fprint(r.out, strings.Join(r.output[key], ""))
		for name, how := range r.outcomes {
			if how == running && strings.HasPrefix(name, e.Package+".") {
				fmt.Fprint(r.out, strings.Join(r.output[name], ""))
				r.digests[name] = digest(r.output[name])
			}
		}
	}
	delete(r.output, key)
}

// outcomeOf is the worst outcome of the top-level tests of this name; false when none ran.
func (r *results) outcomeOf(test string) (outcome, bool) {
	worst, found := passed, false
	for key, how := range r.outcomes {
		if key[strings.LastIndexByte(key, '.')+1:] != test {
			continue
		}
		found = true
		if how != passed {
			worst = how
		}
	}
	return worst, found
}

// counts are over top-level tests; one that never ended has failed.
func (r *results) counts() (pass, fail, skip int) {
	for _, how := range r.outcomes {
		switch how {
		case passed:
			pass++
		case skipped:
			skip++
		case running, failed:
			fail++
		}
	}
	return pass, fail, skip
}

// problems are failures that no test's outcome shows.
func (r *results) problems() []string {
	var out []string
	for _, p := range r.broken {
		out = append(out, "package "+p+" failed")
	}
	for key, how := range r.outcomes {
		if how == running {
			out = append(out, key+" did not end")
		}
	}
	slices.Sort(out)
	return out
}
