package cli

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/dcos-go/dcos/installer"
	"github.com/dcos-go/dcos/pkg/config"
	"github.com/dcos-go/dcos/pkg/node"
)

func installCommand(e *Env) *cobra.Command {
	var o installer.Options
	var set []string
	var tokenFile string
	c := &cobra.Command{
		Use: "install", Short: "Install dcos on this machine and start it", GroupID: "run", Args: noArgs,
		Long: "Install dcos on this machine, which needs systemd and root, and start it.\n" +
			"A second run changes nothing; `dcos uninstall` takes everything away again.\n\n" +
			"  dcos install --role master                                     the first machine of a cluster\n" +
			"  dcos install --role master --join 10.0.0.1 --token TOKEN       a further master\n" +
			"  dcos install --role agent --join 10.0.0.1 --token TOKEN        a machine that runs tasks\n" +
			"  dcos install --role both                                       one machine that is all of it",
	}
	c.Flags().StringVar(&o.Role, "role", "", "master, agent or both")
	c.Flags().StringSliceVar(&o.Join, "join", nil, "addresses of masters to join; without it a master makes a new cluster")
	c.Flags().StringVar(&o.Token, "token", "", "join token; DCOS_TOKEN and --token-file keep it out of the list of processes")
	c.Flags().StringVar(&tokenFile, "token-file", "", "file with the join token; - is standard input")
	c.Flags().StringArrayVar(&set, "set", nil, "configuration key as name=value, e.g. --set api_port=443; repeatable")
	c.Flags().DurationVar(&o.Wait, "wait", 90*time.Second, "how long to wait until the machine is healthy")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if !slices.Contains([]string{"master", "agent", "both"}, o.Role) {
			return usagef("give --role master, --role agent or --role both")
		}
		if err := readToken(e, &o, tokenFile); err != nil {
			return err
		}
		var err error
		if o.Set, err = parseSet(set); err != nil {
			return err
		}
		if o.Binary, err = os.Executable(); err != nil {
			return fmt.Errorf("find this binary: %w", err)
		}
		r := &installer.Report{Out: e.Err}
		p := installer.DefaultPaths()
		if o.Token != "" {
			if err := node.CheckToken(p.DataDir, o.Token); err != nil {
				return err
			}
		}
		if err := installer.Install(cmd.Context(), o, p, host(p), r); err != nil {
			return err
		}
		if r.Changed == 0 { // then no new tokens either
			fmt.Fprintln(e.Err, "nothing to do: the machine is installed as asked; to add machines: dcos token create agent (or master)")
			return nil
		}
		if o.Role == installer.RoleAgent {
			return nil
		}
		return printJoinLines(cmd.Context(), e, p)
	}
	return c
}

func host(p installer.Paths) installer.Machine {
	built, err := time.Parse(time.RFC3339, config.Date)
	if err != nil {
		built = time.Time{} // a build without a date: every clock will do
	}
	return installer.Host{DataDir: p.DataDir, Built: built}
}

func readToken(e *Env, o *installer.Options, file string) error {
	if o.Token == "" {
		o.Token = e.Get("DCOS_TOKEN")
	}
	if file == "" {
		return nil
	}
	b, err := readFileOrStdin(e, file)
	if err != nil {
		return err
	}
	o.Token = strings.TrimSpace(string(b))
	return nil
}

// parseSet reads name=value pairs; values are YAML, so that numbers and lists
// come as what they are.
func parseSet(pairs []string) (map[string]any, error) {
	out := map[string]any{}
	for _, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return nil, usagef("--set %q: expected name=value", pair)
		}
		var v any
		if err := yaml.Unmarshal([]byte(value), &v); err != nil {
			return nil, usagef("--set %s: %v", name, err)
		}
		out[name] = v
	}
	return out, nil
}

func uninstallCommand(e *Env) *cobra.Command {
	var keepBinary, yes bool
	c := &cobra.Command{
		Use: "uninstall", Short: "End dcos and all its tasks on this machine and remove every trace", GroupID: "run", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !yes {
				if err := confirm(e, "This ends all tasks of this machine and removes dcos with all its data.", "uninstall"); err != nil {
					return err
				}
			}
			p := installer.DefaultPaths()
			r := &installer.Report{Out: e.Err}
			return installer.Uninstall(cmd.Context(), p, host(p), node.Purge, keepBinary, r)
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.Flags().BoolVar(&keepBinary, "keep-binary", false, "leave the binary itself")
	return c
}
