package apitest

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/dcos-go/dcos/pkg/api"
	"github.com/dcos-go/dcos/pkg/auth"
	"github.com/dcos-go/dcos/pkg/dcos"
)

// State is the cluster as dialects take it.
func (c *Cluster) State() api.State { return api.State{Proposer: c, Feed: c, Now: c.Now} }

// Quiet is a log for tests.
func Quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// Leads is the api.Leader of a master that leads.
type Leads struct{}

// Leads is always true.
func (Leads) Leads() bool { return true }

// Forward is never called.
func (Leads) Forward(http.ResponseWriter, *http.Request) error { return dcos.ErrUnavailable }

// Handler is the HTTP shell around dialects. It panics when their routes
// clash.
func Handler(who api.Authenticator, ds ...api.Dialect) http.Handler {
	table, err := api.NewTable(ds...)
	if err != nil {
		panic("apitest: " + err.Error())
	}
	return api.New(api.Config{Table: table, Auth: who, Leader: Leads{}, Log: Quiet()})
}

// Admin is everybody as an administrator.
func Admin() api.Authenticator {
	p := auth.System()
	p.ID, p.Kind = "admin", auth.KindUser
	return api.Trusted(p)
}

// Do asks a handler; headers are "Name: value".
func Do(h http.Handler, method, path, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(context.Background(), method, path, strings.NewReader(body))
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}
