package placement

// field is all nodes that may take a task, by zone, by the values that
// counting rules look at (a group), by cost. Within a group nodes differ only
// in their own cost, so that one decision looks at the top of each zone.
type field struct {
	s     *search
	zones []*zoneHeap
}

type zoneHeap struct {
	zone   int32
	cost   int64
	groups []*group // heap by cost of their best node
}

type group struct {
	values []int32
	items  []item // heap by cost
}

type item struct {
	cost int64
	rank int32
	slot int32
}

func (a item) before(b item) bool {
	return a.cost < b.cost || a.cost == b.cost && a.rank < b.rank
}

// zonesOfNodes collects the nodes that have room.
func (s *search) zonesOfNodes() *field {
	f := &field{s: s}
	byZone := make([]*zoneHeap, len(s.x.zoneOf))
	groups := newGrouping(s)
	for _, slot := range s.x.order {
		if !s.hasRoom(slot) || !s.fixedAllow(slot) || !s.countAllow(slot) {
			continue
		}
		zone := s.x.zone[slot]
		z := byZone[zone]
		if z == nil {
			z = &zoneHeap{zone: zone, cost: s.zoneCost(zone)}
			byZone[zone] = z
			f.zones = append(f.zones, z)
		}
		g, isNew := groups.of(zone, slot)
		if isNew {
			z.groups = append(z.groups, g)
		}
		g.items = append(g.items, item{s.cost(slot), s.x.rank[slot], slot})
	}
	for _, z := range f.zones {
		for _, g := range z.groups {
			for i := len(g.items)/2 - 1; i >= 0; i-- {
				g.down(i)
			}
		}
		for i := len(z.groups)/2 - 1; i >= 0; i-- {
			z.down(i)
		}
	}
	return f
}

// next is the best node and its zone, -1 when no node may take a task.
func (f *field) next() (int32, *zoneHeap) {
	var best item
	var in *zoneHeap
	for i := 0; i < len(f.zones); i++ {
		z := f.zones[i]
		top, ok := f.s.top(z)
		if !ok {
			f.zones = append(f.zones[:i], f.zones[i+1:]...)
			i--
			continue
		}
		top.cost += z.cost
		if in == nil || top.before(best) {
			best, in = top, z
		}
	}
	if in == nil {
		return -1, nil
	}
	return best.slot, in
}

// top is the best node of a zone. Groups that a rule refuses are dropped: a
// refusal is for good.
func (s *search) top(z *zoneHeap) (item, bool) {
	for len(z.groups) > 0 {
		g := z.groups[0]
		if len(g.items) > 0 && s.valuesAllow(g.values) {
			return g.items[0], true
		}
		last := len(z.groups) - 1
		z.groups[0] = z.groups[last]
		z.groups = z.groups[:last]
		z.down(0)
	}
	return item{}, false
}

func (s *search) valuesAllow(values []int32) bool {
	for i, t := range s.tallies {
		if !t.allows(values[i]) {
			return false
		}
	}
	return true
}

// placed puts the node that next gave back into its place.
func (f *field) placed(z *zoneHeap, slot int32) {
	g := z.groups[0]
	if f.s.hasRoom(slot) {
		g.items[0].cost = f.s.cost(slot)
	} else {
		last := len(g.items) - 1
		g.items[0] = g.items[last]
		g.items = g.items[:last]
	}
	if len(g.items) > 0 {
		g.down(0)
	}
	z.down(0)
	z.cost = f.s.zoneCost(z.zone)
}

func (g *group) down(i int) {
	h := g.items
	for {
		l := 2*i + 1
		if l >= len(h) {
			return
		}
		if r := l + 1; r < len(h) && h[r].before(h[l]) {
			l = r
		}
		if !h[l].before(h[i]) {
			return
		}
		h[i], h[l] = h[l], h[i]
		i = l
	}
}

// before orders groups by their best node, empty ones first so that they are
// dropped.
func (g *group) before(o *group) bool {
	if len(g.items) == 0 || len(o.items) == 0 {
		return len(g.items) < len(o.items)
	}
	return g.items[0].before(o.items[0])
}

func (z *zoneHeap) down(i int) {
	h := z.groups
	for {
		l := 2*i + 1
		if l >= len(h) {
			return
		}
		if r := l + 1; r < len(h) && h[r].before(h[l]) {
			l = r
		}
		if !h[l].before(h[i]) {
			return
		}
		h[i], h[l] = h[l], h[i]
		i = l
	}
}

// grouping finds a node's group: zone and values of the counting rules.
type grouping struct {
	s     *search
	plain []*group            // by zone, when nothing counts
	one   map[[2]int32]*group // when one rule counts
	many  map[string]*group   // otherwise
	key   []byte
}

func newGrouping(s *search) *grouping {
	g := &grouping{s: s}
	switch len(s.tallies) {
	case 0:
		g.plain = make([]*group, len(s.x.zoneOf))
	case 1:
		g.one = make(map[[2]int32]*group)
	default:
		g.many = make(map[string]*group)
	}
	return g
}

func (g *grouping) of(zone, slot int32) (found *group, isNew bool) {
	switch len(g.s.tallies) {
	case 0:
		if found = g.plain[zone]; found == nil {
			found = &group{}
			g.plain[zone] = found
			return found, true
		}
		return found, false
	case 1:
		v := g.s.columns[0][slot]
		k := [2]int32{zone, v}
		if found = g.one[k]; found == nil {
			found = &group{values: []int32{v}}
			g.one[k] = found
			return found, true
		}
		return found, false
	}
	g.key = appendInt(g.key[:0], zone)
	for _, c := range g.s.columns {
		g.key = appendInt(g.key, c[slot])
	}
	if found = g.many[string(g.key)]; found == nil {
		found = &group{values: make([]int32, len(g.s.columns))}
		for i, c := range g.s.columns {
			found.values[i] = c[slot]
		}
		g.many[string(g.key)] = found
		return found, true
	}
	return found, false
}

func appendInt(b []byte, v int32) []byte {
	return append(b, byte(v), byte(v>>8), byte(v>>16), byte(v>>24))
}
