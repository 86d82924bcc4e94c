package placement

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/resource"
)

// Filter is one thing that a node must satisfy, in the order of the funnel.
type Filter uint8

// The filters. A node is counted under the first that passes it over.
const (
	FilterRole Filter = iota
	FilterQuota
	FilterConstraint
	FilterCPUs
	FilterMem
	FilterDisk
	FilterGPUs
	FilterPorts
	FilterInactive
	FilterDrained
	FilterImages
	// Filters is how many there are.
	Filters
)

var filterNames = [Filters]string{"role", "quota", "constraint", "cpus", "mem", "disk", "gpus", "ports", "inactive", "drained", "images"}

// String is the filter's name in JSON.
func (f Filter) String() string {
	if f < Filters {
		return filterNames[f]
	}
	return "unknown"
}

// Reason is why a number of nodes was passed over.
type Reason struct {
	Filter     Filter
	Constraint int    // position in the app's list, -1 when it is none
	Words      string // "needs 4 cpus, the most that is free on one of them is 2"
	Nodes      int
	Examples   []dcos.NodeID // the first few in the order of ids
}

// Explanation is the view of all nodes on one more task.
type Explanation struct {
	Nodes   int // looked at
	Fit     int // that would take it right now
	Reasons []Reason
	// Changes are single changes of which each lets it run, the smallest
	// first; none when it fits as it is, or when no single change is enough.
	Changes []Change
}

// Smallest is the smallest single change that lets it run, nil for none.
func (e *Explanation) Smallest() *Change {
	if len(e.Changes) == 0 {
		return nil
	}
	return &e.Changes[0]
}

// Stage is one filter of the funnel: of the nodes that came to it, how many
// it turned away.
type Stage struct {
	Filter    Filter
	Processed int
	Declined  int
}

// Funnel is every filter in order, whether it turned a node away or not.
func Funnel(nodes int, reasons []Reason) []Stage {
	out := make([]Stage, Filters)
	for f := range out {
		out[f].Filter = Filter(f)
	}
	for _, r := range reasons {
		out[r.Filter].Declined += r.Nodes
	}
	for f := range out {
		out[f].Processed = nodes
		nodes -= out[f].Declined
	}
	return out
}

const maxExamples = 3

// Explain looks at all nodes for one more task of the request and leaves the
// index as it was. Every change that it proposes was tried out.
func (x *Index) Explain(r *Request) Explanation {
	e, v := x.count(r)
	if e.Fit == 0 {
		e.Changes = v.changes(r)
	}
	return e
}

// Count is Explain without the changes.
func (x *Index) Count(r *Request) Explanation {
	e, _ := x.count(r)
	return e
}

func (x *Index) count(r *Request) (Explanation, *survey) {
	s := x.search(r, 1)
	defer s.end()
	v := s.survey()
	return Explanation{Nodes: x.Len(), Fit: v.fit, Reasons: v.reasons()}, v
}

// survey is what stands in the way on every node.
type survey struct {
	s    *search
	fit  int
	hits map[obstacle]*hit
}

// obstacle is a filter; for constraints, one of them.
type obstacle struct {
	filter     Filter
	constraint int
}

type hit struct {
	nodes    int // counted under it: it is the first
	examples []dcos.NodeID
	most     amounts // free on them
	whole    amounts // the most that they have in all
	ports    int32
	// Of the nodes on which nothing else stands in the way:
	alone      int     // how many there are
	reach      amounts // the most that is free
	portsAlone int32   // the most ports
}

func (s *search) survey() *survey {
	v := &survey{s: s, hits: make(map[obstacle]*hit)}
	var found []obstacle
	for _, slot := range s.x.order {
		found = s.obstacles(found[:0], slot)
		if len(found) == 0 {
			v.fit++
			continue
		}
		h := v.at(found[0])
		if h.nodes == 0 {
			h.most, h.ports = s.x.free[slot], s.x.ports[slot].size
			h.whole = s.x.classes[s.x.class[slot]].total
		}
		h.nodes++
		if len(h.examples) < maxExamples {
			h.examples = append(h.examples, s.x.nodes[slot].ID)
		}
		h.most, h.ports = h.most.max(s.x.free[slot]), max(h.ports, s.x.ports[slot].size)
		h.whole = h.whole.max(s.x.classes[s.x.class[slot]].total)
		if len(found) == 1 {
			h.aloneOn(found[0].filter, s.x.free[slot])
			h.portsAlone = max(h.portsAlone, s.x.ports[slot].size)
		}
	}
	return v
}

func (v *survey) at(o obstacle) *hit {
	h := v.hits[o]
	if h == nil {
		h = &hit{}
		v.hits[o] = h
	}
	return h
}

