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

// Negotiate is the newest version that the master (ours) and an agent both
// speak. It fails with
// dcos.ErrInvalid when there is none.
func Negotiate(ours, theirs Versions) (uint32, error) {
	v := min(ours.Max, theirs.Max)
	if v >= max(ours.Min, theirs.Min) && v > 0 {
		return v, nil
	}
	return 0, fmt.Errorf("%w: the master speaks session versions %d to %d, the agent %d to %d: upgrade the side with the lower ones, masters first",
		dcos.ErrInvalid, ours.Min, ours.Max, theirs.Min, theirs.Max)
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
