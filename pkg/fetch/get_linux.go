package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// job is one task's fetch.
type job struct {
	plan
	root         *os.Root
	client       *http.Client
	left         int64 // bytes that may still be sent
	leftUnpacked int64
	entries      int
	free         func() error // instead of looking at the disk; nil looks
}

// one brings one artifact and makes of it what was asked for.
func (j *job) one(ctx context.Context, i item) (done, error) {
	if dir := path.Dir(i.Name); dir != "." {
		if err := j.root.MkdirAll(dir, 0o755); err != nil {
			return done{}, err
		}
	}
	f, d, err := j.bring(ctx, i)
	if err != nil {
		return done{}, err
	}
	defer f.Close()
	if want := i.Checksum; want != "" && want != "sha256:"+d.Meta.SHA256 {
		j.drop(i)
		return done{}, fmt.Errorf("%w: it has the checksum sha256:%s, expected %s", dcos.ErrInvalid, d.Meta.SHA256, want)
	}
	kind, method, rest := form(i.Name)
	if kind == plain || i.Executable || !i.Extract {
		return d, j.place(f, i)
	}
	if i.Cached == 0 && i.Fresh == 0 && !isFile(i.URI) { // as under Mesos it stays beside what was in it
		if err := f.Chmod(0o644); err != nil {
			return done{}, err
		}
	}
	return d, j.expand(ctx, f, kind, method, rest, path.Dir(i.Name))
}

// drop removes what has the wrong checksum: nobody shall use it by mistake.
func (j *job) drop(i item) {
	if i.Cached == 0 && i.Fresh == 0 {
		_ = j.root.Remove(i.Name) // the task does not start
	}
}

// place gives a file that was fetched its name and mode in the sandbox. What
// came by way of the cache is copied.
func (j *job) place(f *os.File, i item) error {
	mode := os.FileMode(0o644)
	if i.Executable {
		mode = 0o755
	}
	if i.Cached == 0 && i.Fresh == 0 && !isFile(i.URI) {
		return f.Chmod(mode)
	}
	to, err := j.create(i.Name)
	if err != nil {
		return err
	}
	defer to.Close()
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if _, err := io.Copy(&counted{w: to, left: &j.leftUnpacked, j: j}, f); err != nil {
		return noRoom(err)
	}
	return to.Chmod(mode)
}

// create makes a new file in the sandbox, in the place of what has its name.
func (j *job) create(name string) (*os.File, error) {
	if err := j.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %q cannot be replaced: %w", dcos.ErrInvalid, name, err)
	}
	return j.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
}

func isFile(uri string) bool {
	u, err := dcos.ParseArtifactURI(uri)
	return err == nil && u.Scheme == "file"
}

// bring gives the bytes of an artifact as a file.
func (j *job) bring(ctx context.Context, i item) (*os.File, done, error) {
	u, err := dcos.ParseArtifactURI(i.URI)
	if err != nil {
		return nil, done{}, err
	}
	if u.Scheme == "file" {
		return j.local(u.Path)
	}
	if i.Cached != 0 && i.Checksum != "" && i.Checksum == "sha256:"+i.Meta.SHA256 {
		return j.fromCache(i)
	}
	var to *os.File
	if i.Fresh != 0 {
		to = os.NewFile(uintptr(i.Fresh), "cache")
	} else if to, err = j.create(i.Name); err != nil {
		return nil, done{}, err
	}
	m, err := j.download(ctx, u, to, i)
	if errors.Is(err, errUnchanged) {
		to.Close()
		return j.fromCache(i)
	}
	if err != nil {
		to.Close()
		if i.Fresh == 0 {
			_ = j.root.Remove(i.Name)
		}
		return nil, done{}, err
	}
	_, err = to.Seek(0, io.SeekStart)
	return to, done{Fresh: i.Fresh != 0, Meta: m}, err
}

// fromCache reads what the cache holds, and that it is whole.
func (j *job) fromCache(i item) (*os.File, done, error) {
	f := os.NewFile(uintptr(i.Cached), "cache")
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return nil, done{}, err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != i.Meta.SHA256 {
		return nil, done{}, fmt.Errorf("%w: the cache is damaged: it holds sha256:%s, expected sha256:%s", dcos.ErrUnavailable, got, i.Meta.SHA256)
	}
	_, err := f.Seek(0, io.SeekStart)
	return f, done{Meta: i.Meta}, err
}

