package client

import "encoding/json"

// The JSON shapes of Cosmos' package API (dcos-api section 3).
type (
	// PackageRequest is the body of every /package call; each call reads the
	// fields it knows.
	PackageRequest struct {
		Query          string          `json:"query,omitempty"`
		PackageName    string          `json:"packageName,omitempty"`
		PackageVersion string          `json:"packageVersion,omitempty"`
		AppID          string          `json:"appId,omitempty"`
		Options        json.RawMessage `json:"options,omitempty"`
		All            bool            `json:"all,omitempty"`
		// IncludePackageVersions is sent with list-versions and changes nothing.
		IncludePackageVersions bool   `json:"includePackageVersions,omitempty"`
		ManagerID              string `json:"managerId,omitempty"` // refused: there are no package managers
	}
	// PackageSummary is a row of a search.
	PackageSummary struct {
		Name           string            `json:"name"`
		CurrentVersion string            `json:"currentVersion"`
		Versions       map[string]string `json:"versions"` // version -> release
		Description    string            `json:"description"`
		Framework      bool              `json:"framework"`
		Tags           []string          `json:"tags"`
		Selected       bool              `json:"selected"`
		Images         json.RawMessage   `json:"images,omitempty"`
	}
	// PackageSearch answers /package/search.
	PackageSearch struct {
		Packages []PackageSummary `json:"packages"`
	}
	// PackageDescribe answers /package/describe.
	PackageDescribe struct {
		Package json.RawMessage `json:"package"` // the definition with config and resource
	}
	// PackageInstalled answers /package/install.
	PackageInstalled struct {
		PackageName      string `json:"packageName"`
		PackageVersion   string `json:"packageVersion"`
		AppID            string `json:"appId,omitempty"`
		PostInstallNotes string `json:"postInstallNotes,omitempty"`
	}
	// PackageList answers /package/list.
	PackageList struct {
		Packages []PackageListed `json:"packages"`
	}
	// PackageListed is one installed package.
	PackageListed struct {
		AppID              string             `json:"appId"`
		PackageInformation PackageInformation `json:"packageInformation"`
	}
	// PackageInformation is its definition.
	PackageInformation struct {
		PackageDefinition json.RawMessage `json:"packageDefinition"`
		// ResourceDefinition names icons and images, when the package has any.
		ResourceDefinition json.RawMessage `json:"resourceDefinition,omitempty"`
	}
	// PackageVersions answers /package/list-versions: version -> release.
	PackageVersions struct {
		Results map[string]string `json:"results"`
	}
	// PackageRendered answers /package/render.
	PackageRendered struct {
		MarathonJSON json.RawMessage `json:"marathonJson"`
	}
	// Repository is where packages come from.
	Repository struct {
		Name string `json:"name"`
		URI  string `json:"uri"`
	}
	// RepositoryList answers /package/repository/list.
	RepositoryList struct {
		Repositories []Repository `json:"repositories"`
	}
	// PackageUninstalled answers /package/uninstall.
	PackageUninstalled struct {
		Results []PackageUninstallResult `json:"results"`
	}
	// PackageUninstallResult is one uninstalled package.
	PackageUninstallResult struct {
		PackageName        string `json:"packageName"`
		PackageVersion     string `json:"packageVersion"`
		AppID              string `json:"appId"`
		PostUninstallNotes string `json:"postUninstallNotes,omitempty"`
	}
	// CosmosError is the body of every error of this dialect.
	CosmosError struct {
		Type    string          `json:"type"`
		Message string          `json:"message"`
		Data    json.RawMessage `json:"data,omitempty"`
	}
)
