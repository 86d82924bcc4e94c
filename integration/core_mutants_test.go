package integration

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dcos-go/dcos/integration/hosts"
)

// planted is a bug to be put into the built binary: in one file a text is
// replaced by another, as in pkg/sim/mutants.
type planted struct{ file, before, after string }

func readPlanted(t *testing.T, name string) planted {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("mutants", name, "mutant.txt"))
	if err != nil {
		t.Fatal(err)
	}
	head, rest, first := strings.Cut(string(text), "\n--- before\n")
	before, after, second := strings.Cut(rest, "\n--- after\n")
	file, _, _ := strings.Cut(strings.TrimPrefix(head, "file: "), "\n")
	if !first || !second || !strings.HasPrefix(head, "file: ") {
		t.Fatalf("mutant %s: want a line `file: ...`, then `--- before`, then `--- after`", name)
	}
	return planted{filepath.FromSlash(file), before, strings.TrimSuffix(after, "\n")}
}

// build makes dcos with the bug in it, as `make build` makes it without. The
// source tree stays as it is.
func (p planted) build(t *testing.T) string {
	t.Helper()
	top, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	place, dir := filepath.Join(top, p.file), t.TempDir()
	source, err := os.ReadFile(place)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(source), p.before); n != 1 {
		t.Fatalf("the text to be replaced is %d times in %s, want once: write the mutant anew", n, p.file)
	}
	bad, overlay, out := filepath.Join(dir, "bad.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "dcos")
	spec, err := json.Marshal(map[string]map[string]string{"Replace": {place: bad}})
	if err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string][]byte{bad: []byte(strings.Replace(string(source), p.before, p.after, 1)), overlay: spec} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-overlay", overlay, "-trimpath", "-buildvcs=false", "-tags", "seccomp,netgo,osusergo",
		"-ldflags", "-s -w -linkmode external -extldflags '-static -no-pie'", "-o", out, "./cmd/dcos")
	cmd.Dir, cmd.Env = top, append(os.Environ(), "CGO_ENABLED=1")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("the mutant does not build: %v\n%s", err, text)
	}
	return out
}

// swap gives every master another binary.
func (c *cluster) swap(t *testing.T, binary string) {
	t.Helper()
	c.onEach(t, func(h *hosts.Host) error {
		if err := h.Copy(binary, "/usr/local/bin/dcos"); err != nil {
			return err
		}
		_, _, err := h.Run(t.Context(), "systemctl", "restart", "dcos")
		return err
	})
}

// mutantHistories is how many histories may be needed to catch a bug.
const mutantHistories = 12

func TestCoreHistoriesCatchPlantedStaleReads(t *testing.T) {
	beside(t)
	c := newCluster(t, 3, 0)
	// A leader that does not know that it is none any more is what the second
	// one needs.
	var deposed []fault
	for _, f := range networkFaults {
		if f.name == "leader cut off" {
			deposed = append(deposed, f)
		}
	}
	for name, kinds := range map[string][][]fault{"read-own-view": {processFaults, networkFaults}, "leader-reads-unasked": {deposed}} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			bad := readPlanted(t, name).build(t)
			t.Logf("built in %v", time.Since(began).Round(time.Millisecond))
			c.swap(t, bad)
			seed := number(t, "DCOS_SEED", rand.Uint64()>>1)
			for i := range mutantHistories {
				h := c.record(t, seed+uint64(i), 0, &injured{times: map[string]int{}}, kinds...)
				v := h.Judge(judgeLimit)
				if len(v.Problems) == 0 {
					continue
				}
				page := filepath.Join(t.TempDir(), "history.html")
				if err := v.Draw(page); err != nil {
					t.Fatal(err)
				}
				if _, err := os.Stat(page); err != nil {
					t.Fatal(err)
				}
				t.Logf("caught by history %d, seed %d: %s", i+1, seed+uint64(i), strings.Join(v.Problems, "; "))
				return
			}
			t.Errorf("not caught by %d histories from seed %d on", mutantHistories, seed)
		})
	}
}

// onEach does something on every master at once.
func (c *cluster) onEach(t *testing.T, do func(h *hosts.Host) error) {
	t.Helper()
	var all sync.WaitGroup
	errs := make([]error, len(c.masters))
	for i, h := range c.masters {
		all.Go(func() { errs[i] = do(h) })
	}
	all.Wait()
	for i, err := range errs {
		if err != nil {
			t.Fatal(fmt.Errorf("%s: %w", c.masters[i].Name(), err))
		}
	}
}
