package placement_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/placement"
	"github.com/dcos-go/dcos/pkg/resource"
)

// cpuTime is what the process has used of processors: on a machine that does
// other things too it says more than the clock.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

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
			var cpu, idle time.Duration
			cpu = -cpuTime()
			for b.Loop() {
				if decided%(10*tt.total) == 0 && decided%10_000 == 0 {
					b.StopTimer()
					idle -= cpuTime()
					for _, n := range nodes {
						x.Update(n, n.Total)
					}
					idle += cpuTime()
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
			cpu += cpuTime() - idle
			b.ReportMetric(float64(decided)/b.Elapsed().Seconds(), "decisions/s")
			b.ReportMetric(float64(decided)/cpu.Seconds(), "decisions/cpu-s")
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

// BenchmarkUnalike is 1,000 batch tasks of different shapes at 5,000 nodes.
func BenchmarkUnalike(b *testing.B) {
	nodes := farm(5000)
	x := placement.New()
	cpu := -cpuTime()
	decided := 0
	for b.Loop() {
		for _, n := range nodes {
			x.Update(n, n.Total)
		}
		for i := range 1000 {
			r := placement.Request{
				Need:   resource.Set{CPUs: resource.Scalar(100 + i%37*50), Mem: resource.Whole(int64(64 + i%53*100)), Disk: resource.Whole(int64(i % 5 * 10))},
				Wanted: 1, Seed: uint64(i),
			}
			if got := x.Place(&r, 1); len(got) != 1 {
				b.Fatal("unplaced")
			}
			decided++
		}
	}
	cpu += cpuTime()
	b.ReportMetric(float64(decided)/b.Elapsed().Seconds(), "decisions/s")
	b.ReportMetric(float64(decided)/cpu.Seconds(), "decisions/cpu-s")
}

// BenchmarkUpdate is a node whose free resources have changed, among 5,000
// with ladders for every kind.
func BenchmarkUpdate(b *testing.B) {
	nodes := farm(5000)
	x := placement.New()
	for _, n := range nodes {
		x.Update(n, n.Total)
	}
	i := 0
	for b.Loop() {
		n := nodes[i%len(nodes)]
		free := n.Total
		free.CPUs -= resource.Scalar(i % 4000)
		x.Update(n, free)
		i++
		if i%10 == 0 {
			r := placement.Request{Need: resource.Set{CPUs: 100}, Wanted: 1}
			x.Place(&r, 1)
		}
	}
}

// BenchmarkUpdateOfNodes is a node that becomes suspect or comes back, with a
// pick after each.
func BenchmarkUpdateOfNodes(b *testing.B) {
	nodes := farm(5000)
	x := placement.New()
	for _, n := range nodes {
		x.Update(n, n.Total)
	}
	i := 0
	for b.Loop() {
		n := *nodes[i%len(nodes)]
		n.State = dcos.NodeActive + dcos.NodeState(i%2)
		x.Update(&n, n.Total)
		r := placement.Request{Need: resource.Set{CPUs: 100}, Wanted: 1}
		x.Place(&r, 1)
		i++
	}
}

// BenchmarkExplainWorst is the longest search for changes: all nodes fail for
// many reasons, and as many kinds of node as there are nodes.
func BenchmarkExplainWorst(b *testing.B) {
	x := placement.New()
	for i, n := range farm(5000) {
		n.Total.Mem += resource.Whole(int64(i))
		x.Update(n, n.Total)
	}
	var cs []dcos.Constraint
	for i := range 64 {
		cs = append(cs, dcos.Constraint{Field: "rack", Operator: dcos.Unlike, Value: fmt.Sprint(i)})
	}
	rules, err := placement.Compile(cs)
	if err != nil {
		b.Fatal(err)
	}
	r := placement.Request{Need: resource.Set{CPUs: resource.Whole(12), Mem: resource.Whole(1 << 20)}, Rules: rules, Wanted: 1}
	for b.Loop() {
		if e := x.Explain(&r); e.Fit != 0 {
			b.Fatal("it fits")
		}
	}
}
