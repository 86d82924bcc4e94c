package history

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

const (
	stateSuffix = ".state"
	logSuffix   = ".log"
	tmpSuffix   = ".tmp"

	// A log is its magic with the snapshot's index and time, and then frames:
	// length:32 crc:32 index:64 time:64 data. All numbers are little endian; the
	// crc covers everything behind it.
	magic     = "dcos history 1\n\x00"
	headSize  = len(magic) + 20
	frameHead = 24
	maxData   = 1 << 20 // an entry of the raft log is at most 512 KiB
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// chapter is a snapshot and the entries after it.
type chapter struct {
	base     dcos.Index
	baseTime dcos.Time
	last     dcos.Index // of the entries; base when there is none
	lastTime dcos.Time
	state    int64 // bytes of the snapshot
	log      int64 // bytes of the log that are whole
	damage   string
}

func (c chapter) bytes() int64 { return c.state + c.log }

func chapterName(base dcos.Index, suffix string) string {
	return fmt.Sprintf("%016x%s", uint64(base), suffix)
}

// readBook finds the chapters of a directory. What a crash left of making or
// removing one is removed, and what cannot be read once it is older than age.
func readBook(dir string, age time.Duration, now time.Time, log *slog.Logger) ([]chapter, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("history: list: %w", err)
	}
	var book []chapter
	for _, f := range files {
		name := f.Name()
		if strings.HasSuffix(name, tmpSuffix) || half(dir, name) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
				return nil, fmt.Errorf("history: %w", err)
			}
			continue
		}
		base, ok := baseOf(name, logSuffix)
		if !ok {
			continue
		}
		c, err := readChapter(dir, base)
		if err != nil {
			log.Warn("history: a chapter cannot be read, there is a gap", "file", name, "err", err)
			if st, serr := f.Info(); serr == nil && now.Sub(st.ModTime()) > age {
				if err := removeChapter(dir, base); err != nil {
					return nil, fmt.Errorf("history: %w", err)
				}
			}
			continue
		}
		if c.damage != "" {
			log.Warn("history: the end of a chapter cannot be read, there is a gap", "file", name, "why", c.damage)
		}
		book = append(book, c)
	}
	slices.SortFunc(book, func(a, b chapter) int { return cmp.Compare(a.base, b.base) })
	return book, nil
}

// baseOf is the index in a file's name.
func baseOf(name, suffix string) (dcos.Index, bool) {
	hex, ok := strings.CutSuffix(name, suffix)
	base, err := strconv.ParseUint(hex, 16, 64)
	return dcos.Index(base), ok && err == nil && chapterName(dcos.Index(base), suffix) == name
}

// half says that a file is a snapshot without a log: a chapter begins with the
// one and ends with the other, and the process was killed in between.
func half(dir, name string) bool {
	base, ok := baseOf(name, stateSuffix)
	if !ok {
		return false
	}
	_, err := os.Stat(filepath.Join(dir, chapterName(base, logSuffix)))
	return errors.Is(err, os.ErrNotExist)
}

