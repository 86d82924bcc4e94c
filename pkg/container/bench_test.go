package container

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/dcos-go/dcos/pkg/dcos"
)

func benchmarkStart(b *testing.B, kind dcos.Kind) {
	needRoot(b)
	n := newBench(b)
	var layers []string
	if kind == dcos.KindImage {
		layers = n.layers()
	}
	b.ResetTimer()
	for i := range b.N {
		id := dcos.TaskID(fmt.Sprint("bench.", i))
		b.StopTimer()
		s := n.spec(kind, id, "exit 0")
		s.Lower = layers
		b.StartTimer()
		n.start(s)
		b.StopTimer()
		n.wait(id)
		n.remove(id)
		b.StartTimer()
	}
}

func BenchmarkStartProcess(b *testing.B) { benchmarkStart(b, dcos.KindProcess) }
func BenchmarkStartCommand(b *testing.B) { benchmarkStart(b, dcos.KindCommand) }
func BenchmarkStartImage(b *testing.B)   { benchmarkStart(b, dcos.KindImage) }

// BenchmarkWholeLife is start, wait and removal of commands, two at a time.
func BenchmarkWholeLife(b *testing.B) {
	for kind, name := range map[dcos.Kind]string{dcos.KindProcess: "process", dcos.KindCommand: "command", dcos.KindImage: "image"} {
		b.Run(name, func(b *testing.B) {
			needRoot(b)
			n := newBench(b)
			layers := n.layers()
			ids := make(chan dcos.Spec, b.N)
			for i := range b.N {
				s := n.spec(kind, dcos.TaskID(fmt.Sprint("life.", i)), "exit 0")
				s.Lower = layers
				ids <- s
			}
			close(ids)
			done := make(chan error)
			b.ResetTimer()
			const parallel = 2
			for range parallel {
				go func() {
					for s := range ids {
						_, err := n.r.Start(b.Context(), s)
						if err == nil {
							_, err = n.r.Wait(b.Context(), s.Task)
						}
						if err == nil {
							err = n.r.Remove(b.Context(), s.Task)
						}
						if err != nil {
							done <- err
							return
						}
					}
					done <- nil
				}()
			}
			for range parallel {
				if err := <-done; err != nil {
					b.Error(err)
				}
			}
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
		})
	}
}

// BenchmarkMemoryPerCommand is what we add to a running command: the shim and
// the first process of its namespaces.
func BenchmarkMemoryPerCommand(b *testing.B) {
	needRoot(b)
	n := newBench(b)
	const tasks = 20
	for i := range tasks {
		n.start(n.spec(dcos.KindCommand, dcos.TaskID(fmt.Sprint("mem.", i)), "sleep 1000"))
	}
	total := 0
	for i := range tasks {
		p, err := readPids(n.r.taskDir(dcos.TaskID(fmt.Sprint("mem.", i))))
		if err != nil {
			b.Fatal(err)
		}
		total += pss(b, p.shim) + pss(b, p.init)
	}
	for b.Loop() { // the figure is the metric
	}
	b.ReportMetric(float64(total)/tasks, "kB/task")
}

func pss(b *testing.B, pid int) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		var kb int
		if n, _ := fmt.Sscanf(line, "Pss: %d kB", &kb); n == 1 {
			return kb
		}
	}
	b.Fatal("no Pss")
	return 0
}
