package bench

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dcos-go/dcos/pkg/consensus"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/journal"
	"github.com/dcos-go/dcos/pkg/scheduler"
	"github.com/dcos-go/dcos/pkg/state"
)

// identity is whose log it is.
var identity = consensus.Identity{Cluster: "5ee70a5c-0000-4000-8000-000000000001", ID: 1}

// leads is scheduler.Leadership over a raft.
type leads struct{ raft *consensus.Raft }

// Lead implements scheduler.Leadership. A lone master leads until it ends.
func (l leads) Lead(ctx context.Context) (context.Context, error) {
	for {
		now, changed := l.raft.Leadership()
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if now.Ready && now.Leader == identity.ID {
			return ctx, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// commit measures the way from the POST of apps to the last placement
// committed, synced and applied by a lone master with its log on a real disk.
func commit(ctx context.Context, b *bench) ([]figure, error) {
	var out []figure
	for _, l := range loads(b.instances) {
		row := "commit-" + l.row
		if !b.wanted(row) {
			continue
		}
		b.say("%s", row)
		var rates []float64
		var last committed
		for range b.rounds {
			got, err := commitOnce(ctx, b.nodes, b.delay, l)
			if err != nil {
				return out, fmt.Errorf("%s: %w", row, err)
			}
			rates = append(rates, float64(l.apps*l.each)/got.took.Seconds())
			last = got
		}
		out = append(out, spanned(row, rates, fmt.Sprintf("last run: %d fsyncs, %s bytes, %s in all; found again after a power cut: %d",
			last.fsyncs, number(float64(last.bytes)), last.took.Round(time.Millisecond), last.found)))
	}
	return out, nil
}

type committed struct {
	took   time.Duration
	fsyncs int
	bytes  int64
	found  int
}

func commitOnce(ctx context.Context, nodes int, delay time.Duration, l load) (got committed, err error) {
	dir, err := os.MkdirTemp("", "dcos-bench-")
	if err != nil {
		return got, fmt.Errorf("make a directory for the log: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	log, err := openDisk(filepath.Join(dir, "raft"))
	if err != nil {
		return got, err
	}
	defer log.Close() // a directory that was read
	log.delay = delay
	snaps, err := openDisk(filepath.Join(dir, "snapshots"))
	if err != nil {
		return got, err
	}
	defer snaps.Close() // as above
	if err := consensus.Bootstrap(log, snaps, identity); err != nil {
		return got, fmt.Errorf("make the log: %w", err)
	}
	err = withRaft(ctx, log, snaps, func(ctx context.Context, r *consensus.Raft) error {
		got, err = post(ctx, r, log, nodes, l)
		log.cutPower() // right behind the last acknowledgement
		snaps.cutPower()
		return err
	})
	if err != nil && !errors.Is(err, errPower) {
		return got, err
	}
	for _, d := range []*disk{log, snaps} {
		if _, err := d.forget(); err != nil {
			return got, err
		}
	}
	got.found, err = reopen(ctx, dir)
	if err == nil && got.found != l.apps*l.each {
		err = fmt.Errorf("%d placements were acknowledged, %d are there after a power cut: the throughput does not count", l.apps*l.each, got.found)
	}
	return got, err
}

// withRaft runs f beside a master and the leader's scheduler, and ends them.
func withRaft(ctx context.Context, log, snaps journal.FS, f func(context.Context, *consensus.Raft) error) error {
	quiet := slog.New(slog.DiscardHandler)
	r, err := consensus.New(consensus.Options{Identity: identity, Log: log, Snapshots: snaps, Transport: &consensus.Links{}, Logger: quiet, Reserve: 1})
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	ctx, stop := context.WithCancel(ctx)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.Run(ctx) })
	g.Go(func() error { return scheduler.NewScheduler(r, r, leads{r}, quiet).Run(ctx) })
	g.Go(func() error {
		defer stop()
		if _, err := (leads{r}).Lead(ctx); err != nil {
			return fmt.Errorf("wait for leadership: %w", err)
		}
		return f(ctx, r)
	})
	err = g.Wait()
	stop()
	return err
}

// post fills the cluster, takes the time of the load, and says how often the
// log was synced meanwhile.
func post(ctx context.Context, r *consensus.Raft, log *disk, nodes int, l load) (committed, error) {
	propose := func(cmds ...state.Command) error { return propose(ctx, r, cmds...) }
	for _, cmds := range append([][]state.Command{{cluster()}}, farm(nodes)...) {
		if err := propose(cmds...); err != nil {
			return committed{}, err
		}
	}
	specs := l.specs()
	commits, err := r.Watch(ctx, r.View().Index())
	if err != nil {
		return committed{}, fmt.Errorf("watch: %w", err)
	}
	fsyncs, bytes := log.counted()
	from := time.Now()
	for _, spec := range specs {
		cmd, err := put(spec)
		if err != nil {
			return committed{}, err
		}
		if err := propose(cmd); err != nil {
			return committed{}, err
		}
	}
	if err := awaitPlaced(commits, l.apps*l.each); err != nil {
		return committed{}, err
	}
	got := committed{took: time.Since(from)}
	got.fsyncs, got.bytes = log.counted()
	got.fsyncs -= fsyncs
	got.bytes -= bytes
	return got, nil
}

// awaitPlaced follows the feed until so many tasks have got a place.
func awaitPlaced(commits iter.Seq2[state.Commit, error], want int) error {
	got := 0
	for c, err := range commits {
		if err != nil {
			return fmt.Errorf("watch: %w", err)
		}
		for _, change := range c.Changes {
			if t, ok := change.New.(*dcos.Task); ok && t.State == dcos.TaskPlaced {
				got++
			}
		}
		if got >= want {
			return nil
		}
	}
	return errors.New("the feed ended before all tasks had a place")
}

// reopen starts the master again from what the disk kept and counts.
func reopen(ctx context.Context, dir string) (found int, err error) {
	log, err := openDisk(filepath.Join(dir, "raft"))
	if err != nil {
		return 0, err
	}
	defer log.Close() // a directory that was read
	snaps, err := openDisk(filepath.Join(dir, "snapshots"))
	if err != nil {
		return 0, err
	}
	defer snaps.Close() // as above
	err = withRaft(ctx, log, snaps, func(ctx context.Context, r *consensus.Raft) error {
		v, err := r.Read(ctx)
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		found = placed(v)
		return nil
	})
	if err != nil {
		return found, fmt.Errorf("start again after a power cut: %w", err)
	}
	return found, nil
}
