// Package journaltest is a directory that fails the way disks and machines do.
//
// It owns one in-memory journal.FS. It promises: same seed and same calls, same
// result, crash included; what was synced survives every crash unless the test
// damages it by name. It must not be easier than a real disk: at a crash any
// subset of the unsynced writes is lost or torn at a sector, names come back as
// they were after the last SyncDir or as they are, one by one, and a failed
// fsync forgets what it should have written while later ones report success.
package journaltest

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/dcos-go/dcos/pkg/journal"
)

// Op names a kind of call for FailNth and Calls.
type Op string

// The calls that can be made to fail.
const (
	OpCreate   Op = "create"
	OpOpen     Op = "open"
	OpRename   Op = "rename"
	OpRemove   Op = "remove"
	OpSyncDir  Op = "syncdir"
	OpList     Op = "list"
	OpRead     Op = "read"
	OpWrite    Op = "write"
	OpTruncate Op = "truncate"
	OpSync     Op = "sync"
)

const sector = 512

// The errors of this directory.
var (
	// ErrCrashed is what every handle from before a Crash returns.
	ErrCrashed = errors.New("journaltest: the machine has crashed")
	// ErrFull is what a write beyond SetCapacity returns.
	ErrFull = errors.New("journaltest: no space left on device")
	// ErrNoFile: there is no file of that name.
	ErrNoFile = errors.New("journaltest: file does not exist")
	// ErrClosed: the handle was closed before.
	ErrClosed = errors.New("journaltest: file already closed")
)

// FS is the directory. It is not safe for concurrent use.
type FS struct {
	rng      uint64
	epoch    int // raised by a crash; older handles are dead
	names    map[string]*inode
	durable  map[string]*inode
	capacity int64 // 0: no limit
	calls    map[Op]int
	fail     map[Op]failure
	total    int
	crashAt  int // total calls after which everything fails; 0: never
}

type failure struct {
	at  int
	err error
}

type inode struct {
	cur     []byte // what a reader sees
	durable []byte // what a crash leaves for sure
	pending []change
}

// change is one unsynced write, or a truncation when data is nil.
type change struct {
	off  int64
	data []byte
}

var (
	_ journal.FS    = (*FS)(nil)
	_ journal.Space = (*FS)(nil)
	_ journal.File  = (*file)(nil)
)

// New returns an empty directory whose crashes follow seed.
func New(seed uint64) *FS {
	return &FS{rng: seed, names: map[string]*inode{}, durable: map[string]*inode{}, calls: map[Op]int{}, fail: map[Op]failure{}}
}

