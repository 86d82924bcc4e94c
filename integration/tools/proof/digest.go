package main

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// How much is said again at the end about what failed: whoever sees only the
// end of a long log must find the cause there.
const (
	digestLines  = 20  // of one test
	digestWidth  = 300 // characters of one line
	digestTests  = 6   // of the others only the names
	digestFollow = 3   // lines of one entry after its first
)

// entryLine begins what one call of t.Log or t.Error wrote; further lines are
// indented deeper.
var entryLine = regexp.MustCompile(`^ {4}\S+\.go:\d+: `)

// digest gives the last lines of what a test wrote, with long entries, such as
// the logs of hosts, cut to their beginning; of a crash its beginning.
func digest(output []string) []string {
	var lines []string
	follow, crash := 0, -1
	for text := range strings.Lines(strings.Join(output, "")) {
		text = strings.TrimRight(text, "\n")
		switch {
		case strings.TrimSpace(text) == "" || strings.HasPrefix(text, "=== "):
			continue
		case strings.HasPrefix(strings.TrimSpace(text), "--- PASS"):
			continue
		case entryLine.MatchString(text):
			follow = 0
		case strings.HasPrefix(text, "        "):
			if follow++; follow > digestFollow {
				continue
			}
		}
		if crash < 0 && (strings.HasPrefix(text, "panic: ") || strings.HasPrefix(text, "fatal error: ")) {
			crash = len(lines)
		}
		if r := []rune(text); len(r) > digestWidth {
			text = string(r[:digestWidth]) + "..."
		}
		lines = append(lines, text)
	}
	if crash >= 0 {
		lines = lines[crash:]
		return lines[:min(len(lines), digestLines)]
	}
	return lines[max(0, len(lines)-digestLines):]
}

// tellFailures repeats in short what failed.
func (r *results) tellFailures(out io.Writer) {
	var bad []string
	for key, how := range r.outcomes {
		if how == failed || how == running {
			bad = append(bad, key)
		}
	}
	slices.Sort(bad)
	for i, key := range bad {
		fmt.Fprintf(out, "FAILED: %s\n", key[strings.LastIndexByte(key, '.')+1:])
		if i >= digestTests {
			continue
		}
		for _, line := range r.digests[key] {
			fmt.Fprintln(out, line)
		}
	}
}
