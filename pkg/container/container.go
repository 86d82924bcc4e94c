// Package container runs tasks on a Linux node: OCI images, commands on the
// host's file system, and plain processes.
//
// It owns the run directory, the control groups below /dcos/<agent> and the
// shims, one tiny process per task that outlives the agent, keeps the exit
// status and writes the output into the sandbox's log segments. It promises
// that a task which runs can always be found again from disk by a new Runtime
// on the same directory, whenever the last one was killed; that Remove leaves
// nothing; and that what is not enforced is said by Probe. It must not decide
// what runs or when it ends: that is the agent's.
//
// What is on disk, step by step, in <dir>/<task>/ (mode 0700):
//
//	task.json   before anything is made; names the task, its kind, the boot;
//	            locked (flock) by the starter, then by the shim until it ends
//	pids        by the shim, before the task's program is let go
//	ov, lc      image tasks: overlay and libcontainer's state
//	exit.json   by the shim, synced, when every process of the task has ended
//
// A starter that is killed leaves a shim that goes on (the lock is held; Adopt
// finds it) or none (the lock is free; Adopt says Gone). Remove kills, deletes
// the control groups, then renames the directory away and deletes it; New
// finishes deletions that were cut short.
package container

import (
	"log/slog"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// Config is what a Runtime needs to know.
type Config struct {
	// Dir holds the state of running tasks: the run directory.
	Dir string
	// AgentID names the subtree of control groups: /dcos/<AgentID>.
	AgentID string
	// Hide are directories of the host that command tasks do not see: the data
	// directory with its keys. A sandbox below one of them stays visible.
	Hide []string
	// Log receives what goes wrong behind a call's back.
	Log *slog.Logger
}

// State is what became of a task's processes.
type State uint8

// The states that Adopt finds.
const (
	Gone  State = iota // never started, or ended while nobody watched
	Alive              // runs; Wait gives its end
	Ended              // has ended; the exit is known
)

// String is the state in a word.
func (s State) String() string { return [...]string{"gone", "alive", "ended"}[s] }

// Status is what Adopt finds of a task.
type Status struct {
	State State
	Pid   int       // of the task's first process, when alive
	Exit  dcos.Exit // when ended or gone
}

// Capabilities say what this node enforces.
type Capabilities struct {
	Root          bool
	CgroupVersion int // 0: none that we may use; 1 also stands for hybrid
	CPU           bool
	Memory        bool
	Pids          bool
	Devices       bool
	Seccomp       bool
	// NotEnforced tells in words what is missing, for logs and the node's page.
	NotEnforced []string
}

// Kinds are the kinds of task that can run here.
func (c Capabilities) Kinds() []dcos.Kind {
	if !c.Root || c.CgroupVersion == 0 {
		return []dcos.Kind{dcos.KindProcess}
	}
	return []dcos.Kind{dcos.KindImage, dcos.KindCommand, dcos.KindProcess}
}
