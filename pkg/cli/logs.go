package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/dcos-go/dcos/pkg/client"
)

// maxFollowed bounds the tasks whose logs one command reads.
const maxFollowed = 50

func taskLog(e *Env) *cobra.Command {
	c := &cobra.Command{
		Use: "log TASK [stdout|stderr]", Short: "Show what a task writes", Args: between(1, 2), ValidArgsFunction: complete(e, taskNames),
		Long: "Show what a task writes. TASK is a task's id, a part of it, or an app: then the logs of all its tasks.",
		Example: "  dcos task log clock --lines 3\n" +
			"  dcos task log clock stderr --follow",
	}
	var l client.Logs
	c.Flags().BoolVarP(&l.Follow, "follow", "f", false, "go on with what is written from now on")
	c.Flags().IntVar(&l.Lines, "lines", 10, "how many of the last lines")
	all := c.Flags().Bool("all", false, "all lines that are kept")
	completed := c.Flags().Bool("completed", false, "ended tasks as well")
	c.RunE = ask(e, func(ctx context.Context, api *client.Client, args []string) error {
		if len(args) > 1 {
			switch args[1] {
			case "stdout":
			case "stderr":
				l.Stderr = true
			default:
				return usagef("a task writes stdout and stderr, there is no %q", args[1])
			}
		}
		if l.Lines < 1 {
			return usagef("--lines %d: expected a number from 1 on", l.Lines)
		}
		if *all {
			l.Lines = 0
		}
		tasks, err := logged(ctx, e, api, args[0], *completed)
		if err != nil {
			return err
		}
		if l.Follow && len(tasks) > 1 {
			return followAll(ctx, e, api, tasks, l)
		}
		return printLogs(ctx, e, api, tasks, l)
	})
	return c
}

// logged are the tasks whose logs are meant: live ones on a node; when there
// are none, the one that ended last.
func logged(ctx context.Context, e *Env, api *client.Client, want string, completed bool) ([]client.Task, error) {
	found, err := findTasks(ctx, api, want)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, notFound(fmt.Sprintf("no task matches %q", want), "dcos task list --all")
	}
	live := slices.DeleteFunc(slices.Clone(found), func(k client.Task) bool {
		return k.Node == "" || ended[k.State] && k.ID != want && !completed
	})
	if len(live) == 0 {
		placed := slices.DeleteFunc(slices.Clone(found), func(k client.Task) bool { return k.Node == "" })
		if len(placed) == 0 {
			return nil, notFound(fmt.Sprintf("%s waits for a place and has written nothing", found[0].App), "dcos why "+found[0].App)
		}
		last := slices.MaxFunc(placed, func(a, b client.Task) int { return strings.Compare(a.EndedAt, b.EndedAt) })
		fmt.Fprintf(e.Err, "No task runs; this is %s, which ended: %s\n", last.ID, printable(cmp.Or(messageOf(last), last.State)))
		live = []client.Task{last}
	}
	if len(live) > maxFollowed {
		return nil, usagef("%q means %d tasks, at most %d can be shown; give more of the id", want, len(live), maxFollowed)
	}
	return live, nil
}

// printLogs shows one log after the other.
func printLogs(ctx context.Context, e *Env, api *client.Client, tasks []client.Task, l client.Logs) error {
	wrote := false
	for i, k := range tasks {
		if len(tasks) > 1 {
			file := "stdout"
			if l.Stderr {
				file = "stderr"
			}
			if i > 0 {
				fmt.Fprintln(e.Out)
			}
			fmt.Fprintf(e.Out, "===> %s:%s <===\n", k.ID, file)
		}
		for line, err := range api.Log(ctx, k.ID, l) {
			if err != nil {
				return err
			}
			wrote = true
			if _, err := fmt.Fprintln(e.Out, line.Text); err != nil {
				return fmt.Errorf("write: %w", err)
			}
		}
	}
	if !wrote && !l.Follow {
		fmt.Fprintln(e.Err, "nothing has been written yet")
	}
	return nil
}

// followAll mixes the logs of several tasks, each line with its task in front.
// A log that cannot be read is said and does not end the others.
func followAll(ctx context.Context, e *Env, api *client.Client, tasks []client.Task, l client.Logs) error {
	var mu sync.Mutex
	var group sync.WaitGroup
	var errs []error
	for _, k := range tasks {
		group.Go(func() { // ends with its log, or with ctx
			for line, err := range api.Log(ctx, k.ID, l) {
				mu.Lock()
				if err != nil {
					errs = append(errs, fmt.Errorf("log of %s: %w", k.ID, err))
					fmt.Fprintf(e.Err, "%s: %v\n", k.ID, err)
				} else {
					fmt.Fprintf(e.Out, "%s: %s\n", k.ID, line.Text)
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	if len(errs) == len(tasks) {
		return errors.Join(errs...)
	}
	return nil
}
