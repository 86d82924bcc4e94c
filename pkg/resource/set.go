package resource

import (
	"fmt"
	"strings"
)

// Set is an amount of every kind of resource. The zero value is nothing. Sets
// are values: methods return new ones.
type Set struct {
	CPUs  Scalar `cbor:"1,keyasint,omitempty"` // cores
	Mem   Scalar `cbor:"2,keyasint,omitempty"` // MiB
	Disk  Scalar `cbor:"3,keyasint,omitempty"` // MiB
	GPUs  int64  `cbor:"4,keyasint,omitempty"` // whole devices
	Ports Ranges `cbor:"5,keyasint,omitempty"` // host ports
}

// Kind names one kind of resource, as Mesos and reasons print it.
type Kind string

// The kinds of resource, in the order in which a shortage is reported.
const (
	CPUs  Kind = "cpus"
	Mem   Kind = "mem"
	Disk  Kind = "disk"
	GPUs  Kind = "gpus"
	Ports Kind = "ports"
)

// Lacking is the first kind that free has too little of for s, and ok=false
// when everything fits.
func (s Set) Lacking(free Set) (kind Kind, ok bool) {
	switch {
	case s.CPUs > free.CPUs:
		return CPUs, true
	case s.Mem > free.Mem:
		return Mem, true
	case s.Disk > free.Disk:
		return Disk, true
	case s.GPUs > free.GPUs:
		return GPUs, true
	case !free.Ports.Contains(s.Ports):
		return Ports, true
	}
	return "", false
}

// FitsIn says whether free holds all of s.
func (s Set) FitsIn(free Set) bool {
	_, lacks := s.Lacking(free)
	return !lacks
}

// Plus is both sets together. Ports held twice count once; whoever must not
// hand a port out twice asks Ports.Overlaps first.
func (s Set) Plus(o Set) Set {
	return Set{s.CPUs + o.CPUs, s.Mem + o.Mem, s.Disk + o.Disk, s.GPUs + o.GPUs, s.Ports.Union(o.Ports)}
}

// Minus is s without o. Amounts may become negative: a node that shrank below
// what is allocated on it has negative free resources until tasks end.
func (s Set) Minus(o Set) Set {
	return Set{s.CPUs - o.CPUs, s.Mem - o.Mem, s.Disk - o.Disk, s.GPUs - o.GPUs, s.Ports.Minus(o.Ports)}
}

// IsZero says whether nothing is in the set.
func (s Set) IsZero() bool {
	return s.CPUs == 0 && s.Mem == 0 && s.Disk == 0 && s.GPUs == 0 && len(s.Ports) == 0
}

// Equal says whether both sets hold the same.
func (s Set) Equal(o Set) bool {
	if len(s.Ports) != len(o.Ports) {
		return false
	}
	for i, r := range s.Ports {
		if o.Ports[i] != r {
			return false
		}
	}
	return s.CPUs == o.CPUs && s.Mem == o.Mem && s.Disk == o.Disk && s.GPUs == o.GPUs
}

// String prints the set as Mesos does: "cpus:1; mem:128; ports:[80-80]".
func (s Set) String() string {
	var parts []string
	add := func(k Kind, v string) { parts = append(parts, fmt.Sprintf("%s:%s", k, v)) }
	if s.CPUs != 0 {
		add(CPUs, s.CPUs.String())
	}
	if s.Mem != 0 {
		add(Mem, s.Mem.String())
	}
	if s.Disk != 0 {
		add(Disk, s.Disk.String())
	}
	if s.GPUs != 0 {
		add(GPUs, fmt.Sprint(s.GPUs))
	}
	if len(s.Ports) != 0 {
		add(Ports, s.Ports.String())
	}
	return strings.Join(parts, "; ")
}
