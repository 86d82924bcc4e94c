package placement

import (
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/resource"
)

// Request is a number of equal tasks that look for a place.
type Request struct {
	Need         resource.Set   // of each, without ports
	Ports        []dcos.PortDef // of each
	RequirePorts bool           // the definitions' numbers are the host ports
	Rules        *Rules         // nil for none
	Roles        []string       // accepted roles of resources; none is any
	Image        bool           // they need a node that runs images
	Quota        *Refusal       // why their role may take no more; nil when it may
	// Placed are the nodes of the app's instances that hold a place and are
	// to keep it, one element per instance.
	Placed []dcos.NodeID
	// Wanted is how many instances the app is to have in the end. It is the
	// measure of "even"; less than what is placed and asked for is raised.
	Wanted int
	// Seed scatters the choice of free ports.
	Seed uint64
}

// Refusal is why nothing may be placed, whatever the nodes have.
type Refusal struct {
	Words string // "role dev consumes 10 cpus of 10"
	Help  string // "raise the limit of role dev to 12 cpus"
}

// NewRequest is the request of an app's instances.
func NewRequest(a *dcos.App, rules *Rules) Request {
	return Request{
		Need: a.Need, Ports: a.Ports, RequirePorts: a.RequirePorts, Rules: rules, Roles: a.Roles,
		Image: a.Container != nil && a.Container.Image != "", Wanted: int(a.Instances),
	}
}

// Placement is a place for one task.
type Placement struct {
	Node  dcos.NodeID
	Ports []uint16 // in the order of the definitions
}

// Unplaced says how many tasks found no place, and why.
type Unplaced struct {
	Count   int
	Nodes   int // looked at
	Reasons []Reason
}

// spread weighs an app's share on one host or in one zone against the share
// of a node that stays free. At 16, an app of up to 16 instances is spread as
// evenly as hosts and zones allow; the larger an app, the more it is packed.
const spread = 16

// search is the work on one request.
type search struct {
	x      *Index
	need   amounts
	ports  portNeed
	image  bool
	noRole bool
	quota  *Refusal
	rules  *Rules
	wanted int64

	fixed   []fixedRule
	tallies []*tally
	columns [][]int32 // of the tallies, by slot
	fieldAt []int     // of the tallies: position in the app's list

	onHost   []int32 // instances of the app by slot; the index' own, given back by end
	hosts    []int32 // slots that have any
	inZone   []int32 // by zone
	dominant []int8  // by class: see class.dominant
	grain    []int64 // by class: amounts of the dominant resource closer than this may cost the same
}

type fixedRule struct {
	at      int
	field   string
	op      dcos.Operator
	of      []int32
	allowed []bool
}

func (x *Index) search(r *Request, asked int) *search {
	x.sort()
	s := &search{
		x: x, need: amountsOf(r.Need), ports: newPortNeed(r), image: r.Image, noRole: !acceptsAny(r.Roles), quota: r.Quota, rules: r.Rules,
		onHost: x.onHost, hosts: x.hosts, inZone: make([]int32, len(x.zoneOf)),
		dominant: make([]int8, len(x.classes)), grain: make([]int64, len(x.classes)),
	}
	for i := range x.classes {
		d := x.classes[i].dominant(s.need)
		s.dominant[i] = int8(d)
		s.grain[i] = x.classes[i].total.at(d)/1_000_000 + 1
	}
	wanted := max(r.Wanted, len(r.Placed)+asked, 1)
	s.wanted = int64(wanted)
	if r.Rules != nil {
		for i := range r.Rules.fixed {
			rule := &r.Rules.fixed[i]
			of, allowed := x.verdict(rule)
			s.fixed = append(s.fixed, fixedRule{rule.at, rule.field, rule.op, of, allowed})
		}
		for i := range r.Rules.counted {
			rule := &r.Rules.counted[i]
			c := x.column(rule.field)
			s.tallies = append(s.tallies, newTally(rule, wanted, len(c.values), c.live))
			s.columns = append(s.columns, c.of)
			s.fieldAt = append(s.fieldAt, rule.at)
		}
	}
	for _, id := range r.Placed {
		if slot, ok := x.slots[id]; ok {
			s.add(slot)
		}
	}
	return s
}

// acceptsAny says whether unreserved resources will do; no others exist.
func acceptsAny(roles []string) bool {
	for _, r := range roles {
		if r == "*" {
			return true
		}
	}
	return len(roles) == 0
}

// end gives back what the index has lent; nothing is searched for afterwards.
func (s *search) end() {
	for _, slot := range s.hosts {
		s.onHost[slot] = 0
	}
	s.x.hosts, s.hosts = s.hosts[:0], nil
}

// add counts one more instance of the app on a node.
func (s *search) add(slot int32) {
	if s.onHost[slot] == 0 {
		s.hosts = append(s.hosts, slot)
	}
	s.onHost[slot]++
	s.inZone[s.x.zone[slot]]++
	for i, t := range s.tallies {
		t.add(s.columns[i][slot])
	}
}

