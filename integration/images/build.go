package images

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/dcos-go/dcos/integration/hosts/cache"
)

// builder is part of every cache key: raise it when build.go makes other bytes
// of the same recipe.
const builder = "v1"

// Get returns an image by one of Names. The first time it is built: some
// seconds, with a way to the Debian mirror. Afterwards it comes from the
// cache, each blob checked against its digest; a damaged one is built again.
func Get(ctx context.Context, ref string) (v1.Image, error) {
	r, err := lookup(ref)
	if err != nil {
		return nil, err
	}
	for range 2 {
		var image v1.Image
		var dir string
		dir, err = cache.Build(ctx, filepath.Join("images", r.key()), r.save)
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", ref, err)
		}
		if image, err = load(dir); err == nil {
			return image, nil
		}
		err = fmt.Errorf("image %s: the cache is damaged: %w; remove %s", ref, err, dir)
		if os.RemoveAll(dir) != nil {
			break
		}
	}
	return nil, err
}

func lookup(ref string) (recipe, error) {
	for _, r := range catalog {
		if slices.Contains(r.tags, ref) {
			return r, nil
		}
	}
	return recipe{}, fmt.Errorf("image %s: no recipe; there are %s", ref, strings.Join(Names(), ", "))
}

// key names the image's directory in the cache.
func (r recipe) key() string {
	return strings.ReplaceAll(r.tags[0], ":", "-") + "-" + hash(builder, runtime.GOARCH, fmt.Sprintf("%+v", r))
}

func hash(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:])[:16]
}

// save builds the image into an OCI layout.
func (r recipe) save(ctx context.Context, dir string) error {
	debs, err := cache.Build(ctx, "debs/"+hash(r.packages...), func(ctx context.Context, dir string) error {
		return download(ctx, dir, r.packages)
	})
	if err != nil {
		return err
	}
	image, err := r.build(ctx, debs)
	if err != nil {
		return err
	}
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	return p.AppendImage(image)
}

func load(dir string) (v1.Image, error) {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	if len(manifest.Manifests) != 1 {
		return nil, fmt.Errorf("%d images in the layout, want 1", len(manifest.Manifests))
	}
	image, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		return nil, err
	}
	if got, err := image.Digest(); err != nil || got != manifest.Manifests[0].Digest {
		return nil, errors.Join(err, fmt.Errorf("manifest is %s, want %s", got, manifest.Manifests[0].Digest))
	}
	return image, verify(image)
}

// verify reads every blob and compares it with its digest. Blobs are not
// unpacked: their digests cover what is in them.
func verify(image v1.Image) error {
	layers, err := image.Layers()
	if err != nil {
		return err
	}
	want, err := image.ConfigName()
	if err != nil {
		return err
	}
	raw, err := image.RawConfigFile()
	if err != nil {
		return err
	}
	if got, _, err := v1.SHA256(bytes.NewReader(raw)); err != nil || got != want {
		return errors.Join(err, fmt.Errorf("config is %s, want %s", got, want))
	}
	for _, l := range layers {
		if err := verifyLayer(l); err != nil {
			return err
		}
	}
	return nil
}

func verifyLayer(l v1.Layer) error {
	want, err := l.Digest()
	if err != nil {
		return err
	}
	r, err := l.Compressed()
	if err != nil {
		return err
	}
	defer r.Close()
	got, _, err := v1.SHA256(r)
	if err != nil {
		return fmt.Errorf("layer %s: %w", want, err)
	}
	if got != want {
		return fmt.Errorf("layer is %s, want %s", got, want)
	}
	return nil
}

