package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/dcos-go/dcos/pkg/auth"
	"github.com/dcos-go/dcos/pkg/config"
	"github.com/dcos-go/dcos/pkg/consensus"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/journal"
	"github.com/dcos-go/dcos/pkg/link"
)

// Stopped is the data directory of a master that does not run, held so that
// none can start meanwhile. It is for what is done to a master's files by hand.
type Stopped struct {
	c       config.Config
	log     *slog.Logger
	release func()
	files   *masterFiles
}

// OpenStopped takes the data directory of a stopped master; dcos.ErrConflict
// while a process uses it. The caller closes it.
func OpenStopped(c config.Config, log *slog.Logger) (*Stopped, error) {
	release, err := lockDir(c.DataDir)
	if errors.Is(err, dcos.ErrConflict) {
		err = fmt.Errorf("%w (systemctl stop dcos)", err)
	}
	if err != nil {
		return nil, err
	}
	return &Stopped{c: c, log: log, release: release, files: &masterFiles{dir: filepath.Join(c.DataDir, "master")}}, nil
}

// Close lets others use the directory again.
func (s *Stopped) Close() { s.release() }

// load reads who the master is.
func (s *Stopped) load() error {
	m := s.files
	text, err := os.ReadFile(filepath.Join(m.dir, "id"))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s holds no master", dcos.ErrNotFound, m.dir)
	}
	if err != nil {
		return fmt.Errorf("read the master's id: %w", err)
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 16, 64)
	if err != nil || n == 0 {
		return fmt.Errorf("%w: %s does not hold a master's id", dcos.ErrInvalid, filepath.Join(m.dir, "id"))
	}
	m.id = dcos.MasterID(n)
	return s.openFiles()
}

func (s *Stopped) openFiles() error {
	raft, err := openDir(s.files.dir, "raft")
	if err != nil {
		return err
	}
	snaps, err := openDir(s.files.dir, "snapshots")
	if err != nil {
		return err
	}
	s.files.log, s.files.snaps = raft, snaps
	return nil
}

// Wipe forgets the replicated log and state of a master, so that its next start
// joins the others anew, under a new number and in place of the old one. It
// refuses when no other master is known, unless alone is set.
func (s *Stopped) Wipe(alone bool) error {
	m := s.files
	old, begun := m.replaced()
	err := s.load()
	if errors.Is(err, dcos.ErrNotFound) && begun {
		return nil // wiped before, and not started since
	}
	if err != nil {
		return err
	}
	if !begun || old == m.id {
		if _, err := m.load(); err != nil {
			return fmt.Errorf("%w; without its secrets and certificate the master cannot ask the others: run `dcos uninstall`, install it with a line from `dcos token create master`, and take the old member %s away with `dcos master remove`", err, hex(m.id))
		}
		if len(m.otherPeers(s.c, "")) == 0 && !alone {
			return fmt.Errorf("%w: no other master is known, so this may be the only copy of the cluster: restore a snapshot instead (dcos master snapshot restore), or give the address of another master with --join", dcos.ErrConflict)
		}
		if err := writeKept(filepath.Join(m.dir, replacedFile), []byte(hex(m.id)+"\n")); err != nil {
			return fmt.Errorf("keep the old id: %w", err)
		}
	}
	for _, fs := range []journal.FS{m.log, m.snaps} {
		if err := empty(fs); err != nil {
			return err
		}
	}
	return removeKept(filepath.Join(m.dir, "id"))
}

func empty(fs journal.FS) error {
	names, err := fs.List()
	if err != nil {
		return fmt.Errorf("list the log: %w", err)
	}
	for _, n := range names {
		if err := fs.Remove(n); err != nil {
			return fmt.Errorf("remove %s: %w", n, err)
		}
	}
	return fs.SyncDir()
}

