package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/dcos-go/dcos/pkg/client"
)

// operatorCommands are the commands that ask the API of a cluster; they work on
// every system.
func operatorCommands(e *Env) []*cobra.Command {
	return []*cobra.Command{
		marathonCommand(e), packageCommand(e), taskCommand(e),
		past(whyCommand(e)), nodeCommand(e), eventsCommand(e),
		clusterCommand(e), authCommand(e), tokenCommand(e), userCommand(e), upgradeCommand(e), gossipCommand(e),
	}
}

// asks is the body of a command that talks to the cluster.
type asks func(ctx context.Context, api *client.Client, args []string) error

// ask makes the connection that a command's body needs.
func ask(e *Env, body asks) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		api, err := connect(e)
		if err != nil {
			return err
		}
		defer api.Close()
		if at := cmd.Flags().Lookup(atName); at != nil && at.Value.String() != "" {
			api = api.At(at.Value.String())
		}
		return body(cmd.Context(), api, args)
	}
}

// atName is the flag for reading the past.
const atName = "at"

// past gives a command that only looks the flag with which it looks at an
// earlier time.
func past(c *cobra.Command) *cobra.Command {
	c.Flags().String(atName, "", "show what was at an earlier time: 2026-01-31T12:00:00Z, or -10m, -36h, -7d")
	return c
}
