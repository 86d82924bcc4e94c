package agent

import (
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// sweep finds what the runtime holds and the checkpoint does not: tasks of a
// checkpoint that was lost. Nothing is started before they are gone, since
// they may be older tasks of the same instances.
type sweep struct {
	done   bool
	strays map[dcos.TaskID]bool // being cleaned up
	tries  int
	wakeAt time.Time
	// holdLink keeps the agent from connecting before the sweep is done; at the
	// latest it does so then.
	holdLink time.Time
}

func (c *Core) onListed(now time.Time, ev Listed) {
	s := &c.sweep
	if s.done || s.strays != nil {
		return
	}
	if ev.Err != nil {
		c.do(Note{Text: "the runtime's tasks could not be listed, will be tried again", Why: ev.Err.Error()})
		s.retry(now)
		return
	}
	s.strays = make(map[dcos.TaskID]bool)
	for _, id := range ev.Tasks {
		if t := c.tasks[id]; t == nil || t.rec.Phase == phaseCleaned {
			s.strays[id] = true
			c.do(Note{Text: "a task is not in the checkpoint, it is ended", Task: id})
			c.do(Cleanup{Task: id})
		}
	}
	for _, id := range ev.Sandboxes {
		if c.tasks[id] == nil {
			c.do(RemoveSandbox{Task: id}) // what fails is found at the next start
		}
	}
	c.swept(now)
}

// strayCleaned takes the answer to a stray's Cleanup; false when it is none.
func (c *Core) strayCleaned(now time.Time, ev Cleaned) bool {
	s := &c.sweep
	if !s.strays[ev.Task] {
		return false
	}
	if ev.Err != nil {
		c.do(Note{Text: "cleanup of a task failed, will be tried again", Task: ev.Task, Why: ev.Err.Error()})
		s.retry(now)
		return true
	}
	delete(s.strays, ev.Task)
	c.swept(now)
	return true
}

// swept lets tasks start when nothing unknown is left.
func (c *Core) swept(now time.Time) {
	if len(c.sweep.strays) > 0 {
		return
	}
	c.sweep = sweep{done: true}
	if boot := c.cfg.Node.Boot; c.disk.boot != boot {
		// Not earlier, and after the ends of what ran before: an agent that is
		// killed until here must hold its link anew, and must not take a task
		// whose end was cut off for one of this boot that was never started.
		c.disk.boot = boot
		c.record(record{Boot: boot})
	}
	for _, t := range c.sorted() {
		c.advance(now, t)
	}
}

func (s *sweep) retry(now time.Time) {
	if s.wakeAt.IsZero() {
		s.wakeAt = now.Add(min(retryFirst<<min(s.tries, 6), retryLast))
		s.tries++
	}
}

// sweepAgain tries again what has failed.
func (c *Core) sweepAgain(now time.Time) {
	s := &c.sweep
	if s.wakeAt.IsZero() || s.wakeAt.After(now) {
		return
	}
	s.wakeAt = time.Time{}
	if s.strays == nil {
		c.do(List{})
		return
	}
	for _, id := range sortedKeys(s.strays) {
		c.do(Cleanup{Task: id})
	}
}
