package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The marks of Collect where none are set, and how often Run looks.
const (
	defaultHigh, defaultLow = 85, 75
	lookAgain               = time.Minute
)

// kept is an image that is here.
type kept struct {
	manifest
	used time.Time
}

func (k kept) stoodOn(layers map[string]bool) bool {
	return slices.ContainsFunc(k.Layers, func(hex string) bool { return layers[hex] })
}

// Run collects whenever the disk has become too full, until ctx ends.
func (s *Store) Run(ctx context.Context) error {
	t := time.NewTicker(lookAgain)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C: // not before: what an earlier life had begun to start has its mounts by then
		}
		if n, err := s.Collect(0); err != nil {
			s.conf.Log.Warn("images were not collected", "why", err)
		} else if n > 0 {
			s.conf.Log.Info("images were collected", "images", n)
		}
	}
}

// Collect makes room: when the disk is fuller than the high mark, or fewer than
// need bytes are free, images that nothing uses are deleted, the longest unused
// first, until it is no fuller than the low mark and need is free. What tasks
// hold, containers stand on, or pulls count on stays, whatever the marks say;
// what containers stand on is read from Config.Used at every call, so that an
// agent that was killed and started again knows it too. It returns how many
// images went.
func (s *Store) Collect(need int64) (int, error) {
	s.prune.Lock()
	defer s.prune.Unlock()
	if full, err := s.over(s.conf.High, need); err != nil || !full {
		return 0, err
	}
	return s.clear(func() (bool, error) { return s.over(s.conf.Low, need) })
}

// Prune deletes every image that nothing uses, as Collect does when the disk is
// full, and returns how many went.
func (s *Store) Prune() (int, error) {
	s.prune.Lock()
	defer s.prune.Unlock()
	return s.clear(func() (bool, error) { return true, nil })
}

// clear deletes what no image needs, then images, as long as more should go.
func (s *Store) clear(more func() (bool, error)) (int, error) {
	s.spare(make(map[string]bool))
	defer s.spare(nil)
	stay, spent, err := s.candidates()
	if err != nil {
		return 0, fmt.Errorf("collect images: %w", err)
	}
	gone := 0
	for {
		if _, err := s.sweepLayers(slices.Concat(stay, spent)); err != nil {
			return gone, fmt.Errorf("collect images: %w", err)
		}
		if ok, err := more(); err != nil || !ok || len(spent) == 0 {
			return gone, errors.Join(err, s.forgetNames())
		}
		went, err := s.forgetImage(spent[0])
		if err != nil {
			return gone, fmt.Errorf("collect images: %w", err)
		}
		if !went {
			stay = append(stay, spent[0])
		} else {
			gone++
		}
		spent = spent[1:]
	}
}

// over says whether the disk is fuller than a mark, or has less room than need.
func (s *Store) over(mark int, need int64) (bool, error) {
	used, total, err := s.disk()
	if err != nil || total <= 0 {
		return false, err
	}
	return used > total/100*int64(mark) || total-used < need, nil
}

// candidates are the images that must stay, and those that may go, the longest
// unused first.
func (s *Store) candidates() (stay, spent []kept, err error) {
	all, err := s.list()
	if err != nil {
		return nil, nil, err
	}
	s.mu.Lock()
	held := make(map[string]bool, len(s.held))
	for _, digest := range s.held {
		held[digest] = true
	}
	s.mu.Unlock()
	// Asked after the tasks: one of them that begins to run meanwhile still
	// holds its image.
	used, err := s.usedLayers()
	if err != nil {
		return nil, nil, err
	}
	for _, k := range all {
		if held[k.Digest] || k.stoodOn(used) {
			stay = append(stay, k)
		} else {
			spent = append(spent, k)
		}
	}
	slices.SortFunc(spent, func(a, b kept) int {
		if c := a.used.Compare(b.used); c != 0 {
			return c
		}
		return strings.Compare(a.Digest, b.Digest)
	})
	return stay, spent, nil
}

