package consensus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/dcos-go/dcos/pkg/journal"
)

// The incarnation counts a member's starts. It is kept beside the raft log and
// raised durably before the member takes part; the cluster keeps it in the
// member's row. A directory whose number is behind the row's is an old copy:
// its terms, votes and entries are not those that others were promised.
const (
	incarnationFile  = "incarnation"
	incarnationMagic = "dcosinc1"
	incarnationSize  = len(incarnationMagic) + 8 + 4
)

// raiseIncarnation makes the next number durable and returns it. A directory
// without the file (a new one, or of a version that had none) begins with 1.
func raiseIncarnation(fs journal.FS) (uint64, error) {
	last, err := readIncarnation(fs)
	if err != nil {
		return 0, err
	}
	if err := writeIncarnation(fs, last+1); err != nil {
		return 0, fmt.Errorf("raft log: %w", err)
	}
	return last + 1, nil
}

func readIncarnation(fs journal.FS) (uint64, error) {
	names, err := fs.List()
	if err != nil {
		return 0, fmt.Errorf("raft log: list: %w", err)
	}
	if !slices.Contains(names, incarnationFile) {
		return 0, nil
	}
	b, err := readSmall(fs, incarnationFile, incarnationSize)
	if err != nil {
		return 0, fmt.Errorf("raft log: read %s: %w", incarnationFile, err)
	}
	body := len(incarnationMagic) + 8
	switch {
	case len(b) != incarnationSize, string(b[:len(incarnationMagic)]) != incarnationMagic,
		crc32.Checksum(b[:body], incarnationTable) != binary.BigEndian.Uint32(b[body:]):
		return 0, fmt.Errorf("raft log: %w", &journal.DamagedError{File: incarnationFile, Reason: "not what was written", Repair: Repair})
	}
	return binary.BigEndian.Uint64(b[len(incarnationMagic):]), nil
}

var incarnationTable = crc32.MakeTable(crc32.Castagnoli)

func writeIncarnation(fs journal.FS, n uint64) (err error) {
	const tmp = incarnationFile + ".new"
	b := binary.BigEndian.AppendUint64([]byte(incarnationMagic), n)
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, incarnationTable))
	f, err := fs.Create(tmp)
	if err != nil {
		return fmt.Errorf("create %s: %w", tmp, err)
	}
	if _, err = f.WriteAt(b, 0); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = fs.Rename(tmp, incarnationFile)
	}
	if err == nil {
		err = fs.SyncDir()
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", incarnationFile, err)
	}
	return nil
}

// readSmall reads a file of at most limit bytes, and one more when it is
// longer.
func readSmall(fs journal.FS, name string, limit int) ([]byte, error) {
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	b := make([]byte, min(size, int64(limit)+1))
	if len(b) == 0 {
		return nil, nil
	}
	if n, err := f.ReadAt(b, 0); n < len(b) {
		return nil, err
	}
	return b, nil
}
