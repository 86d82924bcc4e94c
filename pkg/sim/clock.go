package sim

import "time"

// clock is what one host has: a monotonic clock that drifts, and a wall clock
// that somebody may set.
type clock struct {
	w     *world
	drift int64         // parts per million
	set   time.Duration // by how much the wall clock is wrong besides
}

func newClock(w *world) clock {
	c := clock{w: w, set: w.rng.between(-400*time.Millisecond, 400*time.Millisecond)}
	if most := w.rules.drift; most > 0 {
		c.drift = int64(w.rng.below(2*most+1) - most)
	}
	return c
}

// mono is what shells measure time with: it has no jumps.
func (c *clock) mono() time.Time {
	d := c.w.now
	return epoch.Add(d + d/1e6*time.Duration(c.drift))
}

// wall is what its owner would call the time of day.
func (c *clock) wall() time.Time { return c.mono().Add(c.set) }

// takes is how long a timer of this host really takes. It never rings early by
// its own clock.
func (c *clock) takes(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return d - d/1e6*time.Duration(c.drift) + 2*time.Microsecond
}
