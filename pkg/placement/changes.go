package placement

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/resource"
)

// Change is one change that would let a task run: of the request, of the
// number of instances, or of the cluster.
type Change struct {
	Kind       ChangeKind
	Filter     Filter // of the need to cut, for ChangeNeed
	Constraint int    // to drop, for ChangeConstraint; otherwise -1
	// To is the new need for ChangeNeed, the new number (in thousandths) for
	// ChangePortCount and ChangeInstances.
	To    resource.Scalar
	Like  dcos.NodeID // the node that a new one should be like, for ChangeNode
	Words string
	Nodes int // that would take it then; 0 when that is not the question

	weight float64
}

// ChangeKind is what must change.
type ChangeKind uint8

// The kinds of change, in the order in which equals are preferred.
const (
	ChangeNeed       ChangeKind = iota + 1 // ask for less of a resource
	ChangeFreePorts                        // let the system choose the host ports
	ChangePortCount                        // ask for fewer ports
	ChangeRoles                            // accept other roles
	ChangeInstances                        // be content with what has a place
	ChangeConstraint                       // drop a constraint
	ChangeQuota                            // raise the limit of a role
	ChangeActivate                         // bring inactive agents back
	ChangeUndrain                          // end a drain
	ChangeNode                             // add a node
	ChangeImages                           // let agents run images
)

// The weights of changes. A cut of a resource weighs the share that is cut (0
// to 1): what is in the user's own hands comes before what takes an operator.
const (
	weighPorts      = 1
	weighPortCount  = 1.5
	weighRoles      = 2
	weighInstances  = 2 // and the share of instances that is let go
	weighConstraint = 3.5
	weighQuota      = 3.8
	weighActivate   = 4
	weighNode       = 4.5
	weighImages     = 5
)

// maxChanges bounds what is proposed.
const maxChanges = 5

// changes are the single changes that let a task run, smallest first. Each was
// tried: the search with it carried out finds a node.
func (v *survey) changes(r *Request) []Change {
	var out []Change
	keep := func(c Change, ok bool) {
		if ok {
			out = append(out, c)
		}
	}
	for _, o := range v.obstaclesMet() {
		if h := v.hits[o]; h.alone > 0 {
			keep(v.change(r, o, h))
		}
	}
	if n := len(r.Placed); n > 0 && r.Wanted > n {
		keep(Change{
			Kind: ChangeInstances, Constraint: -1, To: resource.Whole(int64(n)), weight: weighInstances + float64(r.Wanted-n)/float64(r.Wanted),
			Words: fmt.Sprintf("be content with the %d of %d instances that have a place", n, r.Wanted),
		}, true)
	}
	keep(v.newNode())
	slices.SortStableFunc(out, func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.weight, b.weight), cmp.Compare(b.Nodes, a.Nodes), cmp.Compare(a.Kind, b.Kind))
	})
	return out[:min(len(out), maxChanges)]
}

// change is what takes an obstacle away, if it is one of the request's own
// then tried out.
func (v *survey) change(r *Request, o obstacle, h *hit) (Change, bool) {
	changed := *r
	c := Change{Filter: o.filter, Constraint: -1, Nodes: h.alone}
	switch o.filter {
	case FilterRole:
		c.Kind, c.weight, c.Words = ChangeRoles, weighRoles, "accept unreserved resources (role *)"
		changed.Roles = nil
	case FilterQuota:
		c.Kind, c.weight, c.Words = ChangeQuota, weighQuota, r.Quota.Help
		changed.Quota = nil
	case FilterConstraint:
		c.Kind, c.weight, c.Constraint = ChangeConstraint, weighConstraint, o.constraint
		c.Words = "drop the constraint " + v.constraint(o.constraint)
		changed.Rules = r.Rules.without(o.constraint)
	case FilterPorts:
		if v.s.ports.exacts > 0 {
			c.Kind, c.weight, c.Words = ChangeFreePorts, weighPorts, "let the system choose the host ports (requirePorts false)"
			changed.RequirePorts = false
			break
		}
		c.Kind, c.weight, c.To = ChangePortCount, weighPortCount, resource.Whole(int64(h.portsAlone))
		c.Words = fmt.Sprintf("ask for at most %d host port(s)", h.portsAlone)
		changed.Ports = r.Ports[:h.portsAlone]
	case FilterInactive:
		c.Kind, c.weight, c.Words = ChangeActivate, weighActivate, "bring the agents back that are not active"
		return c, true
	case FilterDrained:
		c.Kind, c.weight, c.Words = ChangeUndrain, weighActivate, "end the drain of a node (dcos node drain --undo)"
		return c, true
	case FilterImages:
		c.Kind, c.weight, c.Words = ChangeImages, weighImages, "run the agents as root, so that they can run images"
		return c, true
	default:
		need := v.s.need.of(o.filter)
		c.Kind, c.To = ChangeNeed, h.reach.of(o.filter)
		if c.To < 0 || c.To == 0 && o.filter != FilterGPUs {
			return c, false
		}
		c.weight = float64(need-c.To) / float64(need)
		c.Words = fmt.Sprintf("ask for %s %s instead of %s", c.To, unit(o.filter), need)
		changed.Need = with(r.Need, o.filter, c.To)
	}
	c.Nodes = v.s.x.fits(&changed)
	return c, c.Nodes > 0
}

// fits is how many nodes would take one.
func (x *Index) fits(r *Request) int {
	s := x.search(r, 1)
	defer s.end()
	if s.noRole || s.quota != nil {
		return 0
	}
	n := 0
	for _, slot := range x.order {
		if s.hasRoom(slot) && s.fixedAllow(slot) && s.countAllow(slot) {
			n++
		}
	}
	return n
}

