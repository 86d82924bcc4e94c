package journal

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

const (
	segSuffix = ".seg"
	tmpSuffix = ".tmp"
)

func segName(seq uint64, suffix string) string { return fmt.Sprintf("%016x%s", seq, suffix) }

// parseName returns the sequence number of a file that is ours.
func parseName(name, suffix string) (uint64, bool) {
	hex, ok := strings.CutSuffix(name, suffix)
	if !ok || len(hex) != 16 {
		return 0, false
	}
	seq, err := strconv.ParseUint(hex, 16, 64)
	return seq, err == nil && segName(seq, suffix) == name
}

// Open reads the journal in fs, or begins an empty one, and returns the records
// it holds: records[i] has the number First()+i. A tail that was never synced
// is cut off; anything else that is not as it was written is a *DamagedError,
// and nothing on disk is changed then.
func Open(fs FS, o Options) (*Journal, [][]byte, error) {
	j := &Journal{fs: fs, o: o.withDefaults(), next: 1}
	seqs, tmps, err := j.list()
	if err != nil {
		return nil, nil, err
	}
	if len(seqs) == 0 {
		return j, nil, j.begin(tmps)
	}
	loaded, err := j.load(seqs)
	if err != nil {
		return nil, nil, err
	}
	records, stale, err := j.link(loaded)
	if err != nil {
		return nil, nil, err
	}
	if err := j.adopt(loaded[len(loaded)-1]); err != nil {
		return nil, nil, err
	}
	if err := j.drop(append(tmps, stale...)); err != nil {
		return nil, nil, err
	}
	return j, records, nil
}

// list returns the segments' sequence numbers in order, and left-over files.
func (j *Journal) list() (seqs []uint64, tmps []string, err error) {
	names, err := j.fs.List()
	if err != nil {
		return nil, nil, fmt.Errorf("journal: list: %w", err)
	}
	slices.Sort(names)
	for _, n := range names {
		if seq, ok := parseName(n, segSuffix); ok {
			seqs = append(seqs, seq)
		} else if _, ok := parseName(n, tmpSuffix); ok {
			tmps = append(tmps, n)
		}
	}
	return seqs, tmps, nil
}

// begin makes the first segment of an empty journal.
func (j *Journal) begin(tmps []string) error {
	if err := j.drop(tmps); err != nil {
		return err
	}
	return j.create(header{seq: 1, first: 1, floor: headerSize}, nil)
}

// part is a segment as it was read.
type part struct {
	segment
	h    header
	salt uint32
	data []byte
	scan scan
}

func (j *Journal) damaged(name string, off int64, reason string) error {
	return &DamagedError{File: name, Offset: off, Reason: reason, Repair: j.o.Repair}
}

// load reads the segments that count: from the newest back to the last one that
// replaces all before it.
func (j *Journal) load(seqs []uint64) ([]part, error) {
	var parts []part
	for i, seq := range slices.Backward(seqs) {
		p, err := j.read(segName(seq, segSuffix))
		if err != nil {
			return nil, err
		}
		if p.h.seq != seq {
			return nil, j.damaged(p.name, 16, fmt.Sprintf("sequence number is %d", p.h.seq))
		}
		parts = append(parts, p)
		if p.h.flags&flagBase != 0 {
			// What a compaction has replaced but not yet removed.
			for _, old := range seqs[:i] {
				parts = append(parts, part{segment: segment{name: segName(old, segSuffix), seq: old}})
			}
			break
		}
	}
	slices.SortFunc(parts, func(a, b part) int { return cmp.Compare(a.seq, b.seq) })
	return parts, nil
}

func (j *Journal) read(name string) (part, error) {
	f, err := j.fs.Open(name)
	if err != nil {
		return part{}, fmt.Errorf("journal: open %s: %w", name, err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return part{}, fmt.Errorf("journal: size of %s: %w", name, err)
	}
	if size > maxSegment {
		return part{}, j.damaged(name, maxSegment, "larger than any segment")
	}
	p := part{segment: segment{name: name, size: size}, data: make([]byte, size)}
	if n, err := f.ReadAt(p.data, 0); n < len(p.data) {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return part{}, fmt.Errorf("journal: read %s: %w", name, err)
	}
	h, salt, reason := parseHeader(p.data)
	if reason != "" {
		return part{}, j.damaged(name, 0, reason)
	}
	p.h, p.salt, p.seq, p.first = h, salt, h.seq, h.first
	return p, nil
}

// link checks that the parts follow each other and gathers the records. Parts
// without data are stale; their names are returned.
func (j *Journal) link(parts []part) (records [][]byte, stale []string, err error) {
	var before *part
	for i := range parts {
		p := &parts[i]
		if p.data == nil {
			stale = append(stale, p.name)
			continue
		}
		if before != nil {
			switch {
			case p.seq != before.seq+1:
				return nil, nil, j.damaged(segName(before.seq+1, segSuffix), 0, "the file is missing")
			case p.h.prev != before.scan.last || p.first != before.first+uint64(len(before.scan.records)):
				return nil, nil, j.damaged(before.name, before.scan.end, "the last records are missing")
			}
		}
		p.scan = scanSegment(p.data, p.h, p.salt, i < len(parts)-1)
		if p.scan.damaged != "" {
			return nil, nil, j.damaged(p.name, p.scan.end, p.scan.damaged)
		}
		records = append(records, p.scan.records...)
		j.next = p.first + uint64(len(p.scan.records))
		p.size = p.scan.end
		j.segs = append(j.segs, p.segment)
		j.n.segments.Add(1)
		j.n.size.Add(p.size)
		before = p
	}
	return records, stale, nil
}

// adopt opens the last segment for appending and cuts off a torn tail. It syncs
// file and directory in any case: the bytes and names that were read may come
// from a page cache whose process died before its fsync. And it first writes
// again what no frame says was durable: after an fsync that failed, the kernel
// holds pages that never reached the disk for clean, and a later fsync passes
// them over. Written again, they reach it now, or fail now.
func (j *Journal) adopt(p part) error {
	f, err := j.fs.Open(p.name)
	if err != nil {
		return fmt.Errorf("journal: open %s: %w", p.name, err)
	}
	j.f, j.salt, j.last, j.end = f, p.salt, p.scan.last, p.scan.end
	if torn := int64(len(p.data)) - p.scan.end; torn > 0 {
		j.n.torn.Store(torn)
		err = f.Truncate(p.scan.end)
	}
	if from := max(p.scan.synced, int64(p.h.floor)); err == nil && from < p.scan.end {
		j.n.writes.Add(1)
		_, err = f.WriteAt(p.data[from:p.scan.end], from)
	}
	if err == nil {
		j.n.fsyncs.Add(1)
		err = f.Sync()
	}
	if err == nil {
		j.n.fsyncs.Add(1)
		err = j.fs.SyncDir()
	}
	if err != nil {
		f.Close()
		return fmt.Errorf("journal: repair the tail of %s: %w", p.name, err)
	}
	j.synced = j.end
	return nil
}

// drop removes files one by one, oldest first, each durably: were two removals
// in flight, a crash could keep the older file and lose the newer one, and the
// next Open would see a gap.
func (j *Journal) drop(names []string) error {
	for _, n := range names {
		if err := j.fs.Remove(n); err != nil {
			return j.fail("remove "+n+" after", err)
		}
		j.n.fsyncs.Add(1)
		if err := j.fs.SyncDir(); err != nil {
			return j.fail("fsync of the directory after", err)
		}
	}
	return nil
}
