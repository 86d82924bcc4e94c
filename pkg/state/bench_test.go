package state

import (
	"fmt"
	"io"
	"runtime"
	"testing"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/resource"
)

// loaded is a state with waiting tasks of twenty apps on many nodes.
func loaded(b *testing.B, tasks, nodes int) (s *Store, index dcos.Index) {
	b.Helper()
	s = New()
	apply := func(cmds ...Command) {
		index++
		_, results, err := s.Apply(index, EncodeEntry(epoch0, encode(b, Proposal{Commands: cmds})))
		if err != nil {
			b.Fatal(err)
		}
		if err := results[0].Err(); err != nil {
			b.Fatal(err)
		}
	}
	for i := range nodes {
		n := testNode(fmt.Sprintf("node-%05d", i))
		n.Total = resource.Set{CPUs: resource.Whole(1 << 20), Mem: resource.Whole(1 << 20), Ports: resource.NewRanges(resource.Range{First: 1025, Last: 65000})}
		apply(PutNode{Node: n})
	}
	for i := range min(20, tasks) {
		app := testApp(fmt.Sprintf("/bench/app-%02d", i), uint32(tasks/20))
		app.Ports = []dcos.PortDef{{Protocol: "tcp"}}
		apply(PutApp{App: app})
		row, _ := s.View().App(app.ID)
		apply(AddTasks{App: app.ID, Version: row.App.Version, Count: uint32(tasks / 20)})
	}
	return s, index
}

// batches makes proposals that place all waiting tasks.
func batches(b *testing.B, s *Store, nodes, size int) [][]byte {
	b.Helper()
	var out [][]byte
	var batch Place
	i := 0
	for k := range s.View().Tasks() {
		batch.Items = append(batch.Items, Placement{Task: k.ID, Node: dcos.NodeID(fmt.Sprintf("node-%05d", i%nodes)), Ports: []uint16{uint16(2000 + i/nodes)}})
		if i++; len(batch.Items) == size {
			out = append(out, encode(b, Proposal{Commands: []Command{batch}}))
			batch.Items = nil
		}
	}
	return out
}

// BenchmarkPlace commits batches of 1,000 placements until 100,000 tasks are
// placed on 5,000 nodes.
func BenchmarkPlace(b *testing.B) {
	const tasks, nodes = 100_000, 5_000
	placed := 0
	for range b.N {
		b.StopTimer()
		s, index := loaded(b, tasks, nodes)
		all := batches(b, s, nodes, 1000)
		b.StartTimer()
		for _, p := range all {
			index++
			_, results, err := s.Apply(index, EncodeEntry(epoch0, p))
			if err != nil || results[0].Items[0].Each != nil {
				b.Fatal(err, results[0].Items[0].Each)
			}
		}
		placed += tasks
	}
	b.ReportMetric(float64(placed)/b.Elapsed().Seconds(), "placements/s")
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkMemoryPerTask reports what one placed task costs.
func BenchmarkMemoryPerTask(b *testing.B) {
	const tasks, nodes = 100_000, 1_000
	for range b.N {
		empty, _ := loaded(b, 0, nodes)
		before := heap()
		s, index := loaded(b, tasks, nodes)
		for _, p := range batches(b, s, nodes, 1000) {
			index++
			if _, _, err := s.Apply(index, EncodeEntry(epoch0, p)); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(heap()-before)/tasks, "B/task")
		runtime.KeepAlive(s)
		runtime.KeepAlive(empty)
	}
}

func BenchmarkSnapshot(b *testing.B) {
	s, _ := loaded(b, 100_000, 1_000)
	b.ResetTimer()
	for range b.N {
		if err := s.View().WriteSnapshot(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSmallEntries commits one status per entry, as an idle cluster does.
func BenchmarkSmallEntries(b *testing.B) {
	s, index := loaded(b, 10_000, 100)
	p := encode(b, Proposal{ID: dcos.ProposalID{Proposer: 1, Seq: 1}, Commands: []Command{PutUser{User: dcos.User{ID: "ann"}}}})
	b.ResetTimer()
	for range b.N {
		index++
		if _, _, err := s.Apply(index, EncodeEntry(epoch0, p)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCheck looks at a state of the size that simulations have.
func BenchmarkCheck(b *testing.B) {
	s, index := loaded(b, 100, 5)
	for _, p := range batches(b, s, 5, 50) {
		index++
		if _, _, err := s.Apply(index, EncodeEntry(epoch0, p)); err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	for range b.N {
		if err := Check(s.View()); err != nil {
			b.Fatal(err)
		}
	}
}
