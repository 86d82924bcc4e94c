package hosts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dcos-go/dcos/integration/hosts/cache"
)

// A host's systemd holds about six inotify instances, and all hosts count as
// one user of the machine, which has 128 by default: enough for 15 hosts of
// all test runs together. While a Net is there the limit is wider.
const (
	inotifyFile = "/proc/sys/fs/inotify/max_user_instances"
	inotifyWide = 2048
)

func inotifySaved() string { return filepath.Join(claimDir, "inotify") }

// widenInotify raises the limit and keeps the old one for the last Net.
func widenInotify() error {
	return withSysctlLock(func() error {
		now, err := readNumber(inotifyFile)
		if err != nil || now >= inotifyWide {
			return err
		}
		if !there(inotifySaved()) {
			if err := os.WriteFile(inotifySaved(), []byte(strconv.Itoa(now)), 0o644); err != nil {
				return err
			}
		}
		return os.WriteFile(inotifyFile, []byte(strconv.Itoa(inotifyWide)), 0o644)
	})
}

// restoreInotify sets the old limit when no Net of the machine is left.
func restoreInotify() error {
	return withSysctlLock(func() error {
		if !there(inotifySaved()) {
			return nil
		}
		entries, err := os.ReadDir(claimDir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if _, err := strconv.Atoi(strings.TrimSuffix(e.Name(), ".lock")); err != nil {
				continue
			}
			// A file that nobody holds was left by a killed run; its sweep
			// comes here again.
			f, err := cache.TryLock(filepath.Join(claimDir, e.Name()))
			if errors.Is(err, unix.EWOULDBLOCK) {
				return nil
			}
			if err != nil {
				return err
			}
			err = nil
			if info, _ := f.Stat(); info != nil && info.Size() == 0 {
				err = os.Remove(f.Name()) // TryLock made it anew, or nothing was ever in it
			}
			if err := errors.Join(err, f.Close()); err != nil {
				return err
			}
		}
		old, err := readNumber(inotifySaved())
		if err != nil {
			return err
		}
		err = os.WriteFile(inotifyFile, []byte(strconv.Itoa(old)), 0o644)
		return errors.Join(err, os.Remove(inotifySaved()))
	})
}

func withSysctlLock(f func() error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	unlock, err := cache.Lock(ctx, filepath.Join(claimDir, "sysctl"))
	if err != nil {
		return err
	}
	defer unlock()
	if err := f(); err != nil {
		return fmt.Errorf("inotify limit: %w", err)
	}
	return nil
}

func readNumber(path string) (int, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(data)))
}

func there(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
