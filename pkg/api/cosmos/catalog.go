package cosmos

import (
	"encoding/json"
	"strconv"

	"github.com/dcos-go/dcos/pkg/catalog"
	"github.com/dcos-go/dcos/pkg/client"
)

func (s *server) search(a *answer) (any, error) {
	out := client.PackageSearch{Packages: []client.PackageSummary{}}
	for _, p := range s.Catalog.Search(a.req.Query) {
		out.Packages = append(out.Packages, client.PackageSummary{
			Name: p.Name, CurrentVersion: p.Version, Versions: releases(s.Catalog.Versions(p.Name)), Description: p.Description,
			Framework: p.Framework, Tags: append([]string{}, p.Tags...), Selected: p.Selected, Images: images(p),
		})
	}
	return out, nil
}

func releases(ps []*catalog.Package) map[string]string {
	out := map[string]string{}
	for _, p := range ps {
		out[p.Version] = strconv.FormatInt(p.Release, 10)
	}
	return out
}

func images(p *catalog.Package) json.RawMessage {
	var resource struct {
		Images json.RawMessage `json:"images"`
	}
	if p.Resource == nil || json.Unmarshal(p.Resource, &resource) != nil {
		return nil
	}
	return resource.Images
}

func (s *server) describe(a *answer) (any, error) {
	p, err := s.Catalog.Get(a.req.PackageName, a.req.PackageVersion)
	if err != nil {
		return nil, err
	}
	return client.PackageDescribe{Package: p.Definition()}, nil
}

func (s *server) versions(a *answer) (any, error) {
	if _, err := s.Catalog.Get(a.req.PackageName, ""); err != nil {
		return nil, err
	}
	return client.PackageVersions{Results: releases(s.Catalog.Versions(a.req.PackageName))}, nil
}

func (s *server) render(a *answer) (any, error) {
	_, doc, err := s.rendered(a)
	return client.PackageRendered{MarathonJSON: doc}, err
}

// rendered is the package that a call names and the app that it makes with the
// call's options.
func (s *server) rendered(a *answer) (*catalog.Package, []byte, error) {
	p, err := s.Catalog.Get(a.req.PackageName, a.req.PackageVersion)
	if err != nil {
		return nil, nil, err
	}
	if p.Marathon == nil {
		return nil, nil, &fault{
			typ: "ServiceMarathonTemplateNotFound", message: "package " + p.Name + " " + p.Version + " has nothing to run on the cluster",
			data: map[string]string{"packageName": p.Name, "packageVersion": p.Version},
		}
	}
	options := a.options()
	if p.Config == nil && options != nil && string(options) != "{}" {
		return nil, nil, &fault{typ: "OptionsNotAllowed", message: "package " + p.Name + " takes no options"}
	}
	doc, err := p.Render(s.Catalog.Source, options, a.req.AppID)
	return p, doc, err
}

// options are the user's, nil for none; null is none.
func (a *answer) options() []byte {
	if string(a.req.Options) == "null" {
		return nil
	}
	return a.req.Options
}

func (s *server) repositories(*answer) (any, error) {
	return client.RepositoryList{Repositories: []client.Repository{{Name: repository, URI: s.Catalog.Source}}}, nil
}
