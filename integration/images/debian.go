package images

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dcos-go/dcos/integration/hosts/cache"
)

// maxPackageFile bounds one file of a package.
const maxPackageFile = 512 << 20

// download puts a package with all that it depends on into dir. The list is
// apt's own, against a machine where nothing is installed.
func download(ctx context.Context, dir string, packages []string) error {
	unlock, err := cache.AptLock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	names, err := closure(ctx, dir, packages)
	if err != nil {
		// A fresh machine has no lists of packages yet, or old ones.
		if update := cache.Apt(ctx, "update"); update != nil {
			return errors.Join(err, update)
		}
		if names, err = closure(ctx, dir, packages); err != nil {
			return err
		}
	}
	get := func() error {
		cmd := exec.CommandContext(ctx, "apt-get", append([]string{"-q", "-o", "APT::Sandbox::User=root", "download"}, names...)...)
		cmd.Dir = dir
		return cache.Run(cmd)
	}
	if err := get(); err != nil {
		if update := cache.Apt(ctx, "update"); update != nil {
			return errors.Join(err, update)
		}
		return get()
	}
	return nil
}

func closure(ctx context.Context, dir string, packages []string) ([]string, error) {
	status := filepath.Join(dir, "status")
	if err := os.WriteFile(status, nil, 0o644); err != nil {
		return nil, err
	}
	defer os.Remove(status)
	cmd := exec.CommandContext(ctx, "apt-get", append([]string{
		"-s", "-o", "Dir::State::status=" + status,
		"--no-install-recommends", "install",
	}, packages...)...)
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("packages that %s depend on: %w: %s", strings.Join(packages, " "), err, errOut.String())
	}
	var names []string
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "Inst" {
			names = append(names, f[1])
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("packages that %s depend on: apt names none", strings.Join(packages, " "))
	}
	return names, nil
}

// tree is the files of unpacked packages by path, without a leading slash.
// /bin, /sbin and /lib are below /usr, as Debian merges them.
type tree map[string]entry

type entry struct {
	mode int64
	uid  int // and group
	dir  bool
	link string // a symlink's target
	data []byte
}

// unpack reads the packages of dir. Documentation is passed over.
func unpack(ctx context.Context, dir string) (tree, error) {
	debs, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(debs) == 0 {
		return nil, errors.Join(err, fmt.Errorf("no packages in %s", dir))
	}
	slices.Sort(debs)
	t := tree{}
	for _, deb := range debs {
		if err := t.add(ctx, deb); err != nil {
			return nil, fmt.Errorf("unpack %s: %w", filepath.Base(deb), err)
		}
	}
	return t, nil
}

func (t tree) add(ctx context.Context, deb string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	err = t.read(tar.NewReader(out))
	if err == nil {
		_, err = io.Copy(io.Discard, out)
	} else {
		cancel()
	}
	return errors.Join(err, cmd.Wait())
}

func (t tree) read(r *tar.Reader) error {
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := merged(h.Name)
		if strings.HasPrefix(name, "usr/share/") {
			continue
		}
		switch h.Typeflag {
		case tar.TypeReg:
			data, err := io.ReadAll(io.LimitReader(r, maxPackageFile+1))
			if err != nil {
				return err
			}
			if len(data) > maxPackageFile {
				return fmt.Errorf("%s is larger than %d bytes", name, maxPackageFile)
			}
			t[name] = entry{mode: h.Mode & 0o7777, data: data}
		case tar.TypeSymlink:
			t[name] = entry{mode: 0o777, link: h.Linkname}
		case tar.TypeLink:
			t[name] = t[merged(h.Linkname)]
		}
	}
}

// merged is the clean path below a merged /usr.
func merged(name string) string {
	name = strings.TrimPrefix(filepath.Clean("/"+name), "/")
	for _, d := range []string{"bin", "sbin", "lib", "lib64"} {
		if name == d || strings.HasPrefix(name, d+"/") {
			return "usr/" + name
		}
	}
	return name
}
