package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/dcos-go/dcos/pkg/client"
)

// draining are the flags of a node's drain.
type draining struct {
	client.DrainRequest
	deadline, timeout time.Duration
	wait              bool
}

func drainFlags(c *cobra.Command) *draining {
	d := &draining{}
	c.Flags().DurationVar(&d.deadline, "deadline", 0, "stop what is left after this time, whatever the upgrade strategies say; 0 is never")
	c.Flags().StringVar(&d.Why, "why", "", "shown to everybody who looks at the node")
	c.Flags().BoolVar(&d.wait, "wait", false, "wait until it is done")
	c.Flags().DurationVar(&d.timeout, "timeout", 10*time.Minute, "how long to wait")
	return d
}

func nodeDrain(e *Env) *cobra.Command {
	c := &cobra.Command{
		Use: "drain NODE", Short: "Move a node's tasks elsewhere and place no others on it", Args: exactly(1), ValidArgsFunction: complete(e, nodeIDs),
		Example: "  dcos node drain 7d0c5e3a1f2b4c68 --deadline 10m --wait\n  dcos node drain 7d0c5e3a1f2b4c68 --undo",
	}
	d := drainFlags(c)
	undo := c.Flags().Bool("undo", false, "end the drain: the node takes tasks again")
	c.MarkFlagsMutuallyExclusive("undo", "wait")
	c.MarkFlagsMutuallyExclusive("undo", "deadline")
	c.RunE = ask(e, func(ctx context.Context, api *client.Client, args []string) error {
		if *undo {
			return api.ActivateNode(ctx, args[0])
		}
		return d.carryOut(ctx, e, api, args[0])
	})
	return c
}

func nodeDecommission(e *Env) *cobra.Command {
	c := &cobra.Command{
		Use: "decommission NODE", Short: "Move a node's tasks elsewhere, then take it out of the cluster for good", Args: exactly(1), ValidArgsFunction: complete(e, nodeIDs),
		Long:    "Move a node's tasks elsewhere, then take it out of the cluster for good: its certificate is refused\nfrom then on, and the machine needs a join token to come back.",
		Example: "  dcos node decommission 7d0c5e3a1f2b4c68 --deadline 10m --wait",
	}
	d := drainFlags(c)
	d.Remove = true
	c.RunE = ask(e, func(ctx context.Context, api *client.Client, args []string) error {
		return d.carryOut(ctx, e, api, args[0])
	})
	return c
}

func nodeRemove(e *Env) *cobra.Command {
	c := &cobra.Command{
		Use: "remove NODE", Short: "Take a lost node out of the cluster for good", Args: exactly(1), ValidArgsFunction: complete(e, nodeIDs),
		Long:    "Take a lost node out of the cluster for good: its certificate is refused from then on. A node that\nanswers is decommissioned instead.",
		Example: "  dcos node remove 7d0c5e3a1f2b4c68",
	}
	gone := c.Flags().Bool("gone", false, "the machine is off and stays off: replace at once what waits for it (fenced tasks, unreachableStrategy)")
	c.RunE = ask(e, func(ctx context.Context, api *client.Client, args []string) error {
		return api.RemoveNode(ctx, args[0], *gone)
	})
	return c
}

// carryOut asks for the drain and, if that is wanted, waits for its end.
func (d *draining) carryOut(ctx context.Context, e *Env, api *client.Client, id string) error {
	d.DeadlineSeconds = d.deadline.Seconds()
	if err := api.DrainNode(ctx, id, d.DrainRequest); err != nil || !d.wait {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, d.timeout, context.DeadlineExceeded)
	defer cancel()
	p := &progress{e: e}
	for pause := lookFirst; ; pause = min(2*pause, lookLast) {
		n, err := api.Node(ctx, id)
		switch {
		case isNotFound(err) && d.Remove:
			return nil
		case isNotFound(err):
			return notFound("node "+id+" was removed meanwhile", "dcos node list")
		case err != nil && ctx.Err() == nil:
			p.say("no master answers: %v", err)
		case err == nil && n.Drain == nil:
			return notFound("the drain of node "+id+" was undone meanwhile", "dcos node list")
		case err == nil && n.Tasks == 0 && !d.Remove:
			return nil
		case err == nil:
			p.say("%s: %s", n.Hostname, n.Why)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return told{
				fmt.Sprintf("node %s is not done after %s: %s", id, d.timeout, n.Why), "",
				"the drain goes on: `dcos why APP` says what keeps an app, --deadline stops what is left, `dcos node drain --undo` ends it", context.Cause(ctx),
			}
		}
	}
}
