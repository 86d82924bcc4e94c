package auth

import (
	"fmt"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// attempts limits wrong guesses per key (a host, or a host with a user): after
// limit of them within the window the key waits until the window is over.
type attempts struct {
	limit  int
	window time.Duration
	max    int // keys kept; beyond, the oldest is forgotten
	wrong  map[string]guesses
}

type guesses struct {
	since time.Time
	n     int
}

func newAttempts(limit int, window time.Duration, keys int) *attempts {
	return &attempts{limit: limit, window: window, max: keys, wrong: map[string]guesses{}}
}

// check refuses a key that has guessed too often. Its error tells when to come
// back.
func (a *attempts) check(key string, now time.Time) error {
	g, ok := a.wrong[key]
	if !ok || now.Sub(g.since) >= a.window {
		return nil
	}
	if g.n < a.limit {
		return nil
	}
	left := (a.window - now.Sub(g.since)).Round(time.Second)
	return fmt.Errorf("%w: %d wrong attempts; try again in %s", dcos.ErrExhausted, g.n, max(left, time.Second))
}

// miss counts a wrong guess.
func (a *attempts) miss(key string, now time.Time) {
	g, ok := a.wrong[key]
	if !ok || now.Sub(g.since) >= a.window {
		if !ok && len(a.wrong) >= a.max {
			a.forget(now)
		}
		g = guesses{since: now}
	}
	g.n++
	a.wrong[key] = g
}

// forget drops what is over, or else the oldest.
func (a *attempts) forget(now time.Time) {
	oldest, at := "", now
	for k, g := range a.wrong {
		switch {
		case now.Sub(g.since) >= a.window:
			delete(a.wrong, k)
		case oldest == "" || g.since.Before(at) || g.since.Equal(at) && k < oldest:
			oldest, at = k, g.since
		}
	}
	if len(a.wrong) >= a.max {
		delete(a.wrong, oldest)
	}
}
