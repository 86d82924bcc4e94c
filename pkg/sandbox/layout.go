package sandbox

import (
	"bufio"
	"fmt"
	"io"
)

// The log of a stream is a row of segments. The newest is the file named like
// the stream ("stdout"); when it is full it gets its number appended
// ("stdout.3") and a new one begins. A sidecar (".stdout.index") has one line
// per kept segment, oldest first: number, offset of its first byte in the whole
// stream, and the time it began in milliseconds since 1970. The sidecar is
// replaced after the rename and before the oldest segment is deleted. A log
// that was never rotated has none.
const (
	Stdout = "stdout"
	Stderr = "stderr"

	// maxSegments is how many segments of a stream are ever kept; the shim's
	// array has this size.
	maxSegments = 64
	// SegmentBytes is the size at which a segment is full, where the bound of
	// the stream allows it.
	SegmentBytes = 8 << 20
	minSegment   = 4 << 10
	unbounded    = 1 << 62
)

// Segments divides the bound of one stream (bytes; 0 is none) into segments:
// how large one is and how many are kept. Together they never exceed the bound,
// but for the smallest bounds, which give two segments of 4 KiB.
func Segments(bound int64) (size int64, count int) {
	switch {
	case bound <= 0:
		return unbounded, 1
	case bound < 4*minSegment:
		return minSegment, 2
	case bound <= 4*SegmentBytes:
		return bound / 4, 4
	}
	count = int(min(bound/SegmentBytes, maxSegments))
	return bound / int64(count), count
}

// IndexName is the file that tells where the segments of a stream begin.
func IndexName(stream string) string { return "." + stream + ".index" }

func segmentName(stream string, number uint32) string { return fmt.Sprintf("%s.%d", stream, number) }

// segment is one line of a sidecar.
type segment struct {
	number uint32
	offset int64
	millis int64
}

// readIndex decodes a sidecar. The file lies where the task can write: what is
// not a growing row of segments is refused.
func readIndex(r io.Reader) ([]segment, error) {
	var row []segment
	lines := bufio.NewScanner(io.LimitReader(r, maxSegments*64))
	for lines.Scan() {
		var s segment
		if n, err := fmt.Sscanf(lines.Text(), "%d %d %d", &s.number, &s.offset, &s.millis); n != 3 || err != nil {
			return nil, fmt.Errorf("log index: line %q is not number, offset and time", lines.Text())
		}
		if s.offset < 0 || len(row) == maxSegments {
			return nil, fmt.Errorf("log index: segment %d at offset %d is out of bounds", s.number, s.offset)
		}
		if len(row) > 0 {
			last := row[len(row)-1]
			if s.number <= last.number || s.number != last.number+1 || s.offset < last.offset {
				return nil, fmt.Errorf("log index: segment %d at offset %d follows segment %d at %d", s.number, s.offset, last.number, last.offset)
			}
		}
		row = append(row, s)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("log index: %w", err)
	}
	if len(row) == 0 {
		return nil, fmt.Errorf("log index: empty")
	}
	return row, nil
}
