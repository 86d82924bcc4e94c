package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dcos-go/dcos/installer"
	"github.com/dcos-go/dcos/pkg/config"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/link"
	"github.com/dcos-go/dcos/pkg/membership"
)

// process is one start of a master, an agent or both.
type process struct {
	c         config.Config
	log       *slog.Logger
	notify    notifier
	dev       bool
	ready     func(Ready) // of dev
	advertise string
	hostname  string

	master *master // nil on a mere agent
	agent  *worker // nil on a mere master
	gossip *membership.Gossip
}

// Master runs a master until ctx ends.
func Master(ctx context.Context, c config.Config, log *slog.Logger) error {
	p := &process{c: c, log: log, notify: newNotifier()}
	return p.run(ctx, true, c.WithAgent)
}

// Agent runs an agent until ctx ends. Its tasks run on.
func Agent(ctx context.Context, c config.Config, log *slog.Logger) error {
	p := &process{c: c, log: log, notify: newNotifier()}
	return p.run(ctx, false, true)
}

// Dev runs master and agent in one process on loopback until ctx ends, and
// calls ready once the cluster takes work.
func Dev(ctx context.Context, c config.Config, log *slog.Logger, ready func(Ready)) error {
	c.Bind, c.Advertise = "127.0.0.1", "127.0.0.1"
	if c.GossipPort == config.Defaults().GossipPort {
		c.GossipPort = 0 // nobody joins it
	}
	p := &process{c: c, log: log, notify: newNotifier(), dev: true, ready: ready}
	return p.run(ctx, true, true)
}

func (p *process) run(ctx context.Context, isMaster, isAgent bool) (err error) {
	defer func() {
		if err != nil {
			p.notify.status(installer.Failed + err.Error())
		}
	}()
	release, err := lockDir(p.c.DataDir)
	if err != nil {
		return err
	}
	defer release()
	if p.advertise = p.c.Advertise; p.advertise == "" {
		if p.advertise, err = hostAddress(ctx); err != nil {
			return err
		}
	}
	if p.hostname = p.c.NodeName; p.hostname == "" {
		if p.hostname, err = os.Hostname(); err != nil {
			return fmt.Errorf("ask for the host name: %w", err)
		}
	}
	p.notify.status("starting")
	var parts []part
	if isMaster {
		if p.master, err = newMaster(ctx, p); err != nil {
			return err
		}
		defer p.master.close()
	}
	if isAgent {
		if p.agent, err = newWorker(ctx, p); err != nil {
			return err
		}
		defer p.agent.close()
	}
	if p.gossip, err = p.startGossip(ctx); err != nil {
		return err
	}
	parts = append(parts, part{"gossip", p.gossip.Run})
	if isMaster {
		own, err := p.master.parts()
		if err != nil {
			return err
		}
		parts = append(parts, own...)
	}
	if isAgent {
		own, err := p.agent.parts()
		if err != nil {
			return err
		}
		parts = append(parts, own...)
	}
	parts = append(parts, part{"status", p.tellStatus})
	p.notify.ready()
	p.log.Info("started", "master", isMaster, "agent", isAgent, "address", p.advertise, "data", p.c.DataDir, "version", config.Version)
	defer p.log.Info("ended")
	defer p.notify.stopping()
	running, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	stop := context.AfterFunc(ctx, func() { // ends with the handing over, which is bounded
		if isMaster {
			p.master.handOver()
		}
		end()
	})
	err = runParts(running, p.log, parts)
	stop()
	if isAgent && isEphemeral(ctx) {
		// Nobody comes back for these tasks.
		err = errors.Join(err, purge(context.WithoutCancel(ctx), p.agent.runtime))
	}
	return err
}

// startGossip joins the gossip of the cluster as one member with all roles of
// this process.
func (p *process) startGossip(ctx context.Context) (*membership.Gossip, error) {
	c := membership.Config{
		Version: config.Version, Region: p.c.Region, Zone: p.c.Zone,
		Bind:        hostPort(p.c.Bind, p.c.GossipPort),
		KeyringFile: filepath.Join(p.c.DataDir, "gossip.keys"),
		Seeds:       p.gossipSeeds, Log: p.log,
	}
	if p.advertise != p.c.Bind {
		c.Advertise = hostPort(p.advertise, p.c.GossipPort)
	}
	if m := p.master; m != nil {
		c.Cluster, c.Master, c.API, c.Peer, c.Keys = m.files.cluster(), m.files.id, m.api, m.peer, m.files.secrets().Gossip
	}
	if a := p.agent; a != nil {
		c.Cluster, c.Node = a.files.cluster, a.files.id
		if p.master == nil {
			c.Keys, c.FetchKeys = a.files.gossip, a.fetchKeys
		}
	}
	g, err := membership.Start(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("start gossip: %w", err)
	}
	return g, nil
}

