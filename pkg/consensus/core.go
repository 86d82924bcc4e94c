package consensus

import (
	"fmt"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// Core is one member's decisions. It is used by one goroutine. Besides its
// arguments it depends only on raft's election jitter, which reads
// crypto/rand.Reader.
type Core struct {
	cfg Config
	raw *raft.RawNode
	mem *raft.MemoryStorage // exactly what is durable since the last snapshot
	out []Effect

	ticks   uint64
	started bool
	stopped bool

	term   uint64
	hard   *pb.HardState // the last that was to be written
	leader uint64
	leads  bool   // this member is the leader of term
	last   uint64 // where raft's log ends, with what is not durable yet
	lostAt uint64 // tick at which it stopped to be
	said   Lead   // the last Lead effect
	conf   *pb.ConfState

	campaignTerm uint64 // the term in which Woken shall campaign; 0: none

	appends   appends
	applies   applies
	proposals proposals
	waiters   []waiter
	reads     reads
	snaps     snaps
	moving    *move
	low       map[uint64]bool   // members whose disk is below its reserve
	heard     map[uint64]uint64 // tick of the last message of each member
	held      bool              // neither votes nor campaigns; see Config.Prove
	led       uint64            // tick of the last message of a leader
}

// NewCore starts from what Log found on disk. The first Step may be any event.
func NewCore(cfg Config, found Recovered) (*Core, error) {
	cfg = cfg.withDefaults()
	c := &Core{cfg: cfg, mem: raft.NewMemoryStorage(), low: map[uint64]bool{}, heard: map[uint64]uint64{}, conf: &pb.ConfState{}}
	var applied uint64
	if meta := found.Snapshot.GetMetadata(); meta.GetIndex() > 0 {
		if err := c.mem.ApplySnapshot(found.Snapshot); err != nil {
			return nil, fmt.Errorf("consensus: take over the snapshot: %w", err)
		}
		applied = meta.GetIndex()
		c.conf = pb.EnsureConfState(meta.GetConfState())
	}
	if found.Hard != nil {
		if err := c.mem.SetHardState(found.Hard); err != nil {
			return nil, fmt.Errorf("consensus: take over the hard state: %w", err)
		}
		c.term = found.Hard.GetTerm()
		c.hard = found.Hard
		c.applies.conf.durable, c.applies.conf.found = found.Hard.GetCommit(), found.Hard.GetCommit()
	}
	if err := c.mem.Append(found.Entries); err != nil {
		return nil, fmt.Errorf("consensus: take over the log: %w", err)
	}
	raw, err := raft.NewRawNode(&raft.Config{
		ID: uint64(cfg.ID), ElectionTick: electionTicks, HeartbeatTick: heartbeatTick,
		Storage: storage{c.mem, c}, Applied: applied, AsyncStorageWrites: true,
		MaxSizePerMsg: maxSizePerMsg, MaxCommittedSizePerReady: maxCommittedPerReady, MaxUncommittedEntriesSize: maxUncommitted,
		MaxInflightMsgs: maxInflightMsgs, MaxInflightBytes: maxInflightBytes,
		CheckQuorum: true, PreVote: true, ReadOnlyOption: raft.ReadOnlySafe,
		DisableProposalForwarding: true, StepDownOnRemoval: true, Logger: silent{},
	})
	if err != nil {
		return nil, fmt.Errorf("consensus: start raft: %w", err)
	}
	c.raw = raw
	c.last, _ = c.mem.LastIndex()
	c.applies.index, c.applies.term = applied, found.Snapshot.GetMetadata().GetTerm()
	c.snaps.index = applied
	c.applies.conf.saw(found.Entries)
	for _, e := range found.Entries {
		c.snaps.bytes += int64(len(e.GetData())) + entryOverhead
	}
	c.held = cfg.Prove && !c.soleVoter()
	return c, nil
}

// Step takes one event and returns what must be done. It starts nothing, waits
// for nothing and reads no clock.
func (c *Core) Step(now time.Time, e Event) []Effect {
	if c.stopped {
		return nil
	}
	if !c.started {
		c.started = true
		if c.soleVoter() {
			_ = c.raw.Campaign()
		}
	}
	switch e := e.(type) {
	case Tick:
		c.tick()
	case Received:
		c.received(e.From, e.Msg, false)
	case SnapshotReceived:
		c.received(e.From, e.Msg, true)
	case Appended:
		c.appended(e)
	case Applied:
		c.appliedEntries(e)
	case Proposed:
		c.proposed(e)
	case ReadAsked:
		c.readAsked(e.Ticket)
	case PeerLost:
		c.peerLost(uint64(e.ID))
	case Woken:
		c.woken()
	case SnapshotSaved:
		c.snapshotSaved(e)
	case SnapshotSent:
		c.snapshotSent(e)
	case Space:
		c.low[uint64(e.ID)] = e.Low
		c.checkSpace()
	case AddLearner:
		c.change(e.Ticket, e.ID, addLearner)
	case Promote:
		c.change(e.Ticket, e.ID, promote)
	case Demote:
		c.change(e.Ticket, e.ID, demote)
	case Remove:
		c.change(e.Ticket, e.ID, remove)
	case Proven:
		c.held = false
	case Transfer:
		c.transfer(e.Ticket, uint64(e.To))
	}
	c.pump(now)
	out := c.out
	c.out = nil
	return out
}

// pump takes what raft has ready until it has no more.
func (c *Core) pump(now time.Time) {
	for again := true; again && !c.stopped; {
		for c.raw.HasReady() && !c.stopped {
			c.take(c.raw.Ready())
		}
		// Only now is it known whether this member still leads, and where its
		// log ends.
		c.flush(now)
		c.askRead()
		again = c.raw.HasReady()
	}
	if c.snaps.wanted {
		c.considerSnapshot()
	}
	c.sayLead()
}

func (c *Core) take(rd raft.Ready) {
	if !raft.IsEmptyHardState(rd.HardState) {
		c.term = rd.GetTerm()
	}
	if rd.SoftState != nil {
		c.role(rd.Lead, rd.RaftState == raft.StateLeader)
	}
	for _, rs := range rd.ReadStates {
		c.readConfirmed(rs)
	}
	for _, m := range rd.Messages {
		switch m.GetTo() {
		case raft.LocalAppendThread:
			c.append(m)
		case raft.LocalApplyThread:
			c.apply(m)
		default:
			c.send(m)
		}
	}
	c.nextApply()
}

// role takes over who leads.
func (c *Core) role(leader uint64, leads bool) {
	c.leader = leader
	if leader != 0 {
		c.campaignTerm = 0
	}
	if c.leads == leads {
		return
	}
	c.leads = leads
	if !leads {
		c.lostAt = c.ticks
		c.refuse(func() error { return c.notLeader() })
	} else {
		c.proposals.clock.begin(c.ticks)
	}
	c.moved()
}

func (c *Core) ready() bool { return c.leads && c.applies.term == c.term }

func (c *Core) sayLead() {
	now := Lead{Term: dcos.Term(c.term), Leader: dcos.MasterID(c.leader), Ready: c.ready()}
	if !c.stopped && now != c.said {
		c.said = now
		c.emit(now)
	}
}

func (c *Core) emit(f Effect) { c.out = append(c.out, f) }

func (c *Core) stop(why error) {
	c.stopped = true
	c.emit(Stop{why})
}

func (c *Core) resolve(t Ticket, err error) {
	if t != 0 {
		c.emit(Resolved{Ticket: t, Err: err})
	}
}

func (c *Core) notLeader() error {
	l := c.leader
	if c.leads {
		l = 0
	}
	return dcos.NotLeader{Leader: dcos.MasterID(l)}
}

func (c *Core) voter() bool { return slices.Contains(c.conf.GetVoters(), uint64(c.cfg.ID)) }

func (c *Core) soleVoter() bool { return len(c.conf.GetVoters()) == 1 && c.voter() }

func (c *Core) tick() {
	c.ticks++
	c.checkStall()
	if c.stopped {
		return
	}
	if c.held && c.ticks-c.led >= holdTicks {
		c.held = false // nobody leads who could say better
	}
	if !c.held {
		c.raw.Tick()
	}
	c.expireWaiters()
	c.expireReads()
	c.expireMove()
	if c.ticks%electionTicks == 0 {
		c.checkSpace()
	}
	c.retrySnapshot()
}

// send encodes a message for another member. A member whose disk does not
// answer is silent: what it says could be lost with it, and its silence lets
// the others elect a leader.
func (c *Core) send(m *pb.Message) {
	snap := m.GetType() == pb.MsgSnap
	if c.appends.stalled {
		if snap {
			c.raw.ReportSnapshot(m.GetTo(), raft.SnapshotFailure)
		}
		return
	}
	if say := c.applies.conf.sayable(m.GetCommit()); c.leads && say != m.GetCommit() {
		m = proto.CloneOf(m)
		m.Commit = &say
	}
	b, err := proto.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("consensus: a message of raft cannot be encoded: %v", err))
	}
	to := dcos.MasterID(m.GetTo())
	if snap {
		c.emit(SendSnapshot{To: to, Index: dcos.Index(m.GetSnapshot().GetMetadata().GetIndex()), Msg: b})
		return
	}
	c.emit(Send{To: to, Msg: b})
}

