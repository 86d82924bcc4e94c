package cli

import (
	"errors"

	"github.com/spf13/cobra"
)

func simCommand(*Env) *cobra.Command {
	return &cobra.Command{Use: "sim", Short: "Run the deterministic simulator", GroupID: "run", Hidden: true, DisableFlagParsing: true,
		RunE: func(*cobra.Command, []string) error { return errors.New("the simulator is not built into this binary") }}
}
