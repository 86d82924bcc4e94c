package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
)

// group is some masters of one cluster, and perhaps a fleet of simulated
// agents, all of them processes of the binary.
type group struct {
	b       *bench
	work    string
	masters []*masterProc
	fleet   *child
	count   int    // agents of the fleet
	status  string // file of the fleet's status
	token   string // of a user who may do everything
	ca      []byte
	sweep   func() error
}

// masterProc is one master, which may be ended and started again.
type masterProc struct {
	*child
	dir    string // its own
	args   []string
	env    []string
	peer   string // host:port
	api    string // host:port
	client *client.Client
}

// addressOf is a master's own address: gossip finds others at its own port.
func addressOf(i int) string { return "127.0.0." + strconv.Itoa(i+1) }

// cluster starts masters, and gives them once all vote.
func (b *bench) cluster(ctx context.Context, masters int) (g *group, err error) {
	g = &group{b: b}
	if g.work, g.sweep, err = workspace(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.end())
		}
	}()
	ports, err := freePorts(3, masters)
	if err != nil {
		return g, err
	}
	for i := range masters {
		if err := g.add(ctx, i, ports); err != nil {
			return g, err
		}
	}
	return g, await(ctx, "the votes of all masters", 20*time.Millisecond, g.children(), func() (bool, error) {
		s, err := g.masters[0].client.Cluster(ctx)
		voters := 0
		for _, m := range s.Masters {
			if m.Voter && m.Alive {
				voters++
			}
		}
		return err == nil && voters == masters, nil
	})
}

// add starts one more master; the first makes the cluster.
func (g *group) add(ctx context.Context, i int, ports []string) error {
	ip := addressOf(i)
	m := &masterProc{dir: filepath.Join(g.work, "m"+strconv.Itoa(i)), api: net.JoinHostPort(ip, ports[0]), peer: net.JoinHostPort(ip, ports[1])}
	data := filepath.Join(m.dir, "data")
	if err := os.Mkdir(m.dir, 0o700); err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	m.args = []string{
		"master", "--bind", ip, "--advertise", ip, "--data-dir", data, "--log-level", "warn", "--node-name", "bench-" + strconv.Itoa(i),
		"--api-port", ports[0], "--peer-port", ports[1], "--gossip-port", ports[2],
	}
	first := append([]string{}, m.args...)
	if i == 0 {
		first = append(first, "--bootstrap")
	} else {
		token, err := g.masters[0].client.CreateToken(ctx, string(dcos.RoleMaster))
		if err != nil {
			return fmt.Errorf("make a join token: %w", err)
		}
		m.env = []string{"DCOS_TOKEN=" + token.Token}
		first = append(first, "--join", g.masters[0].peer)
	}
	var err error
	if m.child, err = g.b.start(m.dir, m.env, first...); err != nil {
		return err
	}
	g.masters = append(g.masters, m)
	if i == 0 {
		r := &running{children: []*child{m.child}}
		if err := r.login(ctx, data, m.api); err != nil {
			return err
		}
		g.token, g.ca = r.token, r.ca
	}
	m.client, err = client.New(client.Config{URL: "https://" + m.api, CA: g.ca, Token: g.token, UserAgent: "dcos-bench"})
	if err != nil {
		return err
	}
	return m.answers(ctx)
}

// answers waits until the master's API reads the state.
func (m *masterProc) answers(ctx context.Context) error {
	return await(ctx, "the API of a master", 5*time.Millisecond, []*child{m.child}, func() (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, oneAnswer)
		defer cancel()
		_, err := m.client.Cluster(ctx)
		return err == nil, nil
	})
}

// kill ends the process as a power cut would end it.
func (m *masterProc) kill() {
	_ = m.cmd.Process.Kill() // it may have just ended
	<-m.done
}

// again starts a master that has ended.
func (m *masterProc) again(b *bench) (err error) {
	m.child, err = b.start(m.dir, nil, m.args...)
	return err
}

// leader is the master that leads, by the word of one of them.
func (g *group) leader(ctx context.Context) (*masterProc, error) {
	var found *masterProc
	err := await(ctx, "a leader", 5*time.Millisecond, nil, func() (bool, error) {
		for _, m := range g.masters {
			ctx, cancel := context.WithTimeout(ctx, oneAnswer)
			s, err := m.client.Cluster(ctx)
			cancel()
			if err != nil {
				continue
			}
			for _, other := range g.masters {
				if other.api == s.Leader {
					found = other
					return true, nil
				}
			}
		}
		return false, nil
	})
	return found, err
}

