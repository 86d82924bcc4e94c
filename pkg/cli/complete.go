package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dcos-go/dcos/pkg/client"
)

// completePatience is how long a press of the tab key may take.
const completePatience = 200 * time.Millisecond

// lists gives the names that can stand in an argument's place.
type lists func(ctx context.Context, e *Env) ([]string, error)

// complete completes the first argument with names from the cluster. It says
// nothing when they cannot be had in time.
func complete(e *Env, names lists) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completePatience)
		defer cancel()
		all, err := names(ctx, e)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var out []string
		for _, name := range all {
			if strings.HasPrefix(name, begun) {
				out = append(out, printable(name))
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

// named makes the names of a list's rows.
func named[T any](ctx context.Context, e *Env, page func(*client.Client) func(context.Context, client.Query) (client.List[T], error), name func(T) string) ([]string, error) {
	api, err := connect(e)
	if err != nil {
		return nil, err
	}
	defer api.Close()
	rows, err := page(api)(ctx, client.Query{Limit: 1000, Stale: true})
	if err != nil {
		return nil, err
	}
	var out []string
	for _, row := range rows.Items {
		out = append(out, name(row))
	}
	return out, nil
}

func appNames(ctx context.Context, e *Env) ([]string, error) {
	return named(ctx, e, func(c *client.Client) func(context.Context, client.Query) (client.List[client.Service], error) {
		return c.Services
	}, func(s client.Service) string { return s.ID })
}

func taskNames(ctx context.Context, e *Env) ([]string, error) {
	return named(ctx, e, func(c *client.Client) func(context.Context, client.Query) (client.List[client.Task], error) {
		return c.Tasks
	}, func(k client.Task) string { return k.ID })
}

func nodeIDs(ctx context.Context, e *Env) ([]string, error) {
	return named(ctx, e, func(c *client.Client) func(context.Context, client.Query) (client.List[client.Node], error) {
		return c.Nodes
	}, func(n client.Node) string { return n.ID })
}

func deploymentIDs(ctx context.Context, e *Env) ([]string, error) {
	api, err := connect(e)
	if err != nil {
		return nil, err
	}
	defer api.Close()
	all, err := api.Deployments(ctx)
	var out []string
	for _, d := range all {
		out = append(out, d.ID)
	}
	return out, err
}

func packageNames(ctx context.Context, e *Env) ([]string, error) {
	api, err := connect(e)
	if err != nil {
		return nil, err
	}
	defer api.Close()
	all, err := api.SearchPackages(ctx, "")
	var out []string
	for _, p := range all {
		out = append(out, p.Name)
	}
	return out, err
}

func clusterNames(_ context.Context, e *Env) ([]string, error) {
	known, err := clustersOf(e)
	if err != nil {
		return nil, err
	}
	all, err := known.list()
	var out []string
	for _, one := range all {
		out = append(out, one.Name)
	}
	return out, err
}
