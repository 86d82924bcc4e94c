package image

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/dcos-go/dcos/pkg/dcos"
)

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "the tests of this package unpack images, which makes device nodes: run them as root")
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// server is a registry on loopback that counts what is asked of it.
type server struct {
	*httptest.Server
	t         *testing.T
	manifests atomic.Int64
	blobs     atomic.Int64
	before    func(w http.ResponseWriter, r *http.Request) bool // true: answered
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{t: t}
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			switch {
			case strings.Contains(r.URL.Path, "/manifests/"):
				s.manifests.Add(1)
			case strings.Contains(r.URL.Path, "/blobs/"):
				s.blobs.Add(1)
			}
			if s.before != nil && s.before(w, r) {
				return
			}
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) host() string { return strings.TrimPrefix(s.URL, "http://") }

func (s *server) push(repo string, img v1.Image) string {
	s.t.Helper()
	ref, err := name.ParseReference(s.host()+"/"+repo, name.Insecure)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := remote.Write(ref, img); err != nil {
		s.t.Fatal(err)
	}
	d, err := img.Digest()
	if err != nil {
		s.t.Fatal(err)
	}
	return d.String()
}

// file is one entry of a layer under test.
type file struct {
	name, body string
	head       tar.Header
}

func layer(t testing.TB, files ...file) v1.Layer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := f.head
		h.Name = f.name
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if h.Typeflag == 0 && strings.HasSuffix(f.name, "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		}
		if h.Size == 0 {
			h.Size = int64(len(f.body))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, f.body); err != nil {
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

func imageOf(t testing.TB, arch string, c v1.Config, layers ...v1.Layer) v1.Image {
	t.Helper()
	img, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: arch, Config: c})
	if err == nil {
		img, err = mutate.AppendLayers(img, layers...)
	}
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func simple(t *testing.T, text string) v1.Image {
	return imageOf(t, runtime.GOARCH, v1.Config{Cmd: []string{"/bin/sh"}}, layer(t, file{name: "hello", body: text}))
}

func newStore(t *testing.T, c Config) *Store {
	t.Helper()
	if c.Dir == "" {
		c.Dir = t.TempDir()
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	c.Transport = transport
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	s.client.transport.(*guard).pause = func(int) time.Duration { return 0 } //nolint:forcetypeassert // made there
	return s
}

// whole checks that a store has nothing half done.
func whole(t *testing.T, s *Store, layers int) {
	t.Helper()
	tmp, err := os.ReadDir(s.path("tmp"))
	if err != nil || len(tmp) > 0 {
		t.Errorf("temporary files are left: %v, %v", tmp, err)
	}
	have, err := os.ReadDir(s.path("layers"))
	if err != nil || len(have) != layers {
		t.Errorf("layers: %v, %v, want %d", have, err, layers)
	}
}

func TestImageComesByItsCanonicalNameFromTheMirror(t *testing.T) {
	reg := newServer(t)
	config := v1.Config{
		Entrypoint: []string{"/entry"}, Cmd: []string{"serve"}, Env: []string{"PATH=/bin"}, User: "web", WorkingDir: "/srv", StopSignal: "SIGQUIT",
		Labels: map[string]string{"containerd.io/restart.binary": "/bin/evil"},
	}
	img := imageOf(t, runtime.GOARCH, config,
		layer(t, file{name: "etc/"}, file{name: "etc/gone", body: "x"}, file{name: "old/"}, file{name: "old/file", body: "x"}, file{name: "keep", body: "base"}),
		layer(t, file{name: "etc/.wh.gone"}, file{name: "old/"}, file{name: "old/.wh..wh..opq"}, file{name: "old/new", body: "n"}))
	digest := reg.push("library/redis:7", img)
	s := newStore(t, Config{Mirrors: []string{reg.URL}})
	u, err := s.Ensure(t.Context(), "", "redis:7", false)
	if err != nil {
		t.Fatal(err)
	}
	want := dcos.Unpacked{Digest: digest, Lower: u.Lower, Entrypoint: config.Entrypoint, Cmd: config.Cmd, Env: config.Env, User: "web", WorkDir: "/srv", StopSignal: int(unix.SIGQUIT)}
	if diff := cmp.Diff(want, u); diff != "" || len(u.Lower) != 2 {
		t.Errorf("%d layers\n%s", len(u.Lower), diff)
	}
	if text := overlaid(t, u.Lower); text != "etc\nkeep\nold\nold/new\n" {
		t.Errorf("the layers together are %q", text)
	}
	whole(t, s, 2)
}

// overlaid lists what the layers are together, without directories' owners.
func overlaid(t *testing.T, lower []string) string {
	t.Helper()
	base := t.TempDir()
	for _, d := range []string{"u", "w", "m"} {
		if err := os.Mkdir(filepath.Join(base, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s/u,workdir=%s/w", strings.Join(lower, ":"), base, base)
	if err := unix.Mount("overlay", base+"/m", "overlay", 0, options); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(base+"/m", 0); err != nil {
			t.Error(err)
		}
	}()
	var names strings.Builder
	err := filepath.WalkDir(base+"/m", func(path string, _ os.DirEntry, err error) error {
		if rel := strings.TrimPrefix(path, base+"/m/"); err == nil && rel != path {
			fmt.Fprintln(&names, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names.String()
}

func TestImageThatIsHereNeedsNoNetwork(t *testing.T) {
	reg := newServer(t)
	digest := reg.push("a/b:1", simple(t, "one"))
	ref := reg.host() + "/a/b"
	s := newStore(t, Config{})
	for _, n := range []string{ref + ":1", ref + "@" + digest} {
		if u, err := s.Ensure(t.Context(), "", n, false); err != nil || u.Digest != digest {
			t.Fatalf("%s: %+v, %v", n, u, err)
		}
	}
	// The tag moves on: only force looks.
	second := reg.push("a/b:1", simple(t, "two"))
	if u, err := s.Ensure(t.Context(), "", ref+":1", false); err != nil || u.Digest != digest {
		t.Errorf("without force: %s, %v, want %s", u.Digest, err, digest)
	}
	if u, err := s.Ensure(t.Context(), "", ref+":1", true); err != nil || u.Digest != second {
		t.Errorf("with force: %s, %v, want %s", u.Digest, err, second)
	}
	reg.Close()
	s = newStore(t, Config{Dir: s.conf.Dir})
	if u, err := s.Ensure(t.Context(), "", ref+":1", false); err != nil || u.Digest != second {
		t.Errorf("without network: %s, %v", u.Digest, err)
	}
	if u, err := s.Ensure(t.Context(), "", ref+"@"+digest, true); err != nil || u.Digest != digest {
		t.Errorf("a digest cannot change, even with force: %s, %v", u.Digest, err)
	}
	if _, err := s.Ensure(t.Context(), "", ref+":1", true); !errors.Is(err, dcos.ErrUnavailable) {
		t.Errorf("forced without network: %v", err)
	}
	whole(t, s, 2)
}

func TestBadImagesHaveClearErrorsAndLeaveNothing(t *testing.T) {
	reg := newServer(t)
	other := "s390x"
	reg.push("x/other:1", imageOf(t, other, v1.Config{}, layer(t, file{name: "a"})))
	idx := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{
		Add: imageOf(t, other, v1.Config{}, layer(t, file{name: "a"})), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: other}},
	})
	ref, err := name.ParseReference(reg.host()+"/x/index:1", name.Insecure)
	if err == nil {
		err = remote.WriteIndex(ref, idx)
	}
	if err != nil {
		t.Fatal(err)
	}
	reg.push("x/empty:1", imageOf(t, runtime.GOARCH, v1.Config{}))
	reg.push("x/signal:1", imageOf(t, runtime.GOARCH, v1.Config{StopSignal: "SIGNONE"}, layer(t, file{name: "a"})))
	reg.push("x/large:1", imageOf(t, runtime.GOARCH, v1.Config{}, layer(t, file{name: "a", body: strings.Repeat("0", 3<<20)})))
	reg.push("x/deep:1", imageOf(t, runtime.GOARCH, v1.Config{}, layer(t, file{name: strings.Repeat("d/", 300) + "f"})))
	reg.push("x/path:1", imageOf(t, runtime.GOARCH, v1.Config{}, layer(t, file{name: strings.Repeat("d", 5000)})))
	many := make([]file, 101)
	for i := range many {
		many[i] = file{name: fmt.Sprint("f", i)}
	}
	reg.push("x/many:1", imageOf(t, runtime.GOARCH, v1.Config{}, layer(t, many...)))
	s := newStore(t, Config{Limits: Limits{UnpackedBytes: 2 << 20, Files: 100}})
	for _, row := range []struct {
		ref, want string
		kind      error
	}{
		{"UPPER/case:1", "want a name like", dcos.ErrInvalid},
		{"a b", "want a name like", dcos.ErrInvalid},
		{"", "want a name like", dcos.ErrInvalid},
		{strings.Repeat("a", 600), "600 bytes", dcos.ErrInvalid},
		{"x@sha256:12", "want a name like", dcos.ErrInvalid},
		{reg.host() + "/no/such:1", "check the name", dcos.ErrNotFound},
		{reg.host() + "/x/large@sha256:" + strings.Repeat("0", 64), "check the name", dcos.ErrNotFound},
		{"127.0.0.1:1/x/y:1", "cannot be asked", dcos.ErrUnavailable},
		{reg.host() + "/x/other:1", "linux/s390x", dcos.ErrInvalid},
		{reg.host() + "/x/index:1", "no variant for linux/" + runtime.GOARCH, dcos.ErrInvalid},
		{reg.host() + "/x/empty:1", "0 layers", dcos.ErrInvalid},
		{reg.host() + "/x/deep:1", "directories deep", dcos.ErrInvalid},
		{reg.host() + "/x/path:1", "file name of", dcos.ErrInvalid},
		{reg.host() + "/x/large:1", "larger", dcos.ErrExhausted},
		{reg.host() + "/x/many:1", "more files", dcos.ErrExhausted},
	} {
		_, err := s.Ensure(t.Context(), "", row.ref, false)
		if !errors.Is(err, row.kind) || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%.60s: %v, want %v with %q", row.ref, err, row.kind, row.want)
		}
	}
	whole(t, s, 0)
	if _, err := s.Ensure(t.Context(), "", reg.host()+"/x/signal:1", false); !errors.Is(err, dcos.ErrInvalid) {
		t.Errorf("unknown stop signal: %v", err)
	}
}

func TestWrongBytesAreNeverUnpackedUnderAGoodName(t *testing.T) {
	reg := newServer(t)
	good := simple(t, "good")
	digest := reg.push("a/b:1", good)
	evil := simple(t, "evil")
	layers, err := evil.Layers()
	if err != nil {
		t.Fatal(err)
	}
	bytesOf := func() []byte {
		r, err := layers[0].Compressed()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		b, _ := io.ReadAll(r)
		return b
	}()
	goodLayers, _ := good.Layers()
	goodDigest, _ := goodLayers[0].Digest()
	reg.before = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, goodDigest.String()) {
			_, _ = w.Write(bytesOf)
			return true
		}
		return false
	}
	s := newStore(t, Config{})
	if _, err := s.Ensure(t.Context(), "", reg.host()+"/a/b:1", false); err == nil || !strings.Contains(err.Error(), "layer 1 of 1") {
		t.Errorf("a layer with other bytes: %v", err)
	}
	whole(t, s, 0)
	manifest, _ := evil.RawManifest()
	reg.before = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/manifests/") {
			w.Header().Set("Content-Type", "application/vnd.docker.distribution.manifest.v2+json")
			_, _ = w.Write(manifest)
			return true
		}
		return false
	}
	if _, err := s.Ensure(t.Context(), "", reg.host()+"/a/b@"+digest, false); !errors.Is(err, dcos.ErrInvalid) {
		t.Errorf("another manifest than the digest says: %v", err)
	}
	manifest = []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[],"layers":[],"config":{}}`)
	if _, err := s.Ensure(t.Context(), "", reg.host()+"/a/b:1", false); !errors.Is(err, dcos.ErrInvalid) || !strings.Contains(err.Error(), "ambiguous") {
		t.Errorf("an ambiguous manifest: %v", err)
	}
	whole(t, s, 0)
}

func TestLayerCannotReachOutOfItsDirectory(t *testing.T) {
	reg := newServer(t)
	outside := t.TempDir()
	canary := filepath.Join(outside, "canary")
	if err := os.WriteFile(canary, []byte("alive"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := func(to string) tar.Header { return tar.Header{Typeflag: tar.TypeSymlink, Linkname: to} }
	for i, files := range [][]file{
		{{name: "../../../../../../" + canary, body: "dead"}},
		{{name: canary, body: "dead"}},
		{{name: "d", head: link(outside)}, {name: "d/canary", body: "dead"}},
		{{name: "d", head: link("../../../../../../../../" + outside)}, {name: "d/canary", body: "dead"}},
		{{name: "d", head: link(outside)}, {name: "d/.wh.canary"}},
		{{name: "h", head: tar.Header{Typeflag: tar.TypeLink, Linkname: canary}}, {name: "h", body: "dead"}},
		{{name: "h", head: tar.Header{Typeflag: tar.TypeLink, Linkname: "../../../../../../../" + canary}}},
		{{name: "d", head: link(outside)}, {name: "d/", head: tar.Header{Typeflag: tar.TypeDir, Mode: 0o777}}},
		{{name: "disk", head: tar.Header{Typeflag: tar.TypeBlock, Devmajor: 254}}, {name: "x", head: tar.Header{Typeflag: tar.TypeChar}}},
		{{name: "r/", head: tar.Header{Typeflag: tar.TypeDir, PAXRecords: map[string]string{"SCHILY.xattr.trusted.overlay.redirect": "/etc"}, Format: tar.FormatPAX}}},
	} {
		repo := fmt.Sprintf("evil/l%d:1", i)
		reg.push(repo, imageOf(t, runtime.GOARCH, v1.Config{}, layer(t, files...)))
		s := newStore(t, Config{})
		u, err := s.Ensure(t.Context(), "", reg.host()+"/"+repo, false)
		info, serr := os.Stat(canary)
		text, rerr := os.ReadFile(canary)
		if serr != nil || rerr != nil || string(text) != "alive" || info.Mode() != 0o600 {
			t.Fatalf("layer %d reached outside: %q %v %v %v", i, text, info, serr, rerr)
		}
		if left, _ := os.ReadDir(outside); len(left) != 1 {
			t.Errorf("layer %d left %v outside", i, left)
		}
		if err != nil {
			whole(t, s, 0)
			continue
		}
		harmless(t, i, u.Lower[0])
	}
}

// harmless looks for devices, links to files outside and attributes of overlayfs.
func harmless(t *testing.T, n int, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT == unix.S_IFBLK || st.Mode&unix.S_IFMT == unix.S_IFCHR && !strings.HasSuffix(path, "canary") {
			t.Errorf("layer %d has the device %s", n, path)
		}
		if st.Mode&unix.S_IFMT == unix.S_IFREG && st.Nlink > 1 {
			t.Errorf("layer %d: %s has %d names", n, path, st.Nlink)
		}
		if size, err := unix.Lgetxattr(path, "trusted.overlay.redirect", nil); err == nil {
			t.Errorf("layer %d: %s redirects overlayfs (%d bytes)", n, path, size)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestCallersOfTheSameImageShareOnePull(t *testing.T) {
	reg := newServer(t)
	reg.push("a/b:1", simple(t, "shared"))
	gate := make(chan struct{})
	reg.before = func(http.ResponseWriter, *http.Request) bool { <-gate; return false }
	s := newStore(t, Config{})
	const callers = 20
	var wg sync.WaitGroup
	for range callers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if _, err := s.Ensure(t.Context(), "", reg.host()+"/a/b:1", false); err != nil {
				t.Error(err)
			}
		}()
	}
	for waiting := 0; waiting < callers; runtime.Gosched() {
		s.mu.Lock()
		waiting = 0
		for _, p := range s.pulls {
			waiting += p.waiting
		}
		s.mu.Unlock()
	}
	close(gate)
	wg.Wait()
	if m, b := reg.manifests.Load(), reg.blobs.Load(); m != 1 || b > 2 {
		t.Errorf("%d manifests and %d blobs were asked for, want 1 and at most 2", m, b)
	}
	whole(t, s, 1)
}

func TestPullEndsWithItsLastCallerAndLeavesNothing(t *testing.T) {
	reg := newServer(t)
	reg.push("a/b:1", simple(t, "late"))
	asked := make(chan struct{}, 10)
	reg.before = func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/blobs/") {
			asked <- struct{}{}
			<-r.Context().Done()
			return true
		}
		return false
	}
	s := newStore(t, Config{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := s.Ensure(ctx, "", reg.host()+"/a/b:1", false)
		done <- err
	}()
	<-asked
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	whole(t, s, 0)
	reg.before = nil
	if _, err := s.Ensure(t.Context(), "", reg.host()+"/a/b:1", false); err != nil {
		t.Errorf("the next caller: %v", err)
	}
}

func TestWhatAKilledPullLeftIsDeletedAtTheNextStart(t *testing.T) {
	s := newStore(t, Config{})
	if err := os.MkdirAll(s.path("tmp", "layer-1", "root", "etc"), 0o700); err != nil {
		t.Fatal(err)
	}
	s = newStore(t, Config{Dir: s.conf.Dir})
	whole(t, s, 0)
}

func TestEqualLayersAreMountedOnce(t *testing.T) {
	reg := newServer(t)
	twice := layer(t, file{name: "a", body: "x"})
	reg.push("a/b:1", imageOf(t, runtime.GOARCH, v1.Config{}, twice, layer(t, file{name: "b"}), twice))
	s := newStore(t, Config{})
	u, err := s.Ensure(t.Context(), "", reg.host()+"/a/b:1", false)
	if err != nil || len(u.Lower) != 2 {
		t.Fatalf("%+v, %v", u, err)
	}
	if text := overlaid(t, u.Lower); text != "a\nb\n" {
		t.Errorf("the layers together are %q", text)
	}
}

func TestMirrorsAreTriedInOrderAndThenTheRegistryItself(t *testing.T) {
	first, second, own := newServer(t), newServer(t), newServer(t)
	digest := second.push("library/web:1", simple(t, "second"))
	other := own.push("team/app:1", simple(t, "own"))
	s := newStore(t, Config{Mirrors: []string{first.URL, second.URL + "/"}})
	if u, err := s.Ensure(t.Context(), "", "web:1", false); err != nil || u.Digest != digest {
		t.Errorf("%s, %v", u.Digest, err)
	}
	if first.manifests.Load() == 0 {
		t.Error("the first mirror was not asked")
	}
	if u, err := s.Ensure(t.Context(), "", own.host()+"/team/app:1", false); err != nil || u.Digest != other {
		t.Errorf("the image's own registry: %s, %v", u.Digest, err)
	}
	// What a mirror keeps of another registry lies below its name.
	mirrored := first.push(strings.ReplaceAll(own.host(), ":", "_")+"/team/app:2", simple(t, "mirrored"))
	if u, err := s.Ensure(t.Context(), "", own.host()+"/team/app:2", false); err != nil || u.Digest != mirrored {
		t.Errorf("another registry's image in the mirror: %s, %v", u.Digest, err)
	}
	for _, bad := range []string{"", "ftp://x", "http://", "a b"} {
		if _, err := New(Config{Dir: t.TempDir(), Mirrors: []string{bad}}); !errors.Is(err, dcos.ErrInvalid) {
			t.Errorf("mirror %q: %v", bad, err)
		}
	}
}

func TestRegistryWithoutTLSIsRefusedUnlessNamed(t *testing.T) {
	g := &guard{inner: roundTrip(func(*http.Request) (*http.Response, error) { return &http.Response{Body: http.NoBody}, nil }), plain: []string{"named:5000"}}
	for url, want := range map[string]bool{
		"http://named:5000/v2/": true, "http://127.0.0.1:5000/v2/": true, "http://[::1]:1/v2/": true, "https://any/v2/": true,
		"http://10.0.0.1:5000/v2/": false, "http://registry.local/v2/": false,
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := g.RoundTrip(r); (err == nil) != want {
			t.Errorf("%s: %v, want allowed %t", url, err, want)
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func FuzzUnpackStaysInside(f *testing.F) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	_ = w.WriteHeader(&tar.Header{Name: "a/../b", Mode: 0o644, Size: 1})
	_, _ = w.Write([]byte("x"))
	_ = w.Close()
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, stream []byte) {
		dir := t.TempDir()
		root := filepath.Join(dir, "root")
		if err := os.Mkdir(root, 0o755); err != nil {
			t.Fatal(err)
		}
		s := &Store{conf: Config{Limits: Limits{Files: 100}}}
		s.disk = func() (int64, int64, error) { return 0, 1 << 40, nil }
		_ = s.unpack(t.Context(), root, bytes.NewReader(stream), "", int64(len(stream)), &budget{left: 1 << 20})
		if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
			t.Errorf("outside of the layer: %v, %v", left, err)
		}
	})
}
