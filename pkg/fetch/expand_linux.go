package fetch

import (
	"archive/tar"
	"archive/zip"
	"compress/bzip2"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// Bounds of what one archive may be.
const (
	maxName   = 4096
	maxDepth  = 128
	maxWindow = 128 << 20 // memory that a compression may ask for
	growTimes = 200
)

// expand unpacks an archive into a directory of the sandbox.
func (j *job) expand(ctx context.Context, f *os.File, k kind, method, rest, dir string) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	x := &expansion{job: j, ctx: ctx, dir: dir, grow: j.Limits.GrowBytes + growTimes*info.Size()}
	if k == zipped {
		return archiveError(x.zip(f, info.Size()))
	}
	r, err := decompress(f, method)
	if err != nil {
		return archiveError(err)
	}
	if k == single {
		return archiveError(x.write(path.Base(rest), 0o644, time.Time{}, r))
	}
	return archiveError(x.tar(r))
}

// archiveError gives what the decoders say its kind.
func archiveError(err error) error {
	if err == nil {
		return nil
	}
	err = noRoom(err)
	for _, kind := range kinds {
		if errors.Is(err, kind) {
			return fmt.Errorf("unpack: %w", err)
		}
	}
	return fmt.Errorf("%w: unpack: %w: it is damaged, or not what its name says (\"extract\": false leaves it as it is)", dcos.ErrInvalid, err)
}

func decompress(r io.Reader, method string) (io.Reader, error) {
	switch method {
	case "gz":
		return gzip.NewReader(r)
	case "bz2":
		return bzip2.NewReader(r), nil
	case "xz":
		return xz.ReaderConfig{DictCap: maxWindow}.NewReader(r)
	case "zst":
		return zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1)) // ends with this process
	}
	return r, nil
}

// expansion is one archive on its way into the sandbox.
type expansion struct {
	*job
	ctx  context.Context
	dir  string
	grow int64 // bytes that it may still become
}

// entry judges the name of one entry: what leads out of the archive's directory
// is refused, whatever it would do then.
func (x *expansion) entry(name string) (string, error) {
	if x.ctx.Err() != nil {
		return "", context.Cause(x.ctx)
	}
	if x.entries--; x.entries < 0 {
		return "", fmt.Errorf("%w: more than %d files in what a task may fetch", dcos.ErrExhausted, x.Limits.Entries)
	}
	clean := path.Clean(strings.TrimRight(name, "/"))
	switch {
	case len(name) > maxName || strings.Count(clean, "/") > maxDepth:
		return "", fmt.Errorf("%w: a name of %d bytes and %d directories, expected at most %d and %d", dcos.ErrInvalid, len(name), strings.Count(clean, "/"), maxName, maxDepth)
	case name == "" || clean == ".":
		return ".", nil
	case strings.ContainsRune(name, 0) || strings.Contains(name, "\\") && !filepath.IsLocal(strings.ReplaceAll(name, "\\", "/")) || !filepath.IsLocal(clean):
		return "", fmt.Errorf("%w: the archive has %.200q, which leads out of the sandbox", dcos.ErrInvalid, name)
	}
	full := path.Join(x.dir, clean)
	if reserved(full) {
		return "", fmt.Errorf("%w: the archive has %.200q, a file of the task's log", dcos.ErrInvalid, name)
	}
	return full, nil
}

func (x *expansion) tar(r io.Reader) error {
	t := tar.NewReader(r)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name, err := x.entry(h.Name)
		if err != nil {
			return err
		}
		mode := h.FileInfo().Mode()
		switch h.Typeflag {
		case tar.TypeDir:
			err = x.mkdir(name)
		case tar.TypeReg:
			err = x.put(name, mode, h.ModTime, t)
		case tar.TypeSymlink:
			err = x.link(name, func() error { return x.symlink(h.Linkname, name) })
		case tar.TypeLink:
			var to string
			if to, err = x.entry(h.Linkname); err == nil {
				err = x.link(name, func() error { return x.root.Link(to, name) })
			}
		case tar.TypeXGlobalHeader:
		default:
			err = fmt.Errorf("%w: the archive has %.200q, which is neither file, directory nor link", dcos.ErrInvalid, h.Name)
		}
		if err != nil {
			return fmt.Errorf("%.200q: %w", h.Name, err)
		}
	}
}

