package consensus

import (
	"time"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

// proposals are those that wait for the append before theirs.
type proposals struct {
	queue []piece
	bytes int
	clock clock
}

// piece is a proposal, or one part of a large one.
type piece struct {
	ticket Ticket // 0: a part that is not the last
	data   []byte
}

// groupSlack is what an entry adds around its proposals.
const groupSlack = 64

// clock stamps entries: never backwards, and within one leadership never
// further ahead than the ticks that have passed allow, so that a wall clock
// that jumps does not make everything expire at once. Where this member's wall
// clock is behind what was stamped before (it was set back, or the clock of
// another leader was ahead), time goes on at half its speed until the clock has
// caught up: it must not stand still, since what waits for a moment would wait
// as long as the clock is wrong.
type clock struct {
	last  dcos.Time
	tick  uint64 // when last was given, or leadership began
	begun bool   // last belongs to this leadership
}

func (k *clock) begin(ticks uint64) { k.begun, k.tick = false, ticks }

// clockSlack is how far ahead of the ticks a stamp may be.
const clockSlack = time.Second

func (k *clock) stamp(now time.Time, ticks uint64, tick time.Duration, applied dcos.Time) dcos.Time {
	at := dcos.TimeOf(now)
	passed := time.Duration(ticks-k.tick) * tick
	if k.begun {
		at = min(at, k.last.Add(clockSlack+2*passed))
	}
	if before := max(k.last, applied); before > 0 {
		at = max(at, before.Add(passed/2))
	}
	k.last, k.tick, k.begun = at, ticks, true
	return at
}

func (c *Core) proposed(e Proposed) {
	if err := c.refusal(); err != nil {
		c.resolve(e.Ticket, err)
		return
	}
	size := 0
	for _, data := range e.Parts {
		size += len(data)
	}
	if c.proposals.bytes+size > maxUncommitted {
		c.resolve(e.Ticket, errTooMuch)
		return
	}
	c.proposals.bytes += size
	for i, data := range e.Parts {
		p := piece{data: data}
		if i == len(e.Parts)-1 {
			p.ticket = e.Ticket
		}
		c.proposals.queue = append(c.proposals.queue, p)
	}
}

// refusal says why no proposal is taken now, nil when it is.
func (c *Core) refusal() error {
	switch {
	case !c.leads:
		return c.notLeader()
	case c.appends.stalled:
		return errStalled
	case c.low[uint64(c.cfg.ID)]:
		return errNoSpace
	case !c.room():
		return errNoRoom
	case c.snaps.behind(c.cfg.SnapshotBytes):
		return unavailable("this master cannot write snapshots (%v) and its log has become too long", c.snaps.err)
	}
	return nil
}

var errTooMuch = unavailable("too much is waiting to be written, try again in a moment")

var errNoSpace = unavailable("the disk of the leading master is almost full; free space on it")

var errNoRoom = unavailable("the disks of a majority of the masters are almost full; free space on them")

// refuse answers everything that was not proposed yet.
func (c *Core) refuse(why func() error) {
	for _, p := range c.proposals.queue {
		c.resolve(p.ticket, why())
	}
	c.proposals.queue, c.proposals.bytes = nil, 0
}

// flush proposes what has gathered. While an append is under way proposals
// gather, so that a slow disk gets few large writes.
func (c *Core) flush(now time.Time) {
	if len(c.proposals.queue) == 0 || len(c.appends.pending) > 0 || c.moving != nil {
		return
	}
	if err := c.refusal(); err != nil {
		c.refuse(func() error { return err })
		return
	}
	queue := c.proposals.queue
	c.proposals.queue, c.proposals.bytes = nil, 0
	for len(queue) > 0 {
		n, size := 1, len(queue[0].data)
		for n < len(queue) && queue[n-1].ticket != 0 && size+len(queue[n].data)+groupSlack <= state.MaxEntry {
			size += len(queue[n].data)
			n++
		}
		c.propose(now, queue[:n])
		queue = queue[n:]
	}
}

// propose makes one entry out of a group.
func (c *Core) propose(now time.Time, group []piece) {
	tickets := make([]Ticket, len(group))
	datas := make([][]byte, len(group))
	for i, p := range group {
		tickets[i], datas[i] = p.ticket, p.data
	}
	at := c.proposals.clock.stamp(now, c.ticks, c.cfg.Tick, c.applies.time)
	e := &pb.Entry{Type: pb.EntryNormal.Enum(), Data: state.EncodeEntry(at, datas...)}
	if err := c.offer(e, tickets); err != nil {
		for _, t := range tickets {
			c.resolve(t, err)
		}
	}
}

// offer gives an entry to raft, which puts it at the end of its log.
func (c *Core) offer(e *pb.Entry, tickets []Ticket) error {
	id := uint64(c.cfg.ID)
	m := &pb.Message{Type: pb.MsgProp.Enum(), From: &id, Entries: []*pb.Entry{e}}
	if err := c.raw.Step(m); err != nil {
		return errTooMuch
	}
	c.last++
	if m.GetEntries()[0] != e { // raft refused a change of members
		return unavailable("another change of the masters is under way, try again in a moment")
	}
	c.waiters = append(c.waiters, waiter{index: c.last, term: c.term, tickets: tickets})
	return nil
}
