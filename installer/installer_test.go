package installer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// machine is a host whose systemd is a few fields.
type machine struct {
	facts   Facts
	user    bool
	busy    []int
	loaded  bool
	active  bool
	enabled bool
	text    string
	paths   Paths
	refused bool // the process ends by an error
	starts  int
	stopped int
}

func (m *machine) Root() bool                           { return !m.user }
func (m *machine) Facts(context.Context) (Facts, error) { return m.facts, nil }
func (m *machine) PortFree(p int) bool                  { return !slices.Contains(m.busy, p) }

func (m *machine) Systemctl(_ context.Context, args ...string) (string, error) {
	switch args[0] {
	case "show":
		state := func(b bool, yes, no string) string {
			if b {
				return yes
			}
			return no
		}
		return "LoadState=" + state(m.loaded, "loaded", "not-found") + "\nActiveState=" + state(m.active, "active", "inactive") +
			"\nUnitFileState=" + state(m.enabled, "enabled", "") + "\nStatusText=" + m.text + fmt.Sprintf("\nInvocationID=%d\n", m.starts), nil
	case "daemon-reload":
		_, err := os.Stat(filepath.Join(m.paths.UnitDir, Unit))
		m.loaded = err == nil
	case "enable":
		m.enabled = true
	case "stop":
		m.active = false
		m.stopped++
	case "restart":
		m.active = true
		m.starts++
		if m.text = Failed + "the join token is wrong"; m.refused {
			return "", nil
		}
		m.text = Healthy + ": as agent n1"
		if err := os.MkdirAll(filepath.Join(m.paths.DataDir, "agent"), 0o700); err != nil {
			return "", err
		}
		return "", os.WriteFile(filepath.Join(m.paths.DataDir, "agent", "agent.pem"), nil, 0o600)
	case "disable":
		m.active, m.enabled = false, false
	}
	return "", nil
}

func fit() Facts {
	return Facts{
		OS: "linux", Arch: "amd64", Systemd: true, CPUs: 2, MemBytes: 1 << 30, DiskFreeBytes: 1 << 34,
		Overlay: true, Cgroups: []string{"cpu", "memory", "pids"}, ClockSane: true,
	}
}

func ground(t *testing.T) (*machine, Paths, Options) {
	t.Helper()
	root := t.TempDir()
	at := func(s string) string { return filepath.Join(root, s) }
	p := Paths{Binary: at("bin/dcos"), ConfigDir: at("etc/dcos"), UnitDir: at("units"), DataDir: at("data"), RunDir: at("run")}
	src := at("src")
	if err := os.WriteFile(src, []byte("binary"), 0o600); err != nil {
		t.Fatal(err)
	}
	return &machine{facts: fit(), text: Healthy + ": as agent n1", paths: p}, p,
		Options{Role: RoleAgent, Join: []string{"10.0.0.1"}, Token: "id.secret.hash", Binary: src, Wait: time.Minute}
}

func tree(t *testing.T, p Paths) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(filepath.Dir(p.DataDir), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		out[path] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestASecondRunChangesNothing(t *testing.T) {
	t.Parallel()
	m, p, o := ground(t)
	var out strings.Builder
	if err := Install(t.Context(), o, p, m, &Report{Out: &out}); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	if unit := unitFile(o, p); !strings.Contains(unit, fmt.Sprintf("\nRestart=always\nRestartSec=1\nRestartPreventExitStatus=%d\n", NeedsOperator)) {
		t.Errorf("the unit starts a process again that only an operator can mend:\n%s", unit)
	}
	before := tree(t, p)
	if _, err := os.Stat(tokenFile(p)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the used token is still there: %v", err)
	}
	r := &Report{Out: &out}
	if err := Install(t.Context(), o, p, m, r); err != nil || r.Changed != 0 || m.starts != 1 {
		t.Errorf("second run: %v, %d changes, %d starts\n%s", err, r.Changed, m.starts, &out)
	}
	if d := cmp.Diff(before, tree(t, p)); d != "" {
		t.Errorf("second run changed files:\n%s", d)
	}
}

func TestAMachineThatIsNotFitIsLeftAsItWas(t *testing.T) {
	t.Parallel()
	m, p, o := ground(t)
	m.facts.Systemd, m.facts.MemBytes, m.facts.Cgroups, m.user, m.busy = false, 1, nil, true, []int{7445}
	before := tree(t, p)
	err := Install(t.Context(), o, p, m, &Report{Out: &strings.Builder{}})
	if !errors.Is(err, ErrPreflight) {
		t.Fatalf("got %v, want ErrPreflight", err)
	}
	for _, want := range []string{"not root", "systemd", "memory", "cgroup controller cpu", "port 7445"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the faults lack %q: %v", want, err)
		}
	}
	if d := cmp.Diff(before, tree(t, p)); d != "" {
		t.Errorf("files changed:\n%s", d)
	}
}

