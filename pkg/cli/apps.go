package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
)

func marathonCommand(e *Env) *cobra.Command {
	app := groupOf("app", "Apps: what shall run", "",
		appAdd(e), past(appList(e)), past(appShow(e)), appUpdate(e), appStart(e), appStop(e), appRestart(e), appRemove(e), appKill(e),
		groupOf("version", "Versions of an app", "", past(appVersions(e))))
	return groupOf("marathon", "Apps and their deployments", "use", app,
		groupOf("deployment", "Changes that are being carried out", "", past(deploymentList(e)), deploymentCancel(e, "stop", true), deploymentCancel(e, "rollback", false)),
		groupOf("task", "Tasks as Marathon shows them", "", past(marathonTasks(e))))
}

// appName is an app's id as the API has it: with a slash in front.
func appName(s string) string { return "/" + strings.Trim(s, "/") }

func appAdd(e *Env) *cobra.Command {
	c := &cobra.Command{
		Use: "add [FILE]", Short: "Add an app from a file in Marathon's JSON, or from standard input", Args: between(0, 1),
		Example: "  dcos marathon app add clock.json\n" +
			"  dcos marathon app add <<< '{\"id\": \"/clock\", \"cmd\": \"while sleep 1; do date; done\", \"cpus\": 0.1, \"mem\": 32}'",
	}
	w := waitFlags(c, false)
	dry := dryFlag(c)
	c.RunE = ask(e, func(ctx context.Context, api *client.Client, args []string) error {
		doc, err := document(e, args)
		if err != nil {
			return err
		}
		if *dry {
			return tryApp(ctx, e, api, "", doc, client.Write{})
		}
		app, err := api.CreateApp(ctx, doc)
		if err != nil {
			return err
		}
		return started(ctx, e, api, w, app.ID, deploymentOf(app))
	})
	return c
}

// started says which deployment a write has begun, and follows it.
func started(ctx context.Context, e *Env, api *client.Client, w *waiting, app, deployment string) error {
	fmt.Fprintf(e.Out, "Created deployment %s\n", deployment)
	return w.settled(ctx, e, api, appName(app))
}

// document is the JSON that a command was given; a bad one is refused here,
// with the place of the fault.
func document(e *Env, args []string) ([]byte, error) {
	name := "-"
	if len(args) > 0 {
		name = args[0]
	}
	if name == "-" && e.TTY {
		fmt.Fprintln(e.Err, "Reading JSON from standard input; end it with Ctrl-D")
	}
	b, err := readFileOrStdin(e, name)
	if err != nil {
		return nil, err
	}
	return b, checkJSON(name, b)
}

func checkJSON(name string, b []byte) error {
	if name == "-" {
		name = "standard input"
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return usagef("%s is empty, expected JSON", name)
	}
	var doc json.RawMessage
	err := json.Unmarshal(b, &doc)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		line := 1 + bytes.Count(b[:min(int(syntax.Offset), len(b))], []byte("\n"))
		return usagef("%s, line %d: %w", name, line, err)
	}
	return err
}

func dryFlag(c *cobra.Command) *bool {
	return c.Flags().Bool("dry-run", false, "say what would happen, and change nothing")
}

func tryApp(ctx context.Context, e *Env, api *client.Client, id string, doc []byte, w client.Write) error {
	if id == "" {
		var named struct{ ID string }
		if err := json.Unmarshal(doc, &named); err != nil || named.ID == "" {
			return usagef("the app has no id")
		}
		id = named.ID
	}
	out, err := api.TryApp(ctx, id, doc, w)
	if err != nil {
		return err
	}
	printDryRun(e, out)
	return nil
}

// try prints what a write would do.
func try(e *Env, api *client.Client, write func(*client.Client) error) error {
	out, err := api.Try(write)
	if err != nil {
		return err
	}
	printDryRun(e, out)
	return nil
}

func printDryRun(e *Env, out client.DryRun) {
	for _, line := range out.Would {
		fmt.Fprintln(e.Out, printable(line))
	}
}

