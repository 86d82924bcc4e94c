package journal_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dcos-go/dcos/pkg/journal"
	"github.com/dcos-go/dcos/pkg/journal/journaltest"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, fs journal.FS, o journal.Options) (*journal.Journal, []string) {
	t.Helper()
	j, recs, err := journal.Open(fs, o)
	must(t, err)
	return j, text(recs)
}

func text(recs [][]byte) []string {
	var s []string
	for _, r := range recs {
		s = append(s, string(r))
	}
	return s
}

func recs(s ...string) [][]byte {
	var b [][]byte
	for _, r := range s {
		b = append(b, []byte(r))
	}
	return b
}

func TestSyncedRecordsComeBackInOrderFromARealDirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b")
	var want []string
	for round := range 4 {
		d, err := journal.Dir(path)
		must(t, err)
		j, got := open(t, d, journal.Options{SegmentBytes: 400})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("round %d: records (-want +got)\n%s", round, diff)
		}
		if n := uint64(len(want)); j.Next() != n+1 || j.First() != 1 {
			t.Fatalf("round %d: numbers are %d to %d, want 1 to %d", round, j.First(), j.Next(), n+1)
		}
		for i := range 20 {
			r := fmt.Sprintf("round %d record %d %s", round, i, strings.Repeat("x", i))
			must(t, j.Append([]byte(r)))
			want = append(want, r)
		}
		must(t, j.Append(nil...))
		must(t, j.Append([]byte{}))
		want = append(want, "")
		must(t, j.Close())
		must(t, d.Close())
	}
	names, err := os.ReadDir(path)
	must(t, err)
	if len(names) < 10 {
		t.Fatalf("%d segments, want several", len(names))
	}
	if room, err := journal.HasRoom(mustDir(t, path), 1, 0); err != nil || !room {
		t.Fatalf("room for a byte: %v, %v", room, err)
	}
}

func mustDir(t *testing.T, path string) *journal.Directory {
	d, err := journal.Dir(path)
	must(t, err)
	t.Cleanup(func() { d.Close() })
	return d
}

func TestSyncWithoutNewRecordsCostsNoFsync(t *testing.T) {
	fs := journaltest.New(1)
	j, _ := open(t, fs, journal.Options{})
	must(t, j.Append(recs("a", "b")...))
	before := j.Stats().Fsyncs
	for range 3 {
		must(t, j.Sync())
	}
	s := j.Stats()
	if s.Fsyncs != before+1 || s.Records != 2 || s.Bytes != 2 || s.Segments != 1 || s.Size == 0 {
		t.Fatalf("stats %+v, want one fsync more than %d for 2 records of 2 bytes", s, before)
	}
	if got := fs.Calls(journaltest.OpSync) + fs.Calls(journaltest.OpSyncDir); uint64(got) != s.Fsyncs {
		t.Fatalf("the file system saw %d fsyncs, the journal counted %d", got, s.Fsyncs)
	}
}

func TestCompactKeepsExactlyTheLiveRecords(t *testing.T) {
	fs := journaltest.New(1)
	j, _ := open(t, fs, journal.Options{SegmentBytes: 200})
	for i := range 30 {
		must(t, j.Append(recs(fmt.Sprint("old ", i))...))
	}
	must(t, j.Compact(recs("live 1", "live 2")))
	must(t, j.Append(recs("after")...))
	must(t, j.Sync())
	if n := len(fs.Names()); n > 2 {
		t.Fatalf("files %v, want the old ones gone", fs.Names())
	}
	fs.Crash()
	j, got := open(t, fs, journal.Options{})
	if diff := cmp.Diff([]string{"live 1", "live 2", "after"}, got); diff != "" {
		t.Fatal(diff)
	}
	if j.First() != 31 || j.Next() != 34 {
		t.Fatalf("numbers %d to %d, want 31 to 34", j.First(), j.Next())
	}
}

