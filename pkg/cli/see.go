package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dcos-go/dcos/pkg/client"
)

func nodeCommand(e *Env) *cobra.Command {
	list := &cobra.Command{Use: "list", Short: "List masters and agents", Args: noArgs}
	asJSON := jsonFlag(list)
	ids := list.Flags().Bool("mesos-id", false, "print the agents' ids only")
	list.RunE = ask(e, func(ctx context.Context, api *client.Client, _ []string) error {
		nodes, err := client.All(ctx, api.Nodes, client.Query{})
		if err != nil {
			return err
		}
		if *asJSON {
			return show(e, true, nodes, nil, "")
		}
		if *ids {
			for _, n := range nodes {
				fmt.Fprintln(e.Out, n.ID)
			}
			return nil
		}
		masters, err := client.All(ctx, api.Masters, client.Query{})
		if err != nil {
			return err
		}
		return nodeTable(masters, nodes).write(e, "no nodes")
	})
	show := &cobra.Command{Use: "show NODE", Short: "Show a node as JSON", Args: exactly(1), ValidArgsFunction: complete(e, nodeIDs)}
	show.RunE = ask(e, func(ctx context.Context, api *client.Client, args []string) error {
		n, err := api.Node(ctx, args[0])
		if err != nil {
			return err
		}
		return printJSON(e, n)
	})
	return groupOf("node", "Machines", "see", past(list), past(show), nodeImages(e), nodeDrain(e), nodeDecommission(e), nodeRemove(e))
}

func nodeTable(masters []client.MasterStatus, nodes []client.Node) *table {
	t := newTable("HOSTNAME", "IP", "ID", "TYPE", "STATUS", "TASKS", "CPUS", "MEM", "REGION", "ZONE", "WHY")
	for _, m := range masters {
		kind, status := "master (standby)", "ACTIVE"
		if m.Leader {
			kind = "master (leader)"
		}
		if !m.Alive {
			status = "UNREACHABLE"
		}
		host, _, _ := strings.Cut(m.API, ":")
		t.add(m.Name, host, m.ID, kind, status, "", "", "", "", "", "")
	}
	for _, n := range nodes {
		t.add(n.Hostname, n.IP, n.ID, "agent", strings.ToUpper(n.State), strconv.Itoa(n.Tasks),
			of(n.Allocated.CPUs, n.Total.CPUs), of(n.Allocated.Mem, n.Total.Mem), n.Region, n.Zone, n.Why)
	}
	return t
}

func whyCommand(e *Env) *cobra.Command {
	c := &cobra.Command{
		Use: "why APP", Short: "Say why an app does not run, and what would help", Args: exactly(1), GroupID: "see",
		Example: "  dcos why /my-app", ValidArgsFunction: complete(e, appNames),
	}
	asJSON := jsonFlag(c)
	c.RunE = ask(e, func(ctx context.Context, api *client.Client, args []string) error {
		why, err := api.Why(ctx, appName(args[0]))
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(e, why)
		}
		printWhy(e, why)
		return nil
	})
	return c
}

func printWhy(e *Env, why client.Why) {
	line := func(format string, args ...any) { fmt.Fprintln(e.Out, printable(fmt.Sprintf(format, args...))) }
	line("%s: %d of %d running", why.App, why.Running, why.Wanted)
	line("%s", why.Summary)
	for _, d := range why.Details {
		line("  %s", d)
	}
	for _, f := range why.Funnel {
		line("  %s: %d nodes rejected, %d left", f.Filter, f.Rejected, f.Left)
		for _, r := range f.Reasons {
			line("    %s", r)
		}
	}
	if why.RetryAt != "" {
		line("Next try: %s", why.RetryAt)
	}
	for _, s := range why.Suggest {
		line("Try: %s", s)
	}
}

