package cli

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dcos-go/dcos/pkg/client"
)

func taskCommand(e *Env) *cobra.Command {
	return groupOf("task", "Tasks and what they write", "see", past(taskList(e)), taskLog(e), taskKill(e))
}

// ended are the states that a task does not leave.
var ended = map[string]bool{"finished": true, "failed": true, "killed": true, "error": true, "lost": true}

// matches says whether a task is meant by what a person typed: its id, an app
// or a folder of apps, a part of the id, or a pattern.
func matches(k client.Task, want string) bool {
	if want == "" || k.ID == want || k.App == appName(want) || strings.HasPrefix(k.App, appName(want)+"/") {
		return true
	}
	if strings.ContainsAny(want, "*?[") {
		for _, s := range []string{k.ID, k.App, strings.TrimPrefix(k.App, "/")} {
			if ok, err := path.Match(want, s); err == nil && ok {
				return true
			}
		}
		return false
	}
	return strings.Contains(k.ID, want) || strings.HasPrefix(k.App, appName(want))
}

// findTasks gives the tasks that a word means. An exact id or app keeps the
// others out, so that /db does not mean /db2 as well.
func findTasks(ctx context.Context, api *client.Client, want string) ([]client.Task, error) {
	all, err := client.All(ctx, api.Tasks, client.Query{})
	if err != nil {
		return nil, err
	}
	exact := slices.ContainsFunc(all, func(k client.Task) bool { return k.ID == want || k.App == appName(want) })
	return slices.DeleteFunc(all, func(k client.Task) bool {
		if want != "" && exact {
			return k.ID != want && k.App != appName(want)
		}
		return !matches(k, want)
	}), nil
}

func taskList(e *Env) *cobra.Command {
	c := &cobra.Command{
		Use: "list [FILTER]", Short: "List tasks: all, of an app, or those whose id contains the filter", Args: between(0, 1),
		ValidArgsFunction: complete(e, taskNames),
	}
	asJSON := jsonFlag(c)
	quiet := c.Flags().BoolP("quiet", "q", false, "print ids only")
	all := c.Flags().Bool("all", false, "ended tasks as well")
	completed := c.Flags().Bool("completed", false, "ended tasks only")
	agent := c.Flags().String("agent-id", "", "only tasks on this node")
	c.RunE = ask(e, func(ctx context.Context, api *client.Client, args []string) error {
		want := ""
		if len(args) > 0 {
			want = args[0]
		}
		found, err := findTasks(ctx, api, want)
		if err != nil {
			return err
		}
		found = slices.DeleteFunc(found, func(k client.Task) bool {
			return *agent != "" && k.Node != *agent || !*all && ended[k.State] != *completed
		})
		t := newTable("NAME", "HOST", "STATE", "ID", "PORTS", "AGENT ID", "MESSAGE")
		for _, k := range found {
			if *quiet {
				fmt.Fprintln(e.Out, k.ID)
			}
			t.add(strings.TrimPrefix(k.App, "/"), cmp.Or(k.Hostname, k.IP), k.State, k.ID, portsOf(k), k.Node, messageOf(k))
		}
		if *quiet {
			return nil
		}
		return show(e, *asJSON, found, t, "no tasks match; ended ones are shown with --all")
	})
	return c
}

func portsOf(k client.Task) string {
	ports := make([]string, len(k.Ports))
	for i, p := range k.Ports {
		ports[i] = strconv.Itoa(p)
	}
	return strings.Join(ports, ",")
}

func messageOf(k client.Task) string {
	switch x := k.Exit; {
	case k.Message != "":
		return k.Message
	case x == nil || x.Unknown:
		return ""
	case x.OOM:
		return "out of memory"
	case x.Signal != 0:
		return fmt.Sprintf("signal %d", x.Signal)
	default:
		return fmt.Sprintf("exit code %d", x.Code)
	}
}

func taskKill(e *Env) *cobra.Command {
	c := &cobra.Command{Use: "kill TASK", Short: "End one task; its app replaces it", Args: exactly(1), ValidArgsFunction: complete(e, taskNames)}
	dry := dryFlag(c)
	c.RunE = ask(e, func(ctx context.Context, api *client.Client, args []string) error {
		found, err := liveTasks(ctx, api, args[0])
		if err != nil {
			return err
		}
		if len(found) != 1 {
			return usagef("%q means %d tasks; give the id of one, as `dcos task list` shows it", args[0], len(found))
		}
		if *dry {
			return try(e, api, func(c *client.Client) error { _, err := c.KillTask(ctx, found[0].ID); return err })
		}
		k, err := api.KillTask(ctx, found[0].ID)
		if err != nil {
			return err
		}
		fmt.Fprintln(e.Out, k.ID)
		return nil
	})
	return c
}

// liveTasks are the tasks that a word means and that have not ended.
func liveTasks(ctx context.Context, api *client.Client, want string) ([]client.Task, error) {
	found, err := findTasks(ctx, api, want)
	if err != nil {
		return nil, err
	}
	found = slices.DeleteFunc(found, func(k client.Task) bool { return ended[k.State] })
	if len(found) == 0 {
		return nil, notFound(fmt.Sprintf("no live task matches %q", want), "dcos task list --all")
	}
	return found, nil
}
