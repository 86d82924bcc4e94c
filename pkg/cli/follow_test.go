package cli

import (
	"context"
	"strings"
	"testing"
)

// follow runs a command that never ends by itself until it has printed a word.
func (w *world) follow(word string, during func(), args ...string) string {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	e, out, errs := w.env("", args...)
	e.Out = &hook{out, word, cancel}
	code := make(chan int, 1)
	go func() { code <- Run(ctx, e) }() // ends with the word
	if during != nil {
		during()
	}
	if got := <-code; got != exitOK {
		w.t.Errorf("dcos %s: exit code %d: %s", strings.Join(args, " "), got, errs)
	}
	return out.String()
}

func TestFollowingGoesOnUntilItIsInterrupted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	w.attach()
	w.run(exitOK, strings.Replace(clock, `"mem"`, `"instances": 2, "mem"`, 1), "marathon", "app", "add", "--no-wait")
	ids := w.cluster.Run("/clock", "n1")
	w.writeLog(ids[0], "stdout", "from a\n")
	w.writeLog(ids[1], "stdout", "from b\n")
	contains(t, w.follow("from a", nil, "task", "log", string(ids[0]), "--follow"), "from a\n")
	contains(t, w.follow("from b", nil, "task", "log", "clock", "--follow"), string(ids[1])+": from b\n")
	stop, ended := make(chan struct{}), make(chan struct{})
	during := func() {
		// The stream shows what happens after it has begun, so make it happen
		// until it was seen.
		go func() {
			defer close(ended)
			for {
				select {
				case <-stop:
					return
				default:
					e, _, errs := w.env("", "marathon", "app", "restart", "clock", "--force", "--no-wait")
					if code := Run(context.Background(), e); code != exitOK {
						t.Errorf("restart: exit code %d: %s", code, errs)
						return
					}
				}
			}
		}()
	}
	out := w.follow("/clock", during, "events", "--follow", "--topic", "services")
	close(stop)
	<-ended
	contains(t, out, "services  /clock  ")
}
