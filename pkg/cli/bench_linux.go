package cli

import (
	"github.com/spf13/cobra"

	"github.com/dcos-go/dcos/pkg/bench"
)

// benchCommand measures this binary on this machine.
func benchCommand(e *Env) *cobra.Command {
	c := &cobra.Command{Use: "bench", Short: "Measure this binary against its budgets", GroupID: "run", Hidden: true, Args: noArgs}
	o := bench.Options{Progress: e.Err}
	c.Flags().BoolVar(&o.JSON, "json", false, "print rows of JSON")
	c.Flags().StringVar(&o.Run, "run", "", "only rows whose name matches this regular expression")
	c.Flags().IntVar(&o.Rounds, "rounds", 0, "runs of each benchmark; 0 is the suite's choice")
	c.RunE = func(cmd *cobra.Command, _ []string) error { return bench.Main(cmd.Context(), o, e.Out) }
	return c
}
