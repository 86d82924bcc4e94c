package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// Log reads one stream of one task across its segments. Offsets count from the
// first byte that the task ever wrote. It is for one goroutine.
type Log struct {
	root   *os.Root
	stream string
	file   *os.File // the segment being read; nil before there is one
	number uint32   // of the segment being read, or read last
	begun  bool     // a segment was found
	at     int64    // offset in the stream of the next byte
	ctx    context.Context
	follow bool
}

// tailLimit bounds what Tail returns.
const tailLimit = 1 << 20

// Open reads a stream ("stdout", "stderr") from an offset to what is its end at
// the time of reading; a Read after io.EOF sees what came since. An offset
// before the oldest kept byte begins there, a negative one counts from the end.
func (s *Sandboxes) Open(id dcos.TaskID, stream string, offset int64) (*Log, error) {
	if stream != Stdout && stream != Stderr {
		return nil, fmt.Errorf("log of %s: %w: stream %q, want %s or %s", id, dcos.ErrInvalid, stream, Stdout, Stderr)
	}
	r, err := s.root(id)
	if err != nil {
		return nil, err
	}
	l := &Log{root: r, stream: stream, at: offset}
	if offset < 0 {
		size, err := l.size()
		if err != nil {
			r.Close()
			return nil, fmt.Errorf("log of %s: %w", id, err)
		}
		l.at = max(0, size+offset)
	}
	return l, nil
}

// Follow is Open, but a Read at the end waits for more until ctx ends; then it
// is io.EOF. Close must be called, by the goroutine that reads.
func (s *Sandboxes) Follow(ctx context.Context, id dcos.TaskID, stream string, offset int64) (*Log, error) {
	l, err := s.Open(id, stream, offset)
	if err != nil {
		return nil, err
	}
	l.ctx, l.follow = ctx, true
	return l, nil
}

// Tail is the last n bytes of a stream, at most 1 MiB, and the offset of the
// first of them.
func (s *Sandboxes) Tail(id dcos.TaskID, stream string, n int64) ([]byte, int64, error) {
	if n <= 0 {
		return nil, 0, fmt.Errorf("log of %s: %w: tail of %d bytes", id, dcos.ErrInvalid, n)
	}
	n = min(n, tailLimit)
	l, err := s.Open(id, stream, -n)
	if err != nil {
		return nil, 0, err
	}
	defer l.Close()
	text, err := io.ReadAll(io.LimitReader(l, n))
	if err != nil {
		return nil, 0, fmt.Errorf("log of %s: %w", id, err)
	}
	return text, l.Offset() - int64(len(text)), nil
}

// Offset is the place in the stream of the next byte that Read gives. It jumps
// where segments were deleted before they were read.
func (l *Log) Offset() int64 { return l.at }

// Close frees what the reader holds.
func (l *Log) Close() error {
	if l.file != nil {
		l.file.Close()
	}
	return l.root.Close()
}

// The waits between looks at a log that does not grow.
const firstWait, longestWait = 20 * time.Millisecond, 500 * time.Millisecond

// Read gives the next bytes.
func (l *Log) Read(p []byte) (int, error) {
	for wait := firstWait; ; wait = min(wait*2, longestWait) {
		n, err := l.read(p)
		if n > 0 || len(p) == 0 || err != nil && !errors.Is(err, io.EOF) {
			return n, err
		}
		if !l.follow || l.ctx.Err() != nil {
			return 0, io.EOF
		}
		timer := time.NewTimer(wait)
		select {
		case <-l.ctx.Done():
			timer.Stop()
		case <-timer.C:
		}
	}
}

func (l *Log) read(p []byte) (int, error) {
	for {
		if l.file == nil {
			if err := l.find(); err != nil {
				return 0, err
			}
		}
		n, err := l.file.Read(p)
		l.at += int64(n)
		if n > 0 || !errors.Is(err, io.EOF) {
			return n, err
		}
		row, err := l.index()
		if err != nil || row[len(row)-1].number <= l.number {
			return 0, io.EOF
		}
		// A newer segment exists, so this one grows no more. What came between
		// the read above and the look at the index is read first.
		n, _ = l.file.Read(p)
		l.at += int64(n)
		if n > 0 {
			return n, nil
		}
		l.file.Close()
		l.file = nil
	}
}

// find opens the segment that holds the offset, or the oldest one after it.
func (l *Log) find() error {
	for range 100 { // each turn lost means that the task filled a whole segment meanwhile
		row, err := l.index()
		if err != nil {
			return io.EOF // not begun yet, or spoiled by the task: there is nothing to read
		}
		want := row[0]
		if i := slices.IndexFunc(row, func(s segment) bool { return s.number > l.number }); l.begun && i >= 0 {
			want = row[i]
		} else if l.begun {
			return io.EOF
		}
		for _, s := range row {
			if !l.begun && s.offset <= l.at {
				want = s
			}
		}
		f, err := l.open(want, row[len(row)-1].number)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		skip := max(0, l.at-want.offset)
		if info, err := f.Stat(); err == nil {
			skip = min(skip, info.Size())
		}
		if _, err := f.Seek(skip, io.SeekStart); err != nil {
			f.Close()
			return err
		}
		l.file, l.number, l.at, l.begun = f, want.number, want.offset+skip, true
		return nil
	}
	return fmt.Errorf("%w: the log is rotated faster than it can be read: read it from a later offset", dcos.ErrUnavailable)
}

// open gives the segment's file under whichever name it has. The shim renames
// before it begins the next one: if the numbered name exists after the newest
// was opened, the opened file may be the next segment.
func (l *Log) open(s segment, newest uint32) (*os.File, error) {
	numbered := segmentName(l.stream, s.number)
	f, err := openRegular(l.root, numbered)
	if err == nil || s.number != newest || !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	f, err = openRegular(l.root, l.stream)
	if err != nil {
		return nil, err
	}
	if _, err := l.root.Lstat(numbered); err == nil {
		f.Close()
		return openRegular(l.root, numbered)
	}
	return f, nil
}

func (l *Log) index() ([]segment, error) {
	f, err := openRegular(l.root, IndexName(l.stream))
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := l.root.Lstat(l.stream); err != nil {
			return nil, err // not begun yet
		}
		return []segment{{}}, nil // not rotated yet
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readIndex(f)
}

// size is the offset behind the last byte.
func (l *Log) size() (int64, error) {
	row, err := l.index()
	if err != nil {
		return 0, nil // nothing was written yet
	}
	last := row[len(row)-1]
	f, err := l.open(last, last.number)
	if err != nil {
		return last.offset, nil
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return last.offset + info.Size(), nil
}

// openRegular opens a file for reading that is neither a link nor a pipe nor a
// device: a task may have put anything there, and nothing of it may be waited for.
func openRegular(r *os.Root, name string) (*os.File, error) {
	f, err := r.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: %w: not a regular file", name, dcos.ErrInvalid)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
