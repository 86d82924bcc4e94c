package sim

import (
	"context"
	crand "crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"time"
)

// SeedJitter makes raft's election jitter follow a seed, until restore is
// called. It changes crypto/rand.Reader for the whole process, so that nothing
// but a simulation may run there.
func SeedJitter(seed uint64) (restore func()) {
	before := crand.Reader
	crand.Reader = &jitter{chance{seed ^ 0x6a17e4}}
	return func() { crand.Reader = before }
}

type jitter struct{ c chance }

var _ io.Reader = (*jitter)(nil)

// Read fills p; it never fails.
func (j *jitter) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(j.c.next())
	}
	return len(p), nil
}

// Seeded runs one seed with its jitter.
func Seeded(r Run) Outcome {
	defer SeedJitter(r.Seed)()
	return Do(r)
}

// Options are what `dcos sim` is asked for.
type Options struct {
	// Self starts this program again: the words before the options.
	Self []string

	Seed   uint64        // run this one, in this process
	Trace  bool          // and print its whole trace
	Seeds  int           // or run so many, in processes of their own
	From   uint64        // beginning with this one
	Length time.Duration // virtual time of each
	Jobs   int
	Again  int    // run the one seed so often and compare
	Replay bool   // run failing seeds twice more and compare byte for byte
	Mutate bool   // then plant bugs and see that they are caught
	Mutant string // only this one
	Source string // the tree that mutants are built from; "" finds it
	child  bool   // print outcomes as JSON, for the process that asked
	count  uint64 // of a child's seeds
}

// ErrFound says that an invariant was broken, or that a planted bug was not
// found. What it was has been printed.
var ErrFound = errors.New("the simulation has failed")

// Command runs the simulator with the arguments of a command line; self are the
// words that start this program's simulator.
func Command(ctx context.Context, self, args []string, out io.Writer) error {
	o := Options{Self: self}
	flags := flag.NewFlagSet("sim", flag.ContinueOnError)
	flags.SetOutput(out)
	minutes := 10.0
	flags.Uint64Var(&o.Seed, "seed", 0, "run this one seed and print the hash of its trace")
	flags.BoolVar(&o.Trace, "trace", false, "with --seed: print the whole trace")
	flags.IntVar(&o.Again, "replay", 1, "with --seed: run it so many times, each in a process of its own, and compare traces and verdicts byte for byte, failures too")
	flags.IntVar(&o.Seeds, "seeds", 300, "how many seeds to run")
	flags.Uint64Var(&o.From, "from", 1, "the first of them")
	flags.Float64Var(&minutes, "minutes", minutes, "virtual minutes of each run")
	flags.IntVar(&o.Jobs, "jobs", runtime.NumCPU(), "how many processes run seeds at once")
	flags.BoolVar(&o.Replay, "replay-check", false, "run a sample of seeds, and every seed that fails, twice more and compare the traces byte for byte")
	flags.BoolVar(&o.Mutate, "mutants", false, "then plant known bugs in the real files and see that each is caught (needs the source and a Go toolchain)")
	flags.StringVar(&o.Mutant, "mutant", "", "plant only this bug")
	flags.StringVar(&o.Source, "source", "", "the source tree that mutants are built from (default: the module around the working directory)")
	flags.BoolVar(&o.child, "child", false, "print outcomes as JSON; used by the simulator itself")
	flags.Uint64Var(&o.count, "count", 1, "seeds of a child")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("sim: unexpected argument %q", flags.Arg(0))
	}
	if o.Seeds < 1 || o.Jobs < 1 {
		return fmt.Errorf("sim: --seeds %d and --jobs %d: give at least 1 of each", o.Seeds, o.Jobs)
	}
	o.Length = time.Duration(minutes * float64(time.Minute))
	if o.Length < Least {
		return fmt.Errorf("sim: %v minutes are too few, a run takes at least %v", minutes, Least)
	}
	return Main(ctx, o, out)
}

// Main runs the simulator. Its error is ErrFound when the product failed, or
// says why nothing could be found out.
func Main(ctx context.Context, o Options, out io.Writer) error {
	switch {
	case o.child:
		return runChild(ctx, o, out)
	case o.Seed != 0 && o.Again > 1:
		return runAgain(ctx, o, o.Self, out)
	case o.Seed != 0:
		return runOne(o, out)
	}
	if o.Mutant == "" {
		if err := runMany(ctx, o, out); err != nil {
			return err
		}
	}
	if o.Mutate || o.Mutant != "" {
		return runMutants(ctx, o, out)
	}
	return nil
}

// runChild runs a few seeds and prints an outcome per line.
func runChild(ctx context.Context, o Options, out io.Writer) error {
	debug.SetGCPercent(800)
	enc := json.NewEncoder(out)
	for seed := o.From; seed < o.From+o.count && ctx.Err() == nil; seed++ {
		if err := enc.Encode(Seeded(Run{Seed: seed, Length: o.Length})); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// runOne runs one seed here, and tells all about it.
func runOne(o Options, out io.Writer) error {
	r := Run{Seed: o.Seed, Length: o.Length}
	if o.Trace {
		r.Trace = func(line string) { fmt.Fprintln(out, line) }
	}
	got := Seeded(r)
	if got.Violation != "" {
		report(out, o, got, !o.Trace)
		return ErrFound
	}
	fmt.Fprintf(out, "%s\n", verdict(o, got))
	return nil
}

// verdict is all that two runs of a seed must have in common, in a line.
func verdict(o Options, got Outcome) string {
	if got.Violation != "" {
		return fmt.Sprintf("seed %d fails at %s s, %d events, trace %016x: %s", got.Seed, got.At, got.Events, got.Hash, got.Violation)
	}
	return fmt.Sprintf("seed %d: %d events in %v, at rest %v after the faults, trace %016x", got.Seed, got.Events, o.Length, got.Converged, got.Hash)
}

// report prints a failure: what, when, what was before, and how to see it again.
func report(out io.Writer, o Options, got Outcome, story bool) {
	if story {
		for _, line := range got.Last {
			fmt.Fprintln(out, line)
		}
	}
	fmt.Fprintf(out, "%s\n", verdict(o, got))
	fmt.Fprintf(out, "see it again: dcos sim --seed %d --minutes %g --trace\n", got.Seed, o.Length.Minutes())
}
