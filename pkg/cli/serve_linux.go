package cli

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/dcos-go/dcos/pkg/config"
	"github.com/dcos-go/dcos/pkg/node"
)

// serveCommands are the modes of the binary that need Linux.
func serveCommands(e *Env) []*cobra.Command {
	return []*cobra.Command{
		masterCommand(e), agentCommand(e), devCommand(e), installCommand(e), uninstallCommand(e),
		simCommand(e), benchCommand(e),
	}
}

func masterCommand(e *Env) *cobra.Command {
	c := processCommand(e, "master", "Run a master in the foreground",
		"The first master of a cluster starts with --bootstrap; others with --join ADDRESS --token TOKEN.\nLater starts need neither.",
		node.Master)
	c.AddCommand(masterCommands(e)...)
	c.AddCommand(masterJoin(e), masterWipe(e), masterRecover(e))
	for _, below := range c.Commands() {
		if below.Name() == "snapshot" {
			below.AddCommand(snapshotRestore(e))
		}
	}
	return c
}

func agentCommand(e *Env) *cobra.Command {
	return processCommand(e, "agent", "Run an agent in the foreground",
		"The first start needs --join ADDRESS and a token (--token-file or DCOS_TOKEN). Later starts need neither.",
		node.Agent)
}

func processCommand(e *Env, role, short, long string, run func(context.Context, config.Config, *slog.Logger) error) *cobra.Command {
	c := &cobra.Command{Use: role, Short: short, Long: short + ".\n\n" + long, GroupID: "run", Args: noArgs}
	file := configFlag(c)
	config.BindFlags(c.Flags(), role)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		conf, err := loadConfig(e, cmd, role, *file)
		if err != nil {
			return err
		}
		log, err := logger(e, conf)
		if err != nil {
			return err
		}
		err = run(cmd.Context(), conf, log)
		if node.NeedsOperator(err) {
			return staysDown{err}
		}
		return err
	}
	return c
}

func logger(e *Env, c config.Config) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return nil, fmt.Errorf("%w: log_level: %w", config.ErrInvalid, err)
	}
	o := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(e.Err, o)), nil
	}
	return slog.New(slog.NewTextHandler(e.Err, o)), nil
}

func devCommand(e *Env) *cobra.Command {
	c := &cobra.Command{
		Use: "dev", Short: "Run a whole cluster on this machine, on loopback only", GroupID: "run", Args: noArgs,
		Long: "Run a whole cluster on this machine: master and agent in one process, on loopback only,\n" +
			"ready in seconds. Everything is gone when it ends, unless --data-dir keeps it.\n\n" +
			"  dcos dev                      an empty cluster\n" +
			"  dcos dev --with hello-world   with a package installed",
	}
	file := configFlag(c)
	config.BindFlags(c.Flags(), "dev")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		conf, err := loadConfig(e, cmd, "dev", *file)
		if err != nil {
			return err
		}
		return runDev(cmd.Context(), e, conf)
	}
	return c
}
