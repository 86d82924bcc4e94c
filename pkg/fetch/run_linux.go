package fetch

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// Fetcher fetches for the tasks of a node. Its methods may be called from any
// goroutine.
type Fetcher struct {
	conf  Config
	cache *cache
}

// New opens the cache, makes it if need be, and deletes what fetches that were
// cut short have left in it.
func New(c Config) (*Fetcher, error) {
	c.Limits = c.Limits.orDefault()
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Binary == "" {
		c.Binary = "/proc/self/exe"
	}
	for _, dir := range c.Allow {
		if !filepath.IsAbs(dir) {
			return nil, fmt.Errorf("fetch: %w: directory %q of fetch_allow is not absolute", dcos.ErrInvalid, dir)
		}
	}
	cache, err := openCache(c.Dir, c.CacheBytes)
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	return &Fetcher{conf: c, cache: cache}, nil
}

// Fetch brings all artifacts into a sandbox, one after the other, as the owner
// of the sandbox. It returns when they are there, or at the first that cannot
// be had; what came before it stays. When ctx ends nothing of it runs any more.
func (f *Fetcher) Fetch(ctx context.Context, sandbox string, all []dcos.Artifact) error {
	p := plan{Allow: f.conf.Allow, Limits: f.conf.Limits}
	if f.conf.Refuse != nil {
		p.Refuse = f.conf.Refuse()
	}
	dir, err := os.OpenFile(sandbox, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return fmt.Errorf("fetch: open the sandbox: %w", err)
	}
	defer dir.Close()
	files := []*os.File{dir}
	var seats []*seat
	unlock, err := f.cache.lock(ctx, all)
	if err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	defer unlock()
	defer func() {
		for _, s := range seats {
			s.leave()
		}
	}()
	for _, a := range all {
		i := item{Artifact: a}
		if i.Name, err = target(a); err != nil {
			return err
		}
		s := &seat{}
		if a.Cache && !isFile(a.URI) {
			if s, err = f.cache.seat(a.URI); err != nil {
				return fmt.Errorf("fetch: cache: %w", err)
			}
			if s.old != nil {
				files = append(files, s.old)
				i.Cached, i.Meta = sandboxFD+len(files)-1, s.meta
			}
			files = append(files, s.fresh)
			i.Fresh = sandboxFD + len(files) - 1
		}
		seats = append(seats, s)
		p.Items = append(p.Items, i)
	}
	o, err := f.run(ctx, dir, p, files)
	for n, d := range o.Items { // also after an error: what came is whole
		if n < len(seats) && seats[n].fresh != nil {
			seats[n].settle(d)
		}
	}
	if err != nil {
		return err
	}
	return f.cache.trim()
}

// run starts the process that fetches, and waits for its end.
func (f *Fetcher) run(ctx context.Context, dir *os.File, p plan, files []*os.File) (outcome, error) {
	var o outcome
	text, err := json.Marshal(p)
	if err != nil {
		return o, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return o, fmt.Errorf("fetch: %w", err)
	}
	cmd := exec.CommandContext(ctx, f.conf.Binary, childWord)
	cmd.Args[0] = "dcos"
	cmd.Dir, cmd.Env, cmd.ExtraFiles = "/", environment(), files
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: st.Uid, Gid: st.Gid}
	}
	var answer, noise bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(text), &limited{w: &answer, left: maxPlan}, &limited{w: &noise, left: 4 << 10}
	// The signal at this process's death is tied to the thread that starts it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err = cmd.Run()
	if ctx.Err() != nil {
		return o, fmt.Errorf("fetch: %w", context.Cause(ctx))
	}
	if err != nil {
		return o, fmt.Errorf("fetch: %w: the fetching process ended: %w: %s", dcos.ErrUnavailable, err, strings.ToValidUTF8(noise.String(), "?"))
	}
	if err := json.Unmarshal(answer.Bytes(), &o); err != nil {
		return o, fmt.Errorf("fetch: %w: the fetching process has no answer", dcos.ErrUnavailable)
	}
	if o.Error == "" {
		return o, nil
	}
	return o, told{o.Error, kinds[o.Kind]}
}

// told is an error of the other process, with its kind.
type told struct {
	text string
	kind error
}

func (t told) Error() string { return t.text }
func (t told) Unwrap() error { return t.kind }

// environment is what the fetching process needs of ours: the proxies, and
// where certificates are.
func environment() []string {
	var env []string
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR", "GODEBUG"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// limited drops what is too much.
type limited struct {
	w    io.Writer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	n := min(len(p), l.left)
	l.left -= n
	if _, err := l.w.Write(p[:n]); err != nil {
		return 0, err
	}
	return len(p), nil
}
