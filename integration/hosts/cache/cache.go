// Package cache keeps what the integration tests build once and use many
// times: root file systems, Debian packages, image layers.
//
// It owns one directory outside the checkout. It promises that an entry is
// either absent or complete, also when several test processes build it at
// once or one is killed in the middle. It must not be used for anything that
// a test changes.
package cache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Dir is the directory of all entries: dcos-test below XDG_CACHE_HOME, or
// below ~/.cache. It exists when Dir returns without an error.
func Dir() (string, error) {
	base := os.Getenv("XDG_CACHE_HOME")
	if base == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("find the cache directory: %w; set XDG_CACHE_HOME or HOME", err)
		}
		base = filepath.Join(home, ".cache")
	}
	dir := filepath.Join(base, "dcos-test")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make the cache directory: %w", err)
	}
	return dir, nil
}

// Build returns the directory of the entry name, which make has filled. make
// runs at most once for a name, under a lock that other processes respect, in
// a temporary directory that is renamed at the end. A name should hold a hash
// of everything that the content depends on.
func Build(ctx context.Context, name string, build func(ctx context.Context, dir string) error) (string, error) {
	root, err := Dir()
	if err != nil {
		return "", err
	}
	final := filepath.Join(root, name)
	if _, err := os.Stat(final); err == nil {
		return final, nil
	}
	if err := os.MkdirAll(filepath.Dir(final), 0o755); err != nil {
		return "", fmt.Errorf("cache %s: %w", name, err)
	}
	unlock, err := Lock(ctx, final+".lock")
	if err != nil {
		return "", fmt.Errorf("cache %s: %w", name, err)
	}
	defer unlock()
	if _, err := os.Stat(final); err == nil {
		return final, nil
	}
	temp := final + ".tmp"
	// A killed builder leaves its directory; the lock says that nobody uses it.
	if err := os.RemoveAll(temp); err != nil {
		return "", fmt.Errorf("cache %s: remove unfinished build: %w", name, err)
	}
	if err := os.Mkdir(temp, 0o755); err != nil {
		return "", fmt.Errorf("cache %s: %w", name, err)
	}
	if err := build(ctx, temp); err != nil {
		return "", errors.Join(fmt.Errorf("cache %s: %w", name, err), os.RemoveAll(temp))
	}
	if err := os.Rename(temp, final); err != nil {
		return "", fmt.Errorf("cache %s: %w", name, err)
	}
	return final, nil
}

// Lock takes the file lock at path, making the file when needed, and waits
// for it until ctx ends. The lock ends with the process or with unlock.
func Lock(ctx context.Context, path string) (unlock func(), err error) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		f, err := TryLock(path)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the lock %s: %w", path, ctx.Err())
		case <-tick.C:
		}
	}
}

// TryLock takes the file lock at path or fails with unix.EWOULDBLOCK at once.
// Closing the file gives the lock back. The holder may remove the file before
// it closes it: a lock on a file that is no longer at path is never returned.
func TryLock(path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return nil, fmt.Errorf("lock: %w", err)
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		held, err := f.Stat()
		if err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("lock: %w", err)
		}
		now, err := os.Stat(path)
		if err == nil && os.SameFile(held, now) {
			return f, nil
		}
		_ = f.Close()
	}
}
