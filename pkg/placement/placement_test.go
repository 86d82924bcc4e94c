package placement_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/placement"
	"github.com/dcos-go/dcos/pkg/resource"
)

func index(nodes ...*dcos.Node) *placement.Index {
	x := placement.New()
	for _, n := range nodes {
		x.Update(n, n.Total)
	}
	return x
}

func machine(id, zone string, cpus int64) *dcos.Node {
	return &dcos.Node{
		ID: dcos.NodeID(id), Hostname: "host-" + id, Zone: zone, State: dcos.NodeActive, Isolation: dcos.IsolationContainer,
		Total: resource.Set{CPUs: resource.Whole(cpus), Mem: resource.Whole(1000), Ports: resource.NewRanges(resource.Range{First: 31000, Last: 31999})},
	}
}

func cpus(n int64) placement.Request {
	return placement.Request{Need: resource.Set{CPUs: resource.Whole(n)}}
}

func where(ps []placement.Placement) string {
	var ids []string
	for _, p := range ps {
		ids = append(ids, string(p.Node))
	}
	return strings.Join(ids, " ")
}

func TestPickPacksDifferentAppsAndSpreadsTheInstancesOfOne(t *testing.T) {
	t.Parallel()
	x := index(machine("a", "1", 8), machine("b", "1", 8), machine("c", "2", 8), machine("d", "2", 8))
	for i := range 4 {
		r := cpus(2)
		r.Wanted = 1
		if got, _ := x.Pick(&r, 1); where(got) != "a" {
			t.Errorf("app %d of one went to %q, want it packed on a", i, where(got))
		}
	}
	r := cpus(1)
	got, _ := x.Pick(&r, 3)
	hosts := map[dcos.NodeID]bool{}
	for _, p := range got {
		hosts[p.Node] = true
	}
	if len(hosts) != 3 {
		t.Errorf("three instances of one app went to %q, want three hosts", where(got))
	}
}

func TestALargeAppFillsNodesInsteadOfTouchingAll(t *testing.T) {
	t.Parallel()
	var nodes []*dcos.Node
	for i := range 200 {
		nodes = append(nodes, machine(fmt.Sprintf("n%03d", i), fmt.Sprint(i%2), 8))
	}
	x := index(nodes...)
	r := cpus(1)
	got, _ := x.Pick(&r, 400)
	used, zone := map[dcos.NodeID]int{}, map[string]int{}
	for _, p := range got {
		used[p.Node]++
	}
	for _, n := range nodes {
		zone[n.Zone] += used[n.ID]
	}
	if len(used) > 60 {
		t.Errorf("400 instances that fit on 50 nodes are on %d", len(used))
	}
	if d := zone["0"] - zone["1"]; d < -40 || d > 40 {
		t.Errorf("zones hold %v, want them about even", zone)
	}
}

func TestPortsJustFreedAreNotHandedOutAgainAtOnce(t *testing.T) {
	t.Parallel()
	n := machine("a", "1", 8)
	seen := map[uint16]int{}
	for i := range 200 {
		x := index(n) // everything is free again
		r := cpus(1)
		r.Ports = []dcos.PortDef{{Protocol: "tcp"}, {Protocol: "tcp"}}
		r.Seed = uint64(i)
		got, _ := x.Pick(&r, 1)
		again, _ := index(n).Pick(&r, 1)
		if d := cmp.Diff(got, again); d != "" {
			t.Fatalf("the same question has two answers:\n%s", d)
		}
		for _, p := range got[0].Ports {
			seen[p]++
		}
	}
	if len(seen) < 250 {
		t.Errorf("400 picks of a port used %d of 1000 numbers", len(seen))
	}
}

func TestExplainCountsGroupsAndProposes(t *testing.T) {
	t.Parallel()
	lost := machine("e", "2", 64)
	lost.State = dcos.NodeLost
	plain := machine("f", "2", 64)
	plain.Isolation = dcos.IsolationProcess
	rules, err := placement.Compile([]dcos.Constraint{{Field: "@zone", Operator: dcos.Unlike, Value: "9"}, {Field: "hostname", Operator: dcos.Unlike, Value: "host-d"}})
	if err != nil {
		t.Fatal(err)
	}
	x := index(machine("a", "1", 4), machine("b", "1", 6), machine("c", "2", 6), machine("d", "2", 64), lost, plain, machine("g", "9", 2))
	r := placement.Request{Need: resource.Set{CPUs: resource.Whole(10)}, Rules: rules, Image: true}
	got := x.Explain(&r)
	want := placement.Explanation{
		Nodes: 7,
		Reasons: []placement.Reason{
			{Filter: placement.FilterConstraint, Constraint: 0, Words: "constraint [@zone UNLIKE 9] does not hold there", Nodes: 1, Examples: []dcos.NodeID{"g"}},
			{Filter: placement.FilterConstraint, Constraint: 1, Words: "constraint [hostname UNLIKE host-d] does not hold there", Nodes: 1, Examples: []dcos.NodeID{"d"}},
			{Filter: placement.FilterCPUs, Constraint: -1, Words: "needs 10 cpus, the most that is free on one of them is 6, and none has more than 6 in all", Nodes: 3, Examples: []dcos.NodeID{"a", "b", "c"}},
			{Filter: placement.FilterInactive, Constraint: -1, Words: "not active", Nodes: 1, Examples: []dcos.NodeID{"e"}},
			{Filter: placement.FilterImages, Constraint: -1, Words: "cannot run images: the agent runs without root", Nodes: 1, Examples: []dcos.NodeID{"f"}},
		},
		Changes: []placement.Change{
			{Kind: placement.ChangeNeed, Filter: placement.FilterCPUs, Constraint: -1, To: 6000, Words: "ask for 6 cpus instead of 10", Nodes: 2},
			{Kind: placement.ChangeConstraint, Filter: placement.FilterConstraint, Constraint: 1, Words: "drop the constraint [hostname UNLIKE host-d]", Nodes: 1},
			{Kind: placement.ChangeActivate, Filter: placement.FilterInactive, Constraint: -1, Words: "bring the agents back that are not active", Nodes: 1},
			{Kind: placement.ChangeNode, Constraint: -1, Words: "add a node with at least 10 cpus, zone 1", Nodes: 1},
			{Kind: placement.ChangeImages, Filter: placement.FilterImages, Constraint: -1, Words: "run the agents as root, so that they can run images", Nodes: 1},
		},
	}
	if d := cmp.Diff(want, got, cmpopts.IgnoreUnexported(placement.Change{})); d != "" {
		t.Errorf("explanation differs:\n%s", d)
	}
	var funnel []string
	for _, st := range placement.Funnel(got.Nodes, got.Reasons) {
		funnel = append(funnel, fmt.Sprintf("%s %d/%d", st.Filter, st.Declined, st.Processed))
	}
	wantFunnel := []string{"role 0/7", "quota 0/7", "constraint 2/7", "cpus 3/5", "mem 0/2", "disk 0/2", "gpus 0/2", "ports 0/2", "inactive 1/2", "drained 0/1", "images 1/1"}
	if d := cmp.Diff(wantFunnel, funnel); d != "" {
		t.Errorf("funnel differs:\n%s", d)
	}
	_, u := x.Pick(&r, 3)
	if d := cmp.Diff(placement.Unplaced{Count: 3, Nodes: 7, Reasons: want.Reasons}, u); d != "" {
		t.Errorf("reasons of the pick differ:\n%s", d)
	}
}

