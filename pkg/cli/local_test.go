//go:build linux

package cli

import (
	"bytes"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dcos-go/dcos/installer"
	"github.com/dcos-go/dcos/pkg/auth"
	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/node"
)

func TestAnInstalledMasterPrintsTheLinesToJoinBy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true)
	dir := t.TempDir()
	p := installer.Paths{ConfigDir: dir, DataDir: filepath.Join(dir, "data")}
	at, err := url.Parse(w.server.URL)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(p.DataDir, "master"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := auth.SaveSecrets(filepath.Join(p.DataDir, "master"), w.secrets); err != nil {
		t.Fatal(err)
	}
	conf := fmt.Sprintf("bootstrap: true\ndata_dir: %s\napi_port: %s\n", p.DataDir, at.Port())
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	e := &Env{Out: &out, Err: &errs}
	if err := printJoinLines(t.Context(), e, p); err != nil || out.Len() != 0 {
		t.Errorf("without the admin's file: %v, %s", err, &out)
	}
	contains(t, errs.String(), "dcos token create agent")
	if err := os.WriteFile(filepath.Join(p.DataDir, "admin"), []byte("admin\n"+password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := printJoinLines(t.Context(), e, p); err != nil {
		t.Fatal(err)
	}
	contains(t, out.String(), "master: dcos install --role master --join 10.0.0.1:7444 --token ", "agent: dcos install --role agent --join 10.0.0.1:7444 --token ")
	contains(t, errs.String(), "dcos cluster setup https://10.0.0.1:8443")

	// A server with another CA gets no password.
	other := newWorld(t, true)
	at, err = url.Parse(other.server.URL)
	if err != nil {
		t.Fatal(err)
	}
	conf = fmt.Sprintf("bootstrap: true\ndata_dir: %s\napi_port: %s\n", p.DataDir, at.Port())
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := printJoinLines(t.Context(), e, p); err == nil {
		t.Error("a server with another CA was trusted")
	}
}

func TestADevClusterIsKnownWhileItLives(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	e := &Env{Out: &out, Err: &errs, Home: t.TempDir()}
	known := clusters{filepath.Join(e.Home, ".dcos")}
	ids := func() (ids []string) {
		t.Helper()
		all, err := known.list()
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range all {
			ids = append(ids, one.ID)
		}
		return ids
	}
	// One that was killed left its entry; its address is the new one's now.
	if err := known.write(cluster{ID: "old", Name: "dcos", URL: "http://127.0.0.1:1", Ephemeral: true}); err != nil {
		t.Fatal(err)
	}
	r := node.Ready{ClusterID: "new", ClusterName: "dcos", URL: "http://127.0.0.1:1", Token: "t"}
	detach, err := enlist(e, r, true)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"new"}, ids()); d != "" {
		t.Errorf("while it lives (-want +got)\n%s", d)
	}
	if one, err := known.current(e); err != nil || one.Token != "t" {
		t.Errorf("attached: %+v, %v", one, err)
	}
	detach()
	if d := cmp.Diff([]string(nil), ids()); d != "" {
		t.Errorf("after its end (-want +got)\n%s", d)
	}
	// One with a data directory stays known.
	if detach, err = enlist(e, r, false); err != nil {
		t.Fatal(err)
	}
	detach()
	if d := cmp.Diff([]string{"new"}, ids()); d != "" || errs.Len() > 0 {
		t.Errorf("after the end of a lasting one (-want +got)\n%s%s", d, &errs)
	}
}

func TestWelcomeWaitsForThePackagesAndShowsThreeNextCommands(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	w.attach()
	w.live()
	one, err := target(&Env{Home: w.home})
	if err != nil {
		t.Fatal(err)
	}
	api, err := client.New(client.Config{URL: one.URL, Token: one.Token})
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close()
	var errs bytes.Buffer
	for range 2 { // the second time it is there already
		apps, err := installAll(t.Context(), &Env{Err: &errs}, api, []string{"hello-world"})
		if d := cmp.Diff([]string{"/hello-world"}, apps); err != nil || d != "" {
			t.Fatalf("%v (-want +got)\n%s", err, d)
		}
	}
	if _, err := installAll(t.Context(), &Env{Err: &errs}, api, []string{"nope"}); !isNotFound(err) {
		t.Errorf("an unknown package: %v", err)
	}
	for _, apps := range [][]string{nil, {"/a"}} {
		for _, line := range nextCommands(apps) {
			if line == "" {
				t.Errorf("nothing to do next with %v", apps)
			}
		}
	}
}

func TestSettingsOfAnInstallationAreYAML(t *testing.T) {
	t.Parallel()
	got, err := parseSet([]string{"api_port=443", "join=[a, b]", "zone=x=y"})
	want := map[string]any{"api_port": float64(443), "join": []any{"a", "b"}, "zone": "x=y"}
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v (-want +got)\n%s", err, d)
	}
	for _, bad := range []string{"x", "=1", "a=[", ""} {
		if _, err := parseSet([]string{bad}); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// The unit that `dcos install` writes does not start it again.
func TestAProcessThatOnlyAnOperatorCanMendSaysSoByItsExitCode(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "config.yaml")
	conf := fmt.Sprintf("bind: 127.0.0.1\nadvertise: 127.0.0.1\ndata_dir: %s\napi_port: 0\npeer_port: 0\nagent_port: 0\ngossip_port: 0\n", filepath.Join(t.TempDir(), "data"))
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	e := &Env{Args: []string{"master", "--config", file}, Out: &out, Err: &errs}
	if code := Run(t.Context(), e); code != installer.NeedsOperator {
		t.Errorf("exit code %d, want %d: %s", code, installer.NeedsOperator, &errs)
	}
	contains(t, errs.String(), "holds no master", "--bootstrap")
	// A mistake in the environment is not blamed on the file.
	errs.Reset()
	e.Environ = []string{"DCOS_API_PORT=x"}
	if code := Run(t.Context(), e); code != exitUsage || strings.Contains(errs.String(), file) {
		t.Errorf("exit code %d, %s; want %d and nothing about %s", code, &errs, exitUsage, file)
	}
	contains(t, errs.String(), "api_port is set by DCOS_API_PORT")
}
