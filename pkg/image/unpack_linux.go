package image

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// pull brings an image here: manifest and configuration first, then the layers
// that are missing, then the records.
func (s *Store) pull(ctx context.Context, n name.Reference) (manifest, error) {
	if os.Geteuid() != 0 {
		return manifest{}, fmt.Errorf("%w: unpacking images needs root: run the agent as root, or the command without an image", dcos.ErrInvalid)
	}
	img, err := s.client.resolve(ctx, n)
	if err != nil {
		return manifest{}, err
	}
	m, layers, err := s.describe(img)
	if err != nil {
		return manifest{}, err
	}
	s.pin(m.Layers, 1)
	defer s.pin(m.Layers, -1)
	if err := s.room(missing(s, m, layers)); err != nil {
		return manifest{}, err
	}
	pr := s.begin(n.Name(), layers)
	defer s.finish(pr)
	b := &budget{left: s.conf.Limits.UnpackedBytes}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(layersAtOnce)
	asked := make(map[string]bool, len(layers))
	for i, layer := range layers {
		diff := m.Layers[len(m.Layers)-1-i]
		if asked[diff] {
			pr.skip(layer)
			continue
		}
		asked[diff] = true
		g.Go(func() error { // ends with its layer, which ends with gctx
			if err := s.ensureLayer(gctx, layer, diff, b, pr); err != nil {
				return fmt.Errorf("layer %d of %d: %w", i+1, len(layers), err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return manifest{}, err
	}
	m.Layers = dedupe(m.Layers)
	if m.Bytes, err = s.weigh(m.Layers); err != nil {
		return manifest{}, err
	}
	if err := s.remember(n, m); err != nil {
		return manifest{}, err
	}
	return m, nil
}

// layersAtOnce is how many layers of an image are brought at the same time.
const layersAtOnce = 3

// missing is the size, as they are sent, of the layers that are not here.
func missing(s *Store, m manifest, layers []v1.Layer) int64 {
	var total int64
	for i, l := range layers {
		if _, err := os.Lstat(s.layerPath(m.Layers[len(m.Layers)-1-i])); err == nil {
			continue
		}
		if n, err := l.Size(); err == nil {
			total += n
		}
	}
	return total
}

// pin keeps layers from being pruned while they are counted on.
func (s *Store) pin(layers []string, by int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, hex := range layers {
		if s.pinned[hex] += by; s.pinned[hex] == 0 {
			delete(s.pinned, hex)
		}
		if s.spared != nil {
			s.spared[hex] = true
		}
	}
}

// dedupe leaves the uppermost of equal layers: overlayfs takes none twice, and
// what is below it changes nothing.
func dedupe(layers []string) []string {
	var all []string
	for _, hex := range layers {
		if !slices.Contains(all, hex) {
			all = append(all, hex)
		}
	}
	return all
}

// maxForeign bounds the other addresses at which a layer may be asked for: the
// registry comes first, and none of them is given its credentials.
const maxForeign = 8

// maxConfig bounds the configuration of an image.
const maxConfig = 8 << 20

// describe checks manifest and configuration; the layers come bottom first, the
// diff ids in the manifest top first.
func (s *Store) describe(img v1.Image) (manifest, []v1.Layer, error) {
	none := manifest{}
	digest, err := img.Digest()
	if err != nil {
		return none, nil, err
	}
	man, err := img.Manifest()
	if err != nil {
		return none, nil, fmt.Errorf("%w: manifest: %w", dcos.ErrInvalid, err)
	}
	if man.Config.Size > maxConfig || len(man.Layers) > maxLayers || len(man.Layers) == 0 {
		return none, nil, fmt.Errorf("%w: configuration of %d bytes and %d layers, expected at most %d bytes and 1 to %d layers", dcos.ErrInvalid, man.Config.Size, len(man.Layers), maxConfig, maxLayers)
	}
	var total int64
	for _, l := range man.Layers {
		if !l.MediaType.IsLayer() || l.Size < 0 {
			return none, nil, fmt.Errorf("%w: layer of type %q and %d bytes: only file systems can be layers", dcos.ErrInvalid, l.MediaType, l.Size)
		}
		if len(l.URLs) > maxForeign {
			return none, nil, fmt.Errorf("%w: layer with %d other addresses, expected at most %d", dcos.ErrInvalid, len(l.URLs), maxForeign)
		}
		if total += l.Size; total > s.conf.Limits.CompressedBytes || total < 0 {
			return none, nil, fmt.Errorf("%w: image of more than %d bytes", dcos.ErrExhausted, s.conf.Limits.CompressedBytes)
		}
	}
	conf, err := img.ConfigFile()
	if err != nil {
		return none, nil, fmt.Errorf("%w: configuration: %w", dcos.ErrInvalid, err)
	}
	if conf.Architecture != "" && conf.Architecture != runtime.GOARCH || conf.OS != "" && conf.OS != "linux" {
		return none, nil, fmt.Errorf("%w: it is for %s/%s, this node is linux/%s: build or choose one for this kind of machine", dcos.ErrInvalid, conf.OS, conf.Architecture, runtime.GOARCH)
	}
	layers, err := img.Layers()
	if err != nil {
		return none, nil, fmt.Errorf("%w: layers: %w", dcos.ErrInvalid, err)
	}
	if len(conf.RootFS.DiffIDs) != len(layers) {
		return none, nil, fmt.Errorf("%w: %d layers, but %d diff ids", dcos.ErrInvalid, len(layers), len(conf.RootFS.DiffIDs))
	}
	m := manifest{Digest: digest.String(), Config: conf.Config}
	for _, d := range slices.Backward(conf.RootFS.DiffIDs) {
		if d.Algorithm != "sha256" || len(d.Hex) != sha256.Size*2 || strings.Trim(d.Hex, "0123456789abcdef") != "" {
			return none, nil, fmt.Errorf("%w: diff id %q is no SHA-256", dcos.ErrInvalid, d)
		}
		m.Layers = append(m.Layers, d.Hex)
	}
	return m, layers, nil
}

// ensureLayer unpacks a layer unless it is here. It appears under its name when
// it is whole, verified, and on disk. A transfer that broke beyond what the
// client resumes is begun anew once.
func (s *Store) ensureLayer(ctx context.Context, layer v1.Layer, diff string, b *budget, pr *progress) error {
	if _, err := os.Lstat(s.layerPath(diff)); err == nil {
		pr.skip(layer)
		return nil
	}
	err := s.bring(ctx, layer, diff, b, pr)
	if errors.Is(err, dcos.ErrUnavailable) && ctx.Err() == nil {
		s.conf.Log.Warn("a layer is asked for again", "layer", diff, "why", err)
		err = s.bring(ctx, layer, diff, b, pr)
	}
	return err
}

func (s *Store) bring(ctx context.Context, layer v1.Layer, diff string, b *budget, pr *progress) (err error) {
	target := s.layerPath(diff)
	tmp, err := os.MkdirTemp(s.path("tmp"), "layer-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp) // what is left, New deletes
	root := filepath.Join(tmp, "root")
	if err := os.Mkdir(root, 0o755); err != nil { // as the root of the container will be
		return err
	}
	sent, err := layer.Compressed()
	if err != nil {
		return fmt.Errorf("%w: %w", dcos.ErrUnavailable, err)
	}
	defer sent.Close()
	defer context.AfterFunc(ctx, func() { _ = sent.Close() })() // a read that hangs ends
	size, err := layer.Size()
	if err != nil {
		return fmt.Errorf("%w: %w", dcos.ErrInvalid, err)
	}
	in := &arriving{r: sent, done: &pr.bytes}
	defer func() {
		if err != nil {
			pr.bytes.Add(-in.total)
		}
	}()
	stream, err := expand(in)
	if err != nil {
		return fmt.Errorf("%w: %w", dcos.ErrInvalid, err)
	}
	defer stream.Close()
	defer sent.Close() // first, so that nothing waits for it
	if err = s.unpack(ctx, root, stream, diff, size, b); err != nil {
		return err
	}
	if err = syncTree(root); err != nil {
		return err
	}
	if err = os.Rename(root, target); err != nil {
		if _, lerr := os.Lstat(target); lerr != nil {
			return err
		} // another image had the same layer and was faster
	}
	return syncDir(s.path("layers"))
}

// room refuses to begin what would fill the disk: what is sent takes at least
// as much when it is unpacked. Images that nobody uses make way.
func (s *Store) room(need int64) error {
	for try := range 2 {
		used, total, err := s.disk()
		if err != nil {
			return err
		}
		if total-used >= s.conf.Limits.FreeBytes+need {
			return nil
		}
		if try == 0 {
			if _, err := s.Collect(s.conf.Limits.FreeBytes + need); err != nil {
				s.conf.Log.Warn("images could not make way for another", "why", err)
			}
			continue
		}
		return fmt.Errorf("%w: %d MiB are free on the disk of images, the image is at least %d MiB and %d MiB are kept free: make room", dcos.ErrExhausted, (total-used)>>20, need>>20, s.conf.Limits.FreeBytes>>20)
	}
	return nil
}

// statfs is used and total space of the disk of images.
func (s *Store) statfs() (used, total int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(s.conf.Dir, &st); err != nil {
		return 0, 0, err
	}
	used = int64(st.Blocks-st.Bfree) * st.Bsize
	return used, used + int64(st.Bavail)*st.Bsize, nil
}

// syncTree writes a whole layer to the disk before its name says that it is there.
func syncTree(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return unix.Syncfs(int(d.Fd()))
}

// budget is what the layers of one image may still take, all together.
type budget struct {
	mu   sync.Mutex
	left int64 // guarded by mu
}

func (b *budget) take(n int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left -= n; b.left < 0 {
		return fmt.Errorf("%w: unpacked it is larger than an image may be", dcos.ErrExhausted)
	}
	return nil
}

// How many times as large as it was sent a large layer may be, and how often
// the disk is looked at while it is unpacked.
const (
	growTimes = 200
	lookEvery = 64 << 20
)

// counted hashes what is read and fails beyond a bound.
type counted struct {
	r     io.Reader
	sum   hash.Hash
	b     *budget
	total int64
	most  int64 // of a layer that was sent in so many bytes
	look  int64 // when the disk is looked at again
	space func() error
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.sum.Write(p[:n])
	c.total += int64(n)
	if c.total > c.most {
		return 0, fmt.Errorf("%w: unpacked it is more than %d times as large as it was sent", dcos.ErrExhausted, growTimes)
	}
	if c.total >= c.look {
		c.look = c.total + lookEvery
		if err := c.space(); err != nil {
			return 0, err
		}
	}
	if berr := c.b.take(int64(n)); berr != nil {
		return 0, berr
	}
	return n, err
}

// spaceLeft refuses to go on when the disk is about to be full.
func (s *Store) spaceLeft() error {
	used, total, err := s.disk()
	if err == nil && total-used < s.conf.Limits.FreeBytes {
		err = fmt.Errorf("%w: %d MiB are free on the disk of images, %d MiB are kept: make room", dcos.ErrExhausted, (total-used)>>20, s.conf.Limits.FreeBytes>>20)
	}
	return err
}

// unpack writes a layer's files, and verifies at the end that they were the
// layer that the image's configuration names.
func (s *Store) unpack(ctx context.Context, root string, stream io.Reader, diff string, sent int64, b *budget) error {
	in := &counted{r: stream, sum: sha256.New(), b: b, most: s.conf.Limits.GrowBytes + growTimes*sent, space: s.spaceLeft}
	l := &listing{files: s.conf.Limits.Files, left: s.conf.Limits.UnpackedBytes}
	_, err := archive.Apply(ctx, root, in, archive.WithConvertWhiteout(archive.OverlayConvertWhiteout), archive.WithFilter(l.take))
	if err == nil {
		_, err = io.Copy(io.Discard, in) // the end of the stream is where its digest is checked
	}
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, dcos.ErrExhausted) || errors.Is(err, dcos.ErrInvalid):
		return err
	case errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT):
		return fmt.Errorf("%w: unpack: %w: make room or prune images", dcos.ErrExhausted, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("unpack: %w", err)
	default:
		return fmt.Errorf("%w: unpack: %w: try again; if it stays so, push the image again", dcos.ErrUnavailable, err)
	}
	if got := fmt.Sprintf("%x", in.sum.Sum(nil)); got != diff {
		return fmt.Errorf("%w: its content has digest sha256:%s, the image says sha256:%s: push the image again", dcos.ErrInvalid, got, diff)
	}
	return nil
}

// Bounds of one name in a layer.
const maxPath, maxDepth = 4096, 256

// listing judges the entries of one layer.
type listing struct {
	files int
	left  int64
}

// take bounds names, number and sizes (a sparse file is larger than its bytes
// in the stream), and leaves out what only the host may make: device nodes, and
// attributes by which overlayfs would look elsewhere.
func (l *listing) take(h *tar.Header) (bool, error) {
	if l.files--; l.files < 0 {
		return false, fmt.Errorf("%w: a layer has more files than an image may have", dcos.ErrExhausted)
	}
	if l.left -= max(h.Size, 0); l.left < 0 {
		return false, fmt.Errorf("%w: unpacked it is larger than an image may be", dcos.ErrExhausted)
	}
	if len(h.Name) > maxPath || len(h.Linkname) > maxPath || strings.ContainsRune(h.Name, 0) {
		return false, fmt.Errorf("%w: a file name of %d bytes, expected at most %d", dcos.ErrInvalid, max(len(h.Name), len(h.Linkname)), maxPath)
	}
	if depth := strings.Count(h.Name, "/"); depth > maxDepth {
		return false, fmt.Errorf("%w: a file %d directories deep, expected at most %d", dcos.ErrInvalid, depth, maxDepth)
	}
	if h.Uid < 0 || h.Gid < 0 || h.Uid > 1<<31-1 || h.Gid > 1<<31-1 {
		return false, fmt.Errorf("%w: %q belongs to user %d and group %d", dcos.ErrInvalid, h.Name, h.Uid, h.Gid)
	}
	for key := range h.PAXRecords {
		attr, ok := strings.CutPrefix(key, "SCHILY.xattr.")
		if ok && (!strings.HasPrefix(attr, "user.") || strings.HasPrefix(attr, "user.overlay.")) && attr != "security.capability" {
			delete(h.PAXRecords, key)
		}
	}
	return h.Typeflag != tar.TypeChar && h.Typeflag != tar.TypeBlock, nil
}

// unpacked is an image in the words of the agent.
func (s *Store) unpacked(m manifest) (dcos.Unpacked, error) {
	u := dcos.Unpacked{
		Digest: m.Digest, Entrypoint: m.Config.Entrypoint, Cmd: m.Config.Cmd,
		Env: m.Config.Env, User: m.Config.User, WorkDir: m.Config.WorkingDir,
	}
	for _, hex := range m.Layers {
		u.Lower = append(u.Lower, s.layerPath(hex))
	}
	if sig := m.Config.StopSignal; sig != "" {
		if u.StopSignal = signal(sig); u.StopSignal <= 0 || u.StopSignal > signalMax {
			return u, fmt.Errorf("image %s: %w: stop signal %q", m.Digest, dcos.ErrInvalid, sig)
		}
	}
	return u, nil
}

// The signals without a name of their own.
const signalMin, signalMax = 34, 64

// signal reads a signal as docker does: 9, KILL, SIGKILL, SIGRTMIN+3. 0 is none.
func signal(text string) int {
	if n, err := strconv.Atoi(text); err == nil {
		return n
	}
	word := strings.TrimPrefix(strings.ToUpper(text), "SIG")
	for _, edge := range []struct {
		name string
		at   int
	}{{"RTMIN", signalMin}, {"RTMAX", signalMax}} {
		if rest, ok := strings.CutPrefix(word, edge.name); ok {
			n, err := strconv.Atoi(rest)
			if n += edge.at; rest == "" || err == nil && n >= signalMin && n <= signalMax {
				return n
			}
			return 0
		}
	}
	return int(unix.SignalNum("SIG" + word))
}
