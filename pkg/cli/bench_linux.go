package cli

import (
	"github.com/spf13/cobra"

	"github.com/dcos-go/dcos/pkg/bench"
)

func benchCommand(e *Env) *cobra.Command {
	var o bench.Options
	c := &cobra.Command{
		Use: "bench", Short: "Measure this binary against its budgets", GroupID: "run", Hidden: true, Args: noArgs,
		Long: "Measure this binary against its budgets. A missed budget is printed and is no error;\n" +
			"the exit code is 1 when a benchmark could not run.",
	}
	c.Flags().BoolVar(&o.JSON, "json", false, "print an array of rows {name, value, unit, budget, ok}")
	c.Flags().StringVar(&o.Run, "run", "", "only the rows whose name this regular expression matches")
	c.Flags().IntVar(&o.Rounds, "rounds", 0, "runs of each benchmark (default 5)")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		o.Progress = e.Err
		return bench.Main(cmd.Context(), o, e.Out)
	}
	return c
}
