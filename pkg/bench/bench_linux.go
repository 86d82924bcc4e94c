// Package bench measures this binary against its budgets.
//
// It owns the benchmarks, the file of budgets, and the table they are printed
// in. It promises that a figure is the median of several runs, that a
// throughput counts only when everything acknowledged is found again after the
// disk lost what was not synced, and that nothing is left behind: no process,
// mount, control group or file. It must not assert anything (a missed budget
// is printed, and that is all), nor hold decision code: it runs what
// production runs.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"time"
)

// Options say what to measure and how.
type Options struct {
	JSON   bool   // an array of rows instead of the table
	Run    string // rows whose name this regular expression matches; "" is all
	Rounds int    // runs of each benchmark; 0 is 5
	// Binary is what is started and weighed; "" is this program.
	Binary string
	// Progress is told what is being measured; nil is nobody.
	Progress io.Writer
	// Against is another binary that is measured as well; "" is none.
	Against string
	// FsyncDelay is added to each fsync of the rows that run in this process.
	FsyncDelay time.Duration
}

// ErrNotMeasured says that a benchmark could not run. Its row says why.
var ErrNotMeasured = errors.New("not everything could be measured")

// sizes are how much is measured; tests use small ones.
type sizes struct {
	rounds    int
	nodes     int // of the farm
	instances int // of all apps together
	submits   int // of one round
	window    time.Duration
	settle    time.Duration
	few, many int // tasks
	fleet     int // simulated agents
	tasks     int // on them when memory is weighed
	batch     int // tasks of the batch
	million   int // tasks of the rows that say a million
	failovers int // rounds
	delay     time.Duration
}

func fullSizes(rounds int) sizes {
	if rounds <= 0 {
		rounds = 5
	}
	return sizes{
		rounds: rounds, nodes: 5000, instances: 10_000, submits: 30,
		window: 10 * time.Second, settle: 3 * time.Second, few: 20, many: 100,
		fleet: 5000, tasks: 50_000, batch: 1000, million: 1_000_000, failovers: 10 * rounds,
	}
}

// benchmark fills some rows.
type benchmark struct {
	rows []string
	run  func(ctx context.Context, b *bench) ([]figure, error)
}

// bench is one run of the suite.
type bench struct {
	sizes
	binary string
	wanted func(row string) bool
	say    func(format string, args ...any)
}

func suite() []benchmark {
	return []benchmark{
		{[]string{"dev-start"}, devStart},
		{[]string{"submit-start"}, submitStart},
		{[]string{"task-memory-20", "task-memory-100", "agent-rss", "agent-cpu"}, agentCosts},
		{[]string{"binary-size"}, binarySize},
		{[]string{"decide-one-app", "decide-20-apps", "decide-spread"}, decide},
		{[]string{"commit-one-app", "commit-20-apps", "commit-spread"}, commit},
		{apiRows(), apiSpeed},
		{[]string{"write-3-masters"}, apiSpeedOfThree},
		{fleetRows(), withFleet},
		{[]string{"fleet-reconnect"}, reconnect},
		{[]string{"failover-killed", "failover-killed-p99", "failover-silent"}, failover},
		{[]string{"million-memory", "million-snapshot", "million-restart"}, million},
	}
}

// Main measures and prints. Its error is ErrNotMeasured when a benchmark could
// not run; a missed budget is no error.
func Main(ctx context.Context, o Options, out io.Writer) error {
	return o.measure(ctx, fullSizes(o.Rounds), out)
}

func (o Options) measure(ctx context.Context, s sizes, out io.Writer) error {
	s.delay = o.FsyncDelay
	if o.Against != "" {
		return o.both(ctx, s, out)
	}
	match, err := regexp.Compile(o.Run)
	if err != nil {
		return fmt.Errorf("rows to run: %w", err)
	}
	budgets, err := Budgets()
	if err != nil {
		return err
	}
	b := &bench{sizes: s, binary: o.Binary, wanted: match.MatchString, say: func(string, ...any) {}}
	if o.Progress != nil {
		b.say = func(format string, args ...any) { fmt.Fprintf(o.Progress, format+"\n", args...) }
	}
	if b.binary == "" {
		if b.binary, err = os.Executable(); err != nil {
			return fmt.Errorf("find this binary: %w", err)
		}
	}
	head := machine() // the load before we make our own
	rows, failed := b.all(ctx, budgets)
	if len(rows) == 0 {
		return fmt.Errorf("no row matches %q", o.Run)
	}
	if o.JSON {
		err = writeJSON(out, rows)
	} else {
		err = writeTable(out, fmt.Sprintf("%s; medians of %d runs", head, s.rounds), rows)
	}
	if err == nil && failed {
		err = ErrNotMeasured
	}
	return err
}

// all runs the benchmarks whose rows are wanted.
func (b *bench) all(ctx context.Context, budgets []Budget) (rows []Row, failed bool) {
	figures, faults := map[string]figure{}, map[string]string{}
	for _, one := range suite() {
		wanted := false
		for _, row := range one.rows {
			wanted = wanted || b.wanted(row)
		}
		if !wanted {
			continue
		}
		got, err := one.run(ctx, b)
		for _, f := range got {
			figures[f.row] = f
		}
		for _, row := range one.rows {
			if err != nil {
				faults[row] = err.Error()
			}
			if f, ok := figures[row]; ok && err != nil && len(got) == len(one.rows) {
				f.note += "; but then: " + err.Error() // while it was ended
				figures[row] = f
			}
		}
	}
	for _, budget := range budgets {
		if !b.wanted(budget.Name) {
			continue
		}
		r := newRow(budget)
		if f, ok := figures[budget.Name]; ok {
			r.fill(budget, f)
		} else {
			failed = true
			r.Note = "could not run: " + faults[budget.Name]
		}
		rows = append(rows, r)
	}
	return rows, failed
}

func binarySize(_ context.Context, b *bench) ([]figure, error) {
	st, err := os.Stat(b.binary)
	if err != nil {
		return nil, fmt.Errorf("weigh the binary: %w", err)
	}
	return []figure{{row: "binary-size", value: float64(st.Size()) / 1e6}}, nil
}
