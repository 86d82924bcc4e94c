package cli

import "github.com/spf13/cobra"

// operatorCommands are the commands that ask the API of a cluster; they work on
// every system.
func operatorCommands(e *Env) []*cobra.Command {
	return []*cobra.Command{}
}
