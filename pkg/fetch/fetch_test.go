package fetch

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/dcos-go/dcos/pkg/dcos"
)

func TestMain(m *testing.M) {
	Init()
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "the tests of this package fetch as another user: run them as root")
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// nobody is whom the sandboxes belong to.
const nobody = 65534

func sandbox(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fetch-") //nolint:usetesting // another user must reach it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := errors.Join(os.Chmod(dir, 0o700), os.Chown(dir, nobody, nobody)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func fetcher(t testing.TB, c Config) *Fetcher {
	t.Helper()
	if c.Dir == "" {
		c.Dir = t.TempDir()
	}
	if c.CacheBytes == 0 {
		c.CacheBytes = 1 << 30
	}
	f, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// entry is one member of an archive under test.
type entry struct {
	name, body string
	mode       int64
	kind       byte
	link       string
}

func tarOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: e.mode, Typeflag: e.kind, Linkname: e.link, Size: int64(len(e.body))}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zipOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate}
		mode := fs.FileMode(0o644)
		if e.mode != 0 {
			mode = fs.FileMode(e.mode)
		}
		body := e.body
		if e.kind == tar.TypeSymlink {
			mode, body = fs.ModeSymlink|0o777, e.link
		}
		h.SetMode(mode)
		f, err := w.CreateHeader(h)
		if err == nil {
			_, err = io.WriteString(f, body)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func packed(t testing.TB, method string, text []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	var err error
	switch method {
	case "gz":
		w = gzip.NewWriter(&b)
	case "xz":
		w, err = xz.NewWriter(&b)
	case "zst":
		w, err = zstd.NewWriter(&b)
	}
	if err == nil {
		_, err = w.Write(text)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// files serves bytes by path and counts who asks.
type files struct {
	*httptest.Server
	asked atomic.Int64
}

func serve(t testing.TB, all map[string][]byte) *files {
	t.Helper()
	f := &files{}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.asked.Add(1)
		b, ok := all[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		tag := fmt.Sprintf(`"%x"`, sha256.Sum256(b))
		w.Header().Set("ETag", tag)
		if r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = w.Write(b)
	}))
	t.Cleanup(f.Close)
	return f
}

// tree lists a sandbox: mode, path, and what is in files.
func tree(t testing.TB, dir string) string {
	t.Helper()
	var lines []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		info, err := d.Info()
		if err != nil {
			return err
		}
		line := fmt.Sprintf("%v %s", info.Mode(), rel)
		if info.Mode().IsRegular() && info.Size() < 100 {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += " " + string(text)
		}
		lines = append(lines, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func TestEveryFormOfArchiveIsUnpackedAsTheOwnerOfTheSandbox(t *testing.T) {
	content := []entry{{name: "bin/", kind: tar.TypeDir, mode: 0o755}, {name: "bin/run", body: "hello", mode: 0o755}, {name: "link", kind: tar.TypeSymlink, link: "bin/run"}}
	plainTar := tarOf(t, content...)
	zipped := zipOf(t, content[1], content[2])
	srv := serve(t, map[string][]byte{
		"/a.tar": plainTar, "/a.tar.gz": packed(t, "gz", plainTar), "/a.tgz": packed(t, "gz", plainTar), "/a.tar.xz": packed(t, "xz", plainTar),
		"/a.txz": packed(t, "xz", plainTar), "/a.tar.zst": packed(t, "zst", plainTar), "/a.zip": zipped,
		"/f.gz": packed(t, "gz", []byte("hello")), "/f.xz": packed(t, "xz", []byte("hello")), "/f.zst": packed(t, "zst", []byte("hello")),
	})
	unpacked := "-rwxr-xr-x bin/run hello\nLrwxrwxrwx link\ndrwxr-xr-x bin"
	f := fetcher(t, Config{})
	for _, row := range []struct{ name, want string }{
		{"a.tar", unpacked},
		{"a.tar.gz", unpacked},
		{"a.tgz", unpacked},
		{"a.tar.xz", unpacked},
		{"a.txz", unpacked},
		{"a.tar.zst", unpacked},
		{"a.zip", unpacked},
		{"f.gz", "-rw-r--r-- f hello"},
		{"f.xz", "-rw-r--r-- f hello"},
		{"f.zst", "-rw-r--r-- f hello"},
	} {
		dir := sandbox(t)
		if err := f.Fetch(t.Context(), dir, []dcos.Artifact{{URI: srv.URL + "/" + row.name + "?token=x", Extract: true}}); err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		if err := os.Remove(filepath.Join(dir, row.name)); err != nil {
			t.Errorf("%s: the archive is not beside what was in it: %v", row.name, err)
		}
		if diff := cmp.Diff(row.want, tree(t, dir)); diff != "" {
			t.Errorf("%s:\n%s", row.name, diff)
		}
		owned(t, dir)
	}
}

// owned checks that everything is the task's user's.
func owned(t testing.TB, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if uid := uidOf(t, path); uid != nobody {
			t.Errorf("%s belongs to %d", path, uid)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestNamesModesAndChecksumsAreAsAskedFor(t *testing.T) {
	inner := tarOf(t, entry{name: "x", body: "1"})
	srv := serve(t, map[string][]byte{"/tool": []byte("#!"), "/a.tar": inner, "/": nil, "/stdout": []byte("x")})
	sum := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte("#!")))
	f := fetcher(t, Config{})
	for _, row := range []struct {
		name string
		a    dcos.Artifact
		want string // of the tree, or of the error
		kind error
	}{
		{"plain", dcos.Artifact{URI: srv.URL + "/tool", Extract: true}, "-rw-r--r-- tool #!", nil},
		{"executable", dcos.Artifact{URI: srv.URL + "/tool", Executable: true}, "-rwxr-xr-x tool #!", nil},
		{"destPath in a directory", dcos.Artifact{URI: srv.URL + "/tool", Dest: "a/b/t"}, "-rw-r--r-- a/b/t #!\ndrwxr-xr-x a\ndrwxr-xr-x a/b", nil},
		{"checksum", dcos.Artifact{URI: srv.URL + "/tool", Checksum: sum}, "-rw-r--r-- tool #!", nil},
		{"wrong checksum", dcos.Artifact{URI: srv.URL + "/tool", Checksum: "sha256:" + strings.Repeat("0", 64)}, "expected sha256:000", dcos.ErrInvalid},
		{"executable is not unpacked", dcos.Artifact{URI: srv.URL + "/a.tar", Extract: true, Executable: true}, "-rwxr-xr-x a.tar", nil},
		{"extract false", dcos.Artifact{URI: srv.URL + "/a.tar"}, "-rw-r--r-- a.tar", nil},
		{"no name", dcos.Artifact{URI: srv.URL + "/"}, "no file name", dcos.ErrInvalid},
		{"not there", dcos.Artifact{URI: srv.URL + "/none?secret=canary"}, "404", dcos.ErrNotFound},
		{"traversal in destPath", dcos.Artifact{URI: srv.URL + "/tool", Dest: "../tool"}, "leads out", dcos.ErrInvalid},
		{"traversal in the address", dcos.Artifact{URI: srv.URL + "/%2e%2e"}, "leads out", dcos.ErrInvalid},
		{"the log", dcos.Artifact{URI: srv.URL + "/stdout"}, "task's log", dcos.ErrInvalid},
		{"a segment of the log", dcos.Artifact{URI: srv.URL + "/tool", Dest: "stderr.12"}, "task's log", dcos.ErrInvalid},
		{"nobody listens", dcos.Artifact{URI: "http://user:canary@127.0.0.1:1/x"}, "refused", dcos.ErrUnavailable},
		{"another kind", dcos.Artifact{URI: "git://host/repo"}, `"git" are not fetched`, dcos.ErrInvalid},
	} {
		dir := sandbox(t)
		f.conf.Limits.Tries = 1
		err := f.Fetch(t.Context(), dir, []dcos.Artifact{row.a})
		if row.kind != nil {
			if !errors.Is(err, row.kind) || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "canary") {
				t.Errorf("%s: %v, want %v with %q", row.name, err, row.kind, row.want)
			}
			if left := tree(t, dir); left != "" {
				t.Errorf("%s: left %s", row.name, left)
			}
			continue
		}
		if got, _, _ := strings.Cut(tree(t, dir), "\x00"); err != nil || !strings.HasPrefix(got, row.want) {
			t.Errorf("%s: %q, %v, want %q", row.name, got, err, row.want)
		}
	}
}

// 14: zip-slip and link tricks.
func TestArchivesCannotReachOutOfTheSandbox(t *testing.T) {
	outside := t.TempDir()
	if err := os.Chmod(outside, 0o777); err != nil {
		t.Fatal(err)
	}
	canary := filepath.Join(outside, "canary")
	if err := os.WriteFile(canary, []byte("alive"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(canary, 0o666); err != nil {
		t.Fatal(err)
	}
	up := strings.Repeat("../", 12)
	for n, entries := range [][]entry{
		{{name: up + canary[1:], body: "dead"}},
		{{name: canary, body: "dead"}},
		{{name: "a/../../x", body: "dead"}},
		{{name: `..\..\x`, body: "dead"}},
		{{name: "d", kind: tar.TypeSymlink, link: outside}, {name: "d/canary", body: "dead"}},
		{{name: "d", kind: tar.TypeSymlink, link: up + outside[1:]}, {name: "d/canary", body: "dead"}},
		{{name: "a/", kind: tar.TypeDir}, {name: "a/d", kind: tar.TypeSymlink, link: "../.."}, {name: "a/d/x", body: "dead"}},
		{{name: "a", kind: tar.TypeSymlink, link: "."}, {name: "a/b", kind: tar.TypeSymlink, link: ".."}, {name: "b/x", body: "dead"}},
		{{name: "h", kind: tar.TypeLink, link: canary}, {name: "h", body: "dead"}},
		{{name: "h", kind: tar.TypeLink, link: up + canary[1:]}},
		{{name: "fifo", kind: tar.TypeFifo}},
		{{name: "disk", kind: tar.TypeBlock}},
		{{name: "stdout", body: "dead"}},
		{{name: ".stderr.index", body: "dead"}},
		{{name: strings.Repeat("d/", 200) + "f", body: "deep"}},
	} {
		for _, form := range []string{"tar", "zip"} {
			if form == "zip" && slices.ContainsFunc(entries, func(e entry) bool { return e.kind != 0 && e.kind != tar.TypeSymlink }) {
				continue
			}
			b := tarOf(t, entries...)
			if form == "zip" {
				b = zipOf(t, entries...)
			}
			srv := serve(t, map[string][]byte{"/a." + form: b})
			parent := sandbox(t)
			dir := filepath.Join(parent, "box")
			if err := errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, nobody, nobody)); err != nil {
				t.Fatal(err)
			}
			err := fetcher(t, Config{}).Fetch(t.Context(), dir, []dcos.Artifact{{URI: srv.URL + "/a." + form, Extract: true}})
			if !errors.Is(err, dcos.ErrInvalid) {
				t.Errorf("%s %d: %v", form, n, err)
			}
			if text, err := os.ReadFile(canary); err != nil || string(text) != "alive" {
				t.Fatalf("%s %d reached outside: %q, %v", form, n, text, err)
			}
			if left, _ := os.ReadDir(parent); len(left) != 1 {
				t.Errorf("%s %d left %v beside the sandbox", form, n, left)
			}
		}
	}
	// What is set on a file is taken off: setuid, setgid, sticky.
	srv := serve(t, map[string][]byte{"/a.tar": tarOf(t, entry{name: "su", body: "x", mode: 0o6755})})
	dir := sandbox(t)
	if err := fetcher(t, Config{}).Fetch(t.Context(), dir, []dcos.Artifact{{URI: srv.URL + "/a.tar", Extract: true}}); err != nil || !strings.Contains(tree(t, dir), "-rwxr-xr-x su") {
		t.Errorf("%v, %s", err, tree(t, dir))
	}
}

// 16: bombs.
func TestBombsEndAtTheirBounds(t *testing.T) {
	zeros := make([]byte, 30<<20)
	bomb := packed(t, "gz", zeros)
	many := make([]entry, 2000)
	for i := range many {
		many[i] = entry{name: fmt.Sprint("f", i)}
	}
	srv := serve(t, map[string][]byte{"/b.gz": bomb, "/b.zst": packed(t, "zst", zeros), "/many.tar": tarOf(t, many...), "/big": make([]byte, 2<<20)})
	for _, row := range []struct {
		name, want string
		limits     Limits
	}{
		{"b.gz", "as large as packed", Limits{GrowBytes: 1 << 20}},
		{"b.zst", "as large as packed", Limits{GrowBytes: 1 << 20}},
		{"b.gz", "more than the", Limits{Bytes: 10 << 20}},
		{"many.tar", "more than 1000 files", Limits{Entries: 1000}},
		{"big", "more than the", Limits{Bytes: 1 << 20}},
		{"big", "are kept", Limits{FreeBytes: 1 << 60}},
	} {
		err := fetcher(t, Config{Limits: row.limits}).Fetch(t.Context(), sandbox(t), []dcos.Artifact{{URI: srv.URL + "/" + row.name, Extract: true}})
		if !errors.Is(err, dcos.ErrExhausted) || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
	}
}

func TestServersThatMisbehaveAreBounded(t *testing.T) {
	var tries atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop", http.StatusFound) })
	mux.HandleFunc("/file", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
	})
	mux.HandleFunc("/meta", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://169.254.169.254/latest", http.StatusFound)
	})
	mux.HandleFunc("/again", func(w http.ResponseWriter, _ *http.Request) {
		if tries.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "third")
	})
	mux.HandleFunc("/cut", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "half")
		panic(http.ErrAbortHandler)
	})
	mux.HandleFunc("/hang", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	srv := httptest.NewServer(mux)
	defer srv.Close()
	for _, row := range []struct {
		name, want string
		kind       error
		limits     Limits
	}{
		{"/loop", "redirects", dcos.ErrExhausted, Limits{}},
		{"/file", `kind "file"`, dcos.ErrDenied, Limits{}},
		{"/meta", "169.254.169.254", dcos.ErrDenied, Limits{}},
		{"/again", "", nil, Limits{}},
		{"/cut", "tried 2 times", dcos.ErrUnavailable, Limits{Tries: 2}},
		{"/hang", "not done after", dcos.ErrExhausted, Limits{Time: 50 * time.Millisecond}},
	} {
		dir := sandbox(t)
		err := fetcher(t, Config{Limits: row.limits}).Fetch(t.Context(), dir, []dcos.Artifact{{URI: srv.URL + row.name}})
		if row.kind == nil {
			if err != nil || tree(t, dir) != "-rw-r--r-- again third" {
				t.Errorf("%s: %v, %s", row.name, err, tree(t, dir))
			}
		} else if !errors.Is(err, row.kind) || !strings.Contains(err.Error(), row.want) || tree(t, dir) != "" {
			t.Errorf("%s: %v, want %v with %q; left %q", row.name, err, row.kind, row.want, tree(t, dir))
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := fetcher(t, Config{}).Fetch(ctx, sandbox(t), []dcos.Artifact{{URI: srv.URL + "/hang"}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a fetch that is given up: %v", err)
	}
}

// 19: the fetcher used as privilege.
func TestFetchReadsAndWritesAsTheTaskAndNotBeyondWhatIsAllowed(t *testing.T) {
	dir, err := os.MkdirTemp("", "allowed-") //nolint:usetesting // another user must reach it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	write := func(name, text string, mode fs.FileMode) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write("open", "yes", 0o644)
	write("secret", "root's", 0o600)
	if err := errors.Join(os.Symlink("/etc/hostname", filepath.Join(dir, "out")), os.Symlink("open", filepath.Join(dir, "in"))); err != nil {
		t.Fatal(err)
	}
	srv := serve(t, map[string][]byte{"/x": nil})
	port := netip.MustParseAddrPort(srv.Listener.Addr().String())
	f := fetcher(t, Config{Allow: []string{dir}, Limits: Limits{Tries: 1}, Refuse: func() []netip.AddrPort { return []netip.AddrPort{port} }})
	for _, row := range []struct {
		uri, want string
		kind      error
	}{
		{"file://" + dir + "/open", "-rw-r--r-- open yes", nil},
		{dir + "/in", "-rw-r--r-- in yes", nil},
		{"file://" + dir + "/secret", "may not read", dcos.ErrDenied},
		{"file://" + dir + "/out", "escapes", dcos.ErrDenied},
		{"file://" + dir + "/none", "no file", dcos.ErrNotFound},
		{"file:///etc/passwd", "fetch_allow", dcos.ErrDenied},
		{"file://" + dir + "/../../etc/passwd", "fetch_allow", dcos.ErrDenied},
		{srv.URL + "/x", "port of the cluster", dcos.ErrDenied},
		{strings.Replace(srv.URL, "127.0.0.1", "localhost", 1) + "/x", "port of the cluster", dcos.ErrDenied},
		{strings.Replace(srv.URL, "127.0.0.1", "[::ffff:127.0.0.1]", 1) + "/x", "port of the cluster", dcos.ErrDenied},
	} {
		box := sandbox(t)
		err := f.Fetch(t.Context(), box, []dcos.Artifact{{URI: row.uri}})
		if row.kind == nil {
			if err != nil || tree(t, box) != row.want {
				t.Errorf("%s: %v, %q", row.uri, err, tree(t, box))
			}
			owned(t, box)
		} else if !errors.Is(err, row.kind) || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %v with %q", row.uri, err, row.kind, row.want)
		}
	}
}

func TestCacheAsksAgainButSendsOnlyWhatChanged(t *testing.T) {
	content := map[string][]byte{"/a.tar": tarOf(t, entry{name: "v", body: "one"}), "/b": []byte("bbb")}
	var sent atomic.Int64
	inner := serve(t, content)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		inner.Config.Handler.ServeHTTP(rec, r)
		sent.Add(int64(rec.Body.Len()))
		w.Header().Set("ETag", rec.Header().Get("ETag"))
		w.WriteHeader(rec.Code)
		_, _ = w.Write(rec.Body.Bytes())
	}))
	defer srv.Close()
	f := fetcher(t, Config{})
	get := func(a ...dcos.Artifact) string {
		t.Helper()
		dir := sandbox(t)
		if err := f.Fetch(t.Context(), dir, a); err != nil {
			t.Fatal(err)
		}
		owned(t, dir)
		return tree(t, dir)
	}
	a := dcos.Artifact{URI: srv.URL + "/a.tar", Extract: true, Cache: true}
	b := dcos.Artifact{URI: srv.URL + "/b", Executable: true, Cache: true}
	want := "-rw-r--r-- v one\n-rwxr-xr-x b bbb"
	if got := get(a, b); got != want {
		t.Errorf("first: %q", got)
	}
	once := sent.Load()
	f = fetcher(t, Config{Dir: f.conf.Dir}) // another life of the agent
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if got := get(a, b); got != want {
				t.Errorf("from the cache: %q", got)
			}
		})
	}
	all.Wait()
	if sent.Load() != once {
		t.Errorf("%d bytes were sent, %d the first time", sent.Load(), once)
	}
	content["/a.tar"] = tarOf(t, entry{name: "v", body: "two"})
	if got := get(a); got != "-rw-r--r-- v two" {
		t.Errorf("after it changed: %q", got)
	}
	// With a checksum nobody needs to be asked.
	asked := inner.asked.Load()
	b.Checksum = fmt.Sprintf("sha256:%x", sha256.Sum256(content["/b"]))
	if got := get(b); got != "-rwxr-xr-x b bbb" || inner.asked.Load() != asked {
		t.Errorf("by its checksum: %q, %d requests", got, inner.asked.Load()-asked)
	}
	f.cache.bytes = 100
	if got := get(b); got != "-rwxr-xr-x b bbb" {
		t.Error(got)
	}
	entries, _ := os.ReadDir(f.conf.Dir)
	if len(entries) != 2 { // b and its name
		t.Errorf("a cache of 100 bytes holds %v", entries)
	}
	// What a killed agent left is deleted.
	for _, name := range []string{newPrefix + "1", "0123", "4567" + metaSuffix} {
		if err := os.WriteFile(filepath.Join(f.conf.Dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fetcher(t, Config{Dir: f.conf.Dir})
	if entries, _ := os.ReadDir(f.conf.Dir); len(entries) != 2 {
		t.Errorf("after a restart it holds %v", entries)
	}
	// A damaged file is not used.
	if err := os.WriteFile(filepath.Join(f.conf.Dir, cacheKey(b.URI)), []byte("bad"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.Fetch(t.Context(), sandbox(t), []dcos.Artifact{b}); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged cache: %v", err)
	}
}

func TestProxyOfTheEnvironmentIsUsed(t *testing.T) {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "by proxy: "+r.URL.Host)
	}))
	defer proxy.Close()
	t.Setenv("HTTP_PROXY", proxy.URL)
	dir := sandbox(t)
	if err := fetcher(t, Config{}).Fetch(t.Context(), dir, []dcos.Artifact{{URI: "http://files.example/x"}}); err != nil || tree(t, dir) != "-rw-r--r-- x by proxy: files.example" {
		t.Errorf("%v, %q", err, tree(t, dir))
	}
}

