package integration

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dcos-go/dcos/integration/hosts"
)

// runbook is a page of docs/ops. Each block of commands says in its first line
// where it is run.
type runbook struct {
	name   string
	blocks []step
	next   int
}

type step struct{ where, commands string }

func readRunbook(t *testing.T, name string) *runbook {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "docs", "ops", name))
	if err != nil {
		t.Fatal(err)
	}
	b := &runbook{name: name}
	for _, m := range codeBlock.FindAllStringSubmatch(string(text), -1) {
		first, rest, _ := strings.Cut(m[1], "\n")
		where, ok := strings.CutPrefix(first, "# ")
		if !ok || strings.TrimSpace(rest) == "" {
			t.Fatalf("%s: a block does not begin with where it is run: %q", name, m[1])
		}
		b.blocks = append(b.blocks, step{where, rest})
	}
	return b
}

// take gives the commands of the page's next block, which must be for a place.
// No block may be left out.
func (b *runbook) take(t *testing.T, where string) string {
	t.Helper()
	if b.next == len(b.blocks) {
		t.Fatalf("%s: no block is left, want one for %q", b.name, where)
	}
	s := b.blocks[b.next]
	b.next++
	if s.where != where {
		t.Fatalf("%s: block %d is for %q, want %q", b.name, b.next, s.where, where)
	}
	return s.commands
}

func (b *runbook) done(t *testing.T) {
	t.Helper()
	if b.next != len(b.blocks) {
		t.Errorf("%s: %d blocks of %d were run", b.name, b.next, len(b.blocks))
	}
}

// on runs a block on a host, and gives all that it printed.
func (b *runbook) on(t *testing.T, h *hosts.Host, where string, set ...string) string {
	t.Helper()
	commands := b.take(t, where)
	ctx, cancel := context.WithTimeout(t.Context(), setupLimit)
	defer cancel()
	script := "export PATH=$PATH:/usr/local/bin:/root " + strings.Join(set, " ") + "; exec 2>&1; set -ex\n" + commands
	out, _, err := h.Run(ctx, "sh", "-c", script)
	if err != nil {
		t.Fatalf("%s on %s:\n%s%v\n%s", b.name, h.Name(), commands, err, out)
	}
	return out
}

// anywhere runs a block with the tests' own command line, in a directory of its
// own, which it gives along with the output.
func (b *runbook) anywhere(t *testing.T, c *cluster, set ...string) (out, dir string) {
	t.Helper()
	commands := b.take(t, "anywhere")
	binary, err := builtBinary()
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	ca := filepath.Join(dir, "ca.crt")
	if err := os.WriteFile(ca, c.ca, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), setupLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-exc", commands)
	cmd.Dir = dir
	cmd.Env = append([]string{
		"HOME=" + dir, "PATH=" + filepath.Dir(binary) + ":" + os.Getenv("PATH"), "DCOS_URL=" + c.someURL(ctx), "DCOS_ACS_TOKEN=" + c.token,
		"DCOS_TLS_CA_PATH=" + ca,
	}, set...)
	text, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s:\n%s%v\n%s", b.name, commands, err, text)
	}
	return string(text), dir
}

// joinWords are the words of the line that `dcos token create master` printed.
func joinWords(t *testing.T, out string) []string {
	t.Helper()
	i := strings.Index(out, "dcos install --role master")
	if i < 0 {
		t.Fatalf("no line to join by:\n%s", out)
	}
	line, _, _ := strings.Cut(out[i:], "\n")
	return strings.Fields(line)[2:]
}

func TestCoreRunbookMasters(t *testing.T) {
	beside(t)
	c := newCluster(t, 3, 0)
	page := readRunbook(t, "masters.md")
	if out, _ := page.anywhere(t, c); strings.Count(out, "true") < 3 {
		t.Errorf("the list: %s", out)
	}
	out, _ := page.anywhere(t, c)
	fresh := c.more(t, "m4")[0]
	if _, err := install(t.Context(), fresh, joinWords(t, out)...); err != nil {
		t.Fatal(err)
	}
	c.masters = append(c.masters, fresh)
	c.mustBeWhole(t)

	page.anywhere(t, c, "OTHER="+fresh.IP())
	eventually(t, 10*time.Second, "the new master leads", func() error { return c.leads(t.Context(), fresh) })
	page.anywhere(t, c, "MASTER="+c.masters[1].IP()) // demoted and promoted again
	c.mustBeWhole(t)
	page.anywhere(t, c, "MASTER="+fresh.IP()) // leaves, and it leads
	page.on(t, fresh, "on the machine of $MASTER")
	c.masters = c.masters[:3]
	c.mustBeWhole(t)
	page.done(t)
}

