package bench

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/dcos-go/dcos/pkg/client"
)

// starter is the package of the first task: it needs no image.
const starter = "hello-world"

// devStart is the time from the start of the binary to the first task of an
// installed package running, as a client of the API sees it.
func devStart(ctx context.Context, b *bench) ([]figure, error) {
	var seconds []float64
	for i := range b.rounds {
		b.say("dev-start %d of %d", i+1, b.rounds)
		took, err := b.devStartOnce(ctx)
		if err != nil {
			return nil, err
		}
		seconds = append(seconds, took.Seconds())
	}
	return []figure{spanned("dev-start", seconds, "package "+starter)}, nil
}

func (b *bench) devStartOnce(ctx context.Context) (took time.Duration, err error) {
	from := time.Now()
	r, err := b.dev(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, r.end()) }()
	if _, err := r.client.InstallPackage(ctx, client.PackageRequest{PackageName: starter}); err != nil {
		return 0, fmt.Errorf("install %s: %w", starter, err)
	}
	if _, err := r.startedTask(ctx, ""); err != nil {
		return 0, err
	}
	return time.Since(from), nil
}

// submitStart is the time from the POST of a command task to the moment that
// the task itself writes down, on an idle cluster.
func submitStart(ctx context.Context, b *bench) (_ []figure, err error) {
	r, err := b.dev(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.end()) }()
	b.say("submit-start")
	var medians, all, toPlace []float64
	for round := range b.rounds {
		var ms []float64
		for i := range b.submits {
			place, took, err := r.submit(ctx, fmt.Sprintf("/bench/start-%d-%d", round, i))
			if err != nil {
				return nil, err
			}
			ms, toPlace = append(ms, float64(took)/1e6), append(toPlace, float64(place)/1e6)
		}
		medians, all = append(medians, median(ms)), append(all, ms...)
	}
	return []figure{spanned("submit-start", medians, fmt.Sprintf("medians of %d submits each, of which %s ms until it is placed; p99 of all %s ms; %s; with the fork of date",
		b.submits, number(median(toPlace)), number(quantile(all, 0.99)), r.isolation(ctx)))}, nil
}

// isolation says how the tasks were run.
func (r *running) isolation(ctx context.Context) string {
	nodes, err := r.client.Nodes(ctx, client.Query{})
	if err != nil || len(nodes.Items) == 0 {
		return "isolation unknown"
	}
	return "isolation " + nodes.Items[0].Isolation
}

// submit takes one task through its life. place is the part of the time that
// ended with its place, by the leader's stamp.
func (r *running) submit(ctx context.Context, id string) (place, took time.Duration, err error) {
	spec := fmt.Appendf(nil, `{"id":%q,"cmd":"date +%%s%%N > started && exec sleep 100000","cpus":0.01,"mem":16}`, id)
	from := time.Now()
	if _, err := r.client.CreateApp(ctx, spec); err != nil {
		return 0, 0, fmt.Errorf("create %s: %w", id, err)
	}
	task, err := r.startedTask(ctx, id)
	if err != nil {
		return 0, 0, err
	}
	var at int64
	err = await(ctx, "the task's own word", time.Millisecond, r.children, func() (bool, error) {
		at = r.started(task.ID)
		return at > 0, nil
	})
	if err != nil {
		return 0, 0, err
	}
	placedAt, err := time.Parse(time.RFC3339, task.PlacedAt)
	if err != nil {
		return 0, 0, fmt.Errorf("read when %s was placed: %w", task.ID, err)
	}
	return placedAt.Sub(from), time.Unix(0, at).Sub(from), r.remove(ctx, id)
}

// started is what a task wrote into its sandbox; 0 while it has not.
func (r *running) started(task string) (at int64) {
	_ = filepath.WalkDir(r.work, func(path string, d fs.DirEntry, err error) error { // directories come and go
		if err != nil || d.IsDir() || d.Name() != "started" || !strings.Contains(path, task) {
			return nil
		}
		b, err := os.ReadFile(path) //nolint:gosec // the task is our own
		if err == nil && strings.HasSuffix(string(b), "\n") {
			at, _ = strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64) // 0 is asked for again
		}
		return fs.SkipAll
	})
	return at
}
