package placement_test

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/placement"
	"github.com/dcos-go/dcos/pkg/resource"
)

// slow is the obvious implementation: every decision looks at every node with
// nothing prepared.
type slow struct {
	nodes  []*dcos.Node // by id
	free   map[dcos.NodeID]resource.Set
	placed []dcos.NodeID
	r      *placement.Request
	cs     []dcos.Constraint
	wanted int
}

func (w *slow) node(id dcos.NodeID) *dcos.Node {
	for _, n := range w.nodes {
		if n.ID == id {
			return n
		}
	}
	return nil
}

// inUse counts the app's instances by the value of a field, in order.
func (w *slow) inUse(field string) (counts map[string]int, first string) {
	counts = map[string]int{}
	for _, id := range w.placed {
		n := w.node(id)
		if n == nil {
			continue
		}
		if v, ok := n.Attribute(field); ok {
			if len(counts) == 0 {
				first = v
			}
			counts[v]++
		}
	}
	return counts, first
}

func (w *slow) constraintHolds(c dcos.Constraint, n *dcos.Node) bool {
	v, has := n.Attribute(c.Field)
	if !has {
		return c.Operator == dcos.Unlike
	}
	counts, first := w.inUse(c.Field)
	switch c.Operator {
	case dcos.Unique:
		return counts[v] == 0
	case dcos.Cluster:
		if c.Value != "" {
			return v == c.Value
		}
		return len(counts) == 0 || v == first
	case dcos.Like:
		return regexp.MustCompile("^(" + c.Value + ")$").MatchString(v)
	case dcos.Unlike:
		return !regexp.MustCompile("^(" + c.Value + ")$").MatchString(v)
	case dcos.Is:
		return v == c.Value
	case dcos.MaxPer:
		most, _ := strconv.Atoi(c.Value)
		return counts[v] < most
	}
	groups, _ := strconv.Atoi(c.Value)
	if groups == 0 {
		seen := map[string]bool{}
		for _, o := range w.nodes {
			if ov, ok := o.Attribute(c.Field); ok && o.State != dcos.NodeLost {
				seen[ov] = true
			}
		}
		groups = max(1, len(seen))
	}
	share, rest, over := w.wanted/groups, w.wanted%groups, 0
	for _, k := range counts {
		if k > share {
			over++
		}
	}
	if counts[v] == 0 {
		return len(counts) < groups
	}
	return counts[v] < share || counts[v] == share && over < rest
}

func (w *slow) portsFit(free resource.Ranges) bool {
	need := len(w.r.Ports)
	for _, d := range w.r.Ports {
		if w.r.RequirePorts && d.Port != 0 && !free.Has(d.Port) {
			return false
		}
	}
	return free.Size() >= need
}

func (w *slow) fits(n *dcos.Node) bool {
	if w.r.Image && n.Isolation != dcos.IsolationContainer || n.State != dcos.NodeActive {
		return false
	}
	if len(w.r.Roles) > 0 && !slices.Contains(w.r.Roles, "*") {
		return false
	}
	for _, c := range w.cs {
		if !w.constraintHolds(c, n) {
			return false
		}
	}
	return w.r.Need.FitsIn(w.free[n.ID]) && w.portsFit(w.free[n.ID].Ports)
}

func (w *slow) cost(n *dcos.Node) int64 {
	var best, left int64 = -1, 0
	part := func(need, free, total int64) {
		share := int64(0)
		if total > 0 {
			share = need * 1_000_000 / total
		}
		if share > best {
			best = share
			left = 0
			if total > 0 {
				left = (free - need) * 1_000_000 / total
			}
		}
	}
	need, free := w.r.Need, w.free[n.ID]
	part(int64(need.CPUs), int64(free.CPUs), int64(n.Total.CPUs))
	part(int64(need.Mem), int64(free.Mem), int64(n.Total.Mem))
	part(int64(need.Disk), int64(free.Disk), int64(n.Total.Disk))
	part(need.GPUs, free.GPUs, n.Total.GPUs)
	host, zone := 0, 0
	for _, id := range w.placed {
		o := w.node(id)
		if o == nil {
			continue
		}
		if id == n.ID {
			host++
		}
		if o.Zone == n.Zone && o.Region == n.Region {
			zone++
		}
	}
	const spread = 16
	return left + spread*int64(host)*1_000_000/int64(w.wanted) + spread*int64(zone)*1_000_000/int64(w.wanted)
}

