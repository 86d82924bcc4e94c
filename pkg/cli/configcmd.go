package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/dcos-go/dcos/pkg/config"
)

// defaultConfigFile is read when it exists and --config is not given.
const defaultConfigFile = "/etc/dcos/config.yaml"

func configCommand(e *Env) *cobra.Command {
	c := groupOf("config", "Explain and show the configuration", "run")
	c.AddCommand(&cobra.Command{
		Use: "reference", Short: "Explain every key", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := io.WriteString(e.Out, config.Reference())
			return err
		},
	})
	show := &cobra.Command{
		Use: "show ROLE", Short: "Show the values in effect for master, agent or dev; secrets are hidden",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || (args[0] != "master" && args[0] != "agent" && args[0] != "dev") {
				return usagef("%s takes one of master, agent, dev", cmd.CommandPath())
			}
			return nil
		},
	}
	file := configFlag(show)
	show.RunE = func(cmd *cobra.Command, args []string) error {
		conf, err := loadConfig(e, cmd, args[0], *file)
		if err != nil {
			return err
		}
		return printJSON(e, conf.Show())
	}
	c.AddCommand(show)
	return c
}

func configFlag(c *cobra.Command) *string {
	return c.Flags().String("config", "", "configuration file (YAML); "+defaultConfigFile+" when it exists")
}

// loadConfig puts a role's configuration together from file, environment and
// the command's flags.
func loadConfig(e *Env, cmd *cobra.Command, role, file string) (config.Config, error) {
	if file == "" {
		file = e.Get("DCOS_CONFIG")
	}
	named := file != ""
	if !named && role != "dev" {
		file = defaultConfigFile
	}
	var content []byte
	if file != "" {
		b, err := os.ReadFile(file)
		switch {
		case err == nil:
			content = b
		case named || !errors.Is(err, fs.ErrNotExist):
			return config.Config{}, usageError{fmt.Errorf("read configuration: %w", err)}
		}
	}
	c, err := config.Load(role, content, e.Environ, cmd.Flags())
	if config.InFile(err) {
		err = fmt.Errorf("%s: %w", file, err)
	}
	return c, err
}
