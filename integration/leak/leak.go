// Package leak fails a test that leaves something on the machine.
//
// It owns the comparison of two looks: mounts, cgroups, network namespaces,
// links, nftables, processes, open files of the test, files in given
// directories, and that /dev/ptmx is still a device. It promises to name each
// thing that is left, and not to fail for what the kernel or the machine's
// PID 1 is still clearing away. It must not remove anything: what it finds is
// a bug of the tested program.
package leak

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// Scope says what counts.
type Scope struct {
	// Match narrows everything but Dirs and Cgroups to what has one of these
	// words in its name, command line, working directory, cgroup or source.
	// Without it everything on the machine counts, which only a test that is
	// alone there can stand.
	Match []string
	// Dirs are directories below which each file counts. They need not exist.
	Dirs []string
	// Cgroups are names below the root of each cgroup tree, like "dcos": they
	// and all below them count.
	Cgroups []string
	// OpenFiles makes every open file of the test process count, whatever
	// Match says. No other test may run beside it then.
	OpenFiles bool
	// Limit is how long clean-up may take; 0 means 15 s.
	Limit time.Duration
}

// Machine is a remote machine: a *hosts.Host is one.
type Machine interface {
	Name() string
	Run(ctx context.Context, command ...string) (stdout, stderr string, err error)
}

// snapshot counts lines, each of which names one thing, its kind first.
type snapshot map[string]int

func (out snapshot) add(format string, args ...any) { out[fmt.Sprintf(format, args...)]++ }

// Check looks now and again when the test has ended, after the clean-up of
// everything that the test sets up later, and fails the test for each thing
// that is there then and was not before.
func Check(t testing.TB, scopes ...Scope) {
	t.Helper()
	check(t, "", local, merge(scopes))
}

// CheckOn is Check for another machine. Its own commands run over ssh, so its
// processes of ssh do not count, and there are no open files to look at.
func CheckOn(t testing.TB, m Machine, scopes ...Scope) {
	t.Helper()
	look := func(ctx context.Context, s Scope) (snapshot, error) { return remote(ctx, m, s) }
	check(t, m.Name()+": ", look, merge(scopes))
}

func merge(scopes []Scope) Scope {
	all := Scope{Limit: 15 * time.Second}
	for _, s := range scopes {
		all.Match = append(all.Match, s.Match...)
		all.Dirs = append(all.Dirs, s.Dirs...)
		all.Cgroups = append(all.Cgroups, s.Cgroups...)
		all.OpenFiles = all.OpenFiles || s.OpenFiles
		if s.Limit > 0 {
			all.Limit = s.Limit
		}
	}
	return all
}

func (s Scope) matches(text string) bool {
	return len(s.Match) == 0 || slices.ContainsFunc(s.Match, func(w string) bool { return strings.Contains(text, w) })
}

func check(t testing.TB, where string, look func(context.Context, Scope) (snapshot, error), s Scope) {
	t.Helper()
	before, err := look(t.Context(), s)
	if err != nil {
		t.Fatalf("%sleak check: %v", where, err)
	}
	t.Cleanup(func() {
		t.Helper()
		// The test's own context has ended by now.
		ctx, cancel := context.WithTimeout(context.Background(), s.Limit+time.Minute)
		defer cancel()
		left, err := settle(ctx, s.Limit, func() ([]string, error) {
			after, err := look(ctx, s)
			return leaks(before, after), err
		})
		if err != nil {
			t.Errorf("%sleak check: %v", where, err)
		}
		for _, l := range left {
			t.Errorf("%sleaked: %s", where, l)
		}
	})
}

// settle looks until nothing is left or the limit is over: the kernel removes
// namespaces after the call has returned, and the machine's PID 1 reaps
// orphans every second or two.
func settle(ctx context.Context, limit time.Duration, look func() ([]string, error)) ([]string, error) {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		left, err := look()
		if err == nil && len(left) == 0 {
			return nil, nil
		}
		again := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			again.Stop()
			return left, err
		case <-deadline.C:
			again.Stop()
			return left, err
		case <-again.C:
		}
	}
}

// leaks lists what after has more of than before.
func leaks(before, after snapshot) []string {
	var out []string
	for _, line := range slices.Sorted(maps.Keys(after)) {
		switch more := after[line] - before[line]; {
		case more == 1:
			out = append(out, line)
		case more > 1:
			out = append(out, fmt.Sprintf("%s (%d times)", line, more))
		}
	}
	return out
}
