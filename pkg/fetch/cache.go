package fetch

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// cache keeps what was fetched by its address: a file with the bytes and,
// written after it, one that names them. A file without the second is deleted.
type cache struct {
	dir   string
	bytes int64

	mu   sync.Mutex
	keys map[string]*turn // guarded by mu; addresses that are being fetched
}

// turn is the right to fetch one address.
type turn struct {
	taken   chan struct{} // holds one when somebody fetches it
	waiting int           // guarded by cache.mu
}

const (
	newPrefix  = ".new-"
	metaSuffix = ".json"
)

func openCache(dir string, bytes int64) (*cache, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		name := e.Name()
		if !strings.HasSuffix(name, metaSuffix) {
			if _, err := os.Lstat(filepath.Join(dir, name+metaSuffix)); err == nil && !strings.HasPrefix(name, newPrefix) {
				continue
			}
		} else if _, err := os.Lstat(filepath.Join(dir, strings.TrimSuffix(name, metaSuffix))); err == nil {
			continue
		}
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return &cache{dir: dir, bytes: bytes, keys: make(map[string]*turn)}, nil
}

func cacheKey(uri string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(uri))) }

// lock waits until nobody else fetches the cached ones of these, in an order
// that all keep, and returns how to let them go.
func (c *cache) lock(ctx context.Context, all []dcos.Artifact) (func(), error) {
	var keys []string
	for _, a := range all {
		if a.Cache {
			keys = append(keys, cacheKey(a.URI))
		}
	}
	slices.Sort(keys)
	keys = slices.Compact(keys)
	unlock := func(keys []string, taken int) {
		c.mu.Lock()
		defer c.mu.Unlock()
		for i, k := range keys {
			t := c.keys[k]
			if i < taken {
				<-t.taken
			}
			if t.waiting--; t.waiting == 0 {
				delete(c.keys, k)
			}
		}
	}
	for i, k := range keys {
		c.mu.Lock()
		t := c.keys[k]
		if t == nil {
			t = &turn{taken: make(chan struct{}, 1)}
			c.keys[k] = t
		}
		t.waiting++
		c.mu.Unlock()
		select {
		case t.taken <- struct{}{}:
		case <-ctx.Done():
			unlock(keys[:i+1], i)
			return nil, context.Cause(ctx)
		}
	}
	return func() { unlock(keys, len(keys)) }, nil
}

// seat is the place of one address in the cache during a fetch.
type seat struct {
	path  string
	old   *os.File // nil: it holds none
	meta  meta     // of old
	fresh *os.File // nil: not for the cache
}

func (c *cache) seat(uri string) (*seat, error) {
	s := &seat{path: filepath.Join(c.dir, cacheKey(uri))}
	text, err := os.ReadFile(s.path + metaSuffix)
	if err == nil && json.Unmarshal(text, &s.meta) == nil && s.meta.URI == uri {
		if s.old, err = os.Open(s.path); err == nil {
			now := time.Now()
			_ = os.Chtimes(s.path, now, now) // it only orders what goes first
		}
	}
	if s.fresh, err = os.CreateTemp(c.dir, newPrefix); err != nil {
		s.leave()
		return nil, err
	}
	return s, nil
}

// settle takes what was fetched into the cache.
func (s *seat) settle(d done) {
	if !d.Fresh {
		return
	}
	text, err := json.Marshal(d.Meta)
	if err != nil {
		return
	}
	// The name goes before the bytes change, and comes after them.
	if err := os.Remove(s.path + metaSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return
	}
	if s.fresh.Sync() != nil || os.Rename(s.fresh.Name(), s.path) != nil {
		return
	}
	tmp := s.fresh.Name() + ".meta"
	if os.WriteFile(tmp, text, 0o600) == nil && os.Rename(tmp, s.path+metaSuffix) != nil {
		_ = os.Remove(tmp) // what is not named is deleted at the next start
	}
}

// leave closes the seat; what was not settled is deleted.
func (s *seat) leave() {
	if s.old != nil {
		_ = s.old.Close()
	}
	if s.fresh != nil {
		_ = s.fresh.Close()
		_ = os.Remove(s.fresh.Name()) // gone when it was settled
	}
}

// trim deletes the longest unused files until the cache is within its bound.
// Who has one open keeps reading it.
func (c *cache) trim() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return fmt.Errorf("fetch: cache: %w", err)
	}
	type file struct {
		name  string
		bytes int64
		used  time.Time
	}
	var files []file
	var total int64
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), metaSuffix) || strings.HasPrefix(e.Name(), newPrefix) {
			continue
		}
		if info, err := e.Info(); err == nil {
			files = append(files, file{e.Name(), info.Size(), info.ModTime()})
			total += info.Size()
		}
	}
	slices.SortFunc(files, func(a, b file) int { return cmp.Or(a.used.Compare(b.used), cmp.Compare(a.name, b.name)) })
	for _, f := range files {
		if total <= c.bytes {
			break
		}
		path := filepath.Join(c.dir, f.name)
		if err := errors.Join(os.Remove(path+metaSuffix), os.Remove(path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("fetch: cache: %w", err)
		}
		total -= f.bytes
	}
	return nil
}
