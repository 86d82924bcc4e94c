package app

import (
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

// regular is how many instances of a version run, or are on their way there,
// with nothing in their way: on nodes that are active and not being drained.
type regular struct {
	version dcos.Version
	waiting int
	coming  int
	running int
	hidden  int // of those that run: on nodes that are suspect
}

// countedCensus is a census that looks only at what is out of the ordinary, nil
// when that is not enough.
func countedCensus(v state.View, row *state.AppRow, now dcos.Time) *census {
	standing := v.Standing(row.App.ID)
	c := newCensus(v, row, now)
	total := 0
	for _, s := range standing.Of {
		c.regular = append(c.regular, regular{version: s.Version, waiting: s.Waiting, coming: s.Coming, running: s.Running})
		c.waiting += s.Waiting
		c.live += s.Coming + s.Running
		total += s.Waiting + s.Coming + s.Running
	}
	c.leaving = standing.Leaving
	c.live += standing.Leaving
	if !c.unsettled(total) {
		return nil
	}
	for t := range v.Irregular(row.App.ID) {
		c.see(t)
	}
	return c
}

// unsettled looks at those regular instances that are on nodes which are not
// quite well. It says no when one is to move, or when all instances are found
// faster.
func (c *census) unsettled(total int) bool {
	budget := total
	for n := range c.view.Unsettled() {
		if budget--; budget < 0 {
			return false
		}
		for t := range c.view.TasksOn(n.ID) {
			if budget--; budget < 0 {
				return false
			}
			if t.App != c.row.App.ID || t.Final {
				continue
			}
			if c.drained(t) {
				return false
			}
			if t.State == dcos.TaskRunning && t.Goal == dcos.GoalRun && t.Unreachable == 0 && !c.reachable(t) {
				c.hide(t.Version)
			}
		}
	}
	return true
}

func (c *census) hide(at dcos.Version) {
	for i := range c.regular {
		if c.regular[i].version == at {
			c.regular[i].hidden++
		}
	}
}

// size is how many members there are.
func (c *census) size() int {
	n := len(c.members)
	for _, r := range c.regular {
		n += r.waiting + r.coming + r.running
	}
	return n
}

// regulars are the regular instances as a rolling change sees them.
type regulars struct {
	fresh   int // stay
	running int // of these, running where they can be reached
	old     int // are to go, and have a process
	idle    int // are to go, and have none
}

func (s *regulars) add(r regular, stays bool) {
	if stays {
		s.fresh += r.waiting + r.coming + r.running
		s.running += r.running - r.hidden
		return
	}
	s.old += r.coming + r.running
	s.idle += r.waiting
}

func everyVersion(dcos.Version) bool { return true }
