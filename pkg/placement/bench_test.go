package placement_test

import (
	"fmt"
	"testing"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/placement"
	"github.com/dcos-go/dcos/pkg/resource"
)

// farm is n nodes in 3 zones, of two sizes.
func farm(n int) []*dcos.Node {
	nodes := make([]*dcos.Node, n)
	for i := range nodes {
		size := int64(8 + 8*(i%2))
		nodes[i] = &dcos.Node{
			ID: dcos.NodeID(fmt.Sprintf("f2b1c0de-0000-4000-8000-%012d", i)), Hostname: fmt.Sprintf("node-%04d", i),
			Zone: fmt.Sprintf("zone-%d", i%3), Attributes: map[string]string{"rack": fmt.Sprint(i % 100)},
			State: dcos.NodeActive, Isolation: dcos.IsolationContainer,
			Total: resource.Set{CPUs: resource.Whole(size), Mem: resource.Whole(size * 4096), Disk: resource.Whole(100_000), Ports: resource.NewRanges(resource.Range{First: 31000, Last: 32000})},
		}
	}
	return nodes
}

func BenchmarkDecisions(b *testing.B) {
	nodes := farm(5000)
	need := resource.Set{CPUs: 100, Mem: resource.Whole(128)}
	port := []dcos.PortDef{{Protocol: "tcp"}}
	for _, tt := range []struct {
		name    string
		total   int
		batch   int
		request placement.Request
		rules   []dcos.Constraint
	}{
		{"one app of 10000", 10_000, 2000, placement.Request{Need: need, Ports: port}, nil},
		{"one app of 10000 without ports", 10_000, 2000, placement.Request{Need: need}, nil},
		{
			"spread over zones and a constraint", 10_000, 2000,
			placement.Request{Need: need, Ports: port},
			[]dcos.Constraint{{Field: "@zone", Operator: dcos.GroupBy}, {Field: "rack", Operator: dcos.Unlike, Value: "1.|77"}},
		},
		{"at most 3 per host", 10_000, 2000, placement.Request{Need: need, Ports: port}, []dcos.Constraint{{Field: "hostname", Operator: dcos.MaxPer, Value: "3"}}},
		{"20 apps of 500", 500, 500, placement.Request{Need: need, Ports: port}, nil},
		{"apps of one", 1, 1, placement.Request{Need: need, Ports: port}, nil},
		{"apps of one with a regexp on the host", 1, 1, placement.Request{Need: need, Ports: port}, []dcos.Constraint{{Field: "hostname", Operator: dcos.Like, Value: "node-.*7"}}},
	} {
		b.Run(tt.name, func(b *testing.B) {
			x := placement.New()
			decided := 0
			for b.Loop() {
				if decided%(10*tt.total) == 0 && decided%10_000 == 0 {
					b.StopTimer()
					for _, n := range nodes {
						x.Update(n, n.Total)
					}
					b.StartTimer()
				}
				r := tt.request
				r.Rules, _ = placement.Compile(tt.rules)
				r.Wanted = tt.total
				for left := tt.total; left > 0; left -= tt.batch {
					got, u := x.Pick(&r, tt.batch)
					if u.Count > 0 {
						b.Fatalf("unplaced: %+v", u)
					}
					decided += len(got)
					for _, p := range got {
						r.Placed = append(r.Placed, p.Node)
					}
				}
			}
			b.ReportMetric(float64(decided)/b.Elapsed().Seconds(), "decisions/s")
		})
	}
}

func BenchmarkExplain(b *testing.B) {
	x := placement.New()
	for _, n := range farm(5000) {
		x.Update(n, n.Total)
	}
	rules, _ := placement.Compile([]dcos.Constraint{{Field: "hostname", Operator: dcos.Like, Value: "db-.*"}})
	r := placement.Request{Need: resource.Set{CPUs: resource.Whole(100)}, Rules: rules}
	for b.Loop() {
		if e := x.Explain(&r); e.Fit != 0 {
			b.Fatal("it fits")
		}
	}
}
