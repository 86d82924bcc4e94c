package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dcos-go/dcos/pkg/client"
)

func appUpdate(e *Env) *cobra.Command {
	c := &cobra.Command{
		Use: "update APP [NAME=VALUE...]", Short: "Change an app: fields given here, or JSON from standard input", Args: between(1, -1),
		Example: "  dcos marathon app update /clock instances=3\n" +
			"  dcos marathon app update /clock 'env={\"TZ\": \"UTC\"}' cmd='date; sleep 60'",
		ValidArgsFunction: complete(e, appNames),
	}
	w := waitFlags(c, false)
	dry := dryFlag(c)
	force := c.Flags().Bool("force", false, "override a deployment in progress")
	c.RunE = ask(e, func(ctx context.Context, api *client.Client, args []string) error {
		id := appName(args[0])
		doc, err := change(e, args[1:])
		if err != nil {
			return err
		}
		// An update is of something that exists; PUT alone would create it.
		if _, err := api.App(ctx, id); err != nil {
			return err
		}
		if *dry {
			return tryApp(ctx, e, api, id, doc, client.Write{Force: *force})
		}
		d, err := api.PutApp(ctx, id, doc, client.Write{Force: *force})
		if err != nil {
			return err
		}
		return started(ctx, e, api, w, id, d.DeploymentID)
	})
	return c
}

// change is the document of an update.
func change(e *Env, pairs []string) ([]byte, error) {
	if len(pairs) == 0 {
		return document(e, nil)
	}
	fields, err := parseFields(pairs)
	if err != nil {
		return nil, err
	}
	return json.Marshal(fields)
}

// parseFields reads NAME=VALUE pairs. A value is JSON if it can be read as
// such, otherwise text; names of fields that are always text take it as it is,
// so that cmd=true is a command.
func parseFields(pairs []string) (map[string]json.RawMessage, error) {
	out := map[string]json.RawMessage{}
	for _, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return nil, usagef("%.100q: expected NAME=VALUE, as in instances=3", pair)
		}
		if _, twice := out[name]; twice {
			return nil, usagef("%s is given twice", name)
		}
		if !textFields[name] && json.Valid([]byte(value)) {
			out[name] = json.RawMessage(value)
			continue
		}
		text, err := json.Marshal(value)
		if err != nil {
			return nil, usagef("%s: %w", name, err)
		}
		out[name] = text
	}
	return out, nil
}

var textFields = map[string]bool{"id": true, "cmd": true, "user": true, "role": true, "version": true}

func appStart(e *Env) *cobra.Command {
	c := &cobra.Command{Use: "start APP [INSTANCES]", Short: "Start a stopped app", Args: between(1, 2), ValidArgsFunction: complete(e, appNames)}
	w := waitFlags(c, false)
	dry := dryFlag(c)
	force := c.Flags().Bool("force", false, "override a deployment in progress")
	c.RunE = ask(e, func(ctx context.Context, api *client.Client, args []string) error {
		n := 1
		if len(args) > 1 {
			var err error
			if n, err = strconv.Atoi(args[1]); err != nil || n < 1 {
				return usagef("INSTANCES %q: expected a number from 1 on", args[1])
			}
		}
		app, err := api.App(ctx, appName(args[0]))
		if err != nil {
			return err
		}
		if app.Instances > 0 {
			fmt.Fprintf(e.Err, "%s is started already and has %d instances; change that with: dcos marathon app update %s instances=%d\n", app.ID, app.Instances, app.ID, n)
			return nil
		}
		return scale(ctx, e, api, w, app.ID, n, client.Write{Force: *force}, *dry)
	})
	return c
}

func scale(ctx context.Context, e *Env, api *client.Client, w *waiting, id string, n int, how client.Write, dry bool) error {
	if dry {
		return try(e, api, func(c *client.Client) error { _, err := c.ScaleApp(ctx, id, n, how); return err })
	}
	d, err := api.ScaleApp(ctx, id, n, how)
	if err != nil {
		return err
	}
	return started(ctx, e, api, w, id, d.DeploymentID)
}

func appStop(e *Env) *cobra.Command {
	c := &cobra.Command{Use: "stop APP", Short: "Stop an app: end its tasks and keep its definition", Args: exactly(1), ValidArgsFunction: complete(e, appNames)}
	w := waitFlags(c, false)
	dry := dryFlag(c)
	force := c.Flags().Bool("force", false, "override a deployment in progress")
	c.RunE = ask(e, func(ctx context.Context, api *client.Client, args []string) error {
		app, err := api.App(ctx, appName(args[0]))
		if err != nil {
			return err
		}
		if app.Instances == 0 {
			fmt.Fprintf(e.Err, "%s is stopped already\n", app.ID)
			return nil
		}
		return scale(ctx, e, api, w, app.ID, 0, client.Write{Force: *force}, *dry)
	})
	return c
}

func appRestart(e *Env) *cobra.Command {
	c := &cobra.Command{Use: "restart APP", Short: "Replace all tasks of an app", Args: exactly(1), ValidArgsFunction: complete(e, appNames)}
	w := waitFlags(c, false)
	dry := dryFlag(c)
	force := c.Flags().Bool("force", false, "override a deployment in progress")
	c.RunE = ask(e, func(ctx context.Context, api *client.Client, args []string) error {
		id := appName(args[0])
		if *dry {
			return try(e, api, func(c *client.Client) error { _, err := c.RestartApp(ctx, id, client.Write{Force: *force}); return err })
		}
		d, err := api.RestartApp(ctx, id, client.Write{Force: *force})
		if err != nil {
			return err
		}
		return started(ctx, e, api, w, id, d.DeploymentID)
	})
	return c
}
