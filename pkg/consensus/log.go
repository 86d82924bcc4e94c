package consensus

import (
	"encoding/binary"
	"errors"
	"fmt"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/journal"
)

// Repair is what an operator is told when files of a master are damaged.
const Repair = "this master does not vote; while a majority of the others lives, run on its machine: " + RepairCommand +
	" (it joins them anew and gets the state from them); without a majority, see docs/ops/lost-quorum.md, and for the only master docs/ops/restore.md"

// RepairCommand is what mends one master among others.
const RepairCommand = "systemctl stop dcos; dcos master wipe --yes && systemctl start dcos"

// The kinds of record of the raft log, the first byte of each. A log begins
// with an identity; a snapshot says that entries up to its index are gone.
const (
	recIdentity = 'I'
	recSnapshot = 'S'
	recHard     = 'H'
	recEntry    = 'E'
)

// Identity is whose log it is. It is written once.
type Identity struct {
	Cluster string
	ID      dcos.MasterID
}

// Recovered is what a log holds.
type Recovered struct {
	Identity Identity     // zero: nothing was ever written
	Snapshot *pb.Snapshot // the state before Entries; nil: none
	Hard     *pb.HardState
	Entries  []*pb.Entry
}

// Log is the raft log, hard state and snapshot marker on a journal. It is
// passive: one goroutine carries Append and CompactLog effects into it in the
// order they came.
type Log struct {
	j    *journal.Journal
	id   Identity
	snap *pb.Snapshot
	hard *pb.HardState
	tail []*pb.Entry // entries in the journal behind snap, as the last writer left them
}

// OpenLog reads the log in fs. Damage is a journal.ErrDamaged that names the
// file and the repair.
func OpenLog(fs journal.FS) (*Log, Recovered, error) {
	j, recs, err := journal.Open(fs, journal.Options{Repair: Repair})
	if err != nil {
		return nil, Recovered{}, fmt.Errorf("raft log: %w", err)
	}
	l := &Log{j: j}
	for i, r := range recs {
		if err := l.replay(r); err != nil {
			_ = j.Close()
			return nil, Recovered{}, fmt.Errorf("raft log: record %d: %w: %w; %s", j.First()+uint64(i), err, journal.ErrDamaged, Repair)
		}
	}
	if err := l.check(); err != nil {
		_ = j.Close()
		return nil, Recovered{}, fmt.Errorf("raft log: %w: %w; %s", err, journal.ErrDamaged, Repair)
	}
	return l, Recovered{Identity: l.id, Snapshot: l.snap, Hard: l.hard, Entries: append([]*pb.Entry(nil), l.tail...)}, nil
}

// replay takes one record over.
func (l *Log) replay(r []byte) error {
	if len(r) == 0 {
		return errors.New("empty record")
	}
	body := r[1:]
	if r[0] != recIdentity && l.id.ID == 0 {
		return errors.New("record before the identity")
	}
	switch r[0] {
	case recIdentity:
		if len(body) < 8 {
			return errors.New("short identity")
		}
		l.id = Identity{ID: dcos.MasterID(binary.BigEndian.Uint64(body)), Cluster: string(body[8:])}
		if l.id.ID == 0 || raft.IsLocalMsgTarget(uint64(l.id.ID)) {
			return fmt.Errorf("member id %x", uint64(l.id.ID))
		}
	case recSnapshot:
		l.snap = &pb.Snapshot{}
		if err := proto.Unmarshal(body, l.snap); err != nil {
			return err
		}
		l.forget(l.snap.GetMetadata().GetIndex())
	case recHard:
		l.hard = &pb.HardState{}
		return proto.Unmarshal(body, l.hard)
	case recEntry:
		e := &pb.Entry{}
		if err := proto.Unmarshal(body, e); err != nil {
			return err
		}
		return l.take(e)
	default:
		return fmt.Errorf("kind %q is not known to this program", r[0])
	}
	return nil
}

func (l *Log) snapIndex() uint64 { return l.snap.GetMetadata().GetIndex() }

// take puts an entry behind the tail, or over its end.
func (l *Log) take(e *pb.Entry) error {
	i := e.GetIndex()
	if i <= l.snapIndex() {
		return nil
	}
	at := i - l.snapIndex() - 1
	if at > uint64(len(l.tail)) {
		return fmt.Errorf("entry %d follows entry %d", i, l.snapIndex()+uint64(len(l.tail)))
	}
	l.tail = append(l.tail[:at:at], e)
	return nil
}

func (l *Log) takeAll(entries []*pb.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	if err := l.take(entries[0]); err != nil {
		return err
	}
	for _, e := range entries[1:] {
		if e.GetIndex() != l.snapIndex()+uint64(len(l.tail))+1 {
			if err := l.take(e); err != nil {
				return err
			}
			continue
		}
		l.tail = append(l.tail, e)
	}
	return nil
}

