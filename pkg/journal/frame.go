package journal

import (
	"encoding/binary"
	"hash/crc32"
)

// On disk a segment is one header and then frames, each padded to 8 bytes:
//
//	header  magic[8] version:16 flags:16 prev:32 seq:64 first:64 floor:64 zero:32 crc:32
//	frame   crc:32 prev:32 length:32 kind:32 synced:64 payload pad
//
// All numbers are little endian. A frame's crc covers everything behind it in
// the frame and is seeded with the crc of its segment's header, so that a frame
// of another segment never fits; prev is the crc of the frame before (for the
// first frame: of the header), so that a missing frame is noticed. synced is
// the length of the segment that was durable when the frame was written: a
// valid frame behind a bad one proves by it whether the bad bytes had been
// promised (damage) or not (a torn tail). A header's prev is the last crc of
// the segment before, its floor the length that was durable when the segment
// got its name.
const (
	headerSize = 48
	frameSize  = 24
	version    = 1
	flagBase   = 1 // the records of this segment replace all earlier ones

	kindRecord = 1
	kindMark   = 2 // no payload; only says how far the segment was durable
)

var (
	magic      = [8]byte{'d', 'c', 'o', 's', 'j', 'r', 'n', 'l'}
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	le         = binary.LittleEndian
)

type header struct {
	flags uint16
	prev  uint32
	seq   uint64
	first uint64 // number of the first record
	floor uint64
}

// appendHeader returns the header's crc as well: the salt of the segment.
func appendHeader(b []byte, h header) ([]byte, uint32) {
	at := len(b)
	b = append(b, magic[:]...)
	b = le.AppendUint16(b, version)
	b = le.AppendUint16(b, h.flags)
	b = le.AppendUint32(b, h.prev)
	b = le.AppendUint64(b, h.seq)
	b = le.AppendUint64(b, h.first)
	b = le.AppendUint64(b, h.floor)
	b = le.AppendUint32(b, 0)
	crc := crc32.Checksum(b[at:], castagnoli)
	return le.AppendUint32(b, crc), crc
}

// parseHeader returns the header and its salt, or why it is none.
func parseHeader(b []byte) (header, uint32, string) {
	switch {
	case len(b) < headerSize:
		return header{}, 0, "shorter than a segment header"
	case [8]byte(b[:8]) != magic:
		return header{}, 0, "not a journal segment"
	}
	crc := le.Uint32(b[44:])
	if crc32.Checksum(b[:44], castagnoli) != crc {
		return header{}, 0, "checksum of the segment header"
	}
	if v := le.Uint16(b[8:]); v != version {
		return header{}, 0, "format version that this program does not know"
	}
	return header{
		flags: le.Uint16(b[10:]), prev: le.Uint32(b[12:]), seq: le.Uint64(b[16:]),
		first: le.Uint64(b[24:]), floor: le.Uint64(b[32:]),
	}, crc, ""
}

type frame struct {
	crc, prev uint32
	kind      uint32
	synced    uint64
	payload   []byte
}

func padded(n int) int { return (n + 7) &^ 7 }

// frameLen is the number of bytes a record of n bytes takes.
func frameLen(n int) int { return frameSize + padded(n) }

// appendFrame returns the crc of the frame, which the next one carries.
func appendFrame(b []byte, salt uint32, f frame) ([]byte, uint32) {
	at := len(b)
	b = le.AppendUint32(b, 0)
	b = le.AppendUint32(b, f.prev)
	b = le.AppendUint32(b, uint32(len(f.payload)))
	b = le.AppendUint32(b, f.kind)
	b = le.AppendUint64(b, f.synced)
	b = append(b, f.payload...)
	crc := crc32.Update(salt, castagnoli, b[at+4:])
	le.PutUint32(b[at:], crc)
	for len(b)%8 != at%8 {
		b = append(b, 0)
	}
	return b, crc
}

// parseFrame decodes the frame at the start of b, whose segment offset is off.
// It says only whether the frame is whole in itself, not whether it is the next
// one.
func parseFrame(b []byte, off int64, salt uint32) (frame, int, bool) {
	size, ok := plausible(b, off)
	if !ok {
		return frame{}, 0, false
	}
	end := frameSize + int(le.Uint32(b[8:]))
	crc := le.Uint32(b)
	if crc32.Update(salt, castagnoli, b[4:end]) != crc {
		return frame{}, 0, false
	}
	for _, c := range b[end:size] {
		if c != 0 {
			return frame{}, 0, false
		}
	}
	return frame{crc: crc, prev: le.Uint32(b[4:]), kind: le.Uint32(b[12:]), synced: le.Uint64(b[16:]), payload: b[frameSize:end:end]}, size, true
}

// plausible looks at the fields of a frame without its checksum, and returns
// the length that it claims.
func plausible(b []byte, off int64) (size int, ok bool) {
	if len(b) < frameSize {
		return 0, false
	}
	n, kind, synced := int64(le.Uint32(b[8:])), le.Uint32(b[12:]), le.Uint64(b[16:])
	if n > maxMaxRecord || synced > uint64(off) || (kind != kindRecord && (kind != kindMark || n != 0)) {
		return 0, false
	}
	size = frameLen(int(n))
	return size, size <= len(b)
}

// scan is what one segment holds.
type scan struct {
	records [][]byte // alias the bytes that were scanned
	end     int64    // length of the good part
	last    uint32   // crc of the last good frame
	synced  int64    // length that a good frame says was durable
	damaged string   // not empty: the bytes at end had been durable
}

// scanSegment reads the frames behind the header. sealed says that a later
// segment exists: then all of it had been durable.
func scanSegment(b []byte, h header, salt uint32, sealed bool) scan {
	s := scan{end: headerSize, last: salt}
	for s.end < int64(len(b)) {
		f, n, ok := parseFrame(b[s.end:], s.end, salt)
		if !ok || f.prev != s.last {
			break
		}
		if f.kind == kindRecord {
			s.records = append(s.records, f.payload)
		}
		s.last = f.crc
		s.synced = max(s.synced, int64(f.synced))
		s.end += int64(n)
	}
	switch whole := s.end == int64(len(b)); {
	case s.end < int64(h.floor):
		s.damaged = "record that was durable when the segment was made"
	case whole:
	case sealed:
		s.damaged = "record in a segment that was complete"
	case promised(b, s.end, salt):
		s.damaged = "record that a later one says was durable"
	}
	return s
}

// promised looks behind a bad frame for a whole one that says the bad bytes had
// been durable. The work is bounded: a tail that looks like millions of frames
// counts as damage, because nothing we write looks like that.
func promised(b []byte, bad int64, salt uint32) bool {
	budget := 4*int64(len(b)) + 1<<20
	for off := bad + 8; off+frameSize <= int64(len(b)); {
		p := b[off:]
		off += 8
		size, ok := plausible(p, off-8)
		if !ok || le.Uint64(p[16:]) <= uint64(bad) {
			continue
		}
		if budget -= int64(size); budget < 0 {
			return true
		}
		if _, _, ok := parseFrame(p, off-8, salt); ok {
			return true
		}
	}
	return false
}
