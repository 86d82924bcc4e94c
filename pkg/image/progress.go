package image

import (
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// progress is how far a pull has come.
type progress struct {
	name    string
	since   time.Time
	layers  int
	total   int64 // of all layers, as they are sent
	bytes   atomic.Int64
	skipped atomic.Int64
}

// skip counts a layer that need not be sent.
func (p *progress) skip(l v1.Layer) {
	if n, err := l.Size(); err == nil {
		p.bytes.Add(n)
	}
	p.skipped.Add(1)
}

func (s *Store) begin(name string, layers []v1.Layer) *progress {
	p := &progress{name: name, since: time.Now(), layers: len(layers)}
	for _, l := range layers {
		if n, err := l.Size(); err == nil {
			p.total += n
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.coming[p] = true
	return p
}

func (s *Store) finish(p *progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.coming, p)
}

// Image is one image of this node.
type Image struct {
	Digest   string
	Names    []string // that were resolved to it, sorted
	Bytes    int64    // unpacked; layers shared with other images are counted in each
	Layers   int
	LastUsed time.Time
	Tasks    []dcos.TaskID // that hold it, sorted
	InUse    bool          // a container stands on one of its layers, or a task holds it
}

// Coming is an image that is on its way.
type Coming struct {
	Name   string
	Since  time.Time
	Layers int
	Total  int64 // of the layers, as they are sent
	Bytes  int64 // that have come or were here
}

// Coming are the running pulls, oldest first.
func (s *Store) Coming() []Coming {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Coming, 0, len(s.coming))
	for p := range s.coming {
		out = append(out, Coming{Name: p.name, Since: p.since, Layers: p.layers, Total: p.total, Bytes: p.bytes.Load()})
	}
	slices.SortFunc(out, func(a, b Coming) int {
		if c := a.Since.Compare(b.Since); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	return out
}

// Images are all images that are here, the last used first.
func (s *Store) Images() ([]Image, error) {
	used, err := s.usedLayers()
	if err != nil {
		return nil, err
	}
	all, err := s.list()
	if err != nil {
		return nil, err
	}
	names := make(map[string][]string)
	err = s.eachFile("names", func(path string, _ os.FileInfo) {
		var t tag
		if readJSON(path, &t) == nil {
			names[t.Digest] = append(names[t.Digest], t.Name)
		}
	})
	if err != nil {
		return nil, err
	}
	tasks := make(map[string][]dcos.TaskID)
	s.mu.Lock()
	for task, digest := range s.held {
		tasks[digest] = append(tasks[digest], task)
	}
	s.mu.Unlock()
	out := make([]Image, 0, len(all))
	for _, m := range all {
		i := Image{
			Digest: m.Digest, Names: names[m.Digest], Bytes: m.Bytes, Layers: len(m.Layers), LastUsed: m.used,
			Tasks: tasks[m.Digest], InUse: len(tasks[m.Digest]) > 0 || m.stoodOn(used),
		}
		slices.Sort(i.Names)
		slices.Sort(i.Tasks)
		out = append(out, i)
	}
	slices.SortFunc(out, func(a, b Image) int {
		if c := b.LastUsed.Compare(a.LastUsed); c != 0 {
			return c
		}
		return strings.Compare(a.Digest, b.Digest)
	})
	return out, nil
}
