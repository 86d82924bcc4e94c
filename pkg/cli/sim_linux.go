package cli

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/dcos-go/dcos/pkg/sim"
)

// simCommand is the simulator, which reads its own flags: `dcos sim --help`
// shows them.
func simCommand(e *Env) *cobra.Command {
	return &cobra.Command{
		Use: "sim", Short: "Run the deterministic simulator", GroupID: "run", Hidden: true, DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			self, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find this binary: %w", err)
			}
			return sim.Command(cmd.Context(), []string{self, "sim"}, args, e.Out)
		},
	}
}
