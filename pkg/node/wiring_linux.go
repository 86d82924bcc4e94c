package node

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"

	"github.com/dcos-go/dcos/pkg/api"
	"github.com/dcos-go/dcos/pkg/api/cosmos"
	dcosapi "github.com/dcos-go/dcos/pkg/api/dcos"
	"github.com/dcos-go/dcos/pkg/api/marathon"
	mesosapi "github.com/dcos-go/dcos/pkg/api/mesos"
	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/config"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/dispatch"
	"github.com/dcos-go/dcos/pkg/link"
	"github.com/dcos-go/dcos/pkg/membership"
	"github.com/dcos-go/dcos/ui"
)

// newDispatcher makes the master's half of the agent sessions.
func (m *master) newDispatcher() *dispatch.Dispatcher {
	return dispatch.NewDispatcher(dispatch.Config{
		Proposer: m.raft, Feed: m.raft, Log: m.log,
		Leadership: func() (dispatch.Role, <-chan struct{}) {
			l, changed := m.raft.Leadership()
			r := dispatch.Role{Term: l.Term, Leads: l.Ready && l.Leader == m.files.id}
			if !r.Leads && l.Leader != m.files.id {
				r.Leader, _ = m.masterAddress(l.Leader) // unknown is "": the agent asks around
			}
			return r, changed
		},
		Probe: link.Probe,
	})
}

// serveAgents gives each connection of an agent to dispatch.
func (m *master) serveAgents(ctx context.Context) error {
	var open sync.WaitGroup
	defer open.Wait()
	for {
		c, err := m.listener.Accept(ctx, link.ProtoAgent)
		if err != nil {
			return endOf(ctx, err)
		}
		open.Go(func() { // ends with the connection, which ends with ctx
			if err := m.dispatch.Serve(ctx, c, c.Peer); err != nil && ctx.Err() == nil {
				m.log.Info("session ended", "node", c.Peer.ID, "err", err)
			}
		})
	}
}

// table is every route of a master, and one more that lists them.
func (m *master) table() (*api.Table, error) {
	var t *api.Table
	rows := make([]client.Route, 0, 128)
	list := api.Dialect{Name: "routes", WriteError: api.WriteProblem, Routes: []api.Route{{
		Method: http.MethodGet, Pattern: "/dcos/v1/meta/routes", Access: api.LoggedIn,
		Handler: func(w http.ResponseWriter, _ *http.Request) { api.WriteJSON(w, http.StatusOK, rows) },
	}}}
	t, err := api.NewTable(append(m.dialects(), list)...)
	if err != nil {
		return nil, fmt.Errorf("table of routes: %w", err)
	}
	for _, r := range t.Rows() {
		row := client.Route{Method: r.Method, Path: r.Pattern, Access: r.Access.String()}
		if r.Access == api.Permitted {
			row.Permission, row.Action = r.Need.Path, r.Need.Action
		}
		rows = append(rows, row)
	}
	return t, nil
}

// dialects are all routes of a master.
func (m *master) dialects() []api.Dialect {
	st := api.State{Proposer: m.raft, Feed: m.raft}
	if m.history != nil {
		st.Past = m.history.At
	}
	version := client.Version{Version: config.Version, Commit: config.Commit, Date: config.Date, Level: config.FeatureLevel}
	leader := func() dcos.MasterID { l, _ := m.raft.Leadership(); return l.Leader }
	scheme := "https"
	if m.dev {
		scheme = "http"
	}
	mara := marathon.Routes(marathon.Config{State: st, Leader: leader, Scheme: scheme, Version: version, Log: m.log})
	return []api.Dialect{
		mara, mara.Mount("/service/marathon"),
		cosmos.Routes(cosmos.Config{State: st, Catalog: m.catalog, Log: m.log}),
		dcosapi.Routes(dcosapi.Config{
			State: st, Leader: leader, Term: func() dcos.Term { return m.raft.Stats().Term },
			Alive: m.alive, Usage: m.usage, Gate: m.gate, Secrets: m.files.secrets,
			Version: version, Log: m.log,
		}),
		mesosapi.Routes(mesosapi.Config{State: st, Leader: leader, Log: m.log}),
		m.gateway.Routes(),
		m.members(), m.upgradeRoutes(st), m.gossipRoutes(st),
		page(),
	}
}

// page is the web page; what it shows, it asks of the API with the visitor's
// own permissions.
func page() api.Dialect {
	d := api.Dialect{Name: "page", WriteError: api.WriteProblem}
	for _, pattern := range ui.Patterns() {
		d.Routes = append(d.Routes, api.Route{Method: http.MethodGet, Pattern: pattern, Access: api.Public, Handler: ui.Handler().ServeHTTP})
	}
	return d
}

// alive is what gossip says of a master.
func (m *master) alive(id dcos.MasterID) bool {
	if id == m.files.id {
		return true
	}
	for _, g := range m.gossip.Members() {
		if g.Master == id {
			return g.State == membership.Alive
		}
	}
	return false
}

// usage is what a node really uses; known on the leader only.
func (m *master) usage(id dcos.NodeID) (client.Usage, bool) {
	u, ok := m.dispatch.Usage(id)
	return client.Usage{CPUs: float64(u.CPUMilli) / 1000, MemBytes: u.MemBytes, DiskBytes: u.DiskBytes}, ok
}

// dialAgent connects to an agent's own API.
func (m *master) dialAgent(ctx context.Context, id dcos.NodeID, addr string) (net.Conn, error) {
	return link.Dial(ctx, addr, link.ProtoAPI, m.linkConfig(m.files.keeper.Credentials),
		link.Expect{Role: dcos.RoleAgent, ID: string(id)})
}
