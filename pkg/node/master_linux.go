package node

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/dcos-go/dcos/packages"
	"github.com/dcos-go/dcos/pkg/api"
	"github.com/dcos-go/dcos/pkg/auth"
	"github.com/dcos-go/dcos/pkg/catalog"
	"github.com/dcos-go/dcos/pkg/consensus"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/dispatch"
	"github.com/dcos-go/dcos/pkg/gateway"
	"github.com/dcos-go/dcos/pkg/history"
	"github.com/dcos-go/dcos/pkg/link"
	"github.com/dcos-go/dcos/pkg/scheduler"
)

// master is the master's half of a process.
type master struct {
	*process
	files *masterFiles
	peer  string // host:port of the mTLS port, as others reach it
	api   string // host:port of the API

	peerPort net.Listener
	apiPort  net.Listener
	links    *consensus.Links
	raft     *consensus.Raft
	listener *link.Listener
	gate     *auth.Gate
	dispatch *dispatch.Dispatcher
	sched    *scheduler.Scheduler
	history  *history.History // nil: none is kept
	catalog  *catalog.Catalog
	gateway  *gateway.Gateway

	changing one                         // the changes of the masters that this one makes as their leader
	dead     map[dcos.MasterID]time.Time // who does not answer, since when; of whoever holds changing

	mu    sync.Mutex
	peers map[string]*api.Peer // guarded by mu; by identity, agents and masters
}

// newMaster binds the ports, reads or makes the identity and opens the log. A
// listener is bound before a machine joins, since others are told its port.
func newMaster(ctx context.Context, p *process) (_ *master, err error) {
	m := &master{process: p, peers: map[string]*api.Peer{}, changing: make(one, 1), dead: map[dcos.MasterID]time.Time{}}
	defer func() {
		if err != nil {
			m.close()
		}
	}()
	if m.peerPort, err = p.listen(ctx, p.c.PeerPort); err != nil {
		return nil, fmt.Errorf("peer port: %w", err)
	}
	if m.apiPort, err = p.listen(ctx, p.c.APIPort); err != nil {
		return nil, fmt.Errorf("API port: %w", err)
	}
	p.c.PeerPort, p.c.APIPort = portOf(m.peerPort), portOf(m.apiPort)
	m.peer, m.api = hostPort(p.advertise, p.c.PeerPort), hostPort(p.advertise, p.c.APIPort)
	if m.files, err = openMaster(ctx, p.c, p.dev, p.advertise, p.log); err != nil {
		return nil, err
	}
	m.links = &consensus.Links{Dial: m.dialRaft, Log: p.log}
	m.openHistory()
	m.raft, err = consensus.New(consensus.Options{
		Applied:  m.applied(),
		Identity: m.files.raft(), Log: m.files.log, Snapshots: m.files.snaps, Transport: m.links, Logger: p.log,
		Reserve: uint64(p.c.DiskReserveMB) << 20, Core: consensus.Config{Prove: true},
	})
	if err != nil {
		return nil, fmt.Errorf("open the replicated log in %s: %w", m.files.dir, err)
	}
	m.listener = link.NewListener(m.peerPort, p.linkConfig(m.files.keeper.Credentials))
	m.gate = auth.NewGate(m.files.secrets, nil)
	if m.catalog, err = catalog.Load(packages.Source, packages.Files()); err != nil {
		return nil, fmt.Errorf("read the bundled catalog: %w", err)
	}
	return m, nil
}

