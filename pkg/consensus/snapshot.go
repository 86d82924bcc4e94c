package consensus

import (
	"fmt"
	"math"
	"slices"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// snaps is when to take a snapshot.
type snaps struct {
	index  uint64 // of the last durable one
	bytes  int64  // of log since then
	wanted bool   // a member needs a newer one than there is
	saving *pb.Snapshot
	at     int64  // bytes when saving began
	err    error  // of the last attempt
	retry  uint64 // tick before which a failed attempt is not repeated
}

// retrySnapshotTicks lie between two attempts that fail.
const retrySnapshotTicks = 100

// behind says that snapshots fail and the log grows without an end.
func (s *snaps) behind(limit int64) bool { return s.err != nil && s.bytes > 4*limit }

// storage is what raft reads from.
type storage struct {
	*raft.MemoryStorage
	c *Core
}

// Snapshot is the last durable one. A member that joined after it was taken
// would refuse it, since it is not named there: then a new one is taken first.
func (s storage) Snapshot() (*pb.Snapshot, error) {
	snap, err := s.MemoryStorage.Snapshot()
	if err != nil {
		return nil, err
	}
	has := snap.GetMetadata().GetConfState()
	for _, list := range [][]uint64{s.c.conf.GetVoters(), s.c.conf.GetLearners()} {
		for _, id := range list {
			if !slices.Contains(has.GetVoters(), id) && !slices.Contains(has.GetLearners(), id) {
				s.c.snaps.wanted = true
				return nil, raft.ErrSnapshotTemporarilyUnavailable
			}
		}
	}
	return snap, nil
}

// considerSnapshot asks for one between two batches, when the state machine is
// exactly at the applied index.
func (c *Core) considerSnapshot() {
	s := &c.snaps
	if s.saving != nil || (s.bytes < c.cfg.SnapshotBytes && !s.wanted) || c.applies.index <= s.index || c.ticks < s.retry || len(c.applies.out) > 0 || c.stopped {
		return
	}
	index, term := c.applies.index, c.applies.term
	s.saving = &pb.Snapshot{Metadata: &pb.SnapshotMetadata{Index: &index, Term: &term, ConfState: proto.Clone(c.conf).(*pb.ConfState)}}
	s.at, s.wanted = s.bytes, false
	c.emit(SaveSnapshot{s.saving})
}

func (c *Core) retrySnapshot() {
	if c.snaps.err != nil {
		c.considerSnapshot()
	}
}

func (c *Core) snapshotSaved(e SnapshotSaved) {
	s := &c.snaps
	if s.saving == nil || s.saving.GetMetadata().GetIndex() != uint64(e.Index) {
		return
	}
	saved := s.saving
	s.saving = nil
	if s.err = e.Err; e.Err != nil {
		s.retry = c.ticks + retrySnapshotTicks
		return
	}
	if uint64(e.Index) <= s.index { // one from the leader was installed meanwhile
		return
	}
	if _, err := c.mem.CreateSnapshot(uint64(e.Index), saved.GetMetadata().GetConfState(), nil); err != nil {
		panic(fmt.Sprintf("consensus: snapshot at %d does not fit the log: %v", e.Index, err))
	}
	c.forget(uint64(e.Index))
	s.index = uint64(e.Index)
	s.bytes -= s.at
	c.emit(CompactLog{saved})
}

// forget drops entries from memory that a snapshot has replaced, except a few
// for members that are only a little behind.
func (c *Core) forget(index uint64) {
	first, _ := c.mem.FirstIndex()
	if index < first {
		return
	}
	entries, err := c.mem.Entries(first, index+1, math.MaxUint64)
	if err != nil {
		panic(fmt.Sprintf("consensus: entries %d to %d are not in memory: %v", first, index, err))
	}
	keep, size := index, 0
	for i := len(entries) - 1; i >= 0 && len(entries)-i <= trailingEntries && size <= trailingBytes; i-- {
		size += len(entries[i].GetData()) + entryOverhead
		keep = entries[i].GetIndex() - 1
	}
	if keep < first {
		return
	}
	if err := c.mem.Compact(keep); err != nil {
		panic(fmt.Sprintf("consensus: compact the log in memory to %d: %v", keep, err))
	}
}

// install takes over a snapshot of the leader that is durable in the log.
func (c *Core) install(s *pb.Snapshot) {
	if err := c.mem.ApplySnapshot(s); err != nil {
		panic(fmt.Sprintf("consensus: snapshot of the leader does not fit: %v", err))
	}
	meta := s.GetMetadata()
	c.conf = pb.EnsureConfState(meta.GetConfState())
	c.snaps.index, c.snaps.bytes = meta.GetIndex(), 0
	c.applies.index, c.applies.term = meta.GetIndex(), meta.GetTerm()
	// It is committed, and on the disk, with every change of members before it.
	c.applies.conf.durable = max(c.applies.conf.durable, meta.GetIndex())
	c.giveUp(meta.GetIndex())
	a := &c.applies
	for len(a.queue) > 0 && a.queue[0].GetIndex() <= a.index {
		a.queue = a.queue[1:]
	}
	c.emit(Install{s})
	c.answerApplied()
	c.readsApplied()
}

func (c *Core) snapshotSent(e SnapshotSent) {
	status := raft.SnapshotFinish
	if e.Err != nil {
		status = raft.SnapshotFailure
	}
	c.raw.ReportSnapshot(uint64(e.To), status)
}
