package agent

import (
	"fmt"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/wire"
)

// link is the connection to the leading master.
type link struct {
	state linkState
	term  dcos.Term // of the last session
	heard dcos.Term // newest that was heard to be led
	num   uint64    // of the present connection; events of others are stale
	addr  string    // where to connect next; "" is any master
	// hops counts redirects that were followed without a session in between.
	hops     int
	tries    int       // that failed in a row
	retryAt  time.Time // next try
	deadline time.Time // for the answer that is waited for

	every    time.Duration // between beats
	beatAt   time.Time
	beat     uint64 // number of the last beat
	answered uint64 // number of the last beat that was answered
	usage    wire.Usage
}

type linkState uint8

const (
	linkDown    linkState = iota // waits for retryAt
	linkDialing                  // Connect is under way
	linkGreeted                  // Hello is sent
	linkOpen                     // Welcome came
	linkClosed                   // for good: Quit
)

// Times of the link. Together they keep the way back to a new leader well
// under the 15 s for which it waits.
const (
	connectTimeout = 15 * time.Second
	welcomeTimeout = 10 * time.Second
	backoffFirst   = 100 * time.Millisecond
	backoffLast    = 4 * time.Second
	refusedLeast   = time.Second
	refusedMost    = 5 * time.Minute
	beatFastest    = 100 * time.Millisecond
	beatSlowest    = time.Minute
	maxHops        = 3
	leadsSpread    = 200 * time.Millisecond
	missedBeats    = 3
)

func (c *Core) send(m wire.Msg) { c.do(Send{Link: c.link.num, Msg: m}) }

// spread is d with up to half of it more or less, by chance that the seed
// decides.
func (c *Core) spread(d time.Duration) time.Duration {
	h := c.cfg.Seed + 0x9e3779b97f4a7c15*(c.link.num+1)
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	h ^= h >> 31
	return d/2 + time.Duration(h%uint64(max(d, 1)))
}

// down ends the present connection and plans the next.
func (c *Core) down(delay time.Duration, now time.Time) {
	l := &c.link
	if l.state == linkClosed {
		return
	}
	l.state, l.deadline, l.beatAt = linkDown, time.Time{}, time.Time{}
	l.retryAt = now.Add(delay)
}

// backoff is the delay before the next try.
func (c *Core) backoff() time.Duration {
	l := &c.link
	d := min(backoffFirst<<min(l.tries, 10), backoffLast)
	l.tries++
	return c.spread(d)
}

// linkHeld says that the agent must not connect before the sweep is done.
func (c *Core) linkHeld() bool {
	return c.link.state == linkDown && !c.sweep.done && !c.sweep.holdLink.IsZero()
}

// linkTimers does what the link waited for.
func (c *Core) linkTimers(now time.Time) {
	l := &c.link
	if !c.sweep.holdLink.After(now) {
		c.sweep.holdLink = time.Time{}
	}
	switch {
	case c.linkHeld():
	case l.state == linkDown && !l.retryAt.IsZero() && !l.retryAt.After(now):
		l.num++
		l.state, l.retryAt, l.deadline = linkDialing, time.Time{}, now.Add(connectTimeout)
		c.do(Connect{Link: l.num, Addr: l.addr})
	case (l.state == linkDialing || l.state == linkGreeted) && !l.deadline.After(now):
		c.disconnect(now, "the master did not answer in time")
	case l.state == linkOpen && !l.beatAt.After(now):
		c.onBeatTime(now)
	}
}

// disconnect gives the present connection up and tries anew.
func (c *Core) disconnect(now time.Time, why string) {
	c.do(Disconnect{Link: c.link.num, Why: why})
	c.link.addr = ""
	c.down(c.backoff(), now)
}

func (c *Core) onLinked(now time.Time, ev Linked) {
	l := &c.link
	if ev.Link != l.num || l.state != linkDialing {
		return
	}
	l.state, l.deadline = linkGreeted, now.Add(welcomeTimeout)
	c.send(c.hello())
}

