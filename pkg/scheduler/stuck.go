package scheduler

import (
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/placement"
	"github.com/dcos-go/dcos/pkg/resource"
)

// stuck are the apps with tasks for which there was no place, each with the
// least that such a task needs. They are tried again when a node has changed,
// or when room was made on one that may be enough; changes of an app itself
// are looked at in any case.
type stuck struct {
	apps queue[dcos.AppID]
	need map[dcos.AppID]resource.Set
	made queue[dcos.NodeID] // nodes on which room was made
	all  bool
}

// maxMade is how many nodes with new room are looked at one by one.
const maxMade = 64

func (s *stuck) push(id dcos.AppID, need resource.Set) {
	if s.need == nil {
		s.need = make(map[dcos.AppID]resource.Set)
	}
	s.need[id] = need
	s.apps.push(id)
}

// freeAll lets all be tried again.
func (s *stuck) freeAll() { s.all = true }

// freed notes that room was made on a node.
func (s *stuck) freed(id dcos.NodeID) {
	if s.apps.len() == 0 || s.all {
		return
	}
	if s.made.push(id); s.made.len() > maxMade {
		s.all = true
	}
}

// free lets go of the apps that may find a place now.
func (s *stuck) free(x *placement.Index, ready func(dcos.AppID)) {
	if s.apps.len() == 0 || !s.all && s.made.len() == 0 {
		s.reset()
		return
	}
	var room []resource.Set
	for s.made.len() > 0 {
		if free, ok := x.Free(s.made.pop()); ok {
			room = append(room, free)
		}
	}
	for range s.apps.len() {
		id := s.apps.pop()
		if !s.all && !fitsAny(s.need[id], room) {
			s.apps.push(id)
			continue
		}
		delete(s.need, id)
		ready(id)
	}
	s.reset()
}

func (s *stuck) reset() {
	s.all = false
	for s.made.len() > 0 {
		s.made.pop()
	}
}

func fitsAny(need resource.Set, room []resource.Set) bool {
	for i := range room {
		if r := &room[i]; need.CPUs <= r.CPUs && need.Mem <= r.Mem && need.Disk <= r.Disk && need.GPUs <= r.GPUs {
			return true
		}
	}
	return false
}

// least is what is needed in any case by two needs, of which the first may be
// none.
func least(a *resource.Set, b resource.Set) *resource.Set {
	if a == nil {
		return &resource.Set{CPUs: b.CPUs, Mem: b.Mem, Disk: b.Disk, GPUs: b.GPUs}
	}
	return &resource.Set{CPUs: min(a.CPUs, b.CPUs), Mem: min(a.Mem, b.Mem), Disk: min(a.Disk, b.Disk), GPUs: min(a.GPUs, b.GPUs)}
}
