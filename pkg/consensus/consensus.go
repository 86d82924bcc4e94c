// Package consensus makes one log out of the proposals of all masters, and
// feeds it to the replicated state machine.
//
// It owns the raft core and the loop around it, the raft log and the snapshots
// on disk, who is a member, and the recent changes that watchers resume from.
// It promises: a proposal that was answered without an error is durable on a
// majority and applied here; a read holds everything that was acknowledged
// before it was asked, whatever clocks say; an answer that is not known is said
// to be unknown; a member whose disk fails, stalls or is damaged never votes or
// leads on it. It must not know what commands mean (state does), nor decide who
// may become a member (auth and node do).
//
// Core is the decisions: one goroutine calls Step with what happened and
// carries out what it returns. Raft (shell*.go) does so in production, pkg/sim
// in the simulator.
package consensus

import (
	"errors"
	"fmt"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// The knobs of design.md section 3, in ticks.
const (
	DefaultTick   = 100 * time.Millisecond
	heartbeatTick = 1
	electionTicks = 10

	// stallTicks without an answer to an append: say nothing to anybody.
	stallTicks = electionTicks
	// hangTicks without an answer: stop the process.
	hangTicks = 600
	// holdTicks without a leader: a member that must prove itself goes on
	// without having been heard.
	holdTicks = 2 * electionTicks

	maxSizePerMsg        = 1 << 20
	maxCommittedPerReady = 4 << 20
	maxUncommitted       = 64 << 20
	maxInflightMsgs      = 256
	maxInflightBytes     = 16 << 20

	// trailingEntries stay in memory behind a snapshot, so that a member that
	// is a little behind does not need all of it.
	trailingEntries = 4096
	trailingBytes   = 8 << 20

	defaultSnapshotBytes = 32 << 20
	defaultReadTicks     = 50
	retryReadTicks       = 2

	// campaignStep spreads the members that see a leader die.
	campaignStep = 25 * time.Millisecond
)

// Config is what a Core is told once.
type Config struct {
	ID dcos.MasterID
	// Nonce is different at each start of a member, so that a late answer to
	// an earlier life is not taken for one to this.
	Nonce uint64
	// Tick is the time between two Tick events.
	Tick time.Duration
	// SnapshotBytes of log are kept before a snapshot is taken.
	SnapshotBytes int64
	// ReadTicks is how long a read may wait.
	ReadTicks uint64
	// Prove makes a member with others beside it hold back its vote until
	// Proven, or until it has heard no leader for two election timeouts: an old
	// copy of a data directory has forgotten for whom it voted.
	Prove bool
}

func (c Config) withDefaults() Config {
	if c.Tick <= 0 {
		c.Tick = DefaultTick
	}
	if c.SnapshotBytes <= 0 {
		c.SnapshotBytes = defaultSnapshotBytes
	}
	if c.ReadTicks == 0 {
		c.ReadTicks = defaultReadTicks
	}
	return c
}

// ErrRemoved stops a member that has been removed from the group.
var ErrRemoved = errors.New("this master was removed from the cluster: run `dcos uninstall` on its machine, and install it again to join as a new one")

// ErrRolledBack stops a member whose files are older than what the cluster
// knows of it.
var ErrRolledBack = errors.New("an old copy of this master's data directory was restored: the cluster has seen a later start of it")

// Unknown is the answer to a proposal whose fate is not known: it was written
// to this member's log, and leadership was lost before it was committed here.
type Unknown struct {
	Index dcos.Index // its place in the log, if it is committed; 0 when not known
}

// Error says what to do.
func (u Unknown) Error() string {
	if u.Index == 0 {
		return dcos.ErrUnknown.Error() + ": look before trying again"
	}
	return fmt.Sprintf("%v, index %d: look before trying again", dcos.ErrUnknown, u.Index)
}

// Unwrap makes it a dcos.ErrUnknown.
func (u Unknown) Unwrap() error { return dcos.ErrUnknown }

func unavailable(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{dcos.ErrUnavailable}, args...)...)
}