func (w *slow) pick() (dcos.NodeID, bool) {
	var best *dcos.Node
	for _, n := range w.nodes {
		if w.fits(n) && (best == nil || w.cost(n) < w.cost(best)) {
			best = n
		}
	}
	if best == nil {
		return "", false
	}
	return best.ID, true
}

func drawNodes(t *rapid.T) []*dcos.Node {
	count := rapid.IntRange(0, 14).Draw(t, "nodes")
	nodes := make([]*dcos.Node, count)
	for i := range nodes {
		n := &dcos.Node{
			ID: dcos.NodeID(fmt.Sprintf("n%02d", i)), Hostname: fmt.Sprintf("host%d", rapid.IntRange(0, 12).Draw(t, "host")),
			Zone: rapid.SampledFrom([]string{"", "a", "b", "c"}).Draw(t, "zone"), Region: rapid.SampledFrom([]string{"", "r"}).Draw(t, "region"),
			Isolation: rapid.SampledFrom([]dcos.Isolation{dcos.IsolationContainer, dcos.IsolationContainer, dcos.IsolationProcess}).Draw(t, "iso"),
			State:     rapid.SampledFrom([]dcos.NodeState{dcos.NodeActive, dcos.NodeActive, dcos.NodeActive, dcos.NodeSuspect, dcos.NodeLost}).Draw(t, "state"),
			Total: resource.Set{
				CPUs: resource.Whole(rapid.Int64Range(0, 4).Draw(t, "cpus")), Mem: resource.Whole(rapid.Int64Range(0, 8).Draw(t, "mem")),
				Disk: resource.Whole(rapid.Int64Range(0, 3).Draw(t, "disk")), GPUs: rapid.Int64Range(0, 2).Draw(t, "gpus"),
				Ports: resource.NewRanges(resource.Range{First: 80, Last: 80 + uint16(rapid.IntRange(0, 6).Draw(t, "ports"))}, resource.Range{First: 8000, Last: 8001}),
			},
		}
		if rapid.Bool().Draw(t, "attr") {
			n.Attributes = map[string]string{"rack": rapid.SampledFrom([]string{"1", "2", "3"}).Draw(t, "rack")}
		}
		nodes[i] = n
	}
	return nodes
}

func drawConstraints(t *rapid.T) []dcos.Constraint {
	field := func() string {
		return rapid.SampledFrom([]string{"hostname", "@zone", "@region", "rack"}).Draw(t, "field")
	}
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) dcos.Constraint {
		switch rapid.IntRange(0, 7).Draw(t, "op") {
		case 0:
			return dcos.Constraint{Field: field(), Operator: dcos.Unique}
		case 1:
			return dcos.Constraint{Field: field(), Operator: dcos.Cluster}
		case 2:
			return dcos.Constraint{Field: "rack", Operator: dcos.Cluster, Value: "2"}
		case 3:
			return dcos.Constraint{Field: field(), Operator: dcos.GroupBy, Value: rapid.SampledFrom([]string{"", "inf", "2", "3"}).Draw(t, "n")}
		case 4:
			return dcos.Constraint{Field: field(), Operator: dcos.Like, Value: "host[0-7]|1|a|r|"}
		case 5:
			return dcos.Constraint{Field: field(), Operator: dcos.Unlike, Value: "host[0-3]|2|c"}
		case 6:
			return dcos.Constraint{Field: field(), Operator: dcos.MaxPer, Value: strconv.Itoa(rapid.IntRange(0, 3).Draw(t, "max"))}
		}
		return dcos.Constraint{Field: "rack", Operator: dcos.Is, Value: "1"}
	}), 0, 3).Draw(t, "constraints")
}