func (h *hit) aloneOn(f Filter, free amounts) {
	if h.alone == 0 || free.of(f) > h.reach.of(f) {
		h.reach = free
	}
	h.alone++
}

func (a amounts) max(b amounts) amounts {
	return amounts{max(a.cpus, b.cpus), max(a.mem, b.mem), max(a.disk, b.disk), max(a.gpus, b.gpus)}
}

func (a amounts) of(f Filter) resource.Scalar {
	switch f {
	case FilterCPUs:
		return a.cpus
	case FilterMem:
		return a.mem
	case FilterDisk:
		return a.disk
	case FilterGPUs:
		return resource.Whole(a.gpus)
	}
	return 0
}

// obstacles are all filters that a node fails, in order.
func (s *search) obstacles(out []obstacle, slot int32) []obstacle {
	if s.noRole {
		out = append(out, obstacle{FilterRole, -1})
	}
	if s.quota != nil {
		out = append(out, obstacle{FilterQuota, -1})
	}
	n := len(out)
	for i := range s.fixed {
		if f := &s.fixed[i]; !f.allowed[f.of[slot]+1] {
			out = append(out, obstacle{FilterConstraint, f.at})
		}
	}
	for i, t := range s.tallies {
		if !t.allows(s.columns[i][slot]) {
			out = append(out, obstacle{FilterConstraint, s.fieldAt[i]})
		}
	}
	slices.SortFunc(out[n:], func(a, b obstacle) int { return cmp.Compare(a.constraint, b.constraint) })
	free := s.x.free[slot]
	for f := FilterCPUs; f <= FilterGPUs; f++ {
		if s.need.of(f) > free.of(f) {
			out = append(out, obstacle{f, -1})
		}
	}
	if s.ports.total > 0 && !s.ports.fits(&s.x.ports[slot]) {
		out = append(out, obstacle{FilterPorts, -1})
	}
	if s.x.status[slot]&statusAway != 0 {
		out = append(out, obstacle{FilterInactive, -1})
	}
	if s.x.status[slot]&statusDrained != 0 {
		out = append(out, obstacle{FilterDrained, -1})
	}
	if s.image && s.x.status[slot]&statusImages == 0 {
		out = append(out, obstacle{FilterImages, -1})
	}
	return out
}

// obstaclesMet are the keys of hits in the order of the funnel.
func (v *survey) obstaclesMet() []obstacle {
	out := make([]obstacle, 0, len(v.hits))
	for o := range v.hits {
		out = append(out, o)
	}
	slices.SortFunc(out, func(a, b obstacle) int {
		return cmp.Or(cmp.Compare(a.filter, b.filter), cmp.Compare(a.constraint, b.constraint))
	})
	return out
}

func (v *survey) reasons() []Reason {
	var out []Reason
	for _, o := range v.obstaclesMet() {
		h := v.hits[o]
		out = append(out, Reason{o.filter, o.constraint, v.words(o, h), h.nodes, h.examples})
	}
	return out
}

func (v *survey) words(o obstacle, h *hit) string {
	switch o.filter {
	case FilterRole:
		return "no resources are reserved for the roles it accepts"
	case FilterQuota:
		return v.s.quota.Words
	case FilterConstraint:
		return "constraint " + v.constraint(o.constraint) + " does not hold there"
	case FilterPorts:
		if n := &v.s.ports; n.exacts > 0 {
			return fmt.Sprintf("host ports %s are not all free there", n.exact)
		}
		return fmt.Sprintf("needs %d host ports, the most that are free on one of them is %d", v.s.ports.total, h.ports)
	case FilterInactive:
		return "not active"
	case FilterDrained:
		return "being drained"
	case FilterImages:
		return "cannot run images: the agent runs without root"
	}
	text := fmt.Sprintf("needs %s %s, the most that is free on one of them is %s",
		v.s.need.of(o.filter), unit(o.filter), max(h.most.of(o.filter), 0))
	if whole := h.whole.of(o.filter); v.s.need.of(o.filter) > whole {
		text += fmt.Sprintf(", and none has more than %s in all", whole)
	}
	return text
}

func unit(f Filter) string {
	switch f {
	case FilterMem, FilterDisk:
		return "MiB of " + f.String()
	}
	return f.String()
}

// constraint prints one of the app's constraints.
func (v *survey) constraint(at int) string { return constraintText(v.s.rules.all[at]) }

func constraintText(c dcos.Constraint) string {
	parts := []string{c.Field, string(c.Operator)}
	if c.Value != "" {
		parts = append(parts, c.Value)
	}
	return "[" + strings.Join(parts, " ") + "]"
}
