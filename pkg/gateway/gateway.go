// Package gateway passes requests on to what is behind the masters: at present
// the agents' own API, for the logs of tasks.
//
// It promises that a request reaches only the agent that its path names, over
// mutual TLS, without the caller's credentials, and that a machine which
// cannot be reached is told apart from one that does not exist. It must not
// decide who may ask (the table of routes does) or read what it passes.
package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"

	"github.com/dcos-go/dcos/pkg/api"
	"github.com/dcos-go/dcos/pkg/auth"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

// Config is what the gateway stands on.
type Config struct {
	Feed state.Feed
	// Dial connects to the agent API of a node over mutual TLS, and proves
	// that it is this node.
	Dial func(ctx context.Context, node dcos.NodeID, addr string) (net.Conn, error)
	Log  *slog.Logger
}

// Gateway passes requests on. Close it after its listener.
type Gateway struct {
	c     Config
	mu    sync.Mutex
	peers map[dcos.NodeID]*peer // guarded by mu
}

// peer is the way to one agent as long as it has one address.
type peer struct {
	addr string
	*api.Peer
}

// New makes a gateway.
func New(c Config) *Gateway { return &Gateway{c: c, peers: map[dcos.NodeID]*peer{}} }

// Routes are the gateway's routes.
func (g *Gateway) Routes() api.Dialect {
	return api.Dialect{Name: "gateway", WriteError: api.WriteProblem, Routes: []api.Route{{
		Method: http.MethodGet, Pattern: "/system/v1/agent/{node}/logs/{rest...}", Access: api.Permitted, Stream: true,
		Need:    auth.Permission{Path: "/logs", Action: auth.ActionRead},
		Handler: api.Handle(g.c.Log, api.WriteProblem, g.agent),
	}, {
		Method: http.MethodGet, Pattern: "/system/v1/agent/{node}/images", Access: api.Permitted,
		Need:    auth.Permission{Path: "/nodes", Action: auth.ActionRead},
		Handler: api.Handle(g.c.Log, api.WriteProblem, g.agent),
	}}}
}

func (g *Gateway) agent(w http.ResponseWriter, r *http.Request) error {
	id := dcos.NodeID(r.PathValue("node"))
	n, ok := g.c.Feed.View().Node(id)
	if !ok {
		return fmt.Errorf("node %.80q: %w; `dcos node list` shows the nodes", id, dcos.ErrNotFound)
	}
	// The agent knows no users; what it is asked for was allowed here.
	r.Header.Del("Authorization")
	r.Header.Del("Cookie")
	if err := g.peer(n).Pass(w, r); err != nil {
		why := n.State.String()
		if n.Why != "" {
			why += ": " + n.Why
		}
		return fmt.Errorf("node %s (%s) at %s cannot be reached: %w", n.ID, why, n.Addr, err)
	}
	return nil
}

// peer keeps one pool of connections per node.
func (g *Gateway) peer(n *dcos.Node) *peer {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.peers[n.ID]
	if p != nil && p.addr == n.Addr {
		return p
	}
	if p != nil {
		p.Close()
	}
	g.forget()
	id, addr := n.ID, n.Addr
	p = &peer{addr, api.NewPeer(func(ctx context.Context) (net.Conn, error) { return g.c.Dial(ctx, id, addr) })}
	g.peers[id] = p
	return p
}

// forget drops the peers of nodes that were removed. It is called with mu held.
func (g *Gateway) forget() {
	v := g.c.Feed.View()
	for id, p := range g.peers {
		if _, ok := v.Node(id); !ok {
			p.Close()
			delete(g.peers, id)
		}
	}
}

// Close drops the kept connections.
func (g *Gateway) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for id, p := range g.peers {
		p.Close()
		delete(g.peers, id)
	}
}
