package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/dcos-go/dcos/pkg/dcos"
)

func TestAClusterIsReadBackWithTheKeysOfOthers(t *testing.T) {
	t.Parallel()
	known := clusters{t.TempDir()}
	const file = "[cluster]\nname = 'prod'\n[core]\ndcos_url = 'https://a:1'\nssl_verify = false\ntimeout = 7\n[job]\nurl = 'x'\n"
	if err := os.MkdirAll(known.path("id-1"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(known.path("id-1", "dcos.toml"), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	one, err := known.read("id-1")
	if err != nil {
		t.Fatal(err)
	}
	want := cluster{ID: "id-1", Name: "prod", URL: "https://a:1", SSLVerify: "false"}
	if d := cmp.Diff(want, one, cmpopts.IgnoreUnexported(cluster{})); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	one.Token, one.Name = "secret", "other"
	if err := known.write(one); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(known.path("id-1", "dcos.toml"))
	if err != nil {
		t.Fatal(err)
	}
	contains(t, string(b), "timeout = 7", "[job]", "name = 'other'", "dcos_acs_token = 'secret'")
	info, err := os.Stat(known.path("id-1", "dcos.toml"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600: it holds a token", info.Mode(), err)
	}
	again, err := known.read("id-1")
	if d := cmp.Diff(one, again, cmpopts.IgnoreUnexported(cluster{})); d != "" || err != nil {
		t.Errorf("%v (-want +got)\n%s", err, d)
	}
}

func TestANewClusterNeverTakesOverTheAttachmentOfAnother(t *testing.T) {
	t.Parallel()
	known := clusters{t.TempDir()}
	never := func(cluster) bool { return false }
	attached := func() string {
		t.Helper()
		all, err := known.list()
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, one := range all {
			if one.Attached {
				ids = append(ids, one.ID)
			}
		}
		return strings.Join(ids, ",")
	}
	// The only cluster counts as attached without a mark.
	if err := known.write(cluster{ID: "prod", Name: "prod", URL: "https://prod"}); err != nil {
		t.Fatal(err)
	}
	if took, err := known.enlist(cluster{ID: "dev", Name: "dev", URL: "http://dev", Ephemeral: true}, never); took || err != nil {
		t.Errorf("enlist beside another: attached %v, %v", took, err)
	}
	if got := attached(); got != "prod" {
		t.Errorf("attached: %q, want prod", got)
	}
	if err := known.attach("dev"); err != nil {
		t.Fatal(err)
	}
	if got := attached(); got != "dev" {
		t.Errorf("attached: %q, want dev", got)
	}
	// A dev cluster that is gone gives way.
	took, err := known.enlist(cluster{ID: "dev2", Name: "dev", URL: "http://dev2", Ephemeral: true}, func(c cluster) bool { return c.ID == "dev" })
	if !took || err != nil {
		t.Errorf("enlist after one that is gone: attached %v, %v", took, err)
	}
	if got := attached(); got != "dev2" {
		t.Errorf("attached: %q, want dev2", got)
	}
	if _, err := known.read("dev"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the entry of the ended cluster: %v, want it gone", err)
	}
}

func TestAnIDCannotNameAnotherDirectory(t *testing.T) {
	t.Parallel()
	known := clusters{t.TempDir()}
	for _, id := range []string{"", ".", "..", "a/b", `a\b`, "a\x00", strings.Repeat("a", 101)} {
		if err := known.remove(id); !errors.Is(err, dcos.ErrInvalid) {
			t.Errorf("remove %q: %v", id, err)
		}
		if err := known.write(cluster{ID: id}); !errors.Is(err, dcos.ErrInvalid) {
			t.Errorf("write %q: %v", id, err)
		}
	}
}

func TestClustersArePickedByNameOrBeginningOfTheID(t *testing.T) {
	t.Parallel()
	all := []cluster{{ID: "aa11", Name: "one"}, {ID: "aa22", Name: "two"}}
	for want, id := range map[string]string{"one": "aa11", "aa22": "aa22", "aa2": "aa22"} {
		if got, err := pick(all, want); err != nil || got.ID != id {
			t.Errorf("pick %q: %q, %v, want %q", want, got.ID, err, id)
		}
	}
	if _, err := pick(all, "aa"); !errors.Is(err, dcos.ErrConflict) {
		t.Errorf("an ambiguous beginning: %v", err)
	}
	if _, err := pick(all, "x"); !errors.Is(err, dcos.ErrNotFound) {
		t.Errorf("an unknown cluster: %v", err)
	}
}

func TestClustersAreListedRenamedAttachedAndRemoved(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	w.attach()
	known := clusters{filepath.Join(w.home, ".dcos")}
	if err := known.write(cluster{ID: "dead", Name: "dead", URL: "http://127.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
	var rows []clusterRow
	out, _ := w.run(exitOK, "", "cluster", "list", "--json")
	if err := json.Unmarshal([]byte(out), &rows); err != nil || len(rows) != 2 {
		t.Fatalf("%v: %s", err, out)
	}
	want := []clusterRow{
		{ID: "dead", Name: "dead", Status: "UNAVAILABLE", URL: "http://127.0.0.1:1"},
		{Attached: true, ID: "c0ffee00-0000-4000-8000-000000000001", Name: "test", Status: "AVAILABLE", URL: w.server.URL, Version: "0.1.0"},
	}
	if d := cmp.Diff(want, rows); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	out, _ = w.run(exitOK, "", "cluster", "list")
	contains(t, out, "*  test", "   dead")
	w.run(exitConflict, "", "cluster", "rename", "test", "dead")
	w.run(exitOK, "", "cluster", "rename", "test", "mine")
	w.run(exitOK, "", "cluster", "attach", "dead")
	w.run(exitUnreachable, "", "node", "list")
	w.run(exitOK, "", "cluster", "attach", "mine")
	w.run(exitOK, "", "cluster", "remove", "--unavailable")
	w.run(exitNotFound, "", "cluster", "remove", "dead")
	w.run(exitOK, "", "cluster", "remove", "mine")
	_, errs := w.run(exitNotFound, "", "node", "list")
	contains(t, errs, "no cluster is attached", "dcos cluster setup URL")
}

func TestSetupTrustsOnlyTheCertificateThatWasAgreedTo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true)
	sum := sha256.Sum256(w.secrets.CA.Cert().Raw)
	sha := hex.EncodeToString(sum[:])
	login := []string{"DCOS_USERNAME=admin", "DCOS_PASSWORD=" + password}
	setup := func(code int, in string, tty bool, args ...string) string {
		t.Helper()
		e, out, errs := w.env(in, append([]string{"cluster", "setup", w.server.URL}, args...)...)
		e.Environ, e.TTY = login, tty
		if got := Run(t.Context(), e); got != code {
			t.Fatalf("setup %v: exit code %d, want %d: %s%s", args, got, code, out, errs)
		}
		return errs.String()
	}
	contains(t, setup(exitUsage, "", false), sha, "--fingerprint "+sha)
	contains(t, setup(exitDenied, "", false, "--fingerprint", strings.Repeat("00", 32)), "another fingerprint")
	contains(t, setup(exitFailed, "n\n", true), "was not set up")
	if _, err := os.Stat(filepath.Join(w.home, ".dcos")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a setup that failed left something: %v", err)
	}
	setup(exitOK, "", false, "--fingerprint", strings.ToUpper(sha))
	w.run(exitOK, "", "node", "list")
	setup(exitOK, "y\n", true, "--name", "mine")
	out, _ := w.run(exitOK, "", "cluster", "list")
	contains(t, out, "mine", "AVAILABLE")
	setup(exitOK, "", false, "--insecure")

	// The same address with another CA is not the cluster any more.
	setup(exitOK, "", false, "--no-check")
	other := newWorld(t, true)
	known := clusters{filepath.Join(w.home, ".dcos")}
	one, err := known.read("c0ffee00-0000-4000-8000-000000000001")
	if err != nil {
		t.Fatal(err)
	}
	one.URL = other.server.URL
	if err := known.write(one); err != nil {
		t.Fatal(err)
	}
	_, errs := w.run(exitUnreachable, "", "node", "list")
	contains(t, errs, "is not trusted", "dcos cluster setup URL")
}

func FuzzClusterFile(f *testing.F) {
	f.Add([]byte("[cluster]\nname = 'a'\n[core]\ndcos_url = 'https://a'\nssl_verify = true\n"))
	f.Add([]byte("core = 1\ncluster = [1]\n"))
	f.Add([]byte("\xff = ["))
	f.Fuzz(func(t *testing.T, b []byte) {
		one, err := decodeCluster("id", b)
		if err != nil {
			return
		}
		again, err := one.encode()
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		two, err := decodeCluster("id", again)
		if d := cmp.Diff(one, two, cmpopts.IgnoreUnexported(cluster{})); d != "" || err != nil {
			t.Fatalf("%v (-want +got)\n%s\nin %q\nout %q", err, d, b, again)
		}
	})
}
