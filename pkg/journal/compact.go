package journal

import "fmt"

// Cut begins a new segment, after making the old one durable. Owners call it
// before they write what TruncatePrefix shall keep.
func (j *Journal) Cut() error {
	if j.err != nil {
		return j.err
	}
	if j.end == headerSize {
		return nil
	}
	// One fsync for all of it: records, and the mark behind the last Sync, which
	// is part of the chain that the next header continues. A mark of its own is
	// not needed, since a segment with a successor is durable as a whole.
	if j.end != j.synced {
		j.n.fsyncs.Add(1)
		if err := j.f.Sync(); err != nil {
			return j.fail("fsync", err)
		}
		j.synced, j.dirty = j.end, false
	}
	seq := j.segs[len(j.segs)-1].seq + 1
	return j.create(header{prev: j.last, seq: seq, first: j.next, floor: headerSize}, nil)
}

// TruncatePrefix removes whole segments whose records all have numbers below
// keep. What is left may begin earlier than keep.
func (j *Journal) TruncatePrefix(keep uint64) error {
	if j.err != nil {
		return j.err
	}
	n := 0
	for n+1 < len(j.segs) && j.segs[n+1].first <= keep {
		n++
	}
	return j.forget(n)
}

// Compact replaces everything by the given records, atomically: after a crash
// the next Open sees either all old records, or exactly these (and what was
// appended later). They are durable when Compact returns.
func (j *Journal) Compact(live [][]byte) error {
	if j.err != nil {
		return j.err
	}
	floor := int64(headerSize + frameSize)
	for _, r := range live {
		if len(r) > j.o.MaxRecord {
			return fmt.Errorf("journal: compact with %d bytes, limit is %d: %w", len(r), j.o.MaxRecord, ErrTooLarge)
		}
		floor += int64(frameLen(len(r)))
	}
	if floor > maxSegment {
		return fmt.Errorf("journal: compact to %d bytes, limit is %d: %w", floor, int64(maxSegment), ErrTooLarge)
	}
	old := len(j.segs)
	h := header{flags: flagBase, prev: j.last, seq: j.segs[old-1].seq + 1, first: j.next, floor: uint64(floor)}
	if err := j.create(h, live); err != nil {
		return err
	}
	// What it replaces need not be gone durably, in no order: Open does not look
	// behind a segment that replaces all before it, and removes it.
	for range old {
		if err := j.fs.Remove(j.segs[0].name); err != nil {
			return j.fail("remove "+j.segs[0].name+" after", err)
		}
		j.shift()
	}
	return nil
}

// forget removes the n oldest segments.
func (j *Journal) forget(n int) error {
	for ; n > 0; n-- {
		s := j.segs[0]
		if err := j.drop([]string{s.name}); err != nil {
			return err
		}
		j.shift()
	}
	return nil
}

// shift takes the oldest segment, which was removed, off the list.
func (j *Journal) shift() {
	j.n.segments.Add(-1)
	j.n.size.Add(-j.segs[0].size)
	j.segs = j.segs[1:]
}

// create writes a segment under a temporary name, makes it durable, gives it
// its name, makes that durable, and makes it the last segment.
func (j *Journal) create(h header, recs [][]byte) error {
	tmp, name := segName(h.seq, tmpSuffix), segName(h.seq, segSuffix)
	f, err := j.fs.Create(tmp)
	if err != nil {
		return j.fail("create "+tmp+" after", err)
	}
	w := segmentWriter{j: j, f: f}
	w.fill(h, recs)
	if w.err == nil {
		j.n.fsyncs.Add(1)
		w.err = f.Sync()
	}
	if w.err == nil {
		w.err = j.fs.Rename(tmp, name)
	}
	if w.err == nil {
		j.n.fsyncs.Add(1)
		w.err = j.fs.SyncDir()
	}
	if w.err != nil {
		f.Close()
		return j.fail("begin "+name+" after", w.err)
	}
	if j.f != nil {
		if err := j.f.Close(); err != nil {
			f.Close()
			return j.fail("close", err)
		}
	}
	j.f, j.salt, j.last = f, w.salt, w.last
	j.end, j.synced, j.dirty = w.end, w.end, false
	j.next = h.first + uint64(len(recs))
	j.segs = append(j.segs, segment{name: name, seq: h.seq, first: h.first, size: w.end})
	j.n.segments.Add(1)
	j.n.size.Add(w.end)
	return nil
}

// segmentWriter fills a new segment in writes of bounded size.
type segmentWriter struct {
	j    *Journal
	f    File
	buf  []byte
	end  int64
	salt uint32
	last uint32
	err  error
}

func (w *segmentWriter) fill(h header, recs [][]byte) {
	w.buf, w.salt = appendHeader(w.buf, h)
	w.last = w.salt
	for _, r := range recs {
		w.buf, w.last = appendFrame(w.buf, w.salt, frame{prev: w.last, kind: kindRecord, payload: r})
		w.j.n.records.Add(1)
		w.j.n.bytes.Add(uint64(len(r)))
		if len(w.buf) >= 1<<18 {
			w.flush()
		}
	}
	if h.flags&flagBase != 0 {
		end := w.end + int64(len(w.buf))
		w.buf, w.last = appendFrame(w.buf, w.salt, frame{prev: w.last, kind: kindMark, synced: uint64(end)})
	}
	w.flush()
}

func (w *segmentWriter) flush() {
	if w.err != nil || len(w.buf) == 0 {
		return
	}
	n, err := w.f.WriteAt(w.buf, w.end)
	w.j.n.writes.Add(1)
	if err == nil && n != len(w.buf) {
		err = fmt.Errorf("short write of %d of %d bytes", n, len(w.buf))
	}
	w.err = err
	w.end += int64(n)
	w.buf = w.buf[:0]
}
