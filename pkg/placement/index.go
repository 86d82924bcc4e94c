// Package placement decides where a task goes: filters that keep the reason of
// every node they pass over, then a score.
//
// It owns the index of nodes laid out for scanning, the meaning of constraints
// and ports, and the explanation of why nothing fits. It promises the same
// answer for the same nodes and request, that every node is looked at, and
// that a node it picks has room for all that was picked on it since the node
// was last updated. It must not reserve anything (state.Apply does), know
// about apps' life cycles, or hold anything that cannot be rebuilt from a
// state.View.
package placement

import (
	"cmp"
	"slices"
	"strings"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/resource"
)

// Index is the nodes, laid out in columns by slot. It is not safe for several
// goroutines.
type Index struct {
	slots map[dcos.NodeID]int32
	spare []int32 // slots of removed nodes

	// By slot.
	nodes  []*dcos.Node // nil: the slot is spare
	class  []int32
	zone   []int32
	free   []amounts
	ports  []portSet
	status []status

	ladders // the nodes by what is free, for single picks

	classes  []class
	classOf  map[class]int32
	zoneOf   map[string]int32
	order    []int32 // slots in the order of their nodes' ids
	rank     []int32 // by slot: position in order
	sorted   bool
	columns  map[string]*column // by field; emptied when a node's row changes
	verdicts map[verdictKey][]bool
	onHost   []int32 // lent to one search at a time; all 0 in between
	hosts    []int32 // likewise; empty in between
}

// amounts is what a node has left, without ports.
type amounts struct {
	cpus, mem, disk resource.Scalar
	gpus            int64
}

func amountsOf(s resource.Set) amounts { return amounts{s.CPUs, s.Mem, s.Disk, s.GPUs} }

// class is what nodes have in common that fit alike.
type class struct {
	total     amounts
	isolation dcos.Isolation
}

// status is a node's fitness for new tasks, whatever they need.
type status uint8

const (
	statusActive  status = 1 << iota // takes new tasks
	statusImages                     // runs images
	statusKnown                      // not lost: its values count as seen
	statusAway                       // takes none because it is not active
	statusDrained                    // takes none because it is drained
)

// column is one field's values over all nodes.
type column struct {
	of     []int32 // by slot: index into values, -1 for none
	values []string
	live   int // values on nodes that are not lost
}

type verdictKey struct {
	field string
	op    dcos.Operator
	value string
}

// maxColumns bounds what is kept between picks; beyond it all is made anew.
const maxColumns = 256

// New is an index without nodes.
func New() *Index {
	return &Index{
		slots: make(map[dcos.NodeID]int32), classOf: make(map[class]int32), zoneOf: make(map[string]int32),
		columns: make(map[string]*column), verdicts: make(map[verdictKey][]bool), ladders: newLadders(),
	}
}

// Len is the number of nodes.
func (x *Index) Len() int { return len(x.slots) }

// Free is what is free on a node of what is not ports, as far as the index
// knows.
func (x *Index) Free(id dcos.NodeID) (resource.Set, bool) {
	s, ok := x.slots[id]
	if !ok {
		return resource.Set{}, false
	}
	f := x.free[s]
	return resource.Set{CPUs: f.cpus, Mem: f.mem, Disk: f.disk, GPUs: f.gpus}, true
}

// Update adds a node or takes over its row and what is free on it, which
// replaces what earlier picks took. The row must not change afterwards.
func (x *Index) Update(n *dcos.Node, free resource.Set) {
	s, ok := x.slots[n.ID]
	if !ok {
		s = x.newSlot()
		x.slots[n.ID] = s
		x.sorted = false
	}
	x.setFree(s, amountsOf(free))
	x.ports[s] = newPortSet(free.Ports)
	if old := x.nodes[s]; old == n {
		return
	} else if old == nil || !sameFields(old, n) {
		clear(x.columns)
		clear(x.verdicts)
	}
	x.nodes[s] = n
	x.class[s] = x.intern(class{amountsOf(n.Total), n.Isolation})
	x.zone[s] = x.internZone(zoneName(n))
	st := statusOf(n)
	x.moveTo(s, kinKey{x.class[s], x.zone[s]}, st != x.status[s])
	x.status[s] = st
	if limit := 2*len(x.nodes) + 1024; len(x.classes) > limit || len(x.zoneOf) > limit || len(x.kins) > limit {
		x.compact()
	}
}

// Remove forgets a node.
func (x *Index) Remove(id dcos.NodeID) {
	s, ok := x.slots[id]
	if !ok {
		return
	}
	delete(x.slots, id)
	x.leave(s)
	x.nodes[s], x.ports[s], x.status[s], x.free[s] = nil, portSet{}, 0, amounts{}
	x.spare = append(x.spare, s)
	x.sorted = false
	clear(x.columns)
	clear(x.verdicts)
}

func (x *Index) newSlot() int32 {
	if n := len(x.spare); n > 0 {
		s := x.spare[n-1]
		x.spare = x.spare[:n-1]
		return s
	}
	x.nodes = append(x.nodes, nil)
	x.class = append(x.class, 0)
	x.zone = append(x.zone, 0)
	x.free = append(x.free, amounts{})
	x.ports = append(x.ports, portSet{})
	x.status = append(x.status, 0)
	x.onHost = append(x.onHost, 0)
	x.ladders.grow()
	return int32(len(x.nodes) - 1)
}

func (x *Index) intern(c class) int32 {
	i, ok := x.classOf[c]
	if !ok {
		i = int32(len(x.classes))
		x.classes = append(x.classes, c)
		x.classOf[c] = i
	}
	return i
}

