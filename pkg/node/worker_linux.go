package node

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/dcos-go/dcos/pkg/agent"
	"github.com/dcos-go/dcos/pkg/api"
	dcosapi "github.com/dcos-go/dcos/pkg/api/dcos"
	"github.com/dcos-go/dcos/pkg/auth"
	"github.com/dcos-go/dcos/pkg/config"
	"github.com/dcos-go/dcos/pkg/container"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/fetch"
	"github.com/dcos-go/dcos/pkg/image"
	"github.com/dcos-go/dcos/pkg/journal"
	"github.com/dcos-go/dcos/pkg/link"
	"github.com/dcos-go/dcos/pkg/membership"
	"github.com/dcos-go/dcos/pkg/sandbox"
)

// worker is the agent's half of a process.
type worker struct {
	*process
	files    *workerFiles
	port     net.Listener
	listener *link.Listener
	node     dcos.Node
	runtime  *container.Runtime
	boxes    *sandbox.Sandboxes
	images   *image.Store
	fetcher  *fetch.Fetcher
	log      *journal.Journal
	records  [][]byte
	agent    *agent.Agent
	turn     atomic.Uint64 // of dialing, so that masters are tried one after the other
	usage    usageReader
}

func newWorker(ctx context.Context, p *process) (_ *worker, err error) {
	w := &worker{process: p}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if w.port, err = p.listen(ctx, p.c.AgentPort); err != nil {
		return nil, fmt.Errorf("agent port: %w", err)
	}
	p.c.AgentPort = portOf(w.port)
	if w.files, err = openWorker(ctx, p, p.log); err != nil {
		return nil, err
	}
	w.listener = link.NewListener(w.port, p.linkConfig(w.files.keeper.Credentials))
	if err := w.openRuntime(); err != nil {
		return nil, err
	}
	if err := w.openCheckpoint(); err != nil {
		return nil, err
	}
	return w, w.describe()
}

// close frees what was opened; needed when the parts never ran.
func (w *worker) close() {
	if w.port != nil {
		_ = w.port.Close() // closed already when the parts ran
	}
	if w.log != nil {
		_ = w.log.Close() // everything in it was synced when it mattered
	}
}

func (w *worker) openRuntime() error {
	dir := w.files.dir
	var err error
	if w.runtime, err = openContainers(w.c.DataDir, w.files.id, w.process); err != nil {
		return err
	}
	if w.boxes, err = sandbox.New(filepath.Join(dir, "sandboxes")); err != nil {
		return fmt.Errorf("open sandboxes: %w", err)
	}
	c := image.Config{
		Dir: filepath.Join(dir, "images"), Mirrors: w.c.ImageMirrors, Insecure: w.c.ImageMirrors,
		Limits: image.Limits{UnpackedBytes: w.c.ImageLimitMB << 20}, High: w.c.ImageHigh, Low: w.c.ImageLow,
		Used: w.runtime.Layers, Log: w.process.log,
	}
	if w.c.ImageLogins != "" {
		c.Credentials = image.DockerConfig(w.c.ImageLogins)
	}
	w.images, err = image.New(c)
	if err != nil {
		return fmt.Errorf("open images: %w", err)
	}
	w.fetcher, err = fetch.New(fetch.Config{
		Dir: filepath.Join(dir, "fetched"), CacheBytes: w.c.FetchCacheMB << 20, Allow: w.c.FetchAllow, Refuse: w.ownPorts,
		Limits: fetch.Limits{Bytes: w.c.FetchLimitMB << 20}, Log: w.process.log,
	})
	if err != nil {
		return fmt.Errorf("open the cache of fetched files: %w", err)
	}
	return nil
}

// ownPorts are the ports that no fetch of a task reaches: of this machine, and
// of the masters that are known.
func (w *worker) ownPorts() []netip.AddrPort {
	var all []netip.AddrPort
	add := func(host string, ports ...int) {
		ip, err := netip.ParseAddr(host)
		if err != nil {
			return
		}
		for _, p := range ports {
			if p > 0 && p < 1<<16 {
				all = append(all, netip.AddrPortFrom(ip, uint16(p)))
			}
		}
	}
	ports := []int{w.c.PeerPort, w.c.AgentPort, w.c.GossipPort}
	if w.master != nil {
		ports = append(ports, w.c.APIPort)
	}
	add("127.0.0.1", ports...)
	add(w.advertise, ports...)
	for _, addr := range w.knownMasters() {
		if to, err := netip.ParseAddrPort(addr); err == nil {
			all = append(all, to)
			add(to.Addr().String(), w.c.APIPort, w.c.GossipPort)
		}
	}
	return all
}

