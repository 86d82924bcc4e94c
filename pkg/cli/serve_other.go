//go:build !linux

package cli

import "github.com/spf13/cobra"

// serveCommands: masters, agents and dev need Linux; elsewhere this binary is
// the operator's command line alone.
func serveCommands(e *Env) []*cobra.Command {
	return []*cobra.Command{groupOf("master", "Masters of the cluster", "run", masterCommands(e)...)}
}
