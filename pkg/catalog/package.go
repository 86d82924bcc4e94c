// Package catalog is packages in the Universe format: reading a repository,
// searching it, and rendering a package with a user's options into an app
// definition.
//
// It promises that rendering is a function of package and options alone, that
// templates behave as the ones in Universe expect (the mustache.java dialect),
// and that options which break the package's schema are refused with every
// violation named. It must not fetch anything: its caller hands a file system
// or a document in.
package catalog

import (
	"encoding/json"
	"fmt"
	"regexp"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// Package is one release of one package.
type Package struct {
	PackagingVersion string   `json:"packagingVersion"`
	Name             string   `json:"name"`
	Version          string   `json:"version"`
	Release          int64    `json:"releaseVersion"`
	Maintainer       string   `json:"maintainer"`
	Description      string   `json:"description"`
	Tags             []string `json:"tags"`
	Selected         bool     `json:"selected,omitempty"`
	SCM              string   `json:"scm,omitempty"`
	Website          string   `json:"website,omitempty"`
	Framework        bool     `json:"framework,omitempty"`
	PreInstall       string   `json:"preInstallNotes,omitempty"`
	PostInstall      string   `json:"postInstallNotes,omitempty"`
	PostUninstall    string   `json:"postUninstallNotes,omitempty"`
	Licenses         []struct {
		Name string `json:"name"`
		URL  string `json:"url"`
	} `json:"licenses,omitempty"`
	MinRelease     string   `json:"minDcosReleaseVersion,omitempty"`
	UpgradesFrom   []string `json:"upgradesFrom,omitempty"`
	DowngradesTo   []string `json:"downgradesTo,omitempty"`
	HasKnownIssues bool     `json:"hasKnownIssues,omitempty"`
	LastUpdated    int64    `json:"lastUpdated,omitempty"`

	// Config is the JSON schema of the options; nil: there are none.
	Config json.RawMessage `json:"config,omitempty"`
	// Resource names what is downloaded: images, files, icons.
	Resource json.RawMessage `json:"resource,omitempty"`
	Marathon *Template       `json:"marathon,omitempty"`
	// Command is what old releases installed on the user's machine; kept so
	// that their documents read, never run.
	Command json.RawMessage `json:"command,omitempty"`
}

// Template is the Mustache template of the app definition.
type Template struct {
	V2AppMustacheTemplate []byte `json:"v2AppMustacheTemplate"` // base64 in JSON
}

var (
	validName    = regexp.MustCompile(`^[a-z][a-z0-9-]*[a-z0-9]$`)
	validVersion = regexp.MustCompile(`^[-a-zA-Z0-9.]+$`)
)

// Limits of a package's parts.
const (
	maxDocument = 1 << 20
	maxName     = 128
)

// check says what makes a release unusable (frameworks and dcos-api section 3.3).
func (p *Package) check() error {
	switch {
	case len(p.Name) > maxName || !validName.MatchString(p.Name):
		return fmt.Errorf("%w: package name %q, expected lower-case letters, digits and dashes", dcos.ErrInvalid, p.Name)
	case len(p.Version) > maxName || !validVersion.MatchString(p.Version):
		return fmt.Errorf("%w: package %s: version %q, expected letters, digits, dots and dashes", dcos.ErrInvalid, p.Name, p.Version)
	case p.Release < 0:
		return fmt.Errorf("%w: package %s %s: releaseVersion %d is negative", dcos.ErrInvalid, p.Name, p.Version, p.Release)
	case p.Description == "" || p.Maintainer == "":
		return fmt.Errorf("%w: package %s %s lacks a description or a maintainer", dcos.ErrInvalid, p.Name, p.Version)
	}
	switch p.PackagingVersion {
	case "2.0", "3.0", "4.0", "5.0":
	default:
		return fmt.Errorf("%w: package %s %s: packagingVersion %q, expected 2.0, 3.0, 4.0 or 5.0", dcos.ErrInvalid, p.Name, p.Version, p.PackagingVersion)
	}
	if p.Config != nil {
		if _, err := p.schema(); err != nil {
			return err
		}
	}
	return nil
}

// Definition is the package as one document, the form that describe shows and
// that is kept with an installation.
func (p *Package) Definition() []byte {
	b, err := json.Marshal(p)
	if err != nil {
		panic("catalog: a package that was read does not encode: " + err.Error())
	}
	return b
}