func openContainers(dataDir string, id dcos.NodeID, p *process) (*container.Runtime, error) {
	c := container.Config{Dir: filepath.Join(dataDir, "agent", "run"), AgentID: string(id), Hide: []string{dataDir}}
	if p != nil {
		c.Log = p.log
	}
	r, err := container.New(c)
	if err != nil {
		return nil, fmt.Errorf("open the container runtime: %w", err)
	}
	return r, nil
}

// openCheckpoint opens the agent's journal. An empty one gets an id of its own,
// which is part of the boot nonce: a node that lost its checkpoint must not
// pass for the one that it was.
func (w *worker) openCheckpoint() error {
	dir, err := openDir(w.files.dir, "checkpoint")
	if err != nil {
		return err
	}
	w.log, w.records, err = journal.Open(dir, journal.Options{})
	if err != nil {
		return fmt.Errorf("open the agent's checkpoint: %w", err)
	}
	idFile := filepath.Join(w.files.dir, "checkpoint-id")
	if len(w.records) == 0 {
		if err := os.Remove(idFile); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("renew the checkpoint's id: %w", err)
		}
	}
	lost, err := keptID(idFile, "")
	if err != nil {
		return err
	}
	boot, err := bootNonce()
	if err != nil {
		return err
	}
	w.node.Boot = boot + "-" + lost
	return nil
}

// describe is what the node says of itself.
func (w *worker) describe() error {
	total, err := capacity(w.c)
	if err != nil {
		return err
	}
	caps := w.runtime.Capabilities()
	n := &w.node
	n.ID, n.Hostname, n.IP = w.files.id, w.hostname, w.advertise
	n.Addr, n.Version = hostPort(w.advertise, w.c.AgentPort), config.Version
	n.Region, n.Zone, n.Attributes, n.Total = w.c.Region, w.c.Zone, w.c.Attributes, total
	n.Isolation, n.NotEnforced = dcos.IsolationProcess, caps.NotEnforced
	contains := slices.Contains(caps.Kinds(), dcos.KindImage)
	switch {
	case w.c.Isolation == "container" && !contains:
		return fmt.Errorf("%w: isolation container is not possible here (%v): run as root on a kernel with cgroups, or set isolation to process", dcos.ErrInvalid, caps.NotEnforced)
	case w.c.Isolation != "process" && contains:
		n.Isolation = dcos.IsolationContainer
	case contains:
		n.NotEnforced = []string{"tasks run as plain processes because isolation is set to process: no limits, no namespaces, no images"}
	}
	return nil
}

// parts are in the order in which they start.
func (w *worker) parts() ([]part, error) {
	sum := sha256.Sum256([]byte(w.node.ID))
	binary64 := binary.BigEndian.Uint64(sum[:])
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this binary: %w", err)
	}
	lease, err := w.runtime.Lease()
	if err != nil {
		return nil, fmt.Errorf("read the leases of tasks: %w", err)
	}
	w.agent, err = agent.New(agent.Config{
		Fences: true, Lease: lease,
		Node: w.node, Cluster: w.files.cluster, Seed: binary64, Binary: self,
		LogBytes: w.c.LogBytes, Pids: w.c.TaskPids, KeepPerApp: w.c.SandboxKeep,
	}, agent.Parts{
		Runtime: runtimeOf{w.runtime}, Images: w.images, Sandboxes: w.boxes, Fetcher: w.fetcher, Journal: w.log,
		Dial: w.dial, Probe: link.Probe, Usage: w.usage.read(w.c.DataDir, w.runtime), Now: w.runtime.Now, Log: w.process.log,
	}, w.records)
	if err != nil {
		return nil, err
	}
	w.records = nil
	table, err := api.NewTable(dcosapi.AgentRoutes(dcosapi.AgentConfig{Node: w.node.ID, Logs: w.boxes, Images: w.images, Log: w.process.log}))
	if err != nil {
		return nil, err
	}
	h := api.New(api.Config{Table: table, Auth: api.Trusted(auth.System()), Log: w.process.log, Limits: api.Limits{StreamsPerUser: 1024}})
	accept := func(ctx context.Context) (net.Conn, error) { return w.listener.Accept(ctx, link.ProtoAPI) }
	return []part{
		{"agent port", w.listener.Run},
		{"API of the agent", func(ctx context.Context) error {
			return api.Serve(ctx, api.PeerListener(ctx, accept, w.listener.Addr()), h, true, w.process.log)
		}},
		{"agent certificate", func(ctx context.Context) error { return w.files.keeper.Run(ctx, w.renew) }},
		{"masters", w.keepMasters},
		{"leader by gossip", w.followLeader},
		{"images", w.images.Run},
		{"agent", w.run},
	}, nil
}

