package integration

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dcos-go/dcos/integration/hosts"
	"github.com/dcos-go/dcos/integration/images"
	"github.com/dcos-go/dcos/pkg/client"
)

// setupLimit bounds each step of making a cluster: a loaded CI machine needs
// many times of what an idle one does.
const setupLimit = 3 * time.Minute

// builtBinary is a copy of bin/dcos as it was when the first test asked, so
// that a build beside the tests does not mix two versions in one cluster.
var builtBinary = sync.OnceValues(func() (string, error) {
	built := os.Getenv("DCOS_TEST_BINARY") // another build than this checkout's
	if built == "" {
		built = "../bin/dcos"
	}
	from, err := os.Open(built)
	if err != nil {
		return "", fmt.Errorf("the tests drive the built binary, run `make build` first: %w", err)
	}
	defer from.Close()
	dir, err := os.MkdirTemp("", "dcos-test-binary-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "dcos")
	to, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(to, from)
	return path, errors.Join(err, to.Close())
})

func TestMain(m *testing.M) {
	code := m.Run()
	if err := dropShared(); err != nil {
		fmt.Fprintln(os.Stderr, "remove the shared cluster:", err)
		code = max(code, 1)
	}
	if path, err := builtBinary(); err == nil {
		_ = os.RemoveAll(filepath.Dir(path)) // what is left is in the system's temporary directory
	}
	os.Exit(code)
}

// cluster is a set of hosts that `dcos install` has made one cluster.
type cluster struct {
	net      *hosts.Net
	registry *images.Registry
	masters  []*hosts.Host
	agents   []*hosts.Host
	lines    map[string][]string // by role: the words of the join line that the first master printed
	ca       []byte
	http     *http.Client
	token    string // the first admin's
	nodes    map[string]*hosts.Host
}

// sharing is a cluster that tests use one after the other. A test gives it
// back as it was; after a failure the next test gets a new one.
type sharing struct {
	masters, agents int

	mu sync.Mutex
	c  *cluster // guarded by mu
}

var (
	shared        = sharing{masters: 3, agents: 3}
	sharedMasters = sharing{masters: 3} // nothing runs there
)

// sharedCluster is the cluster of 3 masters and 3 agents.
func sharedCluster(t *testing.T) *cluster {
	t.Helper()
	return shared.use(t)
}

func (s *sharing) use(t *testing.T) *cluster {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.c == nil {
		began := time.Now()
		c, err := openCluster(context.Background(), s.masters, s.agents)
		if err != nil {
			t.Fatal(err)
		}
		s.c = c
		t.Logf("%d hosts are a cluster after %v", s.masters+s.agents, time.Since(began).Round(time.Millisecond))
	}
	c := s.c
	t.Cleanup(func() {
		if t.Failed() {
			c.tell(t)
			if err := s.drop(); err != nil {
				t.Error(err)
			}
		}
	})
	return c
}

func (s *sharing) drop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.c == nil {
		return nil
	}
	err := s.c.close()
	s.c = nil
	return err
}

// beside lets a test run beside others, after those that run alone. It is for
// tests that mostly wait, have clusters of their own and judge no speed. The
// clusters that tests share are not needed from then on.
func beside(t *testing.T) {
	t.Helper()
	t.Parallel()
	if err := dropShared(); err != nil {
		t.Error(err)
	}
}

func dropShared() error { return errors.Join(shared.drop(), sharedMasters.drop()) }

// newCluster makes a cluster for one test.
func newCluster(t *testing.T, masters, agents int) *cluster {
	t.Helper()
	c, err := openCluster(t.Context(), masters, agents)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			c.tell(t)
		}
		if err := c.close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func openCluster(ctx context.Context, masters, agents int) (*cluster, error) {
	return openClusterOn(ctx, masters, agents, func(context.Context, *hosts.Host) error { return nil })
}