// local opens a file of the host below a directory that is allowed, as the user
// that this process is.
func (j *job) local(name string) (*os.File, done, error) {
	for _, dir := range j.Allow {
		rel, err := filepath.Rel(dir, name)
		if err != nil || !filepath.IsLocal(rel) {
			continue
		}
		root, err := os.OpenRoot(dir)
		if err != nil {
			return nil, done{}, localError(name, err)
		}
		defer root.Close()
		f, err := root.OpenFile(rel, os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			return nil, done{}, localError(name, err)
		}
		sum := sha256.New()
		info, err := f.Stat()
		if err == nil && !info.Mode().IsRegular() {
			err = fmt.Errorf("%w: %s is not a file", dcos.ErrInvalid, name)
		}
		if err == nil {
			_, err = io.Copy(&counted{w: sum, left: &j.left, j: j}, f)
		}
		if err == nil {
			_, err = f.Seek(0, io.SeekStart)
		}
		if err != nil {
			f.Close()
			return nil, done{}, err
		}
		return f, done{Meta: meta{SHA256: hex.EncodeToString(sum.Sum(nil))}}, nil
	}
	return nil, done{}, fmt.Errorf("%w: files of this machine are fetched only from the directories of fetch_allow", dcos.ErrDenied)
}

func localError(name string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: there is no file %s on this node", dcos.ErrNotFound, name)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: the task's user may not read %s", dcos.ErrDenied, name)
	}
	return fmt.Errorf("%w: %s: %w", dcos.ErrDenied, name, err) // a link that leads out, above all
}

var (
	errUnchanged = errors.New("the server has nothing newer")
	errAgain     = errors.New("may work another time")
)

// download writes a body to a file, with some tries.
func (j *job) download(ctx context.Context, u *url.URL, to *os.File, i item) (meta, error) {
	pause := 500 * time.Millisecond
	for try := 1; ; try++ {
		m, err := j.once(ctx, u, to, i)
		if err == nil || !errors.Is(err, errAgain) || try == j.Limits.Tries {
			return m, unmark(err, try)
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return meta{}, context.Cause(ctx)
		}
		pause *= 3
	}
}

// again marks what another try may mend.
type again struct{ error }

// Is implements errors.Is.
func (again) Is(target error) bool { return target == errAgain }

// Unwrap implements errors.Unwrap.
func (a again) Unwrap() error { return a.error }

func unmark(err error, tries int) error {
	var a again
	if errors.As(err, &a) {
		return fmt.Errorf("%w (tried %d times)", a.error, tries)
	}
	return err
}

func (j *job) once(ctx context.Context, u *url.URL, to *os.File, i item) (meta, error) {
	if err := errors.Join(to.Truncate(0), seekStart(to)); err != nil {
		return meta{}, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return meta{}, fmt.Errorf("%w: an address that cannot be asked", dcos.ErrInvalid)
	}
	r.Header.Set("User-Agent", "dcos-fetch")
	r.Header.Set("Accept-Encoding", "identity")
	if i.Cached != 0 {
		if i.Meta.ETag != "" {
			r.Header.Set("If-None-Match", i.Meta.ETag)
		} else if i.Meta.Modified != "" {
			r.Header.Set("If-Modified-Since", i.Meta.Modified)
		}
	}
	resp, err := j.client.Do(r)
	if err != nil {
		return meta{}, j.requestError(ctx, err)
	}
	defer resp.Body.Close()
	if err := status(resp, i); err != nil {
		return meta{}, err
	}
	if resp.ContentLength > j.left {
		return meta{}, fmt.Errorf("%w: it is %d bytes, %d are allowed", dcos.ErrExhausted, resp.ContentLength, j.left)
	}
	if err := j.room(max(resp.ContentLength, 0)); err != nil {
		return meta{}, err
	}
	before := j.left
	sum := sha256.New()
	n, err := io.Copy(&counted{w: to, left: &j.left, sum: sum, j: j}, &unstalled{r: resp.Body, body: resp.Body})
	switch {
	case err == nil:
		return meta{URI: i.URI, ETag: resp.Header.Get("ETag"), Modified: resp.Header.Get("Last-Modified"), SHA256: hex.EncodeToString(sum.Sum(nil)), Bytes: n}, nil
	case ctx.Err() != nil:
		return meta{}, context.Cause(ctx)
	case errors.Is(err, dcos.ErrExhausted) || errors.Is(noRoom(err), dcos.ErrExhausted):
		return meta{}, noRoom(err)
	}
	j.left = max(before-n, 0) // what broken tries have sent counts
	return meta{}, again{fmt.Errorf("%w: the transfer broke after %d bytes", dcos.ErrUnavailable, n)}
}

func seekStart(f *os.File) error { _, err := f.Seek(0, io.SeekStart); return err }

