package dcos

import (
	"testing"

	"pgregory.net/rapid"
)

var allStates = []TaskState{TaskWaiting, TaskPlaced, TaskStaging, TaskStarting, TaskRunning, TaskFinished, TaskFailed, TaskKilled, TaskError, TaskLost}

func TestStatesHaveMesosNames(t *testing.T) {
	t.Parallel()
	want := []string{
		"TASK_STAGING", "TASK_STAGING", "TASK_STAGING", "TASK_STARTING", "TASK_RUNNING",
		"TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_ERROR", "TASK_LOST",
	}
	for i, s := range allStates {
		if s.String() != want[i] {
			t.Errorf("state %d is %s, want %s", s, s, want[i])
		}
		if terminal := s >= TaskFinished; s.Terminal() != terminal {
			t.Errorf("%s is terminal: %v", s, s.Terminal())
		}
	}
	if got := TaskState(200).String(); got != "TASK_UNKNOWN" {
		t.Errorf("no state is called %s", got)
	}
}

func TestTasksOnlyMoveForward(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		from, to TaskState
		want     bool
	}{
		{TaskWaiting, TaskPlaced, true},
		{TaskWaiting, TaskKilled, true},
		{TaskPlaced, TaskRunning, true},
		{TaskRunning, TaskRunning, false},
		{TaskRunning, TaskStaging, false},
		{TaskRunning, TaskLost, true},
		{TaskFinished, TaskLost, false},
		{TaskFinished, TaskFailed, false},
		{TaskLost, TaskRunning, false},
		{TaskRunning, TaskLost + 1, false},
		{0, TaskWaiting, true},
	} {
		if got := tt.from.CanBecome(tt.to); got != tt.want {
			t.Errorf("%d can become %d: %v, want %v", tt.from, tt.to, got, tt.want)
		}
	}
}

func TestNoWayOfStatesComesBackOrLeavesTheEnd(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		state, ends := TaskWaiting, 0
		for range 20 {
			next := TaskState(rapid.Uint8().Draw(t, "next"))
			if !state.CanBecome(next) {
				continue
			}
			if next <= state || next > TaskLost {
				t.Fatalf("from %s to %d", state, next)
			}
			if state = next; state.Terminal() {
				ends++
			}
		}
		if ends > 1 {
			t.Fatalf("the task ended %d times", ends)
		}
	})
}

func TestLiveTasksArePlacedAndNotEnded(t *testing.T) {
	t.Parallel()
	for _, s := range allStates {
		want := s >= TaskPlaced && s <= TaskRunning
		if got := (&Task{State: s}).Live(); got != want {
			t.Errorf("live in %d: %v, want %v", s, got, want)
		}
	}
}

func TestNodesAnswerConstraints(t *testing.T) {
	t.Parallel()
	n := &Node{Hostname: "h1", Zone: "z1", Attributes: map[string]string{"rack": "r7", "empty": ""}}
	for _, tt := range []struct {
		field, want string
		ok          bool
	}{
		{"hostname", "h1", true},
		{"@hostname", "h1", true},
		{"@zone", "z1", true},
		{"@region", "", false},
		{"rack", "r7", true},
		{"empty", "", true},
		{"missing", "", false},
	} {
		if got, ok := n.Attribute(tt.field); got != tt.want || ok != tt.ok {
			t.Errorf("%s is %q, %v, want %q, %v", tt.field, got, ok, tt.want, tt.ok)
		}
	}
	for state, want := range map[NodeState]string{NodeActive: "active", NodeSuspect: "suspect", NodeLost: "lost", 9: "unknown", 0: ""} {
		if state.String() != want {
			t.Errorf("state %d is %q, want %q", state, state, want)
		}
	}
}
