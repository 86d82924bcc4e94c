package membership

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/serf/serf"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// The limits and times of gossip.
const (
	maxQueue     = 2048            // messages that wait to be spread; the oldest go first
	queueCheck   = 2 * time.Second // between two looks at that
	maxQuery     = 256             // bytes of a query, which holds a name of up to maxName
	maxAnswer    = 150             // bytes of an answer, which holds a name and a Ring
	maxEvents    = 1024            // events that wait for Run
	joinTimeout  = 3 * time.Second // per address
	joinPause    = 3 * time.Second // between tries while nobody is known
	reconnect    = 10 * time.Second
	reclaim      = 5 * time.Second // after which a failed member's name may move to another address
	leaveTimeout = time.Second
	leaveDelay   = 300 * time.Millisecond
	maxSeeds     = 16                    // asked in one try
	changePause  = 50 * time.Millisecond // between two looks of one reader of Changes
)

// Gossip is this process as a member.
type Gossip struct {
	serf   *serf.Serf
	cfg    Config
	gate   *gate
	ring   *memberlist.Keyring // memberlist's own; changed under mu
	log    *slog.Logger
	flaps  flaps // of follow alone
	events chan serf.Event

	tagging chan struct{}     // held, as a lock, by whoever changes tags
	tags    map[string]string // guarded by tagging; what this machine says

	mu      sync.Mutex
	changed chan struct{} // guarded by mu; closed at the next change
	serial  uint64        // guarded by mu; of the change that keys came with
	keys    [][]byte      // guarded by mu; what ring should hold; the first encrypts
}

// Start binds the port and begins to answer others. Run must follow: it alone
// frees what Start took.
func Start(_ context.Context, cfg Config) (*Gossip, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	keyring, err := openKeyring(cfg.KeyringFile, cfg.Keys)
	if err != nil {
		return nil, err
	}
	sc, err := cfg.serfConfig(keyring)
	if err != nil {
		return nil, err
	}
	g := &Gossip{
		cfg: cfg, gate: newGate(cfg.Cluster), ring: keyring, log: cfg.Log, events: make(chan serf.Event, maxEvents),
		changed: make(chan struct{}), tagging: make(chan struct{}, 1), tags: maps.Clone(sc.Tags), keys: slices.Clone(keyring.GetKeys()),
	}
	sc.EventCh, sc.Merge = g.events, g.gate
	sc.Logger = log.New(&logWriter{log: cfg.Log, now: time.Now}, "", 0)
	sc.MemberlistConfig.Logger = sc.Logger
	if cfg.tune != nil {
		cfg.tune(sc)
	}
	// Bound here and not by serf, which leaves a goroutine when it cannot.
	if sc.MemberlistConfig.Transport == nil {
		if err := bind(sc.MemberlistConfig); err != nil {
			return nil, fmt.Errorf("gossip on %s: %w: %w", cfg.Bind, dcos.ErrUnavailable, err)
		}
	}
	if cfg.Master != 0 {
		g.tags[tagRing] = ringOf(0, g.keys).text()
		sc.Tags[tagRing] = g.tags[tagRing]
	}
	if g.serf, err = serf.Create(sc); err != nil {
		sc.MemberlistConfig.Transport.Shutdown() //nolint:errcheck // the first error counts
		return nil, fmt.Errorf("gossip on %s: %w: %w", cfg.Bind, dcos.ErrUnavailable, err)
	}
	return g, nil
}

// bindTries is how often a free port is looked for: it must be free for TCP
// and UDP.
const bindTries = 10

func bind(ml *memberlist.Config) error {
	var err error
	for range bindTries {
		var t *memberlist.NetTransport
		t, err = memberlist.NewNetTransport(&memberlist.NetTransportConfig{
			BindAddrs: []string{ml.BindAddr}, BindPort: ml.BindPort, Logger: ml.Logger,
		})
		if err != nil && ml.BindPort == 0 {
			continue
		}
		if err != nil {
			return err
		}
		if ml.BindPort == 0 {
			ml.BindPort = t.GetAutoBindPort()
		}
		if ml.AdvertisePort == 0 {
			ml.AdvertisePort = ml.BindPort
		}
		if _, _, err := t.FinalAdvertiseAddr(ml.AdvertiseAddr, ml.AdvertisePort); err != nil {
			t.Shutdown() //nolint:errcheck // the first error counts
			return err
		}
		ml.Transport = t
		return nil
	}
	return err
}

// Addr is where others reach this member.
func (g *Gossip) Addr() string {
	n := g.serf.LocalMember() // a copy; memberlist changes its own node when tags change
	return net.JoinHostPort(n.Addr.String(), strconv.Itoa(int(n.Port)))
}

