package images

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"go.uber.org/goleak"

	"github.com/dcos-go/dcos/integration/hosts/cache"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func get(t *testing.T, ref string) v1.Image {
	t.Helper()
	image, err := Get(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func digest(t *testing.T, image v1.Image) string {
	t.Helper()
	d, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d.String()
}

// unpacked is the image's root file system in a directory.
func unpacked(t *testing.T, image v1.Image) string {
	t.Helper()
	dir := t.TempDir()
	r := mutate.Extract(image)
	defer r.Close()
	cmd := exec.CommandContext(t.Context(), "tar", "-x", "-p", "--numeric-owner", "-C", dir)
	cmd.Stdin = r
	if err := cache.Run(cmd); err != nil {
		t.Fatal(err)
	}
	return dir
}

// inside runs a command of the image with the image's environment.
func inside(t *testing.T, root string, image v1.Image, command ...string) *exec.Cmd {
	t.Helper()
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	cmd.Env = config.Config.Env
	cmd.Dir = "/" + strings.TrimPrefix(config.Config.WorkingDir, "/")
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	return cmd
}

func TestSamePackagesMakeTheSameDigest(t *testing.T) {
	t.Parallel()
	for _, ref := range []string{"redis:7", "busybox:1"} {
		cached := get(t, ref)
		r, err := lookup(ref)
		if err != nil {
			t.Fatal(err)
		}
		root, err := cache.Dir()
		if err != nil {
			t.Fatal(err)
		}
		again, err := r.build(t.Context(), filepath.Join(root, "debs", hash(r.packages...)))
		if err != nil {
			t.Fatal(err)
		}
		if a, b := digest(t, cached), digest(t, again); a != b {
			t.Errorf("%s: %s in the cache, %s built again", ref, a, b)
		}
		size := int64(0)
		m, err := cached.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range m.Layers {
			size += l.Size
		}
		t.Logf("%s: %s, %d layers, %d kB", ref, digest(t, cached), len(m.Layers), size>>10)
	}
}

func TestDamagedCacheIsBuiltAgain(t *testing.T) {
	get(t, "busybox:1") // downloads the packages
	shared, err := cache.Dir()
	if err != nil {
		t.Fatal(err)
	}
	// A cache of its own: other tests read the shared one now.
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	root, err := cache.Dir()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(shared, "debs"), filepath.Join(root, "debs")); err != nil {
		t.Fatal(err)
	}
	image := get(t, "busybox:1")
	want := digest(t, image)
	m, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	r, err := lookup("busybox:1")
	if err != nil {
		t.Fatal(err)
	}
	blob := filepath.Join(root, "images", r.key(), "blobs/sha256", m.Layers[0].Digest.Hex)
	data, err := os.ReadFile(blob)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(blob, data, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := digest(t, get(t, "busybox:1")); got != want {
		t.Errorf("digest = %s, want %s", got, want)
	}
	if now, err := os.ReadFile(blob); err != nil || bytes.Equal(now, data) {
		t.Errorf("the damaged blob is still in the cache (%v)", err)
	}
}

func TestUnknownImageNamesTheKnownOnes(t *testing.T) {
	t.Parallel()
	if _, err := Get(t.Context(), "oracle:1"); err == nil || !strings.Contains(err.Error(), "redis:7") {
		t.Errorf("err = %v, want one that names redis:7", err)
	}
}

func TestRedisImageIsTheOfficialOnesTwin(t *testing.T) {
	t.Parallel()
	image := get(t, "redis:7")
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	want := v1.Config{
		Entrypoint: []string{"docker-entrypoint.sh"}, Cmd: []string{"redis-server"}, WorkingDir: "/data",
		Volumes: map[string]struct{}{"/data": {}}, ExposedPorts: map[string]struct{}{"6379/tcp": {}},
	}
	got := config.Config
	got.Env = nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("config:\n%s", diff)
	}
	if !slices.ContainsFunc(config.Config.Env, func(e string) bool {
		return strings.HasPrefix(e, "PATH=") && strings.Contains(e, "/usr/local/bin")
	}) {
		t.Errorf("env = %q, want a PATH with /usr/local/bin", config.Config.Env)
	}

	root := unpacked(t, image)
	for _, c := range [][]string{
		{"/usr/local/bin/redis-server", "--version"},
		{"/usr/local/bin/redis-cli", "--version"},
		{"/usr/local/bin/redis-benchmark", "--version"},
		{"/bin/sh", "-c", "id -u; ls /; setpriv --version"},
	} {
		if err := cache.Run(inside(t, root, image, c...)); err != nil {
			t.Error(err)
		}
	}
	server := inside(t, root, image, "/usr/local/bin/docker-entrypoint.sh", "--port", "0", "--unixsocket", "/data/sock")
	var out bytes.Buffer
	server.Stdout, server.Stderr = &out, &out
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = server.Process.Kill(), server.Wait() }()
	answer := ask(t, filepath.Join(root, "data/sock"), "SET k v\r\nGET k\r\nINFO server\r\nQUIT\r\n")
	if !strings.HasPrefix(answer, "+OK\r\n$1\r\nv\r\n") {
		t.Errorf("redis answers %q; its log:\n%s", answer, out.String())
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", server.Process.Pid))
	if err != nil || !strings.Contains(string(status), "\nUid:\t999\t999\t999\t999\n") {
		t.Errorf("the server does not run as redis (%v):\n%s", err, status)
	}
}

// ask waits for a server's socket and talks to it.
func ask(t *testing.T, socket, text string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
			_, _ = io.WriteString(conn, text)
			answer, _ := io.ReadAll(conn)
			return string(answer)
		}
		select {
		case <-ctx.Done():
			return err.Error()
		case <-tick.C:
		}
	}
}

