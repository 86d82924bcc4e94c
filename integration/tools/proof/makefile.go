package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

var (
	ruleLine   = regexp.MustCompile(`^([a-z][a-z0-9_-]*)\s*:([^=#]*)(?:#.*)?$`)
	callOfMake = regexp.MustCompile(`(?:\bmake|\$\(MAKE\))\s+(.*)`)
)

// targetsOfCI returns every make target that .ci/run runs: those it names, their
// prerequisites, and those that their recipes make, to any depth.
func targetsOfCI(root string) (map[string]bool, error) {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		return nil, fmt.Errorf("read the Makefile: %w", err)
	}
	script, err := os.ReadFile(filepath.Join(root, ".ci", "run"))
	if err != nil {
		return nil, fmt.Errorf("read the CI script: %w", err)
	}
	rules := rulesOf(string(makefile))
	reached := map[string]bool{}
	var visit func(names []string)
	visit = func(names []string) {
		for _, name := range names {
			next, known := rules[name]
			if known && !reached[name] {
				reached[name] = true
				visit(next)
			}
		}
	}
	visit(madeBy(string(script)))
	return reached, nil
}

// rulesOf maps each target to the words that it may lead to.
func rulesOf(makefile string) map[string][]string {
	rules := map[string][]string{}
	current := ""
	for text := range strings.Lines(makefile) {
		text = strings.TrimRight(text, "\n")
		if m := ruleLine.FindStringSubmatch(text); m != nil {
			current = m[1]
			rules[current] = append(rules[current], strings.Fields(m[2])...)
		} else if strings.HasPrefix(text, "\t") && current != "" {
			rules[current] = append(rules[current], madeBy(text)...)
		}
	}
	return rules
}

// madeBy returns the words after a call of make; words that are no targets do no harm.
func madeBy(script string) []string {
	var out []string
	for text := range strings.Lines(script) {
		text = strings.TrimSpace(text)
		if strings.HasPrefix(text, "#") {
			continue
		}
		if m := callOfMake.FindStringSubmatch(text); m != nil {
			out = append(out, strings.Fields(m[1])...)
		}
	}
	return out
}
