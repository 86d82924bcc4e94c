package resource

// Limit bounds amounts, each kind for itself; a kind that is nil has no bound.
// The zero value bounds nothing. Ports are not bounded: they belong to nodes.
type Limit struct {
	CPUs *Scalar `cbor:"1,keyasint,omitempty"`
	Mem  *Scalar `cbor:"2,keyasint,omitempty"`
	Disk *Scalar `cbor:"3,keyasint,omitempty"`
	GPUs *int64  `cbor:"4,keyasint,omitempty"`
}

// IsZero says that nothing is bounded.
func (l Limit) IsZero() bool { return l.CPUs == nil && l.Mem == nil && l.Disk == nil && l.GPUs == nil }

// Exceeded is the first kind of which s is more than the limit, and ok=false
// when s is within it.
func (l Limit) Exceeded(s Set) (kind Kind, ok bool) {
	switch {
	case l.CPUs != nil && s.CPUs > *l.CPUs:
		return CPUs, true
	case l.Mem != nil && s.Mem > *l.Mem:
		return Mem, true
	case l.Disk != nil && s.Disk > *l.Disk:
		return Disk, true
	case l.GPUs != nil && s.GPUs > *l.GPUs:
		return GPUs, true
	}
	return "", false
}

// Amounts is the set without its ports: what may be added up over nodes.
func (s Set) Amounts() Set {
	s.Ports = nil
	return s
}