// Members are all members that are known, in the order of their names, this
// one among them, failed and departed ones until they are forgotten.
func (g *Gossip) Members() []Member {
	all := g.serf.Members()
	out := make([]Member, 0, len(all))
	for _, m := range all {
		out = append(out, memberOf(m))
	}
	sortMembers(out)
	return out
}

// Changes gives the members now and after every change, until ctx ends. A slow
// reader misses what lies between, never the last.
func (g *Gossip) Changes(ctx context.Context) iter.Seq[[]Member] {
	return func(yield func([]Member) bool) {
		for {
			g.mu.Lock()
			next := g.changed
			g.mu.Unlock()
			if ctx.Err() != nil || !yield(g.Members()) {
				return
			}
			select {
			case <-next:
			case <-ctx.Done():
				return
			}
			// Changes come in crowds; each reader looks at all members.
			select {
			case <-time.After(changePause):
			case <-ctx.Done():
				return
			}
		}
	}
}

// Join makes this machine known to the members at these gossip addresses. One
// that answers is enough. It waits for each up to 3 s.
func (g *Gossip) Join(addrs []string) error {
	n, err := g.serf.Join(addrs, true)
	if n > 0 {
		return nil
	}
	if err == nil {
		err = errors.New("no address was given")
	}
	return fmt.Errorf("gossip: %w: none of %d addresses took this machine in; check that they are up, of the same cluster and have the same key: %w", dcos.ErrUnavailable, len(addrs), err)
}

// SetLeading spreads that this master leads in a term, or, with 0, that it
// does not any more.
func (g *Gossip) SetLeading(term dcos.Term) error {
	err := g.retag(func(tags map[string]string) {
		delete(tags, tagLeads)
		if term != 0 {
			tags[tagLeads] = strconv.FormatUint(uint64(term), 16)
		}
	})
	if err != nil {
		return fmt.Errorf("gossip: spread that term %d is led: %w", term, err)
	}
	return nil
}

// Run follows the members until ctx ends, then tells the others that this one
// leaves and frees the port. It returns nil only for that reason.
func (g *Gossip) Run(ctx context.Context) error {
	var parts sync.WaitGroup
	defer parts.Wait()
	// Ends when serf is shut down, below. It must outlive ctx, because leaving
	// makes events too.
	parts.Go(g.follow)
	parts.Go(func() { g.stayJoined(ctx) }) // ends with ctx or serf
	parts.Go(func() { g.keepKeys(ctx) })   // ends with ctx or serf
	var early error
	select {
	case <-ctx.Done():
		if err := g.serf.Leave(); err != nil {
			g.log.Warn("gossip not left in order", "error", err)
		}
	case <-g.serf.ShutdownCh():
		early = fmt.Errorf("gossip ended by itself: %w", dcos.ErrUnavailable)
	}
	if err := g.serf.Shutdown(); err != nil && early == nil {
		return fmt.Errorf("end gossip: %w", err)
	}
	return early
}

// follow turns serf's events into log lines and wakes the readers of Changes.
func (g *Gossip) follow() {
	for {
		select {
		case e := <-g.events:
			switch e := e.(type) {
			case serf.MemberEvent:
				g.note(e)
			case *serf.Query:
				g.answer(e)
			}
		case <-g.serf.ShutdownCh():
			g.wake()
			return
		}
	}
}

func (g *Gossip) note(e serf.MemberEvent) {
	for _, m := range e.Members {
		g.gate.took(m.Name, e.Type == serf.EventMemberReap)
		if e.Type != serf.EventMemberUpdate && m.Name != g.cfg.name() && g.flaps.tell(m.Name, time.Now(), g.log) {
			g.log.Info("gossip member changed", "member", m.Name, "event", e.Type.String(), "addr", m.Addr.String())
		}
	}
	g.wake()
}

func (g *Gossip) wake() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.changed)
	g.changed = make(chan struct{})
}

// stayJoined asks the seeds whenever this machine knows no other living one.
func (g *Gossip) stayJoined(ctx context.Context) {
	if g.cfg.Seeds == nil {
		return
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		case <-g.serf.ShutdownCh():
			return
		}
		if seeds := g.seeds(); g.alone() && len(seeds) > 0 {
			if err := g.Join(seeds); err != nil && ctx.Err() == nil {
				g.log.Debug("no gossip member reached yet", "error", err)
			}
		}
		timer.Reset(joinPause)
	}
}

func (g *Gossip) alone() bool {
	me := g.cfg.name()
	return !slices.ContainsFunc(g.Members(), func(m Member) bool { return m.State == Alive && m.Name != me })
}

// seeds are the configured ones without this machine itself.
func (g *Gossip) seeds() []string {
	me := g.Addr()
	out := slices.DeleteFunc(slices.Clone(g.cfg.Seeds()), func(s string) bool { return s == me || s == "" })
	return out[:min(len(out), maxSeeds)]
}
