package cli

import (
	"errors"

	"github.com/spf13/cobra"
)

func benchCommand(*Env) *cobra.Command {
	return &cobra.Command{Use: "bench", Short: "Measure against the budgets", GroupID: "run", Hidden: true, DisableFlagParsing: true,
		RunE: func(*cobra.Command, []string) error {
			return errors.New("the benchmarks are not built into this binary")
		}}
}
