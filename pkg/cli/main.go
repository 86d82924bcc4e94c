package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/dcos-go/dcos/installer"
	"github.com/dcos-go/dcos/pkg/config"
	"github.com/dcos-go/dcos/pkg/dcos"
)

// The exit codes, one per kind of error.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitDenied      = 4
	exitConflict    = 5
	exitTimeout     = 6 // the work goes on
	exitUnreachable = 7
	// 8 is installer.NeedsOperator.
)

// Main runs the command line of this process and gives its exit code.
func Main() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second signal ends the process at once.
	go func() { <-ctx.Done(); stop() }()
	return Run(ctx, FromOS())
}

// Run runs one command line.
func Run(ctx context.Context, e *Env) int {
	root := newRoot(e)
	root.SetArgs(e.Args)
	root.SetIn(e.In)
	root.SetOut(e.Out)
	root.SetErr(e.Err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	var quiet quietExit
	if errors.As(err, &quiet) {
		return int(quiet)
	}
	if interrupted(ctx, err) {
		return exitInterrupted
	}
	printError(e, err)
	return exitCode(err)
}

// quietExit ends a command that has said everything already.
type quietExit int

// Error is for the type alone; it is never printed.
func (q quietExit) Error() string { return fmt.Sprintf("exit code %d", int(q)) }

// staysDown is why a process ended that is not to be started again by itself.
type staysDown struct{ err error }

// Error is the reason.
func (s staysDown) Error() string { return s.err.Error() }

// Unwrap gives the cause.
func (s staysDown) Unwrap() error { return s.err }

// usageError is a mistake in the command line itself.
type usageError struct{ err error }

// Error is the mistake.
func (u usageError) Error() string { return u.err.Error() }

// Unwrap gives the cause.
func (u usageError) Unwrap() error { return u.err }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func exitCode(err error) int {
	var usage usageError
	var stays staysDown
	switch {
	case errors.As(err, &stays):
		return installer.NeedsOperator
	case errors.As(err, &usage), errors.Is(err, config.ErrInvalid):
		return exitUsage
	case errors.Is(err, dcos.ErrNotFound):
		return exitNotFound
	case errors.Is(err, dcos.ErrDenied), errors.Is(err, dcos.ErrUnauthenticated):
		return exitDenied
	case errors.Is(err, dcos.ErrConflict):
		return exitConflict
	case errors.Is(err, context.DeadlineExceeded):
		return exitTimeout
	case errors.Is(err, dcos.ErrUnavailable):
		return exitUnreachable
	}
	return exitFailed
}

func newRoot(e *Env) *cobra.Command {
	root := &cobra.Command{
		Use:   "dcos",
		Short: "The datacenter operating system in one binary",
		Long: "dcos makes machines behave like one computer.\n\n" +
			"On a laptop:    dcos dev\n" +
			"On a machine:   dcos install --role both\n" +
			"A service:      dcos package install redis\n" +
			"Why not?        dcos why /my-app",
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
		Args:              knownCommand,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.SuggestionsMinimumDistance = 2
	root.AddGroup(
		&cobra.Group{ID: "use", Title: "Use the cluster:"},
		&cobra.Group{ID: "see", Title: "Look at the cluster:"},
		&cobra.Group{ID: "run", Title: "Run the cluster:"},
	)
	root.AddCommand(versionCommand(e), configCommand(e), helloCommand(e))
	root.AddCommand(operatorCommands(e)...)
	root.AddCommand(serveCommands(e)...)
	return root
}

// knownCommand refuses words that name no command below a group, and says what
// was probably meant.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())
	if like := cmd.SuggestionsFor(args[0]); len(like) > 0 {
		return usageError{told{what: err.Error(), next: cmd.CommandPath() + " " + strings.Join(like, "   or   "+cmd.CommandPath()+" "), err: err}}
	}
	return usageError{err}
}

// groupOf is a command that only holds others.
func groupOf(use, short, id string, below ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short, GroupID: id, Args: knownCommand, SuggestionsMinimumDistance: 2,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(below...)
	return c
}

// exactly takes so many arguments.
func exactly(n int) cobra.PositionalArgs { return between(n, n) }

// between takes from least to most arguments; most -1 is any number.
func between(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || most >= 0 && len(args) > most {
			return usagef("got %d arguments, expected: %s", len(args), cmd.UseLine())
		}
		if slices.Contains(args, "") {
			return usagef("got an empty argument, expected: %s", cmd.UseLine())
		}
		return nil
	}
}
