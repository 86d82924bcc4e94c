package cli

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/config"
)

func versionCommand(e *Env) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "version", Short: "Print the version of this binary", Args: noArgs, GroupID: "see",
		RunE: func(*cobra.Command, []string) error {
			v := client.Version{Version: config.Version, Commit: config.Commit, Date: config.Date, Level: config.FeatureLevel}
			if asJSON {
				return printJSON(e, v)
			}
			_, err := fmt.Fprintf(e.Out, "dcos %s (commit %s, %s, feature level %d)\n", v.Version, v.Commit, v.Date, v.Level)
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func printJSON(e *Env, v any) error {
	enc := json.NewEncoder(e.Out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s takes no arguments, got %q", cmd.CommandPath(), args)
	}
	return nil
}

// printJSONLine prints one value in one line, for streams.
func printJSONLine(e *Env, v any) error {
	enc := json.NewEncoder(e.Out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