func TestTruncatePrefixRemovesWholeSegmentsOnly(t *testing.T) {
	fs := journaltest.New(1)
	j, _ := open(t, fs, journal.Options{})
	for i := range 4 {
		must(t, j.Append(recs(fmt.Sprint(i, "a"), fmt.Sprint(i, "b"))...))
		must(t, j.Cut())
	}
	must(t, j.Append(recs("last")...))
	must(t, j.TruncatePrefix(6)) // inside the third segment (5, 6)
	if j.First() != 5 {
		t.Fatalf("first is %d, want 5", j.First())
	}
	must(t, j.TruncatePrefix(100))
	if j.First() != 9 || j.Next() != 10 {
		t.Fatalf("numbers %d to %d, want 9 to 10: the last segment stays", j.First(), j.Next())
	}
	must(t, j.Close())
	if _, got := open(t, fs, journal.Options{}); !cmp.Equal(got, []string{"last"}) {
		t.Fatalf("records %q", got)
	}
}

func TestErrorsOfTheDiskStick(t *testing.T) {
	for _, tt := range []struct {
		op  journaltest.Op
		err error
	}{{journaltest.OpWrite, syscall.ENOSPC}, {journaltest.OpSync, syscall.EIO}, {journaltest.OpSyncDir, syscall.EIO}, {journaltest.OpRename, syscall.EROFS}, {journaltest.OpCreate, syscall.EMFILE}} {
		t.Run(string(tt.op), func(t *testing.T) {
			fs := journaltest.New(1)
			j, _ := open(t, fs, journal.Options{})
			must(t, j.Append(recs("kept")...))
			must(t, j.Sync())
			fs.FailNth(tt.op, 1, tt.err)
			err := errors.Join(j.Append(recs("lost")...), j.Sync(), j.Cut())
			if !errors.Is(err, tt.err) {
				t.Fatalf("error is %v, want %v", err, tt.err)
			}
			for name, err := range map[string]error{"append": j.Append(recs("x")...), "sync": j.Sync(), "cut": j.Cut(), "compact": j.Compact(nil), "truncate": j.TruncatePrefix(9), "err": j.Err()} {
				if !errors.Is(err, tt.err) {
					t.Errorf("%s after the failure: %v, want %v", name, err, tt.err)
				}
			}
			_ = j.Close()
			fs.Crash()
			if _, got := open(t, fs, journal.Options{}); len(got) == 0 || got[0] != "kept" {
				t.Fatalf("records %q, want the synced one", got)
			}
		})
	}
}

func TestTooLargeRecordChangesNothing(t *testing.T) {
	j, _ := open(t, journaltest.New(1), journal.Options{MaxRecord: 10})
	if err := j.Append([]byte("fine"), make([]byte, 11)); !errors.Is(err, journal.ErrTooLarge) {
		t.Fatalf("error %v", err)
	}
	if err := j.Compact([][]byte{make([]byte, 11)}); !errors.Is(err, journal.ErrTooLarge) {
		t.Fatalf("error %v", err)
	}
	must(t, j.Append(make([]byte, 10)))
	if j.Next() != 2 {
		t.Fatalf("next is %d, want 2", j.Next())
	}
}

func TestLowerRecordLimitStillReadsWhatIsThere(t *testing.T) {
	fs := journaltest.New(1)
	j, _ := open(t, fs, journal.Options{})
	must(t, j.Append(make([]byte, 5000)))
	must(t, j.Close())
	if _, got := open(t, fs, journal.Options{MaxRecord: 10}); len(got) != 1 {
		t.Fatalf("%d records, want 1", len(got))
	}
}

func TestClosedJournalRefuses(t *testing.T) {
	j, _ := open(t, journaltest.New(1), journal.Options{})
	must(t, j.Close())
	must(t, j.Close())
	if err := j.Append(recs("x")...); !errors.Is(err, journal.ErrClosed) {
		t.Fatalf("append: %v", err)
	}
}