// openClusterOn boots all hosts at once, prepares them, installs the first
// master, then the others by the lines that it printed, and waits until all
// vote and serve.
func openClusterOn(ctx context.Context, masters, agents int, prepare func(context.Context, *hosts.Host) error) (_ *cluster, err error) {
	c := &cluster{nodes: map[string]*hosts.Host{}}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("make a cluster: %w\n%s", err, c.lastWords()), c.close())
		}
	}()
	if c.net, err = hosts.OpenNet(ctx); err != nil {
		return nil, err
	}
	if c.registry, err = images.Start(ctx, c.net.OutsideIP()+":0", "redis:7.0", "busybox:1"); err != nil {
		return nil, err
	}
	var names []string
	for i := range masters + agents {
		if i < masters {
			names = append(names, fmt.Sprintf("m%d", i+1))
		} else {
			names = append(names, fmt.Sprintf("a%d", i-masters+1))
		}
	}
	all, err := c.boot(ctx, names...)
	if err != nil {
		return nil, err
	}
	c.masters, c.agents = all[:masters], all[masters:]
	for _, h := range all {
		if err := prepare(ctx, h); err != nil {
			return nil, err
		}
	}
	out, err := install(ctx, c.masters[0], "--role", "master")
	if err != nil {
		return nil, err
	}
	if err := c.login(ctx); err != nil {
		return nil, err
	}
	if c.lines, err = joinLines(out); err != nil {
		return nil, err
	}
	var wg sync.WaitGroup
	errs := make([]error, len(all))
	for i, h := range all[1:] {
		wg.Go(func() { errs[i] = c.add(ctx, h, i+1 < masters) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return c, c.whole(ctx)
}

// boot starts hosts at once, with the binary on them.
func (c *cluster) boot(ctx context.Context, names ...string) ([]*hosts.Host, error) {
	binary, err := builtBinary()
	if err != nil {
		return nil, err
	}
	all := make([]*hosts.Host, len(names))
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() {
			if all[i], errs[i] = c.net.NewHost(ctx, hosts.Options{Name: name}); errs[i] == nil {
				errs[i] = all[i].Copy(binary, installer)
			}
		})
	}
	wg.Wait()
	return all, errors.Join(errs...)
}

// more boots further hosts in the cluster's network.
func (c *cluster) more(t *testing.T, names ...string) []*hosts.Host {
	t.Helper()
	all, err := c.boot(t.Context(), names...)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// installer is where the binary lies before it is installed.
const installer = "/root/dcos"

// install runs `dcos install` on a host and gives what it printed.
func install(ctx context.Context, h *hosts.Host, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, setupLimit)
	defer cancel()
	out, _, err := h.Run(ctx, append([]string{installer, "install"}, args...)...)
	if err != nil {
		return out, fmt.Errorf("%s: dcos install %s: %w", h.Name(), strings.Join(args, " "), err)
	}
	return out, nil
}

// joinLines finds the commands that a master prints for further machines.
func joinLines(out string) (map[string][]string, error) {
	lines := map[string][]string{}
	for line := range strings.Lines(out) {
		role, command, ok := strings.Cut(strings.TrimSpace(line), ": ")
		words := strings.Fields(command)
		if ok && len(words) > 2 && words[0] == "dcos" && words[1] == "install" {
			lines[role] = words[2:]
		}
	}
	if lines["master"] == nil || lines["agent"] == nil {
		return nil, fmt.Errorf("dcos install --role master printed no line to join by for masters and for agents:\n%s", out)
	}
	return lines, nil
}

// add makes a host part of the cluster.
func (c *cluster) add(ctx context.Context, h *hosts.Host, master bool) error {
	role := "agent"
	if master {
		role = "master"
	}
	args := slices.Clone(c.lines[role])
	if !master {
		args = append(args, c.mirror()...)
	}
	_, err := install(ctx, h, args...)
	return err
}

// mirror makes an agent ask the test's registry for images.
func (c *cluster) mirror() []string {
	return []string{"--set", "image_mirrors=[" + c.registry.URL() + "]"}
}

// login takes the CA and the first admin's token from the first master.
func (c *cluster) login(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, setupLimit)
	defer cancel()
	account, err := c.masters[0].ReadFile("/var/lib/dcos/admin")
	if err != nil {
		return fmt.Errorf("read the first admin's password: %w", err)
	}
	words := strings.Fields(string(account))
	if len(words) != 2 {
		return errors.New("the first admin's file holds no name and password")
	}
	// Nothing is known of the cluster yet: this first answer is taken on trust.
	first := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer first.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, apiURL(c.masters[0])+"/ca/dcos-ca.crt", nil)
	if err != nil {
		return err
	}
	answer, err := first.Do(req)
	if err != nil {
		return fmt.Errorf("read the CA: %w", err)
	}
	defer answer.Body.Close()
	if c.ca, err = io.ReadAll(io.LimitReader(answer.Body, 1<<20)); err != nil {
		return fmt.Errorf("read the CA: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(c.ca) {
		return fmt.Errorf("/ca/dcos-ca.crt answers %d without a certificate", answer.StatusCode)
	}
	// A proxy of this machine does not reach the test's network.
	c.http = &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, TLSHandshakeTimeout: 5 * time.Second,
		DialContext: dialer.DialContext, ResponseHeaderTimeout: 60 * time.Second, IdleConnTimeout: 10 * time.Second,
	}}
	on, err := c.on(c.masters[0])
	if err != nil {
		return err
	}
	c.token, err = on.Login(ctx, words[0], words[1])
	return err
}

func apiURL(h *hosts.Host) string { return "https://" + h.IP() + ":8443" }

// on is a client of one master.
func (c *cluster) on(h *hosts.Host) (*client.Client, error) {
	return client.New(client.Config{URL: apiURL(h), Token: c.token, HTTP: c.http})
}

