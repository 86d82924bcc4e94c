package journal

import (
	"bytes"
	"testing"
)

// FuzzSegment feeds the decoder any bytes: it must neither panic nor return
// more than it was given, and what it accepts must encode to the same bytes.
func FuzzSegment(f *testing.F) {
	b, salt := appendHeader(nil, header{seq: 1, first: 1, floor: headerSize})
	last := salt
	for _, p := range []string{"", "a", "twelve bytes", string(make([]byte, 100))} {
		b, last = appendFrame(b, salt, frame{prev: last, kind: kindRecord, payload: []byte(p), synced: uint64(len(b))})
	}
	b, _ = appendFrame(b, salt, frame{prev: last, kind: kindMark, synced: uint64(len(b))})
	f.Add(b)
	f.Add(b[:len(b)-9])
	f.Add(b[:headerSize])
	f.Add([]byte("dcosjrnl"))
	broken := bytes.Clone(b)
	broken[headerSize+4] ^= 1
	f.Add(broken)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<20 {
			return
		}
		h, salt, reason := parseHeader(b)
		if reason != "" {
			return
		}
		for _, sealed := range []bool{true, false} {
			s := scanSegment(b, h, salt, sealed)
			if s.end < headerSize || s.end > int64(len(b)) {
				t.Fatalf("end %d of %d", s.end, len(b))
			}
			out, last := b[:headerSize:headerSize], salt
			for off := int64(headerSize); off < s.end; {
				fr, n, ok := parseFrame(b[off:], off, salt)
				if !ok || fr.prev != last {
					t.Fatalf("accepted a bad frame at %d", off)
				}
				out, last = appendFrame(out, salt, fr)
				off += int64(n)
			}
			if !bytes.Equal(out, b[:s.end]) {
				t.Fatal("what was read does not encode to what was there")
			}
		}
	})
}

func TestTornTailOfAnyContentIsNotDamage(t *testing.T) {
	// A torn batch may leave whole frames behind a hole, and payload that looks
	// like numbers; none of it was promised.
	b, salt := appendHeader(nil, header{seq: 1, first: 1, floor: headerSize})
	b, last := appendFrame(b, salt, frame{prev: salt, kind: kindRecord, payload: []byte("synced")})
	synced := uint64(len(b))
	good := len(b)
	for range 50 {
		b, last = appendFrame(b, salt, frame{prev: last, kind: kindRecord, synced: synced, payload: bytes.Repeat([]byte{1, 0, 0, 0}, 100)})
	}
	clear(b[good : good+100])
	s := scanSegment(b, header{floor: headerSize}, salt, false)
	if s.damaged != "" || s.end != int64(good) || len(s.records) != 1 {
		t.Fatalf("end %d want %d, damaged %q", s.end, good, s.damaged)
	}
}

func TestScanOfForgedFramesIsBounded(t *testing.T) {
	b, salt := appendHeader(nil, header{seq: 1, first: 1})
	b = append(b, make([]byte, 64)...)
	var forged []byte
	forged = le.AppendUint64(forged, 0)
	forged = le.AppendUint32(forged, 1<<19)
	forged = le.AppendUint32(forged, kindRecord)
	forged = le.AppendUint64(forged, headerSize+8)
	for len(b) < 1<<20 {
		b = append(b, forged...)
	}
	if s := scanSegment(b, header{}, salt, false); s.damaged == "" {
		t.Fatal("a tail full of forged frames passed as torn")
	}
}

func BenchmarkAppendSync(b *testing.B) {
	d, err := Dir(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	j, _, err := Open(d, Options{})
	if err != nil {
		b.Fatal(err)
	}
	rec := make([]byte, 4096)
	b.SetBytes(4096)
	for b.Loop() {
		if err := j.Append(rec); err != nil {
			b.Fatal(err)
		}
		if err := j.Sync(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(j.Stats().Fsyncs)/float64(b.N), "fsyncs/op")
}

func TestFrameMissingInTheMiddleIsNotSkipped(t *testing.T) {
	b, salt := appendHeader(nil, header{seq: 1, first: 1, floor: headerSize})
	b, last := appendFrame(b, salt, frame{prev: salt, kind: kindRecord, payload: []byte("one")})
	_, last = appendFrame(nil, salt, frame{prev: last, kind: kindRecord, payload: []byte("two")})
	b, _ = appendFrame(b, salt, frame{prev: last, kind: kindRecord, payload: []byte("three")})
	if s := scanSegment(b, header{floor: headerSize}, salt, false); len(s.records) != 1 {
		t.Fatalf("%d records, want the one before the gap", len(s.records))
	}
}
