package image

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Prune deletes every image whose digest is not in keep, the names that stood
// for it, and the layers that no kept image and no running pull needs. It
// returns how many layers went.
func (s *Store) Prune(keep []string) (int, error) {
	s.prune.Lock()
	defer s.prune.Unlock()
	s.spare(make(map[string]bool))
	defer s.spare(nil)
	used, err := s.pruneManifests(keep)
	if err != nil {
		return 0, fmt.Errorf("prune images: %w", err)
	}
	entries, err := os.ReadDir(s.path("layers"))
	if err != nil {
		return 0, fmt.Errorf("prune images: %w", err)
	}
	gone := 0
	for _, e := range entries {
		if used[e.Name()] {
			continue
		}
		trash, err := s.setAside(e.Name())
		if err != nil {
			return gone, fmt.Errorf("prune images: %w", err)
		}
		if trash == "" {
			continue
		}
		if err := os.RemoveAll(trash); err != nil {
			return gone, fmt.Errorf("prune images: %w", err)
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

// pruneManifests returns the layers of the images that stay.
func (s *Store) pruneManifests(keep []string) (map[string]bool, error) {
	used := make(map[string]bool)
	for _, digest := range keep {
		var m manifest
		if err := readJSON(s.manifestPath(digest), &m); err == nil {
			for _, hex := range m.Layers {
				used[hex] = true
			}
		}
	}
	err := s.eachRecord("names", func(path string) bool {
		var t tag
		return readJSON(path, &t) == nil && slices.Contains(keep, t.Digest)
	})
	if err != nil {
		return nil, err
	}
	return used, s.eachRecord("manifests", func(path string) bool {
		var m manifest
		return readJSON(path, &m) == nil && slices.Contains(keep, m.Digest)
	})
}

// eachRecord deletes the records that do not stay.
func (s *Store) eachRecord(sub string, stays func(string) bool) error {
	entries, err := os.ReadDir(s.path(sub))
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := s.path(sub, e.Name())
		if strings.HasPrefix(e.Name(), ".new-") || stays(path) {
			continue
		}
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	return nil
}
