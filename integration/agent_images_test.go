package integration

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/dcos-go/dcos/integration/images"
	"github.com/dcos-go/dcos/integration/leak"
	"github.com/dcos-go/dcos/pkg/client"
)

// busybox is the base of the images under test.
func busybox(t *testing.T) v1.Image {
	t.Helper()
	img, err := images.Get(t.Context(), "busybox:1")
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// layerOf makes a layer of these entries.
func layerOf(t *testing.T, entries ...tar.Header) v1.Layer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range entries {
		body := h.Uname // the content, where there is one
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
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func textFile(name, body string, mode int64) tar.Header {
	return tar.Header{Name: name, Mode: mode, Typeflag: tar.TypeReg, Uname: body}
}

func folder(name string) tar.Header {
	return tar.Header{Name: name, Mode: 0o755, Typeflag: tar.TypeDir}
}

// derived is an image on top of busybox.
func derived(t *testing.T, base v1.Image, change func(*v1.Config), layers ...v1.Layer) v1.Image {
	t.Helper()
	img, err := mutate.AppendLayers(base, layers...)
	if err != nil {
		t.Fatal(err)
	}
	f, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c := f.Config
	c.Entrypoint, c.Cmd = nil, nil
	change(&c)
	if img, err = mutate.Config(img, c); err != nil {
		t.Fatal(err)
	}
	return img
}

// stay makes of commands a program that prints and then runs on.
func stay(commands string) []string {
	return []string{"/bin/sh", "-c", commands + "\necho row-end; exec sleep 100000"}
}

// logged waits until a task of an app has written the end of its row, and gives
// what came before.
func (d *dev) logged(t *testing.T, app string) string {
	t.Helper()
	var text string
	eventually(t, time.Minute, "the output of "+app, func() error {
		l, err := d.api.Tasks(t.Context(), client.Query{Filter: "app=" + app + ",state=running"})
		if err != nil {
			return err
		}
		if len(l.Items) == 0 {
			return fmt.Errorf("no task runs: %s", d.lastFailure(t, app))
		}
		out, errs, _ := d.run(t, "", "task", "log", l.Items[0].ID)
		before, _, ended := strings.Cut(out, "row-end")
		if !ended {
			return fmt.Errorf("so far it wrote %q %s", out, errs)
		}
		text = before
		return nil
	})
	return text
}

// lastFailure is why the last task of an app ended.
func (d *dev) lastFailure(t *testing.T, app string) string {
	t.Helper()
	a, err := d.api.App(t.Context(), app)
	if err != nil || a.LastTaskFailure == nil {
		return ""
	}
	return a.LastTaskFailure.State + ": " + a.LastTaskFailure.Message
}

func (d *dev) define(t *testing.T, app map[string]any) {
	t.Helper()
	doc, err := json.Marshal(app)
	if err != nil {
		t.Fatal(err)
	}
	if out, errs, code := d.run(t, string(doc), "marathon", "app", "add", "--no-wait"); code != 0 {
		t.Fatalf("add %s: %d %s%s", doc, code, out, errs)
	}
}

func imageApp(id, image string) map[string]any {
	return map[string]any{"id": id, "cpus": 0.01, "mem": 16, "portDefinitions": []any{}, "container": map[string]any{"type": "DOCKER", "docker": map[string]any{"image": image}}}
}

// TestAgentImageSemanticsAreDockers is the table of conformance with real
// containers: what is expected is what docker documents for `docker run`.
func TestAgentImageSemanticsAreDockers(t *testing.T) {
	beside(t)
	dir := t.TempDir()
	leak.Check(t, leak.Scope{Match: []string{dir}})
	reg := images.Serve(t, "127.0.0.1:0", "busybox:1")
	base := busybox(t)
	users := layerOf(t,
		textFile("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nweb:x:1234:1235:web:/home/web:/bin/sh\n", 0o644),
		textFile("etc/group", "root:x:0:\nwww:x:1235:\nextra:x:77:web\nadm:x:88:\n", 0o644))
	type row struct {
		name   string
		config func(*v1.Config)
		layers []v1.Layer
		app    map[string]any
		want   string // of the output; with fails, of the reason
		fails  bool
	}
	cmd := func(commands string) func(*v1.Config) { return func(c *v1.Config) { c.Cmd = stay(commands) } }
	as := func(user, commands string) func(*v1.Config) {
		return func(c *v1.Config) { c.Cmd, c.User = stay(commands), user }
	}
	rows := []row{
		{name: "cmd", config: cmd("echo hello"), want: "hello\n"},
		{name: "entrypoint", config: func(c *v1.Config) { c.Entrypoint, c.Cmd = append(stay(`echo "$0-$1"`), "zero"), []string{"one"} }, want: "zero-one\n"},
		{name: "args", config: func(c *v1.Config) { c.Entrypoint, c.Cmd = append(stay(`echo "$0-$1"`), "zero"), []string{"one"} }, app: map[string]any{"args": []string{"two words"}}, want: "zero-two words\n"},
		{name: "cmd-over-entrypoint", config: func(c *v1.Config) { c.Entrypoint = []string{"/no/such"} }, app: map[string]any{"cmd": stay("echo $((1+1))")[2]}, want: "2\n"},
		{name: "script-entrypoint", config: func(c *v1.Config) { c.Entrypoint = []string{"/entry.sh", "a"} }, layers: []v1.Layer{layerOf(t, textFile("entry.sh", "#!/bin/sh\necho $0 $1; echo row-end; exec sleep 100000\n", 0o755))}, want: "/entry.sh a\n"},
		{name: "program-by-path", config: func(c *v1.Config) { c.Cmd, c.Env = []string{"own"}, append(c.Env, "PATH=/opt/x:/bin") }, layers: []v1.Layer{layerOf(t, folder("opt/x"), textFile("opt/x/own", "#!/bin/sh\necho found; echo row-end; exec sleep 100000\n", 0o755))}, want: "found\n"},
		{name: "env", config: func(c *v1.Config) { c.Env, c.Cmd = append(c.Env, "A=1", "B=x=y z"), stay(`echo "$A/$B"`) }, app: map[string]any{"env": map[string]any{"A": "2"}}, want: "2/x=y z\n"},
		{name: "user-name", config: as("web", "id -u; id -g; id -G"), layers: []v1.Layer{users}, want: "1234\n1235\n1235 77\n"},
		{name: "user-number", config: as("4321", "id -u; id -g"), layers: []v1.Layer{users}, want: "4321\n0\n"},
		{name: "user-number-known", config: as("1234", "id -u; id -g"), layers: []v1.Layer{users}, want: "1234\n1235\n"},
		{name: "user-pair", config: as("5:6", "id -u; id -g"), layers: []v1.Layer{users}, want: "5\n6\n"},
		{name: "user-and-group-name", config: as("web:adm", "id -u; id -g"), layers: []v1.Layer{users}, want: "1234\n88\n"},
		{name: "user-of-the-app", config: as("web", "id -u"), layers: []v1.Layer{users}, app: map[string]any{"user": "7:7"}, want: "7\n"},
		{name: "home", config: as("web", `echo $HOME`), layers: []v1.Layer{users}, want: "/home/web\n"},
		{name: "home-of-env", config: func(c *v1.Config) { c.Env, c.Cmd = append(c.Env, "HOME=/h"), stay("echo $HOME") }, want: "/h\n"},
		{name: "workdir", config: func(c *v1.Config) { c.WorkingDir, c.Cmd = "/etc", stay("pwd") }, want: "/etc\n"},
		{name: "workdir-is-made", config: func(c *v1.Config) { c.WorkingDir, c.Cmd = "/not/there/yet", stay("pwd") }, want: "/not/there/yet\n"},
		{name: "workdir-default", config: cmd("pwd"), want: "/\n"},
		{name: "volume", config: func(c *v1.Config) {
			c.Volumes, c.Cmd = map[string]struct{}{"/data": {}}, stay("cat /data/seed; echo new > /data/seed && cat /data/seed")
		}, layers: []v1.Layer{layerOf(t, folder("data"), textFile("data/seed", "seeded\n", 0o644))}, want: "seeded\nnew\n"},
		{name: "whiteout", config: cmd("ls /w"), layers: []v1.Layer{layerOf(t, folder("w"), textFile("w/a", "", 0o644), textFile("w/b", "", 0o644)), layerOf(t, textFile("w/.wh.a", "", 0o644))}, want: "b\n"},
		{name: "opaque", config: cmd("ls /w"), layers: []v1.Layer{layerOf(t, folder("w"), textFile("w/a", "", 0o644)), layerOf(t, folder("w"), textFile("w/.wh..wh..opq", "", 0o644), textFile("w/c", "", 0o644))}, want: "c\n"},
		{name: "file-replaces-directory", config: cmd("cat /w"), layers: []v1.Layer{layerOf(t, folder("w"), textFile("w/a", "", 0o644)), layerOf(t, textFile("w", "file\n", 0o644))}, want: "file\n"},
		{name: "first-process", config: cmd("echo $$"), want: "1\n"},
		{name: "stdin-is-empty", config: cmd("cat; echo eof"), want: "eof\n"},
		{name: "umask", config: cmd("umask"), want: "0022\n"},
		{name: "root-is-writable", config: cmd("echo x > /f && cat /f"), want: "x\n"},
		{name: "proc-sys-is-read-only", config: cmd("echo 1 2>/dev/null > /proc/sys/kernel/panic || echo refused"), want: "refused\n"},
		{name: "labels-run-nothing", config: func(c *v1.Config) {
			c.Labels, c.Cmd = map[string]string{"io.containerd.restart": "/bin/sh -c 'touch /tmp/evil'"}, stay("ls /tmp")
		}, want: ""},
		{name: "unknown-user", config: as("nobody-here", "true"), layers: []v1.Layer{users}, fails: true, want: "nobody-here"},
		{name: "missing-program", config: func(c *v1.Config) { c.Cmd = []string{"/no/such/program"} }, fails: true, want: "/no/such/program"},
		{name: "nothing-to-run", config: func(*v1.Config) {}, fails: true, want: "neither entry point nor command"},
		{name: "descriptor-as-workdir", config: func(c *v1.Config) { c.WorkingDir, c.Cmd = "/proc/self/fd/7", stay("true") }, fails: true, want: "working directory"},
	}
	d := startDev(t, "--data-dir", dir, "--image-mirrors", reg.URL())
	for _, r := range rows {
		if err := reg.Push(t.Context(), "conf/"+r.name+":1", derived(t, base, r.config, r.layers...)); err != nil {
			t.Fatal(err)
		}
		app := imageApp("/"+r.name, "conf/"+r.name+":1")
		for k, v := range r.app {
			app[k] = v
		}
		d.define(t, app)
	}
	for _, r := range rows {
		if !r.fails {
			if got := d.logged(t, "/"+r.name); got != r.want {
				t.Errorf("%s: wrote %q, want %q", r.name, got, r.want)
			}
			continue
		}
		eventually(t, time.Minute, r.name+" fails", func() error {
			if why := d.lastFailure(t, "/"+r.name); !strings.Contains(why, r.want) {
				return fmt.Errorf("the last failure is %q, want %q in it", why, r.want)
			}
			return nil
		})
	}
	for _, r := range rows {
		d.must(t, "marathon", "app", "remove", "--no-wait", "/"+r.name)
	}
	if err := d.stop(syscall.SIGTERM); err != nil {
		t.Errorf("end: %v", err)
	}
}

// TestAgentImageFromAPrivateRegistry: the agent's logins are used and never
// shown; without them the reason says what is missing.
func TestAgentImageFromAPrivateRegistry(t *testing.T) {
	beside(t)
	dir := t.TempDir()
	leak.Check(t, leak.Scope{Match: []string{dir}})
	inner := images.Serve(t, "127.0.0.1:0", "busybox:1")
	private := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, ok := r.BasicAuth(); !ok || user != "robot" || password != "canary-word" {
			w.Header().Set("WWW-Authenticate", `Basic realm="private"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	defer private.Close()
	logins := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(logins, []byte(`{"auths":{}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	d := startDev(t, "--data-dir", dir, "--image-credentials", logins)
	app := imageApp("/private", strings.TrimPrefix(private.URL, "http://")+"/library/busybox:1")
	app["cmd"] = stay("echo in")[2]
	d.define(t, app)
	eventually(t, time.Minute, "it fails for want of a login", func() error {
		if why := d.lastFailure(t, "/private"); !strings.Contains(why, "credentials") {
			return fmt.Errorf("the last failure is %q", why)
		}
		return nil
	})
	auth := fmt.Sprintf(`{"auths":{%q:{"username":"robot","password":"canary-word"}}}`, strings.TrimPrefix(private.URL, "http://"))
	if err := os.WriteFile(logins, []byte(auth), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := d.logged(t, "/private"); got != "in\n" {
		t.Errorf("wrote %q", got)
	}
	d.must(t, "marathon", "app", "remove", "/private")
	if err := d.stop(syscall.SIGTERM); err != nil {
		t.Errorf("end: %v", err)
	}
}

// TestAgentImageTransfersThatBreakEndAndRecover: a registry that misbehaves
// fails the task with a reason, and the node goes on.
func TestAgentImageTransfersThatBreakEndAndRecover(t *testing.T) {
	beside(t)
	dir := t.TempDir()
	leak.Check(t, leak.Scope{Match: []string{dir}})
	reg := images.Serve(t, "127.0.0.1:0", "busybox:1")
	d := startDev(t, "--data-dir", dir, "--image-mirrors", reg.URL())
	for _, f := range []struct {
		fault images.Fault
		want  string
	}{
		{images.Fault{CorruptBlobs: true}, "digest"},
		{images.Fault{Status: http.StatusInternalServerError}, "500"},
	} {
		reg.Break(f.fault)
		app := imageApp("/broken", reg.Address()+"/library/busybox:1")
		app["cmd"] = stay("echo in")[2]
		d.define(t, app)
		eventually(t, 2*time.Minute, "it fails", func() error {
			if why := d.lastFailure(t, "/broken"); !strings.Contains(why, f.want) && !strings.Contains(why, "checksum") {
				return fmt.Errorf("with %+v the last failure is %q, want %q in it", f.fault, why, f.want)
			}
			return nil
		})
		d.must(t, "marathon", "app", "remove", "/broken")
	}
	reg.Break(images.Fault{})
	app := imageApp("/mended", reg.Address()+"/library/busybox:1")
	app["cmd"] = stay("echo in")[2]
	d.define(t, app)
	if got := d.logged(t, "/mended"); got != "in\n" {
		t.Errorf("wrote %q", got)
	}
	left, err := os.ReadDir(filepath.Join(dir, "agent", "images", "tmp"))
	if err != nil || len(left) > 0 {
		t.Errorf("left of the broken pulls: %v, %v", left, err)
	}
	nodes, err := d.api.Nodes(t.Context(), client.Query{})
	if err != nil || len(nodes.Items) != 1 {
		t.Fatalf("%+v, %v", nodes, err)
	}
	if out := d.must(t, "node", "images", nodes.Items[0].ID); !strings.Contains(out, "library/busybox:1") || !strings.Contains(out, "in use") {
		t.Errorf("dcos node images says\n%s", out)
	}
	d.must(t, "marathon", "app", "remove", "/mended")
	eventually(t, time.Minute, "nobody uses the image", func() error {
		if out := d.must(t, "node", "images", nodes.Items[0].ID); !strings.Contains(out, "unused") {
			return fmt.Errorf("dcos node images says\n%s", out)
		}
		return nil
	})
	if err := d.stop(syscall.SIGTERM); err != nil {
		t.Errorf("end: %v", err)
	}
}
