package cli

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/dcos-go/dcos/pkg/config"
	"github.com/dcos-go/dcos/pkg/node"
)

// welcome makes the new cluster known to the command line, installs what was
// asked for, and tells the user how to go on.
func welcome(ctx context.Context, e *Env, conf config.Config, r node.Ready) (detach func(), err error) {
	detach, hint, err := enlist(e, conf, r)
	if err != nil {
		return detach, err
	}
	fmt.Fprintf(e.Out, "The cluster %q runs at %s\n", r.ClusterName, r.URL)
	fmt.Fprintf(e.Out, "Open the page: %s\n", r.LoginURL)
	for _, what := range r.NotEnforced {
		fmt.Fprintf(e.Out, "Not enforced here: %s\n", what)
	}
	if hint != "" {
		fmt.Fprintln(e.Out, hint)
	}
	return detach, nil
}

// enlist writes the cluster down for this user's command line and attaches it
// when no other cluster is attached. detach takes back what was written, if the
// cluster does not outlive this process.
func enlist(e *Env, conf config.Config, r node.Ready) (detach func(), hint string, err error) {
	detach = func() {}
	known, err := clustersOf(e)
	if err != nil {
		return detach, "", err
	}
	one := cluster{ID: r.ClusterID}
	one.Cluster.Name = r.ClusterName
	one.Core.URL, one.Core.Token, one.Core.Ephemeral = r.URL, r.Token, true
	attached, err := known.enlist(one, func(other cluster) bool { return other.Core.URL == r.URL || !answers(other.Core.URL) })
	if err != nil {
		return detach, "", err
	}
	detach = func() {
		if err := known.remove(one.ID); err != nil {
			fmt.Fprintf(e.Err, "The entry of the ended cluster could not be removed: %v\n", err)
		}
	}
	if !attached {
		hint = "Another cluster is attached; to use this one: dcos cluster attach " + one.ID
	}
	return detach, hint, nil
}

// answers says whether anything listens where a cluster was.
func answers(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	c, err := net.DialTimeout("tcp", u.Host, time.Second)
	if err != nil {
		return false
	}
	_ = c.Close() // nothing was said
	return true
}
