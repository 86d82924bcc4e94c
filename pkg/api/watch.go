package api

import (
	"context"
	"iter"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

// Watch is the changes of the state as a channel, so that a handler can wait
// for them and for a timer at once. What the handler has not taken is kept by
// the feed, which is bounded; a handler that is too slow loses the watch with
// dcos.ErrReset.
type Watch struct {
	// C is closed when the watch ends; Err says why.
	C    <-chan state.Commit
	stop context.CancelFunc
	done chan struct{}
	err  error // written before C is closed
}

// StartWatch watches the changes after an index. Stop must be called.
func StartWatch(ctx context.Context, feed state.Feed, from dcos.Index) (*Watch, error) {
	ctx, stop := context.WithCancel(ctx)
	commits, err := feed.Watch(ctx, from)
	if err != nil {
		stop()
		return nil, err
	}
	c := make(chan state.Commit)
	w := &Watch{C: c, stop: stop, done: make(chan struct{})}
	go func() { // ends with ctx, with the feed, or with Stop
		defer close(w.done)
		defer close(c)
		w.err = pass(ctx, commits, c)
	}()
	return w, nil
}

func pass(ctx context.Context, commits iter.Seq2[state.Commit, error], to chan<- state.Commit) error {
	for commit, err := range commits {
		if err != nil {
			return err
		}
		select {
		case to <- commit:
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// Err says why C was closed: nil when its context ended.
func (w *Watch) Err() error {
	<-w.done
	return w.err
}

// Stop ends the watch and waits for it.
func (w *Watch) Stop() {
	w.stop()
	<-w.done
}
