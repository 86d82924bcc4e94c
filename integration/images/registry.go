package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/dcos-go/dcos/integration/hosts/cache"
)

// Registry serves images over plain HTTP, as a mirror does: docker.io/library/redis
// is library/redis here.
type Registry struct {
	inner http.Handler

	mu       sync.Mutex
	address  string       // guarded by mu; fixed after the first Up
	server   *http.Server // guarded by mu; nil when down
	done     chan struct{}
	fault    Fault    // guarded by mu
	requests []string // guarded by mu
}

// Fault is what a registry does wrong. The zero value is none.
type Fault struct {
	Status           int  // answered to everything, when not 0
	Hang             bool // takes the connection and never answers
	CorruptBlobs     bool // one bit of each blob is turned
	CorruptManifests bool // a manifest that is asked for by digest is another one
	TruncateBlobs    bool // the connection breaks in the middle of each blob
	BytesPerSecond   int  // of a blob, when not 0
}

// Serve starts a registry on address ("127.0.0.1:0", or a test network's
// OutsideIP with port 0) with the images of refs, and stops it at the end of
// the test.
func Serve(t testing.TB, address string, refs ...string) *Registry {
	t.Helper()
	r, err := Start(t.Context(), address, refs...)
	if err != nil {
		t.Fatalf("test registry: %v", err)
	}
	t.Cleanup(func() {
		if err := r.Down(); err != nil {
			t.Errorf("stop the test registry: %v", err)
		}
	})
	return r
}

// Start is Serve for a program that is no test; its caller calls Down.
func Start(ctx context.Context, address string, refs ...string) (*Registry, error) {
	root, err := cache.Dir()
	if err != nil {
		return nil, err
	}
	// Blobs are named by their digests, so all registries share them.
	blobs := filepath.Join(root, "registry")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		return nil, err
	}
	r := &Registry{address: address, inner: registry.New(
		registry.WithBlobHandler(registry.NewDiskBlobHandler(blobs)),
		registry.Logger(log.New(io.Discard, "", 0)),
	)}
	if err := r.Up(ctx); err != nil {
		return nil, err
	}
	for _, ref := range refs {
		image, err := Get(ctx, ref)
		if err == nil {
			err = r.Push(ctx, ref, image)
		}
		if err != nil {
			return nil, errors.Join(err, r.Down())
		}
	}
	r.mu.Lock()
	r.requests = nil
	r.mu.Unlock()
	return r, nil
}

// Address is host:port.
func (r *Registry) Address() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.address
}

// URL is what a mirror setting takes.
func (r *Registry) URL() string { return "http://" + r.Address() }

// Ref is the reference under which the registry itself has a canonical name:
// "redis:7" is "127.0.0.1:5000/library/redis:7".
func (r *Registry) Ref(canonical string) (name.Reference, error) {
	ref, err := name.ParseReference(canonical)
	if err != nil {
		return nil, fmt.Errorf("image name %q: %w", canonical, err)
	}
	sep := ":"
	if _, ok := ref.(name.Digest); ok {
		sep = "@"
	}
	return name.ParseReference(r.Address()+"/"+ref.Context().RepositoryStr()+sep+ref.Identifier(), name.Insecure)
}

// Push adds an image under a canonical name.
func (r *Registry) Push(ctx context.Context, canonical string, image v1.Image) error {
	ref, err := r.Ref(canonical)
	if err != nil {
		return err
	}
	if err := remote.Write(ref, image, remote.WithContext(ctx), remote.WithTransport(oneShot())); err != nil {
		return fmt.Errorf("push %s: %w", canonical, err)
	}
	return nil
}

// oneShot keeps no idle connections, whose goroutines would outlive the test.
func oneShot() http.RoundTripper {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DisableKeepAlives, t.Proxy = true, nil
	return t
}

// Break makes the registry answer with f from now on, also on connections that
// are open. Break(Fault{}) mends it.
func (r *Registry) Break(f Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fault = f
}

// Requests lists "METHOD path" of all requests since the start or the last
// call of Requests.
func (r *Registry) Requests() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := slices.Clone(r.requests)
	r.requests = nil
	return out
}

// Up listens, on the old address after a Down.
func (r *Registry) Up(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.server != nil {
		return nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", r.address)
	if err != nil {
		return fmt.Errorf("test registry: %w", err)
	}
	server := &http.Server{Handler: r, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	r.address, r.server, r.done = l.Addr().String(), server, done
	go func() { // ends with Down
		defer close(done)
		_ = server.Serve(l)
	}()
	return nil
}

// Down makes the registry unreachable: connections break, new ones are
// refused. It keeps its images for the next Up.
func (r *Registry) Down() error {
	r.mu.Lock()
	server, done := r.server, r.done
	r.server = nil
	r.mu.Unlock()
	if server == nil {
		return nil
	}
	err := server.Close()
	<-done
	return err
}

// ServeHTTP answers, rightly or not.
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	f := r.fault
	r.requests = append(r.requests, req.Method+" "+req.URL.Path)
	r.mu.Unlock()
	blob := req.Method == http.MethodGet && strings.Contains(req.URL.Path, "/blobs/sha256:")
	manifest := strings.Contains(req.URL.Path, "/manifests/sha256:")
	switch {
	case f.Hang:
		<-req.Context().Done()
		return
	case f.Status != 0:
		http.Error(w, http.StatusText(f.Status), f.Status)
		return
	case blob && (f.CorruptBlobs || f.TruncateBlobs || f.BytesPerSecond > 0):
		w = &brokenWriter{ResponseWriter: w, ctx: req.Context(), fault: f}
	case manifest && f.CorruptManifests:
		w = &brokenWriter{ResponseWriter: w, ctx: req.Context(), fault: Fault{CorruptBlobs: true}}
	}
	r.inner.ServeHTTP(w, req)
}

// brokenWriter spoils the body of one answer.
type brokenWriter struct {
	http.ResponseWriter
	ctx   context.Context
	fault Fault
	sent  int
}

// ReadFrom is not there, so that every byte passes Write.
func (w *brokenWriter) Write(p []byte) (int, error) {
	total := 0
	for len(p) > 0 {
		chunk := p[:min(len(p), 16<<10)]
		if w.fault.TruncateBlobs && w.sent > 0 {
			// The panic that the server takes as "break the connection".
			panic(http.ErrAbortHandler)
		}
		if err := w.delay(len(chunk)); err != nil {
			return total, err
		}
		if w.fault.CorruptBlobs && w.sent == 0 {
			chunk = slices.Clone(chunk)
			chunk[len(chunk)/2] ^= 1
		}
		if w.fault.TruncateBlobs {
			chunk = chunk[:(len(chunk)+1)/2]
		}
		n, err := w.ResponseWriter.Write(chunk)
		total += n
		w.sent += n
		if err != nil {
			return total, err
		}
		p = p[len(chunk):]
		if w.fault.TruncateBlobs && len(p) == 0 {
			panic(http.ErrAbortHandler)
		}
	}
	return total, nil
}

// delay holds the answer to the wanted speed.
func (w *brokenWriter) delay(bytes int) error {
	if w.fault.BytesPerSecond == 0 {
		return nil
	}
	t := time.NewTimer(time.Duration(bytes) * time.Second / time.Duration(w.fault.BytesPerSecond))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-w.ctx.Done():
		return w.ctx.Err()
	}
}
