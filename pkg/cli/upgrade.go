package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dcos-go/dcos/pkg/client"
)

func upgradeCommand(e *Env) *cobra.Command {
	finish := &cobra.Command{
		Use: "finish", Short: "Use what the new version brings, once every master runs it; there is no way back after", Args: noArgs,
		Long: "Raise the cluster's feature level to the one of the version that the masters run. Until then every\n" +
			"master can go back to the version before; afterwards the older version cannot read what is written.",
		Example: "  dcos master list\n  dcos upgrade finish",
	}
	asJSON := jsonFlag(finish)
	dry := finish.Flags().Bool("dry-run", false, "only say what stands in the way")
	finish.RunE = ask(e, func(ctx context.Context, api *client.Client, _ []string) error {
		out, err := api.FinishUpgrade(ctx, *dry)
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(e, out)
		}
		text := fmt.Sprintf("feature level is %d, was %d", out.Level, out.Before)
		switch {
		case out.Level == out.Before:
			text = fmt.Sprintf("feature level is %d already", out.Level)
		case out.DryRun:
			text = fmt.Sprintf("feature level is %d, would be %d", out.Before, out.Level)
		}
		_, err = fmt.Fprintln(e.Out, text)
		return err
	})
	return groupOf("upgrade", "The version of the cluster", "use", finish)
}
