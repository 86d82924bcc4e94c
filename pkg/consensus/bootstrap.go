package consensus

import (
	"errors"
	"fmt"
	"io"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/journal"
	"github.com/dcos-go/dcos/pkg/state"
)

// Bootstrap makes the first member of a new cluster: the empty state, with this
// member as its only voter, as a snapshot at index 1. It refuses when the
// directory holds anything already. A crash in between leaves nothing that a
// second call trips over.
func Bootstrap(log, snaps journal.FS, id Identity) error {
	return initialise(log, id, func() (*pb.Snapshot, error) {
		one := uint64(1)
		first := &pb.Snapshot{Metadata: &pb.SnapshotMetadata{Index: &one, Term: &one, ConfState: &pb.ConfState{Voters: []uint64{uint64(id.ID)}}}}
		return first, NewSnapshots(snaps).Save(first, state.New().View().WriteSnapshot)
	})
}

// Join makes a member that knows nothing yet: the leader will send it
// everything once it has been added. It refuses when the directory holds
// anything already.
func Join(log journal.FS, id Identity) error {
	return initialise(log, id, func() (*pb.Snapshot, error) { return nil, nil })
}

func initialise(fs journal.FS, id Identity, first func() (*pb.Snapshot, error)) error {
	l, found, err := OpenLog(fs)
	if err != nil {
		return err
	}
	if found.Identity.ID != 0 {
		err = l.Init(id, nil) // says why not
		return errors.Join(err, l.Close())
	}
	marker, err := first()
	if err == nil {
		err = l.Init(id, marker)
	}
	return errors.Join(err, l.Close())
}

// Start is what a member has after it was started: the log, what it holds, and
// the state of its snapshot.
type Start struct {
	Log   *Log
	Found Recovered
	Store *state.Store
}

// Load opens log and snapshot of a member and checks whose they are. Damage is
// a journal.ErrDamaged that names the file and the repair; the member must not
// run then.
func Load(log journal.FS, snaps *Snapshots, want Identity) (Start, error) {
	l, found, err := OpenLog(log)
	if err != nil {
		return Start{}, err
	}
	s := Start{Log: l, Found: found, Store: state.New()}
	if err := s.load(snaps, want); err != nil {
		return Start{}, errors.Join(err, l.Close())
	}
	return s, nil
}

func (s *Start) load(snaps *Snapshots, want Identity) error {
	switch has := s.Found.Identity; {
	case has.ID == 0:
		return fmt.Errorf("%w: the data directory holds no master; start a new cluster or join one", dcos.ErrNotFound)
	case has != want:
		return fmt.Errorf("%w: the data directory belongs to master %x of cluster %s, not to master %x of cluster %s",
			dcos.ErrConflict, uint64(has.ID), has.Cluster, uint64(want.ID), want.Cluster)
	}
	index := dcos.Index(s.Found.Snapshot.GetMetadata().GetIndex())
	if index == 0 {
		return nil
	}
	err := snaps.Load(index, func(r io.Reader) (err error) {
		s.Store, err = state.Restore(r)
		return err
	})
	if err != nil {
		return err
	}
	if err := snaps.Prune(index); err != nil {
		return err
	}
	return nil
}
