package sim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// batch is how many seeds one child runs.
const batch = 5

// tally is what many seeds have given.
type tally struct {
	runs, events int
	counts       map[string]int
	failed       []Outcome
	slowest      time.Duration // to come to rest
	kinds        int           // of faults, in the run with the fewest
}

func (t *tally) add(o Outcome) {
	t.runs++
	if t.runs == 1 || o.Kinds < t.kinds {
		t.kinds = o.Kinds
	}
	t.events += o.Events
	for k, n := range o.Counts {
		t.counts[k] += n
	}
	t.slowest = max(t.slowest, o.Converged)
	if o.Violation != "" {
		t.failed = append(t.failed, o)
	}
}

// enough is how many seeds must have seen everything.
const enough = 500

// runMany runs the seeds and prints what happened in them, and every failure.
func runMany(ctx context.Context, o Options, out io.Writer) error {
	from := time.Now()
	t, err := spread(ctx, o, o.Self, o.Seeds, false)
	if err != nil {
		return err
	}
	slices.SortFunc(t.failed, func(a, b Outcome) int { return int(a.Seed) - int(b.Seed) })
	never := table(out, t.counts)
	if len(never) > 0 {
		fmt.Fprintf(out, "never: %s\n", strings.Join(never, ", "))
	}
	fmt.Fprintf(out, "sim: %d seeds of %v in %v: %d events, %d kinds of faults at least, %d writes acknowledged, %d leaders, %d processes started, %d failures; slowest rest %v\n",
		t.runs, o.Length, time.Since(from).Round(100*time.Millisecond), t.events, t.kinds, t.counts["event write acknowledged"],
		t.counts["event leader elected"], t.counts["event process started"], len(t.failed), t.slowest)
	for i, f := range t.failed {
		report(out, o, f, i == 0)
	}
	if o.Replay {
		if err := replay(ctx, o, t.failed, out); err != nil {
			return err
		}
	}
	switch {
	case len(t.failed) > 0:
		return ErrFound
	case t.kinds < leastKinds && o.Length >= 10*time.Minute:
		fmt.Fprintf(out, "sim: a run had only %d kinds of faults, %d are wanted\n", t.kinds, leastKinds)
		return ErrFound
	case len(never) > 0 && t.runs >= enough:
		fmt.Fprintf(out, "sim: what never happens is not tested: a fault does not reach its target\n")
		return ErrFound
	}
	return nil
}

// spread runs seeds in several processes at once. With first it stops at the
// first failure.
func spread(ctx context.Context, o Options, program []string, seeds int, first bool) (tally, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t := tally{counts: map[string]int{}}
	var (
		mu   sync.Mutex
		next = o.From
		fail error
		work sync.WaitGroup
	)
	each := uint64(batch)
	if first {
		each = 1 // what comes behind the first failure is in vain
	}
	take := func() (from, n uint64) {
		mu.Lock()
		defer mu.Unlock()
		from = next
		n = min(each, o.From+uint64(seeds)-next)
		next += n
		return from, n
	}
	for range max(o.Jobs, 1) {
		work.Go(func() { // until there are no more seeds, or ctx ends
			for ctx.Err() == nil {
				from, n := take()
				if n == 0 {
					return
				}
				got, err := child(ctx, o, program, from, n)
				mu.Lock()
				for _, g := range got {
					t.add(g)
				}
				if err != nil && ctx.Err() == nil && fail == nil {
					fail = err
				}
				stop := fail != nil || first && len(t.failed) > 0
				mu.Unlock()
				if stop {
					cancel()
				}
			}
		})
	}
	work.Wait()
	if fail == nil && t.runs < seeds && len(t.failed) == 0 {
		fail = context.Cause(ctx)
	}
	return t, fail
}

// child runs a batch in a process of its own.
func child(ctx context.Context, o Options, program []string, from, n uint64) ([]Outcome, error) {
	args := append(slices.Clone(program[1:]), "--child", "--from", strconv.FormatUint(from, 10), "--count", strconv.FormatUint(n, 10),
		"--minutes", strconv.FormatFloat(o.Length.Minutes(), 'g', -1, 64))
	cmd := exec.CommandContext(ctx, program[0], args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var got []Outcome
	for dec := json.NewDecoder(&stdout); ; {
		var one Outcome
		if derr := dec.Decode(&one); derr != nil {
			if err == nil && !errors.Is(derr, io.EOF) {
				err = derr
			}
			break
		}
		got = append(got, one)
	}
	if err != nil {
		return got, fmt.Errorf("sim: the process for seeds %d to %d: %w: %s", from, from+n-1, err, bytes.TrimSpace(stderr.Bytes()))
	}
	if uint64(len(got)) != n {
		return got, fmt.Errorf("sim: the process for seeds %d to %d gave %d outcomes", from, from+n-1, len(got))
	}
	return got, nil
}

// replayed is how many good seeds are run twice.
const replayed = 5

// replay runs seeds twice with their whole traces and compares these.
func replay(ctx context.Context, o Options, failed []Outcome, out io.Writer) error {
	var seeds []uint64
	for _, f := range failed {
		seeds = append(seeds, f.Seed)
	}
	for i := range min(replayed, o.Seeds) {
		seeds = append(seeds, o.From+uint64(i))
	}
	for _, seed := range seeds {
		a, err := traceOf(ctx, o, o.Self, seed)
		if err != nil {
			return err
		}
		b, err := traceOf(ctx, o, o.Self, seed)
		if err != nil {
			return err
		}
		if !bytes.Equal(a, b) {
			at := 0
			for at < len(a) && at < len(b) && a[at] == b[at] {
				at++
			}
			fmt.Fprintf(out, "seed %d: two runs differ at byte %d: %.120q and %.120q\n", seed, at, a[at:], b[at:])
			return ErrFound
		}
	}
	fmt.Fprintf(out, "sim: %d seeds replayed, traces equal byte for byte\n", len(seeds))
	return nil
}

// runAgain runs one seed several times and compares the whole traces, and with
// them what came of it: a failure must be the same one. Between other seeds,
// without a trace, it must end like that too.
func runAgain(ctx context.Context, o Options, program []string, out io.Writer) error {
	among, err := child(ctx, o, program, o.Seed-1, 2)
	if err != nil {
		return err
	}
	want := verdict(o, among[1])
	var first []byte
	for i := range o.Again {
		text, err := traceOf(ctx, o, program, o.Seed)
		switch {
		case err != nil:
			return err
		case i == 0:
			first = text
		case !bytes.Equal(first, text):
			fmt.Fprintf(out, "seed %d: run %d of %d differs from the first\n", o.Seed, i+1, o.Again)
			return ErrFound
		}
	}
	if !bytes.Contains(first, []byte("\n"+want+"\n")) {
		fmt.Fprintf(out, "seed %d: with another seed before it, and without a trace, it ends otherwise: %s\n", o.Seed, want)
		return ErrFound
	}
	fmt.Fprintf(out, "%s\nsim: seed %d run %d times, %d bytes of trace equal each time\n", want, o.Seed, o.Again, len(first))
	if among[1].Violation != "" {
		return ErrFound
	}
	return nil
}

func traceOf(ctx context.Context, o Options, program []string, seed uint64) ([]byte, error) {
	args := append(slices.Clone(program[1:]), "--seed", strconv.FormatUint(seed, 10), "--trace", "--minutes", strconv.FormatFloat(o.Length.Minutes(), 'g', -1, 64))
	cmd := exec.CommandContext(ctx, program[0], args...)
	text, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		return nil, fmt.Errorf("sim: replay of seed %d: %w", seed, err)
	}
	return text, nil
}
