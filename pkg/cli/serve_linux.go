package cli

import (
	"context"
	"fmt"
	"log/slog"
	"os"

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
	return processCommand(e, "master", "Run a master in the foreground",
		"The first master of a cluster starts with --bootstrap; others with --join ADDRESS --token TOKEN.\nLater starts need neither.",
		node.Master)
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
		return run(cmd.Context(), conf, log)
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

// runDev runs the cluster and, once it is up, tells the user how to use it.
func runDev(ctx context.Context, e *Env, conf config.Config) (err error) {
	if conf.DataDir == config.Defaults().DataDir {
		// Dev is ephemeral unless told otherwise.
		if conf.DataDir, err = os.MkdirTemp("", "dcos-dev-"); err != nil {
			return fmt.Errorf("make a temporary data directory: %w", err)
		}
		dir := conf.DataDir
		defer func() {
			if err == nil || dcosDirIsSafe(dir) {
				_ = os.RemoveAll(dir) // what is left is in the system's temporary directory
			}
		}()
		conf.LogLevel = quieter(conf.LogLevel)
		ctx = node.WithEphemeral(ctx)
	}
	log, err := logger(e, conf)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	up := make(chan node.Ready, 1)
	done := make(chan error, 1)
	go func() { done <- node.Dev(ctx, conf, log, func(r node.Ready) { up <- r }) }() // ends with ctx
	select {
	case err := <-done:
		return err
	case r := <-up:
		detach, err := welcome(ctx, e, conf, r)
		if err != nil {
			stop()
			<-done
			detach()
			return err
		}
		err = <-done
		detach()
		return err
	}
}

// quieter keeps the log of an interactive cluster to what a person must see.
func quieter(level string) string {
	if level == "info" {
		return "warn"
	}
	return level
}

// dcosDirIsSafe says that nothing is mounted below dir any more, so that
// removing it reaches nothing else.
func dcosDirIsSafe(dir string) bool { return node.NothingMounted(dir) == nil }
