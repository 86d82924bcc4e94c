package state

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// errDamaged is every fault of a snapshot itself.
var errDamaged = fmt.Errorf("%w: snapshot is damaged", dcos.ErrInvalid)

// smallFrame is what almost all rows are smaller than.
const smallFrame = 64 << 10

// snapshotReader unframes, hashes and counts, so that errors name the place.
type snapshotReader struct {
	in   *bufio.Reader
	hash hash.Hash
	at   int64 // bytes read
	buf  []byte
}

// ReadByte makes it an io.ByteReader for uvarints.
func (r *snapshotReader) ReadByte() (byte, error) {
	b, err := r.in.ReadByte()
	if err == nil {
		r.hash.Write([]byte{b})
		r.at++
	}
	return b, err
}

// read reads n bytes. It grows with what comes, not with what was announced.
// What it gives is good until the next call.
func (r *snapshotReader) read(n int) ([]byte, error) {
	if n <= smallFrame {
		if r.buf == nil {
			r.buf = make([]byte, smallFrame)
		}
		got, err := io.ReadFull(r.in, r.buf[:n])
		r.at += int64(got)
		if err != nil {
			return nil, r.damage("%d bytes are missing: %w", n-got, unexpected(err))
		}
		r.hash.Write(r.buf[:n])
		return r.buf[:n], nil
	}
	var buf bytes.Buffer
	got, err := io.CopyN(&buf, r.in, int64(n))
	r.at += got
	if err != nil {
		return nil, r.damage("%d bytes are missing: %w", int64(n)-got, unexpected(err))
	}
	r.hash.Write(buf.Bytes())
	return buf.Bytes(), nil
}

func (r *snapshotReader) frame() ([]byte, error) {
	n, err := binary.ReadUvarint(r)
	switch {
	case err != nil:
		return nil, r.damage("length of a row: %w", unexpected(err))
	case n > maxFrame:
		return nil, r.damage("a row of %d bytes, expected at most %d", n, maxFrame)
	}
	return r.read(int(n))
}

func (r *snapshotReader) damage(format string, args ...any) error {
	return fmt.Errorf("%w at byte %d: %w", errDamaged, r.at, fmt.Errorf(format, args...))
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func restore(from io.Reader) (*Store, error) {
	r := &snapshotReader{in: bufio.NewReaderSize(from, 256<<10), hash: sha256.New()}
	header, err := r.header()
	if err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	t := newTables()
	t.index, t.time, t.texts = header.Index, header.Time, dcos.Texts{}
	if err := r.rows(t, header); err != nil {
		return nil, fmt.Errorf("restore index %d: %w", header.Index, err)
	}
	for n := range t.nodes.All() {
		t.markShrunk(n.ID)
		t.reindexNode(nil, n)
	}
	t.texts = nil
	return newStore(t), nil
}

func (r *snapshotReader) header() (snapshotHeader, error) {
	var h snapshotHeader
	magic, err := r.read(len(snapshotMagic))
	if err != nil {
		return h, err
	}
	if string(magic) != snapshotMagic {
		return h, r.damage("it begins with %q, expected %q", magic, snapshotMagic)
	}
	frame, err := r.frame()
	if err != nil {
		return h, err
	}
	if err := decMode.Unmarshal(frame, &h); err != nil {
		return h, r.damage("header: %w", err)
	}
	if err := checkLevel(h.Level); err != nil {
		return h, err
	}
	switch {
	case h.Format != snapshotFormat:
		return h, r.damage("format %d, expected %d", h.Format, snapshotFormat)
	case h.Time < 0 || h.Time > maxTime:
		return h, r.damage("time %d", int64(h.Time))
	}
	return h, nil
}

// rows reads everything after the header and compares the hashes.
func (r *snapshotReader) rows(t *tables, h snapshotHeader) error {
	kind, count := 0, uint64(0)
	var buf []byte
	for {
		frame, err := r.frame()
		if err != nil {
			return err
		}
		if len(frame) == 0 {
			break
		}
		for kind < len(rowKinds) && rowKinds[kind].table != Table(frame[0]) {
			kind++
		}
		if kind == len(rowKinds) {
			return r.damage("row of table %d, which is not known or not in order", frame[0])
		}
		row, err := readRow(t, rowKinds[kind], frame[1:])
		if err != nil {
			return r.damage("%s row: %w", rowKinds[kind].table, err)
		}
		var sum rowSum
		sum, buf = hashRow(buf, rowKinds[kind].table, row)
		t.sum.add(sum)
		count++
	}
	want := r.hash.Sum(nil)
	got, err := r.read(sha256.Size)
	switch {
	case err != nil:
		return err
	case !bytes.Equal(got, want):
		return r.damage("checksum is %x, its contents have %x", got, want)
	case count != h.Rows || t.sum != h.Sum:
		return r.damage("%d rows with hash %x, the header says %d with %x", count, t.sum.Lo, h.Rows, h.Sum.Lo)
	}
	return nil
}

func readRow(t *tables, kind rowKind, frame []byte) (any, error) {
	n, size := binary.Uvarint(frame)
	if size <= 0 || n > uint64(len(frame)-size) {
		return nil, errors.New("its key is longer than the row")
	}
	body := frame[size:]
	return kind.read(t, string(body[:n]), body[n:])
}
