package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dcos-go/dcos/integration/leak"
	"github.com/dcos-go/dcos/pkg/client"
)

// root is the checkout.
const root = ".."

func TestSpineDevCircle(t *testing.T) {
	dir := t.TempDir()
	leak.Check(t, leak.Scope{Match: []string{dir}})
	d := startDev(t, "--data-dir", dir)

	// A request goes round: command line, API, raft, scheduler, agent, status.
	out, errs, code := d.run(t, `{"id":"/web","cmd":"echo started $MESOS_TASK_ID; sleep 1000","cpus":0.1,"mem":32,"instances":2}`, "marathon", "app", "add")
	if code != 0 {
		t.Fatalf("app add: %d %s%s", code, out, errs)
	}
	tasks := d.runningTasks(t, "/web", 2)
	eventually(t, 20*time.Second, "the log holds what the task wrote", func() error {
		if text := d.must(t, "task", "log", tasks[0].ID); !strings.Contains(text, "started "+tasks[0].ID) {
			return fmt.Errorf("log is %q", text)
		}
		return nil
	})
	d.must(t, "marathon", "app", "update", "/web", "instances=3")
	d.runningTasks(t, "/web", 3)

	// What cannot run says why.
	if _, errs, code := d.run(t, `{"id":"/giant","cmd":"sleep 1","cpus":1000,"mem":32}`, "marathon", "app", "add", "--no-wait"); code != 0 {
		t.Fatalf("app add: %d %s", code, errs)
	}
	eventually(t, 20*time.Second, "why names the missing cpus", func() error {
		if text := d.must(t, "why", "/giant"); !strings.Contains(text, "1000 cpus") {
			return fmt.Errorf("why says %q", text)
		}
		return nil
	})

	// The data directory is used by one process only.
	cmd := exec.CommandContext(t.Context(), d.binary, "dev", "--data-dir", dir)
	cmd.Env = d.env
	second, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(second), "process "+strconv.Itoa(d.cmd.Process.Pid)) {
		t.Errorf("second start: %v %s, want a refusal with the pid %d", err, second, d.cmd.Process.Pid)
	}

	// Away again, and a clean end.
	d.must(t, "marathon", "app", "remove", "/web")
	d.must(t, "marathon", "app", "remove", "/giant")
	d.runningTasks(t, "/web", 0)
	if err := d.stop(syscall.SIGTERM); err != nil {
		t.Errorf("end: %v", err)
	}
}

func TestSpineDevEndsWithAllItsTasks(t *testing.T) {
	d := startDev(t, "--with", "hello-world")
	tasks := d.runningTasks(t, "/hello-world", 1)
	eventually(t, 20*time.Second, "hello-world answers", func() error {
		text, err := page(t.Context(), tasks[0].Ports[0])
		if err == nil && !strings.Contains(text, tasks[0].ID) {
			err = fmt.Errorf("the page says %q", text)
		}
		return err
	})
	if err := d.stop(syscall.SIGINT); err != nil {
		t.Errorf("Ctrl-C: %v", err)
	}
	if _, err := page(t.Context(), tasks[0].Ports[0]); err == nil {
		t.Error("hello-world still answers")
	}
	left, err := filepath.Glob(filepath.Join(d.home(), ".dcos", "clusters", "*"))
	if err != nil || len(left) != 0 {
		t.Errorf("the command line still knows %v, %v", left, err)
	}
	for _, v := range d.env {
		if tmp, ok := strings.CutPrefix(v, "TMPDIR="); ok {
			if entries, err := os.ReadDir(tmp); err != nil || len(entries) != 0 {
				t.Errorf("left in %s: %v, %v", tmp, entries, err)
			}
		}
	}
}

