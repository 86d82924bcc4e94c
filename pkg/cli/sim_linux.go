package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/dcos-go/dcos/pkg/sim"
)

// simCommand hands its arguments to the simulator, which starts this program
// again for every batch of seeds.
func simCommand(e *Env) *cobra.Command {
	return &cobra.Command{
		Use: "sim", Short: "Run the deterministic simulator", GroupID: "run", Hidden: true, DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			self, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find this program to start it again: %w", err)
			}
			err = sim.Command(cmd.Context(), []string{self, "sim"}, args, e.Out)
			if errors.Is(err, sim.ErrFound) {
				return quietExit(exitFailed) // it has said what it found
			}
			return err
		},
	}
}