func drawRequest(t *rapid.T, nodes []*dcos.Node, cs []dcos.Constraint) placement.Request {
	rules, err := placement.Compile(cs)
	if err != nil {
		t.Fatalf("compile %v: %v", cs, err)
	}
	r := placement.Request{
		Need: resource.Set{
			CPUs: resource.Scalar(rapid.Int64Range(1, 1500).Draw(t, "need cpus")), Mem: resource.Scalar(rapid.Int64Range(0, 2500).Draw(t, "need mem")),
			Disk: resource.Scalar(rapid.SampledFrom([]int64{0, 0, 900}).Draw(t, "need disk")), GPUs: rapid.SampledFrom([]int64{0, 0, 0, 1}).Draw(t, "need gpus"),
		},
		RequirePorts: rapid.Bool().Draw(t, "require"), Image: rapid.Bool().Draw(t, "image"), Rules: rules,
		Roles:  rapid.SampledFrom([][]string{nil, nil, {"*"}, {"*", "x"}, {"x"}}).Draw(t, "roles"),
		Wanted: rapid.IntRange(0, 12).Draw(t, "wanted"), Seed: rapid.Uint64().Draw(t, "seed"),
	}
	for _, p := range rapid.SliceOfNDistinct(rapid.SampledFrom([]uint16{0, 80, 81, 8000}), 0, 3, rapid.ID).Draw(t, "defs") {
		r.Ports = append(r.Ports, dcos.PortDef{Port: p, Protocol: "tcp"})
	}
	for _, n := range nodes {
		for range rapid.SampledFrom([]int{0, 0, 0, 1, 2}).Draw(t, "placed") {
			r.Placed = append(r.Placed, n.ID)
		}
	}
	r.Placed = append(r.Placed, "gone")
	return r
}

func TestPickDecidesAsTheSlowObviousImplementation(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		nodes := drawNodes(t)
		cs := drawConstraints(t)
		r := drawRequest(t, nodes, cs)
		n := rapid.SampledFrom([]int{1, 2, 5, 20}).Draw(t, "n")

		x := placement.New()
		w := &slow{nodes: nodes, free: map[dcos.NodeID]resource.Set{}, r: &r, cs: cs, placed: slices.Clone(r.Placed)}
		w.wanted = max(r.Wanted, len(r.Placed)+n, 1)
		for _, i := range rapid.Permutation(indexes(len(nodes))).Draw(t, "order of updates") {
			x.Update(nodes[i], nodes[i].Total)
			w.free[nodes[i].ID] = nodes[i].Total
		}
		checkExplain(t, w, x.Explain(&r))
		got, left := x.Pick(&r, n)
		for i := range n {
			id, ok := w.pick()
			if !ok {
				if len(got) != i || left.Count != n-i {
					t.Fatalf("picked %d (%d left), want %d: %v", len(got), left.Count, i, got)
				}
				sum := 0
				for _, reason := range left.Reasons {
					sum += reason.Nodes
				}
				if sum != len(nodes) {
					t.Fatalf("reasons cover %d of %d nodes: %+v", sum, len(nodes), left.Reasons)
				}
				return
			}
			if i >= len(got) || got[i].Node != id {
				t.Fatalf("decision %d: got %v, want node %s", i, got, id)
			}
			takePorts(t, w, got[i])
			w.placed = append(w.placed, id)
		}
		if len(got) != n || left.Count != 0 {
			t.Fatalf("picked %d (%d left), want %d", len(got), left.Count, n)
		}
	})
}

