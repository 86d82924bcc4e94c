package client

import (
	"context"
	"net/http"
)

// cosmos calls a verb of the package API.
func (c *Client) cosmos(ctx context.Context, verb string, body, into any) error {
	return c.do(ctx, call{method: http.MethodPost, path: "/package/" + verb, body: body}, into)
}

// SearchPackages finds packages by a word or a glob; "" finds all.
func (c *Client) SearchPackages(ctx context.Context, query string) ([]PackageSummary, error) {
	var out PackageSearch
	err := c.cosmos(ctx, "search", PackageRequest{Query: query}, &out)
	return out.Packages, err
}

// DescribePackage is a package's definition; version "" is the newest.
func (c *Client) DescribePackage(ctx context.Context, name, version string) (PackageDescribe, error) {
	var out PackageDescribe
	return out, c.cosmos(ctx, "describe", PackageRequest{PackageName: name, PackageVersion: version}, &out)
}

// PackageVersions are the versions of a package with their release numbers.
func (c *Client) PackageVersions(ctx context.Context, name string) (map[string]string, error) {
	var out PackageVersions
	err := c.cosmos(ctx, "list-versions", PackageRequest{PackageName: name, IncludePackageVersions: true}, &out)
	return out.Results, err
}

// RenderPackage is the app that an installation would make.
func (c *Client) RenderPackage(ctx context.Context, req PackageRequest) (PackageRendered, error) {
	var out PackageRendered
	return out, c.cosmos(ctx, "render", req, &out)
}

// InstallPackage installs a package.
func (c *Client) InstallPackage(ctx context.Context, req PackageRequest) (PackageInstalled, error) {
	var out PackageInstalled
	return out, c.cosmos(ctx, "install", req, &out)
}

// TryInstall says what an installation would do, and changes nothing.
func (c *Client) TryInstall(ctx context.Context, req PackageRequest) (DryRun, error) {
	return c.Try(func(c *Client) error { _, err := c.InstallPackage(ctx, req); return err })
}

// UninstallPackage uninstalls a package with its app.
func (c *Client) UninstallPackage(ctx context.Context, req PackageRequest) (PackageUninstalled, error) {
	var out PackageUninstalled
	return out, c.cosmos(ctx, "uninstall", req, &out)
}

// Packages are the installed packages, those of a name or app when given.
func (c *Client) Packages(ctx context.Context, name, app string) ([]PackageListed, error) {
	var out PackageList
	err := c.cosmos(ctx, "list", PackageRequest{PackageName: name, AppID: app}, &out)
	return out.Packages, err
}

// Repositories are where packages come from.
func (c *Client) Repositories(ctx context.Context) ([]Repository, error) {
	var out RepositoryList
	err := c.cosmos(ctx, "repository/list", nil, &out)
	return out.Repositories, err
}
