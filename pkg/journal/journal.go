// Package journal is durable append-only records in one directory.
//
// It owns the files of that directory whose names end in .seg (and .tmp): the
// format, their checksums, the repair of a torn tail and compaction. The raft
// log and the agent's checkpoint live on it.
//
// It promises: after Sync returned nil, every record appended before is
// returned by the next Open, in order and bit for bit, or Open fails with
// ErrDamaged and names the file; a record that was never synced is there or not,
// but never in part and never behind a hole. After a write or fsync that failed
// every later call fails with the same error: what the disk holds is then
// unknown, and the owner must stop.
//
// It must not decide anything about the content of records, start a goroutine,
// read a clock or log. It is passive: the caller groups records, and calls from
// one goroutine at a time (Stats may be read by any).
package journal

import (
	"errors"
	"fmt"
	"sync/atomic"
)

// Limits of the format and the defaults of Options.
const (
	DefaultSegmentBytes = 16 << 20
	DefaultMaxRecord    = 4 << 20
	maxMaxRecord        = 64 << 20
	maxSegment          = 2 << 30 // a larger file is not ours
)

// Options tune a journal; the zero value is good.
type Options struct {
	// SegmentBytes is the size behind which a new segment is begun.
	SegmentBytes int64
	// MaxRecord is the largest record, at most 64 MiB.
	MaxRecord int
	// Repair is the sentence for the operator in a DamagedError.
	Repair string
}

func (o Options) withDefaults() Options {
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = DefaultSegmentBytes
	}
	if o.MaxRecord <= 0 {
		o.MaxRecord = DefaultMaxRecord
	}
	o.MaxRecord = min(o.MaxRecord, maxMaxRecord)
	return o
}

// Stats are counters since Open, and sizes.
type Stats struct {
	Fsyncs   uint64 // of files and of the directory
	Writes   uint64 // write calls
	Records  uint64 // appended
	Bytes    uint64 // appended, without framing
	Segments int64  // that exist now
	Size     int64  // bytes of all segments
	Torn     int64  // bytes of an unsynced tail that Open cut off
}

type counters struct {
	fsyncs, writes, records, bytes atomic.Uint64
	segments, size, torn           atomic.Int64
}

// segment is one file, oldest first in Journal.segs.
type segment struct {
	name  string
	seq   uint64
	first uint64
	size  int64
}

// Journal is an open journal. See the package comment for who may call.
type Journal struct {
	fs   FS
	o    Options
	segs []segment
	f    File   // the last segment
	salt uint32 // of the last segment
	last uint32 // crc of the last frame
	next uint64 // number of the next record

	end    int64 // of the last segment
	synced int64 // durable length of the last segment
	dirty  bool  // records since the last Sync
	buf    []byte
	err    error // sticky
	n      counters
}

// First is the number of the oldest record that is still kept. Records are
// numbered from 1 without gaps; numbers are never used again.
func (j *Journal) First() uint64 { return j.segs[0].first }

// Next is the number that the next appended record gets.
func (j *Journal) Next() uint64 { return j.next }

// Err is the error that made the journal unusable, or nil.
func (j *Journal) Err() error { return j.err }

// Stats may be called from any goroutine.
func (j *Journal) Stats() Stats {
	return Stats{
		Fsyncs: j.n.fsyncs.Load(), Writes: j.n.writes.Load(), Records: j.n.records.Load(), Bytes: j.n.bytes.Load(),
		Segments: j.n.segments.Load(), Size: j.n.size.Load(), Torn: j.n.torn.Load(),
	}
}

// Append writes the records behind the last one. They are durable after Sync.
// Records that are too large are refused before anything is written.
func (j *Journal) Append(recs ...[]byte) error {
	if j.err != nil {
		return j.err
	}
	need := 0
	for _, r := range recs {
		if len(r) > j.o.MaxRecord {
			return fmt.Errorf("journal: append %d bytes, limit is %d: %w", len(r), j.o.MaxRecord, ErrTooLarge)
		}
		need += frameLen(len(r))
	}
	if len(recs) == 0 {
		return nil
	}
	if j.end > headerSize && j.end+int64(need) > j.o.SegmentBytes {
		if err := j.Cut(); err != nil {
			return err
		}
	}
	last := j.last
	buf := j.buf[:0]
	bytes := 0
	for _, r := range recs {
		buf, last = appendFrame(buf, j.salt, frame{prev: last, kind: kindRecord, synced: uint64(j.synced), payload: r})
		bytes += len(r)
	}
	if err := j.write(buf, last); err != nil {
		return err
	}
	j.dirty = true
	j.next += uint64(len(recs))
	j.n.records.Add(uint64(len(recs)))
	j.n.bytes.Add(uint64(bytes))
	return nil
}

// write puts whole frames at the end of the last segment.
func (j *Journal) write(buf []byte, last uint32) error {
	n, err := j.f.WriteAt(buf, j.end)
	j.n.writes.Add(1)
	if err == nil && n != len(buf) {
		err = fmt.Errorf("short write of %d of %d bytes", n, len(buf))
	}
	if err != nil {
		return j.fail("write", err)
	}
	j.end += int64(len(buf))
	j.last = last
	j.segs[len(j.segs)-1].size = j.end
	j.n.size.Add(int64(len(buf)))
	if cap(buf) <= 1<<20 {
		j.buf = buf
	} else {
		j.buf = nil
	}
	return nil
}

// Sync makes everything appended so far durable. Without new records it costs
// nothing.
func (j *Journal) Sync() error {
	if j.err != nil {
		return j.err
	}
	if !j.dirty {
		return nil
	}
	j.n.fsyncs.Add(1)
	if err := j.f.Sync(); err != nil {
		return j.fail("fsync", err)
	}
	j.dirty = false
	j.synced = j.end
	// The mark tells a later Open that what is before it was promised. It is not
	// durable itself before the next Sync, and needs not be: a process that is
	// killed leaves it in the page cache. The records are safe without it, so an
	// error here is for the next call.
	mark, last := appendFrame(j.buf[:0], j.salt, frame{prev: j.last, kind: kindMark, synced: uint64(j.synced)})
	_ = j.write(mark, last)
	return nil
}

// fail makes err the answer to every later call.
func (j *Journal) fail(act string, err error) error {
	name := ""
	if len(j.segs) > 0 {
		name = " " + j.segs[len(j.segs)-1].name
	}
	j.err = fmt.Errorf("journal: %s%s: %w", act, name, err)
	return j.err
}

// Close syncs and closes the files. The journal cannot be used afterwards.
func (j *Journal) Close() error {
	if errors.Is(j.err, ErrClosed) {
		return nil
	}
	err := j.Sync()
	if j.f != nil {
		if cerr := j.f.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("journal: close: %w", cerr)
		}
	}
	j.err = ErrClosed
	return err
}
