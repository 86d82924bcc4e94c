package node

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dcos-go/dcos/pkg/auth"
	"github.com/dcos-go/dcos/pkg/config"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/link"
)

// workerFiles are what an agent keeps, below DATA/agent:
//
//	id           its node id
//	credentials  its certificate (auth.SaveCredentials)
//	gossip       the keys it was given when it joined
//	checkpoint   the agent's journal
//	run, sandboxes, images  what container, sandbox and image keep
type workerFiles struct {
	dir     string
	id      dcos.NodeID
	cluster string
	gossip  [][]byte
	keeper  *auth.Keeper
}

// openWorker reads what an agent keeps, or makes it: by joining, or, beside a
// master in the same process, by that master's CA.
func openWorker(ctx context.Context, p *process, log *slog.Logger) (*workerFiles, error) {
	w := &workerFiles{dir: filepath.Join(p.c.DataDir, "agent")}
	if err := os.MkdirAll(w.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	id, err := keptID(filepath.Join(w.dir, "id"), "n-")
	if err != nil {
		return nil, err
	}
	w.id = dcos.NodeID(id)
	creds, err := auth.LoadCredentials(w.dir, dcos.RoleAgent)
	switch {
	case err == nil && p.master != nil && creds.Self.Cluster != p.master.files.cluster():
		err = fmt.Errorf("%w: %s belongs to cluster %s, the master beside it to %s: run `dcos uninstall`, or give each a data directory of its own",
			dcos.ErrConflict, w.dir, creds.Self.Cluster, p.master.files.cluster())
	case err == nil:
		w.gossip, err = readKeys(w.keysFile())
	case !errors.Is(err, dcos.ErrNotFound):
	case p.master != nil:
		creds, err = w.issue(p.master.files)
	case len(p.c.Join) > 0:
		creds, err = w.join(ctx, p, log)
	default:
		err = fmt.Errorf("%w: this machine has not joined a cluster: give --join ADDRESS and a token", dcos.ErrInvalid)
	}
	if err != nil {
		return nil, err
	}
	w.cluster = creds.Self.Cluster
	w.keeper = auth.NewKeeper(creds, w.dir, log)
	return w, nil
}

func (w *workerFiles) keysFile() string { return filepath.Join(w.dir, "gossip") }

func (w *workerFiles) issue(m *masterFiles) (*link.Credentials, error) {
	creds, err := m.secrets().CA.Issue(dcos.AgentIdentity(m.cluster(), w.id), nil, time.Now(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the agent's certificate: %w", err)
	}
	if err := w.keep(m.secrets().Gossip); err != nil {
		return nil, err
	}
	return creds, auth.SaveCredentials(w.dir, creds)
}

// join gets a certificate from a master. The certificate is written last: with
// it the machine has joined.
func (w *workerFiles) join(ctx context.Context, p *process, log *slog.Logger) (*link.Credentials, error) {
	got, err := joinCluster(ctx, p.c, auth.Joining{Role: dcos.RoleAgent, ID: string(w.id), Build: config.Version, Level: config.FeatureLevel}, log)
	if err != nil {
		return nil, err
	}
	var masters []string
	for _, m := range got.Masters {
		masters = append(masters, m.Peer)
	}
	if err := writeKept(p.mastersFile(), []byte(strings.Join(masters, "\n")+"\n")); err != nil {
		return nil, err
	}
	if err := w.keep(got.Gossip); err != nil {
		return nil, err
	}
	return got.Credentials, auth.SaveCredentials(w.dir, got.Credentials)
}

func (w *workerFiles) keep(keys [][]byte) error {
	w.gossip = keys
	var b strings.Builder
	for _, k := range keys {
		b.WriteString(base64.StdEncoding.EncodeToString(k) + "\n")
	}
	return writeKept(w.keysFile(), []byte(b.String()))
}

func readKeys(path string) ([][]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read gossip keys: %w", err)
	}
	var keys [][]byte
	for _, line := range strings.Fields(string(b)) {
		k, err := base64.StdEncoding.DecodeString(line)
		if err != nil {
			return nil, fmt.Errorf("%w: %s is damaged: remove %s and join the machine again", dcos.ErrInvalid, path, filepath.Dir(path))
		}
		keys = append(keys, k)
	}
	return keys, nil
}