// received decodes and checks a message before raft sees it: raft panics on
// what a correct member never sends.
func (c *Core) received(from dcos.MasterID, b []byte, snapshot bool) {
	m := &pb.Message{}
	if err := proto.Unmarshal(b, m); err != nil {
		return
	}
	if m.GetFrom() != uint64(from) || m.GetTo() != uint64(c.cfg.ID) || !acceptable(m, snapshot) {
		return
	}
	c.heard[uint64(from)] = c.ticks
	switch m.GetType() {
	case pb.MsgHeartbeat, pb.MsgApp, pb.MsgSnap:
		c.led = c.ticks
		if at := c.applies.conf.gone; at != 0 && m.GetCommit() >= at {
			c.stop(ErrRemoved)
			return
		}
	case pb.MsgVote, pb.MsgPreVote, pb.MsgTimeoutNow:
		if c.held {
			return
		}
	}
	last, _ := c.mem.LastIndex()
	if m.GetType() == pb.MsgHeartbeat && m.GetTerm() >= c.term && m.GetCommit() > last {
		c.stop(fmt.Errorf("consensus: member %x says that this one has acknowledged the log up to %d, but it ends at %d: "+
			"an old copy of the data directory was restored, or its end is lost; wipe the directory and join again", uint64(from), m.GetCommit(), last))
		return
	}
	// Below the reserve nothing more goes into the log as long as the others can
	// do without. When they cannot, no leader takes proposals any more, and what
	// still comes, such as the first entry of a new leader, is what reads need.
	if m.GetType() == pb.MsgApp && len(m.GetEntries()) > 0 && c.low[uint64(c.cfg.ID)] && c.room() {
		return
	}
	_ = c.raw.Step(m)
}

