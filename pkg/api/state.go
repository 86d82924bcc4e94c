package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

// How long a request waits for its turn in the replicated state. The client's
// own patience may end it before.
const (
	readPatience  = 15 * time.Second
	writePatience = 30 * time.Second
)

// State is the dialects' way to the replicated state.
type State struct {
	Proposer state.Proposer
	Feed     state.Feed
	// Past gives the state as it was at an earlier time; nil when nothing of it
	// is kept.
	Past func(ctx context.Context, at dcos.Time) (state.View, error)
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Time is the present moment.
func (s State) Time() dcos.Time {
	if s.Now == nil {
		return dcos.TimeOf(time.Now())
	}
	return dcos.TimeOf(s.Now())
}

// View is the state for a read: linearizable, or with ?stale what this master
// has, marked with its age, or with ?t= what was at that time. The index is in
// the header X-Dcos-Index; of the past, its time in X-Dcos-Time.
func (s State) View(w http.ResponseWriter, r *http.Request) (state.View, error) {
	if AsksForPast(r) {
		return s.past(w, r)
	}
	stale, err := Flag(r.URL.Query(), "stale", false)
	if err != nil {
		return state.View{}, err
	}
	v := s.Feed.View()
	if stale {
		w.Header().Set("X-Dcos-Stale", "true")
		w.Header().Set("X-Dcos-Age", s.Time().Sub(v.Time()).String())
	} else {
		ctx, cancel := context.WithTimeout(r.Context(), readPatience)
		defer cancel()
		if v, err = s.Feed.Read(ctx); err != nil {
			return v, fmt.Errorf("read the state: %w", kindOf(err, dcos.ErrUnavailable))
		}
	}
	w.Header().Set("X-Dcos-Index", strconv.FormatUint(uint64(v.Index()), 10))
	return v, nil
}

// AsksForPast says that a request is about an earlier time.
func AsksForPast(r *http.Request) bool { return r.URL.Query().Has("t") }

func (s State) past(w http.ResponseWriter, r *http.Request) (state.View, error) {
	at, err := ParseMoment(r.URL.Query().Get("t"), s.Time())
	if err != nil {
		return state.View{}, err
	}
	if s.Past == nil {
		return state.View{}, fmt.Errorf("%w: this master keeps no history: set history_mb", dcos.ErrNotFound)
	}
	ctx, cancel := context.WithTimeout(r.Context(), readPatience)
	defer cancel()
	v, err := s.Past(ctx, at)
	if err != nil {
		return v, fmt.Errorf("read the past: %w", kindOf(err, dcos.ErrUnavailable))
	}
	w.Header().Set("X-Dcos-Index", strconv.FormatUint(uint64(v.Index()), 10))
	w.Header().Set("X-Dcos-Time", v.Time().String())
	return v, nil
}

// ParseMoment reads a moment: an ISO 8601 one with an offset, or how long ago,
// as in -10m, -36h or -7d.
func ParseMoment(text string, now dcos.Time) (dcos.Time, error) {
	if ago, ok := strings.CutPrefix(text, "-"); ok {
		times := int64(1)
		if n, ok := strings.CutSuffix(ago, "d"); ok {
			ago, times = n+"h", 24
		}
		d, err := time.ParseDuration(ago)
		if err != nil || d < 0 || d > 100*365*24*time.Hour/time.Duration(times) {
			return 0, fmt.Errorf("%w: %.40q is no time ago, expected one like -10m, -36h or -7d", dcos.ErrInvalid, text)
		}
		return now.Add(time.Duration(-d.Nanoseconds() * times)), nil
	}
	at, err := dcos.ParseTime(strings.ReplaceAll(text, " ", "+")) // a plus sign in a query stands for a space
	if err != nil {
		return 0, fmt.Errorf("%w: %.40q is no time, expected one like 2026-01-31T12:00:00Z, or -10m for ten minutes ago", dcos.ErrInvalid, text)
	}
	return at, nil
}

// Checked is the state for a write that is refused by what is there: this
// master's own when the check likes it, since Apply checks again, and otherwise
// the confirmed one. A master that has lost the lead and does not know it yet
// must not refuse by what it remembers.
func (s State) Checked(r *http.Request, check func(state.View) error) (state.View, error) {
	v := s.Feed.View()
	err := check(v)
	if err == nil || !errors.Is(err, dcos.ErrNotFound) && !errors.Is(err, dcos.ErrConflict) {
		return v, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), readPatience)
	defer cancel()
	if v, err = s.Feed.Read(ctx); err != nil {
		return v, fmt.Errorf("read the state: %w", kindOf(err, dcos.ErrUnavailable))
	}
	return v, check(v)
}

// Propose carries commands out in the name of who asked. Its error is also the
// first one among the items.
func (s State) Propose(r *http.Request, cmds ...state.Command) (state.Result, error) {
	if AsksForPast(r) {
		return state.Result{}, fmt.Errorf("%w: t: the past cannot be changed", dcos.ErrInvalid)
	}
	ctx, cancel := context.WithTimeout(r.Context(), writePatience)
	defer cancel()
	res, err := s.Proposer.Propose(ctx, state.Origin{Principal: PrincipalOf(r.Context()).ID}, cmds...)
	if err != nil {
		return res, kindOf(err, dcos.ErrUnknown)
	}
	return res, res.Err()
}

// kindOf gives an error that only says "time is up" a kind.
func kindOf(err, kind error) error {
	if errors.Is(err, dcos.ErrUnavailable) || errors.Is(err, dcos.ErrUnknown) {
		return err
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return fmt.Errorf("%w: %w", kind, err)
	}
	return err
}

// Flag reads a yes or no out of a query: "", "1" and "true" are yes.
func Flag(q url.Values, name string, unset bool) (bool, error) {
	if !q.Has(name) {
		return unset, nil
	}
	text := q.Get(name)
	if text == "" {
		return true, nil
	}
	b, err := strconv.ParseBool(text)
	if err != nil {
		return false, fmt.Errorf("%w: %s=%.40s, expected true or false", dcos.ErrInvalid, name, text)
	}
	return b, nil
}

// DryRun says whether a write is only to be tried out: checked in full, and
// answered with what it would do.
func DryRun(r *http.Request) (bool, error) { return Flag(r.URL.Query(), "dryRun", false) }
