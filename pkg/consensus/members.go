package consensus

import (
	"fmt"
	"slices"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
	"google.golang.org/protobuf/proto"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// caughtUp is how many entries a learner may lack when it becomes a voter.
const caughtUp = 1000

// move is a transfer of leadership under way.
type move struct {
	ticket Ticket
	tick   uint64
	to     uint64
	other  bool // asked for by a change of this member, which the next leader must make
}

func (c *Core) member(id uint64) bool {
	return slices.Contains(c.conf.GetVoters(), id) || slices.Contains(c.conf.GetLearners(), id)
}

// The changes of members.
type change uint8

const (
	addLearner change = iota
	promote
	demote
	remove
)

func (k change) raft() pb.ConfChangeType {
	switch k {
	case promote:
		return pb.ConfChangeAddNode
	case remove:
		return pb.ConfChangeRemoveNode
	}
	return pb.ConfChangeAddLearnerNode // of a voter it takes the vote
}

// change proposes a change of members, or says why not. What is already so is
// answered at once.
func (c *Core) change(t Ticket, member dcos.MasterID, kind change) {
	if err := c.refusal(); err != nil {
		c.resolve(t, err)
		return
	}
	id := uint64(member)
	done, err := c.checkChange(id, kind)
	switch {
	case err != nil || done:
		c.resolve(t, err)
	case kind >= demote && id == uint64(c.cfg.ID):
		c.handOver(t, c.successor(), true)
	default:
		cc := &pb.ConfChangeV2{Changes: []*pb.ConfChangeSingle{{Type: kind.raft().Enum(), NodeId: &id}}}
		data, err := proto.Marshal(cc)
		if err == nil {
			err = c.offer(&pb.Entry{Type: pb.EntryConfChangeV2.Enum(), Data: data}, []Ticket{t})
		}
		if err != nil {
			c.resolve(t, err)
		}
	}
}

func (c *Core) checkChange(id uint64, kind change) (done bool, err error) {
	voter, member := slices.Contains(c.conf.GetVoters(), id), c.member(id)
	switch kind {
	case addLearner:
		if id == 0 || raft.IsLocalMsgTarget(id) {
			return false, fmt.Errorf("%w: member id %x", dcos.ErrInvalid, id)
		}
		return member, nil
	case promote:
		if voter || !member {
			return voter, notMember(voter, id)
		}
		if lack, ok := c.lacks(id); !ok || lack > caughtUp {
			return false, unavailable("master %x has not caught up with the log yet, try again in a moment", id)
		}
	case demote, remove:
		if !member {
			return false, notMember(false, id)
		}
		if !voter {
			return kind == demote, nil
		}
	}
	return false, c.keepsQuorum(id, kind)
}

// keepsQuorum refuses a change after which those who vote and answer would be
// no majority.
func (c *Core) keepsQuorum(id uint64, kind change) error {
	after := slices.DeleteFunc(slices.Clone(c.conf.GetVoters()), func(v uint64) bool { return v == id })
	if kind == promote {
		after = append(after, id)
	}
	if len(after) == 0 {
		return fmt.Errorf("%w: master %x is the only one that votes", dcos.ErrConflict, id)
	}
	answer := 0
	for _, v := range after {
		if c.answers(v) {
			answer++
		}
	}
	if need := len(after)/2 + 1; answer < need {
		return fmt.Errorf("%w: afterwards %d masters would vote, of which only %d answer, and %d are needed: bring back or remove those that do not answer first",
			dcos.ErrConflict, len(after), answer, need)
	}
	return nil
}

// answers says that a member was heard a moment ago, and that no connection to
// it has broken since. A leader hears each member at every tick.
func (c *Core) answers(id uint64) bool {
	at, ok := c.heard[id]
	return id == uint64(c.cfg.ID) || ok && c.ticks-at <= electionTicks/2
}

func notMember(ok bool, id uint64) error {
	if ok {
		return nil
	}
	return fmt.Errorf("%w: master %x is not a member", dcos.ErrNotFound, id)
}

// lacks is how many entries a member is behind.
func (c *Core) lacks(id uint64) (n uint64, ok bool) {
	var own, other uint64
	c.raw.WithProgress(func(m uint64, _ raft.ProgressType, pr tracker.Progress) {
		switch m {
		case uint64(c.cfg.ID):
			own = pr.Match
		case id:
			other, ok = pr.Match, pr.State == tracker.StateReplicate
		}
	})
	return own - min(own, other), ok
}

// successor is the voter that is best fit to lead: it answers, has room on its
// disk, and furthest in the log; 0 when there is none.
func (c *Core) successor() uint64 {
	var best, match uint64
	c.raw.WithProgress(func(id uint64, typ raft.ProgressType, pr tracker.Progress) {
		if id == uint64(c.cfg.ID) || typ == raft.ProgressTypeLearner || !c.answers(id) || c.low[id] {
			return
		}
		if best == 0 || pr.Match > match {
			best, match = id, pr.Match
		}
	})
	return best
}

func (c *Core) transfer(t Ticket, to uint64) {
	switch {
	case !c.leads:
		c.resolve(t, c.notLeader())
	case to == uint64(c.cfg.ID):
		c.resolve(t, nil)
	case to != 0 && !slices.Contains(c.conf.GetVoters(), to):
		c.resolve(t, fmt.Errorf("%w: master %x does not vote", dcos.ErrNotFound, to))
	case to == 0:
		c.handOver(t, c.successor(), false)
	default:
		c.handOver(t, to, false)
	}
}

func (c *Core) handOver(t Ticket, to uint64, other bool) {
	switch {
	case to == 0:
		c.resolve(t, unavailable("no other master can take over leadership now"))
	case c.moving != nil:
		c.resolve(t, unavailable("leadership is being handed over already"))
	default:
		c.moving = &move{ticket: t, tick: c.ticks, to: to, other: other}
		c.raw.TransferLeader(to)
	}
}

// moved ends a transfer when leadership has changed.
func (c *Core) moved() {
	if c.moving == nil || c.leads {
		return
	}
	m := c.moving
	c.moving = nil
	if m.other {
		c.resolve(m.ticket, dcos.NotLeader{Leader: dcos.MasterID(m.to)})
		return
	}
	c.resolve(m.ticket, nil)
}

// expireMove gives up where raft does: after an election timeout.
func (c *Core) expireMove() {
	if c.moving == nil || c.ticks-c.moving.tick <= electionTicks {
		return
	}
	c.resolve(c.moving.ticket, unavailable("master %x did not take over leadership in time", c.moving.to))
	c.moving = nil
}

// room says that a majority of the voters has space for more log.
func (c *Core) room() bool {
	n := 0
	for _, v := range c.conf.GetVoters() {
		if !c.low[v] {
			n++
		}
	}
	return n > len(c.conf.GetVoters())/2
}

// checkSpace hands leadership to a member with room when this one's disk is
// almost full. Until then, or when there is none, proposals are refused.
func (c *Core) checkSpace() {
	if !c.leads || !c.low[uint64(c.cfg.ID)] || c.moving != nil {
		return
	}
	if to := c.successor(); to != 0 {
		c.handOver(0, to, false)
	}
}

// Status is what a member knows of itself and its group.
type Status struct {
	ID       dcos.MasterID
	Term     dcos.Term
	Leader   dcos.MasterID
	Ready    bool
	Applied  dcos.Index
	Snapshot dcos.Index
	LogBytes int64 // since the snapshot
	Stalled  bool
	Held     bool // see Config.Prove
	Low      bool // its disk is below the reserve
	Voters   []dcos.MasterID
	Learners []dcos.MasterID
	Answer   []dcos.MasterID // members that were heard a moment ago, itself among them
}

// Status may be called between two Steps.
func (c *Core) Status() Status {
	s := Status{
		ID: c.cfg.ID, Term: dcos.Term(c.term), Leader: dcos.MasterID(c.leader), Ready: c.ready(), Applied: dcos.Index(c.applies.index),
		Snapshot: dcos.Index(c.snaps.index), LogBytes: c.snaps.bytes, Stalled: c.appends.stalled,
		Held: c.held, Low: c.low[uint64(c.cfg.ID)],
	}
	for _, v := range c.conf.GetVoters() {
		s.Voters = append(s.Voters, dcos.MasterID(v))
	}
	for _, v := range c.conf.GetLearners() {
		s.Learners = append(s.Learners, dcos.MasterID(v))
	}
	for _, list := range [][]uint64{c.conf.GetVoters(), c.conf.GetLearners()} {
		for _, v := range list {
			if c.answers(v) {
				s.Answer = append(s.Answer, dcos.MasterID(v))
			}
		}
	}
	return s
}