// run waits for the cluster's first rows when the master beside it is to make
// or to receive them: before, nobody could take the agent in.
func (w *worker) run(ctx context.Context) error {
	if w.master != nil {
		changes, err := w.master.raft.Watch(ctx, w.master.raft.View().Index())
		if err != nil {
			return fmt.Errorf("watch the state: %w", err)
		}
		if _, made := w.master.raft.View().Cluster(); !made {
			for c, err := range changes {
				if _, made := c.View.Cluster(); made || err != nil {
					break // after an error the agent finds out by itself
				}
			}
		}
	}
	return w.agent.Run(ctx)
}

// dial connects to a master: the one given, the one that gossip says leads, or
// the next of those known.
func (w *worker) dial(ctx context.Context, addr string) (net.Conn, error) {
	if addr == "" {
		if addr = w.nextMaster(); addr == "" {
			return nil, fmt.Errorf("%w: no master is known", dcos.ErrUnavailable)
		}
	}
	return link.Dial(ctx, addr, link.ProtoAgent, w.linkConfig(w.files.keeper.Credentials), link.Expect{Role: dcos.RoleMaster})
}

func (w *worker) nextMaster() string {
	n := w.turn.Add(1) - 1
	if w.master != nil {
		if l, _ := w.master.raft.Leadership(); l.Leader == w.master.files.id || n%2 == 0 {
			return w.master.peer // it leads, or knows who does
		}
	}
	if l, ok := membership.Leader(w.gossip.Members()); ok && l.Peer != "" && n%2 == 0 {
		return l.Peer
	}
	var all []string
	for _, m := range w.gossip.Members() {
		if m.Peer != "" && m.State == membership.Alive {
			all = append(all, m.Peer)
		}
	}
	slices.Sort(all)
	for _, addr := range w.knownMasters() {
		if !slices.Contains(all, addr) {
			all = append(all, addr)
		}
	}
	if len(all) == 0 {
		return ""
	}
	return all[int(n/2)%len(all)]
}

func (w *worker) renew(ctx context.Context) (*link.Credentials, error) {
	if w.master != nil {
		return w.files.issue(w.master.files)
	}
	var last error
	for _, addr := range w.knownMasters() {
		got, err := auth.Renew(ctx, addr, w.files.keeper.Credentials(), auth.Joining{Role: dcos.RoleAgent, ID: string(w.files.id), Cluster: w.files.cluster, Build: config.Version, Level: config.FeatureLevel})
		if err == nil {
			return got.Credentials, nil
		}
		last = err
	}
	return nil, fmt.Errorf("renew the certificate: %w", last)
}

// fetchKeys asks masters for the gossip keys, and keeps them for the next start.
func (w *worker) fetchKeys(ctx context.Context) ([][]byte, uint64, error) {
	last := fmt.Errorf("%w: no master is known", dcos.ErrUnavailable)
	masters := w.knownMasters()
	for i := range masters {
		addr := masters[(i+int(w.turn.Load()))%len(masters)] // not all agents ask the first
		keys, serial, err := auth.GossipKeys(ctx, addr, w.files.keeper.Credentials())
		if err == nil {
			return keys, serial, w.files.keep(keys)
		}
		last = err
	}
	return nil, 0, last
}

// followLeader lets the agent know when gossip tells of a new leader, so that
// it need not find out by its own silence.
func (w *worker) followLeader(ctx context.Context) error {
	var last dcos.Term
	for members := range w.gossip.Changes(ctx) {
		if l, ok := membership.Leader(members); ok && l.Leads > last && l.Peer != "" {
			last = l.Leads
			w.agent.Leads(l.Leads, l.Peer)
		}
	}
	<-ctx.Done()
	return nil
}

// runtimeOf gives the container runtime the form that the agent asks for.
type runtimeOf struct{ *container.Runtime }

// Adopt implements agent.Runtime.
func (r runtimeOf) Adopt(ctx context.Context, id dcos.TaskID) (alive bool, exit *dcos.Exit, err error) {
	s, err := r.Runtime.Adopt(ctx, id)
	if err != nil {
		return false, nil, err
	}
	if s.State == container.Ended {
		return false, &s.Exit, nil
	}
	return s.State == container.Alive, nil, nil
}

// Purge ends every task below a data directory and removes what the kernel
// holds for them. It succeeds when there is nothing.
func Purge(ctx context.Context, dataDir string) error {
	id := readLines(filepath.Join(dataDir, "agent", "id"))
	if len(id) != 1 {
		return nil
	}
	release, err := lockDir(dataDir)
	if err != nil {
		return err
	}
	defer release()
	r, err := openContainers(dataDir, dcos.NodeID(id[0]), nil)
	if err != nil {
		return err
	}
	return purge(ctx, r)
}

func purge(ctx context.Context, r *container.Runtime) error {
	tasks, err := r.List()
	if err != nil {
		return fmt.Errorf("list tasks: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for _, t := range tasks {
		if err := r.Remove(ctx, t); err != nil {
			return fmt.Errorf("end task %s: %w", t, err)
		}
	}
	return r.Close()
}
