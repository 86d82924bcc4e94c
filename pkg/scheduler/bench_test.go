package scheduler_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/scheduler"
	"github.com/dcos-go/dcos/pkg/state"
)

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
	} {
		b.Run(tt.name, func(b *testing.B) {
			var deciding, all time.Duration
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
					at := time.Now()
					cmds, wake := w.core.Turn(w.now, w.store.View(), w.changes)
					deciding += time.Since(at)
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

// BenchmarkStatusTurn is the turn after 100 tasks of an app of 10,000 were
// reported running.
func BenchmarkStatusTurn(b *testing.B) {
	w := newWorld(b)
	w.addNodes(5000, 64)
	w.define("/app", 10_000, "")
	w.rest()
	tasks := w.tasks("/app")
	var changes []state.Change
	for _, t := range tasks[:100] {
		next := *t
		next.State = dcos.TaskRunning
		changes = append(changes, state.Change{Table: state.TableTasks, Key: string(t.ID), Old: t, New: &next})
	}
	for b.Loop() {
		w.core.Turn(w.now, w.store.View(), changes)
	}
}
