package consensus

import (
	"errors"
	"fmt"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/journal"
	"github.com/dcos-go/dcos/pkg/state"
)

// Recover makes a member whose files are good the only voter of its cluster,
// for the case that a majority of the masters is lost for good. Everything in
// its log counts as committed; what only the lost ones had is gone, and that is
// the operator's decision. The others must be wiped before they join again, and
// the member must not be running. A crash in between changes nothing.
//
// The lost masters' rows are removed: should one of them come back with its old
// data, it is told that it is no member any more.
//
// It returns the index at which the cluster goes on.
func Recover(log, snaps journal.FS, id Identity) (dcos.Index, error) {
	files := NewSnapshots(snaps)
	start, err := Load(log, files, id)
	if err != nil {
		return 0, err
	}
	index, err := start.recover(files)
	return index, errors.Join(err, start.Log.Close())
}

func (s *Start) recover(files *Snapshots) (dcos.Index, error) {
	last := s.Found.Snapshot.GetMetadata()
	index, term := last.GetIndex(), last.GetTerm()
	if index == 0 {
		return 0, fmt.Errorf("%w: this master has not received the state of the cluster yet, recover another one", dcos.ErrInvalid)
	}
	for _, e := range s.Found.Entries {
		var data []byte
		if e.GetType() == pb.EntryNormal {
			data = e.GetData()
		}
		if _, _, err := s.Store.Apply(dcos.Index(e.GetIndex()), data); err != nil {
			return 0, fmt.Errorf("recover: %w", err)
		}
		index, term = e.GetIndex(), e.GetTerm()
	}
	// One index further than the log: the snapshot there is another one than
	// any that was taken before, and has a name of its own.
	index++
	if err := forgetMasters(s.Store, dcos.Index(index), s.Found.Identity.ID); err != nil {
		return 0, fmt.Errorf("recover: %w", err)
	}
	marker := &pb.Snapshot{Metadata: &pb.SnapshotMetadata{
		Index: &index, Term: &term, ConfState: &pb.ConfState{Voters: []uint64{uint64(s.Found.Identity.ID)}},
	}}
	if err := files.Save(marker, s.Store.View().WriteSnapshot); err != nil {
		return 0, fmt.Errorf("recover: %w", err)
	}
	next := max(s.Found.Hard.GetTerm(), term) + 1
	hard := &pb.HardState{Term: &next, Vote: new(uint64(0)), Commit: &index}
	if err := s.Log.Write(Append{Snapshot: marker, Hard: hard}); err != nil {
		return 0, fmt.Errorf("recover: %w", err)
	}
	return dcos.Index(index), nil
}

// forgetMasters applies, as the entry at index, the removal of all masters' rows
// but one.
func forgetMasters(store *state.Store, index dcos.Index, keep dcos.MasterID) error {
	v := store.View()
	var proposals [][]byte
	for m := range v.Masters() {
		if m.ID == keep {
			continue
		}
		p, err := state.EncodeProposal(state.Proposal{Commands: []state.Command{state.RemoveMaster{ID: m.ID}}})
		if err != nil {
			return err
		}
		proposals = append(proposals, p)
	}
	var entry []byte
	if len(proposals) > 0 {
		entry = state.EncodeEntry(v.Time(), proposals...)
	}
	_, _, err := store.Apply(index, entry)
	return err
}
