package placement

import (
	"slices"

	"github.com/dcos-go/dcos/pkg/resource"
)

// portSet is a node's free ports. It shares the ranges of the state until the
// first port is taken.
type portSet struct {
	free  resource.Ranges
	size  int32
	owned bool
}

func newPortSet(free resource.Ranges) portSet {
	return portSet{free: free, size: int32(free.Size())}
}

// take removes one port, which must be in the set.
func (p *portSet) take(port uint16) {
	if !p.owned {
		p.free, p.owned = append(make(resource.Ranges, 0, len(p.free)+4), p.free...), true
	}
	i, _ := slices.BinarySearchFunc(p.free, port, func(r resource.Range, port uint16) int {
		if r.Last < port {
			return -1
		} else if r.First > port {
			return 1
		}
		return 0
	})
	r := &p.free[i]
	switch {
	case r.First == r.Last:
		p.free = slices.Delete(p.free, i, i+1)
	case r.First == port:
		r.First++
	case r.Last == port:
		r.Last--
	default:
		last := r.Last
		r.Last = port - 1
		p.free = slices.Insert(p.free, i+1, resource.Range{First: port + 1, Last: last})
	}
	p.size--
}

// at is the i-th port of the set.
func (p *portSet) at(i int) uint16 {
	for _, r := range p.free {
		n := int(r.Last) - int(r.First) + 1
		if i < n {
			return r.First + uint16(i)
		}
		i -= n
	}
	panic("placement: a port was asked for beyond the size of the set")
}

// portNeed is the host ports that a request asks for.
type portNeed struct {
	fixed  []uint16 // by position in the definitions; 0 is any
	exact  resource.Ranges
	exacts int32 // ports in exact
	total  int32
}

func newPortNeed(r *Request) portNeed {
	var n portNeed
	n.total = int32(len(r.Ports))
	n.fixed = make([]uint16, len(r.Ports))
	if !r.RequirePorts {
		return n
	}
	var exact []uint16
	for i, d := range r.Ports {
		if d.Port != 0 {
			n.fixed[i] = d.Port
			exact = append(exact, d.Port)
		}
	}
	n.exact = resource.PortSet(exact...)
	n.exacts = int32(n.exact.Size())
	return n
}

// fits says whether the set has the ports.
func (n *portNeed) fits(p *portSet) bool {
	return p.size >= n.total && (n.exacts == 0 || p.free.Contains(n.exact))
}

// pick takes the ports from the set. Free ones are spread over the set by the
// seed, so that a port just freed is seldom the next to be given out.
func (n *portNeed) pick(p *portSet, seed uint64) []uint16 {
	if n.total == 0 {
		return nil
	}
	out := make([]uint16, n.total)
	if n.exacts > 0 {
		for i, port := range n.fixed {
			if port == 0 {
				continue
			}
			if !slices.Contains(out[:i], port) {
				p.take(port)
			}
			out[i] = port
		}
	}
	for i := range out {
		if out[i] == 0 {
			seed = mix(seed)
			out[i] = p.at(int(seed % uint64(p.size)))
			p.take(out[i])
		}
	}
	return out
}

// mix scatters the bits of x (splitmix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
