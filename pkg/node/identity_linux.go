package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dcos-go/dcos/pkg/auth"
	"github.com/dcos-go/dcos/pkg/config"
	"github.com/dcos-go/dcos/pkg/consensus"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/journal"
	"github.com/dcos-go/dcos/pkg/link"
)

// masterFiles are what a master keeps, below DATA/master:
//
//	id             its raft member number
//	secrets        the cluster's secrets (auth.SaveSecrets)
//	credentials    its certificate (auth.SaveCredentials)
//	raft, snapshots the replicated log and state
//	replaced       the number it had before `dcos master wipe`, until it is a
//	               member again
type masterFiles struct {
	dir    string
	id     dcos.MasterID
	held   atomic.Pointer[auth.Secrets]
	keeper *auth.Keeper
	fresh  bool // the cluster was made by this start
	log    journal.FS
	snaps  journal.FS
	joined *auth.Joined // nil unless this start joined
}

// secrets are the cluster's, with the newest gossip keys.
func (m *masterFiles) secrets() *auth.Secrets { return m.held.Load() }

func (m *masterFiles) cluster() string { return m.secrets().CA.Cluster() }

func (m *masterFiles) raft() consensus.Identity {
	return consensus.Identity{Cluster: m.cluster(), ID: m.id}
}

// openMaster reads what a master keeps, or makes it: for a new cluster, or by
// joining one. Every step is durable before the next and skipped when it is
// done, so that a crash in between is repaired by the next start.
func openMaster(ctx context.Context, c config.Config, dev bool, advertise string, log *slog.Logger) (*masterFiles, error) {
	m := &masterFiles{dir: filepath.Join(c.DataDir, "master")}
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	raft, err := openDir(m.dir, "raft")
	if err != nil {
		return nil, err
	}
	snaps, err := openDir(m.dir, "snapshots")
	if err != nil {
		return nil, err
	}
	m.log, m.snaps = raft, snaps
	id, err := keptID(filepath.Join(m.dir, "id"), "")
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseUint(id, 16, 64)
	if err != nil || n == 0 {
		return nil, fmt.Errorf("%w: %s does not hold a master's id", dcos.ErrInvalid, filepath.Join(m.dir, "id"))
	}
	m.id = dcos.MasterID(n)
	creds, err := m.load()
	old, wiped := m.replaced()
	switch {
	case err == nil && wiped && old == m.id:
		err = stays{fmt.Errorf("%w: the wiping of %s was cut off: run `dcos master wipe` again", dcos.ErrConflict, m.dir)}
	case err == nil && wiped:
		creds, err = m.rejoin(ctx, c, old, creds, advertise, log)
	case err == nil:
	case !errors.Is(err, dcos.ErrNotFound):
		return nil, err
	case len(c.Join) > 0:
		creds, err = m.join(ctx, c, advertise, log)
	case c.Bootstrap || dev:
		creds, err = m.found(advertise)
	default:
		err = stays{fmt.Errorf("%w: %s holds no master: start a new cluster with --bootstrap, or join one with --join ADDRESS and a token", dcos.ErrInvalid, m.dir)}
	}
	if err != nil {
		return nil, err
	}
	m.keeper = auth.NewKeeper(creds, m.dir, log)
	return m, nil
}

func openDir(parent, name string) (*journal.Directory, error) {
	dir := filepath.Join(parent, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make %s: %w", dir, err)
	}
	return journal.Dir(dir)
}

// load reads secrets and certificate; the secrets are written last, so that
// they stand for all of it.
func (m *masterFiles) load() (*link.Credentials, error) {
	secrets, err := auth.LoadSecrets(m.dir)
	if err != nil {
		return nil, err
	}
	m.held.Store(secrets)
	return auth.LoadCredentials(m.dir, dcos.RoleMaster)
}

// found makes a new cluster with this master as its only member.
func (m *masterFiles) found(advertise string) (*link.Credentials, error) {
	cluster, err := newUUID()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	secrets, err := auth.NewSecrets(cluster, now, rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the cluster's secrets: %w", err)
	}
	creds, err := secrets.CA.Issue(dcos.MasterIdentity(cluster, m.id), hostsOf(advertise), now, rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the first certificate: %w", err)
	}
	// A crash before SaveSecrets leaves a log of a cluster that nobody knows
	// the secrets of: it is empty and is made again.
	if err := m.wipeUnfounded(); err != nil {
		return nil, err
	}
	if err := consensus.Bootstrap(m.log, m.snaps, consensus.Identity{Cluster: cluster, ID: m.id}); err != nil {
		return nil, fmt.Errorf("make the first log: %w", err)
	}
	if err := auth.SaveCredentials(m.dir, creds); err != nil {
		return nil, err
	}
	if err := auth.SaveSecrets(m.dir, secrets); err != nil {
		return nil, err
	}
	m.fresh = true
	m.held.Store(secrets)
	return creds, nil
}