func TestSpineDevWithoutRootSaysWhatIsNotEnforced(t *testing.T) {
	binary, err := builtBinary()
	if err != nil {
		t.Fatal(err)
	}
	const nobody = 65534
	home, err := os.MkdirTemp("", "dcos-nobody-") //nolint:usetesting // t.TempDir is below a directory of root alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(home) })
	if err := os.Chown(home, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	// The user needs a binary of their own: the tests' copy is root's alone.
	content, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	binary = filepath.Join(home, "dcos")
	if err := os.WriteFile(binary, content, 0o755); err != nil {
		t.Fatal(err)
	}
	d := &dev{binary: binary, env: []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + home}}
	d.program = start(t, home, d.env, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", binary, "dev", "--with", "hello-world")
	found := d.says(t, time.Minute, urlLine)
	d.url = found[1]
	d.api = d.admin(t)
	d.says(t, 10*time.Second, `(?i)without root`)
	tasks := d.runningTasks(t, "/hello-world", 1)
	eventually(t, 20*time.Second, "hello-world answers", func() error {
		_, err := page(t.Context(), tasks[0].Ports[0])
		return err
	})
	nodes, err := d.api.Nodes(t.Context(), client.Query{})
	if err != nil || len(nodes.Items) != 1 || nodes.Items[0].Isolation != "process" || len(nodes.Items[0].NotEnforced) == 0 {
		t.Errorf("nodes are %+v, %v", nodes.Items, err)
	}
	if err := d.stop(syscall.SIGINT); err != nil {
		t.Errorf("Ctrl-C: %v", err)
	}
	if _, err := page(t.Context(), tasks[0].Ports[0]); err == nil {
		t.Error("hello-world still answers")
	}
}

func TestSpineMakeUpReachesHelloWorld(t *testing.T) {
	home := t.TempDir()
	env := append(plainEnv(), "DCOS_DIR="+filepath.Join(home, ".dcos"))
	up := start(t, root, env, "make", "up")
	found := up.says(t, 10*time.Minute, `hello-world answers at (http://127\.0\.0\.1:(\d+))`)
	port, err := strconv.Atoi(found[2])
	if err != nil {
		t.Fatal(err)
	}
	text, err := page(t.Context(), port)
	if err != nil || !strings.Contains(text, "Hello, world") {
		t.Errorf("hello-world says %q, %v", text, err)
	}
	up.says(t, time.Second, urlLine)
	_ = up.stop(syscall.SIGINT) // make tells of the interrupt by its exit code
	if _, err := page(t.Context(), port); err == nil {
		t.Error("hello-world still answers after Ctrl-C")
	}
}

var codeBlock = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")

func TestSpineReadmeTourRunsAsWritten(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, m := range codeBlock.FindAllStringSubmatch(string(readme), -1) {
		blocks = append(blocks, m[1])
	}
	if len(blocks) < 4 || strings.TrimSpace(blocks[0]) != "make up" {
		t.Fatalf("the tour has %d blocks, the first is %q", len(blocks), blocks[0])
	}
	home := t.TempDir()
	env := append(plainEnv(), "DCOS_DIR="+filepath.Join(home, ".dcos"))
	up := start(t, root, env, "make", "up")
	up.says(t, 10*time.Minute, `hello-world answers at (http://127\.0\.0\.1:(\d+))`)

	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-euxo", "pipefail", "-c", strings.Join(blocks[1:], "\n"))
	cmd.Dir, cmd.Env = root, env
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("the tour: %v\n%s", err, out)
	}
	for _, want := range []string{"hello-world", "greeter.instance-", "clock.instance-", "1000 cpus"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the tour's output lacks %q:\n%s", want, out)
		}
	}
	_ = up.stop(syscall.SIGINT)
}

func TestSpineRouteTable(t *testing.T) {
	d := startDev(t)
	status, body := d.send(t, http.MethodGet, "/dcos/v1/meta/routes", d.token(t), "")
	var routes []client.Route
	if err := json.Unmarshal([]byte(body), &routes); err != nil || status != http.StatusOK || len(routes) < 60 {
		t.Fatalf("routes: %d, %d of them, %v", status, len(routes), err)
	}
	const password = "correct horse battery"
	logins := map[string]string{}
	for _, name := range []string{"nobody", "reader"} {
		u := client.User{ID: name, Password: password}
		if name == "reader" {
			u.Grants = []client.Grant{{Path: "/", Actions: []string{"read"}}}
		}
		if _, err := d.api.CreateUser(t.Context(), u); err != nil {
			t.Fatal(err)
		}
		token, err := d.api.As("").Login(t.Context(), name, password)
		if err != nil {
			t.Fatal(err)
		}
		logins[name] = token
	}
	wildcard := regexp.MustCompile(`\{[^}]*\}`)
	for _, r := range routes {
		path := wildcard.ReplaceAllString(strings.TrimSuffix(r.Path, "{$}"), "x")
		method := r.Method
		if method == "" {
			method = http.MethodGet
		}
		want := func(who, token string, ok func(int) bool) {
			if status, body := d.send(t, method, path, token, ""); !ok(status) {
				t.Errorf("%s %s (%s %s %s) as %s: %d %.200s", method, path, r.Access, r.Action, r.Permission, who, status, body)
			}
		}
		is := func(code int) func(int) bool { return func(got int) bool { return got == code } }
		if r.Access == "public" {
			want("nobody at all", "", func(got int) bool { return got != http.StatusForbidden })
			continue
		}
		want("nobody at all", "", is(http.StatusUnauthorized))
		want("a forger", "not.a.token", is(http.StatusUnauthorized))
		if r.Access != "permitted" {
			continue
		}
		want("a user without grants", logins["nobody"], is(http.StatusForbidden))
		if r.Action == "write" {
			want("a reader", logins["reader"], is(http.StatusForbidden))
		}
	}
	if err := d.stop(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}

// token is the admin's.
func (d *dev) token(t *testing.T) string {
	t.Helper()
	token, err := d.api.As("").LoginOnce(t.Context(), d.login)
	if err != nil {
		t.Fatal(err)
	}
	d.login = ""
	return token
}