func eventsCommand(e *Env) *cobra.Command {
	c := &cobra.Command{Use: "events", Short: "Show who changed what; with --follow, what happens", Args: noArgs, GroupID: "see"}
	asJSON := jsonFlag(c)
	follow := c.Flags().BoolP("follow", "f", false, "show what happens from now on, until Ctrl-C")
	lines := c.Flags().Int("lines", 20, "how many of the last changes")
	topics := c.Flags().StringSlice("topic", []string{"nodes", "services", "tasks", "deployments"}, "what to follow: cluster, nodes, services, tasks, packages, deployments")
	c.RunE = ask(e, func(ctx context.Context, api *client.Client, _ []string) error {
		if *follow {
			return followEvents(ctx, e, api, *topics, *asJSON)
		}
		if *lines < 1 {
			return usagef("--lines %d: expected a number from 1 on", *lines)
		}
		page, err := api.Events(ctx, client.Query{Limit: *lines})
		if err != nil {
			return err
		}
		t := newTable("TIME", "BY", "WHAT")
		for _, ev := range page.Items {
			t.add(ev.Time, ev.By, strings.TrimPrefix(ev.Text, ev.By+": "))
		}
		return show(e, *asJSON, page.Items, t, "nothing was changed yet")
	})
	return c
}

// followEvents prints the changes of rows; what was there before is not shown.
func followEvents(ctx context.Context, e *Env, api *client.Client, topics []string, asJSON bool) error {
	for ev, err := range api.Stream(ctx, client.Topics{Names: topics}) {
		switch {
		case err != nil:
			return err
		case ev.Op != "upsert" && ev.Op != "delete":
			continue
		case asJSON:
			if err := printJSONLine(e, ev); err != nil {
				return err
			}
			continue
		}
		text := ev.Text
		if text == "" {
			text = stateIn(ev)
		}
		if _, err := fmt.Fprintln(e.Out, printable(strings.Join([]string{ev.Time, ev.Topic, ev.Key, text}, "  "))); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
	return nil
}

// stateIn is what an event's row says of its state.
func stateIn(ev client.Event) string {
	if ev.Op == "delete" {
		return "gone"
	}
	row, err := client.Row[struct{ State, Message, Why string }](ev)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(row.State + " " + row.Message + because(row.Why))
}

func clusterStatus(e *Env) *cobra.Command {
	c := &cobra.Command{Use: "status", Short: "Show how the cluster is", Args: noArgs}
	asJSON := jsonFlag(c)
	c.RunE = ask(e, func(ctx context.Context, api *client.Client, _ []string) error {
		s, err := api.Cluster(ctx)
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(e, s)
		}
		printStatus(e, api.URL(), s)
		return nil
	})
	return c
}

func printStatus(e *Env, url string, s client.ClusterStatus) {
	line := func(name, format string, args ...any) {
		fmt.Fprintf(e.Out, "%-10s%s\n", name, printable(fmt.Sprintf(format, args...)))
	}
	line("Cluster", "%s (%s)", s.Name, s.ID)
	line("Address", "%s", url)
	line("Version", "%s, feature level %d", s.Version, s.Level)
	alive := 0
	for _, m := range s.Masters {
		if m.Alive {
			alive++
		}
	}
	leader := s.Leader
	if leader == "" {
		leader = "none"
	}
	line("Masters", "%d of %d alive, leader %s", alive, len(s.Masters), leader)
	line("Nodes", "%s", counts(s.Nodes))
	line("Apps", "%d", s.Apps)
	line("Tasks", "%s", counts(s.Tasks))
	line("CPUs", "%s", of(s.Allocated.CPUs, s.Total.CPUs))
	line("Memory", "%s MiB", of(s.Allocated.Mem, s.Total.Mem))
	line("Disk", "%s MiB", of(s.Allocated.Disk, s.Total.Disk))
	if len(s.Problems) == 0 {
		line("Health", "ok")
	}
	for _, p := range s.Problems {
		line("Problem", "%s", p)
	}
}

// counts are numbers by state, in the order of the states' names.
func counts(by map[string]int) string {
	var parts []string
	for _, state := range slices.Sorted(maps.Keys(by)) {
		parts = append(parts, fmt.Sprintf("%d %s", by[state], state))
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}