// removeKept removes a small file durably.
func removeKept(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Examine reads what the stopped master holds.
func (s *Stopped) Examine() (consensus.Content, error) {
	if err := s.load(); err != nil {
		return consensus.Content{}, err
	}
	if _, err := s.files.load(); err != nil {
		return consensus.Content{}, err
	}
	c, err := consensus.Examine(s.files.log, s.files.snaps, s.files.raft())
	if err != nil {
		return c, fmt.Errorf("%s: %w", s.files.dir, err)
	}
	return c, nil
}

// Recover makes the stopped master the only one of its cluster; see
// consensus.Recover.
func (s *Stopped) Recover() (dcos.Index, error) {
	if _, err := s.Examine(); err != nil {
		return 0, err
	}
	index, err := consensus.Recover(s.files.log, s.files.snaps, s.files.raft())
	if err != nil {
		return 0, err
	}
	// The addresses of those that are lost must not be tried for ever.
	return index, removeKept(filepath.Join(s.c.DataDir, mastersName))
}

// Restore makes the first master of a cluster that goes on from a snapshot. The
// cluster stays the same one, for its agents and its users: secrets are a copy
// of the file of that name from one of its masters.
func (s *Stopped) Restore(ctx context.Context, b *consensus.Backup, secrets []byte) (dcos.Index, error) {
	m := s.files
	err := s.load()
	if err == nil {
		if _, err = m.load(); err == nil {
			return 0, fmt.Errorf("%w: %s holds master %s already: restore into an empty data directory", dcos.ErrConflict, m.dir, hex(m.id))
		}
	}
	if !errors.Is(err, dcos.ErrNotFound) {
		return 0, err
	}
	held, err := auth.DecodeSecrets(secrets)
	if err != nil {
		return 0, err
	}
	m.held.Store(held)
	host := s.c.Advertise
	if host == "" {
		if host, err = hostAddress(ctx); err != nil {
			return 0, err
		}
	}
	id, err := keptID(filepath.Join(m.dir, "id"), "")
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(id, 16, 64)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%w: %s does not hold a master's id", dcos.ErrInvalid, filepath.Join(m.dir, "id"))
	}
	m.id = dcos.MasterID(n)
	if err := s.openFiles(); err != nil {
		return 0, err
	}
	if err := m.wipeUnfounded(); err != nil { // of a restore that was cut off
		return 0, err
	}
	index, err := consensus.RestoreSnapshot(m.log, m.snaps, m.raft(), b)
	if err != nil {
		return 0, err
	}
	creds, err := m.secrets().CA.Issue(dcos.MasterIdentity(m.cluster(), m.id), hostsOf(host), time.Now(), rand.Reader)
	if err != nil {
		return 0, fmt.Errorf("make a certificate: %w", err)
	}
	if err := auth.SaveCredentials(m.dir, creds); err != nil {
		return 0, err
	}
	return index, auth.SaveSecrets(m.dir, m.secrets())
}

// Join makes the directory that of a new master of a cluster, which is a
// learner there until it is started and has caught up.
func (s *Stopped) Join(ctx context.Context) (dcos.MasterID, error) {
	host := s.c.Advertise
	if host == "" {
		var err error
		if host, err = hostAddress(ctx); err != nil {
			return 0, err
		}
	}
	err := s.load()
	if err == nil {
		if _, err = s.files.load(); err == nil {
			return 0, fmt.Errorf("%w: %s holds master %s already", dcos.ErrConflict, s.files.dir, hex(s.files.id))
		}
	}
	if !errors.Is(err, dcos.ErrNotFound) {
		return 0, err
	}
	s.c.Bootstrap = false
	m, err := openMaster(ctx, s.c, false, host, s.log)
	if err != nil {
		return 0, err
	}
	return m.id, nil
}

// keepCredentials ends a rejoin.
func (m *masterFiles) keepCredentials(c *link.Credentials) error {
	if err := auth.SaveCredentials(m.dir, c); err != nil {
		return err
	}
	return removeKept(filepath.Join(m.dir, replacedFile))
}
