// Package marathon is Marathon's HTTP API, version 2: apps, tasks,
// deployments, the launch queue and the stream of events.
//
// It promises the shapes, statuses and headers that clients of Marathon depend
// on. It must not decide anything: definitions are read by package app, rules
// between facts are the state's, and what happens next is the scheduler's.
package marathon

import (
	"log/slog"
	"net/http"
	"strings"

	"github.com/dcos-go/dcos/pkg/api"
	"github.com/dcos-go/dcos/pkg/auth"
	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

// Config is what the dialect stands on.
type Config struct {
	State api.State
	// Leader is the master that leads; 0 is none.
	Leader func() dcos.MasterID
	// Scheme of the API's URLs: https, or http in dev.
	Scheme  string
	Version client.Version
	Log     *slog.Logger
}

// version is the Marathon whose API this is.
const version = "1.11.24"

// The permissions of the routes.
var (
	readApps  = auth.Permission{Path: "/apps", Action: auth.ActionRead}
	writeApps = auth.Permission{Path: "/apps", Action: auth.ActionWrite}
)

type server struct{ Config }

// Routes are the dialect with paths from /v2 on; Mount puts it under
// /service/marathon as well.
func Routes(c Config) api.Dialect {
	s := &server{c}
	d := api.Dialect{Name: "marathon", WriteError: s.writeError}
	read := func(pattern string, h api.Handler) {
		d.Routes = append(d.Routes, api.Route{Method: http.MethodGet, Pattern: pattern, Access: api.Permitted, Need: readApps, Handler: s.handle(h)})
	}
	write := func(method, pattern string, h api.Handler) {
		d.Routes = append(d.Routes, api.Route{Method: method, Pattern: pattern, Access: api.Permitted, Need: writeApps, Place: api.LeaderOnly, Handler: s.handle(h)})
	}
	read("/v2/apps", s.listApps)
	write(http.MethodPost, "/v2/apps", s.createApp)
	write(http.MethodPut, "/v2/apps", s.putApps)
	write(http.MethodPatch, "/v2/apps", s.putApps)
	read("/v2/apps/{id...}", s.getBelow)
	write(http.MethodPost, "/v2/apps/{id...}", s.postBelow)
	write(http.MethodPut, "/v2/apps/{id...}", s.putApp)
	write(http.MethodPatch, "/v2/apps/{id...}", s.putApp)
	write(http.MethodDelete, "/v2/apps/{id...}", s.deleteBelow)
	read("/v2/tasks", s.listTasks)
	write(http.MethodPost, "/v2/tasks/delete", s.killTasks)
	read("/v2/deployments", s.listDeployments)
	write(http.MethodDelete, "/v2/deployments/{id}", s.cancelDeployment)
	read("/v2/queue", s.queue)
	write(http.MethodDelete, "/v2/queue/{id...}", s.resetDelay)
	read("/v2/info", s.info)
	read("/v2/leader", s.leader)
	read("/v2/plugins", s.plugins)
	read("/v2/groups", s.group)
	read("/v2/groups/{id...}", s.group)
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
		write(method, "/v2/groups", s.noGroups)
		write(method, "/v2/groups/{id...}", s.noGroups)
	}
	d.Routes = append(d.Routes,
		api.Route{Method: http.MethodGet, Pattern: "/v2/events", Access: api.Permitted, Need: readApps, Stream: true, Handler: s.handle(s.events)},
		api.Route{Method: http.MethodGet, Pattern: "/ping", Access: api.Public, Handler: s.handle(s.ping)},
	)
	return d
}

// handle adds the headers that every answer of Marathon carries.
func (s *server) handle(h api.Handler) http.HandlerFunc {
	inner := api.Handle(s.Log, s.writeError, h)
	return func(w http.ResponseWriter, r *http.Request) {
		s.headers(w)
		inner(w, r)
	}
}

func (s *server) headers(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Cache-Control", "no-cache, no-store, must-revalidate")
	h.Set("Pragma", "no-cache")
	h.Set("Expires", "0")
	if addr := s.leaderAddr(); addr != "" {
		h.Set("X-Marathon-Leader", s.Scheme+"://"+addr)
	}
}

// leaderAddr is host:port of the leading master's API, "" when none is known.
func (s *server) leaderAddr() string {
	if m, ok := s.State.Feed.View().Master(s.Leader()); ok {
		return m.API
	}
	return ""
}

// below splits a path under /v2/apps, whose ids contain slashes: the id, and
// the sub-resource with what follows it. Ids never end in the word of a
// sub-resource, but may contain one, so the last place where one can stand
// counts.
func below(path string) (id, sub, rest string) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	n := len(parts)
	if n > 1 {
		switch last := parts[n-1]; last {
		case "restart", "tasks", "versions":
			return strings.Join(parts[:n-1], "/"), last, ""
		}
	}
	if n > 2 {
		switch word := parts[n-2]; word {
		case "tasks", "versions":
			return strings.Join(parts[:n-2], "/"), word, parts[n-1]
		}
	}
	return strings.Join(parts, "/"), "", ""
}

// appID reads the id in a path. One that can name no app is simply not there.
func appID(path string) (dcos.AppID, error) {
	id, err := dcos.ParseAppID(path)
	if err != nil {
		return "", noApp("/" + strings.Trim(path, "/"))
	}
	return id, nil
}

// shown is an app as users see it: one that is being deleted is gone.
func shown(v state.View, id dcos.AppID) (*state.AppRow, error) {
	row, ok := v.App(id)
	if !ok || row.Deleting {
		return nil, noApp(string(id))
	}
	return row, nil
}

func (s *server) ping(w http.ResponseWriter, r *http.Request) error {
	accept := r.Header.Get("Accept")
	switch {
	case accept == "" || strings.Contains(accept, "text/") || strings.Contains(accept, "*/*"):
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("pong")) // a client that went away is no error of ours
	case strings.Contains(accept, "application/json"):
		api.WriteJSON(w, http.StatusOK, "pong")
	default:
		w.WriteHeader(http.StatusNoContent)
	}
	return nil
}