// close frees what was bound; needed when the parts never ran.
func (m *master) close() {
	for _, l := range []net.Listener{m.peerPort, m.apiPort} {
		if l != nil {
			_ = l.Close() // closed already when the parts ran
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.peers {
		p.Close()
	}
	if m.gateway != nil {
		m.gateway.Close()
	}
}

// parts are in the order in which they start.
func (m *master) parts() ([]part, error) {
	lead := leadership{m.raft, m.files.id}
	m.sched = scheduler.NewScheduler(m.raft, m.raft, lead, m.log)
	m.dispatch = m.newDispatcher()
	m.gateway = gateway.New(gateway.Config{Feed: m.raft, Dial: m.dialAgent, Log: m.log})
	table, err := m.table()
	if err != nil {
		return nil, err
	}
	public := api.New(api.Config{Table: table, Auth: api.Credentials{Bearers: m.gate, Feed: m.raft}, Leader: m, Log: m.log, Limits: m.limits()})
	// What other masters pass on has places of its own.
	passedOn := api.New(api.Config{Table: table, Auth: fromPeer{api.Credentials{Bearers: m.gate, Feed: m.raft}, m.isMember}, Leader: m, Log: m.log, Limits: m.limits()})
	joins := auth.NewJoinServer(auth.JoinConfig{
		Roster:   func(ctx context.Context) (auth.Roster, error) { return m.raft.Read(ctx) },
		Secrets:  m.files.secrets,
		Admitted: m.admitted, Log: m.log,
	})
	front, err := m.front(public)
	if err != nil {
		return nil, err
	}
	all := []part{
		{"history", m.runHistory},
		{"raft", m.raft.Run},
		{"peer port", m.listener.Run},
		{"raft connections", m.serveRaft},
		{"joins", func(ctx context.Context) error { return joins.Run(ctx, m.listener) }},
		{"certificate", func(ctx context.Context) error { return m.files.keeper.Run(ctx, m.renew) }},
		{"leader", func(ctx context.Context) error { return m.lead(ctx, lead) }},
		{"own row", m.tellRow},
		{"own start", m.proveStart},
		{"gossip keys", m.followKeys},
		{"change of the gossip key", func(ctx context.Context) error { return m.turnKeys(ctx, lead) }},
		{"scheduler", m.sched.Run},
		{"dispatch", m.dispatch.Run},
		{"sessions", m.serveAgents},
		{"API for masters", func(ctx context.Context) error { return m.servePassedOn(ctx, passedOn) }},
		{"API", front},
		{"memory", keepMemory},
	}
	if m.agent == nil { // which does it for both
		all = append(all, part{"masters", m.keepMasters})
	}
	return all, nil
}

// handOverWait bounds how long the end of a process waits for another leader.
const handOverWait = 2 * time.Second

// handOver gives leadership to another master, so that nobody waits for an
// election. It is the first thing of an orderly end: the API still answers, and
// passes on to the new leader what comes meanwhile.
func (m *master) handOver() {
	s := m.raft.Stats()
	if s.Leader != m.files.id || len(s.Voters) < 2 {
		return
	}
	from := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), handOverWait)
	defer cancel()
	if err := m.raft.Transfer(ctx, 0); err != nil {
		m.log.Warn("leadership was not handed over", "err", err)
		return
	}
	m.log.Info("leadership handed over", "took", time.Since(from))
}

func (m *master) dialRaft(ctx context.Context, to dcos.MasterID) (net.Conn, error) {
	return m.dialMaster(ctx, to, link.ProtoRaft)
}

func (m *master) dialMaster(ctx context.Context, to dcos.MasterID, proto string) (net.Conn, error) {
	addr, ok := m.masterAddress(to)
	if !ok {
		return nil, fmt.Errorf("%w: the address of master %x is not known yet", dcos.ErrUnavailable, uint64(to))
	}
	return link.Dial(ctx, addr, proto, m.linkConfig(m.files.keeper.Credentials),
		link.Expect{Role: dcos.RoleMaster, ID: dcos.MasterIdentity("", to).ID})
}

// serveRaft gives each incoming connection of a master to raft.
func (m *master) serveRaft(ctx context.Context) error {
	var open sync.WaitGroup
	defer open.Wait()
	for {
		c, err := m.listener.Accept(ctx, link.ProtoRaft)
		if err != nil {
			return endOf(ctx, err)
		}
		from, ok := c.Peer.Master()
		if !ok {
			_ = c.Close() // link lets masters in only
			continue
		}
		open.Go(func() { // ends with the connection, which ends with ctx
			stop := context.AfterFunc(ctx, func() { _ = c.Close() })
			defer stop()
			m.links.Serve(c, from)
		})
	}
}

// endOf is nil when an error only says that ctx ended.
func endOf(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// renew makes the master's own next certificate: it holds the CA.
func (m *master) renew(context.Context) (*link.Credentials, error) {
	return m.files.secrets().CA.Issue(dcos.MasterIdentity(m.files.cluster(), m.files.id), hostsOf(m.advertise), time.Now(), rand.Reader)
}

// front is the API port: HTTPS, or plain HTTP on loopback in dev.
func (m *master) front(h http.Handler) (func(ctx context.Context) error, error) {
	var l net.Listener = api.LimitConns(m.apiPort, m.c.APIConns, m.c.APIConnsPerHost)
	if !m.dev {
		serving, err := m.serving()
		if err != nil {
			return nil, err
		}
		l = tls.NewListener(l, &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, GetCertificate: serving.Certificate})
	}
	return func(ctx context.Context) error { return api.Serve(ctx, l, h, false, m.log) }, nil
}

