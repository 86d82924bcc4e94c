package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
)

// masterCommands are the commands about masters that ask the API.
func masterCommands(e *Env) []*cobra.Command {
	return []*cobra.Command{
		masterList(e), masterRemove(e),
		masterChange(e, "leave MASTER", "Take a living master out of the group; a leader hands over first",
			"A master may be named by its id, name or address. Its process ends; `dcos uninstall` on its machine\nremoves what it leaves.",
			"  dcos master leave 5013d9a506d1ee3a", (*client.Client).LeaveMaster, "is no member any more"),
		masterChange(e, "promote MASTER", "Let a learner vote that has caught up",
			"Masters that join are learners first and vote as soon as they have caught up. One that was demoted stays\na learner until this command.",
			"  dcos master promote 10.0.0.3", changing("promote"), "votes"),
		masterChange(e, "demote MASTER", "Take a master's vote: it follows, and counts for no majority",
			"The master stays a learner until `dcos master promote`. A leader hands over first.",
			"  dcos master demote 10.0.0.3", changing("demote"), "votes no more"),
		masterChange(e, "lead MASTER", "Hand leadership to a master",
			"Hand leadership to a master, before work on the machine of the one that leads.",
			"  dcos master lead 10.0.0.2", changing("lead"), "leads"),
		groupOf("snapshot", "Backups of the whole state", "", snapshotSave(e), snapshotInspect(e)),
	}
}

func changing(change string) func(*client.Client, context.Context, string) error {
	return func(api *client.Client, ctx context.Context, id string) error {
		return api.ChangeMaster(ctx, id, change)
	}
}

func masterList(e *Env) *cobra.Command {
	list := &cobra.Command{Use: "list", Short: "List the masters and who leads", Args: noArgs}
	asJSON := jsonFlag(list)
	list.RunE = ask(e, func(ctx context.Context, api *client.Client, _ []string) error {
		masters, err := client.All(ctx, api.Masters, client.Query{})
		if err != nil {
			return err
		}
		t := newTable("NAME", "API", "ID", "LEADS", "VOTES", "ALIVE", "VERSION")
		for _, m := range masters {
			t.add(m.Name, m.API, m.ID, strconv.FormatBool(m.Leader), strconv.FormatBool(m.Voter), strconv.FormatBool(m.Alive), m.Version)
		}
		return show(e, *asJSON, masters, t, "no masters")
	})
	return list
}

func masterRemove(e *Env) *cobra.Command {
	remove := &cobra.Command{
		Use: "remove MASTER", Short: "Take a dead master out of the group, so that it counts for no majority", Args: exactly(1),
		Example: "  dcos master list\n  dcos master remove 5013d9a506d1ee3a",
	}
	wait := waitForMasters(remove)
	remove.RunE = ask(e, func(ctx context.Context, api *client.Client, args []string) error {
		return wait.change(ctx, e, api, args[0], (*client.Client).RemoveMaster, "is removed")
	})
	return remove
}

func masterChange(e *Env, use, short, long, example string, change func(*client.Client, context.Context, string) error, done string) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Long: short + ".\n\n" + long, Example: "  dcos master list\n" + example, Args: exactly(1)}
	wait := waitForMasters(c)
	c.RunE = ask(e, func(ctx context.Context, api *client.Client, args []string) error {
		return wait.change(ctx, e, api, args[0], change, done)
	})
	return c
}

// masterWait is how long a change of the masters is tried: another may be under
// way, a learner may have to catch up, and leadership moves.
type masterWait struct{ timeout time.Duration }

func waitForMasters(c *cobra.Command) *masterWait {
	w := &masterWait{}
	c.Flags().DurationVar(&w.timeout, "timeout", 30*time.Second, "how long to try")
	return w
}

// change makes a change that may be repeated until it is answered.
func (w *masterWait) change(ctx context.Context, e *Env, api *client.Client, name string, change func(*client.Client, context.Context, string) error, done string) error {
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	id := ""
	for first := true; ; first = false {
		var err error
		if id == "" {
			id, err = masterNamed(ctx, api, name)
		}
		if err == nil {
			err = change(api, ctx, id)
		}
		switch {
		case err == nil, !first && isNotFound(err) && strings.HasPrefix(done, "is "): // a try before was carried out
			fmt.Fprintf(e.Err, "master %s %s\n", id, done)
			return nil
		case ctx.Err() != nil, !errors.Is(err, dcos.ErrUnavailable) && !errors.Is(err, dcos.ErrUnknown):
			return err
		}
		if first {
			fmt.Fprintf(e.Err, "not yet: %s\n", printable(explain(err).what))
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(lookFirst * 4):
		}
	}
}

// masterNamed finds a master's id by its id, name or address.
func masterNamed(ctx context.Context, api *client.Client, name string) (string, error) {
	masters, err := client.All(ctx, api.Masters, client.Query{})
	if err != nil {
		return "", err
	}
	var found []string
	for _, m := range masters {
		host := m.API[:max(strings.LastIndexByte(m.API, ':'), 0)]
		if m.ID == name {
			return name, nil
		}
		if name == m.Name || name == m.API || name == m.Peer || name == host {
			found = append(found, m.ID)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", notFound("there is no master "+name, "`dcos master list` shows them")
	}
	return "", usagef("%q is the name of %d masters: give the id of one, as `dcos master list` shows it", name, len(found))
}