func TestCompileRefusesWhatIsNoConstraint(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		c    dcos.Constraint
		want string
	}{
		{dcos.Constraint{Field: "", Operator: dcos.Unique}, "field must not be empty"},
		{dcos.Constraint{Field: "a", Operator: "IN", Value: "x"}, "unknown, expected one of"},
		{dcos.Constraint{Field: "a", Operator: dcos.Unique, Value: "x"}, "takes no value"},
		{dcos.Constraint{Field: "a", Operator: dcos.GroupBy, Value: "many"}, "number of groups"},
		{dcos.Constraint{Field: "a", Operator: dcos.GroupBy, Value: "0"}, "number of groups"},
		{dcos.Constraint{Field: "a", Operator: dcos.MaxPer}, "MAX_PER needs a number"},
		{dcos.Constraint{Field: "a", Operator: dcos.MaxPer, Value: "-1"}, "MAX_PER needs a number"},
		{dcos.Constraint{Field: "a", Operator: dcos.Like}, "needs a regular expression"},
		{dcos.Constraint{Field: "a", Operator: dcos.Unlike, Value: "a(?=b)"}, "not a regular expression"},
		{dcos.Constraint{Field: "a", Operator: dcos.Like, Value: strings.Repeat("a", 2000)}, "expected 1024 or less"},
		{dcos.Constraint{Field: "a", Operator: dcos.Is, Value: "a b"}, "IS needs a text"},
	} {
		_, err := placement.Compile([]dcos.Constraint{{Field: "ok", Operator: dcos.Unique}, tt.c})
		var bad *placement.RuleError
		if !errors.As(err, &bad) || bad.Constraint != 1 || !strings.Contains(bad.Rule, tt.want) || !errors.Is(err, dcos.ErrInvalid) {
			t.Errorf("%v: got %v, want %q at 1", tt.c, err, tt.want)
		}
	}
	if _, err := placement.Compile(make([]dcos.Constraint, 65)); err == nil {
		t.Error("65 constraints were taken")
	}
}

func TestIsComparesNumbersByThreeDecimals(t *testing.T) {
	t.Parallel()
	n := machine("a", "1", 8)
	n.Attributes = map[string]string{"speed": "2.5000", "rack": "r1"}
	for _, tt := range []struct {
		field, value string
		fits         int
	}{
		{"speed", "2.5", 1},
		{"speed", "2.501", 0},
		{"rack", "r1", 1},
		{"rack", "R1", 0},
		{"none", "x", 0},
	} {
		rules, err := placement.Compile([]dcos.Constraint{{Field: tt.field, Operator: dcos.Is, Value: tt.value}})
		if err != nil {
			t.Fatal(err)
		}
		r := placement.Request{Rules: rules}
		if got := index(n).Explain(&r).Fit; got != tt.fits {
			t.Errorf("%s IS %s: %d nodes fit, want %d", tt.field, tt.value, got, tt.fits)
		}
	}
}

func FuzzCompile(f *testing.F) {
	f.Add("hostname", "LIKE", "a.*")
	f.Add("rack", "GROUP_BY", "3")
	f.Add("", "IS", "\x00")
	n := machine("a", "1", 8)
	f.Fuzz(func(t *testing.T, field, op, value string) {
		rules, err := placement.Compile([]dcos.Constraint{{Field: field, Operator: dcos.Operator(op), Value: value}})
		if err != nil {
			if !errors.Is(err, dcos.ErrInvalid) {
				t.Fatalf("error of no kind: %v", err)
			}
			return
		}
		r := placement.Request{Rules: rules, Placed: []dcos.NodeID{"a"}}
		x := index(n)
		fit := x.Explain(&r).Fit
		if got, _ := x.Pick(&r, 1); len(got) != fit {
			t.Fatalf("explained %d, picked %d", fit, len(got))
		}
	})
}