func status(resp *http.Response, i item) error {
	switch s := resp.StatusCode; {
	case s == http.StatusOK:
		return nil
	case s == http.StatusNotModified && i.Cached != 0:
		return errUnchanged
	case s == http.StatusNotFound || s == http.StatusGone:
		return fmt.Errorf("%w: the server answers %d: check the address", dcos.ErrNotFound, s)
	case s == http.StatusUnauthorized || s == http.StatusForbidden:
		return fmt.Errorf("%w: the server answers %d: check the address and what is allowed to read it", dcos.ErrDenied, s)
	case s >= 500 || s == http.StatusTooManyRequests || s == http.StatusRequestTimeout:
		return again{fmt.Errorf("%w: the server answers %d", dcos.ErrUnavailable, s)}
	default:
		return fmt.Errorf("%w: the server answers %d", dcos.ErrUnavailable, s)
	}
}

// requestError says what went wrong without the address, which may hold secrets.
func (j *job) requestError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	for _, kind := range kinds {
		if errors.Is(err, kind) {
			return err
		}
	}
	return again{fmt.Errorf("%w: %w", dcos.ErrUnavailable, err)}
}

// newClient makes the client that all items share.
func (j *job) newClient() *http.Client {
	d := &net.Dialer{Timeout: 15 * time.Second, KeepAlive: 15 * time.Second, Control: j.control}
	return &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: d.DialContext, ForceAttemptHTTP2: true,
			TLSHandshakeTimeout: 15 * time.Second, ResponseHeaderTimeout: time.Minute, DisableCompression: true,
			MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			switch {
			case len(via) > j.Limits.Redirects:
				return fmt.Errorf("%w: more than %d redirects", dcos.ErrExhausted, j.Limits.Redirects)
			case r.URL.Scheme != "https" && r.URL.Scheme != "http":
				return fmt.Errorf("%w: redirected to an address of kind %q", dcos.ErrDenied, r.URL.Scheme)
			case via[0].URL.Scheme == "https" && r.URL.Scheme != "https":
				return fmt.Errorf("%w: redirected from https to http", dcos.ErrDenied)
			}
			r.Header.Del("Referer") // it holds the address before
			return nil
		},
	}
}

// control looks at the address that a connection is about to be made to, after
// names were looked up: no fetch reaches a cloud's metadata, or the ports of
// masters and agents.
func (j *job) control(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	ip := to.Addr().Unmap()
	if ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return fmt.Errorf("%w: %s is an address of this machine's network alone", dcos.ErrDenied, ip)
	}
	for _, r := range j.Refuse {
		same := r.Addr().Unmap() == ip || r.Addr().IsLoopback() && (ip.IsLoopback() || ip.IsUnspecified())
		if same && r.Port() == to.Port() {
			return fmt.Errorf("%w: %s is a port of the cluster itself", dcos.ErrDenied, to)
		}
	}
	return nil
}

// unstalled gives a body up that brings nothing for a minute.
type unstalled struct {
	r    io.Reader
	body io.Closer
}

func (u *unstalled) Read(p []byte) (int, error) {
	t := time.AfterFunc(time.Minute, func() { _ = u.body.Close() })
	defer t.Stop()
	return u.r.Read(p)
}

// counted writes within a bound, and looks at the disk now and then.
type counted struct {
	w    io.Writer
	left *int64
	sum  hash.Hash
	j    *job
	look int64
}

func (c *counted) Write(p []byte) (int, error) {
	if *c.left -= int64(len(p)); *c.left < 0 {
		return 0, fmt.Errorf("%w: it is more than the %d bytes that a task may fetch", dcos.ErrExhausted, c.j.Limits.Bytes)
	}
	if c.look -= int64(len(p)); c.look < 0 {
		c.look = 64 << 20
		if err := c.j.room(0); err != nil {
			return 0, err
		}
	}
	if c.sum != nil {
		c.sum.Write(p)
	}
	return c.w.Write(p)
}

// room refuses what would fill the disk.
func (j *job) room(need int64) error {
	if j.free != nil {
		return j.free()
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(sandboxFD, &st); err != nil {
		return err
	}
	if free := int64(st.Bavail) * st.Bsize; free < j.Limits.FreeBytes+need {
		return fmt.Errorf("%w: %d MiB are free on the disk of sandboxes, %d MiB are kept: make room", dcos.ErrExhausted, free>>20, j.Limits.FreeBytes>>20)
	}
	return nil
}

// noRoom gives a full disk its kind.
func noRoom(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("%w: the disk is full: %w", dcos.ErrExhausted, err)
	}
	return err
}
