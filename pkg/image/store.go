// Package image keeps OCI images on a node: pulled, verified, and unpacked into
// one directory per layer, ready for overlayfs.
//
// It promises that what it hands out is complete and is what the digests say:
// every layer is verified as it is unpacked, and appears under its name only
// when it is whole and on disk. A pull that was cut short leaves nothing but a
// temporary directory, which the next New deletes; a transfer that breaks goes on
// where it broke. What tasks hold and containers stand on is never deleted. Images are strangers' bytes:
// sizes, counts and names are bounded, and nothing of an image is ever run
// here. It must not know what a task is, but for its name as a holder.
package image

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// Config is what a Store needs to know.
type Config struct {
	// Dir holds layers, manifests and the names that were resolved.
	Dir string
	// Mirrors are asked before an image's own registry, in this order:
	// "host[:port][/path]", or with "http://" in front to go without TLS. An image
	// of docker.io is asked for as path/library/name, one of another registry as
	// path/registry/name.
	Mirrors []string
	// Insecure are registries ("host[:port]") that may be asked without TLS.
	// Those on a loopback address always may.
	Insecure []string
	// Credentials gives the login for a registry; nil, or the zero one, is
	// anonymous. An error ends the pull from there.
	Credentials func(registry string) (Login, error)
	// Used names the layers (paths below Dir) that containers stand on now.
	// Collect asks it; nil is none.
	Used func() ([]string, error)
	// High and Low are percents of the disk: once it is fuller than High, images
	// that nobody uses go, the longest unused first, until it is no fuller than
	// Low. 0 are the defaults, 85 and 75.
	High, Low int
	// Transport is used for all requests; nil is one with time limits.
	Transport http.RoundTripper
	// Limits bound one image; zero values are replaced by the defaults.
	Limits Limits
	Log    *slog.Logger
}

// Limits bound what one image may take.
type Limits struct {
	CompressedBytes int64 // all layers as they are sent; default 16 GiB
	UnpackedBytes   int64 // all layers as they are stored; default 64 GiB
	Files           int   // in one layer; default 2,000,000
	FreeBytes       int64 // space to leave free on the disk; default 256 MiB
	GrowBytes       int64 // a layer larger than this is at most 200 times as large as it was sent; default 256 MiB
}

func (l Limits) orDefault() Limits {
	set := func(v *int64, def int64) {
		if *v == 0 {
			*v = def
		}
	}
	set(&l.CompressedBytes, 16<<30)
	set(&l.UnpackedBytes, 64<<30)
	set(&l.FreeBytes, 256<<20)
	set(&l.GrowBytes, 256<<20)
	if l.Files == 0 {
		l.Files = 2_000_000
	}
	return l
}

// maxLayers is what overlayfs can put together, less the writable one.
const maxLayers = 120

// Store is the images of a node. Its methods may be called from any goroutine.
type Store struct {
	conf   Config
	client client

	disk func() (used, total int64, err error) // of the images' disk

	mu     sync.Mutex
	held   map[dcos.TaskID]string // guarded by mu; digests that tasks count on
	coming map[*progress]bool     // guarded by mu; pulls that bring layers
	pulls  map[string]*pull       // guarded by mu; running pulls by what was asked for
	pinned map[string]int         // guarded by mu; layers that a running pull counts on
	spared map[string]bool        // guarded by mu; layers asked for since the running Prune began; nil when none runs
	prune  sync.Mutex             // held by the running Prune
}

// manifest is what is kept of an image, by its digest.
type manifest struct {
	Digest string    `json:"digest"`
	Layers []string  `json:"layers"` // hex of the diff ids, top first
	Config v1.Config `json:"config"`
	Bytes  int64     `json:"bytes,omitempty"` // of all layers, unpacked
}

// tag is what a name was last resolved to.
type tag struct {
	Name   string `json:"name"`
	Digest string `json:"digest"`
}

// New opens the directory, makes it if need be, and deletes what pulls that
// were cut short have left.
func New(c Config) (*Store, error) {
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("images: %w", err)
	}
	c.Dir, c.Limits = dir, c.Limits.orDefault()
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.High == 0 && c.Low == 0 {
		c.High, c.Low = defaultHigh, defaultLow
	}
	if c.High < 1 || c.High > 100 || c.Low < 0 || c.Low > c.High {
		return nil, fmt.Errorf("images: %w: marks of %d and %d percent: want 1 to 100, and the lower one not above the higher", dcos.ErrInvalid, c.High, c.Low)
	}
	s := &Store{
		conf: c, pulls: make(map[string]*pull), pinned: make(map[string]int),
		held: make(map[dcos.TaskID]string), coming: make(map[*progress]bool),
	}
	s.disk = s.statfs
	if s.client, err = newClient(c); err != nil {
		return nil, err
	}
	if err := os.RemoveAll(s.path("tmp")); err != nil {
		return nil, fmt.Errorf("images: %w", err)
	}
	for _, sub := range []string{"tmp", "layers", "manifests", "names"} {
		if err := os.MkdirAll(s.path(sub), 0o700); err != nil {
			return nil, fmt.Errorf("images: %w", err)
		}
	}
	return s, nil
}

func (s *Store) path(parts ...string) string {
	return filepath.Join(append([]string{s.conf.Dir}, parts...)...)
}

func (s *Store) layerPath(hex string) string { return s.path("layers", hex) }