// acceptable reports whether a member may send such a message over the wire.
func acceptable(m *pb.Message, snapshot bool) bool {
	if m.GetTerm() == 0 && m.GetType() != pb.MsgReadIndex {
		return false
	}
	switch m.GetType() {
	case pb.MsgSnap:
		return snapshot && m.GetSnapshot().GetMetadata().GetIndex() > 0
	case pb.MsgApp:
		for i, e := range m.GetEntries() {
			if e == nil || e.GetIndex() != m.GetIndex()+uint64(i)+1 || e.GetTerm() > m.GetTerm() {
				return false
			}
		}
		return !snapshot
	case pb.MsgReadIndex, pb.MsgReadIndexResp:
		return !snapshot && len(m.GetEntries()) == 1
	case pb.MsgAppResp, pb.MsgVote, pb.MsgVoteResp, pb.MsgPreVote, pb.MsgPreVoteResp, pb.MsgHeartbeat, pb.MsgHeartbeatResp, pb.MsgTimeoutNow:
		return !snapshot
	}
	return false
}

// peerLost reacts to a broken connection: the process behind it may be dead.
func (c *Core) peerLost(id uint64) {
	delete(c.heard, id)
	if c.leads {
		c.raw.ReportUnreachable(id)
		return
	}
	if id == 0 || id != c.leader || !c.voter() || c.appends.stalled || c.held {
		return
	}
	_ = c.raw.ForgetLeader()
	rank := 0
	for _, v := range c.conf.GetVoters() {
		if v != id && v < uint64(c.cfg.ID) {
			rank++
		}
	}
	c.campaignTerm = c.term
	c.emit(Wake{After: time.Duration(rank) * campaignStep})
}

// woken campaigns when nobody else has won since the leader was lost.
func (c *Core) woken() {
	due := c.campaignTerm != 0 && c.campaignTerm == c.term && c.leader == 0
	c.campaignTerm = 0
	if due && !c.appends.stalled && c.voter() {
		_ = c.raw.Campaign()
	}
}

// silent is raft's logger: the core reports by effects. A panic of raft means
// that an invariant broke.
type silent struct{}

// Debug and the others below implement raft.Logger; only faults are heard.
func (silent) Debug(...any) {}

// Debugf says nothing.
func (silent) Debugf(string, ...any) {}

// Error says nothing.
func (silent) Error(...any) {}

// Errorf says nothing.
func (silent) Errorf(string, ...any) {}

// Info says nothing.
func (silent) Info(...any) {}

// Infof says nothing.
func (silent) Infof(string, ...any) {}

// Warning says nothing.
func (silent) Warning(...any) {}

// Warningf says nothing.
func (silent) Warningf(string, ...any) {}

// Fatal is a broken invariant.
func (silent) Fatal(v ...any) { panic("consensus: raft: " + fmt.Sprint(v...)) }

// Fatalf is a broken invariant.
func (silent) Fatalf(f string, v ...any) { panic("consensus: raft: " + fmt.Sprintf(f, v...)) }

// Panic is a broken invariant.
func (silent) Panic(v ...any) { panic("consensus: raft: " + fmt.Sprint(v...)) }

// Panicf is a broken invariant.
func (silent) Panicf(f string, v ...any) {
	panic("consensus: raft: " + fmt.Sprintf(f, v...))
}