// hello names every task whose end is not acknowledged. What is only being
// written to the checkpoint now counts too: it is durable before the answer
// can matter, or this process and its session are gone.
func (c *Core) hello() wire.Hello {
	m := wire.Hello{Versions: wire.Supported, Node: c.cfg.Node, Cluster: c.cfg.Cluster, Term: c.seen.Term, Seq: c.seen.Seq, Fences: c.cfg.Fences, Fetches: true}
	for _, id := range sortedKeys(c.tasks) {
		if t := c.tasks[id]; !t.rec.Acked {
			m.Tasks = append(m.Tasks, wire.TaskRef{ID: id, Epoch: t.rec.Launch.Epoch, State: t.rec.State})
		}
	}
	return m
}

func (c *Core) onUnlinked(now time.Time, ev Unlinked) {
	l := &c.link
	if ev.Link != l.num || l.state == linkDown || l.state == linkClosed {
		return
	}
	l.addr = ""
	c.down(c.backoff(), now)
}

func (c *Core) onGot(now time.Time, ev Got) {
	l := &c.link
	if ev.Link != l.num || (l.state != linkGreeted && l.state != linkOpen) {
		return
	}
	switch m := ev.Msg.(type) {
	case wire.Welcome:
		c.onWelcome(now, m)
	case wire.Redirect:
		c.onRedirect(now, m)
	case wire.Refused:
		c.do(Note{Text: "the master refuses this agent", Why: m.Why})
		c.do(Disconnect{Link: l.num, Why: "refused: " + m.Why})
		if m.Removed {
			c.stopAll(now, "this machine was removed from the cluster")
		}
		wait := time.Duration(min(max(m.RetryMillis, refusedLeast.Milliseconds()), refusedMost.Milliseconds())) * time.Millisecond
		c.down(wait, now)
	default:
		if l.state == linkOpen {
			c.onSessionMsg(now, m)
		}
	}
}

func (c *Core) onSessionMsg(now time.Time, m wire.Msg) {
	l := &c.link
	switch m := m.(type) {
	case wire.Assign:
		c.onAssign(now, m)
	case wire.Ack:
		c.onAck(now, m)
	case wire.BeatAck:
		l.answered = max(l.answered, min(m.N, l.beat))
		l.every = beatEvery(m.BeatMillis)
		c.onLease(now, m)
	case wire.ProbeAsk:
		c.do(Probe{Link: l.num, ID: m.ID, Target: m.Target})
	}
}

func beatEvery(ms int64) time.Duration {
	return min(max(time.Duration(min(ms, beatSlowest.Milliseconds()))*time.Millisecond, beatFastest), beatSlowest)
}

func (c *Core) onWelcome(now time.Time, m wire.Welcome) {
	l := &c.link
	if l.state != linkGreeted {
		return
	}
	if m.Version < wire.Supported.Min || m.Version > wire.Supported.Max {
		c.do(Note{Text: "the master chose a session version that this binary does not speak: upgrade this machine", Why: fmt.Sprint(m.Version)})
		c.disconnect(now, "session version")
		return
	}
	if m.Term < c.seen.Term {
		c.disconnect(now, "the master is no longer the newest leader")
		return
	}
	l.state, l.deadline, l.term = linkOpen, time.Time{}, m.Term
	l.tries, l.hops = 0, 0
	l.every = beatEvery(m.BeatMillis)
	l.answered = l.beat
	c.lease.asked = false
	l.beatAt = now.Add(c.spread(l.every) / 2)
	c.do(ReadUsage{})
	c.flushOutbox(now)
}

// onLeads goes to a newer leader at once. Without it the agent would wait for
// the end of its own session, which a dead machine does not tell. A hint of a
// term that was heard before changes nothing: it may be wrong, and is not to
// make the agent come and go.
func (c *Core) onLeads(now time.Time, ev Leads) {
	l := &c.link
	if ev.Term <= l.term || ev.Term <= l.heard || ev.Term < c.seen.Term {
		return
	}
	l.heard = ev.Term
	switch l.state {
	case linkClosed:
		return
	case linkDown:
	default:
		c.do(Disconnect{Link: l.num, Why: fmt.Sprintf("another master leads in term %d", ev.Term)})
	}
	l.addr, l.tries, l.hops = ev.Addr, 0, 0
	// A little apart from the others: all agents hear it.
	c.down(c.spread(leadsSpread), now)
	c.linkTimers(now)
}

func (c *Core) onRedirect(now time.Time, m wire.Redirect) {
	l := &c.link
	c.do(Disconnect{Link: l.num, Why: "redirected to " + m.Leader})
	l.addr = m.Leader
	if m.Leader != "" && l.hops < maxHops {
		l.hops++
		c.down(0, now)
		c.linkTimers(now)
		return
	}
	l.hops = 0
	c.down(c.backoff(), now)
}