func (g *group) children() []*child {
	var out []*child
	for _, m := range g.masters {
		out = append(out, m.child)
	}
	if g.fleet != nil {
		out = append(out, g.fleet)
	}
	return out
}

// end stops all, removes all, and says what did not go well.
func (g *group) end() error {
	var errs []error
	if g.fleet != nil {
		errs = append(errs, g.fleet.stop())
	}
	// All at once: the last ones of a cluster would wait in vain for a new
	// leader.
	ended := make(chan error, len(g.masters))
	for _, m := range g.masters {
		if m.client != nil {
			m.client.Close()
		}
		_ = m.cmd.Process.Signal(syscall.SIGCONT) // it may have been left silent
		go func() { ended <- m.stop() }()         // ends with the master
	}
	for range g.masters {
		errs = append(errs, <-ended)
	}
	return errors.Join(append(errs, g.sweep())...)
}

// agents starts the fleet and waits until all of it has sessions.
func (g *group) agents(ctx context.Context, count int) error {
	token, err := g.masters[0].client.CreateToken(ctx, string(dcos.RoleAgent))
	if err != nil {
		return fmt.Errorf("make a join token: %w", err)
	}
	dir := filepath.Join(g.work, "fleet")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	g.count, g.status = count, filepath.Join(dir, "status")
	args := []string{"bench", "agents", "--count", strconv.Itoa(count), "--status", g.status}
	for _, m := range g.masters {
		args = append(args, "--master", m.peer)
	}
	if g.fleet, err = g.b.start(dir, []string{"DCOS_TOKEN=" + token.Token}, args...); err != nil {
		return err
	}
	return g.whole(ctx, 0)
}

// whole waits until all agents are there, for the first time since another
// such moment, and the leader counts them as active.
func (g *group) whole(ctx context.Context, since int64) error {
	err := await(ctx, "the simulated agents", 20*time.Millisecond, g.children(), func() (bool, error) {
		s := g.agentsNow()
		return s.Online == g.count && s.Whole > since, nil
	})
	if err != nil {
		return fmt.Errorf("%w (%+v)", err, g.agentsNow())
	}
	return await(ctx, "the nodes", 50*time.Millisecond, g.children(), func() (bool, error) {
		for _, m := range g.masters {
			if s, err := m.client.Cluster(ctx); err == nil {
				return s.Nodes["active"] == g.count, nil
			}
		}
		return false, nil
	})
}

// agentsSince is what the fleet says after this moment. Its last word may be
// from before what its masters have reported since.
func (g *group) agentsSince(ctx context.Context) (s FleetStatus, err error) {
	from := time.Now().UnixNano()
	err = await(ctx, "word from the simulated agents", 10*time.Millisecond, []*child{g.fleet}, func() (bool, error) {
		s = g.agentsNow()
		return s.At > from, nil
	})
	return s, err
}

// agentsNow is what the fleet says; nothing while it says nothing.
func (g *group) agentsNow() (s FleetStatus) {
	b, err := os.ReadFile(g.status)
	if err == nil && json.Unmarshal(b, &s) != nil {
		return FleetStatus{}
	}
	return s
}

// spent is what masters have used since they were started.
func (g *group) spent() Cost {
	var c Cost
	for _, m := range g.masters {
		c.CPUSeconds += float64(cpuOf(m.pid())) / 1e9
		c.Bytes += written(m.pid())
	}
	return c
}

// since is what was used after before.
func (c Cost) since(before Cost) *Cost {
	return &Cost{Fsyncs: c.Fsyncs - before.Fsyncs, Bytes: c.Bytes - before.Bytes, CPUSeconds: round(c.CPUSeconds - before.CPUSeconds)}
}

// written is how many bytes a process has written to disks.
func written(pid int) int64 {
	b, err := os.ReadFile(procFile(pid, "io"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if text, ok := strings.CutPrefix(line, "write_bytes:"); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(text), 10, 64) // 0 is not known
			return n
		}
	}
	return 0
}

// silence stops a master without ending it or its connections.
func (m *masterProc) silence() error { return m.cmd.Process.Signal(syscall.SIGSTOP) }

// speak lets it go on.
func (m *masterProc) speak() error { return m.cmd.Process.Signal(syscall.SIGCONT) }
