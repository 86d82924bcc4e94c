package bench

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/dcos-go/dcos/pkg/auth"
	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
)

// running is a cluster of children with a client that may do everything.
type running struct {
	work     string
	children []*child // in the order of their start
	agent    *child   // the process that runs tasks
	client   *client.Client
	token    string // of the client
	ca       []byte // PEM
	sweep    func() error
}

// end stops all, removes all, and says what did not go well.
func (r *running) end() error {
	if r.client != nil {
		r.client.Close()
	}
	var errs []error
	for i := len(r.children) - 1; i >= 0; i-- {
		errs = append(errs, r.children[i].stop())
	}
	return errors.Join(append(errs, r.sweep())...)
}

// dev starts `dcos dev` as a user would, and gives it once its API answers.
func (b *bench) dev(ctx context.Context) (*running, error) {
	work, sweep, err := workspace()
	if err != nil {
		return nil, err
	}
	r := &running{work: work, sweep: sweep}
	c, err := b.start(work, nil, "dev", "--api-port", "0", "--peer-port", "0", "--agent-port", "0", "--gossip-port", "0")
	if err != nil {
		return nil, errors.Join(err, sweep())
	}
	r.children, r.agent = []*child{c}, c
	err = await(ctx, "the cluster", 2*time.Millisecond, r.children, func() (bool, error) {
		r.client, err = attached(filepath.Join(work, "dcos"))
		return r.client != nil, err
	})
	if err != nil {
		return nil, errors.Join(err, r.end())
	}
	return r, nil
}

// attached is a client of the cluster that the command line knows; nil while
// there is none.
func attached(dir string) (*client.Client, error) {
	files, _ := filepath.Glob(filepath.Join(dir, "clusters", "*", "dcos.toml")) // the pattern is good
	if len(files) == 0 {
		return nil, nil
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		return nil, fmt.Errorf("read the cluster's file: %w", err)
	}
	var doc struct {
		Core struct {
			URL   string `toml:"dcos_url"`
			Token string `toml:"dcos_acs_token"`
		} `toml:"core"`
	}
	if err := toml.Unmarshal(b, &doc); err != nil {
		return nil, fmt.Errorf("read %s: %w", files[0], err)
	}
	if doc.Core.URL == "" || doc.Core.Token == "" {
		return nil, nil // it is being written
	}
	return client.New(client.Config{URL: doc.Core.URL, Token: doc.Core.Token, UserAgent: "dcos-bench"})
}

// pair starts a master and an agent as two processes on two loopback
// addresses. The agent offers more than the machine has: its tasks only sleep.
func (b *bench) pair(ctx context.Context) (*running, error) {
	work, sweep, err := workspace()
	if err != nil {
		return nil, err
	}
	r := &running{work: work, sweep: sweep}
	if err := b.startPair(ctx, r); err != nil {
		return nil, errors.Join(err, r.end())
	}
	return r, nil
}

func (b *bench) startPair(ctx context.Context, r *running) error {
	const masterIP, agentIP = "127.0.0.1", "127.0.0.2"
	ports, err := freePorts(3, 2)
	if err != nil {
		return err
	}
	api, peer, gossip := ports[0], ports[1], ports[2]
	data := filepath.Join(r.work, "master")
	m, err := b.start(r.work, nil, "master", "--bootstrap", "--bind", masterIP, "--advertise", masterIP, "--data-dir", data,
		"--api-port", api, "--peer-port", peer, "--gossip-port", gossip)
	if err != nil {
		return err
	}
	r.children = append(r.children, m)
	if err := r.login(ctx, data, net.JoinHostPort(masterIP, api)); err != nil {
		return err
	}
	token, err := r.client.CreateToken(ctx, string(dcos.RoleAgent))
	if err != nil {
		return fmt.Errorf("make a join token: %w", err)
	}
	a, err := b.start(r.work, []string{"DCOS_TOKEN=" + token.Token}, "agent", "--bind", agentIP, "--advertise", agentIP,
		"--data-dir", filepath.Join(r.work, "agent-data"), "--agent-port", "0", "--gossip-port", gossip,
		"--join", net.JoinHostPort(masterIP, peer), "--resources", "cpus:1000;mem:1000000;disk:1000000;ports:[31000-32000]")
	if err != nil {
		return err
	}
	r.children, r.agent = append(r.children, a), a
	return await(ctx, "the agent's session", 50*time.Millisecond, r.children, func() (bool, error) {
		nodes, err := r.client.Nodes(ctx, client.Query{})
		return err == nil && len(nodes.Items) == 1 && nodes.Items[0].State == "active", nil
	})
}

