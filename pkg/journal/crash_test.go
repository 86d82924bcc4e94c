package journal_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/dcos-go/dcos/pkg/journal"
	"github.com/dcos-go/dcos/pkg/journal/journaltest"
)

// content is one thing the disk may hold: records numbered from first.
type content struct {
	first  uint64 // of recs[0]
	keep   uint64 // the prefix below may have been removed
	recs   []string
	synced int // so many of recs must be there
}

// allows reports whether the disk may answer with these records.
func (c content) allows(first uint64, got []string) error {
	if first < c.first || first > max(c.keep, c.first) {
		return fmt.Errorf("first is %d, want %d to %d", first, c.first, c.keep)
	}
	skip := int(first - c.first)
	if skip+len(got) < c.synced || skip+len(got) > len(c.recs) {
		return fmt.Errorf("%d records from %d, want %d to %d", len(got), first, c.synced-skip, len(c.recs)-skip)
	}
	if !slices.Equal(got, c.recs[skip:skip+len(got)]) {
		return fmt.Errorf("records %q, want a prefix of %q", got, c.recs[skip:])
	}
	return nil
}

// model runs a journal beside what it must hold.
type model struct {
	fs   *journaltest.FS
	j    *journal.Journal
	may  []content // one, or two while a compaction is under way
	next int
}

func (m *model) cur() *content { return &m.may[0] }

func (m *model) reopen(t *rapid.T) {
	j, raw, err := journal.Open(m.fs, journal.Options{SegmentBytes: 2000})
	if err != nil {
		t.Fatalf("open after a crash: %v", err)
	}
	got := text(raw)
	var errs []error
	for _, c := range m.may {
		err := c.allows(j.First(), got)
		if err == nil {
			m.j, m.may = j, []content{{first: j.First(), recs: got, synced: len(got)}}
			return
		}
		errs = append(errs, err)
	}
	t.Fatalf("after a crash: %v", errors.Join(errs...))
}

func (m *model) append(t *rapid.T) error {
	var rs []string
	for range rapid.IntRange(1, 4).Draw(t, "records") {
		m.next++
		rs = append(rs, fmt.Sprint(m.next, strings.Repeat("#", rapid.SampledFrom([]int{0, 3, 40, 600, 1500}).Draw(t, "size"))))
	}
	m.cur().recs = append(m.cur().recs, rs...)
	return m.j.Append(recs(rs...)...)
}

func (m *model) sync() error {
	err := m.j.Sync()
	if err == nil {
		m.cur().synced = len(m.cur().recs)
	}
	return err
}

func (m *model) truncate(t *rapid.T) error {
	c := m.cur()
	c.keep = max(c.keep, c.first+uint64(rapid.IntRange(0, len(c.recs)).Draw(t, "keep")))
	return m.j.TruncatePrefix(c.keep)
}

func (m *model) compact(t *rapid.T) error {
	var live []string
	for range rapid.IntRange(0, 5).Draw(t, "live") {
		m.next++
		live = append(live, fmt.Sprint("live", m.next))
	}
	fresh := content{first: m.j.Next(), recs: live, synced: len(live)}
	m.may = append(m.may, fresh)
	err := m.j.Compact(recs(live...))
	if err == nil {
		m.may = []content{fresh}
	}
	return err
}

// Whatever is done, and wherever the machine stops, the journal holds what was
// synced, and of the rest a prefix.
func TestJournalHoldsWhatWasSyncedThroughAnyCrash(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{fs: journaltest.New(rapid.Uint64().Draw(t, "seed")), may: []content{{first: 1}}}
		m.reopen(t)
		for range rapid.IntRange(1, 5).Draw(t, "lives") {
			m.fs.CrashAfter(rapid.IntRange(1, 60).Draw(t, "calls until the crash"))
			for range 30 {
				var err error
				switch rapid.IntRange(0, 9).Draw(t, "act") {
				default:
					err = m.append(t)
				case 4, 5, 6:
					err = m.sync()
				case 7:
					err = m.j.Cut()
				case 8:
					err = m.truncate(t)
				case 9:
					err = m.compact(t)
				}
				if err != nil {
					if !errors.Is(err, journaltest.ErrCrashed) {
						t.Fatalf("error before the crash: %v", err)
					}
					break
				}
			}
			if rapid.Bool().Draw(t, "only the process dies") {
				m.fs.Kill()
			} else {
				m.fs.Crash()
			}
			m.reopenThroughCrashes(t)
		}
	})
}

// reopenThroughCrashes stops the machine inside recovery as well.
func (m *model) reopenThroughCrashes(t *rapid.T) {
	for range rapid.IntRange(0, 3).Draw(t, "crashes in recovery") {
		m.fs.CrashAfter(rapid.IntRange(0, 12).Draw(t, "calls"))
		_, _, err := journal.Open(m.fs, journal.Options{SegmentBytes: 2000})
		if err != nil && !errors.Is(err, journaltest.ErrCrashed) {
			t.Fatalf("open with a crash inside: %v", err)
		}
		m.fs.Crash()
	}
	m.reopen(t)
}

func TestSameSeedCrashesTheSameWay(t *testing.T) {
	run := func() string {
		fs := journaltest.New(42)
		for range 5 {
			j, _, err := journal.Open(fs, journal.Options{SegmentBytes: 3000})
			if err != nil {
				t.Fatal(err)
			}
			for i := range 10 {
				_ = j.Append(make([]byte, 100*i+1))
				if i == 4 {
					_ = j.Sync()
				}
			}
			fs.Crash()
		}
		s := ""
		for _, n := range fs.Names() {
			s += fmt.Sprintf("%s %x\n", n, fs.Bytes(n))
		}
		return s
	}
	if a, b := run(), run(); a != b {
		t.Fatal("two runs of one seed differ")
	}
}

func TestFailedFsyncLosesItsWritesEvenWhenALaterOneSucceeds(t *testing.T) {
	fs := journaltest.New(3)
	f, err := fs.Create("x")
	must(t, err)
	must(t, fs.SyncDir())
	_, err = f.WriteAt([]byte("lost"), 0)
	must(t, err)
	fs.FailNth(journaltest.OpSync, 1, errors.New("io"))
	if err := f.Sync(); err == nil {
		t.Fatal("no error")
	}
	_, err = f.WriteAt([]byte("kept"), 4)
	must(t, err)
	must(t, f.Sync())
	fs.Crash()
	if got := string(fs.Bytes("x")); got != "\x00\x00\x00\x00kept" {
		t.Fatalf("content %q", got)
	}
}

// After a failed fsync the page cache shows records that are not on the disk,
// and later fsyncs have nothing to do for them. The process that starts again
// takes them for its own, builds on them, and must not lose them to the power.
func TestWhatIsReadAfterAFailedFsyncIsMadeDurable(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		fs := journaltest.New(seed)
		j, _, err := journal.Open(fs, journal.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(j.Append([]byte("one")), j.Sync(), j.Append([]byte("two"), []byte("three"))); err != nil {
			t.Fatal(err)
		}
		broken := errors.New("input/output error")
		fs.FailNth(journaltest.OpSync, 1, broken)
		if err := j.Sync(); !errors.Is(err, broken) {
			t.Fatalf("got %v", err)
		}
		fs.Kill()
		j, found, err := journal.Open(fs, journal.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(j.Append([]byte("four")), j.Sync()); err != nil {
			t.Fatal(err)
		}
		fs.Crash()
		_, again, err := journal.Open(fs, journal.Options{})
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if len(again) != len(found)+1 {
			t.Fatalf("seed %d: %d records after the power cut, %d were read before it and one was added", seed, len(again), len(found))
		}
	}
}
