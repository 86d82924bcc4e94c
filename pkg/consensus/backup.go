package consensus

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/journal"
	"github.com/dcos-go/dcos/pkg/state"
)

// restoreStep is how far index and term of a restored cluster lie beyond its
// snapshot. The cluster may have gone on after the snapshot was taken; agents
// and clients that have seen that must not take what comes now for older.
const restoreStep = 1 << 20

// WriteSnapshot writes a view as a snapshot file.
func WriteSnapshot(w io.Writer, v state.View, term dcos.Term, voters []dcos.MasterID) error {
	index, t := uint64(v.Index()), uint64(term)
	conf := &pb.ConfState{}
	for _, id := range voters {
		conf.Voters = append(conf.Voters, uint64(id))
	}
	marker := &pb.Snapshot{Metadata: &pb.SnapshotMetadata{Index: &index, Term: &t, ConfState: conf}}
	head, err := proto.Marshal(marker)
	if err != nil {
		return fmt.Errorf("snapshot %d: %w", index, err)
	}
	if err := writeSnapFile(w, head, v.WriteSnapshot); err != nil {
		return fmt.Errorf("snapshot %d: %w", index, err)
	}
	return nil
}

// Backup is what a snapshot file holds.
type Backup struct {
	Index  dcos.Index
	Term   dcos.Term
	Voters []dcos.MasterID
	Store  *state.Store
}

// ReadSnapshot reads a whole snapshot file and checks its hashes. What is wrong
// with it is an ErrDamaged.
func ReadSnapshot(r io.Reader) (*Backup, error) {
	body, err := newSnapReader(bufio.NewReaderSize(io.LimitReader(r, MaxSnapshot), 1<<18))
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w: %w", err, journal.ErrDamaged)
	}
	store, err := state.Restore(body)
	// The hash over the whole says more than where reading went wrong.
	if cerr := body.Check(); cerr != nil {
		err = cerr
	}
	meta := body.marker.GetMetadata()
	if err == nil && uint64(store.View().Index()) != meta.GetIndex() {
		err = fmt.Errorf("it is said to be of index %d and is of index %d", meta.GetIndex(), store.View().Index())
	}
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w: %w", err, journal.ErrDamaged)
	}
	b := &Backup{Index: dcos.Index(meta.GetIndex()), Term: dcos.Term(meta.GetTerm()), Store: store}
	for _, v := range meta.GetConfState().GetVoters() {
		b.Voters = append(b.Voters, dcos.MasterID(v))
	}
	return b, nil
}

// RestoreSnapshot makes the first member of a cluster that goes on from a
// snapshot, in an empty directory. The masters that the snapshot knows are
// forgotten. It refuses when the directory holds a member already. A crash in
// between leaves nothing that a second call trips over.
//
// It returns the index at which the cluster goes on.
func RestoreSnapshot(log, snaps journal.FS, id Identity, b *Backup) (dcos.Index, error) {
	if info, ok := b.Store.View().Cluster(); !ok || info.ID != id.Cluster {
		return 0, fmt.Errorf("%w: the snapshot is of cluster %q, not of %q", dcos.ErrConflict, info.ID, id.Cluster)
	}
	index, term := uint64(b.Index)+restoreStep, uint64(b.Term)+restoreStep
	err := initialise(log, id, func() (*pb.Snapshot, error) {
		if err := forgetMasters(b.Store, dcos.Index(index), 0); err != nil {
			return nil, err
		}
		marker := &pb.Snapshot{Metadata: &pb.SnapshotMetadata{Index: &index, Term: &term, ConfState: &pb.ConfState{Voters: []uint64{uint64(id.ID)}}}}
		return marker, NewSnapshots(snaps).Save(marker, b.Store.View().WriteSnapshot)
	})
	if err != nil {
		return 0, fmt.Errorf("restore: %w", err)
	}
	return dcos.Index(index), nil
}

// Content is what a member's files hold.
type Content struct {
	Identity Identity
	Applied  dcos.Index // of State
	Last     dcos.Index // where the log ends
	Term     dcos.Term
	Voters   []dcos.MasterID // as of the snapshot
	State    state.View      // of the snapshot; what the log adds is not applied
}

// Examine reads a stopped member's files. It changes nothing but a torn tail.
func Examine(log, snaps journal.FS, want Identity) (Content, error) {
	s, err := Load(log, NewSnapshots(snaps), want)
	if err != nil {
		return Content{}, err
	}
	meta := s.Found.Snapshot.GetMetadata()
	c := Content{
		Identity: s.Found.Identity, Applied: dcos.Index(meta.GetIndex()), Last: dcos.Index(meta.GetIndex() + uint64(len(s.Found.Entries))),
		Term: dcos.Term(s.Found.Hard.GetTerm()), State: s.Store.View(),
	}
	for _, v := range meta.GetConfState().GetVoters() {
		c.Voters = append(c.Voters, dcos.MasterID(v))
	}
	return c, errors.Join(s.Log.Close())
}