func TestHasRoomKeepsTheReserve(t *testing.T) {
	fs := journaltest.New(1)
	fs.SetCapacity(100)
	for _, tt := range []struct {
		need, reserve uint64
		want          bool
	}{{50, 50, true}, {51, 50, false}, {0, 101, false}, {100, 0, true}} {
		if got, err := journal.HasRoom(fs, tt.need, tt.reserve); err != nil || got != tt.want {
			t.Errorf("room for %d with reserve %d: %v, %v; want %v", tt.need, tt.reserve, got, err, tt.want)
		}
	}
}

// filled has three segments: sealed, sealed, and one with a synced tail.
func filled(t *testing.T) (*journaltest.FS, []string) {
	fs := journaltest.New(7)
	j, _ := open(t, fs, journal.Options{})
	var want []string
	for s := range 3 {
		for i := range 3 {
			r := fmt.Sprintf("segment %d record %d", s, i)
			must(t, j.Append([]byte(r)))
			want = append(want, r)
			must(t, j.Sync())
		}
		if s < 2 {
			must(t, j.Cut())
		}
	}
	fs.Kill()
	return fs, want
}

func TestEveryFlippedBitIsNoticedOrHarmless(t *testing.T) {
	clean, want := filled(t)
	for _, name := range clean.Names() {
		bits := int64(len(clean.Bytes(name))) * 8
		noticed := 0
		for bit := range bits {
			fs, _ := filled(t)
			fs.FlipBit(name, bit)
			_, got, err := journal.Open(fs, journal.Options{Repair: "call for help"})
			var d *journal.DamagedError
			switch {
			case errors.As(err, &d):
				noticed++
				if !errors.Is(err, journal.ErrDamaged) || !strings.HasSuffix(d.File, ".seg") || !strings.Contains(err.Error(), "call for help") {
					t.Fatalf("%s bit %d: %v", name, bit, err)
				}
			case err != nil:
				t.Fatalf("%s bit %d: %v", name, bit, err)
			case !cmp.Equal(text(got), want):
				t.Fatalf("%s bit %d: silently %q", name, bit, text(got))
			}
		}
		// Only the last mark of the last segment is allowed to go unnoticed.
		if bits-int64(noticed) > 24*8 {
			t.Errorf("%s: %d of %d flips noticed", name, noticed, bits)
		}
	}
}

func TestMissingOrShortSealedFilesAreNamed(t *testing.T) {
	clean, _ := filled(t)
	names := clean.Names()
	for size := range len(clean.Bytes(names[1])) {
		fs, _ := filled(t)
		fs.SetBytes(names[1], clean.Bytes(names[1])[:size])
		if _, _, err := journal.Open(fs, journal.Options{}); !errors.Is(err, journal.ErrDamaged) || !strings.Contains(err.Error(), names[1]) {
			t.Fatalf("cut to %d: %v", size, err)
		}
	}
	fs, _ := filled(t)
	must(t, fs.Remove(names[1]))
	if _, _, err := journal.Open(fs, journal.Options{}); !errors.Is(err, journal.ErrDamaged) || !strings.Contains(err.Error(), names[1]) {
		t.Fatalf("removed: %v", err)
	}
	fs, _ = filled(t)
	fs.SetBytes(names[1], clean.Bytes(names[0]))
	if _, _, err := journal.Open(fs, journal.Options{}); !errors.Is(err, journal.ErrDamaged) {
		t.Fatalf("another segment's copy: %v", err)
	}
}

