// Package dcos is the HTTP API for what DC/OS never had, /dcos/v1: nodes,
// tasks and services as rows, one resumable stream of them, explanations,
// users and tokens; with it DC/OS' own login, the logs of tasks, and what
// every client asks for first.
//
// It promises that a row reads the same in a list and on the stream, and that
// a client that is slow or was away can always go on. It must not decide
// anything, and no answer holds a secret that it does not exist to hand out.
package dcos

import (
	"crypto/rand"
	"io"
	"log/slog"
	"net/http"

	"github.com/dcos-go/dcos/pkg/api"
	"github.com/dcos-go/dcos/pkg/auth"
	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
)

// Config is what the dialect stands on. Everything is required unless it says
// what is used instead.
type Config struct {
	State api.State
	// Leader is the master that leads; 0 is none.
	Leader func() dcos.MasterID
	// Term is the present raft term.
	Term func() dcos.Term
	// Alive says whether gossip sees a master; nil sees all.
	Alive func(dcos.MasterID) bool
	// Usage is what a node really uses, known at the leader only; nil knows
	// of none.
	Usage func(dcos.NodeID) (client.Usage, bool)
	Gate  *auth.Gate
	// Secrets are the cluster's; only the CA is used.
	Secrets func() *auth.Secrets
	Version client.Version
	// Random is where secrets come from; nil is the system.
	Random io.Reader
	Log    *slog.Logger
}

// The permissions of the routes.
func need(path, action string) auth.Permission { return auth.Permission{Path: path, Action: action} }

type server struct {
	Config
	status   statusMemo
	nodeList nodeMemo
}

// Routes are the dialect.
func Routes(c Config) api.Dialect {
	if c.Random == nil {
		c.Random = rand.Reader
	}
	if c.Alive == nil {
		c.Alive = func(dcos.MasterID) bool { return true }
	}
	if c.Usage == nil {
		c.Usage = func(dcos.NodeID) (client.Usage, bool) { return client.Usage{}, false }
	}
	s := &server{Config: c}
	d := api.Dialect{Name: "dcos", WriteError: api.WriteProblem}
	add := func(r api.Route, h api.Handler) {
		r.Handler = api.Handle(s.Log, api.WriteProblem, h)
		d.Routes = append(d.Routes, r)
	}
	read := func(pattern, path string, h api.Handler) {
		add(api.Route{Method: http.MethodGet, Pattern: "/dcos/v1/" + pattern, Access: api.Permitted, Need: need(path, auth.ActionRead)}, h)
	}
	write := func(method, pattern, path string, h api.Handler) {
		add(api.Route{Method: method, Pattern: "/dcos/v1/" + pattern, Access: api.Permitted, Need: need(path, auth.ActionWrite), Place: api.LeaderOnly}, h)
	}
	read("cluster", "/cluster", s.cluster)
	read("masters", "/cluster", s.masters)
	read("events", "/cluster", s.events)
	read("nodes", "/nodes", s.nodes)
	read("nodes/{id}", "/nodes", s.node)
	write(http.MethodDelete, "nodes/{id}", "/nodes", s.removeNode)
	write(http.MethodPost, "nodes/{id}/drain", "/nodes", s.drainNode)
	write(http.MethodPost, "nodes/{id}/activate", "/nodes", s.activateNode)
	read("tasks", "/apps", s.tasks)
	read("tasks/{id}", "/apps", s.task)
	write(http.MethodPost, "tasks/{id}/kill", "/apps", s.killTask)
	read("services", "/apps", s.services)
	read("services/{id...}", "/apps", s.service)
	read("deployments", "/apps", s.deployments)
	read("why/{app...}", "/apps", s.why)
	read("packages", "/packages", s.packages)
	read("tokens", "/tokens", s.tokens)
	write(http.MethodPost, "tokens", "/tokens", s.createToken)
	write(http.MethodDelete, "tokens/{id}", "/tokens", s.removeToken)
	read("roles", "/roles", s.roles)
	write(http.MethodPut, "roles/{role...}", "/roles", s.putRole)
	write(http.MethodDelete, "roles/{role...}", "/roles", s.removeRole)
	read("users", "/users", s.users)
	write(http.MethodPost, "users", "/users", s.createUser)
	write(http.MethodDelete, "users/{id}", "/users", s.removeUser)
	write(http.MethodPost, "users/{id}/password", "/users", s.setPassword)
	loggedIn := func(method, pattern string, h api.Handler) {
		add(api.Route{Method: method, Pattern: pattern, Access: api.LoggedIn}, h)
	}
	loggedIn(http.MethodGet, "/dcos/v1/me", s.me)
	loggedIn(http.MethodGet, "/dcos/v1/version", s.version)
	loggedIn(http.MethodGet, "/dcos/v1/meta/enums", enums)
	// Which topics a stream shows depends on who listens.
	add(api.Route{Method: http.MethodGet, Pattern: "/dcos/v1/stream", Access: api.LoggedIn, Stream: true}, s.stream)
	add(api.Route{
		Method: http.MethodGet, Pattern: "/system/v1/logs/v2/task/{rest...}", Access: api.Permitted, Need: need("/logs", auth.ActionRead),
	}, s.findLog)
	d.Routes = append(d.Routes, s.loginRoutes()...)
	return d
}

func (s *server) version(w http.ResponseWriter, _ *http.Request) error {
	api.WriteJSON(w, http.StatusOK, s.Version)
	return nil
}

// dryRun answers a write that is only to be tried out.
func dryRun(w http.ResponseWriter, would ...string) error {
	api.WriteJSON(w, http.StatusOK, client.DryRun{DryRun: true, Would: would})
	return nil
}