// leads says nil when a host is the leader's.
func (c *cluster) leads(ctx context.Context, want *hosts.Host) error {
	h, err := c.leader(ctx)
	if err == nil && h != want {
		err = fmt.Errorf("%s leads, want %s", h.Name(), want.Name())
	}
	return err
}

func TestCoreRunbookDeadDisk(t *testing.T) {
	beside(t)
	c := newCluster(t, 3, 0)
	page := readRunbook(t, "dead-disk.md")
	seen := &writes{acknowledged: map[string]bool{"/kept": true}}
	c.create(t, map[string]any{"id": "/kept", "cmd": "true", "instances": 0})
	hurt := c.follower(t)
	mustRun(t, hurt, "sh", "-c", `systemctl stop dcos; f=$(ls /var/lib/dcos/master/raft/*.seg | head -1)
		dd if=/dev/zero of=$f bs=1 count=100 seek=60 conv=notrunc 2>/dev/null; systemctl start --no-block dcos`)
	failed(t, hurt, "is damaged at offset")
	page.on(t, hurt, "on the machine of the damaged master")
	c.mustBeWhole(t)
	if out, _ := page.anywhere(t, c); strings.Contains(out, "false") && strings.Count(out, "\n") > 6 {
		t.Errorf("the list: %s", out)
	}
	c.holdsAll(t, hurt, seen)

	dead := c.follower(t)
	id := c.masterID(t, dead)
	if err := dead.PowerOff(); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "the dead master is seen to be dead", func() error {
		s, err := c.status(t.Context())
		if err != nil {
			return err
		}
		for _, m := range s.Masters {
			if m.ID == id && m.Alive {
				return fmt.Errorf("%s is alive", m.Name)
			}
		}
		return nil
	})
	out, _ := page.anywhere(t, c, "DEAD="+id)
	fresh := c.more(t, "m4")[0]
	if _, err := install(t.Context(), fresh, joinWords(t, out)...); err != nil {
		t.Fatal(err)
	}
	for i, h := range c.masters {
		if h == dead {
			c.masters[i] = fresh
		}
	}
	c.mustBeWhole(t)
	c.holdsAll(t, fresh, seen)
	page.done(t)
}

func TestCoreRunbookLostQuorum(t *testing.T) {
	beside(t)
	c := newCluster(t, 3, 1)
	page := readRunbook(t, "lost-quorum.md")
	c.create(t, sleeper("/runs", 2))
	tasks := c.running(t, time.Minute, "/runs", 2)
	pids := c.mustPids(t, tasks)
	seen := &writes{acknowledged: map[string]bool{"/runs": true}}

	// Two machines are gone; the one that is left stands for both "left" and
	// "kept". One of the two comes back later, with its old data.
	kept, back := c.masters[0], c.masters[1]
	for _, h := range c.masters[1:] {
		if err := h.PowerOff(); err != nil {
			t.Fatal(err)
		}
	}
	all := c.masters
	c.masters = all[:1]
	if out := page.on(t, kept, "on each master that is left"); !strings.Contains(out, "its log ends at index") || !strings.Contains(out, "becomes the only master") {
		t.Errorf("dry run: %s", out)
	}
	page.on(t, kept, "on the master that is kept")
	c.mustBeWhole(t)
	c.holdsAll(t, kept, seen)
	c.running(t, time.Minute, "/runs", 2)
	if got := c.mustPids(t, tasks); fmt.Sprint(got) != fmt.Sprint(pids) {
		t.Errorf("processes are %v, were %v", got, pids)
	}

	if err := back.Boot(t.Context()); err != nil {
		t.Fatal(err)
	}
	failed(t, back, "was removed from the cluster")
	if s, err := c.status(t.Context()); err != nil || len(s.Masters) != 1 {
		t.Errorf("masters are %+v, %v", s.Masters, err)
	}
	mustRun(t, back, "systemctl", "stop", "dcos")
	page.on(t, back, "on each other master that is left")
	c.masters = all[:2]
	c.mustBeWhole(t)
	c.holdsAll(t, back, seen)

	out, _ := page.anywhere(t, c)
	fresh := c.more(t, "m4")[0]
	if _, err := install(t.Context(), fresh, joinWords(t, out)...); err != nil {
		t.Fatal(err)
	}
	c.masters = append(c.masters[:2:2], fresh)
	c.mustBeWhole(t)
	page.done(t)
	c.masters = append(c.masters, all[2])
}

