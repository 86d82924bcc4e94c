package placement_test

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
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
	if w.r.Image && n.Isolation != dcos.IsolationContainer || n.State != dcos.NodeActive || n.Drain != nil {
		return false
	}
	if len(w.r.Roles) > 0 && !slices.Contains(w.r.Roles, "*") || w.r.Quota != nil {
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
		if rapid.IntRange(0, 7).Draw(t, "drain") == 0 {
			n.Drain = &dcos.Drain{}
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
	if rapid.IntRange(0, 7).Draw(t, "quota") == 0 {
		r.Quota = &placement.Refusal{Words: "full", Help: "raise it"}
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
		x.SetLadderLimit(rapid.SampledFrom([]int{0, 1000, -1}).Draw(t, "ladders"))
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
		if want := w.firstFilter(r); want != r.Nodes {
			t.Fatalf("reason %+v: %d nodes fail it first", r, want)
		}
	}
	if e.Nodes != len(w.nodes) || e.Fit != fit || counted != len(w.nodes)-fit {
		t.Fatalf("explained %+v, want %d nodes of which %d fit", e, len(w.nodes), fit)
	}
	if len(e.Changes) > 0 && fit > 0 {
		t.Fatalf("a change is proposed though %d nodes fit: %+v", fit, e.Changes)
	}
	for i := range e.Changes {
		checkChange(t, w, &e.Changes[i])
	}
	if fit == 0 {
		checkNoneIsMissed(t, w, e.Changes)
	}
}

// firstFilter counts the nodes that fail a reason's filter and none before it.
func (w *slow) firstFilter(r placement.Reason) int {
	n := 0
	for _, node := range w.nodes {
		f, c := w.firstFailure(node)
		if f == r.Filter && c == r.Constraint {
			n++
		}
	}
	return n
}

func (w *slow) firstFailure(n *dcos.Node) (placement.Filter, int) {
	need, free := w.r.Need, w.free[n.ID]
	if len(w.r.Roles) > 0 && !slices.Contains(w.r.Roles, "*") {
		return placement.FilterRole, -1
	}
	if w.r.Quota != nil {
		return placement.FilterQuota, -1
	}
	for i, c := range w.cs {
		if !w.constraintHolds(c, n) {
			return placement.FilterConstraint, i
		}
	}
	switch {
	case need.CPUs > free.CPUs:
		return placement.FilterCPUs, -1
	case need.Mem > free.Mem:
		return placement.FilterMem, -1
	case need.Disk > free.Disk:
		return placement.FilterDisk, -1
	case need.GPUs > free.GPUs:
		return placement.FilterGPUs, -1
	case !w.portsFit(free.Ports):
		return placement.FilterPorts, -1
	case n.State != dcos.NodeActive:
		return placement.FilterInactive, -1
	case n.Drain != nil:
		return placement.FilterDrained, -1
	case w.r.Image && n.Isolation != dcos.IsolationContainer:
		return placement.FilterImages, -1
	}
	return placement.Filters, -1
}

// after is the slow implementation of a changed request.
func (w *slow) after(r *placement.Request, cs []dcos.Constraint) *slow {
	v := *w
	v.r, v.cs = r, cs
	return &v
}

func (w *slow) count() int {
	n := 0
	for _, node := range w.nodes {
		if w.fits(node) {
			n++
		}
	}
	return n
}

// checkChange carries the proposed change out: exactly as many nodes as it
// says must fit then.
func checkChange(t *rapid.T, w *slow, c *placement.Change) {
	changed, cs := *w.r, w.cs
	switch c.Kind {
	case placement.ChangeRoles:
		changed.Roles = nil
	case placement.ChangeQuota:
		changed.Quota = nil
	case placement.ChangeConstraint:
		cs = slices.Delete(slices.Clone(cs), c.Constraint, c.Constraint+1)
	case placement.ChangeNeed:
		changed.Need = cut(changed.Need, c.Filter, c.To)
	case placement.ChangeFreePorts:
		changed.RequirePorts = false
	case placement.ChangePortCount:
		changed.Ports = changed.Ports[:c.To/1000]
	case placement.ChangeActivate, placement.ChangeUndrain, placement.ChangeImages:
		v := w.after(&changed, cs)
		v.nodes = mended(w.nodes, c.Kind)
		grouped := slices.ContainsFunc(cs, func(c dcos.Constraint) bool { return c.Operator == dcos.GroupBy })
		if n := v.count(); !grouped && n != c.Nodes || c.Nodes == 0 {
			t.Fatalf("after the change %+v %d nodes fit", c, n)
		}
		return
	case placement.ChangeInstances:
		if int(c.To/1000) != len(w.r.Placed) || w.r.Wanted <= len(w.r.Placed) {
			t.Fatalf("%+v: %d of %d are placed", c, len(w.r.Placed), w.r.Wanted)
		}
		return
	case placement.ChangeNode:
		checkNewNode(t, w, c)
		return
	}
	if n := w.after(&changed, cs).count(); n != c.Nodes || n == 0 {
		t.Fatalf("after the change %+v %d nodes fit", c, n)
	}
}

func cut(need resource.Set, f placement.Filter, to resource.Scalar) resource.Set {
	switch f {
	case placement.FilterCPUs:
		need.CPUs = to
	case placement.FilterMem:
		need.Mem = to
	case placement.FilterDisk:
		need.Disk = to
	case placement.FilterGPUs:
		need.GPUs = int64(to / 1000)
	}
	return need
}

// mended are the nodes as the operator would make them. A node that comes back
// from being lost brings its values back, which is another change.
func mended(nodes []*dcos.Node, kind placement.ChangeKind) []*dcos.Node {
	out := make([]*dcos.Node, len(nodes))
	for i, n := range nodes {
		c := *n
		switch kind {
		case placement.ChangeActivate:
			c.State = dcos.NodeActive
		case placement.ChangeUndrain:
			c.Drain = nil
		default:
			c.Isolation = dcos.IsolationContainer
		}
		out[i] = &c
	}
	return out
}

func checkNewNode(t *rapid.T, w *slow, c *placement.Change) {
	if c.Like == "" {
		return // says how large it must be, not which
	}
	n := *w.node(c.Like)
	n.ID, n.State, n.Drain = "new", dcos.NodeActive, nil
	pinned := slices.ContainsFunc(w.cs, func(c dcos.Constraint) bool {
		return (c.Field == "hostname" || c.Field == "@hostname") && (c.Operator == dcos.Like || c.Operator == dcos.Unlike)
	})
	if pinned {
		return // a new name of the same make cannot be made up here
	}
	n.Hostname = "new"
	v := w.after(w.r, w.cs)
	v.nodes = append(slices.Clone(w.nodes), &n)
	v.free = map[dcos.NodeID]resource.Set{"new": n.Total}
	for id, free := range w.free {
		v.free[id] = free
	}
	if !v.fits(&n) {
		t.Fatalf("after the change %+v the new node does not take it", c)
	}
}

// checkNoneIsMissed tries single changes one after the other: when one of them
// lets a task run, something as small must have been proposed.
func checkNoneIsMissed(t *rapid.T, w *slow, got []placement.Change) {
	for f := placement.FilterCPUs; f <= placement.FilterGPUs; f++ {
		need := map[placement.Filter]resource.Scalar{
			placement.FilterCPUs: w.r.Need.CPUs, placement.FilterMem: w.r.Need.Mem,
			placement.FilterDisk: w.r.Need.Disk, placement.FilterGPUs: resource.Whole(w.r.Need.GPUs),
		}[f]
		if need == 0 {
			continue
		}
		best := resource.Scalar(-1)
		for _, n := range w.nodes {
			free := w.free[n.ID]
			have := map[placement.Filter]resource.Scalar{
				placement.FilterCPUs: free.CPUs, placement.FilterMem: free.Mem,
				placement.FilterDisk: free.Disk, placement.FilterGPUs: resource.Whole(free.GPUs),
			}[f]
			changed := *w.r
			changed.Need = cut(changed.Need, f, have)
			if have < need && w.after(&changed, w.cs).fits(n) {
				best = max(best, have)
			}
		}
		if best < 0 || best == 0 && f != placement.FilterGPUs {
			continue
		}
		i := slices.IndexFunc(got, func(c placement.Change) bool { return c.Kind == placement.ChangeNeed && c.Filter == f })
		if i < 0 || got[i].To != best {
			t.Fatalf("%s %s instead of %s would do; proposed is %+v", f, best, need, got)
		}
	}
	others := 0
	for i := range w.cs {
		if w.after(w.r, slices.Delete(slices.Clone(w.cs), i, i+1)).count() > 0 {
			others++
		}
	}
	if others > 0 && len(got) == 0 {
		t.Fatal("dropping a constraint would do, but nothing is proposed")
	}
}

func TestPickDoesNotDependOnTheHistoryOfTheIndex(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		nodes := drawNodes(t)
		r := drawRequest(t, nodes, drawConstraints(t))
		fresh, used := placement.New(), placement.New()
		used.SetLadderLimit(rapid.SampledFrom([]int{0, 1000, -1}).Draw(t, "ladders"))
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

// TestAnIndexKeptUpAnswersLikeOneMadeAnew lets nodes come, go and change, and
// tasks be placed and end, in any order: after every step the index that has
// seen it all and a fresh one say the same.
func TestAnIndexKeptUpAnswersLikeOneMadeAnew(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		all := drawNodes(t)
		if len(all) == 0 {
			return
		}
		there := map[dcos.NodeID]*dcos.Node{}
		free := map[dcos.NodeID]resource.Set{}
		kept := placement.New()
		kept.SetLadderLimit(rapid.SampledFrom([]int{0, 1000, 1000, -1}).Draw(t, "ladders"))
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			n := all[rapid.IntRange(0, len(all)-1).Draw(t, "node")]
			switch rapid.IntRange(0, 5).Draw(t, "act") {
			case 0:
				delete(there, n.ID)
				delete(free, n.ID)
				kept.Remove(n.ID)
			case 1, 2: // comes, or says something else of itself
				c := *n
				if rapid.Bool().Draw(t, "changed") {
					c.State = rapid.SampledFrom([]dcos.NodeState{dcos.NodeActive, dcos.NodeSuspect, dcos.NodeLost}).Draw(t, "new state")
					c.Zone = rapid.SampledFrom([]string{"a", "b", "z"}).Draw(t, "new zone")
					c.Total.CPUs += resource.Whole(rapid.Int64Range(0, 2).Draw(t, "more"))
				}
				there[n.ID], free[n.ID] = &c, c.Total
				kept.Update(&c, c.Total)
			case 3: // a task came or went
				if c := there[n.ID]; c != nil {
					f := c.Total
					f.CPUs = resource.Scalar(rapid.Int64Range(0, int64(f.CPUs)).Draw(t, "free"))
					free[n.ID] = f
					kept.Update(c, f)
				}
			default: // picks that are taken back, as refused ones are
				r := drawRequest(t, all, drawConstraints(t))
				got, _ := kept.Pick(&r, rapid.IntRange(1, 4).Draw(t, "picked"))
				for _, p := range got {
					kept.Update(there[p.Node], free[p.Node])
				}
			}
			fresh := placement.New()
			for id, c := range there {
				fresh.Update(c, free[id])
			}
			r := drawRequest(t, all, drawConstraints(t))
			if d := cmp.Diff(fresh.Explain(&r), kept.Explain(&r), cmpopts.IgnoreUnexported(placement.Change{})); d != "" {
				t.Fatalf("explanations differ:\n%s", d)
			}
			n2 := rapid.SampledFrom([]int{1, 3, 9}).Draw(t, "n")
			want, wantLeft := fresh.Pick(&r, n2)
			got, gotLeft := kept.Pick(&r, n2)
			if d := cmp.Diff(want, got, cmp.FilterPath(isPorts, cmp.Ignore())); d != "" {
				t.Fatalf("placements differ:\n%s", d)
			}
			if d := cmp.Diff(wantLeft, gotLeft); d != "" {
				t.Fatalf("reasons differ:\n%s", d)
			}
			for _, p := range got {
				kept.Update(there[p.Node], free[p.Node])
			}
		}
	})
}