// hasRoom says whether a node can take one more, rules of counting aside.
func (s *search) hasRoom(slot int32) bool {
	f := &s.x.free[slot]
	if s.need.cpus > f.cpus || s.need.mem > f.mem || s.need.disk > f.disk || s.need.gpus > f.gpus {
		return false
	}
	st := s.x.status[slot]
	return st&statusActive != 0 && (!s.image || st&statusImages != 0) &&
		(s.ports.total == 0 || s.ports.fits(&s.x.ports[slot]))
}

func (s *search) fixedAllow(slot int32) bool {
	for i := range s.fixed {
		f := &s.fixed[i]
		if !f.allowed[f.of[slot]+1] {
			return false
		}
	}
	return true
}

// cost is what a node's own state adds to the cost of placing there: the share
// that stays free (best fit first) and the app's share on the host.
func (s *search) cost(slot int32) int64 {
	c := s.x.class[slot]
	cost := s.x.classes[c].leftover(int(s.dominant[c]), &s.x.free[slot], &s.need)
	if n := s.onHost[slot]; n > 0 {
		cost += spread * int64(n) * 1_000_000 / s.wanted
	}
	return cost
}

// zoneCost is what the app's share in the zone adds.
func (s *search) zoneCost(zone int32) int64 {
	return spread * int64(s.inZone[zone]) * 1_000_000 / s.wanted
}

// Pick finds places for up to n of the tasks and takes them from what is free
// in the index, so that the next Pick sees them as taken, until Update says
// what is true. The order of the answer is the order of decision; every
// decision is the best one after those before it.
func (x *Index) Pick(r *Request, n int) ([]Placement, Unplaced) {
	if n <= 0 {
		return nil, Unplaced{}
	}
	s := x.search(r, n)
	defer s.end()
	out := s.place(n, r.Seed)
	u := Unplaced{Count: n - len(out), Nodes: x.Len()}
	if u.Count > 0 {
		u.Reasons = s.survey().reasons()
	}
	return out, u
}

// Place is Pick for those who do not ask why the rest found no place: that
// costs a look at every node.
func (x *Index) Place(r *Request, n int) []Placement {
	if n <= 0 {
		return nil
	}
	s := x.search(r, n)
	defer s.end()
	return s.place(n, r.Seed)
}

func (s *search) place(n int, seed uint64) []Placement {
	if s.noRole || s.quota != nil {
		return nil
	}
	out := make([]Placement, 0, n)
	if one := s.one(n); one != nil {
		for len(out) < n {
			slot, ok := one()
			if !ok {
				break
			}
			out = append(out, s.take(slot, mix(seed+uint64(len(out)))))
		}
		return out
	}
	h := s.zonesOfNodes()
	for len(out) < n {
		slot, z := h.next()
		if slot < 0 {
			break
		}
		out = append(out, s.take(slot, mix(seed+uint64(len(out)))))
		h.placed(z, slot)
	}
	return out
}

// one is how to look for the places one by one; nil when they are too many for
// that.
func (s *search) one(n int) func() (int32, bool) {
	switch {
	case s.climbs(n):
		return s.climb
	case n == 1:
		return s.best
	}
	return nil
}

// maxKin bounds what best remembers; nodes that are all different are not
// worth it.
const maxKin = 1 << 14

// best is the cheapest node for one task. Nodes of one class and zone without
// an instance of the app differ in what is free of the dominant resource
// alone, so that most of them are passed over by one comparison.
func (s *search) best() (best int32, ok bool) {
	best, least := int32(-1), int64(0)
	plain := len(s.tallies) == 0
	zones := int32(len(s.inZone))
	var seen []int64 // by class and zone: least free amount found, plus 1; 0 for none
	if n := int(zones) * len(s.x.classes); n <= maxKin {
		seen = make([]int64, n)
	}
	for _, slot := range s.x.order {
		class, idle := s.x.class[slot], seen != nil && s.onHost[slot] == 0
		kin := class*zones + s.x.zone[slot]
		free := s.x.free[slot].at(int(s.dominant[class]))
		if idle && seen[kin] != 0 {
			// Equal: as good, and later in order. More by a millionth of the
			// whole or above: worse for certain.
			if more := free - (seen[kin] - 1); more == 0 || more > s.grain[class] {
				continue
			}
		}
		if !s.hasRoom(slot) || !s.fixedAllow(slot) || !plain && !s.countAllow(slot) {
			continue
		}
		if idle && (seen[kin] == 0 || free < seen[kin]-1) {
			seen[kin] = free + 1
		}
		cost := s.cost(slot) + s.zoneCost(s.x.zone[slot])
		if best < 0 || cost < least {
			best, least = slot, cost
		}
	}
	return best, best >= 0
}

func (s *search) countAllow(slot int32) bool {
	for i, t := range s.tallies {
		if !t.allows(s.columns[i][slot]) {
			return false
		}
	}
	return true
}

// take books one task on a node.
func (s *search) take(slot int32, seed uint64) Placement {
	x := s.x
	x.setFree(slot, x.free[slot].minus(s.need))
	p := Placement{Node: x.nodes[slot].ID, Ports: s.ports.pick(&x.ports[slot], mix(seed^uint64(slot)))}
	s.add(slot)
	return p
}