// Ensure makes an image ready to run and says how. An image that is here
// already needs no network, unless force asks for what the name stands for now.
// Callers that want the same image share one pull; it ends early when none of
// them waits any more.
//
// What a task asked for is not collected until Release.
func (s *Store) Ensure(ctx context.Context, task dcos.TaskID, ref string, force bool) (dcos.Unpacked, error) {
	n, err := parse(ref)
	if err != nil {
		return dcos.Unpacked{}, err
	}
	if _, pinned := n.(name.Digest); pinned {
		force = false // it cannot stand for anything else
	}
	for {
		var m manifest
		ok := false
		if !force {
			m, ok = s.cached(n)
		}
		if !ok {
			m, err = s.share(ctx, fmt.Sprint(n.Name(), force), func(ctx context.Context) (manifest, error) {
				return s.pull(ctx, n)
			})
			if err != nil {
				return dcos.Unpacked{}, fmt.Errorf("image %s: %w", ref, err)
			}
		}
		s.hold(task, m.Digest)
		if _, still := s.manifest(m.Digest); still {
			s.touch(m.Digest)
			return s.unpacked(m)
		} // it was collected just before it was held
		s.Release(task)
		force = false
	}
}

// hold keeps an image for a task, from now on.
func (s *Store) hold(task dcos.TaskID, digest string) {
	if task == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[task] = digest
}

// Release says that a task needs its image no more, but for what Config.Used
// names. A task that holds none is fine.
func (s *Store) Release(task dcos.TaskID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.held, task)
}

// touch notes that an image is used: Collect begins with those of long ago.
func (s *Store) touch(digest string) {
	now := time.Now()
	if err := os.Chtimes(s.manifestPath(digest), now, now); err != nil {
		s.conf.Log.Warn("the use of an image was not noted", "image", digest, "why", err)
	}
}

// parse reads a name as people write it: "redis", "redis:7", "host/a/b@sha256:…".
func parse(ref string) (name.Reference, error) {
	if len(ref) > 512 {
		return nil, fmt.Errorf("%w: image name of %d bytes, expected at most 512", dcos.ErrInvalid, len(ref))
	}
	n, err := name.ParseReference(ref, name.WeakValidation)
	if err != nil {
		return nil, fmt.Errorf("%w: image name %q (%w): want a name like redis:7.2 or registry.example/team/name@sha256:…", dcos.ErrInvalid, ref, err)
	}
	return n, nil
}

// pull is one running pull and those who wait for it.
type pull struct {
	waiting int // guarded by Store.mu
	cancel  context.CancelFunc
	done    chan struct{} // closed when result and err are set
	result  manifest
	err     error
}

// share runs work once for all who ask for the same key at the same time. The
// last of them to give up ends the work and waits for its end.
func (s *Store) share(ctx context.Context, key string, work func(context.Context) (manifest, error)) (manifest, error) {
	s.mu.Lock()
	p := s.pulls[key]
	if p == nil {
		wctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		p = &pull{cancel: cancel, done: make(chan struct{})}
		s.pulls[key] = p
		go func() { // ends with the work, which ends when nobody waits
			p.result, p.err = work(wctx)
			cancel()
			s.forget(key, p)
			close(p.done)
		}()
	}
	p.waiting++
	s.mu.Unlock()
	select {
	case <-p.done:
		return p.result, p.err
	case <-ctx.Done():
	}
	s.mu.Lock()
	p.waiting--
	last := p.waiting == 0
	s.mu.Unlock()
	if last {
		s.forget(key, p) // who asks now starts anew
		p.cancel()
		<-p.done
	}
	return manifest{}, ctx.Err()
}

func (s *Store) forget(key string, p *pull) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pulls[key] == p {
		delete(s.pulls, key)
	}
}

func (s *Store) namePath(n name.Reference) string {
	return s.path("names", fmt.Sprintf("%x.json", sha256.Sum256([]byte(n.Name()))))
}

func (s *Store) manifestPath(digest string) string {
	return s.path("manifests", fmt.Sprintf("%x.json", sha256.Sum256([]byte(digest))))
}

// cached finds an image by name, if all of it is here.
func (s *Store) cached(n name.Reference) (manifest, bool) {
	var t tag
	if err := readJSON(s.namePath(n), &t); err != nil || t.Name != n.Name() {
		return manifest{}, false
	}
	return s.manifest(t.Digest)
}

func (s *Store) manifest(digest string) (manifest, bool) {
	var m manifest
	if err := readJSON(s.manifestPath(digest), &m); err != nil || m.Digest != digest {
		return manifest{}, false
	}
	s.pin(m.Layers, 1) // so that a Prune in progress spares what we have seen
	defer s.pin(m.Layers, -1)
	for _, hex := range m.Layers {
		if _, err := os.Lstat(s.layerPath(hex)); err != nil {
			return manifest{}, false
		}
	}
	return m, true
}

// remember writes an image's manifest and then its name: a crash between them
// leaves an image that is whole and only has to be named again.
func (s *Store) remember(n name.Reference, m manifest) error {
	if err := writeJSON(s.manifestPath(m.Digest), m); err != nil {
		return err
	}
	return writeJSON(s.namePath(n), tag{Name: n.Name(), Digest: m.Digest})
}

// maxRecord bounds a file of this store that is read back.
const maxRecord = 16 << 20

func readJSON(path string, v any) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Size() > maxRecord {
		return fmt.Errorf("%s: %w: %d bytes", path, dcos.ErrInvalid, info.Size())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, v)
}

func writeJSON(path string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		if rerr := os.Remove(f.Name()); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
			return errors.Join(err, rerr)
		}
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