// ask puts a question, or a request that may be repeated, to one master after
// the other until one answers. A refusal is an answer.
func (c *cluster) ask(ctx context.Context, f func(ctx context.Context, api *client.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		var last error
		for _, h := range c.masters {
			if h.PID1() == 0 {
				continue
			}
			api, err := c.on(h)
			if err != nil {
				return err
			}
			one, stop := context.WithTimeout(ctx, 15*time.Second)
			last = f(one, api)
			stop()
			var refusal *client.Error
			if last == nil || errors.As(last, &refusal) && refusal.Status < 500 {
				return last
			}
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return fmt.Errorf("no master answers: %w", last)
		}
	}
}

func answer[T any](ctx context.Context, c *cluster, f func(ctx context.Context, api *client.Client) (T, error)) (T, error) {
	var out T
	err := c.ask(ctx, func(ctx context.Context, api *client.Client) (err error) {
		out, err = f(ctx, api)
		return err
	})
	return out, err
}

func (c *cluster) status(ctx context.Context) (client.ClusterStatus, error) {
	return answer(ctx, c, func(ctx context.Context, api *client.Client) (client.ClusterStatus, error) { return api.Cluster(ctx) })
}

// whole waits until every master votes and every agent takes work.
func (c *cluster) whole(ctx context.Context) error {
	return until(ctx, setupLimit, func() error {
		s, err := c.status(ctx)
		if err != nil {
			return err
		}
		voters := 0
		for _, m := range s.Masters {
			if m.Voter && m.Alive {
				voters++
			}
		}
		if voters != len(c.masters) || s.Nodes["active"] != len(c.agents) || len(s.Nodes) > 1 || s.Leader == "" {
			return fmt.Errorf("%d of %d masters vote, nodes %v of %d, leader %q, problems %v", voters, len(c.masters), s.Nodes, len(c.agents), s.Leader, s.Problems)
		}
		return c.knowNodes(ctx)
	})
}

func (c *cluster) knowNodes(ctx context.Context) error {
	nodes, err := answer(ctx, c, func(ctx context.Context, api *client.Client) (client.List[client.Node], error) {
		return api.Nodes(ctx, client.Query{})
	})
	if err != nil {
		return err
	}
	for _, n := range nodes.Items {
		for _, h := range append(slices.Clone(c.agents), c.masters...) {
			if n.IP == h.IP() {
				c.nodes[n.ID] = h
			}
		}
	}
	return nil
}

// leader is the host of the leading master.
func (c *cluster) leader(ctx context.Context) (*hosts.Host, error) {
	s, err := c.status(ctx)
	if err != nil {
		return nil, err
	}
	for _, h := range c.masters {
		if s.Leader == h.IP()+":8443" {
			return h, nil
		}
	}
	return nil, fmt.Errorf("no master is at the leader's address %q", s.Leader)
}

func (c *cluster) close() error {
	var errs []error
	if c.http != nil {
		c.http.CloseIdleConnections()
	}
	if c.registry != nil {
		errs = append(errs, c.registry.Down())
	}
	if c.net != nil {
		errs = append(errs, c.net.Close())
	}
	return errors.Join(errs...)
}

// all are the cluster's hosts.
func (c *cluster) all() []*hosts.Host { return slices.Concat(c.masters, c.agents) }

// tell puts into the test's log what helps to understand its failure, as one
// entry: what the test itself has said is not to be lost among it.
func (c *cluster) tell(t *testing.T) {
	t.Helper()
	var out strings.Builder
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	s, err := c.status(ctx)
	fmt.Fprintf(&out, "cluster: %+v, %v\n", s, err)
	nodes, err := answer(ctx, c, func(ctx context.Context, api *client.Client) (client.List[client.Node], error) {
		return api.Nodes(ctx, client.Query{})
	})
	for _, n := range nodes.Items {
		fmt.Fprintf(&out, "node %s %s %s %s since %s\n", n.ID, n.IP, n.State, n.Why, n.Since)
	}
	tasks, taskErr := c.tasks(ctx, "")
	for _, k := range tasks {
		fmt.Fprintf(&out, "task %s of %s: %s on %s, %s %s %+v\n", k.ID, k.App, k.State, k.Hostname, k.Reason, k.Message, k.Exit)
	}
	if err := errors.Join(err, taskErr); err != nil {
		fmt.Fprintln(&out, err)
	}
	t.Log(out.String() + c.lastWords())
}

// lastWords is the end of every host's journal of dcos.
func (c *cluster) lastWords() string {
	var out strings.Builder
	for _, h := range c.all() {
		if h == nil || h.PID1() == 0 {
			continue
		}
		fmt.Fprintf(&out, "=== %s\n", h.Name())
		text, err := h.Enter("journalctl", "-u", "dcos", "-n", "60", "--no-pager", "-o", "short-precise", "--no-hostname")
		if err != nil {
			text = h.LastWords()
		}
		out.WriteString(text)
	}
	return out.String()
}
