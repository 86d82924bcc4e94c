package wire

import (
	"fmt"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// Versions is a range of versions of the protocol, both ends included. What
// can be added as a new field needs no new version; a version is for what an
// older peer would misunderstand.
type Versions struct {
	Min uint32
	Max uint32
}

// Supported are the versions that this binary speaks.
var Supported = Versions{Min: 1, Max: 1}

// Negotiate is the newest version that both sides speak. It fails with
// dcos.ErrInvalid and says which side is too old.
func Negotiate(ours, theirs Versions) (uint32, error) {
	v := min(ours.Max, theirs.Max)
	switch {
	case v >= max(ours.Min, theirs.Min) && v > 0:
		return v, nil
	case theirs.Max < ours.Min:
		return 0, fmt.Errorf("%w: the peer speaks session versions %d to %d, this binary %d to %d: upgrade the peer",
			dcos.ErrInvalid, theirs.Min, theirs.Max, ours.Min, ours.Max)
	}
	return 0, fmt.Errorf("%w: the peer speaks session versions %d to %d, this binary only %d to %d: upgrade this machine",
		dcos.ErrInvalid, theirs.Min, theirs.Max, ours.Min, ours.Max)
}

// TaskHash is one task's part in a SetHash.
func TaskHash(id dcos.TaskID, epoch dcos.Epoch) uint64 {
	h := uint64(14695981039346656037) // FNV-1a
	for i := range len(id) {
		h = (h ^ uint64(id[i])) * 1099511628211
	}
	h ^= uint64(epoch)
	// Mixing spreads every bit, so that sums of hashes of similar ids differ.
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// SetHash is the hash of a set of tasks, in whatever order: the sum of their
// TaskHash. The empty set has 0.
func SetHash(tasks []TaskRef) uint64 {
	var h uint64
	for _, t := range tasks {
		h += TaskHash(t.ID, t.Epoch)
	}
	return h
}
