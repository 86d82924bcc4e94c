// Package state is the replicated state machine: typed commands, their
// deterministic Apply, tables that can be looked at while they change, and the
// snapshot format.
//
// It owns every fact that must survive and every rule between facts: what fits
// on a node, which task state may follow, which deployment may start. It
// promises that the same entries give the same state and the same hash on
// every master, that no entry makes it panic, and that a command which breaks
// a rule changes nothing and answers with an error. It must not decide what
// should happen next, read a clock, or know how entries are agreed on.
package state

import (
	"context"
	"fmt"
	"iter"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// Proposer is the way in. Propose returns when the commands are committed by a
// majority, synced there, and applied here.
//
// All commands of one call are applied in order, in one entry, each for
// itself: Result.Items has one answer per command. The error is nil even when
// items failed; it is a dcos.NotLeader when another master must be asked
// (nothing happened), wraps dcos.ErrUnavailable when nothing happened, and
// dcos.ErrUnknown when the commands may still be applied later.
type Proposer interface {
	Propose(ctx context.Context, by Origin, cmds ...Command) (Result, error)
}

// Feed is the way out.
type Feed interface {
	// View is what this master has applied; it never waits.
	View() View
	// Read is a linearizable View: it holds every write that was
	// acknowledged anywhere before the call.
	Read(ctx context.Context) (View, error)
	// Watch gives the changes after index from, commit by commit, and ends
	// with the context. It fails with dcos.ErrReset when they are no longer
	// kept; the sequence yields that error too when the reader falls behind.
	Watch(ctx context.Context, from dcos.Index) (iter.Seq2[Commit, error], error)
}

// Origin says who asks, and under which id.
type Origin struct {
	ID        dcos.ProposalID // zero: raft gives one
	Principal string          // for the audit; "" is the system itself
}

// Result is the answer to one proposal.
type Result struct {
	Index dcos.Index
	Time  dcos.Time // the leader's stamp
	Items []Item    // one per command; but see Of
	// Repeated says that the proposal had been applied before; Items then
	// hold the errors of that time without their values.
	Repeated bool
}

// Of is the answer to a proposal of so many commands. What travels in parts may
// be refused as a whole, before anybody knows its commands: that is an error.
func (r Result) Of(commands int) (Result, error) {
	if len(r.Items) == commands {
		return r, nil
	}
	if err := r.Err(); err != nil {
		return Result{}, err
	}
	return Result{}, fmt.Errorf("%w: the proposal at index %d has %d answers to %d commands", dcos.ErrUnknown, r.Index, len(r.Items), commands)
}

// Err is the first error among the items.
func (r Result) Err() error {
	for _, i := range r.Items {
		if i.Err != nil {
			return i.Err
		}
	}
	return nil
}

// Item is the answer to one command.
type Item struct {
	Err        error
	Deployment dcos.DeploymentID // of PutApp, DeleteApp, RestartApp, ...
	Version    dcos.Version      // of PutApp, RestartApp
	Each       []error           // of batch commands: one per element, nil slice = all well
}

// Table names a table of the state.
type Table uint8

// The tables.
const (
	TableCluster Table = iota + 1
	TableMasters
	TableNodes
	TableApps
	TableVersions
	TableTasks
	TableDeployments
	TablePackages
	TableUsers
	TableTokens
	TableAudit
	TableRoles
	TableReservations
	TableVolumes
)

var tableNames = [...]string{"", "cluster", "masters", "nodes", "apps", "versions", "tasks", "deployments", "packages", "users", "tokens", "audit", "roles", "reservations", "volumes"}

// String is the table's name in events.
func (t Table) String() string {
	if int(t) < len(tableNames) {
		return tableNames[t]
	}
	return "unknown"
}

// Change says that one row was written or removed. Old and New are the
// immutable rows (*dcos.Task, *AppRow, *dcos.Node, ...); nil for none.
type Change struct {
	Table Table
	Key   string
	Old   any
	New   any
	// Cause is the name of the command that did it, "expire" for what was
	// forgotten because of its age; Principal is who gave the command, "" for
	// the system itself.
	Cause     string
	Principal string
}

// Commit is all changes of one log entry.
type Commit struct {
	Index     dcos.Index
	Time      dcos.Time
	Principal string // of the proposal, "" for the system or for several
	Changes   []Change
	View      View // the state right after
}