func (m *master) limits() api.Limits {
	return api.Limits{Requests: m.c.APIRequests, Streams: m.c.APIStreams, StreamsPerUser: m.c.APIStreamsPerUser}
}

func (m *master) serving() (*auth.Serving, error) {
	if m.c.TLSCert != "" {
		return auth.ServeFiles(m.c.TLSCert, m.c.TLSKey, m.log)
	}
	return auth.ServeCA(func(now time.Time) (*tls.Certificate, error) {
		return m.files.secrets().CA.IssueServing(hostsOf(m.advertise), now, rand.Reader)
	}, m.log)
}

// servePassedOn serves what other masters pass on to this one.
func (m *master) servePassedOn(ctx context.Context, h http.Handler) error {
	accept := func(ctx context.Context) (net.Conn, error) { return m.listener.Accept(ctx, link.ProtoAPI) }
	return api.Serve(ctx, api.PeerListener(ctx, accept, m.listener.Addr()), h, true, m.log)
}

// fromPeer knows whoever a master passes on by their own token. A master that
// asks for itself says so, and its certificate has proven that it is one.
type fromPeer struct {
	api.Credentials
	// member says whether a master has a row in the state.
	member func(dcos.MasterID) bool
}

// Authenticate says who asks.
func (f fromPeer) Authenticate(r *http.Request) (auth.Principal, error) {
	if api.IsOwn(r) {
		// The certificate of a master that was removed is good until it ends; its
		// word is not, but for asking to be taken in again.
		if c, ok := api.ConnOf(r.Context()).(*link.Conn); ok && r.URL.Path != memberRoute && r.URL.Path != startRoute {
			if id, ok := c.Peer.Master(); !ok || !f.member(id) {
				return auth.Principal{}, fmt.Errorf("%w: master %s is no member of the cluster", dcos.ErrDenied, c.Peer.ID)
			}
		}
		return auth.Principal{ID: "master", Kind: auth.KindNode, Grants: auth.System().Grants}, nil
	}
	return f.Credentials.Authenticate(r)
}

func (m *master) isMember(id dcos.MasterID) bool {
	_, known := m.raft.View().Master(id)
	return known
}

// Leads implements api.Leader.
func (m *master) Leads() bool {
	l, _ := m.raft.Leadership()
	return l.Ready && l.Leader == m.files.id
}

func (m *master) masterPeer(id dcos.MasterID) *api.Peer {
	return m.peerFor(dcos.MasterIdentity("", id).ID, func(ctx context.Context) (net.Conn, error) {
		return m.dialMaster(ctx, id, link.ProtoAPI)
	})
}

// maxPeers bounds the kept ways to other machines; beyond it all are made anew.
const maxPeers = 10_000

func (m *master) peerFor(key string, dial api.Dialer) *api.Peer {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, ok := m.peers[key]
	if !ok {
		if len(m.peers) >= maxPeers {
			for k, old := range m.peers {
				old.Close()
				delete(m.peers, k)
			}
		}
		p = api.NewPeer(dial)
		m.peers[key] = p
	}
	return p
}

// leadership tells who leads, for those who act only then.
type leadership struct {
	raft *consensus.Raft
	self dcos.MasterID
}

// Lead implements scheduler.Leadership.
func (l leadership) Lead(ctx context.Context) (context.Context, error) {
	for {
		now, changed := l.raft.Leadership()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if now.Ready && now.Leader == l.self {
			return l.term(ctx, now.Term), nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// term is a context that ends when this master no longer leads in a term.
func (l leadership) term(ctx context.Context, term dcos.Term) context.Context {
	tctx, cancel := context.WithCancelCause(ctx)
	go func() { // ends with the term or ctx
		for {
			now, changed := l.raft.Leadership()
			if now.Term != term || !now.Ready || now.Leader != l.self {
				cancel(errors.New("leadership was lost"))
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				cancel(ctx.Err())
				return
			}
		}
	}()
	return tctx
}
