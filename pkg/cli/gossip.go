package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dcos-go/dcos/pkg/client"
)

// gossipWait is how long a change of the gossip key is waited for, gossipLook
// the pause between two looks at it.
const (
	gossipWait = 10 * time.Minute
	gossipLook = time.Second
)

func gossipCommand(e *Env) *cobra.Command {
	return groupOf("gossip", "The machines' talk among themselves", "run",
		groupOf("key", "Keys that encrypt it", "", gossipKeyList(e), gossipKeyRotate(e)))
}

func gossipKeyList(e *Env) *cobra.Command {
	list := &cobra.Command{Use: "list", Short: "List the gossip keys by their fingerprints, and who does not have them yet", Args: noArgs}
	asJSON := jsonFlag(list)
	list.RunE = ask(e, func(ctx context.Context, api *client.Client, _ []string) error {
		keys, err := api.GossipKeys(ctx)
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(e, keys)
		}
		t := newTable("KEY", "ENCRYPTS")
		for _, k := range keys.Keys {
			t.add(k.ID, strconv.FormatBool(k.Encrypts))
		}
		if err := t.write(e, "no keys"); err != nil {
			return err
		}
		_, err = fmt.Fprintln(e.Err, gossipStep(keys))
		return err
	})
	return list
}

// gossipStep is how far a change is, in a line.
func gossipStep(k client.GossipKeys) string {
	text := map[string]string{
		"settled": "No change is under way",
		"spread":  "A new key is given to the machines",
		"use":     "The new key is used, the old one is about to go",
	}[k.Step]
	have := k.Members - len(k.Waiting)
	text += fmt.Sprintf("; %d of %d machines have these keys", have, k.Members)
	if n := len(k.Waiting); n > 0 {
		text += ", not: " + strings.Join(k.Waiting[:min(n, 5)], " ")
		if n > 5 {
			text += fmt.Sprintf(" and %d more", n-5)
		}
	}
	return printable(text + because(k.Problem))
}

func gossipKeyRotate(e *Env) *cobra.Command {
	c := &cobra.Command{
		Use: "rotate", Short: "Change the gossip key, while everything runs", Args: noArgs,
		Long: "Make a new gossip key, give it to every machine, use it, and take the old one away. A machine that is\n" +
			"down meanwhile gets the new key from a master when it comes back.",
	}
	asJSON := jsonFlag(c)
	noWait := c.Flags().Bool("no-wait", false, "do not wait for the end; the masters go on by themselves")
	dry := c.Flags().Bool("dry-run", false, "only say whether it could be done now")
	c.RunE = ask(e, func(ctx context.Context, api *client.Client, _ []string) error {
		keys, err := api.RotateGossipKey(ctx, *dry)
		if err != nil {
			return err
		}
		if !*noWait && !*dry {
			if keys, err = followRotation(ctx, e, api, keys); err != nil {
				return err
			}
		}
		if *asJSON {
			return printJSON(e, keys)
		}
		if *noWait || *dry {
			_, err = fmt.Fprintln(e.Err, gossipStep(keys))
			return err
		}
		_, err = fmt.Fprintf(e.Out, "The gossip key is %s now\n", printable(keys.Keys[0].ID))
		return err
	})
	return c
}

// followRotation says each step, until the new key is the only one.
func followRotation(ctx context.Context, e *Env, api *client.Client, keys client.GossipKeys) (client.GossipKeys, error) {
	ctx, cancel := context.WithTimeout(ctx, gossipWait)
	defer cancel()
	said := ""
	for {
		if line := gossipStep(keys); line != said && keys.Step != "settled" {
			said = line
			fmt.Fprintln(e.Err, line)
		}
		if keys.Step == "settled" && len(keys.Keys) > 0 {
			return keys, nil
		}
		select {
		case <-ctx.Done():
			return keys, fmt.Errorf("the change of the gossip key goes on: %w", ctx.Err())
		case <-time.After(gossipLook):
		}
		// A leader may change meanwhile: the next one goes on with it.
		if next, err := api.GossipKeys(ctx); err == nil {
			keys = next
		} else if ctx.Err() == nil && exitCode(err) != exitUnreachable {
			return keys, err
		}
	}
}
