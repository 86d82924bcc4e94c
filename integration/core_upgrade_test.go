package integration

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dcos-go/dcos/integration/hosts"
	"github.com/dcos-go/dcos/pkg/client"
)

// released is where a release was built from, as CHANGELOG.md says.
func released(t *testing.T, version string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "CHANGELOG.md"))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?s)\n## ` + regexp.QuoteMeta(version) + ` .*?\nBuilt from commit ([0-9a-f]{40})`).FindSubmatch(text)
	if found == nil {
		t.Fatalf("CHANGELOG.md names no commit of %s", version)
	}
	return string(found[1])
}

// oldBinary builds a release from its commit, once per machine: it is kept in
// the user's cache directory. The commit comes from this checkout's history;
// where that is cut off (a shallow clone) it is fetched from where the checkout
// came from. A test that cannot get it fails: what it proves would be missing.
func oldBinary(t *testing.T, version string) string {
	t.Helper()
	commit := released(t, version)
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "dcos-test", version+"-"+commit)
	binary := filepath.Join(dir, "dcos")
	if _, err := os.Stat(binary); err == nil {
		return binary
	}
	run := func(in, script string, args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), "bash", append([]string{"-euo", "pipefail", "-c", script, "bash"}, args...)...)
		cmd.Dir = in
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if _, err := run(root, `git cat-file -e "$1^{commit}"`, commit); err != nil {
		if out, err := run(root, `git fetch --depth 1 origin "$1"`, commit); err != nil {
			t.Fatalf("release %s was built from commit %s, which is neither in this checkout's history nor can be fetched from its origin (%v):\n%s\nrun `git fetch --unshallow`, or clone with the whole history",
				version, commit, err, out)
		}
	}
	tree := t.TempDir()
	if out, err := run(root, `git archive "$1" | tar -x -C "$2"`, commit, tree); err != nil {
		t.Fatalf("unpack %s: %v\n%s", commit, err, out)
	}
	out, err := run(tree, `mkdir -p "$1"
		CGO_ENABLED=1 go build -trimpath -buildvcs=false -tags seccomp,netgo,osusergo -o "$1/dcos.new" \
			-ldflags "-s -w -linkmode external -extldflags '-static -no-pie'" ./cmd/dcos
		mv "$1/dcos.new" "$1/dcos"`, dir)
	if err != nil {
		t.Fatalf("build release %s: %v\n%s", version, err, out)
	}
	return binary
}

// replace puts another binary in the place of a host's and starts it anew.
func replace(t *testing.T, h *hosts.Host, binary string) {
	t.Helper()
	if err := h.Copy(binary, installer); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	const script = "install -m 755 " + installer + " /usr/local/bin/dcos.new && mv /usr/local/bin/dcos.new /usr/local/bin/dcos && systemctl restart --no-block dcos"
	if out, errs, err := h.Run(ctx, "sh", "-c", script); err != nil {
		t.Fatalf("%s: replace the binary: %v %s%s", h.Name(), err, out, errs)
	}
}

// upgrade replaces a master's binary and waits until the new one serves.
func (c *cluster) upgrade(t *testing.T, h *hosts.Host, binary string) {
	t.Helper()
	replace(t, h, binary)
	eventually(t, setupLimit, h.Name()+" serves with the new build", func() error {
		api, err := c.on(h)
		if err != nil {
			return err
		}
		s, err := api.Cluster(t.Context())
		if err == nil && s.Version == "0.1.0" {
			err = errors.New("0.1.0 answers")
		}
		return err
	})
	c.mustBeWhole(t)
}

// refused expects the API to refuse with a status and a text.
func refused(err error, status int, texts ...string) error {
	var refusal *client.Error
	if !errors.As(err, &refusal) || refusal.Status != status {
		return fmt.Errorf("%w, want a refusal with status %d", errors.Join(errors.New("got"), err), status)
	}
	for _, text := range texts {
		if !strings.Contains(refusal.Error(), text) {
			return fmt.Errorf("the refusal says %q, want %q", refusal.Error(), text)
		}
	}
	return nil
}

