package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// file is proof.yaml.
type file struct {
	Issues []issue `json:"issues"`
}

// issue is one piece of work with the lines that say when it is done.
type issue struct {
	Issue int    `json:"issue"`
	Title string `json:"title"`
	Run   string `json:"run"` // what selects all its tests
	Lines []line `json:"lines"`
}

// line is one promise and what shows it: at least one of test, ci and note.
type line struct {
	Done string   `json:"done"`
	Test []string `json:"test,omitempty"` // names of top-level integration tests
	CI   []string `json:"ci,omitempty"`   // make targets that .ci/run reaches
	Note *note    `json:"note,omitempty"` // run once by hand
}

// note says what was run, at which commit, and how it ended.
type note struct {
	Command string   `json:"command"`
	Commit  string   `json:"commit"`
	Last    []string `json:"last"`
}

// demand is one named test that a run has to show.
type demand struct {
	issue int
	done  string
	test  string
}

// demands is what a run has to show.
type demands []demand

// readProof checks proof.yaml below root, and returns the tests that it names
// and that run selects. An issue of which nothing is selected is not judged.
func readProof(root, run string) (demands, error) {
	text, err := os.ReadFile(filepath.Join(root, "integration", "proof.yaml"))
	if err != nil {
		return nil, fmt.Errorf("read the proof file: %w", err)
	}
	var f file
	if err := yaml.UnmarshalStrict(text, &f); err != nil {
		return nil, fmt.Errorf("proof.yaml: %w", err)
	}
	top, _, _ := strings.Cut(run, "/") // as go test does: the rest selects subtests
	selects, err := regexp.Compile(top)
	if err != nil {
		return nil, fmt.Errorf("-run %q: %w", run, err)
	}
	reached, err := targetsOfCI(root)
	if err != nil {
		return nil, err
	}
	var out demands
	for _, is := range f.Issues {
		asked, err := is.demands(selects)
		if err != nil {
			return nil, err
		}
		if len(asked) == 0 {
			continue
		}
		if err := is.checkTargets(reached); err != nil {
			return nil, err
		}
		out = append(out, asked...)
	}
	return out, nil
}

// demands validates the issue and returns its selected tests.
func (is issue) demands(selects *regexp.Regexp) (demands, error) {
	where := func(l line) string { return fmt.Sprintf("proof.yaml: issue %d: %q", is.Issue, l.Done) }
	own, err := regexp.Compile(is.Run)
	if err != nil || is.Run == "" || is.Issue == 0 || len(is.Lines) == 0 {
		return nil, fmt.Errorf("proof.yaml: issue %d: needs a number, lines, and run: an expression that selects its tests", is.Issue)
	}
	var out demands
	for _, l := range is.Lines {
		if l.Done == "" || len(l.Test)+len(l.CI) == 0 && l.Note == nil {
			return nil, fmt.Errorf("%s: nothing shows it: name a test, a ci target or a note", where(l))
		}
		if n := l.Note; n != nil && (n.Command == "" || !commitID.MatchString(n.Commit) || len(n.Last) == 0) {
			return nil, fmt.Errorf("%s: a note needs command, commit (a hash) and the last lines it printed", where(l))
		}
		for _, t := range l.Test {
			if !own.MatchString(t) {
				return nil, fmt.Errorf("%s: %s is not selected by this issue's run %q, so nothing would check it", where(l), t, is.Run)
			}
			if selects.MatchString(t) {
				out = append(out, demand{is.Issue, l.Done, t})
			}
		}
	}
	return out, nil
}

var commitID = regexp.MustCompile(`^[0-9a-f]{7,40}$`)

// checkTargets holds every ci target against those that CI really runs.
func (is issue) checkTargets(reached map[string]bool) error {
	for _, l := range is.Lines {
		for _, target := range l.CI {
			if !reached[target] {
				return fmt.Errorf("proof.yaml: issue %d: %q: .ci/run does not reach the make target %q", is.Issue, l.Done, target)
			}
		}
	}
	return nil
}

// missing says which named tests did not exist or did not pass.
func (d demands) missing(got *results) []string {
	var out []string
	for _, one := range d {
		how, ran := got.outcomeOf(one.test)
		switch {
		case !ran:
			out = append(out, fmt.Sprintf("issue %d: %q: test %s does not exist", one.issue, one.done, one.test))
		case how != passed:
			out = append(out, fmt.Sprintf("issue %d: %q: test %s: %s", one.issue, one.done, one.test, how))
		}
	}
	return slices.Compact(out)
}
