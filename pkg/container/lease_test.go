package container

import (
	"errors"
	"testing"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// The agent that started the task is of no importance: nothing of it is called
// while the lease runs out.
func TestShimEndsAFencedTaskWithItsLease(t *testing.T) {
	b := newBench(t)
	for _, kind := range b.r.Capabilities().Kinds() {
		if kind == dcos.KindImage {
			continue // its processes end as those of a command do
		}
		s := b.spec(kind, dcos.TaskID("fenced."+string(rune('0'+kind))), "trap '' TERM; sh -c 'sleep 1000' & wait")
		s.Lease = b.r.Now().Add(time.Hour)
		b.start(s)
		until := b.r.Now().Add(700 * time.Millisecond)
		if err := b.r.Extend(s.Task, until); err != nil {
			t.Fatal(err)
		}
		if got, err := b.r.Lease(); err != nil || got.Sub(until).Abs() > time.Millisecond {
			t.Errorf("kind %d: the lease is %v, %v; want %v", kind, got, err, until)
		}
		b.restart() // another runtime, as of the agent's next life
		if got, err := b.r.Lease(); err != nil || got.Sub(until).Abs() > time.Second {
			t.Errorf("kind %d: the next agent finds the lease %v, %v; want about %v", kind, got, err, until)
		}
		exit := b.wait(s.Task)
		if now := b.r.Now(); exit.Signal != 9 || now.Before(until.Add(-time.Second)) {
			t.Errorf("kind %d: it ended with %+v at %v, its lease at %v", kind, exit, now, until)
		}
	}
}

func TestTaskWhoseLeaseHasEndedIsNotStarted(t *testing.T) {
	b := newBench(t)
	s := b.spec(dcos.KindProcess, "late", "echo ran")
	s.Lease = b.r.Now().Add(-time.Second)
	if _, err := b.r.Start(t.Context(), s); !errors.Is(err, dcos.ErrUnavailable) {
		t.Errorf("error %v, want that its lease has ended", err)
	}
	if out := b.log("late", "stdout"); out != "" {
		t.Errorf("it ran: %q", out)
	}
	if err := b.r.Extend("none", b.r.Now()); err != nil {
		t.Errorf("extend a task without a lease: %v", err)
	}
}
