package sim

import "time"

// chance is splitmix64: small, and the same everywhere.
type chance struct{ state uint64 }

func (c *chance) next() uint64 {
	c.state += 0x9e3779b97f4a7c15
	z := c.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// below is a number from 0 to n-1.
func (c *chance) below(n int) int { return int(c.next() % uint64(max(n, 1))) }

// one says yes one time in n.
func (c *chance) one(n int) bool { return c.below(n) == 0 }

// percent says yes p times in a hundred.
func (c *chance) percent(p int) bool { return c.below(100) < p }

// between is a time from the first up to the second.
func (c *chance) between(from, to time.Duration) time.Duration {
	if to <= from {
		return from
	}
	return from + time.Duration(c.next()%uint64(to-from))
}

// pick is one of several times.
func (c *chance) pick(of ...time.Duration) time.Duration { return of[c.below(len(of))] }