func appList(e *Env) *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List apps", Args: noArgs}
	asJSON := jsonFlag(c)
	quiet := c.Flags().BoolP("quiet", "q", false, "print ids only")
	c.RunE = ask(e, func(ctx context.Context, api *client.Client, _ []string) error {
		apps, err := api.Apps(ctx, client.AppFilter{})
		if err != nil {
			return err
		}
		if *quiet {
			for _, a := range apps {
				fmt.Fprintln(e.Out, a.ID)
			}
			return nil
		}
		if *asJSON {
			return show(e, true, apps, nil, "")
		}
		rows, err := client.All(ctx, api.Services, client.Query{})
		if err != nil {
			return err
		}
		words := map[string]string{}
		for _, s := range rows {
			words[s.ID] = s.State
		}
		t := newTable("ID", "MEM", "CPUS", "TASKS", "STATE", "DEPLOYMENT", "CONTAINER", "CMD")
		for _, a := range apps {
			t.add(a.ID, number(a.Mem), number(a.CPUs), tasksOf(a), words[a.ID], deploymentOf(a), containerOf(a), a.Cmd)
		}
		return t.write(e, "no apps; add one with `dcos marathon app add` or `dcos package install`")
	})
	return c
}

func tasksOf(a client.App) string {
	if a.AppCounts == nil {
		return "0/" + strconv.Itoa(a.Instances)
	}
	return strconv.Itoa(a.TasksRunning) + "/" + strconv.Itoa(a.Instances)
}

func deploymentOf(a client.App) string {
	if a.Deployments == nil || len(*a.Deployments) == 0 {
		return ""
	}
	return (*a.Deployments)[0].ID
}

func containerOf(a client.App) string {
	if a.Container != nil && a.Container.Docker != nil {
		return a.Container.Docker.Image
	}
	return ""
}

func appShow(e *Env) *cobra.Command {
	c := &cobra.Command{Use: "show APP", Short: "Show an app's definition and state as JSON", Args: exactly(1), ValidArgsFunction: complete(e, appNames)}
	version := c.Flags().String("app-version", "", "a version, as `app version list` shows it; -1 is the one before the last")
	c.Flags().Bool("json", true, "print JSON")
	c.RunE = ask(e, func(ctx context.Context, api *client.Client, args []string) error {
		id := appName(args[0])
		if *version == "" {
			app, err := api.App(ctx, id)
			if err != nil {
				return err
			}
			return printJSON(e, app)
		}
		at, err := versionOf(ctx, api, id, *version)
		if err != nil {
			return err
		}
		app, err := api.AppVersion(ctx, id, at)
		if err != nil {
			return err
		}
		return printJSON(e, app)
	})
	return c
}

// versionOf reads a version; -N is N versions back.
func versionOf(ctx context.Context, api *client.Client, id, version string) (string, error) {
	back, err := strconv.Atoi(version)
	if err != nil || back > 0 {
		return version, nil
	}
	all, err := api.AppVersions(ctx, id)
	if err != nil {
		return "", err
	}
	if -back >= len(all) {
		return "", notFound(fmt.Sprintf("app %s has %d versions only", id, len(all)), "dcos marathon app version list "+id)
	}
	return all[-back], nil
}

func appVersions(e *Env) *cobra.Command {
	c := &cobra.Command{Use: "list APP", Short: "List an app's versions, newest first", Args: exactly(1), ValidArgsFunction: complete(e, appNames)}
	most := c.Flags().Int("max-count", 0, "show at most so many; 0 shows all")
	c.RunE = ask(e, func(ctx context.Context, api *client.Client, args []string) error {
		all, err := api.AppVersions(ctx, appName(args[0]))
		if err != nil {
			return err
		}
		if *most > 0 {
			all = all[:min(*most, len(all))]
		}
		return printJSON(e, all)
	})
	return c
}

func appRemove(e *Env) *cobra.Command {
	c := &cobra.Command{Use: "remove APP", Short: "Remove an app and end its tasks", Args: exactly(1), ValidArgsFunction: complete(e, appNames)}
	w := waitFlags(c, false)
	c.Flags().Bool("force", true, "override a deployment in progress")
	dry := dryFlag(c)
	c.RunE = ask(e, func(ctx context.Context, api *client.Client, args []string) error {
		id := appName(args[0])
		if *dry {
			return try(e, api, func(c *client.Client) error { _, err := c.DeleteApp(ctx, id, client.Write{Force: true}); return err })
		}
		// A removal overrides whatever is being done to the app, as with DC/OS.
		d, err := api.DeleteApp(ctx, id, client.Write{Force: true})
		if err != nil {
			return err
		}
		fmt.Fprintf(e.Out, "Created deployment %s\n", d.DeploymentID)
		return w.removed(ctx, e, api, id)
	})
	return c
}

