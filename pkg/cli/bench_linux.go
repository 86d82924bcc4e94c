package cli

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dcos-go/dcos/pkg/bench"
	"github.com/dcos-go/dcos/pkg/dcos"
)

// benchCommand measures this binary on this machine.
func benchCommand(e *Env) *cobra.Command {
	c := &cobra.Command{Use: "bench", Short: "Measure this binary against its budgets", GroupID: "run", Hidden: true, Args: noArgs}
	o := bench.Options{Progress: e.Err}
	c.Flags().BoolVar(&o.JSON, "json", false, "print rows of JSON")
	c.Flags().StringVar(&o.Run, "rows", "", "only rows whose name matches this regular expression")
	c.Flags().StringVar(&o.Run, "run", "", "the same as --rows")
	_ = c.Flags().MarkHidden("run") // the flag is there
	c.Flags().StringVar(&o.Binary, "binary", "", "measure this binary instead of this program")
	c.Flags().StringVar(&o.Against, "against", "", "measure this other binary too, and print both side by side")
	c.Flags().DurationVar(&o.FsyncDelay, "fsync-delay", 0, "make each fsync of the rows within this process take so much longer")
	c.Flags().IntVar(&o.Rounds, "rounds", 0, "runs of each benchmark; 0 is the suite's choice")
	c.AddCommand(benchAgents(e), benchCompare(e), benchOpen(e))
	c.RunE = func(cmd *cobra.Command, _ []string) error { return bench.Main(cmd.Context(), o, e.Out) }
	return c
}

// benchAgents is many simulated agents that serve a cluster until Ctrl-C.
func benchAgents(e *Env) *cobra.Command {
	c := &cobra.Command{
		Use: "agents", Short: "Join a cluster with many simulated agents", Args: noArgs,
		Long: "Join a cluster with many simulated agents.\n\nEach has a certificate and a session of its own; its tasks are remembered and run nothing.\nThe join token (dcos token create agent) comes from --token-file or DCOS_TOKEN.",
	}
	var o bench.FleetOptions
	var file string
	c.Flags().IntVar(&o.Count, "count", 5000, "how many")
	c.Flags().StringSliceVar(&o.Masters, "master", nil, "a master's peer port, HOST:PORT; repeat for others")
	c.Flags().StringVar(&file, "token-file", "", "file that holds the join token")
	c.Flags().IntVar(&o.Zones, "zones", 3, "zones that they are spread over")
	c.Flags().StringVar(&o.Status, "status", "", "file in which they say, as JSON, what they do")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		o.Token = e.Get("DCOS_TOKEN")
		if file != "" {
			b, err := os.ReadFile(file)
			if err != nil {
				return fmt.Errorf("%w: read the join token: %w", dcos.ErrInvalid, err)
			}
			o.Token = strings.TrimSpace(string(b))
		}
		return bench.Fleet(cmd.Context(), o, e.Out)
	}
	return c
}

// benchCompare prints two runs side by side.
func benchCompare(e *Env) *cobra.Command {
	c := &cobra.Command{Use: "compare OLD.json NEW.json", Short: "Compare two runs of `dcos bench --json`", Args: cobra.ExactArgs(2)}
	asJSON := c.Flags().Bool("json", false, "print rows of JSON")
	c.RunE = func(_ *cobra.Command, args []string) error {
		return bench.Compare(args[0], args[1], *asJSON, e.Out)
	}
	return c
}

// benchOpen is for the benchmark itself: a process that opens a master's log,
// says so, and waits to be weighed.
func benchOpen(e *Env) *cobra.Command {
	c := &cobra.Command{Use: "open DIR", Hidden: true, Args: cobra.ExactArgs(1)}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		return bench.OpenLog(cmd.Context(), args[0], e.In, e.Out)
	}
	return c
}
