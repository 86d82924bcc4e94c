package integration

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dcos-go/dcos/integration/images"
	"github.com/dcos-go/dcos/integration/leak"
)

// tgz makes an archive of names and contents.
func tgz(t *testing.T, entries ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, h := range entries {
		body := h.Uname
		h.Uname, h.Size = "", int64(len(body))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// downloads serves files by path and counts what it sends.
func downloads(t *testing.T, all map[string][]byte) (url string, sent *atomic.Int64) {
	t.Helper()
	sent = &atomic.Int64{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, ok := all[r.URL.Path]
		switch {
		case r.URL.Path == "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		case !ok:
			http.NotFound(w, r)
		case r.Header.Get("If-None-Match") == `"1"`:
			w.WriteHeader(http.StatusNotModified)
		default:
			w.Header().Set("ETag", `"1"`)
			sent.Add(int64(len(b)))
			_, _ = w.Write(b)
		}
	}))
	t.Cleanup(srv.Close)
	return srv.URL, sent
}

// TestAgentFetchBringsArtifactsBeforeTheStart: by every kind of task.
func TestAgentFetchBringsArtifactsBeforeTheStart(t *testing.T) {
	beside(t)
	dir := t.TempDir()
	leak.Check(t, leak.Scope{Match: []string{dir}})
	reg := images.Serve(t, "127.0.0.1:0", "busybox:1")
	files, sent := downloads(t, map[string][]byte{
		"/conf.tgz": tgz(t, textFile("conf/greeting", "hello from conf\n", 0o644), tar.Header{Name: "conf/link", Typeflag: tar.TypeSymlink, Linkname: "greeting"}),
		"/tool":     []byte("#!/bin/sh\necho tool of $(id -u)\n"),
	})
	local, err := os.MkdirTemp("", "fetch-allowed-") //nolint:usetesting // another user must reach it
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(local)
	if err := os.Chmod(local, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(local, "site"), []byte("local site\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	d := startDev(t, "--data-dir", dir, "--image-mirrors", reg.URL(), "--fetch-allow", local)
	artifacts := []map[string]any{
		{"uri": files + "/conf.tgz?token=secret", "cache": true},
		{"uri": files + "/tool", "executable": true, "destPath": "bin/tool"},
		{"uri": "file://" + local + "/site"},
	}
	script := stay(`cd "$MESOS_SANDBOX"; cat conf/link site; bin/tool; stat -c %u conf/greeting; ls -a | grep -c tgz`)[2]
	command := map[string]any{"id": "/command", "cmd": script, "cpus": 0.01, "mem": 16, "user": "nobody", "fetch": artifacts, "portDefinitions": []any{}}
	d.define(t, command)
	if got, want := d.logged(t, "/command"), "hello from conf\nlocal site\ntool of 65534\n65534\n0\n"; got != want {
		t.Errorf("the command wrote %q, want %q", got, want)
	}
	once := sent.Load()
	image := imageApp("/image", "busybox:1")
	image["cmd"], image["fetch"] = script, artifacts
	d.define(t, image)
	if got, want := d.logged(t, "/image"), "hello from conf\nlocal site\ntool of 0\n0\n0\n"; got != want {
		t.Errorf("the image wrote %q, want %q", got, want)
	}
	if more := sent.Load() - once; more > 100 {
		t.Errorf("%d bytes were sent although the archive was in the cache", more)
	}
	for _, app := range []string{"/command", "/image"} {
		d.must(t, "marathon", "app", "remove", app)
	}
	if err := d.stop(syscall.SIGTERM); err != nil {
		t.Errorf("end: %v", err)
	}
}

// TestAgentFetchThatCannotBeDoneFailsTheTaskWithItsReason has the hostile cases
// 14, 16 and 19 by way of a whole node.
func TestAgentFetchThatCannotBeDoneFailsTheTaskWithItsReason(t *testing.T) {
	beside(t)
	dir := t.TempDir()
	leak.Check(t, leak.Scope{Match: []string{dir}})
	canary := filepath.Join(t.TempDir(), "canary")
	if err := os.WriteFile(canary, []byte("alive"), 0o600); err != nil {
		t.Fatal(err)
	}
	files, _ := downloads(t, map[string][]byte{
		"/slip.tgz": tgz(t, textFile(strings.Repeat("../", 20)+canary[1:], "dead", 0o644)),
		"/link.tgz": tgz(t, tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: filepath.Dir(canary)}, textFile("l/canary", "dead", 0o644)),
		"/bomb.tgz": tgz(t, textFile("zeros", strings.Repeat("\x00", 40<<20), 0o644)),
		"/tool":     []byte("x"),
	})
	d := startDev(t, "--data-dir", dir, "--fetch-limit-mb", "16")
	for name, row := range map[string]struct {
		artifact map[string]any
		want     string
	}{
		"missing":  {map[string]any{"uri": files + "/none?token=canary-word"}, "404"},
		"loop":     {map[string]any{"uri": files + "/loop"}, "redirects"},
		"slip":     {map[string]any{"uri": files + "/slip.tgz"}, "leads out of the sandbox"},
		"link":     {map[string]any{"uri": files + "/link.tgz"}, "leads out of the sandbox"},
		"bomb":     {map[string]any{"uri": files + "/bomb.tgz"}, "a task may fetch"},
		"checksum": {map[string]any{"uri": files + "/tool", "checksum": "sha256:" + strings.Repeat("0", 64)}, "expected sha256:0000"},
		"file":     {map[string]any{"uri": "file:///etc/passwd"}, "fetch_allow"},
		"metadata": {map[string]any{"uri": "http://169.254.169.254/latest"}, "169.254.169.254"},
		"cluster":  {map[string]any{"uri": d.url + "/ping"}, "port of the cluster"},
	} {
		t.Run(name, func(t *testing.T) {
			d.define(t, map[string]any{"id": "/" + name, "cmd": "sleep 1000", "cpus": 0.01, "mem": 16, "fetch": []any{row.artifact}, "portDefinitions": []any{}})
			var why string
			eventually(t, time.Minute, "it fails", func() error {
				if why = d.lastFailure(t, "/"+name); !strings.Contains(why, row.want) {
					return fmt.Errorf("the last failure is %q, want %q in it", why, row.want)
				}
				return nil
			})
			if !strings.HasPrefix(why, "TASK_FAILED") || strings.Contains(why, "canary-word") {
				t.Errorf("the failure is %q", why)
			}
			d.must(t, "marathon", "app", "remove", "/"+name)
		})
	}
	if text, err := os.ReadFile(canary); err != nil || string(text) != "alive" {
		t.Errorf("an archive reached outside: %q, %v", text, err)
	}
	if err := d.stop(syscall.SIGTERM); err != nil {
		t.Errorf("end: %v", err)
	}
}

// TestAgentDocsOfImagesAndFetchRunAsWritten runs every command of docs/images.md.
func TestAgentDocsOfImagesAndFetchRunAsWritten(t *testing.T) {
	beside(t)
	dir := t.TempDir()
	leak.Check(t, leak.Scope{Match: []string{dir}})
	text, err := os.ReadFile(filepath.Join(root, "docs", "images.md"))
	if err != nil {
		t.Fatal(err)
	}
	reg := images.Serve(t, "127.0.0.1:0", "busybox:1")
	files, _ := downloads(t, map[string][]byte{
		"/site.tgz": tgz(t, textFile("site/index.html", "hello\n", 0o644)),
		"/tool":     []byte("#!/bin/sh\necho tool\n"),
	})
	d := startDev(t, "--data-dir", dir, "--image-mirrors", reg.URL())
	var blocks []string
	for _, m := range codeBlock.FindAllStringSubmatch(string(text), -1) {
		blocks = append(blocks, m[1])
	}
	if len(blocks) < 4 {
		t.Fatalf("the page has %d blocks of commands", len(blocks))
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-euxo", "pipefail", "-c", strings.Join(blocks, "\n"))
	cmd.Env = append(d.env, "FILES="+files, "PATH="+filepath.Dir(d.binary)+":"+os.Getenv("PATH"))
	cmd.Dir = t.TempDir()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"busybox", "in use", "hello", "tool"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the output lacks %q:\n%s", want, out)
		}
	}
	if err := d.stop(syscall.SIGTERM); err != nil {
		t.Errorf("end: %v", err)
	}
}
