// Package cosmos is the HTTP API of DC/OS' package manager: the catalog, and
// installing, listing and uninstalling what is in it.
//
// It promises Cosmos' shapes, media types and error types, and that a package
// and its app are installed together or not at all. It must not read
// templates or options itself: package catalog renders, package app reads what
// was rendered.
package cosmos

import (
	"encoding/json"
	"log/slog"
	"mime"
	"net/http"
	"strings"

	"github.com/dcos-go/dcos/pkg/api"
	"github.com/dcos-go/dcos/pkg/auth"
	"github.com/dcos-go/dcos/pkg/catalog"
	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
)

// Config is what the dialect stands on.
type Config struct {
	State   api.State
	Catalog *catalog.Catalog
	Log     *slog.Logger
}

// repository is the name of the catalog that comes with the binary.
const repository = "Bundled"

type server struct{ Config }

// call is one verb of the API.
type call struct {
	path string // below /package/
	verb string // in media types
	// versions of the response, newest first.
	versions []string
	write    bool
	do       func(*answer) (any, error)
}

// answer is one call being answered.
type answer struct {
	w   http.ResponseWriter
	r   *http.Request
	req client.PackageRequest
}

// Routes are the dialect.
func Routes(c Config) api.Dialect {
	s := &server{c}
	d := api.Dialect{Name: "cosmos", WriteError: writeError}
	v1 := []string{"v1"}
	for _, c := range []call{
		{"search", "search", v1, false, s.search},
		{"describe", "describe", []string{"v3"}, false, s.describe},
		{"list-versions", "list-versions", v1, false, s.versions},
		{"render", "render", v1, false, s.render},
		{"install", "install", []string{"v2", "v1"}, true, s.install},
		{"uninstall", "uninstall", v1, true, s.uninstall},
		{"list", "list", v1, false, s.list},
		{"repository/list", "repository.list", v1, false, s.repositories},
	} {
		d.Routes = append(d.Routes, c.route("/package/"+c.path, s.Log, s.serve(c)))
	}
	for _, path := range []string{"/package/repository/add", "/package/repository/delete"} {
		d.Routes = append(d.Routes, call{write: true}.route(path, s.Log, noRepositories))
	}
	d.Routes = append(d.Routes, api.Route{Method: http.MethodGet, Pattern: "/capabilities", Access: api.LoggedIn, Handler: api.Handle(c.Log, writeError, capabilities)})
	return d
}

func (c call) route(path string, log *slog.Logger, h api.Handler) api.Route {
	r := api.Route{Method: http.MethodPost, Pattern: path, Access: api.Permitted, Need: auth.Permission{Path: "/packages", Action: auth.ActionRead}}
	if c.write {
		r.Need.Action, r.Place = auth.ActionWrite, api.LeaderOnly
	}
	r.Handler = api.Handle(log, writeError, h)
	return r
}

func (s *server) serve(c call) api.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if t := r.Header.Get("Content-Type"); t != "" {
			if media, _, err := mime.ParseMediaType(t); err != nil || !strings.HasSuffix(media, "json") {
				return &fault{typ: "UnsupportedContentType", message: "Content-Type " + quote(t) + " is not JSON"}
			}
		}
		a := &answer{w: w, r: r}
		body, err := api.ReadBody(r)
		if err != nil {
			return err
		}
		if len(body) > 0 {
			if !json.Valid(body) {
				return &fault{typ: "JsonParsingError", message: "the request body is not JSON"}
			}
			if err := api.DecodeJSON(body, &a.req); err != nil {
				return &fault{typ: "JsonDecodingError", message: err.Error(), kind: dcos.ErrInvalid}
			}
		}
		if a.req.ManagerID != "" {
			return &fault{typ: "CustomPackageManagerNotFound", message: "there are no other package managers", data: map[string]any{"managerId": a.req.ManagerID}}
		}
		out, err := c.do(a)
		if err != nil {
			return err
		}
		b, err := json.Marshal(out)
		if err != nil {
			return err
		}
		w.Header().Set("Content-Type", c.media(r.Header.Get("Accept")))
		_, _ = w.Write(append(b, '\n')) // a client that went away is no error of ours
		return nil
	}
}

// media is the type of the response: Cosmos' own for those who ask for it,
// plain JSON for everybody else.
func (c call) media(accept string) string {
	if !strings.Contains(accept, "vnd.dcos.") {
		return "application/json;charset=utf-8"
	}
	version := c.versions[0]
	for _, v := range c.versions {
		if strings.Contains(accept, c.verb+"-response+json") && strings.Contains(accept, "version="+v) {
			version = v
			break
		}
	}
	return "application/vnd.dcos.package." + c.verb + "-response+json;charset=utf-8;version=" + version
}

func capabilities(w http.ResponseWriter, _ *http.Request) error {
	type capability struct {
		Name string `json:"name"`
	}
	b, err := json.Marshal(map[string]any{"capabilities": []capability{{"PACKAGE_MANAGEMENT"}, {"LOGGING"}, {"LOGGING_V2"}}})
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/vnd.dcos.capabilities+json;charset=utf-8;version=v1")
	_, _ = w.Write(b) // a client that went away is no error of ours
	return nil
}