func FuzzArchiveStaysInTheSandbox(f *testing.F) {
	f.Add(tarOf(f, entry{name: "a/../b", body: "x"}), uint8(0))
	f.Add(zipOf(f, entry{name: "a", body: "x"}), uint8(1))
	f.Add(packed(f, "xz", []byte("x")), uint8(2))
	f.Fuzz(func(t *testing.T, b []byte, k uint8) {
		parent := t.TempDir()
		dir := filepath.Join(parent, "box")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		file, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if _, err := file.Write(b); err != nil {
			t.Fatal(err)
		}
		_, _ = file.Seek(0, io.SeekStart)
		name := []string{"a.tar", "a.zip", "a.xz", "a.gz", "a.zst"}[k%5]
		kind, method, rest := form(name)
		j := &job{plan: plan{Limits: Limits{Bytes: 1 << 20}.orDefault()}, root: root, left: 1 << 20, leftUnpacked: 1 << 20, entries: 100, free: func() error { return nil }}
		_ = j.expand(t.Context(), file, kind, method, rest, ".")
		if left, err := os.ReadDir(parent); err != nil || len(left) != 1 {
			t.Errorf("outside of the sandbox: %v, %v", left, err)
		}
	})
}

func uidOf(t testing.TB, path string) uint32 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Uid
}
