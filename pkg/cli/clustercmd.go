package cli

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/spf13/cobra"
)

func clusterCommand(e *Env) *cobra.Command {
	return groupOf("cluster", "Clusters that this command line knows", "run",
		past(clusterStatus(e)), clusterList(e), clusterSetup(e), clusterAttach(e), clusterRename(e), clusterRemove(e))
}

// clusterRow is a cluster in `cluster list --json`.
type clusterRow struct {
	Attached bool   `json:"attached"`
	ID       string `json:"cluster_id"`
	Name     string `json:"name"`
	Status   string `json:"status"`
	URL      string `json:"url"`
	Version  string `json:"version"`
}

// statusPatience is how long a cluster may take to say that it is there.
const statusPatience = 3 * time.Second

func clusterList(e *Env) *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List the clusters that were set up; * marks the one in use", Args: noArgs}
	asJSON := jsonFlag(c)
	attached := c.Flags().Bool("attached", false, "only the one in use")
	names := c.Flags().Bool("names", false, "print names only")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		known, err := clustersOf(e)
		if err != nil {
			return err
		}
		all, err := known.list()
		if err != nil {
			return err
		}
		if *names {
			for _, one := range all {
				fmt.Fprintln(e.Out, one.Name)
			}
			return nil
		}
		rows := look(cmd.Context(), all)
		t := newTable(" ", "NAME", "ID", "STATUS", "VERSION", "URL")
		kept := rows[:0]
		for _, r := range rows {
			if *attached && !r.Attached {
				continue
			}
			mark := " "
			if r.Attached {
				mark = "*"
			}
			kept = append(kept, r)
			t.add(mark, r.Name, r.ID, r.Status, r.Version, r.URL)
		}
		return show(e, *asJSON, kept, t, "no clusters; start one with `dcos dev`, or add one with `dcos cluster setup URL`")
	}
	return c
}

// look asks all clusters at once how they are.
func look(ctx context.Context, all []cluster) []clusterRow {
	ctx, cancel := context.WithTimeout(ctx, statusPatience)
	defer cancel()
	rows := make([]clusterRow, len(all))
	var group sync.WaitGroup
	for i, one := range all {
		rows[i] = clusterRow{Attached: one.Attached, ID: one.ID, Name: one.Name, Status: "UNAVAILABLE", URL: one.URL}
		group.Go(func() { // ends with ctx at the latest
			api, err := dial(one)
			if err != nil {
				rows[i].Status = "UNCONFIGURED"
				return
			}
			defer api.Close()
			if r, err := api.Release(ctx); err == nil {
				rows[i].Status, rows[i].Version = "AVAILABLE", cmp.Or(r.Bootstrap, r.Version)
			}
		})
	}
	group.Wait()
	return rows
}

// onCluster finds the cluster that a command is about.
func onCluster(e *Env, want string) (clusters, cluster, error) {
	known, err := clustersOf(e)
	if err != nil {
		return known, cluster{}, err
	}
	all, err := known.list()
	if err != nil {
		return known, cluster{}, err
	}
	one, err := pick(all, want)
	return known, one, err
}

func clusterAttach(e *Env) *cobra.Command {
	return &cobra.Command{
		Use: "attach NAME", Short: "Use this cluster from now on", Args: exactly(1), ValidArgsFunction: complete(e, clusterNames),
		RunE: func(_ *cobra.Command, args []string) error {
			known, one, err := onCluster(e, args[0])
			if err != nil {
				return err
			}
			if err := known.attach(one.ID); err != nil {
				return err
			}
			fmt.Fprintf(e.Err, "%s (%s) is attached\n", one.Name, one.URL)
			return nil
		},
	}
}

func clusterRename(e *Env) *cobra.Command {
	return &cobra.Command{
		Use: "rename NAME NEW", Short: "Give a cluster another name here", Args: exactly(2), ValidArgsFunction: complete(e, clusterNames),
		RunE: func(_ *cobra.Command, args []string) error {
			known, one, err := onCluster(e, args[0])
			if err != nil {
				return err
			}
			if all, err := known.list(); err != nil {
				return err
			} else if other, err := pick(all, args[1]); err == nil && other.ID != one.ID {
				return conflict("another cluster is called " + args[1])
			}
			one.Name = args[1]
			return known.write(one)
		},
	}
}

func clusterRemove(e *Env) *cobra.Command {
	c := &cobra.Command{Use: "remove NAME", Short: "Forget a cluster here; the cluster itself runs on", Args: between(0, 1), ValidArgsFunction: complete(e, clusterNames)}
	all := c.Flags().Bool("all", false, "forget all clusters")
	gone := c.Flags().Bool("unavailable", false, "forget those that do not answer")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if (len(args) == 1) == (*all || *gone) {
			return usagef("give either a cluster, or --all, or --unavailable")
		}
		if len(args) == 1 {
			known, one, err := onCluster(e, args[0])
			if err != nil {
				return err
			}
			return known.remove(one.ID)
		}
		known, err := clustersOf(e)
		if err != nil {
			return err
		}
		listed, err := known.list()
		if err != nil {
			return err
		}
		for _, r := range look(cmd.Context(), listed) {
			if *gone && r.Status == "AVAILABLE" {
				continue
			}
			if err := known.remove(r.ID); err != nil {
				return err
			}
			fmt.Fprintf(e.Err, "%s (%s) is forgotten\n", r.Name, r.URL)
		}
		return nil
	}
	return c
}