// removeChapter removes the log first: what is left of a crash is found by half.
func removeChapter(dir string, base dcos.Index) error {
	for _, suffix := range []string{logSuffix, stateSuffix} {
		if err := os.Remove(filepath.Join(dir, chapterName(base, suffix))); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

func readChapter(dir string, base dcos.Index) (chapter, error) {
	st, err := os.Stat(filepath.Join(dir, chapterName(base, stateSuffix)))
	if err != nil {
		return chapter{}, err
	}
	f, err := os.Open(filepath.Join(dir, chapterName(base, logSuffix)))
	if err != nil {
		return chapter{}, err
	}
	defer f.Close()
	c, err := scanLog(f, func(entry) bool { return true })
	if err == nil && c.base != base {
		err = fmt.Errorf("it says that it begins at index %d", c.base)
	}
	c.state = st.Size()
	return c, err
}

func head(base dcos.Index, at dcos.Time) []byte {
	b := binary.LittleEndian.AppendUint64([]byte(magic), uint64(base))
	b = binary.LittleEndian.AppendUint64(b, uint64(at))
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func appendFrame(b []byte, e entry) []byte {
	at := len(b)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(e.data)))
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint64(b, uint64(e.index))
	b = binary.LittleEndian.AppendUint64(b, uint64(e.time))
	b = append(b, e.data...)
	binary.LittleEndian.PutUint32(b[at+4:], frameSum(b[at:]))
	return b
}

// frameSum covers the length too.
func frameSum(frame []byte) uint32 {
	return crc32.Update(crc32.Checksum(frame[:4], castagnoli), castagnoli, frame[8:])
}

// scanLog reads a log until its end, or until take wants no more. What cannot
// be read ends it: chapter.damage says why, and log how much is good.
func scanLog(r io.Reader, take func(entry) bool) (chapter, error) {
	in := bufio.NewReaderSize(r, 256<<10)
	b := make([]byte, headSize)
	if _, err := io.ReadFull(in, b); err != nil {
		return chapter{}, fmt.Errorf("%w: its beginning is missing", dcos.ErrInvalid)
	}
	le := binary.LittleEndian
	if string(b[:len(magic)]) != magic || le.Uint32(b[headSize-4:]) != crc32.Checksum(b[:headSize-4], castagnoli) {
		return chapter{}, fmt.Errorf("%w: its beginning is damaged, or of a newer version", dcos.ErrInvalid)
	}
	c := chapter{base: dcos.Index(le.Uint64(b[len(magic):])), baseTime: dcos.Time(le.Uint64(b[len(magic)+8:])), log: int64(headSize)}
	c.last, c.lastTime = c.base, c.baseTime
	for {
		e, n, err := readFrame(in)
		switch {
		case errors.Is(err, io.EOF):
			return c, nil
		case err != nil:
			c.damage = fmt.Sprintf("byte %d: %v", c.log, err)
			return c, nil
		case e.index != c.last+1 || e.time < c.lastTime:
			c.damage = fmt.Sprintf("byte %d: index %d at %s follows %d at %s", c.log, e.index, e.time, c.last, c.lastTime)
			return c, nil
		}
		if !take(e) {
			return c, nil
		}
		c.last, c.lastTime, c.log = e.index, e.time, c.log+n
	}
}

// readFrame fails with io.EOF at the end alone.
func readFrame(in *bufio.Reader) (entry, int64, error) {
	h := make([]byte, frameHead)
	if n, err := io.ReadFull(in, h); err != nil {
		if n == 0 && errors.Is(err, io.EOF) {
			return entry{}, 0, io.EOF
		}
		return entry{}, 0, errors.New("an entry is cut off")
	}
	le := binary.LittleEndian
	size := le.Uint32(h)
	if size > maxData {
		return entry{}, 0, fmt.Errorf("an entry of %d bytes, at most %d", size, maxData)
	}
	b := make([]byte, frameHead+int(size))
	copy(b, h)
	if _, err := io.ReadFull(in, b[frameHead:]); err != nil {
		return entry{}, 0, errors.New("an entry is cut off")
	}
	if frameSum(b) != le.Uint32(h[4:]) {
		return entry{}, 0, errors.New("checksum of an entry")
	}
	return entry{dcos.Index(le.Uint64(h[8:])), dcos.Time(le.Uint64(h[16:])), b[frameHead:]}, int64(len(b)), nil
}

// loadState restores a chapter's snapshot.
func loadState(dir string, base dcos.Index) (*state.Store, error) {
	name := chapterName(base, stateSuffix)
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s, err := state.Restore(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if got := s.View().Index(); got != base {
		return nil, fmt.Errorf("%w: %s holds index %d", dcos.ErrInvalid, name, got)
	}
	return s, nil
}
