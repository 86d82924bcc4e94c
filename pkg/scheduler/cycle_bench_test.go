package scheduler_test

import (
	"fmt"
	"testing"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// BenchmarkTaskEnds is all that the scheduler does from the end of one task to
// its next attempt having a place, for apps of different sizes.
func BenchmarkTaskEnds(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("one of %d", n), func(b *testing.B) {
			w := newWorld(b)
			w.addNodes(2000, 64)
			w.define("/app", n, `,"backoffSeconds":0`)
			w.settle()
			tasks := w.tasks("/app")
			i := 0
			for b.Loop() {
				b.StopTimer()
				w.now += 1000
				victim := tasks[i%len(tasks)]
				w.report(victim, dcos.TaskLost)
				b.StartTimer()
				w.rest()
				i++
			}
		})
	}
}
