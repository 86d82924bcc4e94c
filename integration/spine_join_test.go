package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dcos-go/dcos/integration/hosts"
)

// refusedInstall runs an install that must be refused, and gives what it said.
func refusedInstall(t *testing.T, h *hosts.Host, args ...string) string {
	t.Helper()
	out, stderr, err := h.Run(t.Context(), append([]string{installer, "install", "--wait", "60s"}, args...)...)
	if err == nil {
		t.Fatalf("%s: install %s was not refused:\n%s%s", h.Name(), strings.Join(args, " "), out, stderr)
	}
	return stderr
}

// says fails the test when a message lacks one of the words.
func says(t *testing.T, what, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%s: the message lacks %q:\n%s", what, w, text)
		}
	}
}

// with changes one option among the words of a join line.
func with(line []string, option string, change func(string) string) []string {
	out := append([]string{}, line...)
	for i := range out {
		if out[i] == option && i+1 < len(out) {
			out[i+1] = change(out[i+1])
		}
	}
	return out
}

// other gives a letter or digit that is another one.
func other(c byte) string {
	if c == 'a' {
		return "b"
	}
	return "a"
}

func TestSpineJoinMistakes(t *testing.T) {
	beside(t)
	c := newCluster(t, 1, 1)
	fresh := c.more(t, "b1", "b2")
	b1, b2 := fresh[0], fresh[1]
	master, agent := c.masters[0], c.agents[0]
	c.create(t, sleeper("/good", 1))
	pids := c.mustPids(t, c.running(t, time.Minute, "/good", 1))
	stillGood := func(what string) {
		t.Helper()
		c.mustBeWhole(t)
		now := c.running(t, 10*time.Second, "/good", 1)
		if got := c.mustPids(t, now); fmt.Sprint(got) != fmt.Sprint(pids) {
			t.Errorf("%s: the cluster's task is %v, was %v", what, got, pids)
		}
	}

	// Tokens are ID.SECRET.HASH.
	part := func(n int) func(string) string {
		return func(token string) string {
			p := strings.Split(token, ".")
			p[n] = other(p[n][0]) + p[n][1:]
			return strings.Join(p, ".")
		}
	}
	for _, role := range []string{"agent", "master"} {
		text := refusedInstall(t, b1, with(c.lines[role], "--token", part(1))...)
		says(t, "wrong secret of a token for a "+role, text, "join token is wrong", "get a valid one")
		text = refusedInstall(t, b1, with(c.lines[role], "--token", part(2))...)
		says(t, "wrong CA hash in a token for a "+role, text, "another cluster", "get a token from the cluster")
		mustRun(t, b1, installer, "uninstall", "--yes")
	}
	text := refusedInstall(t, b1, with(c.lines["agent"], "--role", func(string) string { return "master" })...)
	says(t, "a master by an agent's token", text, "token", "master")
	mustRun(t, b1, installer, "uninstall", "--yes")
	stillGood("after wrong tokens")

	// Two bootstraps: a machine that made a cluster of its own.
	out, err := install(t.Context(), b1, "--role", "master")
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := joinLines(out)
	if err != nil {
		t.Fatal(err)
	}
	text = refusedInstall(t, b1, c.lines["master"]...)
	says(t, "a master of another cluster joins", text, "another", "dcos uninstall")
	text = refusedInstall(t, master, c.lines["master"]...)
	says(t, "the first master joins itself", text, "dcos uninstall")
	_, text, err = master.Run(t.Context(), "/usr/local/bin/dcos", "master", "--bootstrap")
	if err == nil {
		t.Error("a second process on the data of the first master was not refused")
	}
	pid, pidErr := mainPid(master)
	if pidErr != nil {
		t.Fatal(pidErr)
	}
	says(t, "a second process on the same data", text, fmt.Sprintf("process %d", pid), "/var/lib/dcos")
	stillGood("after a second bootstrap")

	// An agent with the data of one cluster meets the masters of another.
	if _, err := install(t.Context(), b2, c.lines["agent"]...); err != nil {
		t.Fatal(err)
	}
	text = refusedInstall(t, b2, foreign["agent"]...)
	says(t, "an agent of one cluster joins another", text, "another", "dcos uninstall")
	mustRun(t, b2, "sh", "-c", "systemctl stop dcos && echo "+b1.IP()+":7444 > $(find /var/lib/dcos -maxdepth 2 -name masters) && systemctl start --no-block dcos")
	// Gossip of its own cluster may tell it better afterwards.
	eventually(t, 30*time.Second, "an agent at another cluster's master says so", func() error {
		text := mustRun(t, b2, "journalctl", "-u", "dcos", "--no-pager", "-o", "cat")
		if !strings.Contains(text, "another cluster") {
			return fmt.Errorf("its journal: %s", tail(text, 1500))
		}
		return nil
	})
	mustRun(t, b2, installer, "uninstall", "--yes")
	mustRun(t, b1, installer, "uninstall", "--yes")
	c.forget(t, b2)

	// A cloned disk: a second agent with the id of the first.
	mustRun(t, agent, "tar", "-C", "/", "-cf", "/root/clone.tar", "var/lib/dcos/agent/id", "var/lib/dcos/agent/agent.pem",
		"var/lib/dcos/agent/gossip", "var/lib/dcos/gossip.keys", "etc/dcos", "etc/systemd/system/dcos.service", "usr/local/bin/dcos")
	clone, err := agent.ReadFile("/root/clone.tar")
	if err != nil {
		t.Fatal(err)
	}
	if err := b2.WriteFile("/root/clone.tar", clone, 0o600); err != nil {
		t.Fatal(err)
	}
	mustRun(t, b2, "sh", "-c", "tar -C / -xf /root/clone.tar && systemctl daemon-reload && systemctl start --no-block dcos")
	eventually(t, 30*time.Second, "the second agent of one id says so", func() error {
		text := mustRun(t, b2, "journalctl", "-u", "dcos", "--no-pager", "-o", "cat")
		if !strings.Contains(text, "same id") && !strings.Contains(text, "cloned") {
			return fmt.Errorf("its journal: %s", tail(text, 1500))
		}
		return nil
	})
	stillGood("beside a clone")
	mustRun(t, b2, installer, "uninstall", "--yes")

	// After all of it the machine joins like any other.
	if err := c.add(t.Context(), b1, false); err != nil {
		t.Fatal(err)
	}
	c.agents = append(c.agents, b1)
	stillGood("after the machine joined")
	c.clear(t)
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }
