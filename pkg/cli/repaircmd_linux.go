package cli

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dcos-go/dcos/pkg/config"
	"github.com/dcos-go/dcos/pkg/node"
)

// stoppedCommand is a command on the data directory of a master that does not
// run.
func stoppedCommand(e *Env, use, short, long, example string, args cobra.PositionalArgs, run func(ctx context.Context, s *node.Stopped, args []string) error) *cobra.Command {
	return stoppedWith(e, use, short, long, example, args, func(*config.Config, []string) {}, run)
}

func stoppedWith(e *Env, use, short, long, example string, args cobra.PositionalArgs, set func(*config.Config, []string), run func(ctx context.Context, s *node.Stopped, args []string) error) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Long: short + ".\n\n" + long, Example: example, Args: args}
	file := configFlag(c)
	config.BindFlags(c.Flags(), "master")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		conf, err := loadConfig(e, cmd, "master", *file)
		if err != nil {
			return err
		}
		set(&conf, args)
		s, err := node.OpenStopped(conf, slog.New(slog.NewTextHandler(e.Err, &slog.HandlerOptions{Level: slog.LevelWarn})))
		if err != nil {
			return err
		}
		defer s.Close()
		return run(cmd.Context(), s, args)
	}
	return c
}

func yesFlag(c *cobra.Command) *bool { return c.Flags().Bool("yes", false, "do not ask") }

func masterJoin(e *Env) *cobra.Command {
	return stoppedWith(e, "join ADDRESS...", "Make the data directory that of a new master of a cluster",
		"Get a certificate and the secrets of the cluster with a token for masters, without starting. The master is\n"+
			"a learner at once, and votes after `systemctl start dcos` (or `dcos master`) once it has caught up.\n"+
			"`dcos install --role master --join ADDRESS` does this and all else that a new machine needs.",
		"  dcos token create master\n  dcos master join 10.0.0.1 --token-file token", between(1, -1),
		func(c *config.Config, args []string) { c.Join = args },
		func(ctx context.Context, s *node.Stopped, _ []string) error {
			id, err := s.Join(ctx)
			if err == nil {
				fmt.Fprintf(e.Err, "this machine is master %016x, a learner until it is started: systemctl start dcos\n", uint64(id))
			}
			return err
		})
}

func masterWipe(e *Env) *cobra.Command {
	var yes, alone *bool
	c := stoppedCommand(e, "wipe", "Forget the log and the state of this machine's master, so that it joins the others anew",
		"For a master whose files are damaged, or are an old copy, while a majority of the others lives: at its next\n"+
			"start it joins them under a new id, in place of the old one, and gets the state from them. It keeps the\n"+
			"cluster's secrets and needs no token.",
		"  systemctl stop dcos\n  dcos master wipe --yes\n  systemctl start dcos", noArgs,
		func(_ context.Context, s *node.Stopped, _ []string) error {
			if !*yes {
				if err := confirm(e, "This removes this machine's copy of the cluster's state.", "wipe"); err != nil {
					return err
				}
			}
			if err := s.Wipe(*alone); err != nil {
				return err
			}
			fmt.Fprintln(e.Err, "wiped; it joins the others again at its next start: systemctl start dcos")
			return nil
		})
	yes = yesFlag(c)
	alone = c.Flags().Bool("alone", false, "even when no other master is known, so that nothing is left of the cluster")
	return c
}

func masterRecover(e *Env) *cobra.Command {
	var yes, dry *bool
	c := stoppedCommand(e, "recover", "Make this machine's master the only one of its cluster, after a majority was lost for good",
		"Everything in this master's log counts as decided; what only the lost masters had is gone. Of the masters\n"+
			"that are left, recover the one with the highest index. Every other one must be wiped (`dcos master wipe`)\n"+
			"before it starts again.",
		"  systemctl stop dcos\n  dcos master recover --yes\n  systemctl start dcos", noArgs,
		func(_ context.Context, s *node.Stopped, _ []string) error {
			have, err := s.Examine()
			if err != nil {
				return err
			}
			info, _ := have.State.Cluster()
			fmt.Fprintf(e.Err, "master %016x of cluster %s (%s): its log ends at index %d, term %d\n",
				uint64(have.Identity.ID), have.Identity.Cluster, info.Name, have.Last, have.Term)
			var lost []string
			for m := range have.State.Masters() {
				if m.ID != have.Identity.ID {
					lost = append(lost, fmt.Sprintf("%016x (%s, %s)", uint64(m.ID), m.Name, m.API))
				}
			}
			fmt.Fprintf(e.Err, "it becomes the only master; removed: %s\n", strings.Join(lost, ", "))
			if *dry {
				return nil
			}
			if !*yes {
				if err := confirm(e, "What only the removed masters had is lost, and they must never start with their old data again.", "recover"); err != nil {
					return err
				}
			}
			index, err := s.Recover()
			if err == nil {
				fmt.Fprintf(e.Err, "the cluster goes on from index %d with this master alone: systemctl start dcos\n", index)
			}
			return err
		})
	yes = yesFlag(c)
	dry = c.Flags().Bool("dry-run", false, "only say what this master holds and what would be done")
	return c
}

// secretsLimit bounds the file of secrets.
const secretsLimit = 1 << 20

func snapshotRestore(e *Env) *cobra.Command {
	var secrets *string
	c := stoppedCommand(e, "restore FILE", "Make the first master of a cluster that goes on from a snapshot",
		"The data directory must hold no master. The cluster stays the same one: its agents connect again, with a\n"+
			"copy of secrets.pem of one of its masters. Masters that the snapshot knows are forgotten; further ones\n"+
			"join like new ones.",
		"  dcos master snapshot restore backup.snap --secrets secrets.pem", exactly(1),
		func(ctx context.Context, s *node.Stopped, args []string) error {
			if *secrets == "" {
				return usagef("give the cluster's secrets with --secrets: a copy of DATA_DIR/master/secrets.pem of one of its masters")
			}
			keys, err := os.ReadFile(*secrets)
			if err != nil {
				return fileError(err)
			}
			if len(keys) > secretsLimit {
				return usagef("%s is no file of secrets", *secrets)
			}
			b, _, _, err := openSnapshot(args[0])
			if err != nil {
				return err
			}
			index, err := s.Restore(ctx, b, keys)
			if err == nil {
				fmt.Fprintf(e.Err, "restored; the cluster goes on from index %d: systemctl start dcos\n", index)
			}
			return err
		})
	secrets = c.Flags().String("secrets", "", "copy of secrets.pem of one of the cluster's masters")
	return c
}
