package cosmos

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/dcos-go/dcos/pkg/api"
	"github.com/dcos-go/dcos/pkg/app"
	"github.com/dcos-go/dcos/pkg/catalog"
	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/scheduler"
	"github.com/dcos-go/dcos/pkg/state"
)

var errInstalled = &fault{status: http.StatusConflict, typ: "PackageAlreadyInstalled", message: "Package is already installed", kind: dcos.ErrConflict}

func (s *server) install(a *answer) (any, error) {
	p, doc, err := s.rendered(a)
	if err != nil {
		return nil, err
	}
	def, err := app.Parse(doc)
	if err != nil {
		return nil, err
	}
	dry, err := api.DryRun(a.r)
	if err != nil {
		return nil, err
	}
	v := s.State.Feed.View()
	if row, ok := v.App(def.ID); ok && !row.Deleting {
		return nil, errInstalled
	}
	all := state.All{}
	if _, stale := v.Package(def.ID); stale { // its app is gone
		all.Commands = append(all.Commands, state.RemovePackage{App: def.ID})
	}
	all.Commands = append(all.Commands,
		state.PutApp{App: def, Mode: state.PutCreate},
		state.PutPackage{Package: dcos.Package{
			App: def.ID, Name: p.Name, Version: p.Version, Release: p.Release, Options: a.options(), Definition: p.Definition(),
		}})
	if dry {
		return s.tryInstall(v, p, &def, all)
	}
	switch _, err := s.State.Propose(a.r, all); {
	case errors.Is(err, dcos.ErrConflict) && isThere(s.State.Feed.View(), def.ID):
		return nil, errInstalled
	case errors.Is(err, dcos.ErrConflict):
		return nil, &fault{status: http.StatusConflict, typ: "ConcurrentAccess", message: "app " + string(def.ID) + " is still being deleted: try again in a moment", kind: dcos.ErrConflict}
	case err != nil:
		return nil, err
	}
	return client.PackageInstalled{PackageName: p.Name, PackageVersion: p.Version, AppID: string(def.ID), PostInstallNotes: p.PostInstall}, nil
}

// tryInstall is what an installation would do.
func (s *server) tryInstall(v state.View, p *catalog.Package, def *dcos.App, all state.All) (any, error) {
	f, err := scheduler.Try(v, s.State.Time(), all)
	if err != nil {
		return nil, err
	}
	shown := app.Render(def)
	would := fmt.Sprintf("install package %s %s as app %s with %d instances", p.Name, p.Version, def.ID, def.Instances)
	out := client.DryRun{DryRun: true, Would: []string{would}, App: &shown}
	api.Foretell(&out, f.Apps)
	return out, nil
}

func isThere(v state.View, id dcos.AppID) bool {
	row, ok := v.App(id)
	return ok && !row.Deleting
}

// installed are the packages whose apps are there, by name and app.
func installed(v state.View, req *client.PackageRequest) []*dcos.Package {
	var out []*dcos.Package
	id := strings.Trim(req.AppID, "/")
	for p := range v.Packages() {
		if !isThere(v, p.App) || req.PackageName != "" && p.Name != req.PackageName ||
			id != "" && strings.Trim(string(p.App), "/") != id || req.PackageVersion != "" && p.Version != req.PackageVersion {
			continue
		}
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b *dcos.Package) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(string(a.App), string(b.App)))
	})
	return out
}

func (s *server) list(a *answer) (any, error) {
	v, err := s.State.View(a.w, a.r)
	if err != nil {
		return nil, err
	}
	out := client.PackageList{Packages: []client.PackageListed{}}
	for _, p := range installed(v, &a.req) {
		info, err := information(p)
		if err != nil {
			return nil, err
		}
		out.Packages = append(out.Packages, client.PackageListed{AppID: string(p.App), PackageInformation: info})
	}
	return out, nil
}

// information is the definition that was installed, without its large parts.
func information(p *dcos.Package) (client.PackageInformation, error) {
	var def catalog.Package
	if err := json.Unmarshal(p.Definition, &def); err != nil {
		return client.PackageInformation{}, fmt.Errorf("definition of installed package %s %s: %w", p.Name, p.Version, err)
	}
	info := client.PackageInformation{ResourceDefinition: def.Resource}
	def.Config, def.Resource, def.Marathon, def.Command = nil, nil, nil, nil
	info.PackageDefinition = def.Definition()
	return info, nil
}

func (s *server) uninstall(a *answer) (any, error) {
	if a.req.PackageName == "" {
		return nil, &fault{typ: "JsonDecodingError", message: "packageName: missing"}
	}
	dry, err := api.DryRun(a.r)
	if err != nil {
		return nil, err
	}
	v := s.State.Feed.View()
	found := installed(v, &a.req)
	if err := unambiguous(&a.req, found); err != nil {
		return nil, err
	}
	if dry {
		out := client.DryRun{DryRun: true, Would: []string{}}
		for _, p := range found {
			out.Would = append(out.Would, fmt.Sprintf("uninstall package %s %s: delete app %s and end its tasks", p.Name, p.Version, p.App))
		}
		return out, nil
	}
	var all state.All
	out := client.PackageUninstalled{Results: []client.PackageUninstallResult{}}
	for _, p := range found {
		all.Commands = append(all.Commands, state.DeleteApp{App: p.App, Force: true}, state.RemovePackage{App: p.App})
		out.Results = append(out.Results, client.PackageUninstallResult{
			PackageName: p.Name, PackageVersion: p.Version, AppID: string(p.App), PostUninstallNotes: postUninstall(p),
		})
	}
	if _, err := s.State.Propose(a.r, all); err != nil {
		if errors.Is(err, dcos.ErrNotFound) { // somebody else was faster
			return nil, notInstalled(&a.req)
		}
		return nil, err
	}
	return out, nil
}

func unambiguous(req *client.PackageRequest, found []*dcos.Package) error {
	if len(found) == 0 {
		return notInstalled(req)
	}
	if len(found) > 1 && !req.All {
		ids := make([]string, len(found))
		for i, p := range found {
			ids[i] = string(p.App)
		}
		return &fault{
			typ: "AmbiguousAppId", message: fmt.Sprintf("Multiple apps named [%s] are installed: [%s]", req.PackageName, strings.Join(ids, ", ")),
			data: map[string]any{"packageName": req.PackageName, "appIds": ids},
		}
	}
	return nil
}

func notInstalled(req *client.PackageRequest) error {
	if req.AppID != "" {
		return &fault{
			typ: "UninstallNonExistentAppForPackage", message: fmt.Sprintf("Package [%s] with id %s is not installed", req.PackageName, quote(req.AppID)),
			data: map[string]string{"packageName": req.PackageName, "appId": req.AppID},
		}
	}
	return &fault{
		typ: "PackageNotInstalled", message: "Package " + quote(req.PackageName) + " is not installed",
		data: map[string]string{"packageName": req.PackageName},
	}
}

func postUninstall(p *dcos.Package) string {
	var def struct {
		Notes string `json:"postUninstallNotes"`
	}
	if json.Unmarshal(p.Definition, &def) != nil {
		return ""
	}
	return def.Notes
}
