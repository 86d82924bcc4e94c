package consensus

import (
	"fmt"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
)

// entryOverhead is what an entry costs in memory besides its data.
const entryOverhead = 64

// appends are the writes to the log that have not been answered, oldest first.
type appends struct {
	seq     uint64
	pending []pendingAppend
	stalled bool // the oldest is older than an election timeout
}

type pendingAppend struct {
	seq  uint64
	tick uint64
	msg  *pb.Message
}

// append turns raft's request into an effect. What has nothing to write and
// nothing to wait for is answered at once.
func (c *Core) append(m *pb.Message) {
	a := Append{Entries: m.GetEntries(), Sync: len(m.GetResponses()) > 0}
	if m.Term != nil {
		a.Hard = &pb.HardState{Term: m.Term, Vote: m.Vote, Commit: m.Commit}
		c.hard = a.Hard
	}
	if !raft.IsEmptySnap(m.GetSnapshot()) {
		a.Snapshot = m.GetSnapshot()
	}
	c.applies.conf.saw(a.Entries)
	if n := len(a.Entries); n > 0 {
		c.last = a.Entries[n-1].GetIndex()
	} else if a.Snapshot != nil {
		c.last = a.Snapshot.GetMetadata().GetIndex()
	}
	if a.Hard == nil && a.Snapshot == nil && len(a.Entries) == 0 && len(c.appends.pending) == 0 {
		c.finishAppend(m)
		return
	}
	c.appends.seq++
	a.Seq = c.appends.seq
	c.appends.pending = append(c.appends.pending, pendingAppend{seq: a.Seq, tick: c.ticks, msg: m})
	c.emit(a)
}

func (c *Core) appended(e Appended) {
	if e.Err != nil {
		c.stop(fmt.Errorf("consensus: write the raft log: %w", e.Err))
		return
	}
	for len(c.appends.pending) > 0 && c.appends.pending[0].seq <= e.Seq {
		m := c.appends.pending[0].msg
		c.appends.pending = c.appends.pending[1:]
		c.appends.stalled = c.oldestAppend() >= stallTicks
		c.finishAppend(m)
	}
	if k := &c.applies.conf; e.Seq >= k.seq && k.asked > k.durable {
		k.durable = k.asked
		c.sayConf()
		c.nextApply()
	}
}

// finishAppend makes memory equal to the disk and lets out what waited for it.
func (c *Core) finishAppend(m *pb.Message) {
	if s := m.GetSnapshot(); !raft.IsEmptySnap(s) {
		c.install(s)
	}
	if err := c.mem.Append(m.GetEntries()); err != nil {
		panic(fmt.Sprintf("consensus: entries that are durable do not fit in memory: %v", err))
	}
	for _, e := range m.GetEntries() {
		c.snaps.bytes += int64(len(e.GetData())) + entryOverhead
	}
	for _, r := range m.GetResponses() {
		if r.GetTo() == uint64(c.cfg.ID) {
			_ = c.raw.Step(r)
		} else {
			c.send(r)
		}
	}
}

func (c *Core) oldestAppend() uint64 {
	if len(c.appends.pending) == 0 {
		return 0
	}
	return c.ticks - c.appends.pending[0].tick
}

// checkStall counts ticks, not time: a paused process or a clock that jumps is
// no stall of the disk.
func (c *Core) checkStall() {
	age := c.oldestAppend()
	if age >= hangTicks {
		c.stop(fmt.Errorf("consensus: the disk has not answered a write of the raft log for %v", hangTicks*c.cfg.Tick))
		return
	}
	if c.appends.stalled = age >= stallTicks; c.appends.stalled {
		c.refuse(func() error { return errStalled })
	}
}

var errStalled = unavailable("the disk of this master does not answer, another one will take over")
