package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dcos-go/dcos/pkg/client"
)

func packageCommand(e *Env) *cobra.Command {
	repo := groupOf("repo", "Where packages come from", "", packageRepos(e))
	return groupOf("package", "Services to install from the catalog", "use",
		packageSearch(e), packageDescribe(e), packageInstall(e), packageList(e), packageUninstall(e), repo)
}

func packageSearch(e *Env) *cobra.Command {
	c := &cobra.Command{Use: "search [WORD]", Short: "Find packages", Args: between(0, 1)}
	asJSON := jsonFlag(c)
	c.RunE = ask(e, func(ctx context.Context, api *client.Client, args []string) error {
		query := strings.Join(args, "")
		found, err := api.SearchPackages(ctx, query)
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(e, client.PackageSearch{Packages: found})
		}
		t := newTable("NAME", "VERSION", "CERTIFIED", "FRAMEWORK", "DESCRIPTION")
		for _, p := range found {
			t.add(p.Name, p.CurrentVersion, capital(p.Selected), capital(p.Framework), p.Description)
		}
		return t.write(e, fmt.Sprintf("no package matches %q", query))
	})
	return c
}

// capital is a truth value as the DC/OS command line writes it.
func capital(b bool) string {
	if b {
		return "True"
	}
	return "False"
}

// definition is what the command line reads of a package's definition.
type definition struct {
	Name        string          `json:"name"`
	Version     string          `json:"version"`
	Description string          `json:"description"`
	Selected    bool            `json:"selected"`
	PreInstall  string          `json:"preInstallNotes"`
	PostInstall string          `json:"postInstallNotes"`
	Config      json.RawMessage `json:"config"`
}

func packageDescribe(e *Env) *cobra.Command {
	c := &cobra.Command{Use: "describe PACKAGE", Short: "Show a package as JSON", Args: exactly(1), ValidArgsFunction: complete(e, packageNames)}
	config := c.Flags().Bool("config", false, "only the options that it takes, as a JSON schema")
	versions := c.Flags().Bool("package-versions", false, "only its versions")
	render := c.Flags().Bool("render", false, "the app that an installation would make")
	c.Flags().Bool("json", true, "print JSON")
	var o packageOptions
	o.flags(c)
	c.RunE = ask(e, func(ctx context.Context, api *client.Client, args []string) error {
		req, err := o.request(e, args[0])
		if err != nil {
			return err
		}
		switch {
		case *versions:
			all, err := api.PackageVersions(ctx, args[0])
			if err != nil {
				return err
			}
			return printJSON(e, slices.Sorted(maps.Keys(all)))
		case *render:
			out, err := api.RenderPackage(ctx, req)
			if err != nil {
				return err
			}
			return printJSON(e, out.MarathonJSON)
		}
		out, err := api.DescribePackage(ctx, args[0], o.version)
		if err != nil {
			return err
		}
		if !*config {
			return printJSON(e, out)
		}
		var def definition
		if err := json.Unmarshal(out.Package, &def); err != nil {
			return fmt.Errorf("read the definition of %s: %w", args[0], err)
		}
		return printJSON(e, def.Config)
	})
	return c
}

// packageOptions are what an installation can be given.
type packageOptions struct{ file, appID, version string }

func (o *packageOptions) flags(c *cobra.Command) {
	c.Flags().StringVar(&o.file, "options", "", "file with options in JSON; - is standard input")
	c.Flags().StringVar(&o.appID, "app-id", "", "id of the app instead of the package's own")
	c.Flags().StringVar(&o.version, "package-version", "", "version; the newest when it is not given")
}

func (o *packageOptions) request(e *Env, name string) (client.PackageRequest, error) {
	req := client.PackageRequest{PackageName: name, PackageVersion: o.version, AppID: o.appID}
	if o.file == "" {
		return req, nil
	}
	b, err := readFileOrStdin(e, o.file)
	if err == nil {
		err = checkJSON(o.file, b)
	}
	req.Options = b
	return req, err
}

func packageInstall(e *Env) *cobra.Command {
	c := &cobra.Command{
		Use: "install PACKAGE", Short: "Install a package and wait until it runs", Args: exactly(1), ValidArgsFunction: complete(e, packageNames),
		Example: "  dcos package install redis\n" +
			"  dcos package install hello-world --yes --options - <<< '{\"service\": {\"instances\": 2}}'",
	}
	var o packageOptions
	o.flags(c)
	w := waitFlags(c, true)
	yes := c.Flags().Bool("yes", false, "do not ask")
	c.Flags().Bool("app", true, "install the app (there is nothing else)")
	dry := dryFlag(c)
	asJSON := jsonFlag(c)
	c.RunE = ask(e, func(ctx context.Context, api *client.Client, args []string) error {
		req, err := o.request(e, args[0])
		if err != nil {
			return err
		}
		if *dry {
			return tryInstall(ctx, e, api, req)
		}
		if err := preInstall(ctx, e, api, req, *yes); err != nil {
			return err
		}
		return install(ctx, e, api, req, w, *asJSON)
	})
	return c
}

