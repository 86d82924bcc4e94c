package agent

import (
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/wire"
)

// resendAfter is how long a status waits for its acknowledgement on a
// connection that is up; reportMax is how many go into one message.
const (
	resendAfter = 10 * time.Second
	reportMax   = 128
	ackDelay    = time.Second
)

// outbox holds the statuses that no master has acknowledged, by growing Seq.
// A task has at most three of them, so its length is bounded by the tasks.
type outbox struct {
	items    []outItem
	next     uint64 // Seq of the next status
	resendAt time.Time
}

type outItem struct {
	status dcos.Status
	disk   uint64    // checkpoint that holds it
	link   uint64    // connection it was last sent on; 0 is none
	sentAt time.Time // there
}

func (o *outbox) add(s dcos.Status, disk uint64) {
	o.items = append(o.items, outItem{status: s, disk: disk})
	o.next = max(o.next, s.Seq+1)
}

// remove takes the statuses with these numbers out and returns them.
func (o *outbox) remove(seqs []uint64) []dcos.Status {
	gone := make(map[uint64]bool, len(seqs))
	for _, seq := range seqs {
		gone[seq] = true
	}
	var out []dcos.Status
	left := o.items[:0]
	for _, it := range o.items {
		if gone[it.status.Seq] {
			out = append(out, it.status)
		} else {
			left = append(left, it)
		}
	}
	clear(o.items[len(left):])
	o.items = left
	return out
}

// holdsEnd says whether the end of a task waits for its acknowledgement.
func (o *outbox) holdsEnd(id dcos.TaskID) bool {
	for _, it := range o.items {
		if it.status.Task == id && it.status.State.Terminal() {
			return true
		}
	}
	return false
}

// report puts the task's present state into the outbox, and its record into
// the checkpoint in the same piece: after a crash there are both or neither.
func (c *Core) report(now time.Time, t *task) {
	s := c.number(now, dcos.Status{
		Task: t.id(), Epoch: t.rec.Launch.Epoch, State: t.rec.State, Reason: t.rec.Reason, Message: t.rec.Message, Exit: t.rec.Exit,
	})
	r := t.rec
	if t.recorded {
		r.Launch = nil
	}
	t.recorded = true
	c.record(record{Task: &r, Status: &s})
}

// reportOf puts a status into the outbox of a task that has no record.
func (c *Core) reportOf(now time.Time, s dcos.Status) {
	s = c.number(now, s)
	c.record(record{Status: &s})
}

// number gives a status its number and puts it into the outbox.
func (c *Core) number(now time.Time, s dcos.Status) dcos.Status {
	s.Seq, s.At, s.Message = c.outbox.next, dcos.TimeOf(now), cut(s.Message)
	c.outbox.add(s, c.disk.seq+1)
	return s
}

// flushOutbox sends what is durable and was not sent on this connection.
func (c *Core) flushOutbox(now time.Time) {
	if c.link.state != linkOpen {
		return
	}
	var batch []dcos.Status
	flush := func() {
		if len(batch) > 0 {
			c.send(wire.Report{Statuses: batch})
			batch = nil
		}
	}
	for i := range c.outbox.items {
		it := &c.outbox.items[i]
		if it.disk > c.disk.durable || it.link == c.link.num {
			continue
		}
		it.link, it.sentAt = c.link.num, now
		batch = append(batch, it.status)
		if c.outbox.resendAt.IsZero() {
			c.outbox.resendAt = now.Add(resendAfter)
		}
		if len(batch) == reportMax {
			flush()
		}
	}
	flush()
}

// resend sends again what has waited for too long.
func (c *Core) resend(now time.Time) {
	o := &c.outbox
	if o.resendAt.IsZero() || o.resendAt.After(now) {
		return
	}
	o.resendAt = time.Time{}
	if c.link.state != linkOpen || len(o.items) == 0 {
		return
	}
	for i := range o.items {
		if it := &o.items[i]; it.link == c.link.num && !it.sentAt.Add(resendAfter).After(now) {
			it.link = 0
		}
	}
	c.flushOutbox(now)
	o.resendAt = now.Add(resendAfter)
}

func (c *Core) onAck(now time.Time, m wire.Ack) {
	for _, s := range c.outbox.remove(m.Seqs) {
		c.disk.acks = append(c.disk.acks, s.Seq)
		if c.disk.ackAt.IsZero() {
			c.disk.ackAt = now.Add(ackDelay)
		}
		if t := c.tasks[s.Task]; t != nil && s.State.Terminal() {
			t.rec.Acked = true
			c.dropIfDone(t)
		}
	}
}

// cut bounds the message of a status and makes it valid text.
func cut(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= dcos.MaxMessage {
		return s
	}
	n := dcos.MaxMessage - 3
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "..."
}