// rand is splitmix64.
func (s *FS) rand() uint64 {
	s.rng += 0x9e3779b97f4a7c15
	z := s.rng
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func (s *FS) intn(n int) int { return int(s.rand() % uint64(n)) }

// FailNth makes the nth call of that kind from now on (1 is the next) fail with
// err, once. A failed write has written a part, a failed fsync has lost what it
// was asked to write.
func (s *FS) FailNth(op Op, n int, err error) { s.fail[op] = failure{at: s.calls[op] + n, err: err} }

// CrashAfter makes everything fail with ErrCrashed after n more calls of any
// kind, as if the machine stopped there; Crash then brings it back. It is how a
// test visits every edge between two effects.
func (s *FS) CrashAfter(n int) { s.crashAt = s.total + n }

// Calls is how many calls of that kind were made.
func (s *FS) Calls(op Op) int { return s.calls[op] }

// Total is how many calls of any kind were made.
func (s *FS) Total() int { return s.total }

// SetCapacity limits the bytes of all files; beyond it writes fail with ErrFull.
// Zero takes the limit away.
func (s *FS) SetCapacity(n int64) { s.capacity = n }

// Free implements journal.Space.
func (s *FS) Free() (uint64, error) {
	if s.capacity == 0 {
		return 1 << 40, nil
	}
	return uint64(max(0, s.capacity-s.used())), nil
}

func (s *FS) used() int64 {
	var n int64
	for _, i := range s.names {
		n += int64(len(i.cur))
	}
	return n
}

// call counts and injects.
func (s *FS) call(op Op) error {
	if s.crashAt > 0 && s.total >= s.crashAt {
		return ErrCrashed
	}
	s.total++
	s.calls[op]++
	if f, ok := s.fail[op]; ok && f.at == s.calls[op] {
		delete(s.fail, op)
		return f.err
	}
	return nil
}

// Crash stops the machine and starts it again: open handles are dead, and of
// what was not synced an arbitrary part is gone. Injected failures are cleared.
func (s *FS) Crash() {
	s.epoch++
	s.crashAt = 0
	clear(s.fail)
	names := map[string]*inode{}
	for _, n := range s.allNames() {
		i := s.durable[n]
		if s.intn(2) == 0 {
			i = s.names[n]
		}
		if i != nil {
			names[n] = i
		}
	}
	seen := map[*inode]bool{}
	s.names, s.durable = names, map[string]*inode{}
	for _, n := range s.Names() {
		i := names[n]
		s.durable[n] = i
		if !seen[i] {
			seen[i] = true
			s.settle(i)
		}
	}
}

// Kill is the death of the process alone: handles are dead, the page cache
// lives on, and so does everything that was written.
func (s *FS) Kill() {
	s.epoch++
	s.crashAt = 0
	clear(s.fail)
}

// settle decides which unsynced changes of a file have reached the disk.
func (s *FS) settle(i *inode) {
	b := slices.Clone(i.durable)
	for _, c := range i.pending {
		switch s.intn(4) {
		case 0: // lost
		case 1: // torn: some sectors
			b = s.tear(b, c)
		default:
			b = c.apply(b)
		}
	}
	i.cur, i.durable, i.pending = slices.Clone(b), b, nil
}

func (s *FS) tear(b []byte, c change) []byte {
	if c.data == nil {
		return b
	}
	for at := 0; at < len(c.data); {
		n := min(len(c.data)-at, sector-int((c.off+int64(at))%sector))
		if s.intn(2) == 0 {
			b = change{off: c.off + int64(at), data: c.data[at : at+n]}.apply(b)
		}
		at += n
	}
	return b
}

func (c change) apply(b []byte) []byte {
	if c.data == nil {
		return resize(b, c.off)
	}
	if end := c.off + int64(len(c.data)); end > int64(len(b)) {
		b = resize(b, end)
	}
	copy(b[c.off:], c.data)
	return b
}

func resize(b []byte, n int64) []byte {
	if n <= int64(len(b)) {
		return b[:n]
	}
	return append(b, make([]byte, n-int64(len(b)))...)
}

func (s *FS) allNames() []string {
	var all []string
	for n := range s.names {
		all = append(all, n)
	}
	for n := range s.durable {
		if s.names[n] == nil {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	return all
}

// Names lists the files, sorted, without counting as a call.
func (s *FS) Names() []string {
	all := make([]string, 0, len(s.names))
	for n := range s.names {
		all = append(all, n)
	}
	slices.Sort(all)
	return all
}

// Bytes is the content of a file as a reader sees it, or nil.
func (s *FS) Bytes(name string) []byte {
	if i := s.names[name]; i != nil {
		return slices.Clone(i.cur)
	}
	return nil
}

// SetBytes replaces the content of a file durably: a flipped bit, a cut tail,
// an old copy. It makes the file when it does not exist.
func (s *FS) SetBytes(name string, b []byte) {
	i := s.names[name]
	if i == nil {
		i = &inode{}
		s.names[name] = i
		s.durable[name] = i
	}
	i.cur, i.durable, i.pending = slices.Clone(b), slices.Clone(b), nil
}

// FlipBit damages one bit of a file durably.
func (s *FS) FlipBit(name string, bit int64) {
	b := s.Bytes(name)
	b[bit/8] ^= 1 << (bit % 8)
	s.SetBytes(name, b)
}

// Create implements journal.FS.
func (s *FS) Create(name string) (journal.File, error) {
	if err := s.call(OpCreate); err != nil {
		return nil, err
	}
	i := &inode{}
	s.names[name] = i
	return &file{s: s, i: i, epoch: s.epoch}, nil
}

// Open implements journal.FS.
func (s *FS) Open(name string) (journal.File, error) {
	if err := s.call(OpOpen); err != nil {
		return nil, err
	}
	i := s.names[name]
	if i == nil {
		return nil, fmt.Errorf("open %s: %w", name, ErrNoFile)
	}
	return &file{s: s, i: i, epoch: s.epoch}, nil
}

// Rename implements journal.FS.
func (s *FS) Rename(from, to string) error {
	if err := s.call(OpRename); err != nil {
		return err
	}
	i := s.names[from]
	if i == nil {
		return fmt.Errorf("rename %s: %w", from, ErrNoFile)
	}
	delete(s.names, from)
	s.names[to] = i
	return nil
}

// Remove implements journal.FS.
func (s *FS) Remove(name string) error {
	if err := s.call(OpRemove); err != nil {
		return err
	}
	if s.names[name] == nil {
		return fmt.Errorf("remove %s: %w", name, ErrNoFile)
	}
	delete(s.names, name)
	return nil
}

// SyncDir implements journal.FS.
func (s *FS) SyncDir() error {
	if err := s.call(OpSyncDir); err != nil {
		return err
	}
	s.durable = map[string]*inode{}
	for n, i := range s.names {
		s.durable[n] = i
	}
	return nil
}

// List implements journal.FS.
func (s *FS) List() ([]string, error) {
	if err := s.call(OpList); err != nil {
		return nil, err
	}
	return s.Names(), nil
}

type file struct {
	s      *FS
	i      *inode
	epoch  int
	closed bool
}

func (f *file) call(op Op) error {
	switch {
	case f.closed:
		return ErrClosed
	case f.epoch != f.s.epoch:
		return ErrCrashed
	}
	return f.s.call(op)
}

// ReadAt implements io.ReaderAt.
func (f *file) ReadAt(p []byte, off int64) (int, error) {
	if err := f.call(OpRead); err != nil {
		return 0, err
	}
	if off >= int64(len(f.i.cur)) {
		return 0, io.EOF
	}
	n := copy(p, f.i.cur[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt implements io.WriterAt.
func (f *file) WriteAt(p []byte, off int64) (int, error) {
	err := f.call(OpWrite)
	if errors.Is(err, ErrCrashed) || errors.Is(err, ErrClosed) {
		return 0, err
	}
	n := len(p)
	if err != nil {
		n = f.s.intn(len(p) + 1)
	} else if grow := off + int64(n) - int64(len(f.i.cur)); f.s.capacity > 0 && grow > 0 {
		if room := f.s.capacity - f.s.used(); grow > room {
			n = int(max(0, int64(n)-grow+max(0, room)))
			err = ErrFull
		}
	}
	if n > 0 {
		c := change{off: off, data: slices.Clone(p[:n])}
		f.i.cur = c.apply(f.i.cur)
		f.i.pending = append(f.i.pending, c)
	}
	return n, err
}

// Truncate implements journal.File.
func (f *file) Truncate(size int64) error {
	if err := f.call(OpTruncate); err != nil {
		return err
	}
	c := change{off: size}
	f.i.cur = c.apply(f.i.cur)
	f.i.pending = append(f.i.pending, c)
	return nil
}

// Sync implements journal.File.
func (f *file) Sync() error {
	err := f.call(OpSync)
	if errors.Is(err, ErrCrashed) || errors.Is(err, ErrClosed) {
		return err
	}
	if err == nil {
		for _, c := range f.i.pending {
			f.i.durable = c.apply(f.i.durable)
		}
	}
	f.i.pending = nil // a failed fsync marks the pages clean all the same
	return err
}

// Size implements journal.File.
func (f *file) Size() (int64, error) {
	if err := f.call(OpRead); err != nil {
		return 0, err
	}
	return int64(len(f.i.cur)), nil
}

// Close implements io.Closer.
func (f *file) Close() error {
	if f.closed {
		return ErrClosed
	}
	f.closed = true
	return nil
}

// Clone is another directory with what this one would hold after the power
// was cut now and nothing that is not durable was left.
func (s *FS) Clone(seed uint64) *FS {
	c := New(seed)
	for _, n := range s.allNames() {
		if i := s.durable[n]; i != nil {
			c.SetBytes(n, i.durable)
		}
	}
	return c
}
