package consensus

import (
	"fmt"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
	"google.golang.org/protobuf/proto"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

// applies is the way from committed to applied.
type applies struct {
	msgs  []*pb.Message // raft's requests that are not answered
	queue []*pb.Entry   // committed, not yet given out
	out   []*pb.Entry   // given out, not yet answered
	index uint64        // applied
	term  uint64        // of the entry at index
	time  dcos.Time     // of the state machine
	conf  confs
}

// confs is how far it is durable here that changes of members are committed. A
// member that has acted on one, or has let another act on it, and then forgets
// it would wait for the vote of one that is gone: of two masters, the one that
// is left would never lead.
type confs struct {
	durable uint64 // up to this index
	asked   uint64 // likewise, once the append of seq is
	seq     uint64
	last    uint64 // index of the last change in the log, 0 when there is none
	found   uint64 // what was durable at the start
	gone    uint64 // index of this member's removal, which the others may not know to be committed
}

// saw notes the changes of members among entries that go into the log.
func (k *confs) saw(entries []*pb.Entry) {
	if len(entries) > 0 && entries[0].GetIndex() <= k.last {
		k.last = 0 // written over
	}
	for _, e := range entries {
		if e.GetType() != pb.EntryNormal {
			k.last = e.GetIndex()
		}
	}
}

// sayable is how much of a commit index the others may hear of: a member that
// hears of its removal stops for good.
func (k *confs) sayable(commit uint64) uint64 {
	if k.last > k.durable && commit >= k.last {
		return k.last - 1
	}
	return commit
}

// sayConf tells the others what sayable kept from them. Those that go are no
// longer spoken to when the change is applied.
func (c *Core) sayConf() {
	if !c.leads {
		return
	}
	c.raw.WithProgress(func(id uint64, _ raft.ProgressType, pr tracker.Progress) {
		if id != uint64(c.cfg.ID) && pr.Match >= c.applies.conf.durable {
			c.send(&pb.Message{
				Type: pb.MsgHeartbeat.Enum(), To: &id, From: new(uint64(c.cfg.ID)), Term: new(c.term),
				Commit: new(c.applies.conf.durable),
			})
		}
	})
}

// sure reports whether all changes of members that wait to be applied are
// durably committed, and sees to it that they will be.
func (c *Core) sure() bool {
	k, last := &c.applies.conf, uint64(0)
	for _, e := range c.applies.queue {
		if e.GetType() != pb.EntryNormal {
			last = e.GetIndex()
		}
	}
	if last <= k.durable {
		return true
	}
	if last > k.asked {
		c.appends.seq++
		k.asked, k.seq = last, c.appends.seq
		hard := &pb.HardState{Term: c.hard.Term, Vote: c.hard.Vote, Commit: new(max(last, c.hard.GetCommit()))}
		c.appends.pending = append(c.appends.pending, pendingAppend{seq: k.seq, tick: c.ticks, msg: &pb.Message{}})
		c.emit(Append{Seq: k.seq, Hard: hard, Sync: true})
	}
	return false
}

// waiter is one entry of this member's own whose fate somebody waits for.
type waiter struct {
	index, term uint64
	tickets     []Ticket
}

func (c *Core) apply(m *pb.Message) {
	c.applies.msgs = append(c.applies.msgs, m)
	c.applies.queue = append(c.applies.queue, m.GetEntries()...)
}

// nextApply gives out what is committed, one batch at a time, so that a
// snapshot can be asked for between two batches.
func (c *Core) nextApply() {
	a := &c.applies
	if len(a.out) > 0 || len(a.queue) == 0 || c.stopped || !c.sure() {
		return
	}
	a.out, a.queue = a.queue, nil
	entries := make([]Entry, len(a.out))
	for i, e := range a.out {
		entries[i] = Entry{Index: dcos.Index(e.GetIndex()), Term: dcos.Term(e.GetTerm())}
		if e.GetType() == pb.EntryNormal && len(e.GetData()) > 0 {
			entries[i].Data = e.GetData()
		}
	}
	c.emit(Apply{Entries: entries})
}

func (c *Core) appliedEntries(e Applied) {
	a := &c.applies
	if e.Err != nil {
		c.stop(fmt.Errorf("consensus: apply the log: %w", e.Err))
		return
	}
	if len(a.out) == 0 || a.out[len(a.out)-1].GetIndex() != uint64(e.Index) {
		panic(fmt.Sprintf("consensus: applied up to %d was not asked for", e.Index))
	}
	out := a.out
	a.out = nil
	a.time = max(a.time, e.Time)
	// A snapshot that came in between is newer than this batch.
	if last := out[len(out)-1]; last.GetIndex() > a.index {
		for _, ent := range out {
			c.applyConf(ent)
		}
		c.settle(out, e.Results)
		a.index, a.term = last.GetIndex(), last.GetTerm()
	}
	c.answerApplied()
	c.readsApplied()
	c.considerSnapshot()
	c.nextApply()
}

// answerApplied tells raft how far the state machine is.
func (c *Core) answerApplied() {
	a := &c.applies
	for len(a.msgs) > 0 {
		ents := a.msgs[0].GetEntries()
		if ents[len(ents)-1].GetIndex() > a.index {
			break
		}
		for _, r := range a.msgs[0].GetResponses() {
			_ = c.raw.Step(r)
		}
		a.msgs = a.msgs[1:]
	}
}

// settle answers those who wait for the entries of a batch.
func (c *Core) settle(batch []*pb.Entry, results [][]state.Result) {
	if len(c.waiters) == 0 {
		return
	}
	first := batch[0].GetIndex()
	last := batch[len(batch)-1].GetIndex()
	keep := c.waiters[:0]
	for _, w := range c.waiters {
		if w.index > last {
			keep = append(keep, w)
			continue
		}
		var res []state.Result
		mine := false
		if w.index >= first {
			i := w.index - first
			mine = batch[i].GetTerm() == w.term
			if i < uint64(len(results)) {
				res = results[i]
			}
		}
		for k, t := range w.tickets {
			if w.index < first { // a snapshot has skipped it
				c.resolve(t, Unknown{Index: dcos.Index(w.index)})
				continue
			}
			c.answer(t, w, mine, res, k)
		}
	}
	clear(c.waiters[len(keep):])
	c.waiters = keep
}

func (c *Core) answer(t Ticket, w waiter, mine bool, res []state.Result, k int) {
	r := Resolved{Ticket: t}
	switch {
	case t == 0: // a part that is not the last
		return
	case !mine: // another leader's entry is at this place for good
		r.Err = c.notLeader()
	case k < len(res):
		r.Result = res[k]
	default: // a change of members, or an entry without results
		r.Result.Index = dcos.Index(w.index)
	}
	c.emit(r)
}

// expireWaiters gives up on entries of a leadership that is over: the next
// leader may still commit them.
func (c *Core) expireWaiters() {
	if c.leads || len(c.waiters) == 0 || c.ticks-c.lostAt < electionTicks {
		return
	}
	c.giveUp(^uint64(0))
}

// giveUp answers all waiters up to an index with Unknown.
func (c *Core) giveUp(upTo uint64) {
	keep := c.waiters[:0]
	for _, w := range c.waiters {
		if w.index > upTo {
			keep = append(keep, w)
			continue
		}
		for _, t := range w.tickets {
			c.resolve(t, Unknown{Index: dcos.Index(w.index)})
		}
	}
	c.waiters = keep
}

// applyConf makes a committed change of members effective.
func (c *Core) applyConf(e *pb.Entry) {
	var cc pb.ConfChangeI
	var err error
	switch e.GetType() {
	case pb.EntryConfChange:
		v := &pb.ConfChange{}
		err, cc = proto.Unmarshal(e.GetData(), v), v
	case pb.EntryConfChangeV2:
		v := &pb.ConfChangeV2{}
		err, cc = proto.Unmarshal(e.GetData(), v), v
	default:
		return
	}
	if err != nil {
		panic(fmt.Sprintf("consensus: committed change of members at %d cannot be decoded: %v", e.GetIndex(), err))
	}
	was := c.member(uint64(c.cfg.ID))
	c.conf = c.raw.ApplyConfChange(cc)
	switch {
	case !was || c.member(uint64(c.cfg.ID)):
	case c.leads || e.GetIndex() <= c.applies.conf.found:
		// No leader has said that the change is durable at those that stay. They
		// need this member's vote until one does.
		c.applies.conf.gone = e.GetIndex()
	default:
		c.stop(ErrRemoved)
	}
}