// with is a need with another amount of one resource.
func with(need resource.Set, f Filter, to resource.Scalar) resource.Set {
	switch f {
	case FilterCPUs:
		need.CPUs = to
	case FilterMem:
		need.Mem = to
	case FilterDisk:
		need.Disk = to
	case FilterGPUs:
		need.GPUs = int64(to / 1000)
	}
	return need
}

// without is the rules but one; the others keep their positions.
func (r *Rules) without(at int) *Rules {
	is := func(one rule) bool { return one.at == at }
	return &Rules{
		fixed:   slices.DeleteFunc(slices.Clone(r.fixed), is),
		counted: slices.DeleteFunc(slices.Clone(r.counted), is),
		all:     r.all,
	}
}

// newNode is one more node like one that is there, with nothing on it: the
// smallest that takes the task. When all are too small it says how large one
// must be.
func (v *survey) newNode() (Change, bool) {
	s := v.s
	c := Change{Kind: ChangeNode, Constraint: -1, weight: weighNode, Nodes: 1}
	if s.noRole || s.quota != nil {
		return c, false
	}
	seen := make(map[string]bool)
	var key []byte
	best, outgrown := int32(-1), int32(-1)
	for _, slot := range s.x.order {
		if s.x.status[slot]&statusKnown == 0 {
			continue
		}
		key = appendInt(appendInt(key[:0], s.x.class[slot]), s.x.zone[slot])
		for i := range s.fixed {
			key = appendInt(key, s.fixed[i].of[slot])
		}
		for i := range s.tallies {
			if !isHost(s.tallies[i].rule.field) {
				key = appendInt(key, s.columns[i][slot])
			}
		}
		if seen[string(key)] {
			continue
		}
		if len(seen) == maxModels {
			break
		}
		seen[string(key)] = true
		if !v.modelAllowed(slot) {
			continue
		}
		if !v.modelHolds(slot) {
			if outgrown < 0 {
				outgrown = slot
			}
			continue
		}
		if best < 0 || s.x.classes[s.x.class[slot]].smaller(&s.x.classes[s.x.class[best]]) {
			best = slot
		}
	}
	switch {
	case best >= 0:
		n := s.x.nodes[best]
		c.Like = n.ID
		c.Words = fmt.Sprintf("add a node like %s (%s)", n.Hostname, describe(n))
	case outgrown >= 0:
		n := s.x.nodes[outgrown]
		c.Words = "add a node with at least " + v.atLeast() + where(n)
	default:
		return c, false
	}
	return c, true
}

// maxModels bounds the kinds of node that are thought of.
const maxModels = 4096

func isHost(field string) bool { return field == "hostname" || field == "@hostname" }

// modelAllowed says that the rules would let a task go to a new node like this
// one. A new node has a new host name, of the same make.
func (v *survey) modelAllowed(slot int32) bool {
	s := v.s
	if s.image && s.x.status[slot]&statusImages == 0 {
		return false
	}
	for i := range s.fixed {
		f := &s.fixed[i]
		pinned := isHost(f.field) && (f.op == dcos.Is || f.op == dcos.Cluster)
		if pinned || !f.allowed[f.of[slot]+1] {
			return false
		}
	}
	for i, t := range s.tallies {
		if isHost(t.rule.field) {
			if !t.allowsNew() {
				return false
			}
		} else if !t.allows(s.columns[i][slot]) {
			return false
		}
	}
	return true
}

// allowsNew says whether one more instance may go to a value that no node has
// yet.
func (t *tally) allowsNew() bool {
	switch t.rule.op {
	case dcos.MaxPer:
		return t.rule.n > 0
	case dcos.Cluster:
		return t.pin < 0
	case dcos.GroupBy:
		groups := t.groups
		if t.rule.n == 0 {
			groups = t.live + 1
		}
		return t.used < groups
	}
	return true
}

// modelHolds says that an empty node of the class has room for the task.
func (v *survey) modelHolds(slot int32) bool {
	total, need := &v.s.x.classes[v.s.x.class[slot]].total, &v.s.need
	if need.cpus > total.cpus || need.mem > total.mem || need.disk > total.disk || need.gpus > total.gpus {
		return false
	}
	ports := newPortSet(v.s.x.nodes[slot].Total.Ports)
	return v.s.ports.total == 0 || v.s.ports.fits(&ports)
}

// smaller orders classes by what they cost, roughly.
func (c *class) smaller(o *class) bool {
	a, b := &c.total, &o.total
	return cmp.Or(cmp.Compare(a.gpus, b.gpus), cmp.Compare(a.cpus, b.cpus), cmp.Compare(a.mem, b.mem), cmp.Compare(a.disk, b.disk)) < 0
}

func describe(n *dcos.Node) string {
	text := fmt.Sprintf("%s cpus, %s MiB of memory", n.Total.CPUs, n.Total.Mem)
	if n.Total.GPUs > 0 {
		text += fmt.Sprintf(", %d gpus", n.Total.GPUs)
	}
	return text + where(n)
}

func where(n *dcos.Node) string {
	text := ""
	if n.Region != "" {
		text += ", region " + n.Region
	}
	if n.Zone != "" {
		text += ", zone " + n.Zone
	}
	return text
}

func (v *survey) atLeast() string {
	var parts []string
	for f := FilterCPUs; f <= FilterGPUs; f++ {
		if need := v.s.need.of(f); need > 0 {
			parts = append(parts, need.String()+" "+unit(f))
		}
	}
	if n := v.s.ports.total; n > 0 {
		text := fmt.Sprintf("%d host ports", n)
		if v.s.ports.exacts > 0 {
			text = "the host ports " + v.s.ports.exact.String()
		}
		parts = append(parts, text)
	}
	if len(parts) == 0 {
		return "nothing else on it"
	}
	return strings.Join(parts, ", ")
}