// build makes the image of the packages in debs. Same packages, same digest.
func (r recipe) build(ctx context.Context, debs string) (v1.Image, error) {
	from, err := unpack(ctx, debs)
	if err != nil {
		return nil, err
	}
	product := tree{}
	for _, name := range r.programs {
		if err := from.want(product, name); err != nil {
			return nil, err
		}
	}
	base, err := r.base(ctx, from, product)
	if err != nil {
		return nil, err
	}
	image := empty.Image
	for _, files := range []tree{base, product} {
		if image, err = appendLayer(image, files); err != nil {
			return nil, err
		}
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Created = v1.Time{Time: time.Unix(0, 0).UTC()}
	config.Config = r.config
	return mutate.ConfigFile(image, config)
}

// base is the layer of the recipe's own files and links.
func (r recipe) base(ctx context.Context, from, product tree) (tree, error) {
	out := tree{}
	for _, f := range r.files {
		out[f.name] = entry{mode: f.mode, uid: f.uid, dir: f.kind == tar.TypeDir, data: []byte(f.text)}
	}
	for name, to := range r.links {
		out[name] = entry{mode: 0o777, link: to}
	}
	if r.applets == "" {
		return out, nil
	}
	names, err := applets(ctx, from)
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		name := r.applets + "/" + n
		_, mine := out[name]
		if _, taken := product[name]; !taken && !mine {
			out[name] = entry{mode: 0o777, link: "busybox"}
		}
	}
	return out, nil
}

// applets asks busybox which programs it is.
func applets(ctx context.Context, from tree) ([]string, error) {
	dir, err := os.MkdirTemp("", "busybox")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "busybox")
	if err := os.WriteFile(program, from[merged("bin/busybox")].data, 0o755); err != nil {
		return nil, err
	}
	out, err := exec.CommandContext(ctx, program, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("busybox --list: %w", err)
	}
	return strings.Fields(string(out)), nil
}

// want copies a file to out, with what a link leads to and a program needs.
func (t tree) want(out tree, name string) error {
	if _, ok := out[name]; ok {
		return nil
	}
	e, ok := t[merged(name)]
	if !ok {
		return fmt.Errorf("%s is in none of the packages", name)
	}
	out[name] = e
	if e.link != "" {
		to := e.link
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(merged(name)), to)
		}
		return t.want(out, merged(to))
	}
	needs, err := libraries(e.data)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for _, need := range needs {
		path, err := t.find(need)
		if err == nil {
			err = t.want(out, path)
		}
		if err != nil {
			return fmt.Errorf("%s needs %s: %w", name, need, err)
		}
	}
	return nil
}

// libraries lists what the dynamic linker would load for a program, itself
// included by its path. What is no ELF file needs nothing.
func libraries(data []byte) ([]string, error) {
	if !bytes.HasPrefix(data, []byte(elf.ELFMAG)) {
		return nil, nil
	}
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.ImportedLibraries()
	if err != nil {
		return nil, err
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			path, err := io.ReadAll(p.Open())
			if err != nil {
				return nil, err
			}
			names = append(names, strings.TrimRight(string(path), "\x00"))
		}
	}
	return names, nil
}

// find looks for a library where Debian's linker does.
func (t tree) find(name string) (string, error) {
	if filepath.IsAbs(name) {
		return merged(name), nil
	}
	var found []string
	for path := range t {
		if filepath.Base(path) != name {
			continue
		}
		if d := filepath.Dir(path); d == "usr/lib" || strings.HasPrefix(d, "usr/lib/") && strings.HasSuffix(d, "-linux-gnu") {
			found = append(found, path)
		}
	}
	if len(found) == 0 {
		return "", errors.New("no such library in the packages")
	}
	return slices.Min(found), nil
}

func appendLayer(image v1.Image, files tree) (v1.Image, error) {
	data, err := files.tar()
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data)), nil
	}, tarball.WithCompressionLevel(6))
	if err != nil {
		return nil, err
	}
	return mutate.AppendLayers(image, layer)
}

// tar packs the files sorted, with the directories above them, all of 1970.
func (t tree) tar() ([]byte, error) {
	all := maps.Clone(t)
	for name := range t {
		for d := filepath.Dir(name); d != "."; d = filepath.Dir(d) {
			if _, ok := all[d]; !ok {
				all[d] = entry{mode: 0o755, dir: true}
			}
		}
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		e := all[name]
		h := &tar.Header{
			Name: name, Mode: e.mode, Uid: e.uid, Gid: e.uid, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR,
			Typeflag: tar.TypeReg, Size: int64(len(e.data)),
		}
		switch {
		case e.dir:
			h.Typeflag, h.Name = tar.TypeDir, name+"/"
		case e.link != "":
			h.Typeflag, h.Linkname = tar.TypeSymlink, e.link
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("pack %s: %w", name, err)
		}
		if _, err := w.Write(e.data); err != nil {
			return nil, fmt.Errorf("pack %s: %w", name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
