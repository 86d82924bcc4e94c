package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/link"
)

// joinTimeout bounds one exchange, from the accepted connection to its end.
const joinTimeout = 15 * time.Second

// joinsAtOnce bounds the exchanges that are served at the same time,
// joinsPerHost those of one host: whoever reaches the port may begin one.
const (
	joinsAtOnce  = 32
	joinsPerHost = 8
)

// Joining is what a machine says when it wants a certificate.
type Joining struct {
	Role dcos.Role
	ID   string // as in dcos.Identity
	// Cluster is set when the machine holds data of a cluster already.
	Cluster string
	Hosts   []string // names and addresses, for a master's certificate
	Peer    string   // a master's mTLS port, host:port
	API     string   // a master's API
	Build   string   // version of the binary
	Level   uint64   // newest feature level it supports
}

// Joined is what it gets. Its text shows no key.
type Joined struct {
	Credentials *link.Credentials
	Gossip      [][]byte
	Masters     []JoinMaster
	Secrets     *Secrets // for a master; nil for an agent
	Ring        uint64   // number of the change that Gossip came with
}

// Join asks a master for a first certificate with a join token. The master
// must prove that it belongs to the cluster that the token names.
func Join(ctx context.Context, addr string, token Token, j Joining) (*Joined, error) {
	req := j.request()
	req.Token, req.Secret = token.id, token.secret
	got, err := exchange(ctx, addr, req, link.Config{}, token.Expect())
	if errors.Is(err, link.ErrCA) {
		return nil, fmt.Errorf("join %s: %w; the token belongs to another cluster, or something stands between: get a token from the cluster that is to be joined", addr, err)
	}
	if err != nil {
		return nil, fmt.Errorf("join %s: %w", addr, err)
	}
	if link.CAHash(got.Credentials.CA) != token.ca {
		return nil, fmt.Errorf("join %s: %w: the CA in the answer is not the one that the token names", addr, link.ErrCA)
	}
	return got, nil
}

// Renew asks a master for a new certificate with the present one.
func Renew(ctx context.Context, addr string, now *link.Credentials, j Joining) (*Joined, error) {
	j.Role, j.ID, j.Cluster = now.Self.Role, now.Self.ID, now.Self.Cluster
	cfg := link.Config{Credentials: func() *link.Credentials { return now }}
	got, err := exchange(ctx, addr, j.request(), cfg, link.Expect{Role: dcos.RoleMaster})
	if err != nil {
		return nil, fmt.Errorf("renew the certificate of %s at %s: %w", now.Self, addr, err)
	}
	if !got.Credentials.CA.Equal(now.CA) {
		return nil, fmt.Errorf("renew the certificate of %s at %s: %w: the CA in the answer is another one", now.Self, addr, link.ErrCA)
	}
	return got, nil
}

// GossipKeys asks a master for the cluster's gossip keys and the number of the
// change that they came with. A machine whose keys were changed while it was
// away cannot learn the new ones by gossip; and what is sent under a key that
// may be known to others must not hold the next one.
func GossipKeys(ctx context.Context, addr string, now *link.Credentials) (keys [][]byte, ring uint64, err error) {
	req := Joining{Role: now.Self.Role, ID: now.Self.ID, Cluster: now.Self.Cluster}.request()
	req.Keys = true
	cfg := link.Config{Credentials: func() *link.Credentials { return now }}
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	a, peer, err := talk(ctx, addr, req, cfg, link.Expect{Role: dcos.RoleMaster})
	if err == nil && (a.Cluster != now.Self.Cluster || peer.Cluster != now.Self.Cluster) {
		err = fmt.Errorf("%w: the answer is of cluster %.64q", dcos.ErrInvalid, a.Cluster)
	}
	if err == nil {
		err = checkGossip(a.Gossip)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("gossip keys of %s: %w", addr, err)
	}
	return a.Gossip, a.Ring, nil
}

// AnyOf asks masters one after another, with Join or Renew as ask, until one
// answers. An answer that no other master would give differently (a refusal)
// ends it; the last error is returned when none could be reached.
func AnyOf(ctx context.Context, addrs []string, ask func(addr string) (*Joined, error)) (*Joined, error) {
	err := fmt.Errorf("%w: no master's address is known; give one", dcos.ErrUnavailable)
	for _, addr := range addrs {
		var got *Joined
		if got, err = ask(addr); err == nil || !errors.Is(err, dcos.ErrUnavailable) || ctx.Err() != nil {
			return got, err
		}
	}
	return nil, err
}