func (x *expansion) zip(f *os.File, size int64) error {
	z, err := zip.NewReader(f, size)
	if err != nil {
		return err
	}
	for _, e := range z.File {
		name, err := x.entry(e.Name)
		if err == nil {
			err = x.zipEntry(e, name)
		}
		if err != nil {
			return fmt.Errorf("%.200q: %w", e.Name, err)
		}
	}
	return nil
}

func (x *expansion) zipEntry(e *zip.File, name string) error {
	mode := e.Mode()
	if mode.IsDir() {
		return x.mkdir(name)
	}
	r, err := e.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	switch mode.Type() {
	case 0:
		return x.put(name, mode, e.Modified, r)
	case fs.ModeSymlink:
		to, err := io.ReadAll(io.LimitReader(r, maxName+1))
		if err != nil {
			return err
		}
		return x.link(name, func() error { return x.symlink(string(to), name) })
	}
	return fmt.Errorf("%w: it is neither file, directory nor link", dcos.ErrInvalid)
}

func (x *expansion) mkdir(name string) error {
	if name == "." {
		return nil
	}
	return x.inside(x.root.MkdirAll(name, 0o755))
}

// inside tells an escape, which os.Root has stopped, from other errors.
func (x *expansion) inside(err error) error {
	if err != nil && strings.Contains(err.Error(), "escapes") {
		return fmt.Errorf("%w: it leads out of the sandbox: %w", dcos.ErrInvalid, err)
	}
	return err
}

// link makes a link in the place of what has its name.
func (x *expansion) link(name string, do func() error) error {
	if err := x.mkdir(path.Dir(name)); err != nil {
		return err
	}
	if err := x.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return x.inside(err)
	}
	return x.inside(do())
}

// symlink makes links that stay in the sandbox, by what they say; that they do
// when they are used, too, is up to os.Root for every entry that follows.
func (x *expansion) symlink(to, name string) error {
	if to == "" || len(to) > maxName || path.IsAbs(to) || !filepath.IsLocal(path.Join(path.Dir(name), to)) && path.Join(path.Dir(name), to) != "." {
		return fmt.Errorf("%w: a link to %.200q, which leads out of the sandbox", dcos.ErrInvalid, to)
	}
	return x.root.Symlink(to, name)
}

func (x *expansion) put(name string, mode fs.FileMode, at time.Time, r io.Reader) error {
	if name == "." {
		return fmt.Errorf("%w: a file without a name", dcos.ErrInvalid)
	}
	if err := x.mkdir(path.Dir(name)); err != nil {
		return err
	}
	f, err := x.create(name)
	if err != nil {
		return x.inside(err)
	}
	defer f.Close()
	if _, err := io.Copy(&counted{w: f, left: &x.leftUnpacked, j: x.job}, &growing{r: r, x: x}); err != nil {
		return err
	}
	// Never setuid, setgid or sticky; owners are the task's user anyway.
	if err := f.Chmod(mode.Perm()&0o777 | 0o600); err != nil {
		return err
	}
	if !at.IsZero() && at.Unix() > 0 {
		return x.root.Chtimes(name, at, at)
	}
	return nil
}

// write is put for the one file of a compressed file.
func (x *expansion) write(name string, mode fs.FileMode, at time.Time, r io.Reader) error {
	full, err := x.entry(name)
	if err != nil {
		return err
	}
	return x.put(full, mode, at, r)
}

// growing stops what is packed too well to be meant.
type growing struct {
	r io.Reader
	x *expansion
}

func (g *growing) Read(p []byte) (int, error) {
	if g.x.ctx.Err() != nil {
		return 0, context.Cause(g.x.ctx)
	}
	n, err := g.r.Read(p)
	if g.x.grow -= int64(n); g.x.grow < 0 {
		return 0, fmt.Errorf("%w: unpacked it is more than %d times as large as packed", dcos.ErrExhausted, growTimes)
	}
	return n, err
}
