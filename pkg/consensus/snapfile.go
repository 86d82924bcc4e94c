package consensus

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/journal"
)

// A snapshot file is magic[8], the length of the marker (32 bits, big endian),
// the marker (raftpb.Snapshot without data), what state wrote, and the SHA-256
// of all that.
const (
	snapMagic  = "dcossnp1"
	snapSuffix = ".snap"
	maxMarker  = 64 << 10
	// MaxSnapshot bounds what a member accepts from another.
	MaxSnapshot = 8 << 30
)

// Snapshots are the snapshot files of one member. Methods may be called from
// several goroutines as long as they are for different indexes or readers.
type Snapshots struct {
	fs journal.FS
	// Reserve is how much of the disk a snapshot must leave free; 0 is no limit.
	// The log shares the disk, and must never meet its end.
	Reserve uint64
}

// NewSnapshots uses a directory of its own.
func NewSnapshots(fs journal.FS) *Snapshots { return &Snapshots{fs: fs} }

func snapName(index dcos.Index) string { return fmt.Sprintf("%016x%s", uint64(index), snapSuffix) }

// Save writes a snapshot file durably: the marker, and what write writes.
func (s *Snapshots) Save(marker *pb.Snapshot, write func(io.Writer) error) error {
	index := dcos.Index(marker.GetMetadata().GetIndex())
	head, err := proto.Marshal(marker)
	if err != nil {
		return fmt.Errorf("snapshot %d: %w", index, err)
	}
	return s.create(index, ".save", func(w io.Writer) error { return writeSnapFile(w, head, write) })
}

// writeSnapFile writes the whole of a snapshot file.
func writeSnapFile(w io.Writer, marker []byte, write func(io.Writer) error) error {
	h := sha256.New()
	out := bufio.NewWriterSize(io.MultiWriter(w, h), 1<<18)
	_, _ = out.WriteString(snapMagic)
	_, _ = out.Write(binary.BigEndian.AppendUint32(nil, uint32(len(marker))))
	_, _ = out.Write(marker)
	if err := write(out); err != nil {
		return err
	}
	if err := out.Flush(); err != nil {
		return err
	}
	_, err := w.Write(h.Sum(nil))
	return err
}

// Receive writes a file that another member streams (see Raw), and takes it
// only when its hash is right and it is the one expected.
func (s *Snapshots) Receive(index dcos.Index, r io.Reader) error {
	return s.create(index, ".recv", func(w io.Writer) error {
		out := bufio.NewWriterSize(w, 1<<18)
		limited := &io.LimitedReader{R: r, N: MaxSnapshot + 1}
		body, err := newSnapReader(io.TeeReader(limited, out))
		if err != nil {
			return err
		}
		if got := body.marker.GetMetadata().GetIndex(); got != uint64(index) {
			return fmt.Errorf("it is of index %d", got)
		}
		if err := body.Check(); err != nil {
			return err
		}
		if limited.N <= 0 {
			return fmt.Errorf("%w: larger than %d bytes", dcos.ErrExhausted, int64(MaxSnapshot))
		}
		return out.Flush()
	})
}

// create fills a temporary file, makes it durable and gives it its name.
func (s *Snapshots) create(index dcos.Index, suffix string, fill func(io.Writer) error) error {
	tmp := fmt.Sprintf("%016x%s", uint64(index), suffix)
	f, err := s.fs.Create(tmp)
	if err != nil {
		return fmt.Errorf("snapshot %d: create: %w", index, err)
	}
	err = fill(&fileWriter{f: f, room: s.room})
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = s.fs.Rename(tmp, snapName(index))
	}
	if err == nil {
		err = s.fs.SyncDir()
	}
	if err != nil {
		_ = s.fs.Remove(tmp)
		return fmt.Errorf("snapshot %d: write: %w", index, err)
	}
	return nil
}

// Load opens a snapshot and gives its body to read, checking the hash at the
// end: what read made of it counts only when Load returns nil.
func (s *Snapshots) Load(index dcos.Index, read func(io.Reader) error) error {
	raw, err := s.Raw(index)
	if err != nil {
		return damagedSnapshot(index, err)
	}
	defer raw.Close()
	body, err := newSnapReader(bufio.NewReaderSize(raw, 1<<18))
	if err != nil {
		return damagedSnapshot(index, err)
	}
	if got := body.marker.GetMetadata().GetIndex(); got != uint64(index) {
		return damagedSnapshot(index, fmt.Errorf("it is of index %d", got))
	}
	rerr := read(body)
	if err := body.Check(); err != nil {
		return damagedSnapshot(index, err)
	}
	if rerr != nil {
		return damagedSnapshot(index, rerr)
	}
	return nil
}

