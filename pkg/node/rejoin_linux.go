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
	"slices"
	"strconv"
	"time"

	"github.com/dcos-go/dcos/pkg/api"
	"github.com/dcos-go/dcos/pkg/config"
	"github.com/dcos-go/dcos/pkg/consensus"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/link"
)

// replacedFile holds the member number of a master whose log was wiped. It must
// not vote under that number again: it has forgotten what it promised. It keeps
// the cluster's secrets and its certificate, by which it asks the others to take
// it in under a new number, in place of the old one.
const replacedFile = "replaced"

func (m *masterFiles) replaced() (dcos.MasterID, bool) {
	words := readLines(filepath.Join(m.dir, replacedFile))
	if len(words) != 1 {
		return 0, false
	}
	n, err := strconv.ParseUint(words[0], 16, 64)
	return dcos.MasterID(n), err == nil
}

// rejoin makes a wiped master a member again. Every step may be repeated.
func (m *masterFiles) rejoin(ctx context.Context, c config.Config, old dcos.MasterID, had *link.Credentials, advertise string, log *slog.Logger) (*link.Credentials, error) {
	err := consensus.Join(m.log, m.raft())
	if err != nil && !errors.Is(err, dcos.ErrConflict) { // a conflict: a start before this one did it
		return nil, fmt.Errorf("make an empty log: %w", err)
	}
	creds, err := m.secrets().CA.Issue(dcos.MasterIdentity(m.cluster(), m.id), hostsOf(advertise), time.Now(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	host, err := os.Hostname()
	if c.NodeName != "" {
		host, err = c.NodeName, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ask for the host name: %w", err)
	}
	want := newMember{Replaces: old, Master: dcos.Master{
		ID: m.id, Name: host, Peer: hostPort(advertise, c.PeerPort), API: hostPort(advertise, c.APIPort),
		Level: config.FeatureLevel, Version: config.Version,
	}}
	peers := m.otherPeers(c, want.Peer)
	if len(peers) == 0 {
		return nil, fmt.Errorf("%w: no other master's address is known: give one with --join", dcos.ErrInvalid)
	}
	if err := askToBeTakenIn(ctx, peers, []*link.Credentials{had, creds}, want, log); err != nil {
		return nil, err
	}
	// The others' addresses, until the state comes.
	if err := m.keepCredentials(creds); err != nil {
		return nil, err
	}
	log.Info("this master is a member again", "master", hex(m.id), "was", hex(old))
	return creds, nil
}

// otherPeers are the peer addresses of other masters.
func (m *masterFiles) otherPeers(c config.Config, own string) []string {
	out := readLines(filepath.Join(c.DataDir, mastersName))
	for _, addr := range c.Join {
		out = append(out, withPort(addr, config.Defaults().PeerPort))
	}
	slices.Sort(out)
	return slices.DeleteFunc(slices.Compact(out), func(p string) bool { return p == own })
}

// askToBeTakenIn asks one master after the other, under the old certificate and
// the new one: which of them is a member's depends on how far an earlier try
// came. A conflict ends it.
func askToBeTakenIn(ctx context.Context, peers []string, as []*link.Credentials, want newMember, log *slog.Logger) error {
	for said := false; ; {
		for _, addr := range peers {
			for _, creds := range as {
				err := tellAt(ctx, addr, creds, want)
				if err == nil {
					return nil
				}
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if errors.Is(err, dcos.ErrConflict) {
					return stays{fmt.Errorf("rejoin at %s: %w", addr, err)}
				}
				if !said {
					log.Warn("no master takes this one in again yet, trying on", "master", addr, "err", err)
					said = true
				}
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(joinPause):
		}
	}
}

func tellAt(ctx context.Context, addr string, creds *link.Credentials, want newMember) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	peer := api.NewPeer(func(ctx context.Context) (net.Conn, error) {
		return link.Dial(ctx, addr, link.ProtoAPI, link.Config{Credentials: func() *link.Credentials { return creds }}, link.Expect{Role: dcos.RoleMaster})
	})
	defer peer.Close()
	return tell(ctx, peer, memberRoute, want, nil)
}