// usedLayers are the layers that containers stand on.
func (s *Store) usedLayers() (map[string]bool, error) {
	used := make(map[string]bool)
	if s.conf.Used == nil {
		return used, nil
	}
	paths, err := s.conf.Used()
	if err != nil {
		return nil, fmt.Errorf("find out which layers are in use: %w", err)
	}
	for _, p := range paths {
		if filepath.Dir(p) == s.path("layers") {
			used[filepath.Base(p)] = true
		}
	}
	return used, nil
}

// list reads every manifest.
func (s *Store) list() ([]kept, error) {
	var all []kept
	err := s.eachFile("manifests", func(path string, info os.FileInfo) {
		k := kept{used: info.ModTime()}
		if readJSON(path, &k.manifest) == nil {
			all = append(all, k)
		}
	})
	return all, err
}

func (s *Store) eachFile(sub string, do func(path string, info os.FileInfo)) error {
	entries, err := os.ReadDir(s.path(sub))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".new-") {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		do(s.path(sub, e.Name()), info)
	}
	return nil
}

// forgetImage deletes an image's record, unless a task came for it. One that
// comes later looks again after it holds the image.
func (s *Store) forgetImage(k kept) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, digest := range s.held {
		if digest == k.Digest {
			return false, nil
		}
	}
	if err := os.Remove(s.manifestPath(k.Digest)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	return true, nil
}

// forgetNames deletes the names of images that are gone.
func (s *Store) forgetNames() error {
	var failed error
	err := s.eachFile("names", func(path string, _ os.FileInfo) {
		var t tag
		if readJSON(path, &t) == nil {
			if _, err := os.Lstat(s.manifestPath(t.Digest)); err == nil {
				return
			}
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = err
		}
	})
	return errors.Join(err, failed)
}

// dropLayers deletes the layers that are not needed; those that a pull counts
// on are spared.
func (s *Store) dropLayers(needed map[string]bool) (int, error) {
	entries, err := os.ReadDir(s.path("layers"))
	if err != nil {
		return 0, err
	}
	gone := 0
	for _, e := range entries {
		if needed[e.Name()] {
			continue
		}
		trash, err := s.setAside(e.Name())
		if err != nil {
			return gone, err
		}
		if trash == "" {
			continue
		}
		if err := os.RemoveAll(trash); err != nil {
			return gone, err
		}
		gone++
	}
	return gone, nil
}

// spare begins or ends the record of layers that are asked for meanwhile.
func (s *Store) spare(layers map[string]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spared = layers
}

// setAside moves a layer out of sight, unless a pull counts on it.
func (s *Store) setAside(hex string) (string, error) {
	trash, err := os.MkdirTemp(s.path("tmp"), "gone-")
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pinned[hex] > 0 || s.spared[hex] {
		return "", os.Remove(trash)
	}
	return trash, os.Rename(s.layerPath(hex), filepath.Join(trash, hex))
}

// sweepLayers deletes the layers that no image of these needs, and no
// container, and no pull.
func (s *Store) sweepLayers(images []kept) (int, error) {
	needed, err := s.usedLayers()
	if err != nil {
		return 0, err
	}
	for _, k := range images {
		for _, hex := range k.Layers {
			needed[hex] = true
		}
	}
	return s.dropLayers(needed)
}

// weigh is the space that layers take together.
func (s *Store) weigh(layers []string) (int64, error) {
	var total int64
	for _, hex := range layers {
		err := filepath.WalkDir(s.layerPath(hex), func(path string, _ os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			var st unix.Stat_t
			if err := unix.Lstat(path, &st); err != nil {
				return err
			}
			if st.Nlink == 1 || st.Mode&unix.S_IFMT == unix.S_IFDIR {
				total += st.Blocks * 512
			} else {
				total += st.Blocks * 512 / int64(st.Nlink)
			}
			return nil
		})
		if err != nil {
			return 0, fmt.Errorf("measure layer %s: %w", hex, err)
		}
	}
	return total, nil
}