func TestBusyboxImageRunsItsApplets(t *testing.T) {
	t.Parallel()
	image := get(t, "busybox:latest")
	root := unpacked(t, image)
	out, err := inside(t, root, image, "/bin/sh", "-c", "echo $(whoami) $(/usr/bin/env true && uname -s)").CombinedOutput()
	if err != nil || string(out) != "root Linux\n" {
		t.Errorf("output = %q, %v; want root Linux", out, err)
	}
}

func TestLayersHoldNoFileTwiceAndOnlySafePaths(t *testing.T) {
	t.Parallel()
	for _, made := range catalog {
		ref := made.tags[0]
		r := mutate.Extract(get(t, ref))
		tr := tar.NewReader(r)
		seen := map[string]bool{}
		for {
			h, err := tr.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if seen[h.Name] && h.Typeflag != tar.TypeDir || strings.HasPrefix(h.Name, "/") || strings.Contains(h.Name, "..") {
				t.Errorf("%s: %q is there twice or no safe path", ref, h.Name)
			}
			seen[h.Name] = true
		}
		_ = r.Close()
	}
}

// pull gets an image from the registry and reads all of it.
func pull(ctx context.Context, r *Registry, canonical string) error {
	ref, err := r.Ref(canonical)
	if err != nil {
		return err
	}
	image, err := remote.Image(ref, remote.WithContext(ctx), remote.WithTransport(oneShot()), remote.WithRetryBackoff(remote.Backoff{Steps: 1}))
	if err != nil {
		return err
	}
	return verify(image)
}

func TestRegistryServesCanonicalNamesByTagAndDigest(t *testing.T) {
	t.Parallel()
	r := Serve(t, "127.0.0.1:0", "redis:7", "busybox:1")
	for _, name := range []string{
		"redis:7", "docker.io/library/busybox:1", "busybox:1", "redis@" + digest(t, get(t, "redis:7")),
	} {
		if err := pull(t.Context(), r, name); err != nil {
			t.Errorf("pull %s: %v", name, err)
		}
	}
	if err := pull(t.Context(), r, "redis:8"); err == nil {
		t.Error("an image that was never pushed was pulled")
	}
	if got := r.Requests(); !slices.ContainsFunc(got, func(s string) bool { return s == "GET /v2/library/redis/manifests/7" }) {
		t.Errorf("requests = %q, want GET /v2/library/redis/manifests/7 among them", got)
	}
	if got := r.Requests(); len(got) != 0 {
		t.Errorf("requests after Requests = %q, want none", got)
	}
}

func TestBrokenRegistryBreaksEachPullUntilMended(t *testing.T) {
	t.Parallel()
	r := Serve(t, "127.0.0.1:0", "busybox:1")
	name := "busybox@" + digest(t, get(t, "busybox:1"))
	for what, f := range map[string]Fault{
		"status":            {Status: 503},
		"hang":              {Hang: true},
		"corrupt blobs":     {CorruptBlobs: true},
		"corrupt manifests": {CorruptManifests: true},
		"truncated blobs":   {TruncateBlobs: true},
		"slow":              {BytesPerSecond: 1000},
	} {
		r.Break(f)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		err := pull(ctx, r, name)
		cancel()
		if err == nil {
			t.Errorf("%s: the pull succeeded", what)
		}
		r.Break(Fault{})
		if err := pull(t.Context(), r, name); err != nil {
			t.Errorf("after %s: %v", what, err)
		}
	}
	if err := r.Down(); err != nil {
		t.Fatal(err)
	}
	if err := pull(t.Context(), r, name); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("registry that is down: %v, want connection refused", err)
	}
	address := r.Address()
	if err := r.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r.Address() != address {
		t.Errorf("address = %s, want %s as before", r.Address(), address)
	}
	if err := pull(t.Context(), r, name); err != nil {
		t.Errorf("after Up: %v", err)
	}
}