// damagedSnapshot says what to do about a file that is not what was written. A
// disk that could not be read is not that: another start may read it.
func damagedSnapshot(index dcos.Index, err error) error {
	if failed := (*fs.PathError)(nil); errors.As(err, &failed) && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("snapshot file %s: %w", snapName(index), err)
	}
	return fmt.Errorf("snapshot file %s: %w: %w; %s", snapName(index), err, journal.ErrDamaged, Repair)
}

// Raw streams a snapshot file as it is.
func (s *Snapshots) Raw(index dcos.Index) (io.ReadCloser, error) {
	f, err := s.fs.Open(snapName(index))
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(f, 0, size), f}, nil
}

// Prune removes every file except the snapshot at keep.
func (s *Snapshots) Prune(keep dcos.Index) error {
	names, err := s.fs.List()
	if err != nil {
		return fmt.Errorf("snapshots: list: %w", err)
	}
	slices.Sort(names)
	for _, n := range names {
		base, suffix, _ := strings.Cut(n, ".")
		index, err := strconv.ParseUint(base, 16, 64)
		if err != nil || len(base) != 16 || index >= uint64(keep) && suffix != "save" || index > uint64(keep) {
			continue
		}
		if err := s.fs.Remove(n); err != nil {
			return fmt.Errorf("snapshots: remove %s: %w", n, err)
		}
	}
	return nil
}

// roomEvery is how much is written between two looks at the free space.
const roomEvery = 4 << 20

// room refuses to go on when the next step would touch the reserve.
func (s *Snapshots) room() error {
	if s.Reserve == 0 {
		return nil
	}
	ok, err := journal.HasRoom(s.fs, roomEvery, s.Reserve)
	if err != nil || ok {
		return nil //nolint:nilerr // what cannot be asked is not known to be full
	}
	return fmt.Errorf("%w: less than %d MiB would be left free on the disk", dcos.ErrExhausted, s.Reserve>>20)
}

// fileWriter writes a file from its beginning.
type fileWriter struct {
	f    journal.File
	off  int64
	room func() error
	next int64 // offset at which to ask for room
}

func (w *fileWriter) Write(p []byte) (int, error) {
	if w.off+int64(len(p)) > w.next {
		if err := w.room(); err != nil {
			return 0, err
		}
		w.next = w.off + int64(len(p)) + roomEvery
	}
	n, err := w.f.WriteAt(p, w.off)
	w.off += int64(n)
	return n, err
}

// snapReader reads the body of a snapshot file and keeps its last 32 bytes, the
// hash, apart.
type snapReader struct {
	r      io.Reader
	h      hash.Hash
	marker *pb.Snapshot
	buf    []byte // read from r, not given out; the last 32 bytes may be the hash
	err    error  // of r
}

var errSnapHash = errors.New("the hash does not fit the content")

func newSnapReader(r io.Reader) (*snapReader, error) {
	s := &snapReader{r: r, h: sha256.New(), marker: &pb.Snapshot{}}
	head := make([]byte, len(snapMagic)+4)
	// A disk that cannot be read is another thing than a damaged file: the
	// cause stays in the error.
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, fmt.Errorf("read its head: %w", err)
	}
	if string(head[:len(snapMagic)]) != snapMagic {
		return nil, errors.New("not a snapshot file of this program")
	}
	n := binary.BigEndian.Uint32(head[len(snapMagic):])
	if n > maxMarker {
		return nil, errors.New("its marker is too long")
	}
	marker := make([]byte, n)
	if _, err := io.ReadFull(r, marker); err != nil {
		return nil, fmt.Errorf("read its marker: %w", err)
	}
	if err := proto.Unmarshal(marker, s.marker); err != nil {
		return nil, fmt.Errorf("its marker: %w", err)
	}
	s.h.Write(head)
	s.h.Write(marker)
	return s, nil
}

// Read gives out the body.
func (s *snapReader) Read(p []byte) (int, error) {
	for len(s.buf) <= sha256.Size && s.err == nil {
		chunk := make([]byte, 64<<10)
		n, err := s.r.Read(chunk)
		s.buf = append(s.buf, chunk[:n]...)
		s.err = err
	}
	n := copy(p, s.buf[:max(0, len(s.buf)-sha256.Size)])
	if n == 0 && len(p) > 0 {
		if errors.Is(s.err, io.EOF) && len(s.buf) < sha256.Size {
			return 0, io.ErrUnexpectedEOF
		}
		return 0, s.err
	}
	s.h.Write(p[:n])
	s.buf = s.buf[n:]
	return n, nil
}

// Check reads what is left and compares the hash.
func (s *snapReader) Check() error {
	if _, err := io.Copy(io.Discard, s); err != nil {
		return err
	}
	if !slices.Equal(s.h.Sum(nil), s.buf) {
		return errSnapHash
	}
	return nil
}
