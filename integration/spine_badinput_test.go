package integration

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dcos-go/dcos/integration/images"
	"github.com/dcos-go/dcos/integration/leak"
	"github.com/dcos-go/dcos/pkg/client"
)

// logLimit is what the cluster of TestSpineBadInput keeps of a task's output.
const logLimit = 1 << 20

func TestSpineBadInput(t *testing.T) {
	dir := t.TempDir()
	leak.Check(t, leak.Scope{Match: []string{dir}})
	mirror := images.Serve(t, "127.0.0.1:0", "busybox:1")
	d := startDev(t, "--data-dir", dir, "--image-mirrors", "http://"+mirror.Address(), "--task-log-bytes", fmt.Sprint(logLimit))
	d.add(t, `{"id":"/good","cmd":"sleep 1000","cpus":0.1,"mem":32}`)
	good := d.runningTasks(t, "/good", 1)[0]

	t.Run("requests", func(t *testing.T) { d.badRequests(t) })
	t.Run("commands", func(t *testing.T) { d.badCommands(t) })
	t.Run("images", func(t *testing.T) { d.badImages(t, mirror) })
	t.Run("a command that does not exist", func(t *testing.T) {
		d.add(t, `{"id":"/nocommand","args":["/no/such/program"],"cpus":0.1,"mem":32}`)
		d.fails(t, "/nocommand", "/no/such/program")
	})
	t.Run("a port that is taken", func(t *testing.T) {
		d.add(t, `{"id":"/first","cmd":"sleep 1000","cpus":0.1,"mem":32,"requirePorts":true,"portDefinitions":[{"port":31999}]}`)
		d.runningTasks(t, "/first", 1)
		d.add(t, `{"id":"/second","cmd":"sleep 1000","cpus":0.1,"mem":32,"requirePorts":true,"portDefinitions":[{"port":31999}]}`)
		eventually(t, 20*time.Second, "why names the port", func() error {
			if text := d.must(t, "why", "/second"); !strings.Contains(text, "31999") {
				return fmt.Errorf("why says %q", text)
			}
			return nil
		})
	})
	t.Run("a flood of output", func(t *testing.T) {
		d.add(t, `{"id":"/flood","cmd":"head -c 67108864 /dev/zero | tr '\\0' 'x'; echo; echo flooded; sleep 1000","cpus":0.5,"mem":64}`)
		task := d.runningTasks(t, "/flood", 1)[0]
		eventually(t, time.Minute, "the flood is over", func() error {
			if text := d.must(t, "task", "log", task.ID, "--lines", "1"); !strings.Contains(text, "flooded") {
				return errors.New("not yet")
			}
			return nil
		})
		if size := sizeBelow(t, filepath.Join(dir, "agent", "sandboxes")); size > 4*logLimit {
			t.Errorf("sandboxes hold %d bytes after a flood, the limit is %d per stream", size, logLimit)
		}
	})

	after := d.runningTasks(t, "/good", 1)[0]
	if after.ID != good.ID || after.StartedAt != good.StartedAt || after.Version != good.Version {
		t.Errorf("the good app's task was %+v and is %+v", good, after)
	}
	for _, app := range []string{"/nocommand", "/first", "/second", "/flood", "/good"} {
		d.must(t, "marathon", "app", "remove", app)
	}
	d.gone(t)
	if err := d.stop(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}

// add creates an app without waiting for it.
func (d *dev) add(t *testing.T, app string) {
	t.Helper()
	if _, err := d.api.CreateApp(t.Context(), []byte(app)); err != nil {
		t.Fatalf("create %s: %v", app, err)
	}
}

// gone waits until no app is left.
func (d *dev) gone(t *testing.T) {
	t.Helper()
	eventually(t, time.Minute, "all apps are gone", func() error {
		l, err := d.api.Services(t.Context(), client.Query{})
		if err == nil && len(l.Items) > 0 {
			err = fmt.Errorf("%d are left, the first is %s (%s)", len(l.Items), l.Items[0].ID, l.Items[0].State)
		}
		return err
	})
}

// fails waits until an app's last failure names something.
func (d *dev) fails(t *testing.T, app, want string) {
	t.Helper()
	eventually(t, time.Minute, app+" fails and names "+want, func() error {
		a, err := d.api.App(t.Context(), app)
		switch {
		case err != nil:
			return err
		case a.LastTaskFailure == nil:
			return errors.New("no failure yet")
		case !strings.Contains(a.LastTaskFailure.Message, want):
			return fmt.Errorf("the failure is %q", a.LastTaskFailure.Message)
		}
		return nil
	})
}

func (d *dev) badRequests(t *testing.T) {
	token := d.token(t)
	before, err := d.api.Apps(t.Context(), client.AppFilter{})
	if err != nil {
		t.Fatal(err)
	}
	app := func(field string) string { return `{"id":"/bad","cmd":"sleep 1",` + field + `}` }
	for _, tt := range []struct {
		name, method, path, body string
		status                   int
		want                     string
	}{
		{"not JSON", "POST", "/v2/apps", `{"id":`, 400, "Invalid JSON"},
		{"unknown field", "POST", "/v2/apps", app(`"instnaces":1`), 422, "instnaces"},
		{"ill-typed field", "POST", "/v2/apps", app(`"cpus":"many"`), 422, "/cpus"},
		{"negative", "POST", "/v2/apps", app(`"mem":-1`), 422, "/mem"},
		{"not a number", "POST", "/v2/apps", app(`"cpus":NaN`), 400, "Invalid JSON"},
		{"too large a number", "POST", "/v2/apps", app(`"cpus":1e309`), 422, "/cpus"},
		{"absurd instances", "POST", "/v2/apps", app(`"instances":4294967296`), 422, "/instances"},
		{"bad id", "POST", "/v2/apps", `{"id":"/Bad_ID","cmd":"sleep 1"}`, 422, "/id"},
		{"bad constraint", "POST", "/v2/apps", app(`"constraints":[["hostname","NEARBY"]]`), 422, "NEARBY"},
		{"bad pattern", "POST", "/v2/apps", app(`"constraints":[["hostname","LIKE","("]]`), 422, "constraints"},
		{"not supported", "POST", "/v2/apps", app(`"container":{"type":"MESOS","volumes":[{"containerPath":"/x","hostPath":"/","mode":"RW"}]}`), 422, "not supported yet"},
		{"bad image", "POST", "/v2/apps", app(`"container":{"type":"DOCKER","docker":{"image":"UPPER case::"}}`), 422, "image"},
		{"image whose last part is dots", "POST", "/v2/apps", app(`"container":{"type":"DOCKER","docker":{"image":"localhost:5000/..:x"}}`), 422, "image"},
		{"image that climbs", "POST", "/v2/apps", app(`"container":{"type":"DOCKER","docker":{"image":"../../etc/passwd"}}`), 422, "image"},
		{"redirect", "DELETE", "/v2/apps", ``, 404, "/v2/apps"},
		{"exists", "POST", "/v2/apps", `{"id":"/good","cmd":"sleep 2"}`, 409, "already exists"},
		{"body over 1 MiB", "POST", "/v2/apps", app(`"labels":{"a":"` + strings.Repeat("x", 1<<20) + `"}`), 413, ""},
		{"unknown app", "PUT", "/v2/apps/nope/restart", ``, 405, ""},
		{"no such app", "POST", "/v2/apps/nope/restart", ``, 404, "/nope"},
		{"no such package", "POST", "/package/install", `{"packageName":"nope"}`, 400, "nope"},
		{"bad options", "POST", "/package/install", `{"packageName":"redis","options":{"redis":{"port":"x"}}}`, 400, "/redis/port"},
		{"unknown key", "POST", "/package/install", `{"packageNmae":"redis"}`, 400, "packageNmae"},
		{"bad role", "POST", "/dcos/v1/tokens", `{"role":"boss"}`, 422, "boss"},
		{"bad filter", "GET", "/dcos/v1/nodes?filter=cpus", ``, 422, "cpus"},
		{"no route", "GET", "/dcos/v1/nope", ``, 404, "/dcos/v1/nope"},
		{"no method", "PATCH", "/dcos/v1/nodes", ``, 405, "PATCH"},
	} {
		status, body := d.send(t, tt.method, tt.path, token, tt.body)
		if status != tt.status || !strings.Contains(body, tt.want) {
			t.Errorf("%s: %d %.300s, want %d with %q", tt.name, status, body, tt.status, tt.want)
		}
	}
	if status, body := d.send(t, http.MethodPost, "/acs/api/v1/auth/login", "", `{"uid":"admin","password":"wrong password"}`); status != http.StatusUnauthorized || strings.Contains(body, "wrong password") {
		t.Errorf("wrong password: %d %s", status, body)
	}
	after, err := d.api.Apps(t.Context(), client.AppFilter{})
	if err != nil || len(after) != len(before) || after[0].Version != before[0].Version {
		t.Errorf("apps were %d of version %s and are %d, %v", len(before), before[0].Version, len(after), err)
	}
}

func (d *dev) badCommands(t *testing.T) {
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"nodes"}, 2, "node"},
		{[]string{"node", "lst"}, 2, "list"},
		{[]string{"node", "list", "--jsno"}, 2, "jsno"},
		{[]string{"why", "/nope"}, 3, "/nope"},
		{[]string{"package", "install", "nope", "--yes"}, 3, "nope"},
		{[]string{"marathon", "app", "update", "/good", "instances=many"}, 1, "/instances"},
		{[]string{"master", "--api-port", "70000"}, 2, "api_port"},
		{[]string{"dev", "--data-dri", "x"}, 2, "data-dri"},
	} {
		out, errs, code := d.run(t, "", tt.args...)
		if code != tt.code || !strings.Contains(errs, tt.want) {
			t.Errorf("dcos %s: exit code %d, %s%s; want %d with %q", strings.Join(tt.args, " "), code, out, errs, tt.code, tt.want)
		}
	}
	env := d.env
	d.env = append(append([]string{}, env...), "DCOS_URL=http://127.0.0.1:1", "DCOS_ACS_TOKEN=x")
	defer func() { d.env = env }()
	if _, errs, code := d.run(t, "", "node", "list"); code != 7 {
		t.Errorf("a cluster that is not there: exit code %d, %s; want 7", code, errs)
	}
}