// forget drops the tail up to an index.
func (l *Log) forget(index uint64) {
	n := 0
	for n < len(l.tail) && l.tail[n].GetIndex() <= index {
		n++
	}
	l.tail = append([]*pb.Entry(nil), l.tail[n:]...)
	if len(l.tail) > 0 && l.tail[0].GetIndex() != index+1 {
		l.tail = nil
	}
}

// check compares the parts with each other.
func (l *Log) check() error {
	last := l.snapIndex() + uint64(len(l.tail))
	term := l.snap.GetMetadata().GetTerm()
	for _, e := range l.tail {
		if e.GetTerm() < term {
			return fmt.Errorf("entry %d has term %d behind term %d", e.GetIndex(), e.GetTerm(), term)
		}
		term = e.GetTerm()
	}
	if l.hard.GetCommit() > last {
		return fmt.Errorf("committed up to %d, but the log ends at %d", l.hard.GetCommit(), last)
	}
	// A snapshot is committed in itself, and its term has begun.
	if h := l.hard; h.GetCommit() < l.snapIndex() || h.GetTerm() < l.snap.GetMetadata().GetTerm() {
		l.hard = &pb.HardState{
			Term: new(max(h.GetTerm(), l.snap.GetMetadata().GetTerm())), Vote: new(h.GetVote()), Commit: new(max(h.GetCommit(), l.snapIndex())),
		}
		if l.hard.GetTerm() != h.GetTerm() {
			l.hard.Vote = new(uint64(0))
		}
	}
	return nil
}

// Init writes the identity of a new member, and for the first member of a
// cluster the snapshot that everything begins with. It refuses when anything
// was written before.
func (l *Log) Init(id Identity, first *pb.Snapshot) error {
	if l.id.ID != 0 {
		return fmt.Errorf("%w: this data directory belongs to master %x of cluster %s already", dcos.ErrConflict, uint64(l.id.ID), l.id.Cluster)
	}
	if id.ID == 0 || id.Cluster == "" || raft.IsLocalMsgTarget(uint64(id.ID)) {
		return fmt.Errorf("%w: a master needs a cluster id and a member id other than 0", dcos.ErrInvalid)
	}
	l.id, l.snap = id, first
	return l.rewrite()
}

// Write carries out an Append. It is durable after Sync, at once when it
// carries a snapshot.
func (l *Log) Write(a Append) error {
	if a.Hard != nil {
		l.hard = a.Hard
	}
	if a.Snapshot != nil {
		l.snap, l.tail = a.Snapshot, nil
		if err := l.takeAll(a.Entries); err != nil {
			return fmt.Errorf("raft log: %w", err)
		}
		return l.rewrite()
	}
	// The hard state comes last: what it commits is then surely there.
	recs := make([][]byte, 0, len(a.Entries)+1)
	for _, e := range a.Entries {
		recs = append(recs, encode(recEntry, e))
	}
	if a.Hard != nil {
		recs = append(recs, encode(recHard, a.Hard))
	}
	if err := l.takeAll(a.Entries); err != nil {
		return fmt.Errorf("raft log: %w", err)
	}
	if err := l.j.Append(recs...); err != nil {
		return fmt.Errorf("raft log: %w", err)
	}
	return nil
}

// Sync makes everything written durable.
func (l *Log) Sync() error {
	if err := l.j.Sync(); err != nil {
		return fmt.Errorf("raft log: %w", err)
	}
	return nil
}

// Compact carries out a CompactLog, durably.
func (l *Log) Compact(s *pb.Snapshot) error {
	if s.GetMetadata().GetIndex() <= l.snapIndex() {
		return nil
	}
	l.snap = s
	l.forget(l.snapIndex())
	return l.rewrite()
}

// rewrite replaces the journal by what counts.
func (l *Log) rewrite() error {
	live := make([][]byte, 0, len(l.tail)+3)
	id := binary.BigEndian.AppendUint64([]byte{recIdentity}, uint64(l.id.ID))
	live = append(live, append(id, l.id.Cluster...))
	if l.snap != nil {
		live = append(live, encode(recSnapshot, l.snap))
	}
	for _, e := range l.tail {
		live = append(live, encode(recEntry, e))
	}
	if l.hard != nil {
		live = append(live, encode(recHard, l.hard))
	}
	if err := l.j.Compact(live); err != nil {
		return fmt.Errorf("raft log: %w", err)
	}
	return nil
}

// Stats are the journal's counters; any goroutine may ask.
func (l *Log) Stats() journal.Stats { return l.j.Stats() }

// Close syncs and closes the journal.
func (l *Log) Close() error { return l.j.Close() }

func encode(kind byte, m proto.Message) []byte {
	b := make([]byte, 1, 1+proto.Size(m))
	b[0] = kind
	b, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(b, m)
	if err != nil {
		panic(fmt.Sprintf("consensus: a record of the raft log cannot be encoded: %v", err))
	}
	return b
}
