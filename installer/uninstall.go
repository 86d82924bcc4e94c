package installer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Purge ends every task of this machine and removes what the kernel holds for
// them (cgroups, mounts, network). It must succeed when there is nothing.
type Purge func(ctx context.Context, dataDir string) error

// Uninstall takes dcos off the machine: processes, tasks, unit, files, data.
// A part that is gone already is no error, so that it can be run again after a
// crash.
func Uninstall(ctx context.Context, p Paths, m Machine, purge Purge, keepBinary bool, r *Report) error {
	if !m.Root() {
		return errors.New("uninstall needs root: run it with sudo")
	}
	steps := []step{
		{"stop", func(ctx context.Context) (bool, string, error) {
			s := unitState(ctx, m)
			return !s.loaded && !s.active, "no unit", nil
		}, func(ctx context.Context) (string, error) {
			if out, err := m.Systemctl(ctx, "disable", "--now", Unit); err != nil {
				return "", fmt.Errorf("systemctl disable --now %s: %w: %s", Unit, err, strings.TrimSpace(out))
			}
			return Unit + " stopped", nil
		}},
		{"tasks", func(context.Context) (bool, string, error) {
			_, err := os.Stat(p.DataDir)
			return errors.Is(err, fs.ErrNotExist), "none", nil
		}, func(ctx context.Context) (string, error) {
			return "ended", purge(ctx, p.DataDir)
		}},
		removeStep("unit", filepath.Join(p.UnitDir, Unit)),
		{"reload", func(ctx context.Context) (bool, string, error) {
			return !unitState(ctx, m).loaded, "systemd knows no " + Unit, nil
		}, func(ctx context.Context) (string, error) {
			_, _ = m.Systemctl(ctx, "reset-failed", Unit) // it may not have failed
			out, err := m.Systemctl(ctx, "daemon-reload")
			if err != nil {
				return "", fmt.Errorf("systemctl daemon-reload: %w: %s", err, out)
			}
			return "systemd reloaded", nil
		}},
		removeStep("config", p.ConfigDir),
		removeStep("data", p.DataDir),
		removeStep("run", p.RunDir),
	}
	if !keepBinary {
		steps = append(steps, removeStep("binary", p.Binary))
	}
	return run(ctx, steps, r)
}

// removeStep removes a file or a tree. It stays on the tree's own file system
// and refuses when something is still mounted in it: removing through a mount
// could reach the host's own files.
func removeStep(name, path string) step {
	return step{
		name: name,
		done: func(context.Context) (bool, string, error) {
			_, err := os.Lstat(path)
			if errors.Is(err, fs.ErrNotExist) {
				return true, "gone", nil
			}
			return false, "", err
		},
		do: func(context.Context) (string, error) {
			mounts, err := os.ReadFile("/proc/self/mountinfo")
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return "", fmt.Errorf("list mounts: %w", err)
			}
			for _, line := range strings.Split(string(mounts), "\n") {
				if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], path+"/") {
					return "", fmt.Errorf("%s is still mounted below %s: end what uses it, unmount it, and run uninstall again", f[4], path)
				}
			}
			if err := removeTree(path); err != nil {
				return "", err
			}
			return path + " removed", nil
		},
	}
}

// removeTree removes a tree. A mount point at its root (a disk of its own) is
// emptied and stays.
func removeTree(path string) error {
	err := os.RemoveAll(path)
	if err == nil {
		return nil
	}
	entries, listErr := os.ReadDir(path)
	if listErr == nil && len(entries) == 0 {
		return nil
	}
	return fmt.Errorf("remove %s: %w", path, err)
}