func (j Joining) request() JoinRequest {
	return JoinRequest{
		Version: joinVersion, Role: j.Role, ID: j.ID, Cluster: j.Cluster,
		Hosts: j.Hosts, Peer: j.Peer, API: j.API, Build: j.Build, Level: j.Level,
	}
}

func exchange(ctx context.Context, addr string, req JoinRequest, cfg link.Config, want link.Expect) (*Joined, error) {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	key, err := NewKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	if req.CSR, err = NewCSR(key); err != nil {
		return nil, err
	}
	a, peer, err := talk(ctx, addr, req, cfg, want)
	if err != nil {
		return nil, err
	}
	return a.take(req, key, peer, time.Now())
}

// talk sends a request and reads the answer, which is no refusal.
func talk(ctx context.Context, addr string, req JoinRequest, cfg link.Config, want link.Expect) (a JoinAnswer, peer dcos.Identity, err error) {
	c, err := link.Dial(ctx, addr, link.ProtoJoin, cfg, want)
	if err != nil {
		return a, peer, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	if err := writeJoin(c, req); err != nil {
		return a, peer, ended(ctx, err)
	}
	if err := readJoin(c, &a); err != nil {
		return a, peer, ended(ctx, err)
	}
	return a, c.Peer, a.refused()
}

// ended says that a connection broke; trying again may help.
func ended(ctx context.Context, err error) error {
	if cerr := ctx.Err(); cerr != nil {
		err = cerr
	}
	if errors.Is(err, dcos.ErrInvalid) || errors.Is(err, dcos.ErrExhausted) {
		return err
	}
	return fmt.Errorf("%w: %w", dcos.ErrUnavailable, err)
}

// take checks an answer before anything of it is believed.
func (a JoinAnswer) take(req JoinRequest, key *ecdsa.PrivateKey, master dcos.Identity, now time.Time) (*Joined, error) {
	leaf, ca, err := a.certs()
	if err != nil {
		return nil, err
	}
	if a.Cluster != master.Cluster {
		return nil, fmt.Errorf("%w: the answer is of cluster %.64q, the master of %s", dcos.ErrInvalid, a.Cluster, master.Cluster)
	}
	id := dcos.Identity{Cluster: a.Cluster, Role: req.Role, ID: req.ID}
	j := &Joined{Credentials: newCredentials(id, key, leaf, ca), Gossip: a.Gossip, Ring: a.Ring, Masters: a.Masters}
	if err := CheckCredentials(j.Credentials, now); err != nil {
		return nil, fmt.Errorf("certificate in the master's answer: %w; check the clocks of both machines", err)
	}
	if err := checkGossip(a.Gossip); err != nil {
		return nil, err
	}
	if req.Role != dcos.RoleMaster {
		return j, nil
	}
	if j.Secrets, err = DecodeSecrets(a.Secrets); err != nil {
		return nil, err
	}
	if !j.Secrets.CA.cert.Equal(ca) {
		return nil, fmt.Errorf("%w: the secrets in the answer are of another CA", dcos.ErrInvalid)
	}
	return j, nil
}

// JoinServer answers joins and renewals on a master.
type JoinServer struct {
	cfg JoinConfig
	log *slog.Logger

	mu    sync.Mutex
	wrong *attempts      // guarded by mu; wrong tokens by host
	open  map[string]int // guarded by mu; exchanges by host, no zeros
}

// JoinConfig is what a JoinServer needs.
type JoinConfig struct {
	// Roster is a linearizable view of the state, so that a revoked token and
	// a removed machine are known.
	Roster  func(ctx context.Context) (Roster, error)
	Secrets func() *Secrets
	// Admitted, when set, is called before the answer for each machine that
	// joins (not for renewals): a master is registered there. Its error
	// refuses the machine.
	Admitted func(ctx context.Context, id dcos.Identity, req JoinRequest) error
	Log      *slog.Logger // nil: none
}

// NewJoinServer makes one; it has no goroutine until Run.
func NewJoinServer(cfg JoinConfig) *JoinServer {
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	// 20 wrong tokens a minute from one host: enough for every mistyping
	// installer, nothing for a guesser of 160 bits.
	return &JoinServer{cfg: cfg, log: log, wrong: newAttempts(20, time.Minute, 4096), open: map[string]int{}}
}

// Accepter is where connections come from; link.Listener is one.
type Accepter interface {
	Accept(ctx context.Context, proto string) (*link.Conn, error)
}

// Run serves joins until ctx ends; it returns nil only for that reason.
func (s *JoinServer) Run(ctx context.Context, from Accepter) error {
	var open sync.WaitGroup // exchanges; each ends by joinTimeout or ctx
	defer open.Wait()
	slots := make(chan struct{}, joinsAtOnce)
	for {
		c, err := from.Accept(ctx, link.ProtoJoin)
		if ctx.Err() != nil {
			if err == nil {
				c.Close()
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("serve joins: %w", err)
		}
		host := hostOf(c)
		if !s.enter(host) {
			c.Close()
			continue
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			c.Close()
			return nil
		}
		open.Go(func() {
			defer func() { <-slots; s.leave(host) }()
			s.Serve(ctx, c)
		})
	}
}

func (s *JoinServer) enter(host string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[host] >= joinsPerHost {
		return false
	}
	s.open[host]++
	return true
}

func (s *JoinServer) leave(host string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[host]--; s.open[host] <= 0 {
		delete(s.open, host)
	}
}

// Serve answers one connection and closes it.
func (s *JoinServer) Serve(ctx context.Context, c *link.Conn) {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	host := hostOf(c)
	var req JoinRequest
	if err := readJoin(c, &req); err != nil {
		s.log.Debug("join request not readable", "from", host, "error", err)
		if errors.Is(err, dcos.ErrInvalid) {
			s.send(c, host, refuseJoin(err))
		}
		return
	}
	a, id, err := s.answer(ctx, c.Peer, host, req)
	if err != nil {
		s.log.Warn("join refused", "from", host, "machine", id.String(), "token", req.Token, "error", err)
		s.send(c, host, refuseJoin(err))
		return
	}
	if s.send(c, host, a) && !req.Keys {
		s.log.Info("certificate issued", "from", host, "machine", id.String(), "token", req.Token, "renewal", req.Token == "")
	}
}

func (s *JoinServer) answer(ctx context.Context, peer dcos.Identity, host string, req JoinRequest) (JoinAnswer, dcos.Identity, error) {
	if len(req.Token) > maxTokenID {
		req.Token = ""
	}
	secrets := s.cfg.Secrets()
	now := time.Now()
	s.mu.Lock()
	err := s.wrong.check(host, now)
	s.mu.Unlock()
	if err != nil {
		return JoinAnswer{}, dcos.Identity{}, err
	}
	roster, err := s.cfg.Roster(ctx)
	if err != nil {
		return JoinAnswer{}, dcos.Identity{}, fmt.Errorf("%w: this master has no connection to the others: %w", dcos.ErrUnavailable, err)
	}
	id, err := AdmitJoin(roster, secrets.CA.Cluster(), req, peer)
	if errors.Is(err, errWrongToken) {
		s.mu.Lock()
		s.wrong.miss(host, now)
		s.mu.Unlock()
	}
	if err != nil {
		return JoinAnswer{}, id, err
	}
	// Signed before Admitted is called: a bad request registers nothing.
	a, err := AnswerJoin(secrets, roster, req, id, now, rand.Reader)
	if err == nil && s.cfg.Admitted != nil && req.Token != "" {
		err = s.cfg.Admitted(ctx, id, req)
	}
	return a, id, err
}

func (s *JoinServer) send(c io.Writer, host string, a JoinAnswer) bool {
	err := writeJoin(c, a)
	if err != nil {
		s.log.Warn("join answer not sent", "to", host, "error", err)
	}
	return err == nil
}

// hostOf is the peer's address without its port.
func hostOf(c net.Conn) string {
	addr := c.RemoteAddr().String()
	if host, _, err := net.SplitHostPort(addr); err == nil {
		return host
	}
	return addr
}