func tryInstall(ctx context.Context, e *Env, api *client.Client, req client.PackageRequest) error {
	out, err := api.TryInstall(ctx, req)
	if err != nil {
		return err
	}
	printDryRun(e, out)
	return nil
}

// preInstall shows what the package's makers want read before, and asks.
// Options from standard input leave nobody to ask.
func preInstall(ctx context.Context, e *Env, api *client.Client, req client.PackageRequest, yes bool) error {
	out, err := api.DescribePackage(ctx, req.PackageName, req.PackageVersion)
	if err != nil {
		return err
	}
	var def definition
	if err := json.Unmarshal(out.Package, &def); err != nil {
		return fmt.Errorf("read the definition of %s: %w", req.PackageName, err)
	}
	if def.PreInstall != "" {
		fmt.Fprintln(e.Err, printable(def.PreInstall))
	}
	if yes || !e.TTY {
		return nil
	}
	fmt.Fprintf(e.Err, "Install %s %s? [y/n] ", def.Name, printable(def.Version))
	answer, err := readLine(e.In)
	switch {
	case errors.Is(err, io.EOF):
		return usagef("say --yes to install without being asked")
	case err != nil:
		return err
	case !strings.HasPrefix(strings.ToLower(answer), "y"):
		return errors.New("nothing was installed")
	}
	return nil
}

func install(ctx context.Context, e *Env, api *client.Client, req client.PackageRequest, w *waiting, asJSON bool) error {
	out, err := api.InstallPackage(ctx, req)
	if err != nil {
		return err
	}
	if asJSON {
		if err := printJSON(e, out); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(e.Out, "Installed %s %s as %s\n", out.PackageName, printable(out.PackageVersion), appName(out.AppID))
	}
	if err := w.settled(ctx, e, api, appName(out.AppID)); err != nil {
		return err
	}
	if out.PostInstallNotes != "" {
		fmt.Fprintln(e.Err, printable(out.PostInstallNotes))
	}
	return nil
}

func packageList(e *Env) *cobra.Command {
	c := &cobra.Command{Use: "list [PACKAGE]", Short: "List what is installed", Args: between(0, 1), ValidArgsFunction: complete(e, packageNames)}
	asJSON := jsonFlag(c)
	appID := c.Flags().String("app-id", "", "only what is installed as this app")
	c.RunE = ask(e, func(ctx context.Context, api *client.Client, args []string) error {
		found, err := api.Packages(ctx, strings.Join(args, ""), *appID)
		if err != nil {
			return err
		}
		t := newTable("NAME", "VERSION", "CERTIFIED", "APP", "DESCRIPTION")
		for _, p := range found {
			var def definition
			if err := json.Unmarshal(p.PackageInformation.PackageDefinition, &def); err != nil {
				return fmt.Errorf("read the definition of %s: %w", p.AppID, err)
			}
			t.add(def.Name, def.Version, capital(def.Selected), p.AppID, def.Description)
		}
		return show(e, *asJSON, found, t, "nothing is installed; see what there is with `dcos package search`")
	})
	return c
}

func packageUninstall(e *Env) *cobra.Command {
	c := &cobra.Command{Use: "uninstall PACKAGE", Short: "Uninstall a package: end its tasks and remove its app", Args: exactly(1), ValidArgsFunction: complete(e, packageNames)}
	appID := c.Flags().String("app-id", "", "which one, when it is installed more than once")
	all := c.Flags().Bool("all", false, "all that are installed of it")
	yes := c.Flags().Bool("yes", false, "do not ask")
	w := waitFlags(c, false)
	dry := dryFlag(c)
	asJSON := jsonFlag(c)
	c.RunE = ask(e, func(ctx context.Context, api *client.Client, args []string) error {
		req := client.PackageRequest{PackageName: args[0], AppID: *appID, All: *all}
		if *dry {
			return try(e, api, func(c *client.Client) error { _, err := c.UninstallPackage(ctx, req); return err })
		}
		if !*yes {
			if err := confirm(e, "This ends the tasks of "+args[0]+" and removes it.", args[0]); err != nil {
				return err
			}
		}
		out, err := api.UninstallPackage(ctx, req)
		if err != nil {
			return err
		}
		if *asJSON {
			if err := printJSON(e, out); err != nil {
				return err
			}
		}
		for _, r := range out.Results {
			if !*asJSON {
				fmt.Fprintf(e.Out, "Uninstalled %s %s (%s)\n", r.PackageName, printable(r.PackageVersion), r.AppID)
			}
			if err := w.removed(ctx, e, api, appName(r.AppID)); err != nil {
				return err
			}
			if r.PostUninstallNotes != "" {
				fmt.Fprintln(e.Err, printable(r.PostUninstallNotes))
			}
		}
		return nil
	})
	return c
}

func packageRepos(e *Env) *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List repositories", Args: noArgs}
	asJSON := jsonFlag(c)
	c.RunE = ask(e, func(ctx context.Context, api *client.Client, _ []string) error {
		all, err := api.Repositories(ctx)
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(e, client.RepositoryList{Repositories: all})
		}
		t := newTable("NAME", "URI")
		for _, r := range all {
			t.add(r.Name, r.URI)
		}
		return t.write(e, "no repositories")
	})
	return c
}
