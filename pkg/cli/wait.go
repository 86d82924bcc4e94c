package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
)

// waiting are the flags of a write that can be waited for.
type waiting struct {
	wait, noWait bool
	timeout      time.Duration
	// must makes an app that does not get to run a failure, even when the user
	// has not said --wait.
	must bool
}

func waitFlags(c *cobra.Command, must bool) *waiting {
	w := &waiting{must: must}
	c.Flags().BoolVar(&w.wait, "wait", false, "wait until it is done, even while it is held back")
	c.Flags().BoolVar(&w.noWait, "no-wait", false, "do not wait at all")
	c.Flags().DurationVar(&w.timeout, "timeout", 5*time.Minute, "how long to wait")
	c.MarkFlagsMutuallyExclusive("wait", "no-wait")
	return w
}

// The rhythm and the patience of a wait.
const (
	lookFirst = 50 * time.Millisecond
	lookLast  = time.Second
	// heldAfter is how long an app must have found no place before that counts
	// as held back, so that a placement about to happen is not mistaken for it.
	heldAfter = 2 * time.Second
	// lostAfter is how long no master may answer.
	lostAfter = time.Minute
)

// errHeld says that an app waits for something that time alone does not bring.
var errHeld = errors.New("held back")

// settled waits until an app is as it is wanted: no deployment is left and all
// instances run. It says on standard error how far it is. Without --wait it
// comes back as soon as the app is held back.
func (w *waiting) settled(ctx context.Context, e *Env, api *client.Client, app string) error {
	return w.until(ctx, e, api, app, false)
}

// removed waits until an app is gone.
func (w *waiting) removed(ctx context.Context, e *Env, api *client.Client, app string) error {
	return w.until(ctx, e, api, app, true)
}

func (w *waiting) until(ctx context.Context, e *Env, api *client.Client, app string, gone bool) error {
	if w.noWait {
		return nil
	}
	p := &progress{e: e}
	ctx, cancel := context.WithTimeoutCause(ctx, w.timeout, context.DeadlineExceeded)
	defer cancel()
	row, err := w.watch(ctx, api, app, func(s client.Service, err error) (bool, error) {
		switch {
		case err != nil && !isNotFound(err):
			p.say("no master answers: %v", err)
			return false, nil
		case err != nil && gone:
			return true, nil
		case err != nil:
			return true, notFound("app "+app+" was removed meanwhile", "dcos events")
		case gone || s.Deployment != "" || s.State != "running" && s.State != "suspended":
			p.say("%s", doing(app, s))
			return false, nil
		}
		return true, nil
	})
	p.end()
	switch {
	case err == nil && gone:
		fmt.Fprintf(e.Err, "%s is removed\n", app)
		return nil
	case err == nil:
		fmt.Fprintf(e.Err, "%s: %d of %d running\n", app, row.Running, row.Instances)
		return nil
	case errors.Is(err, errHeld) && !w.must:
		fmt.Fprintf(e.Err, "%s is accepted and waits: %s\nTry: dcos why %s\n", app, row.Why, app)
		return nil
	case errors.Is(err, errHeld):
		return told{what: app + " is accepted, but does not run yet", why: row.Why, next: "dcos why " + app, err: context.DeadlineExceeded}
	}
	return detached(ctx, e, app, row, err)
}

// detached says what becomes of work that is no longer waited for.
func detached(ctx context.Context, e *Env, app string, row client.Service, err error) error {
	switch {
	case errors.Is(context.Cause(ctx), context.DeadlineExceeded):
		return told{what: fmt.Sprintf("%s is not done in time", app), why: row.Why, next: "dcos why " + app + " (the work goes on)", err: context.DeadlineExceeded}
	case ctx.Err() != nil:
		fmt.Fprintf(e.Err, "No longer waiting; the work goes on. Look again with: dcos why %s\n", app)
		return quietExit(exitTimeout)
	}
	return err
}

// watch looks at an app's service row until done says so, or until the app is
// held back and that ends the wait.
func (w *waiting) watch(ctx context.Context, api *client.Client, app string, done func(client.Service, error) (bool, error)) (client.Service, error) {
	var last client.Service
	var heldSince, lostSince time.Time
	pause := lookFirst
	for {
		row, err := api.Service(ctx, app)
		if ctx.Err() != nil {
			return last, ctx.Err()
		}
		now := time.Now()
		if !goesOn(err) {
			return last, err
		}
		if since(&lostSince, err != nil && !isNotFound(err), now) > lostAfter {
			return last, err
		}
		if err == nil {
			last = row
		}
		if ok, err := done(row, err); ok || err != nil {
			return row, err
		}
		if since(&heldSince, row.State == "waiting", now) > heldAfter && !w.wait {
			return row, errHeld
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return last, ctx.Err()
		}
		pause = min(pause*3/2, lookLast)
	}
}

// since is for how long something has been so without a break.
func since(from *time.Time, is bool, now time.Time) time.Duration {
	if !is {
		*from = time.Time{}
		return 0
	}
	if from.IsZero() {
		*from = now
	}
	return now.Sub(*from)
}

// goesOn says that looking again may help.
func goesOn(err error) bool {
	return err == nil || isNotFound(err) || errors.Is(err, dcos.ErrUnavailable) || errors.Is(err, dcos.ErrExhausted)
}

// doing says how far an app is.
func doing(app string, s client.Service) string {
	if s.State == "waiting" || s.State == "deleting" {
		return app + ": " + s.State + because(s.Why)
	}
	return fmt.Sprintf("%s: %s, %d of %d running", app, s.State, s.Running, s.Instances)
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return " (" + why + ")"
}

// progress is what a person sees while waiting: one line that is written over
// on a terminal, one line per change elsewhere.
type progress struct {
	e    *Env
	last string
}

func (p *progress) say(format string, args ...any) {
	text := printable(fmt.Sprintf(format, args...))
	if text == p.last {
		return
	}
	p.last = text
	if p.e.TTY {
		fmt.Fprint(p.e.Err, "\r\x1b[K"+cut(text, p.e.Width))
		return
	}
	fmt.Fprintln(p.e.Err, text)
}

// end leaves the line clean for what follows.
func (p *progress) end() {
	if p.e.TTY && p.last != "" {
		fmt.Fprint(p.e.Err, "\r\x1b[K")
	}
}