// onBeatTime sends a beat, or gives up a master that answers none.
func (c *Core) onBeatTime(now time.Time) {
	l := &c.link
	if l.beat-l.answered >= missedBeats {
		c.disconnect(now, fmt.Sprintf("%d beats were not answered", missedBeats))
		return
	}
	c.beat(now)
}

func (c *Core) beat(now time.Time) {
	l := &c.link
	l.beat++
	l.beatAt = now.Add(l.every)
	u := l.usage
	u.Tasks = int64(c.live)
	c.lease.sent(l.beat, now)
	c.send(wire.Beat{N: l.beat, Term: c.seen.Term, Seq: c.seen.Seq, Hash: c.hash, Usage: u})
	c.do(ReadUsage{})
}

// onAssign takes over what the node shall run.
func (c *Core) onAssign(now time.Time, m wire.Assign) {
	at := seen{m.Term, m.Seq}
	if !c.seen.before(at) {
		return // of an older leader, or a repeat
	}
	if next := (seen{c.seen.Term, c.seen.Seq + 1}); !m.Full && at != next {
		return // it changes a set that never came here: beats show the gap
	}
	c.seen = at
	c.record(record{Seen: &at})
	if m.Full {
		c.told, c.hash = make(map[dcos.TaskID]dcos.Epoch, len(m.Keep)+len(m.Run)), 0
		for _, r := range m.Keep {
			c.tell(r.ID, r.Epoch)
		}
	}
	for i := range m.Run {
		c.tell(m.Run[i].Task, m.Run[i].Epoch)
	}
	for _, r := range m.Stop {
		c.untell(r.ID)
		c.stopTold(now, r)
	}
	if m.Full {
		c.stopUntold(now)
	}
	for i := range m.Run {
		if epoch, ok := c.told[m.Run[i].Task]; ok && epoch == m.Run[i].Epoch {
			c.take(now, m.Run[i])
		}
	}
	if c.hash != m.Hash {
		c.beat(now) // shows the difference; a full assignment follows
	}
}

// stopTold stops a task that the master names. One that never came here has
// ended before it began, and the master waits to hear that.
func (c *Core) stopTold(now time.Time, r wire.TaskRef) {
	switch t := c.tasks[r.ID]; {
	case t != nil && !t.ended():
		c.stop(now, t, "stopped by the master")
	case r.State.Terminal() || c.outbox.holdsEnd(r.ID):
	case t != nil:
		c.report(now, t)
	default:
		c.reportOf(now, dcos.Status{Task: r.ID, Epoch: r.Epoch, State: dcos.TaskKilled, Reason: dcos.ReasonKilled, Message: "stopped before its node took it"})
	}
}

func (c *Core) tell(id dcos.TaskID, epoch dcos.Epoch) {
	c.untell(id)
	c.told[id] = epoch
	c.hash += wire.TaskHash(id, epoch)
}

func (c *Core) untell(id dcos.TaskID) {
	if epoch, ok := c.told[id]; ok {
		c.hash -= wire.TaskHash(id, epoch)
		delete(c.told, id)
	}
}

// stopUntold stops every task that the full assignment does not name.
func (c *Core) stopUntold(now time.Time) {
	for _, id := range sortedKeys(c.tasks) {
		t := c.tasks[id]
		if epoch, ok := c.told[id]; !ok || epoch != t.rec.Launch.Epoch {
			c.stop(now, t, "no longer wanted here")
		}
	}
}

// stopAll ends every task of this node.
func (c *Core) stopAll(now time.Time, why string) {
	c.told, c.hash = make(map[dcos.TaskID]dcos.Epoch), 0
	for _, t := range c.sorted() {
		c.stop(now, t, why)
	}
}

func (c *Core) onQuit() {
	l := &c.link
	if l.state == linkOpen {
		c.send(wire.Bye{})
	}
	if l.state != linkDown && l.state != linkClosed {
		c.do(Disconnect{Link: l.num, Why: "this agent stops"})
	}
	l.state = linkClosed
	l.retryAt, l.deadline, l.beatAt = time.Time{}, time.Time{}, time.Time{}
}
