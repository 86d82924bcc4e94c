package integration

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dcos-go/dcos/integration/hosts"
	"github.com/dcos-go/dcos/integration/images"
	"github.com/dcos-go/dcos/integration/leak"
)

// leftovers is what a host must not keep of dcos and its tasks.
var leftovers = leak.Scope{
	Match: []string{"dcos"}, Dirs: []string{"/var/lib/dcos", "/etc/dcos", "/run/dcos"}, Cgroups: []string{"dcos", "system.slice/dcos.service"},
}

func TestSpineUninstallLeavesNothing(t *testing.T) {
	c := bareCluster(t, "both", "agent")
	both, agent := c.masters[0], c.agents[1]
	before := map[*hosts.Host]hosts.Inventory{}
	for _, h := range c.agents {
		leak.CheckOn(t, h, leftovers)
		before[h] = inventory(t, h)
	}
	out, err := install(t.Context(), both, append(c.mirror(), "--role", "both")...)
	if err != nil {
		t.Fatal(err)
	}
	if c.lines, err = joinLines(out); err != nil {
		t.Fatal(err)
	}
	if err := c.login(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.add(t.Context(), agent, false); err != nil {
		t.Fatal(err)
	}
	c.mustBeWhole(t)
	// Both kinds of container run when dcos is taken away, on both hosts; others
	// have ended and left their sandboxes and images.
	c.create(t, apart("/commands", 2))
	image := apart("/images", 2)
	image["container"] = map[string]any{"type": "MESOS", "docker": map[string]any{"image": "busybox:1"}}
	c.create(t, image)
	c.create(t, map[string]any{"id": "/ends", "cmd": "echo done", "instances": 2, "cpus": 0.1, "mem": 32})
	c.running(t, time.Minute, "/commands", 2)
	c.running(t, time.Minute, "/images", 2)

	for _, h := range []*hosts.Host{agent, both} {
		began := time.Now()
		out, stderr, err := h.Run(t.Context(), "/usr/local/bin/dcos", "uninstall", "--yes")
		if err != nil {
			t.Fatalf("%v\n%s%s", err, out, stderr)
		}
		t.Logf("%s: uninstalled after %v", h.Name(), time.Since(began).Round(time.Millisecond))
	}
	for h, was := range before {
		eventually(t, 30*time.Second, h.Name()+" is as it was", func() error {
			if d := hosts.Diff(was, inventory(t, h)); len(d) > 0 {
				return fmt.Errorf("it differs:\n%s", strings.Join(d, "\n"))
			}
			return nil
		})
		if _, stderr, err := h.Run(t.Context(), installer, "uninstall", "--yes"); err != nil || strings.Contains(stderr, "changed") {
			t.Errorf("%s: a second uninstall: %v\n%s", h.Name(), err, stderr)
		}
	}
}

func TestSpineInstallTwiceChangesNothing(t *testing.T) {
	c := sharedCluster(t)
	for _, one := range []struct {
		h    *hosts.Host
		args []string
	}{
		{c.masters[0], []string{"--role", "master"}},
		{c.masters[1], c.lines["master"]},
		{c.agents[0], append(slices.Clone(c.lines["agent"]), c.mirror()...)},
	} {
		pid, err := mainPid(one.h)
		if err != nil {
			t.Fatal(err)
		}
		before := installed(inventory(t, one.h))
		_, stderr, err := one.h.Run(t.Context(), append([]string{installer, "install"}, one.args...)...)
		if err != nil || strings.Contains(stderr, "changed") || !strings.Contains(stderr, "nothing to do") {
			t.Errorf("%s: second install: %v\n%s", one.h.Name(), err, stderr)
		}
		if d := cmp.Diff(before, installed(inventory(t, one.h))); d != "" {
			t.Errorf("%s: second install changed:\n%s", one.h.Name(), d)
		}
		if now, err := mainPid(one.h); now != pid || err != nil {
			t.Errorf("%s: dcos is process %d after the second install, was %d, %v", one.h.Name(), now, pid, err)
		}
	}
	c.mustBeWhole(t)
}

// installed keeps of an inventory what install makes; data changes by itself.
func installed(all hosts.Inventory) hosts.Inventory {
	out := hosts.Inventory{}
	for k, v := range all {
		data := strings.HasPrefix(k, "file /var/lib/dcos/")
		if strings.Contains(k, "dcos") && !data || strings.HasPrefix(k, "user ") || strings.HasPrefix(k, "group ") {
			out[k] = v
		}
	}
	return out
}

func inventory(t *testing.T, h *hosts.Host) hosts.Inventory {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	inv, err := h.Inventory(ctx)
	if err != nil {
		t.Fatal(err)
	}
	delete(inv, "unit network-online.target") // the unit asks for it, and it stays true
	return inv
}

// bareCluster is hosts on which nothing is installed yet; the first is to be
// the master, and all are to be agents.
func bareCluster(t *testing.T, names ...string) *cluster {
	t.Helper()
	c := &cluster{net: hosts.NewNet(t), nodes: map[string]*hosts.Host{}, lines: map[string][]string{}}
	c.registry = images.Serve(t, c.net.OutsideIP()+":0", "redis:7.0", "busybox:1")
	c.agents = c.more(t, names...)
	c.masters = c.agents[:1]
	t.Cleanup(func() {
		if t.Failed() {
			c.tell(t)
		}
		if c.http != nil {
			c.http.CloseIdleConnections()
		}
	})
	return c
}
