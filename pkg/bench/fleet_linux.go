package bench

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dcos-go/dcos/pkg/agent"
	"github.com/dcos-go/dcos/pkg/auth"
	"github.com/dcos-go/dcos/pkg/config"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/link"
	"github.com/dcos-go/dcos/pkg/resource"
	"github.com/dcos-go/dcos/pkg/wire"
)

// FleetOptions say which simulated agents join which cluster.
type FleetOptions struct {
	Count   int
	Masters []string // host:port of their peer ports
	Token   string   // a join token of agents
	Zones   int      // the agents are spread over so many; 0 is 3
	// Status is a file that says what they do, written anew all the time; ""
	// is none.
	Status string
	Log    *slog.Logger
}

// FleetStatus is what the agents of a fleet do at a moment.
type FleetStatus struct {
	Joined  int   `json:"joined"`
	Online  int   `json:"online"` // have a session with the leader
	Running int64 `json:"running"`
	Started int64 `json:"started"` // since the start of the fleet
	// Whole is when, in nanoseconds since 1970, all agents were online for the
	// last time after one of them was not; 0 while one is not.
	Whole int64 `json:"whole"`
	// At is when, in nanoseconds since 1970, they were about to be counted: what
	// had happened by then is in.
	At int64 `json:"at"`
}

// joinsAtOnce is less than a master lets one host have.
const joinsAtOnce = 6

// fleet is many agents in one process. All of each is real but what runs its
// tasks, which only remembers them, and its disk, which forgets everything.
type fleet struct {
	o       FleetOptions
	run     string // tells the ids of this fleet from those of others
	agents  []*agent.Agent
	joined  atomic.Int64
	running atomic.Int64
	started atomic.Int64
	turn    atomic.Int64
}

// Fleet lets simulated agents join a cluster and serve it until ctx ends. They
// speak the real session protocol with certificates of their own.
func Fleet(ctx context.Context, o FleetOptions, out io.Writer) error {
	if o.Count < 1 || len(o.Masters) == 0 {
		return fmt.Errorf("%w: simulated agents: give their number and the address of a master", dcos.ErrInvalid)
	}
	if o.Zones == 0 {
		o.Zones = 3
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	token, err := auth.ParseToken(o.Token)
	if err != nil {
		return fmt.Errorf("simulated agents: %w", err)
	}
	var id [4]byte
	if _, err := rand.Read(id[:]); err != nil {
		return fmt.Errorf("simulated agents: %w", err)
	}
	f := &fleet{o: o, run: hex.EncodeToString(id[:]), agents: make([]*agent.Agent, o.Count)}
	begun := time.Now()
	if err := f.join(ctx, token); err != nil {
		return err
	}
	fmt.Fprintf(out, "%d simulated agents have their certificates after %s\n", o.Count, time.Since(begun).Round(time.Millisecond))
	g, ctx := errgroup.WithContext(ctx)
	for _, a := range f.agents {
		g.Go(func() error { return a.Run(ctx) })
	}
	g.Go(func() error { return f.tell(ctx, out) })
	if err := g.Wait(); err != nil {
		return fmt.Errorf("simulated agents: %w", err)
	}
	return nil
}

// join gets a certificate for each agent.
func (f *fleet) join(ctx context.Context, token auth.Token) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(joinsAtOnce)
	for i := range f.agents {
		g.Go(func() error {
			a, err := f.one(ctx, token, i)
			f.agents[i] = a
			return err
		})
	}
	return g.Wait()
}

// one joins as one machine and makes its agent.
func (f *fleet) one(ctx context.Context, token auth.Token, i int) (*agent.Agent, error) {
	id := dcos.NodeID(fmt.Sprintf("n-%s%08x", f.run, i))
	var got *auth.Joined
	for until := time.Now().Add(patience); ; {
		var err error
		got, err = auth.AnyOf(ctx, f.o.Masters, func(addr string) (*auth.Joined, error) {
			return auth.Join(ctx, addr, token, auth.Joining{Role: dcos.RoleAgent, ID: string(id), Build: config.Version, Level: config.FeatureLevel})
		})
		if err == nil {
			break
		}
		if ctx.Err() != nil || time.Now().After(until) || !errors.Is(err, dcos.ErrUnavailable) && !errors.Is(err, dcos.ErrExhausted) {
			return nil, fmt.Errorf("simulated agent %s: %w", id, err)
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return nil, err
		}
	}
	f.joined.Add(1)
	tasks := &pretended{fleet: f, tasks: map[dcos.TaskID]*pretendedTask{}}
	creds := link.Config{Credentials: func() *link.Credentials { return got.Credentials }}
	a, err := agent.New(agent.Config{Node: f.node(id, i), Cluster: got.Credentials.Self.Cluster, Seed: uint64(i), Binary: "/dcos"}, agent.Parts{
		Runtime: tasks, Sandboxes: noBoxes{}, Journal: noDisk{}, Probe: link.Probe, Log: slog.New(slog.DiscardHandler),
		Usage: func(context.Context) (wire.Usage, error) {
			return wire.Usage{CPUMilli: int64(i % 8000), MemBytes: 1 << 30}, nil
		},
		Dial: func(ctx context.Context, addr string) (net.Conn, error) {
			if addr == "" {
				addr = f.o.Masters[int(f.turn.Add(1))%len(f.o.Masters)]
			}
			return link.Dial(ctx, addr, link.ProtoAgent, creds, link.Expect{Role: dcos.RoleMaster})
		},
	}, nil)
	if err != nil {
		return nil, fmt.Errorf("simulated agent %s: %w", id, err)
	}
	return a, nil
}

