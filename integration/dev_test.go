package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dcos-go/dcos/pkg/client"
)

// lockedBuffer is written to by a process while the test reads it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write adds to the buffer.
func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String is all that was written.
func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// program is a long-running command that the test ends.
type program struct {
	cmd  *exec.Cmd
	out  *lockedBuffer
	done chan struct{}
	err  error // set before done is closed
}

// start runs a command in a process group of its own, so that a signal can be
// sent as a terminal's Ctrl-C is: to all of it.
func start(t *testing.T, dir string, env []string, name string, args ...string) *program {
	t.Helper()
	p := &program{cmd: exec.Command(name, args...), out: &lockedBuffer{}, done: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env = dir, env
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() { // ends with the process
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		select {
		case <-p.done:
		default:
			_ = p.stop(syscall.SIGKILL) // the test has failed already
		}
		if t.Failed() {
			t.Logf("%s %s wrote:\n%s", name, strings.Join(args, " "), p.out)
		}
	})
	return p
}

// stop signals the whole group and waits for the end.
func (p *program) stop(sig syscall.Signal) error {
	if err := syscall.Kill(-p.cmd.Process.Pid, sig); err != nil {
		return fmt.Errorf("signal: %w", err)
	}
	select {
	case <-p.done:
		return p.err
	case <-time.After(30 * time.Second):
		return errors.New("does not end within 30 s")
	}
}

// says waits until the output matches and gives the groups.
func (p *program) says(t *testing.T, limit time.Duration, pattern string) []string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	var found []string
	eventually(t, limit, "output matches "+pattern, func() error {
		if found = re.FindStringSubmatch(p.out.String()); found != nil {
			return nil
		}
		select {
		case <-p.done:
			if found = re.FindStringSubmatch(p.out.String()); found == nil {
				t.Fatalf("output matches %s: the process has ended (%v) after:\n%s", pattern, p.err, p.out)
			}
			return nil
		default:
			return errors.New("not yet")
		}
	})
	return found
}

// plainEnv is the environment without what is meant for the tests: dcos takes
// every DCOS_ variable for a key of its own.
func plainEnv() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "DCOS_") })
}

// dev is a running `dcos dev` with a command line of its own.
type dev struct {
	*program
	binary string
	env    []string
	url    string
	login  string // the one-time token of the printed link
	api    *client.Client
}

var urlLine = `(http://127\.0\.0\.1:\d+)\S*[#/]login\?token=(\S+)`

// startDev runs `dcos dev` and waits until it says that it is up.
func startDev(t *testing.T, args ...string) *dev {
	t.Helper()
	binary, err := builtBinary()
	if err != nil {
		t.Fatal(err)
	}
	d := &dev{binary: binary, env: []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TMPDIR=" + t.TempDir()}}
	d.program = start(t, "", d.env, binary, append([]string{"dev"}, args...)...)
	found := d.says(t, time.Minute, urlLine)
	d.url, d.login = found[1], found[2]
	d.api = d.admin(t)
	return d
}

// admin is a client with the token that dev gave to the command line.
func (d *dev) admin(t *testing.T) *client.Client {
	t.Helper()
	var token string
	eventually(t, 10*time.Second, "the command line is attached", func() error {
		files, err := filepath.Glob(filepath.Join(d.home(), ".dcos", "clusters", "*", "dcos.toml"))
		if err != nil || len(files) != 1 {
			return fmt.Errorf("%d clusters are known, %w", len(files), errors.Join(err, errors.New("one is expected")))
		}
		b, err := os.ReadFile(files[0])
		if err != nil {
			return err
		}
		m := regexp.MustCompile(`dcos_acs_token\s*=\s*["']([^"']+)`).FindStringSubmatch(string(b))
		if m == nil {
			return errors.New("no token in " + files[0])
		}
		token = m[1]
		return nil
	})
	api, err := client.New(client.Config{URL: d.url, Token: token})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(api.Close)
	return api
}

func (d *dev) home() string {
	for _, v := range d.env {
		if home, ok := strings.CutPrefix(v, "HOME="); ok {
			return home
		}
	}
	return ""
}

// run runs the command line against the dev cluster.
func (d *dev) run(t *testing.T, input string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, d.binary, args...)
	cmd.Env, cmd.Stdin = d.env, strings.NewReader(input)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("dcos %s: %v", strings.Join(args, " "), err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// must is run for commands that have to succeed.
func (d *dev) must(t *testing.T, args ...string) string {
	t.Helper()
	out, errs, code := d.run(t, "", args...)
	if code != 0 {
		t.Fatalf("dcos %s: exit code %d\n%s%s", strings.Join(args, " "), code, out, errs)
	}
	return out
}

// send makes one plain HTTP request.
func (d *dev) send(t *testing.T, method, path, token, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, d.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "token="+token)
	}
	res, err := (&http.Client{Timeout: 30 * time.Second}).Do(r)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return res.StatusCode, string(b)
}

// runningTasks waits until exactly n tasks of an app run.
func (d *dev) runningTasks(t *testing.T, app string, n int) []client.Task {
	t.Helper()
	var tasks []client.Task
	eventually(t, time.Minute, fmt.Sprintf("%d tasks of %s run", n, app), func() error {
		l, err := d.api.Tasks(t.Context(), client.Query{Filter: "app=" + app + ",state=running"})
		if err != nil {
			return err
		}
		if tasks = l.Items; len(tasks) != n {
			return fmt.Errorf("%d run", len(tasks))
		}
		return nil
	})
	return tasks
}

// page reads a web page of a task.
func page(ctx context.Context, port int) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/", port), http.NoBody)
	if err != nil {
		return "", err
	}
	res, err := (&http.Client{Timeout: 5 * time.Second}).Do(r)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	return string(b), err
}
