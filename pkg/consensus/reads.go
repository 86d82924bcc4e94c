package consensus

import (
	"encoding/binary"

	"go.etcd.io/raft/v3"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// reads are linearizable reads on their way: asked, confirmed by a majority in
// a numbered round, applied. One round is under way at a time and serves all
// who asked before it began; the confirmation of a round serves those of the
// rounds before as well.
type reads struct {
	asked   []read
	applied []read // confirmed; wait for index to be applied
	round   uint64
	pending bool // an answer to round is awaited
	sent    uint64
}

type read struct {
	ticket Ticket
	until  uint64 // tick
	round  uint64 // first one that serves it; 0: none yet
	index  uint64
}

func (c *Core) readAsked(t Ticket) {
	c.reads.asked = append(c.reads.asked, read{ticket: t, until: c.ticks + c.cfg.ReadTicks})
}

// askRead begins a round when there is somebody to serve and somebody to ask.
// raft answers a sole voter from its commit index without looking whether that
// is of its own term, so a leader waits until it is ready.
func (c *Core) askRead() {
	r := &c.reads
	if r.pending || len(r.asked) == 0 || c.leader == 0 || (c.leads && !c.ready()) || (c.appends.stalled && !c.soleVoter()) {
		return
	}
	r.round++
	r.pending, r.sent = true, c.ticks
	for i := range r.asked {
		if r.asked[i].round == 0 {
			r.asked[i].round = r.round
		}
	}
	ctx := binary.BigEndian.AppendUint64(nil, c.cfg.Nonce)
	ctx = binary.BigEndian.AppendUint64(ctx, uint64(c.cfg.ID))
	c.raw.ReadIndex(binary.BigEndian.AppendUint64(ctx, r.round))
}

func (c *Core) readConfirmed(rs raft.ReadState) {
	b := rs.RequestCtx
	if len(b) != 24 || binary.BigEndian.Uint64(b) != c.cfg.Nonce || binary.BigEndian.Uint64(b[8:]) != uint64(c.cfg.ID) {
		return
	}
	r := &c.reads
	round := binary.BigEndian.Uint64(b[16:])
	keep := r.asked[:0]
	for _, q := range r.asked {
		if q.round == 0 || q.round > round {
			keep = append(keep, q)
			continue
		}
		q.index = rs.Index
		r.applied = append(r.applied, q)
	}
	r.asked = keep
	if round == r.round {
		r.pending = false
	}
	c.readsApplied()
}

func (c *Core) readsApplied() {
	r := &c.reads
	keep := r.applied[:0]
	for _, q := range r.applied {
		if q.index > c.applies.index {
			keep = append(keep, q)
			continue
		}
		c.emit(ReadOK{Ticket: q.ticket, Index: dcos.Index(q.index)})
	}
	r.applied = keep
}

// expireReads lets a round whose answer was lost be followed by another, and
// gives up on reads that have waited too long.
func (c *Core) expireReads() {
	r := &c.reads
	if r.pending && c.ticks-r.sent >= retryReadTicks {
		r.pending = false
	}
	r.asked = c.dropLate(r.asked)
	r.applied = c.dropLate(r.applied)
	if len(r.asked) == 0 {
		r.pending = false
	}
}

func (c *Core) dropLate(list []read) []read {
	keep := list[:0]
	for _, q := range list {
		if c.ticks < q.until {
			keep = append(keep, q)
			continue
		}
		c.resolve(q.ticket, unavailable("no majority of the masters confirmed the read in time, try again or ask for a stale one"))
	}
	return keep
}
