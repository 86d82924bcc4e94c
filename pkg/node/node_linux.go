// Package node is the composition root: it turns a configuration into a
// running master, agent or both.
//
// It owns the order in which parts start and end, the data directory, this
// machine's identity, and the wiring between packages that know each other by
// interface only. It promises that a directory is used by one process, that
// parts end in the reverse order of their start, and that the first part which
// fails ends the process with its error. It must not decide anything about
// tasks or the cluster.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Ready is what a running dev cluster tells its user.
type Ready struct {
	ClusterID   string
	ClusterName string
	URL         string // of API and page
	Token       string // a bearer token of the first admin
	LoginURL    string // opens the page logged in; works once
	DataDir     string
	NotEnforced []string // what the runtime cannot enforce here
}

// part is one long-running piece of a process. Its run ends with its context
// and returns nil only for that reason.
type part struct {
	name string
	run  func(ctx context.Context) error
}

// endPatience is how long one part may take to end before the next is ended
// all the same.
const endPatience = 10 * time.Second

// runParts starts parts in order and, when ctx ends or one of them fails, ends
// them in reverse order. What is added while they run (by more) counts as last.
func runParts(ctx context.Context, log *slog.Logger, parts []part) error {
	type running struct {
		part
		cancel context.CancelFunc
		done   chan struct{}
		err    error // set before done is closed
	}
	failed := make(chan *running, len(parts))
	var all []*running
	for _, p := range parts {
		// Parts are ended one by one, so their contexts do not follow ctx.
		pctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		r := &running{part: p, cancel: cancel, done: make(chan struct{})}
		all = append(all, r)
		go func() { // ends with the part
			defer close(r.done)
			r.err = r.run(pctx)
			if pctx.Err() == nil {
				if r.err == nil {
					r.err = errors.New("ended without being told to")
				}
				failed <- r
			}
		}()
	}
	var first error
	select {
	case <-ctx.Done():
	case r := <-failed:
		first = fmt.Errorf("%s: %w", r.name, r.err)
		log.Error("part failed, the process ends", "part", r.name, "err", r.err)
	}
	for i := len(all) - 1; i >= 0; i-- {
		r := all[i]
		r.cancel()
		select {
		case <-r.done:
			if r.err != nil && first == nil {
				first = fmt.Errorf("end %s: %w", r.name, r.err)
			}
		case <-time.After(endPatience):
			log.Error("part does not end", "part", r.name, "after", endPatience)
		}
	}
	return first
}
