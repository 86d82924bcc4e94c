package scheduler_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/scheduler"
	"github.com/dcos-go/dcos/pkg/state"
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

// BenchmarkTurn is the way from the definition of apps to the last placement
// at 5,000 nodes: "decided" counts the time in turns alone, "applied" also the
// state machine; there is no log and no disk in it.
func BenchmarkTurn(b *testing.B) {
	for _, tt := range []struct {
		name string
		apps int
		each int
		more string
	}{
		{"one app of 10000", 1, 10_000, ""},
		{"20 apps of 500", 20, 500, ""},
		{"spread over zones and a constraint", 1, 10_000, `,"constraints":[["@zone","GROUP_BY"],["rack","UNLIKE","6"]]`},
		{"1000 apps of one", 1000, 1, ""},
		{"one app of 100000", 1, 100_000, ""},
	} {
		b.Run(tt.name, func(b *testing.B) {
			var deciding, all, cpu time.Duration
			for b.Loop() {
				b.StopTimer()
				w := newWorld(b)
				w.addNodes(5000, 64)
				w.rest()
				b.StartTimer()
				started := time.Now()
				for i := range tt.apps {
					w.define(fmt.Sprintf("/app-%04d", i), tt.each, tt.more)
				}
				for {
					at, used := time.Now(), cpuTime()
					cmds, wake := w.core.Turn(w.now, w.store.View(), w.changes)
					deciding += time.Since(at)
					cpu += cpuTime() - used
					w.changes = nil
					if len(cmds) == 0 && wake == 0 {
						break
					}
					if len(cmds) > 0 {
						w.now++
						w.core.Done(w.now, w.apply(cmds...), nil)
					}
				}
				all += time.Since(started)
				if got := w.count("/app-0000", dcos.TaskPlaced); got != tt.each {
					b.Fatalf("%d placed", got)
				}
			}
			n := float64(b.N * tt.apps * tt.each)
			b.ReportMetric(n/deciding.Seconds(), "decided/s")
			b.ReportMetric(n/cpu.Seconds(), "decided/cpu-s")
			b.ReportMetric(n/all.Seconds(), "applied/s")
		})
	}
}

// BenchmarkNewLeader is the first turn over 5,000 nodes and 50,000 tasks.
func BenchmarkNewLeader(b *testing.B) {
	w := newWorld(b)
	w.addNodes(5000, 64)
	for i := range 100 {
		w.define(fmt.Sprintf("/app-%04d", i), 500, "")
	}
	w.settle()
	for b.Loop() {
		c := scheduler.New()
		if cmds, _ := c.Turn(w.now, w.store.View(), nil); len(cmds) > 0 {
			b.Fatalf("wants %v", cmds)
		}
	}
}

// BenchmarkStatusTurn is the turn after one task of an app was reported to have
// come further, and BenchmarkEndTurn the one after one has failed; BenchmarkIdleTurn
// is one without a change.
func BenchmarkStatusTurn(b *testing.B) {
	benchmarkTurns(b, func(t *dcos.Task) *dcos.Task {
		next := *t
		next.State = dcos.TaskStarting
		return &next
	})
}

func BenchmarkEndTurn(b *testing.B) {
	benchmarkTurns(b, func(t *dcos.Task) *dcos.Task {
		next := *t
		next.State = dcos.TaskFailed
		return &next
	})
}

func BenchmarkIdleTurn(b *testing.B) {
	benchmarkTurns(b, func(t *dcos.Task) *dcos.Task { return nil })
}

// benchmarkTurns are turns that each see one change of a task.
func benchmarkTurns(b *testing.B, change func(*dcos.Task) *dcos.Task) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("one of %d", n), func(b *testing.B) {
			w := newWorld(b)
			w.addNodes(2000, 64)
			w.define("/app", n, "")
			w.rest()
			tasks := w.tasks("/app")
			i := 0
			for b.Loop() {
				var changes []state.Change
				t := tasks[i%len(tasks)]
				if next := change(t); next != nil {
					changes = []state.Change{{Table: state.TableTasks, Key: string(t.ID), Old: t, New: next}}
				}
				w.core.Turn(w.now, w.store.View(), changes)
				i++
			}
		})
	}
}

// BenchmarkWhy is one answer at 5,000 nodes, with the layout of the nodes.
func BenchmarkWhy(b *testing.B) {
	w := newWorld(b)
	w.addNodes(5000, 64)
	w.define("/app", 20_000, "")
	w.rest()
	w.must(state.PutApp{App: w.sized("/large", 100)})
	w.rest()
	for b.Loop() {
		why, err := scheduler.Explain(w.store.View(), "/large", w.now)
		if err != nil || why.Holds[0].Placement.Smallest() == nil {
			b.Fatalf("%+v, %v", why, err)
		}
	}
}

// BenchmarkForecast is a dry run of an app at 5,000 nodes.
func BenchmarkForecast(b *testing.B) {
	w := newWorld(b)
	w.addNodes(5000, 64)
	for _, n := range []int{10, 1000, 10_000} {
		b.Run(fmt.Sprintf("%d instances", n), func(b *testing.B) {
			put := state.PutApp{App: w.parse("/app", n, "")}
			for b.Loop() {
				f, err := scheduler.Try(w.store.View(), w.now, put)
				if err != nil || f.Apps[0].Started != n {
					b.Fatalf("%+v, %v", f, err)
				}
			}
		})
	}
}