// Three masters of 0.1.0 become this build one by one while writes go on. What
// only this build knows is refused until the operator finishes the upgrade,
// and then an older build cannot come back.
func TestCoreFeatureLevelTwoBuilds(t *testing.T) {
	beside(t)
	old := oldBinary(t, "0.1.0")
	built, err := builtBinary()
	if err != nil {
		t.Fatal(err)
	}
	c, err := openClusterOn(t.Context(), 3, 0, func(_ context.Context, h *hosts.Host) error { return h.Copy(old, installer) })
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
	s, err := c.status(t.Context())
	if err != nil || s.Level != 1 || s.Version != "0.1.0" {
		t.Fatalf("the cluster is %+v, %v; want 0.1.0 with level 1", s, err)
	}

	seen := &writes{acknowledged: map[string]bool{}, unknown: map[string]error{}}
	writing, endWriting := context.WithTimeout(t.Context(), 6*time.Minute)
	defer endWriting()
	var writers sync.WaitGroup
	for w := range 3 {
		writers.Go(func() { c.write(writing, t, seen, 1<<30, w, rand.New(rand.NewPCG(1, uint64(w)))) })
	}
	defer writers.Wait()
	defer endWriting()

	for _, h := range c.masters[:2] {
		c.upgrade(t, h, built)
	}
	// The last old master stands still for a moment: one of the new ones leads.
	last := c.masters[2]
	c.holdDown(t, last)
	eventually(t, time.Minute, "a new build leads", func() error {
		h, err := c.leader(t.Context())
		if err == nil && h == last {
			err = errors.New("the old one leads")
		}
		return err
	})
	c.letUp(t, last)
	c.mustBeWhole(t)
	put := func(ctx context.Context, api *client.Client) error {
		return api.PutRole(ctx, "eng", client.RoleSettings{Weight: 2})
	}
	finish := func(ctx context.Context, api *client.Client) error {
		_, err := api.FinishUpgrade(ctx, false)
		return err
	}
	if h, err := c.leader(t.Context()); err == nil && h != last {
		if err := refused(c.ask(t.Context(), put), http.StatusConflict, "feature level 2, the cluster is at 1", "dcos upgrade finish"); err != nil {
			t.Errorf("make a role while an old master is there: %v", err)
		}
		eventually(t, time.Minute, "the old master is what stands in the way", func() error {
			return refused(c.ask(t.Context(), finish), http.StatusConflict, last.Name(), "runs 0.1.0", "upgrade it first")
		})
	} else {
		t.Errorf("leader is %v, %v", h, err)
	}

	c.upgrade(t, last, built)
	eventually(t, time.Minute, "every master says what it supports", func() error {
		s, err := c.status(t.Context())
		if err == nil && !strings.Contains(strings.Join(s.Problems, ";"), "dcos upgrade finish") {
			err = fmt.Errorf("masters %+v, problems %q", s.Masters, s.Problems)
		}
		return err
	})
	if err := refused(c.ask(t.Context(), put), http.StatusConflict, "dcos upgrade finish"); err != nil {
		t.Errorf("make a role before the upgrade is finished: %v", err)
	}
	if out, err := c.dcos(t, "upgrade", "finish", "--dry-run"); err != nil || !strings.Contains(out, "is 1, would be 2") {
		t.Errorf("dcos upgrade finish --dry-run: %q, %v", out, err)
	}
	if out, err := c.dcos(t, "upgrade", "finish"); err != nil || !strings.Contains(out, "feature level is 2, was 1") {
		t.Fatalf("dcos upgrade finish: %q, %v", out, err)
	}
	if out, err := c.dcos(t, "upgrade", "finish"); err != nil || !strings.Contains(out, "is 2 already") {
		t.Errorf("dcos upgrade finish, again: %q, %v", out, err)
	}
	if err := c.ask(t.Context(), put); err != nil {
		t.Errorf("make a role: %v", err)
	}
	endWriting()
	writers.Wait()

	// There is no way back: the old build says what is wrong and ends.
	replace(t, last, old)
	eventually(t, time.Minute, "0.1.0 says that it is too old", func() error {
		out, _, err := last.Run(t.Context(), "journalctl", "-u", "dcos", "--no-pager", "-n", "200")
		if err == nil && !strings.Contains(out, "feature level 2 is needed, this build (0.1.0) knows up to 1") {
			err = fmt.Errorf("the journal says %q", out)
		}
		return err
	})
	c.upgrade(t, last, built)
	t.Logf("%d acknowledged, %d of unknown outcome, %d refused", len(seen.acknowledged), len(seen.unknown), seen.refused)
	if len(seen.acknowledged) < 50 {
		t.Errorf("only %d writes were acknowledged", len(seen.acknowledged))
	}
	for _, h := range c.masters {
		c.holdsAll(t, h, seen)
	}
}