// gossipSeeds are where other members can be met: the masters' machines, whose
// gossip port is taken to be this one's.
func (p *process) gossipSeeds() []string {
	var out []string
	for _, peer := range p.knownMasters() {
		host, _, err := net.SplitHostPort(peer)
		if err == nil && (host != p.advertise || p.master == nil) {
			out = append(out, hostPort(host, p.c.GossipPort))
		}
	}
	return out
}

// knownMasters are the peer addresses of masters, from what is nearest: the
// own state, what was kept from the last time, the configuration.
func (p *process) knownMasters() []string {
	var out []string
	if p.master != nil && p.master.raft != nil {
		for m := range p.master.raft.View().Masters() {
			if m.ID != p.master.files.id {
				out = append(out, m.Peer)
			}
		}
	}
	out = append(out, readLines(p.mastersFile())...)
	for _, addr := range p.c.Join {
		out = append(out, withPort(addr, config.Defaults().PeerPort))
	}
	return out
}

// mastersFile keeps the peer addresses of masters for the next start.
func (p *process) mastersFile() string { return filepath.Join(p.c.DataDir, mastersName) }

const mastersName = "masters"

// keepMasters, a part of every process, writes down where masters are whenever
// gossip tells of others, so that the next start finds one of them.
func (p *process) keepMasters(ctx context.Context) error {
	last := readLines(p.mastersFile())
	for members := range p.gossip.Changes(ctx) {
		var now []string
		for _, m := range members {
			if m.IsMaster() && m.Peer != "" && m.State != membership.Left {
				now = append(now, m.Peer)
			}
		}
		slices.Sort(now)
		if len(now) == 0 || slices.Equal(now, last) {
			continue
		}
		if err := writeLines(p.mastersFile(), now); err != nil {
			p.log.Warn("addresses of masters could not be written down", "err", err)
			continue
		}
		last = now
	}
	<-ctx.Done()
	return nil
}

func readLines(path string) []string {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil // it is only a help
	}
	return strings.Fields(string(b))
}

// masterAddress is where a master's mTLS port is, as far as this machine knows.
func (p *process) masterAddress(id dcos.MasterID) (string, bool) {
	if p.master != nil && p.master.raft != nil {
		if m, ok := p.master.raft.View().Master(id); ok && m.Peer != "" {
			return m.Peer, true
		}
	}
	if p.gossip != nil {
		for _, m := range p.gossip.Members() {
			if m.Master == id && m.Peer != "" {
				return m.Peer, true
			}
		}
	}
	if p.master != nil && p.master.files.joined != nil {
		for _, m := range p.master.files.joined.Masters {
			if m.ID == id {
				return m.Peer, true
			}
		}
	}
	return "", false
}

// linkConfig is how this machine shows itself in one of its roles.
func (p *process) linkConfig(credentials func() *link.Credentials) link.Config {
	return link.Config{Credentials: credentials, Log: p.log}
}

// listen binds a port; in dev one that is taken is replaced by a free one.
func (p *process) listen(ctx context.Context, port int) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", hostPort(p.c.Bind, port))
	if err != nil && p.dev {
		l, err = lc.Listen(ctx, "tcp", hostPort(p.c.Bind, 0))
	}
	if err != nil {
		return nil, fmt.Errorf("%w: listen: %w; stop what uses the port (ss -ltnp shows it), or choose another", dcos.ErrConflict, err)
	}
	return l, nil
}

func portOf(l net.Listener) int {
	if a, ok := l.Addr().(*net.TCPAddr); ok {
		return a.Port
	}
	return 0
}

// WithEphemeral marks a dev cluster whose data is removed at its end: its
// tasks end with it.
func WithEphemeral(ctx context.Context) context.Context {
	return context.WithValue(ctx, ephemeralKey{}, true)
}

type ephemeralKey struct{}

func isEphemeral(ctx context.Context) bool {
	v, _ := ctx.Value(ephemeralKey{}).(bool)
	return v
}

// NothingMounted fails when something is mounted below dir.
func NothingMounted(dir string) error {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("list mounts: %w", err)
	}
	for _, line := range strings.Split(string(b), "\n") {
		if f := strings.Fields(line); len(f) > 4 && (f[4] == dir || strings.HasPrefix(f[4], dir+"/")) {
			return errors.New(f[4] + " is still mounted")
		}
	}
	return nil
}
