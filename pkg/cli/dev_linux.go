package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"time"

	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/config"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/node"
)

// runDev runs the cluster and, once it is up, tells the user how to use it.
// Without a data directory of its own everything ends with it: tasks, data, and
// what the command line knows of it.
func runDev(ctx context.Context, e *Env, conf config.Config) (err error) {
	ephemeral := conf.DataDir == ""
	if ephemeral {
		if conf.DataDir, err = os.MkdirTemp("", "dcos-dev-"); err != nil {
			return fmt.Errorf("make a temporary data directory: %w", err)
		}
		defer func() { err = errors.Join(err, removeData(conf.DataDir)) }()
		ctx = node.WithEphemeral(ctx)
	}
	if conf.LogLevel == "info" {
		conf.LogLevel = "warn" // a person looks on: only what must be seen
	}
	log, err := logger(e, conf)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	up, done := make(chan node.Ready, 1), make(chan error, 1)
	go func() { done <- node.Dev(ctx, conf, log, func(r node.Ready) { up <- r }) }() // ends with ctx
	select {
	case err := <-done:
		return err
	case r := <-up:
		return attend(ctx, stop, e, conf, r, ephemeral, done)
	}
}

// attend makes the running cluster known, tells the user about it, and waits
// for its end.
func attend(ctx context.Context, stop func(), e *Env, conf config.Config, r node.Ready, ephemeral bool, done <-chan error) error {
	detach, err := enlist(e, r, ephemeral)
	if err != nil {
		stop()
		return errors.Join(err, <-done)
	}
	defer detach()
	wctx, cancel := context.WithCancel(ctx)
	defer cancel()
	told := make(chan struct{})
	go func() { // ends with the welcome, which ends with wctx
		defer close(told)
		welcome(wctx, e, conf, r)
	}()
	err = <-done
	cancel()
	<-told
	if !ephemeral {
		fmt.Fprintf(e.Err, "Tasks that still run go on; `dcos dev --data-dir %s` takes them up again\n", conf.DataDir)
	}
	return err
}

// removeData removes the data of a cluster that has ended, unless something is
// still mounted there: then the removal could reach what is not ours.
func removeData(dir string) error {
	if err := node.NothingMounted(dir); err != nil {
		return fmt.Errorf("%s is left: %w", dir, err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove the data of the ended cluster: %w", err)
	}
	return nil
}

// enlist writes the cluster down for this user's command line and attaches it
// when no other cluster is attached. detach takes back what was written, if the
// cluster does not outlive this process.
func enlist(e *Env, r node.Ready, ephemeral bool) (detach func(), err error) {
	known, err := clustersOf(e)
	if err != nil {
		return nil, err
	}
	one := cluster{ID: r.ClusterID, Name: r.ClusterName, URL: r.URL, Token: r.Token, Ephemeral: ephemeral}
	attached, err := known.enlist(one, func(other cluster) bool { return other.URL == r.URL || !answers(other.URL) })
	if err != nil {
		return nil, err
	}
	if !attached {
		fmt.Fprintf(e.Err, "Another cluster is attached. To use this one: dcos cluster attach %s\n", one.ID)
	}
	return func() {
		if !ephemeral {
			return
		}
		if err := known.remove(one.ID); err != nil {
			fmt.Fprintf(e.Err, "The entry of the ended cluster could not be removed: %v\n", err)
		}
	}, nil
}

// answers says whether anything listens where a cluster was.
func answers(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return false
	}
	_ = c.Close() // nothing was said
	return true
}

// welcome installs what was asked for and tells the user how to go on. A
// package that does not start leaves the cluster running, so that the user can
// find out why.
func welcome(ctx context.Context, e *Env, conf config.Config, r node.Ready) {
	fmt.Fprintf(e.Out, "The cluster %q runs at %s\n", r.ClusterName, r.URL)
	var apps []string
	api, err := client.New(client.Config{URL: r.URL, Token: r.Token})
	if err == nil {
		defer api.Close()
		apps, err = installAll(ctx, e, api, conf.With)
	}
	switch {
	case ctx.Err() != nil:
		return
	case err != nil:
		printError(e, err)
	}
	for _, app := range apps {
		if row, err := api.Service(ctx, app); err == nil && len(row.Endpoints) > 0 {
			fmt.Fprintf(e.Out, "%s answers at http://%s\n", app, row.Endpoints[0])
		}
	}
	fmt.Fprintf(e.Out, "The page, logged in (the link works once): %s\n", r.LoginURL)
	for _, what := range r.NotEnforced {
		fmt.Fprintf(e.Out, "Not enforced here: %s\n", what)
	}
	fmt.Fprintln(e.Out, "Next:")
	for _, line := range nextCommands(apps) {
		fmt.Fprintf(e.Out, "  %s %s\n", self(), line)
	}
	fmt.Fprintln(e.Err, "Ctrl-C ends it")
}

func installAll(ctx context.Context, e *Env, api *client.Client, names []string) ([]string, error) {
	var apps []string
	for _, name := range names {
		app, err := installed(ctx, api, name)
		if err != nil {
			return apps, fmt.Errorf("install %s: %w", name, err)
		}
		w := &waiting{must: true, timeout: 5 * time.Minute}
		if err := w.settled(ctx, e, api, app); err != nil {
			return apps, err
		}
		apps = append(apps, app)
	}
	return apps, nil
}

// installed gives the app of a package; a cluster that was started again with
// its data may have it already.
func installed(ctx context.Context, api *client.Client, name string) (app string, err error) {
	out, err := api.InstallPackage(ctx, client.PackageRequest{PackageName: name})
	if !errors.Is(err, dcos.ErrConflict) {
		return appName(out.AppID), err
	}
	there, lerr := api.Packages(ctx, name, "")
	if lerr != nil || len(there) == 0 {
		return "", err
	}
	return there[0].AppID, nil
}

func nextCommands(apps []string) [3]string {
	if len(apps) == 0 {
		return [3]string{"cluster status", "package install hello-world", "package search"}
	}
	return [3]string{"task log " + apps[0], "marathon app update " + apps[0] + " instances=3", "node list"}
}

// self is how a user calls this binary: by name when the shell finds it, else
// by its path.
func self() string {
	own, err := os.Executable()
	if err != nil {
		return "dcos"
	}
	if found, err := exec.LookPath("dcos"); err == nil {
		if a, err := os.Stat(found); err == nil {
			if b, err := os.Stat(own); err == nil && os.SameFile(a, b) {
				return "dcos"
			}
		}
	}
	return cmp.Or(os.Args[0], "dcos")
}