func appKill(e *Env) *cobra.Command {
	c := &cobra.Command{Use: "kill APP", Short: "End an app's tasks; new ones take their place", Args: exactly(1), ValidArgsFunction: complete(e, appNames)}
	host := c.Flags().String("host", "", "only tasks on this host")
	dry := dryFlag(c)
	asJSON := jsonFlag(c)
	c.RunE = ask(e, func(ctx context.Context, api *client.Client, args []string) error {
		if *dry {
			return try(e, api, func(c *client.Client) error {
				_, err := c.KillAppTasks(ctx, appName(args[0]), client.Kill{Host: *host})
				return err
			})
		}
		killed, err := api.KillAppTasks(ctx, appName(args[0]), client.Kill{Host: *host})
		if err != nil {
			return err
		}
		if *asJSON {
			return show(e, true, killed, nil, "")
		}
		for _, k := range killed {
			fmt.Fprintln(e.Out, k.ID)
		}
		fmt.Fprintf(e.Err, "%d tasks were told to end\n", len(killed))
		return nil
	})
	return c
}

func deploymentList(e *Env) *cobra.Command {
	c := &cobra.Command{Use: "list [APP]", Short: "List deployments", Args: between(0, 1), ValidArgsFunction: complete(e, appNames)}
	asJSON := jsonFlag(c)
	quiet := c.Flags().BoolP("quiet", "q", false, "print ids only")
	c.RunE = ask(e, func(ctx context.Context, api *client.Client, args []string) error {
		all, err := api.Deployments(ctx)
		if err != nil {
			return err
		}
		if len(args) > 0 {
			all = slices.DeleteFunc(all, func(d client.DeploymentInfo) bool { return !slices.Contains(d.AffectedApps, appName(args[0])) })
		}
		t := newTable("APP", "ACTION", "PROGRESS", "ID")
		for _, d := range all {
			if *quiet {
				fmt.Fprintln(e.Out, d.ID)
			}
			action := ""
			if len(d.CurrentActions) > 0 {
				action = d.CurrentActions[0].Action
			}
			t.add(strings.Join(d.AffectedApps, ","), action, fmt.Sprintf("%d/%d", d.CurrentStep, d.TotalSteps), d.ID)
		}
		if *quiet {
			return nil
		}
		return show(e, *asJSON, all, t, "no deployments: nothing is being changed")
	})
	return c
}

func deploymentCancel(e *Env, word string, force bool) *cobra.Command {
	short := "Undo a deployment by a new one"
	if force {
		short = "End a deployment where it is"
	}
	c := &cobra.Command{Use: word + " ID", Short: short, Args: exactly(1), ValidArgsFunction: complete(e, deploymentIDs)}
	c.RunE = ask(e, func(ctx context.Context, api *client.Client, args []string) error {
		d, err := api.CancelDeployment(ctx, args[0], force)
		if err != nil {
			return err
		}
		if d.DeploymentID == "" || d.DeploymentID == args[0] {
			fmt.Fprintln(e.Err, "the deployment has ended")
			return nil
		}
		fmt.Fprintf(e.Out, "Created deployment %s\n", d.DeploymentID)
		return nil
	})
	return c
}

func marathonTasks(e *Env) *cobra.Command {
	c := &cobra.Command{Use: "list [APP]", Short: "List tasks of all apps, or of one", Args: between(0, 1), ValidArgsFunction: complete(e, appNames)}
	asJSON := jsonFlag(c)
	c.RunE = ask(e, func(ctx context.Context, api *client.Client, args []string) error {
		apps, err := api.Apps(ctx, client.AppFilter{Tasks: true})
		if err != nil {
			return err
		}
		var all []client.AppTask
		found := len(args) == 0
		for _, a := range apps {
			if len(args) > 0 && a.ID != appName(args[0]) {
				continue
			}
			found = true
			if a.Tasks != nil {
				all = append(all, *a.Tasks...)
			}
		}
		if !found {
			return fmt.Errorf("app %s: %w; `dcos marathon app list` shows what there is", appName(args[0]), dcos.ErrNotFound)
		}
		t := newTable("APP", "STATE", "STARTED", "HOST", "ID")
		for _, k := range all {
			t.add(k.AppID, k.State, k.StartedAt, k.Host, k.ID)
		}
		return show(e, *asJSON, all, t, "no tasks")
	})
	return c
}