// login makes the client of a master that has just been bootstrapped.
func (r *running) login(ctx context.Context, data, addr string) error {
	return await(ctx, "the master's API", 50*time.Millisecond, r.children, func() (bool, error) {
		admin, err := os.ReadFile(filepath.Join(data, "admin"))
		lines := strings.Fields(string(admin))
		if err != nil || len(lines) != 2 {
			return false, nil // not written yet
		}
		secrets, err := auth.LoadSecrets(filepath.Join(data, "master"))
		if err != nil {
			return false, err
		}
		ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secrets.CA.Cert().Raw})
		nobody, err := client.New(client.Config{URL: "https://" + addr, CA: ca, UserAgent: "dcos-bench"})
		if err != nil {
			return false, err
		}
		token, err := nobody.Login(ctx, lines[0], lines[1])
		if err != nil {
			nobody.Close()
			return false, nil //nolint:nilerr // it is asked again until patience ends
		}
		r.client, r.token, r.ca = nobody.As(token), token, ca
		return true, nil
	})
}

// freePorts are ports that nobody uses just now at the first addresses of
// loopback. The kernel gives none of them to connections that go out: what is
// ended and started again finds its port as it left it.
func freePorts(n, addresses int) ([]string, error) {
	const first, most = 10_000, 1000
	end := 32768
	if b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		if f := strings.Fields(string(b)); len(f) == 2 {
			if low, err := strconv.Atoi(f[0]); err == nil && low > first+most {
				end = low
			}
		}
	}
	var out []string
	for range most {
		port := strconv.Itoa(first + rand.IntN(end-first))
		if !slices.Contains(out, port) && nobodyAt(port, addresses) {
			out = append(out, port)
		}
		if len(out) == n {
			return out, nil
		}
	}
	return nil, fmt.Errorf("%w: no free ports from %d to %d on loopback", dcos.ErrExhausted, first, end)
}

// nobodyAt says whether a port can be bound at the first addresses of loopback.
func nobodyAt(port string, addresses int) bool {
	for i := range addresses {
		at := net.JoinHostPort(addressOf(i), port)
		l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", at)
		if err != nil {
			return false
		}
		_ = l.Close() // nothing was accepted
		u, err := (&net.ListenConfig{}).ListenPacket(context.Background(), "udp", at)
		if err != nil {
			return false
		}
		_ = u.Close() // nothing was read
	}
	return true
}

// startedTask waits for the first task that runs, of one app or of any.
func (r *running) startedTask(ctx context.Context, app string) (client.Task, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for e, err := range r.client.Stream(ctx, client.Topics{Names: []string{"tasks"}, App: app}) {
		if err != nil {
			return client.Task{}, fmt.Errorf("watch the tasks: %w: %s", err, saidBy(r.children))
		}
		var rows []client.Task
		switch e.Op {
		case "snapshot", "append":
			rows, err = client.Rows[client.Task](e)
		case "upsert":
			var one client.Task
			one, err = client.Row[client.Task](e)
			rows = []client.Task{one}
		}
		if err != nil {
			return client.Task{}, err
		}
		for _, t := range rows {
			switch t.State {
			case "running":
				return t, nil
			case "failed", "error", "finished", "killed", "lost":
				return client.Task{}, fmt.Errorf("task %s is %s: %s %s", t.ID, t.State, t.Reason, t.Message)
			}
		}
	}
	return client.Task{}, fmt.Errorf("wait for a running task: %w", ctx.Err())
}

// remove deletes an app and waits until the cluster is at rest again.
func (r *running) remove(ctx context.Context, app string) error {
	if _, err := r.client.DeleteApp(ctx, app, client.Write{Force: true}); err != nil {
		return fmt.Errorf("delete %s: %w", app, err)
	}
	return await(ctx, "the end of "+app, 10*time.Millisecond, r.children, func() (bool, error) {
		left, err := r.client.Deployments(ctx)
		return len(left) == 0, err
	})
}
