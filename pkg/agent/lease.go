package agent

import (
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/wire"
)

// lease is until when fenced tasks may run here. A master extends it by the
// number of a beat at whose arrival it did lead; what counts is when that beat
// was sent, so that no delay on the way makes it longer than the master
// believes.
type lease struct {
	until time.Time
	beats []sentBeat // the last ones, oldest first
	asked bool       // a beat was sent for a task that waits for the lease
}

type sentBeat struct {
	n  uint64
	at time.Time
}

// maxBeats is how many beats may be without an answer and still count.
const maxBeats = 16

// stopLease is why the end of the lease stops a task.
var stopLease = "no master was reached for " + dcos.LeaseFor.String() + " (fence: lease)"

// holds says that fenced tasks may run at a moment.
func (l *lease) holds(now time.Time) bool { return l.until.After(now) }

func (l *lease) sent(n uint64, now time.Time) {
	if len(l.beats) == maxBeats {
		l.beats = append(l.beats[:0], l.beats[1:]...)
	}
	l.beats = append(l.beats, sentBeat{n, now})
}

// onLease extends the lease to what the answer to a beat grants.
func (c *Core) onLease(now time.Time, m wire.BeatAck) {
	l := &c.lease
	until := l.until
	for _, b := range l.beats {
		if b.n == m.Lease {
			until = b.at.Add(dcos.LeaseFor)
		}
	}
	if m.Lease == 0 || !until.After(l.until) {
		return
	}
	held := l.holds(now)
	l.until, l.asked = until, false
	if ids := c.underLease(); len(ids) > 0 {
		c.do(ExtendLease{Tasks: ids, Until: until})
	}
	if !held && l.holds(now) {
		for _, t := range c.sorted() {
			if c.fenced[t.id()] != nil {
				c.advance(now, t)
			}
		}
	}
}

// underLease are the fenced tasks that may have a process.
func (c *Core) underLease() []dcos.TaskID {
	var ids []dcos.TaskID
	for _, id := range sortedKeys(c.fenced) {
		if mayRun(c.fenced[id]) {
			ids = append(ids, id)
		}
	}
	return ids
}

func (c *Core) anyUnderLease() bool {
	for _, t := range c.fenced {
		if mayRun(t) && t.rec.Stop != stopLease {
			return true
		}
	}
	return false
}

// mayRun says that a task runs, or will by what is under way for it.
func mayRun(t *task) bool {
	return t.rec.Phase == phaseRunning || t.rec.Phase == phaseTaken && (t.step == stepStart || t.step == stepAdopt)
}

// fence ends what runs without a lease, by force and at once: another copy may
// start elsewhere soon. Only then comes what is to be said about it.
func (c *Core) fence(now time.Time) {
	if len(c.fenced) == 0 || c.lease.holds(now) {
		return
	}
	for _, id := range sortedKeys(c.fenced) {
		t := c.fenced[id]
		if !mayRun(t) || t.rec.Stop == stopLease {
			continue
		}
		c.do(Kill{Task: id})
		c.do(Note{Text: "a fenced task is ended", Task: id, Why: stopLease})
		t.rec.Stop = stopLease
		c.putTask(t)
		if t.step == stepNone {
			c.wake(t, now.Add(killAgain))
		}
	}
}

// awaitLease says that a fenced task must not start yet, and asks for a lease.
func (c *Core) awaitLease(now time.Time, t *task) bool {
	if !t.rec.Launch.Fenced || c.lease.holds(now) {
		return false
	}
	if c.link.state == linkOpen && !c.lease.asked {
		c.lease.asked = true
		c.beat(now)
	}
	return true
}
