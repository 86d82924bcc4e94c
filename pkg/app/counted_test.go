package app_test

import (
	"testing"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

// What Reconcile costs is shown by whether it looks at every instance; what it
// says is compared by ask in all tests.
func TestOneInstanceOfManyIsServedWithoutALookAtTheOthers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		happen func(w *world)
	}{
		{"a task ends", func(w *world) { w.report(w.live()[7], dcos.TaskFailed) }},
		{"a task is killed", func(w *world) { w.must(state.StopTasks{Tasks: []dcos.TaskID{w.live()[7].ID}}) }},
		{"a task is killed and its instance scaled away", func(w *world) {
			w.must(state.StopTasks{Tasks: []dcos.TaskID{w.live()[7].ID}, Final: true})
		}},
		{"a node is suspect", func(w *world) {
			w.must(state.SetNodeState{Node: "node-1", Boot: "boot-1", State: dcos.NodeSuspect})
			w.report(w.live()[7], dcos.TaskFailed)
		}},
		{"a node is lost", func(w *world) { w.must(state.SetNodeState{Node: "node-1", Boot: "boot-1", State: dcos.NodeLost}) }},
		{"an empty node is drained", func(w *world) { w.drain("node-9", 0); w.report(w.live()[7], dcos.TaskFailed) }},
		{"the app is scaled up", func(w *world) { w.define(230, 1) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 10)
			w.define(200, 1)
			w.reconcile()
			w.place(200)
			w.work()
			w.settle()
			w.asked, w.counted = 0, 0
			tt.happen(w)
			w.now += 60_000
			for range 4 {
				w.reconcile()
				w.place(300)
				w.work()
			}
			if w.asked < 4 || w.counted != w.asked {
				t.Errorf("%d of %d answers were found by counts", w.counted, w.asked)
			}
			w.settle()
		})
	}
}

func TestARollingChangeLooksAtAllOnlyToChooseWhatGoes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 4)
	w.define(40, 1)
	w.settle()
	w.define(40, 2)
	kills := 0
	for range 200 {
		w.asked, w.counted = 0, 0
		for _, move := range w.moves() {
			if move[:4] == "kill" {
				kills++
				w.counted++ // what went had to be chosen
			}
		}
		if w.asked != w.counted {
			t.Fatalf("a look at every instance that changed nothing")
		}
		w.place(3)
		for _, k := range w.live() {
			if k.Goal == dcos.GoalStop {
				w.report(k, dcos.TaskKilled)
			} else if k.State != dcos.TaskRunning {
				w.report(k, dcos.TaskRunning)
			}
		}
		if w.done() {
			break
		}
	}
	if !w.done() || kills < 3 {
		t.Fatalf("no end, or not step by step: %d times something was stopped", kills)
	}
}