func TestCoreRunbookRestore(t *testing.T) {
	beside(t)
	c := newCluster(t, 1, 1)
	page := readRunbook(t, "restore.md")
	c.create(t, sleeper("/runs", 2))
	tasks := c.running(t, time.Minute, "/runs", 2)
	pids := c.mustPids(t, tasks)
	_, dir := page.anywhere(t, c)
	backup, err := os.ReadFile(filepath.Join(dir, "backup.snap"))
	if err != nil {
		t.Fatal(err)
	}
	c.create(t, map[string]any{"id": "/later", "cmd": "true", "instances": 0})
	old := c.masters[0]
	page.on(t, old, "on a master")
	secrets, err := old.ReadFile("/root/secrets.pem")
	if err != nil {
		t.Fatal(err)
	}
	// Over a master that is there nothing is restored.
	mustWrite(t, old, "/root/backup.snap", backup)
	out := mustRun(t, old, "sh", "-c", "systemctl stop dcos; /usr/local/bin/dcos master snapshot restore /root/backup.snap --secrets /root/secrets.pem 2>&1; echo code $?")
	says(t, "restore over a master", out, "holds master", "empty data directory", "code 5")
	if err := old.PowerOff(); err != nil {
		t.Fatal(err)
	}

	fresh := c.more(t, "m2")[0]
	mustWrite(t, fresh, "/root/backup.snap", backup)
	mustWrite(t, fresh, "/root/secrets.pem", secrets)
	page.on(t, fresh, "on the new master, with backup.snap and secrets.pem in /root")
	page.on(t, c.agents[0], "on each agent", "MASTER="+fresh.IP())
	c.masters = []*hosts.Host{fresh}
	c.mustBeWhole(t)
	c.running(t, time.Minute, "/runs", 2)
	if got := c.mustPids(t, tasks); fmt.Sprint(got) != fmt.Sprint(pids) {
		t.Errorf("processes are %v, were %v", got, pids)
	}
	c.holdsAll(t, fresh, &writes{acknowledged: map[string]bool{"/runs": true}})
	if _, err := c.dcos(t, "marathon", "app", "show", "/later"); err == nil {
		t.Error("an app that was made after the backup is there")
	}
	page.done(t)
	c.clear(t)
}

func mustWrite(t *testing.T, h *hosts.Host, name string, data []byte) {
	t.Helper()
	if err := h.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// follower is the host of a master that does not lead.
func (c *cluster) follower(t *testing.T) *hosts.Host {
	t.Helper()
	leader := c.mustLeader(t)
	for _, h := range c.masters {
		if h != leader {
			return h
		}
	}
	t.Fatal("there is no other master")
	return nil
}

func (c *cluster) masterID(t *testing.T, h *hosts.Host) string {
	t.Helper()
	s, err := c.status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range s.Masters {
		if strings.HasPrefix(m.API, h.IP()+":") {
			return m.ID
		}
	}
	t.Fatalf("no master on %s: %+v", h.Name(), s.Masters)
	return ""
}

// staysDown says that systemd does not start a process again which nobody but
// an operator can help.
func staysDown(t *testing.T, h *hosts.Host) {
	t.Helper()
	eventually(t, 20*time.Second, h.Name()+" stays down", func() error {
		got := mustRun(t, h, "systemctl", "show", "--property=ActiveState,ExecMainStatus,NRestarts", "dcos.service")
		if !strings.Contains(got, "ActiveState=failed") || !strings.Contains(got, "ExecMainStatus=8") {
			return fmt.Errorf("it is: %s", got)
		}
		return nil
	})
}

// failed waits until a master's process has ended and its status says why.
func failed(t *testing.T, h *hosts.Host, words ...string) {
	t.Helper()
	eventually(t, time.Minute, h.Name()+" says "+strings.Join(words, ", "), func() error {
		status := mustRun(t, h, "systemctl", "show", "--property=StatusText", "--value", "dcos.service")
		for _, w := range words {
			if !strings.Contains(status, w) {
				return fmt.Errorf("its status lacks %q: %s", w, status)
			}
		}
		return nil
	})
}