func indexes(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// takePorts checks that the ports were free there and books the placement.
func takePorts(t *rapid.T, w *slow, p placement.Placement) {
	free := w.free[p.Node]
	taken := resource.PortSet(p.Ports...)
	if len(p.Ports) != len(w.r.Ports) || taken.Size() != len(p.Ports) || !free.Ports.Contains(taken) {
		t.Fatalf("ports %v for %v, free are %v", p.Ports, w.r.Ports, free.Ports)
	}
	for i, d := range w.r.Ports {
		if w.r.RequirePorts && d.Port != 0 && p.Ports[i] != d.Port {
			t.Fatalf("port %d is %d, want %d", i, p.Ports[i], d.Port)
		}
	}
	need := w.r.Need
	need.Ports = taken
	w.free[p.Node] = free.Minus(need)
}

func checkExplain(t *rapid.T, w *slow, e placement.Explanation) {
	wanted := w.wanted
	w.wanted = max(w.r.Wanted, len(w.r.Placed)+1)
	defer func() { w.wanted = wanted }()
	fit, counted := 0, 0
	for _, n := range w.nodes {
		if w.fits(n) {
			fit++
		}
	}
	for _, r := range e.Reasons {
		counted += r.Nodes
	}
	if e.Nodes != len(w.nodes) || e.Fit != fit || counted != len(w.nodes)-fit {
		t.Fatalf("explained %+v, want %d nodes of which %d fit", e, len(w.nodes), fit)
	}
	if (e.Smallest != nil) && fit > 0 {
		t.Fatalf("a change is proposed though %d nodes fit: %+v", fit, e.Smallest)
	}
	if e.Smallest != nil {
		checkChange(t, w, e.Smallest)
	}
}

// checkChange carries the proposed change out: exactly as many nodes as it
// says must fit then.
func checkChange(t *rapid.T, w *slow, c *placement.Change) {
	changed := *w.r
	cs := w.cs
	switch c.Filter {
	case placement.FilterRole:
		changed.Roles = nil
	case placement.FilterConstraint:
		cs = slices.Delete(slices.Clone(cs), c.Constraint, c.Constraint+1)
	case placement.FilterCPUs:
		changed.Need.CPUs = c.To
	case placement.FilterMem:
		changed.Need.Mem = c.To
	case placement.FilterDisk:
		changed.Need.Disk = c.To
	case placement.FilterGPUs:
		changed.Need.GPUs = int64(c.To / 1000)
	case placement.FilterPorts:
		if !changed.RequirePorts {
			return
		}
		changed.RequirePorts = false
	default:
		return
	}
	v := *w
	v.r, v.cs = &changed, cs
	fit := 0
	for _, n := range v.nodes {
		if v.fits(n) {
			fit++
		}
	}
	if fit < c.Nodes || fit == 0 {
		t.Fatalf("after the change %+v %d nodes fit", c, fit)
	}
}

func TestPickDoesNotDependOnTheHistoryOfTheIndex(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		nodes := drawNodes(t)
		r := drawRequest(t, nodes, drawConstraints(t))
		fresh, used := placement.New(), placement.New()
		for _, n := range nodes {
			fresh.Update(n, n.Total)
		}
		for _, i := range rapid.Permutation(indexes(len(nodes))).Draw(t, "order") {
			n := *nodes[i]
			n.Zone, n.Hostname, n.State, n.Attributes = "was", "was", dcos.NodeLost, map[string]string{"rack": "9"}
			used.Update(&n, resource.Set{})
			if rapid.Bool().Draw(t, "forget") {
				used.Remove(n.ID)
			}
		}
		used.Explain(&r)
		used.Pick(&r, 3)
		for _, i := range rapid.Permutation(indexes(len(nodes))).Draw(t, "order again") {
			used.Update(nodes[i], nodes[i].Total)
		}
		want, wantLeft := fresh.Pick(&r, 8)
		got, gotLeft := used.Pick(&r, 8)
		if d := cmp.Diff(want, got, cmp.FilterPath(isPorts, cmp.Ignore())); d != "" {
			t.Fatalf("placements differ:\n%s", d)
		}
		if d := cmp.Diff(wantLeft, gotLeft); d != "" {
			t.Fatalf("reasons differ:\n%s", d)
		}
	})
}

func isPorts(p cmp.Path) bool { return p.Last().String() == ".Ports" }