func TestDamageLeavesTheFilesAlone(t *testing.T) {
	fs, _ := filled(t)
	name := fs.Names()[2]
	fs.FlipBit(name, 60*8)
	before := fs.Bytes(name)
	for range 2 {
		if _, _, err := journal.Open(fs, journal.Options{}); !errors.Is(err, journal.ErrDamaged) {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(before, fs.Bytes(name)) {
		t.Fatal("Open changed a damaged file")
	}
}

func TestUnsyncedTailIsCutAndDoesNotComeBack(t *testing.T) {
	for cut := range 200 {
		fs := journaltest.New(uint64(cut))
		j, _ := open(t, fs, journal.Options{})
		must(t, j.Append(recs("synced")...))
		must(t, j.Sync())
		must(t, j.Append(bytes.Repeat([]byte("a"), 700), bytes.Repeat([]byte("b"), 700)))
		must(t, j.Append(recs("tail")...))
		fs.Crash()
		j, got := open(t, fs, journal.Options{})
		if len(got) < 1 || got[0] != "synced" {
			t.Fatalf("seed %d: %q", cut, got)
		}
		must(t, j.Append(recs("next")...))
		must(t, j.Sync())
		fs.Kill()
		if _, again := open(t, fs, journal.Options{}); !cmp.Equal(again, append(got, "next")) {
			t.Fatalf("seed %d: had %d records, now %d", cut, len(got), len(again))
		}
	}
}

func TestWhatRecoveryReadFromTheCacheIsMadeDurable(t *testing.T) {
	// The process dies between write and fsync; the next one reads the record
	// from the page cache and acts on it; then the power fails.
	fs := journaltest.New(11)
	j, _ := open(t, fs, journal.Options{})
	must(t, j.Append(recs("seen")...))
	fs.Kill()
	if _, got := open(t, fs, journal.Options{}); len(got) != 1 {
		t.Fatalf("%q", got)
	}
	fs.Crash()
	if _, got := open(t, fs, journal.Options{}); len(got) != 1 {
		t.Fatalf("after the power failure: %q, want what the process before had seen", got)
	}
}

func TestTailOfAFailedFsyncIsWrittenAgainBeforeItIsTrusted(t *testing.T) {
	// The fsync fails and the kernel holds the pages for clean all the same. The
	// next process reads the record from the cache; the power fails after that.
	for seed := range uint64(20) {
		fs := journaltest.New(seed)
		j, _ := open(t, fs, journal.Options{})
		must(t, j.Append(recs("promised")...))
		must(t, j.Sync())
		must(t, j.Append(recs("seen")...))
		fs.FailNth(journaltest.OpSync, 1, errors.New("input/output error"))
		if err := j.Sync(); err == nil {
			t.Fatal("no error")
		}
		fs.Kill()
		_, seen := open(t, fs, journal.Options{})
		fs.Crash()
		if _, got := open(t, fs, journal.Options{}); !cmp.Equal(seen, got) {
			t.Fatalf("seed %d: %q after the power failure, the process before had read %q", seed, got, seen)
		}
	}
}

func TestTailThatCannotBeWrittenAgainIsAnError(t *testing.T) {
	fs := journaltest.New(5)
	j, _ := open(t, fs, journal.Options{})
	must(t, j.Append(recs("seen")...))
	fs.Kill()
	fs.FailNth(journaltest.OpWrite, 1, errors.New("input/output error"))
	if _, _, err := journal.Open(fs, journal.Options{}); err == nil || !strings.Contains(err.Error(), "input/output error") {
		t.Fatalf("open: %v", err)
	}
}

func TestNewSegmentAndCompactionCostFewFsyncs(t *testing.T) {
	fs := journaltest.New(1)
	j, _ := open(t, fs, journal.Options{SegmentBytes: 300})
	for i := range 8 {
		must(t, j.Append(recs(strings.Repeat("x", 100))...))
		must(t, j.Sync())
		before := j.Stats().Fsyncs
		must(t, j.Cut())
		// The old segment, the new one, its name: a disk of 200 ms must not look
		// like one that hangs.
		if n := j.Stats().Fsyncs - before; n > 3 {
			t.Fatalf("cut %d costs %d fsyncs", i, n)
		}
	}
	before := j.Stats().Fsyncs
	must(t, j.Compact(recs("live")))
	if n := j.Stats().Fsyncs - before; n > 2 {
		t.Fatalf("compaction of %d segments costs %d fsyncs", 9, n)
	}
	if s := j.Stats(); s.Segments != 1 {
		t.Fatalf("%d segments are left", s.Segments)
	}
}
