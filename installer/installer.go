// Package installer puts dcos on a machine and takes it away again.
//
// It owns the plan: preflight, binary, configuration, unit, start, healthy. It
// promises that a step which is done is not done again (a second run changes
// nothing), that a machine which fails preflight is left as it was, and that
// uninstall removes every file, unit and process that install or the running
// system made. It must not decide anything about the cluster: it starts the
// binary and asks it.
package installer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// Roles of a machine.
const (
	RoleMaster = "master"
	RoleAgent  = "agent"
	RoleBoth   = "both"
)

// Options are what the operator chose.
type Options struct {
	Role string
	// Join are masters' addresses; empty makes a new cluster (masters only).
	Join  []string
	Token string // kept in a file of mode 0600 until the machine has joined
	// Set are further configuration keys, as in the file.
	Set map[string]any
	// Binary is the file to install; normally the running executable.
	Binary string
	// Wait bounds how long the machine may take to become healthy.
	Wait time.Duration
}

// Paths are where things go; tests put them under another root.
type Paths struct {
	Binary, ConfigDir, UnitDir, DataDir, RunDir string
}

// DefaultPaths are the places of an installed machine.
func DefaultPaths() Paths {
	return Paths{
		Binary: "/usr/local/bin/dcos", ConfigDir: "/etc/dcos", UnitDir: "/etc/systemd/system",
		DataDir: "/var/lib/dcos", RunDir: "/run/dcos",
	}
}

// Machine is what the plan does to a host beyond files: the service manager
// and what preflight asks of the system.
type Machine interface {
	// Root says whether this process may install.
	Root() bool
	// Facts are what preflight looks at.
	Facts(ctx context.Context) (Facts, error)
	// Systemctl runs systemctl with arguments and gives its output.
	Systemctl(ctx context.Context, args ...string) (string, error)
	// PortFree says whether nothing listens on a TCP port.
	PortFree(port int) bool
}

// Facts describe a host.
type Facts struct {
	OS, Arch      string
	Systemd       bool // it is PID 1 and running
	CPUs          int
	MemBytes      int64
	DiskFreeBytes int64 // where the data directory is or will be
	Overlay       bool
	Cgroups       []string // controllers that can be used
	ClockSane     bool     // later than this build's own date
}

// Report tells the operator what was done; one line per step.
type Report struct {
	Out     io.Writer // progress, for people
	Changed int       // steps that changed something
}

func (r *Report) line(state, step, text string) {
	fmt.Fprintf(r.Out, "%-8s %-10s %s\n", state, step, text)
}

// ErrPreflight says that the machine is not fit; nothing was changed.
var ErrPreflight = errors.New("preflight failed, nothing was changed")

// step is one part of the plan. done says whether there is nothing to do; do
// makes it so, and may be repeated after a crash at any point.
type step struct {
	name string
	done func(ctx context.Context) (bool, string, error)
	do   func(ctx context.Context) (string, error)
}

func run(ctx context.Context, steps []step, r *Report) error {
	for _, s := range steps {
		done, text, err := s.done(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if done {
			r.line("ok", s.name, text)
			continue
		}
		text, err = s.do(ctx)
		if err != nil {
			r.line("failed", s.name, err.Error())
			return fmt.Errorf("%s: %w", s.name, err)
		}
		r.Changed++
		r.line("changed", s.name, text)
	}
	return nil
}