func (d *dev) badImages(t *testing.T, mirror *images.Registry) {
	imageApp := func(id, image string) string {
		return fmt.Sprintf(`{"id":%q,"cmd":"sleep 1000","cpus":0.1,"mem":32,"container":{"type":"DOCKER","docker":{"image":%q}}}`, id, image)
	}
	ref := mirror.Address() + "/library/busybox:1"
	d.add(t, imageApp("/unreachable", "127.0.0.1:1/library/busybox:1"))
	d.fails(t, "/unreachable", "127.0.0.1:1")
	d.add(t, imageApp("/wrongdigest", mirror.Address()+"/library/busybox@sha256:"+strings.Repeat("0", 64)))
	d.fails(t, "/wrongdigest", strings.Repeat("0", 12))
	mirror.Break(images.Fault{CorruptBlobs: true})
	d.add(t, imageApp("/corrupt", ref))
	d.fails(t, "/corrupt", "busybox")
	// Nothing half-unpacked is left that a mended registry would trip over.
	mirror.Break(images.Fault{})
	d.runningTasks(t, "/corrupt", 1)
	for _, app := range []string{"/unreachable", "/wrongdigest", "/corrupt"} {
		d.must(t, "marathon", "app", "remove", app)
	}
}

// sizeBelow adds up the files below a directory.
func sizeBelow(t *testing.T, dir string) (size int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Mode().IsRegular() {
			size += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return size
}