// wipeUnfounded empties the log of a start that was cut off before its secrets
// were written: nothing can have been acknowledged from it.
func (m *masterFiles) wipeUnfounded() error {
	for _, fs := range []journal.FS{m.log, m.snaps} {
		names, err := fs.List()
		if err != nil {
			return fmt.Errorf("list %s: %w", m.dir, err)
		}
		for _, name := range names {
			if err := fs.Remove(name); err != nil {
				return fmt.Errorf("remove %s: %w", name, err)
			}
		}
	}
	return nil
}

// join gets a certificate and the cluster's secrets from a master.
func (m *masterFiles) join(ctx context.Context, c config.Config, advertise string, log *slog.Logger) (*link.Credentials, error) {
	got, err := joinCluster(ctx, c, auth.Joining{
		Role: dcos.RoleMaster, ID: dcos.MasterIdentity("", m.id).ID, Hosts: hostsOf(advertise),
		Peer: hostPort(advertise, c.PeerPort), API: hostPort(advertise, c.APIPort),
		Build: config.Version, Level: config.FeatureLevel,
	}, log)
	if err != nil {
		return nil, err
	}
	if got.Secrets == nil {
		return nil, fmt.Errorf("%w: the answer to the join holds no secrets: ask a master of the cluster's version", dcos.ErrInvalid)
	}
	if err := m.wipeUnfounded(); err != nil {
		return nil, err
	}
	if err := consensus.Join(m.log, consensus.Identity{Cluster: got.Secrets.CA.Cluster(), ID: m.id}); err != nil {
		return nil, fmt.Errorf("make an empty log: %w", err)
	}
	if err := auth.SaveCredentials(m.dir, got.Credentials); err != nil {
		return nil, err
	}
	if err := auth.SaveSecrets(m.dir, got.Secrets); err != nil {
		return nil, err
	}
	m.joined = got
	m.held.Store(got.Secrets)
	return got.Credentials, nil
}

// joinPause is the time between rounds over all addresses while no master
// answers.
const joinPause = time.Second

// joinCluster asks the given masters in turn until one answers. What cannot be
// mended by asking again ends it.
func joinCluster(ctx context.Context, c config.Config, j auth.Joining, log *slog.Logger) (*auth.Joined, error) {
	text, err := tokenText(c)
	if err != nil {
		return nil, err
	}
	token, err := auth.ParseToken(text)
	if err != nil {
		return nil, err
	}
	for said := false; ; {
		for _, addr := range c.Join {
			got, err := auth.Join(ctx, withPort(addr, config.Defaults().PeerPort), token, j)
			if err == nil {
				return got, nil
			}
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if !errors.Is(err, dcos.ErrUnavailable) && !errors.Is(err, dcos.ErrExhausted) {
				return nil, fmt.Errorf("join at %s: %w", addr, err)
			}
			if !said {
				log.Warn("no master lets this machine in yet, trying on", "master", addr, "err", err)
				said = true
			}
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(joinPause):
		}
	}
}

// CheckToken refuses a join token on a machine that belongs to another cluster
// than the token's: the data of one cluster must not meet the other.
func CheckToken(dataDir, text string) error {
	token, err := auth.ParseToken(text)
	if err != nil {
		return err
	}
	for _, role := range []dcos.Role{dcos.RoleMaster, dcos.RoleAgent} {
		c, err := auth.LoadCredentials(filepath.Join(dataDir, string(role)), role)
		if errors.Is(err, dcos.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if link.CAHash(c.CA) != token.CA() {
			return fmt.Errorf("%w: this machine belongs to cluster %s, the token to another one: run `dcos uninstall` first, which removes the data of the old cluster", dcos.ErrConflict, c.Self.Cluster)
		}
	}
	return nil
}

func tokenText(c config.Config) (string, error) {
	if c.TokenFile != "" {
		b, err := os.ReadFile(c.TokenFile)
		if err != nil {
			return "", fmt.Errorf("%w: read the join token: %w", dcos.ErrInvalid, err)
		}
		return strings.TrimSpace(string(b)), nil
	}
	if c.Token == "" {
		return "", fmt.Errorf("%w: joining needs a token: a master prints one with `dcos token create`", dcos.ErrInvalid)
	}
	return c.Token, nil
}

func hostsOf(advertise string) []string {
	out := []string{"localhost", "127.0.0.1"}
	if name, err := os.Hostname(); err == nil && name != "localhost" {
		out = append(out, name)
	}
	if advertise != "127.0.0.1" {
		out = append(out, advertise)
	}
	return out
}

func hostPort(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

// withPort adds a default port to an address that has none.
func withPort(addr string, port int) string {
	if _, _, err := net.SplitHostPort(addr); err == nil {
		return addr
	}
	return hostPort(strings.Trim(addr, "[]"), port)
}

func newUUID() (string, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", fmt.Errorf("make a cluster id: %w", err)
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16]), nil
}