func TestARefusedMachineIsStoppedAndSaysWhyUntilTheTokenIsRight(t *testing.T) {
	t.Parallel()
	m, p, o := ground(t)
	m.refused = true
	err := Install(t.Context(), o, p, m, &Report{Out: &strings.Builder{}})
	if err == nil || !strings.Contains(err.Error(), "the join token is wrong") || m.active || m.stopped != 1 {
		t.Fatalf("%v, active %v, stopped %d times; want the reason and a stopped unit", err, m.active, m.stopped)
	}
	m.refused, o.Token = false, "id.right.hash"
	if err := Install(t.Context(), o, p, m, &Report{Out: &strings.Builder{}}); err != nil || m.starts != 2 {
		t.Errorf("with the right token: %v, %d starts", err, m.starts)
	}
}

func TestAnotherRoleIsRefused(t *testing.T) {
	t.Parallel()
	m, p, o := ground(t)
	if err := Install(t.Context(), o, p, m, &Report{Out: &strings.Builder{}}); err != nil {
		t.Fatal(err)
	}
	before := tree(t, p)
	o = Options{Role: RoleMaster, Binary: o.Binary, Wait: time.Minute}
	if err := Install(t.Context(), o, p, m, &Report{Out: &strings.Builder{}}); err == nil || !strings.Contains(err.Error(), "dcos uninstall") {
		t.Errorf("got %v, want a hint at dcos uninstall", err)
	}
	if d := cmp.Diff(before, tree(t, p)); d != "" {
		t.Errorf("files changed:\n%s", d)
	}
}

func TestUninstallLeavesNothing(t *testing.T) {
	t.Parallel()
	m, p, o := ground(t)
	before := tree(t, p)
	if err := Install(t.Context(), o, p, m, &Report{Out: &strings.Builder{}}); err != nil {
		t.Fatal(err)
	}
	purged := 0
	purge := func(context.Context, string) error { purged++; return nil }
	for range 2 {
		if err := Uninstall(t.Context(), p, m, purge, false, &Report{Out: &strings.Builder{}}); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff(before, tree(t, p)); d != "" || purged != 1 || m.active || m.enabled || m.loaded {
		t.Errorf("left: %s; purged %d times, unit %+v", d, purged, m)
	}
}

func TestMistakenOptionsSayWhatToGive(t *testing.T) {
	t.Parallel()
	m, p, _ := ground(t)
	for want, o := range map[string]Options{
		"expected master, agent or both": {Role: "boss"},
		"--join ADDRESS":                 {Role: RoleAgent},
		"--token":                        {Role: RoleMaster, Join: []string{"10.0.0.1"}},
		"api_port":                       {Role: RoleMaster, Set: map[string]any{"api_port": 70000}},
		"api_prot":                       {Role: RoleMaster, Set: map[string]any{"api_prot": 1}},
		"--set data_dir":                 {Role: RoleMaster, Set: map[string]any{"data_dir": "/elsewhere"}},
	} {
		if err := Install(t.Context(), o, p, m, &Report{Out: &strings.Builder{}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want an error with %q", o, err, want)
		}
	}
}