// node is one of two sizes, in 3 zones and 100 racks, as farm's are.
func (f *fleet) node(id dcos.NodeID, i int) dcos.Node {
	size := int64(8 + 8*(i%2))
	return dcos.Node{
		// Nobody listens on this port: the machine lives, its agent does not.
		ID: id, Hostname: fmt.Sprintf("sim-%s-%04d", f.run, i), Addr: "127.0.0.1:1", IP: "127.0.0.1", Boot: f.run, Version: config.Version,
		Zone: fmt.Sprintf("zone-%d", i%f.o.Zones), Attributes: map[string]string{"rack": fmt.Sprint(i % 100)}, Isolation: dcos.IsolationContainer,
		Total: resource.Set{
			CPUs: resource.Whole(size), Mem: resource.Whole(size * 4096), Disk: resource.Whole(100_000),
			Ports: resource.NewRanges(resource.Range{First: 31000, Last: 32000}),
		},
	}
}

// tellEvery is how often the fleet says what it does.
const tellEvery = 50 * time.Millisecond

// tell keeps the status file, and prints when all agents are there.
func (f *fleet) tell(ctx context.Context, out io.Writer) error {
	t := time.NewTicker(tellEvery)
	defer t.Stop()
	var whole int64
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		s := f.status()
		switch {
		case s.Online < f.o.Count:
			whole = 0
		case whole == 0:
			whole = time.Now().UnixNano()
			fmt.Fprintf(out, "all %d simulated agents have a session\n", f.o.Count)
		}
		s.Whole = whole
		if f.o.Status == "" {
			continue
		}
		b, err := json.Marshal(s)
		if err != nil {
			return err
		}
		if err := errors.Join(os.WriteFile(f.o.Status+".new", b, 0o600), os.Rename(f.o.Status+".new", f.o.Status)); err != nil {
			return fmt.Errorf("write the status: %w", err)
		}
	}
}

func (f *fleet) status() FleetStatus {
	s := FleetStatus{At: time.Now().UnixNano(), Joined: int(f.joined.Load()), Running: f.running.Load(), Started: f.started.Load()}
	for _, a := range f.agents {
		if a.Connected() {
			s.Online++
		}
	}
	return s
}

// pretended is an agent.Runtime whose tasks are remembered and nothing more. A
// task whose command is "exit" ends at once; others run until they are killed.
type pretended struct {
	fleet *fleet
	mu    sync.Mutex
	tasks map[dcos.TaskID]*pretendedTask // guarded by mu
}

type pretendedTask struct {
	ended chan struct{} // closed once how is known
	how   dcos.Exit
	over  bool // guarded by pretended.mu: ended is closed
}

// Start implements agent.Runtime.
func (p *pretended) Start(_ context.Context, s dcos.Spec) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tasks[s.Task] != nil {
		return 0, dcos.ErrConflict
	}
	t := &pretendedTask{ended: make(chan struct{})}
	p.tasks[s.Task] = t
	p.fleet.running.Add(1)
	p.fleet.started.Add(1)
	if n := len(s.Argv); n > 0 && s.Argv[n-1] == "exit" {
		p.end(t, dcos.Exit{})
	}
	return 1, nil
}

// end is called with mu held.
func (p *pretended) end(t *pretendedTask, how dcos.Exit) {
	if !t.over {
		t.how, t.over = how, true
		close(t.ended)
		p.fleet.running.Add(-1)
	}
}

// Adopt implements agent.Runtime: a fleet that starts knows no tasks.
func (p *pretended) Adopt(context.Context, dcos.TaskID) (bool, *dcos.Exit, error) {
	return false, nil, nil
}

// Wait implements agent.Runtime.
func (p *pretended) Wait(ctx context.Context, id dcos.TaskID) (dcos.Exit, error) {
	p.mu.Lock()
	t := p.tasks[id]
	p.mu.Unlock()
	if t == nil {
		return dcos.Exit{Unknown: true}, nil
	}
	select {
	case <-t.ended:
		return t.how, nil
	case <-ctx.Done():
		return dcos.Exit{}, ctx.Err()
	}
}

// Signal implements agent.Runtime: all tasks end when they are asked to.
func (p *pretended) Signal(id dcos.TaskID, signal int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.tasks[id]; t != nil {
		p.end(t, dcos.Exit{Signal: signal})
	}
	return nil
}

// Kill implements agent.Runtime.
func (p *pretended) Kill(id dcos.TaskID) error {
	const sigkill = 9
	return p.Signal(id, sigkill)
}

// Remove implements agent.Runtime.
func (p *pretended) Remove(_ context.Context, id dcos.TaskID) error {
	err := p.Kill(id)
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.tasks, id)
	return err
}

// List implements agent.Runtime.
func (p *pretended) List() ([]dcos.TaskID, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]dcos.TaskID, 0, len(p.tasks))
	for id := range p.tasks {
		out = append(out, id)
	}
	return out, nil
}

// noBoxes are sandboxes that take no room.
type noBoxes struct{}

// Create implements agent.Sandboxes.
func (noBoxes) Create(id dcos.TaskID, _ string) (string, error) { return "/sandbox/" + string(id), nil }

// Remove implements agent.Sandboxes.
func (noBoxes) Remove(dcos.TaskID) error { return nil }

// List implements agent.Sandboxes.
func (noBoxes) List() ([]dcos.TaskID, error) { return nil, nil }

// noDisk is a checkpoint that forgets: a fleet does not start again.
type noDisk struct{}

// Append implements agent.Journal.
func (noDisk) Append(...[]byte) error { return nil }

// Sync implements agent.Journal.
func (noDisk) Sync() error { return nil }

// Compact implements agent.Journal.
func (noDisk) Compact([][]byte) error { return nil }
