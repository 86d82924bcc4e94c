package cache

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Tool is a program that a test needs and the Debian package that holds it.
type Tool struct{ Program, Package string }

// Need installs the packages of those tools that are not on the PATH. It
// needs root when one is missing, and says which.
func Need(ctx context.Context, tools ...Tool) error {
	missing := func() (packages []string) {
		for _, t := range tools {
			if !found(t.Program) {
				packages = append(packages, t.Package)
			}
		}
		return packages
	}
	if len(missing()) == 0 {
		return nil
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("missing Debian packages %s: install them, or run as root", strings.Join(missing(), " "))
	}
	unlock, err := AptLock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	packages := missing()
	if len(packages) == 0 {
		return nil
	}
	args := append([]string{"install", "-y", "--no-install-recommends"}, packages...)
	first := Apt(ctx, args...)
	if first == nil {
		return nil
	}
	// The lists may be old or absent on a fresh machine.
	if err := Apt(ctx, "update"); err != nil {
		return err
	}
	return Apt(ctx, args...)
}

// AptLock keeps test processes from running apt at the same time.
func AptLock(ctx context.Context) (unlock func(), err error) {
	dir, err := Dir()
	if err != nil {
		return nil, err
	}
	return Lock(ctx, filepath.Join(dir, "apt.lock"))
}

// Apt runs apt-get without questions. It waits for other users of dpkg.
func Apt(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "apt-get", append([]string{"-o", "DPkg::Lock::Timeout=300", "-q"}, args...)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C")
	return Run(cmd)
}

// Run runs cmd; an error holds the command line and the end of its output.
func Run(cmd *exec.Cmd) error {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		text := strings.TrimSpace(out.String())
		if len(text) > 2000 {
			text = "... " + text[len(text)-2000:]
		}
		return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, text)
	}
	return nil
}

// found looks beside the PATH in the places where Debian has root's tools.
func found(program string) bool {
	if _, err := exec.LookPath(program); err == nil {
		return true
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if _, err := os.Stat(filepath.Join(dir, program)); err == nil {
			return true
		}
	}
	return false
}
