package image

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// noise is a file's content that does not compress.
func noise(n int) string {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return string(b)
}

// cutter is a blob handler that breaks every transfer after some bytes.
type cutter struct {
	blob   []byte
	each   int
	ranges bool
	asked  atomic.Int64
}

func (c *cutter) serve(w http.ResponseWriter, r *http.Request) {
	c.asked.Add(1)
	from := 0
	if h := r.Header.Get("Range"); h != "" && c.ranges {
		from, _ = strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(h, "bytes="), "-"))
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(c.blob)-1, len(c.blob)))
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(c.blob)-from))
	if from > 0 {
		w.WriteHeader(http.StatusPartialContent)
	}
	end := min(len(c.blob), from+c.each)
	_, _ = w.Write(c.blob[from:end])
	_ = http.NewResponseController(w).Flush()
	if end < len(c.blob) {
		panic(http.ErrAbortHandler)
	}
}

func compressed(t *testing.T, l v1.Layer) []byte {
	t.Helper()
	r, err := l.Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBrokenTransferGoesOnWhereItBroke(t *testing.T) {
	reg := newServer(t)
	l := layer(t, file{name: "big", body: noise(1 << 20)})
	reg.push("a/b:1", imageOf(t, runtime.GOARCH, v1.Config{}, l))
	for _, row := range []struct {
		name   string
		each   int
		ranges bool
		works  bool
	}{
		{"with ranges", 300 << 10, true, true},
		{"without ranges, from the beginning", 1 << 30, false, true},
		{"a byte at a time is given up", 1, true, false},
		{"without ranges and always cut", 300 << 10, false, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := &cutter{blob: compressed(t, l), each: row.each, ranges: row.ranges}
			d, _ := l.Digest()
			reg.before = func(w http.ResponseWriter, r *http.Request) bool {
				if strings.HasSuffix(r.URL.Path, d.String()) {
					c.serve(w, r)
					return true
				}
				return false
			}
			s := newStore(t, Config{})
			u, err := s.Ensure(t.Context(), "", reg.host()+"/a/b:1", false)
			if !row.works {
				if !errors.Is(err, dcos.ErrUnavailable) || !strings.Contains(err.Error(), "broke") {
					t.Errorf("got %v", err)
				}
				if n := c.asked.Load(); n > 2*(resumesMax+1) {
					t.Errorf("it was asked for %d times", n)
				}
				whole(t, s, 0)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if text, err := os.ReadFile(filepath.Join(u.Lower[0], "big")); err != nil || string(text) != noise(1<<20) {
				t.Errorf("%d bytes arrived, %v", len(text), err)
			}
			whole(t, s, 1)
		})
	}
}

// described is a layer under another type or with other addresses.
func described(t *testing.T, l v1.Layer, blob []byte, kind types.MediaType, urls ...string) v1.Image {
	t.Helper()
	img := imageOf(t, runtime.GOARCH, v1.Config{})
	var err error
	img, err = mutate.Append(img, mutate.Addendum{Layer: sentAs{l, static.NewLayer(blob, kind)}, MediaType: kind, URLs: urls})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// sentAs is a layer that is sent in another form.
type sentAs struct {
	v1.Layer
	sent v1.Layer
}

func (s sentAs) Digest() (v1.Hash, error)            { return s.sent.Digest() }
func (s sentAs) Size() (int64, error)                { return s.sent.Size() }
func (s sentAs) Compressed() (io.ReadCloser, error)  { return s.sent.Compressed() }
func (s sentAs) MediaType() (types.MediaType, error) { return s.sent.MediaType() }

func zstdOf(t *testing.T, l v1.Layer) []byte {
	t.Helper()
	r, err := l.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b)
	if err == nil {
		_, err = io.Copy(z, r)
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestLayersComeInEveryCompression(t *testing.T) {
	reg := newServer(t)
	l := layer(t, file{name: "f", body: noise(3 << 20)})
	r, _ := l.Uncompressed()
	plain, _ := io.ReadAll(r)
	r.Close()
	for i, row := range []struct {
		kind types.MediaType
		blob []byte
	}{
		{types.OCILayerZStd, zstdOf(t, l)},
		{types.OCILayer, compressed(t, l)},
		{types.DockerLayer, compressed(t, l)},
		{types.OCIUncompressedLayer, plain},
	} {
		repo := fmt.Sprintf("c/l%d:1", i)
		reg.push(repo, described(t, l, row.blob, row.kind))
		s := newStore(t, Config{})
		u, err := s.Ensure(t.Context(), "", reg.host()+"/"+repo, false)
		if err != nil {
			t.Errorf("%s: %v", row.kind, err)
			continue
		}
		if text, err := os.ReadFile(filepath.Join(u.Lower[0], "f")); err != nil || string(text) != noise(3<<20) {
			t.Errorf("%s: %d bytes, %v", row.kind, len(text), err)
		}
	}
}

func TestForeignLayerComesFromItsAddressWithoutTheRegistrysCredentials(t *testing.T) {
	reg := newServer(t)
	l := layer(t, file{name: "foreign", body: "f"})
	blob := compressed(t, l)
	var leaked atomic.Bool
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			leaked.Store(true)
		}
		if r.URL.Path != "/blob" {
			w.Header().Set("WWW-Authenticate", `Basic realm="give"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = w.Write(blob)
	}))
	t.Cleanup(other.Close)
	host := strings.Replace(other.URL, "127.0.0.1", "localhost", 1)
	login := func(string) (Login, error) { return NewLogin("user", "canary-password"), nil }
	for _, row := range []struct {
		name, url, want string
	}{
		{"given", host + "/blob", ""},
		{"asks for credentials", host + "/ask", "layer 1 of 1"},
		{"metadata of a cloud", "http://169.254.169.254/latest", "link-local"},
		{"a file of this machine", "file:///etc/passwd", "scheme"},
	} {
		repo := "f/" + strings.ReplaceAll(row.name, " ", "-") + ":1"
		img := described(t, l, blob, types.DockerForeignLayer, row.url)
		reg.push(repo, img)
		s := newStore(t, Config{Credentials: login})
		_, err := s.Ensure(t.Context(), "", reg.host()+"/"+repo, false)
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
		if err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: the error holds the password: %v", row.name, err)
		}
	}
	if leaked.Load() {
		t.Error("the address of a layer was given the registry's credentials")
	}
}

// 16: bombs.
func TestBombsAreStoppedLongBeforeTheDiskIsFull(t *testing.T) {
	reg := newServer(t)
	zeros := layer(t, file{name: "zeros", body: strings.Repeat("\x00", 40<<20)})
	reg.push("bomb/gzip:1", imageOf(t, runtime.GOARCH, v1.Config{}, zeros))
	reg.push("bomb/zstd:1", described(t, zeros, zstdOf(t, zeros), types.OCILayerZStd))
	s := newStore(t, Config{Limits: Limits{GrowBytes: 1 << 20}})
	for _, repo := range []string{"bomb/gzip:1", "bomb/zstd:1"} {
		if _, err := s.Ensure(t.Context(), "", reg.host()+"/"+repo, false); !errors.Is(err, dcos.ErrExhausted) || !strings.Contains(err.Error(), "as large as it was sent") {
			t.Errorf("%s: %v", repo, err)
		}
	}
	whole(t, s, 0)
	s.disk = func() (int64, int64, error) { return 1000 << 20, 1100 << 20, nil }
	if _, err := s.Ensure(t.Context(), "", reg.host()+"/bomb/gzip:1", false); !errors.Is(err, dcos.ErrExhausted) || !strings.Contains(err.Error(), "kept free") {
		t.Errorf("on a disk that is full: %v", err)
	}
}

func TestLayersOfAnImageCountTogether(t *testing.T) {
	reg := newServer(t)
	reg.push("a/sum:1", imageOf(t, runtime.GOARCH, v1.Config{},
		layer(t, file{name: "a", body: noise(1 << 20)}), layer(t, file{name: "b", body: noise(1<<20 + 1)}), layer(t, file{name: "c", body: noise(1<<20 + 2)})))
	s := newStore(t, Config{Limits: Limits{UnpackedBytes: 5 << 19}})
	if _, err := s.Ensure(t.Context(), "", reg.host()+"/a/sum:1", false); !errors.Is(err, dcos.ErrExhausted) {
		t.Errorf("three layers of 1 MiB with 2.5 MiB allowed: %v", err)
	}
	tmp, _ := os.ReadDir(s.path("tmp"))
	if len(tmp) > 0 {
		t.Errorf("left %v", tmp)
	}
}

func TestPrivateRegistryIsAskedWithTheLoginOfTheDockerConfig(t *testing.T) {
	reg := newServer(t)
	reg.push("p/app:1", simple(t, "private"))
	reg.before = func(w http.ResponseWriter, r *http.Request) bool {
		if u, p, ok := r.BasicAuth(); !ok || u != "robot" || p != "s3cret:with:colons" {
			w.Header().Set("WWW-Authenticate", `Basic realm="private"`)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		return false
	}
	path := filepath.Join(t.TempDir(), "config.json")
	write := func(text string, mode os.FileMode) {
		t.Helper()
		_ = os.Remove(path)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	s := newStore(t, Config{Credentials: DockerConfig(path)})
	ref := reg.host() + "/p/app:1"
	for _, row := range []struct {
		name, text, want string
		mode             os.FileMode
	}{
		{"no file", "", "no such file", 0},
		{"no entry", `{"auths":{"other:5000":{"auth":"cm9ib3Q6eA=="}}}`, "credentials", 0o600},
		{"readable by others", `{}`, "chmod 600", 0o644},
		{"not JSON", `password=s3cret`, "not what docker login writes", 0o600},
		{"not base64", `{"auths":{"` + reg.host() + `":{"auth":"s3cret"}}}`, "base64", 0o600},
		{"a program", `{"auths":{"` + reg.host() + `":{}},"credHelpers":{"` + reg.host() + `":"ecr-login"}}`, "not run", 0o600},
		{"a store", `{"auths":{"` + reg.host() + `":{}},"credsStore":"desktop"}`, "not asked", 0o600},
		{"wrong password", `{"auths":{"` + reg.host() + `":{"username":"robot","password":"s3cret"}}}`, "credentials", 0o600},
	} {
		if row.mode != 0 {
			write(row.text, row.mode)
		}
		_, err := s.Ensure(t.Context(), "", ref, false)
		if !errors.Is(err, dcos.ErrDenied) || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", row.name, err)
		}
	}
	auth, _ := json.Marshal([]byte("robot:s3cret:with:colons"))
	write(`{"auths":{"http://`+reg.host()+`/v1/":{"auth":`+string(auth)+`}}}`, 0o600)
	if _, err := s.Ensure(t.Context(), "", ref, false); err != nil {
		t.Errorf("with the login: %v", err)
	}
	l := NewLogin("robot", "s3cret")
	if text := fmt.Sprintf("%v %+v %#v %s", l, l, l, l.LogValue()); strings.Contains(text, "s3cret") {
		t.Errorf("a login prints as %s", text)
	}
}

// fill makes the disk look as full as its images are.
func fill(s *Store, total int64) {
	s.disk = func() (int64, int64, error) {
		var used int64
		entries, _ := os.ReadDir(s.path("layers"))
		for _, e := range entries {
			n, err := s.weigh([]string{e.Name()})
			if err != nil {
				return 0, 0, err
			}
			used += n
		}
		return used, total, nil
	}
}

func TestCollectDeletesTheLongestUnusedAndNeverWhatIsInUse(t *testing.T) {
	reg := newServer(t)
	var stood []string
	s := newStore(t, Config{Limits: Limits{FreeBytes: 1}, Used: func() ([]string, error) { return stood, nil }})
	layers := make(map[int]string)
	base := layer(t, file{name: "base", body: noise(100 << 10)})
	ref := func(i int) string { return fmt.Sprintf("%s/a/i%d:1", reg.host(), i) }
	for i := range 8 {
		reg.push(fmt.Sprintf("a/i%d:1", i), imageOf(t, runtime.GOARCH, v1.Config{}, base, layer(t, file{name: "own", body: noise(1<<20 + i)})))
		task := dcos.TaskID("")
		if i == 2 {
			task = "holder"
		}
		u, err := s.Ensure(t.Context(), task, ref(i), false)
		if err != nil {
			t.Fatal(err)
		}
		layers[i] = u.Lower[0]
		at := unix.NsecToTimespec(int64(1000+i) * 1e9)
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, s.manifestPath(u.Digest), []unix.Timespec{at, at}, 0); err != nil {
			t.Fatal(err)
		}
	}
	stood = []string{layers[0]} // a container that an earlier agent started
	there := func() (out []int) {
		for i := range 8 {
			if _, err := os.Stat(layers[i]); err == nil {
				out = append(out, i)
			}
		}
		return out
	}
	fill(s, 100<<20)
	if n, err := s.Collect(0); err != nil || n != 0 {
		t.Fatalf("with room: %d, %v", n, err)
	}
	fill(s, 9<<20) // 8.1 MiB of 9 are used; 75 % are 6.75
	if n, err := s.Collect(0); err != nil || n != 2 || fmt.Sprint(there()) != "[0 2 4 5 6 7]" {
		t.Errorf("collected %d, %v, left %v", n, err, there())
	}
	// The same directory, another life: only what containers stand on is known.
	s = newStore(t, Config{Dir: s.conf.Dir, Limits: Limits{FreeBytes: 1}, Used: s.conf.Used})
	fill(s, 1)
	if n, err := s.Collect(0); err != nil || n != 5 || fmt.Sprint(there()) != "[0]" {
		t.Errorf("after a restart: collected %d, %v, left %v", n, err, there())
	}
	all, err := s.Images()
	if err != nil || len(all) != 1 || !all[0].InUse || fmt.Sprint(all[0].Names) != "["+ref(0)+"]" {
		t.Errorf("%+v, %v", all, err)
	}
	names, _ := os.ReadDir(s.path("names"))
	if len(names) != 1 {
		t.Errorf("names that are left: %v", names)
	}
	// What cannot be found out is not touched.
	broken := newStore(t, Config{Dir: s.conf.Dir, Used: func() ([]string, error) { return nil, errors.New("no") }})
	fill(broken, 1)
	if _, err := broken.Collect(0); err == nil || len(there()) != 1 {
		t.Errorf("collected without knowing what is in use: %v, %v", err, there())
	}
}

func TestPullMakesRoomAndPruneDeletesWhatNobodyUses(t *testing.T) {
	reg := newServer(t)
	s := newStore(t, Config{Limits: Limits{FreeBytes: 64 << 10}, High: 100, Low: 100})
	base := layer(t, file{name: "base", body: "b"})
	for i := range 3 {
		reg.push(fmt.Sprintf("a/i%d:1", i), imageOf(t, runtime.GOARCH, v1.Config{}, base, layer(t, file{name: "own", body: noise(1<<20 + i)})))
		fill(s, 5<<19) // 2.5 MiB: two images fit
		if _, err := s.Ensure(t.Context(), dcos.TaskID(fmt.Sprint("t", i)), fmt.Sprintf("%s/a/i%d:1", reg.host(), i), false); err != nil {
			t.Fatal(err)
		}
		s.Release("t0")
	}
	whole(t, s, 3)
	if n, err := s.Prune(); err != nil || n != 0 {
		t.Errorf("pruned %d, %v, but tasks hold both", n, err)
	}
	s.Release("t1")
	if n, err := s.Prune(); err != nil || n != 1 {
		t.Errorf("pruned %d, %v, want 1 image", n, err)
	}
	whole(t, s, 2)
	if c := s.Coming(); len(c) != 0 {
		t.Errorf("pulls that never end: %+v", c)
	}
}