func (x *Index) internZone(name string) int32 {
	i, ok := x.zoneOf[name]
	if !ok {
		i = int32(len(x.zoneOf))
		x.zoneOf[name] = i
	}
	return i
}

// compact forgets classes and zones that no node has any more. It bounds what
// nodes can pile up that keep changing theirs.
func (x *Index) compact() {
	x.classes, x.classOf, x.zoneOf = nil, make(map[class]int32), make(map[string]int32)
	x.ladders.forget()
	for s, n := range x.nodes {
		if n != nil {
			x.class[s] = x.intern(class{amountsOf(n.Total), n.Isolation})
			x.zone[s] = x.internZone(zoneName(n))
			x.moveTo(int32(s), kinKey{x.class[s], x.zone[s]}, true)
		}
	}
}

func zoneName(n *dcos.Node) string { return n.Region + "\x00" + n.Zone }

func statusOf(n *dcos.Node) status {
	var st status
	if n.Takes() {
		st |= statusActive
	}
	if n.State != dcos.NodeActive {
		st |= statusAway
	}
	if n.Drain != nil {
		st |= statusDrained
	}
	if n.State != dcos.NodeLost {
		st |= statusKnown
	}
	if n.Isolation == dcos.IsolationContainer {
		st |= statusImages
	}
	return st
}

// sameFields says that constraints cannot tell the two rows apart.
func sameFields(a, b *dcos.Node) bool {
	if a.Hostname != b.Hostname || a.Region != b.Region || a.Zone != b.Zone ||
		(a.State == dcos.NodeLost) != (b.State == dcos.NodeLost) || len(a.Attributes) != len(b.Attributes) {
		return false
	}
	for k, v := range a.Attributes {
		if w, ok := b.Attributes[k]; !ok || v != w {
			return false
		}
	}
	return true
}

// sort brings order and rank up to date.
func (x *Index) sort() {
	if x.sorted {
		return
	}
	x.order = x.order[:0]
	for s, n := range x.nodes {
		if n != nil {
			x.order = append(x.order, int32(s))
		}
	}
	slices.SortFunc(x.order, func(a, b int32) int { return strings.Compare(string(x.nodes[a].ID), string(x.nodes[b].ID)) })
	x.rank = slices.Grow(x.rank[:0], len(x.nodes))[:len(x.nodes)]
	for i, s := range x.order {
		x.rank[s] = int32(i)
	}
	x.dropLadders() // equals stand in the order of ids
	x.sorted = true
}

// column is the values of a field over all nodes.
func (x *Index) column(field string) *column {
	if c, ok := x.columns[field]; ok {
		return c
	}
	if len(x.columns) >= maxColumns {
		clear(x.columns)
		clear(x.verdicts)
	}
	c := &column{of: make([]int32, len(x.nodes))}
	ids := make(map[string]int32)
	var live []bool
	for _, s := range x.order {
		n := x.nodes[s]
		value, has := n.Attribute(field)
		if !has {
			c.of[s] = -1
			continue
		}
		id, known := ids[value]
		if !known {
			id = int32(len(c.values))
			ids[value] = id
			c.values = append(c.values, value)
			live = append(live, false)
		}
		c.of[s] = id
		live[id] = live[id] || x.status[s]&statusKnown != 0
	}
	for _, l := range live {
		if l {
			c.live++
		}
	}
	x.columns[field] = c
	return c
}

// verdict is a fixed rule's answer by value; the last element is for nodes
// without the field, so that verdict[of] works for -1 after a shift by one.
func (x *Index) verdict(r *rule) (of []int32, allowed []bool) {
	c := x.column(r.field)
	key := verdictKey{r.field, r.op, r.value}
	v, ok := x.verdicts[key]
	if !ok {
		if len(x.verdicts) >= maxColumns {
			clear(x.verdicts)
		}
		v = make([]bool, len(c.values)+1)
		v[0] = r.allows("", false)
		for i, value := range c.values {
			v[i+1] = r.allows(value, true)
		}
		x.verdicts[key] = v
	}
	return c.of, v
}

func (a amounts) minus(b amounts) amounts {
	return amounts{a.cpus - b.cpus, a.mem - b.mem, a.disk - b.disk, a.gpus - b.gpus}
}

// perMillion is part of whole, exact enough to compare by.
func perMillion[T ~int64](part, whole T) int64 {
	if whole <= 0 {
		return 0
	}
	return int64(part) * 1_000_000 / int64(whole)
}

// dominant is the kind of resource of which the need takes the largest share
// of a node of class c: 0 cpus, 1 mem, 2 disk, 3 gpus.
func (c *class) dominant(need amounts) int {
	shares := [4]int64{
		perMillion(need.cpus, c.total.cpus), perMillion(need.mem, c.total.mem),
		perMillion(need.disk, c.total.disk), perMillion(need.gpus, c.total.gpus),
	}
	best := 0
	for i, s := range shares {
		if cmp.Compare(s, shares[best]) > 0 {
			best = i
		}
	}
	return best
}

// at is the amount of a kind, numbered as by dominant.
func (a *amounts) at(kind int) int64 {
	switch kind {
	case 0:
		return int64(a.cpus)
	case 1:
		return int64(a.mem)
	case 2:
		return int64(a.disk)
	}
	return a.gpus
}

// leftover is the share of the dominant resource that stays free on a node.
func (c *class) leftover(dominant int, free, need *amounts) int64 {
	return perMillion(free.at(dominant)-need.at(dominant), c.total.at(dominant))
}
