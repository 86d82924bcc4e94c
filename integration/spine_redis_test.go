package integration

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dcos-go/dcos/integration/hosts"
	"github.com/dcos-go/dcos/pkg/client"
)

func TestSpineRedisServiceLifecycle(t *testing.T) {
	c := sharedCluster(t)
	c.registry.Requests() // forget what was asked before
	c.packageInstall(t, "redis", `{"service": {"name": "redis", "instances": 1}}`)
	first := c.running(t, 2*time.Minute, "/redis", 1)[0]
	c.remembers(t, first, "one")
	pulled := slices.ContainsFunc(c.registry.Requests(), func(r string) bool { return strings.HasPrefix(r, "GET /v2/library/redis/blobs/") })
	if !pulled {
		t.Error("redis runs, but no layer was pulled from the mirror")
	}
	out, err := c.dcos(t, "package", "list", "--json")
	if err != nil || !strings.Contains(out, `"redis"`) {
		t.Errorf("dcos package list --json: %v, without redis:\n%s", err, out)
	}

	// The process is killed: its end is told with the signal, another follows.
	if err := c.nodes[first.Node].Kill(c.redisServer(t, first).PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	second := c.replaced(t, time.Minute, "/redis", first)
	c.remembers(t, second, "two")
	if was, err := c.task(t.Context(), first.ID); err != nil || was.State != "failed" || was.Exit == nil || was.Exit.Signal != int(syscall.SIGKILL) {
		t.Errorf("the killed task is %s with %+v, %v; want failed by signal 9", was.State, was.Exit, err)
	}

	// The host is switched off: the next copy runs elsewhere.
	off := c.nodes[second.Node]
	if err := off.PowerOff(); err != nil {
		t.Fatal(err)
	}
	third := c.replaced(t, time.Minute, "/redis", second)
	if c.nodes[third.Node] == off {
		t.Errorf("the replacement is on %s, which is off", off.Name())
	}
	c.remembers(t, third, "three")
	if err := off.Boot(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.mustBeWhole(t)

	if out, err := c.dcos(t, "package", "uninstall", "redis", "--yes"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	c.idle(t)
	_, err = answer(t.Context(), c, func(ctx context.Context, api *client.Client) (client.App, error) { return api.App(ctx, "/redis") })
	if !isNotFound(err) {
		t.Errorf("the app of the uninstalled package: %v, want not found", err)
	}
	left, err := answer(t.Context(), c, func(ctx context.Context, api *client.Client) ([]client.PackageListed, error) {
		return api.Packages(ctx, "", "")
	})
	if err != nil || len(left) != 0 {
		t.Errorf("%d packages are listed after uninstall, %v", len(left), err)
	}
}

// replaced waits until another task than the old one runs alone.
func (c *cluster) replaced(t *testing.T, limit time.Duration, app string, old client.Task) client.Task {
	t.Helper()
	var next client.Task
	eventually(t, limit, "a task follows "+old.ID, func() error {
		live, err := c.live(t.Context(), app)
		if err != nil {
			return err
		}
		if len(live) != 1 || live[0].ID == old.ID || live[0].State != "running" {
			return fmt.Errorf("live tasks: %+v", live)
		}
		next = live[0]
		return nil
	})
	return next
}

// redisServer is the server's process among those of a task.
func (c *cluster) redisServer(t *testing.T, k client.Task) hosts.Process {
	t.Helper()
	groups, err := taskProcesses(c.nodes[k.Node])
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range groups[k.ID] {
		if p.Name == "redis-server" {
			return p
		}
	}
	t.Fatalf("no redis-server among the processes of %s: %+v", k.ID, groups)
	return hosts.Process{}
}

// remembers sets a key by the task's host port and reads it back.
func (c *cluster) remembers(t *testing.T, k client.Task, value string) {
	t.Helper()
	if len(k.Ports) != 1 {
		t.Fatalf("task %s has the ports %v, want one", k.ID, k.Ports)
	}
	address := net.JoinHostPort(c.nodes[k.Node].IP(), strconv.Itoa(k.Ports[0]))
	eventually(t, 30*time.Second, "redis answers on "+address, func() error {
		if got, err := redisSay(t.Context(), address, "SET", "greeting", value); err != nil || got != "OK" {
			return fmt.Errorf("SET: %q, %w", got, err)
		}
		got, err := redisSay(t.Context(), address, "GET", "greeting")
		if err != nil || got != value {
			return fmt.Errorf("GET: %q, %w; want %q", got, err, value)
		}
		return nil
	})
}

// redisSay sends one command in redis' protocol, and reads a simple or a bulk
// answer.
func redisSay(ctx context.Context, address string, words ...string) (string, error) {
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return "", err
	}
	request := fmt.Sprintf("*%d\r\n", len(words))
	for _, w := range words {
		request += fmt.Sprintf("$%d\r\n%s\r\n", len(w), w)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		return "", err
	}
	in := bufio.NewReader(conn)
	line, err := in.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimRight(line, "\r\n")
	size, bulk := strings.CutPrefix(line, "$")
	if !bulk {
		return strings.TrimPrefix(line, "+"), nil
	}
	n, err := strconv.Atoi(size)
	if err != nil || n < 0 || n > 1<<20 {
		return "", fmt.Errorf("answer %q", line)
	}
	text := make([]byte, n)
	_, err = io.ReadFull(in, text)
	return string(text), err
}
