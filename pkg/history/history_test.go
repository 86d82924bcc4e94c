package history

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const day0 = dcos.Time(1767225600000)

// fataler is testing.T or rapid.T.
type fataler interface {
	Fatal(...any)
	Fatalf(string, ...any)
	Helper()
}

// live is a state machine with its history beside it.
type live struct {
	t     fataler
	mu    sync.Mutex
	store *state.Store // guarded by mu
	clock dcos.Time    // guarded by mu
	h     *History
	stop  func()
	// marks are the hashes that were live at an index, and its time.
	marks []mark
}

type mark struct {
	index dcos.Index
	at    dcos.Time
	hash  uint64
}

func (l *live) view() state.View { l.mu.Lock(); defer l.mu.Unlock(); return l.store.View() }
func (l *live) now() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.UnixMilli(int64(l.clock))
}

func config(dir string) Config {
	return Config{Dir: dir, Bytes: 1 << 30, Age: 1000 * time.Hour, chapterBytes: 2000}
}

func newLive(t fataler, cfg Config) *live {
	t.Helper()
	l := &live{t: t, store: state.New(), clock: day0}
	l.open(cfg)
	return l
}

// open is a start of the process: what was applied last comes again.
func (l *live) open(cfg Config) {
	l.t.Helper()
	cfg.View, cfg.Now = l.view, l.now
	h, err := Open(cfg)
	if err != nil {
		l.t.Fatal(err)
	}
	l.h = h
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	l.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			l.t.Fatal(err)
		}
	})
}

// apply is one entry, some time after the one before.
func (l *live) apply(after time.Duration, cmds ...state.Command) {
	l.t.Helper()
	b, err := state.EncodeProposal(state.Proposal{Principal: "ann", Commands: cmds})
	if err != nil {
		l.t.Fatal(err)
	}
	l.mu.Lock()
	l.clock = l.clock.Add(after)
	index := l.store.View().Index() + 1
	data := state.EncodeEntry(l.clock, b)
	c, _, err := l.store.Apply(index, data)
	l.mu.Unlock()
	if err != nil {
		l.t.Fatal(err)
	}
	l.h.Applied(index, c.Time, data)
	l.marks = append(l.marks, mark{index, c.Time, c.View.Hash()})
}

func (l *live) user(n int) state.Command {
	return state.PutUser{User: dcos.User{ID: fmt.Sprintf("u%d", n), PasswordHash: strings.Repeat("x", 40)}}
}

// check compares what was live at a time with what is read.
func (l *live) check(at dcos.Time) {
	l.t.Helper()
	var want mark
	for _, m := range l.marks {
		if m.at <= at {
			want = m
		}
	}
	v, err := l.h.At(context.Background(), at)
	if err != nil {
		l.t.Fatalf("at %s (index %d): %v", at, want.index, err)
	}
	if v.Index() != want.index || v.Hash() != want.hash {
		l.t.Fatalf("at %s: index %d with hash %x, was live %d with %x", at, v.Index(), v.Hash(), want.index, want.hash)
	}
}

func TestTheStateAtAnyTimeIsTheOneThatWasLive(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		dir, err := os.MkdirTemp("", "history") //nolint:usetesting // one for each draw, gone behind it
		if err != nil {
			r.Fatal(err)
		}
		defer os.RemoveAll(dir)
		cfg := config(dir)
		cfg.chapterBytes = rapid.SampledFrom([]int64{1000, 4000, 1 << 20}).Draw(r, "chapter")
		l := newLive(r, cfg)
		defer func() { l.stop() }()
		l.apply(0, state.InitCluster{Info: dcos.ClusterInfo{ID: "c", Level: state.Level}})
		l.wait()
		first := l.marks[0].at
		for i := range rapid.IntRange(1, 40).Draw(r, "entries") {
			switch rapid.IntRange(0, 9).Draw(r, "act") {
			case 0: // the process starts again
				l.stop()
				l.open(cfg)
			case 1: // raft's own entries change nothing
				l.mu.Lock()
				index := l.store.View().Index() + 1
				c, _, err := l.store.Apply(index, nil)
				l.mu.Unlock()
				if err != nil {
					r.Fatal(err)
				}
				l.h.Applied(index, c.Time, nil)
				l.marks = append(l.marks, mark{index, c.Time, c.View.Hash()})
			default:
				l.apply(time.Duration(rapid.IntRange(0, 3).Draw(r, "ms"))*time.Millisecond, l.user(i%7))
			}
		}
		for range 6 {
			span := l.marks[len(l.marks)-1].at - first
			l.check(first + dcos.Time(rapid.Int64Range(0, int64(span)).Draw(r, "at")))
		}
	})
}

// wait lets the writer come to the live index.
func (l *live) wait() {
	l.t.Helper()
	if err := l.h.settle(context.Background(), l.view().Index()); err != nil {
		l.t.Fatal(err)
	}
}

func TestAReaderBeforeTheWriterHasBegunWaitsForItAlone(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l := newLive(t, config(dir))
		l.apply(0, state.InitCluster{Info: dcos.ClusterInfo{ID: "c", Level: state.Level}})
		l.wait() // a chapter begins before what follows
		l.apply(time.Second, l.user(1))
		l.wait()
		l.stop()
		cfg := config(dir)
		cfg.View, cfg.Now = l.view, l.now
		h, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		ctx, stop := context.WithCancel(t.Context())
		read := make(chan error, 1)
		go func() {
			_, err := h.At(ctx, l.marks[0].at)
			read <- err
		}()
		synctest.Wait()
		ran := make(chan error, 1)
		go func() { ran <- h.Run(ctx) }()
		if err := <-read; err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("all was in the files, and the reader waited for %v", took)
		}
		stop()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	})
}

func TestTimesThatAreNotKeptAreRefusedWithWhatIs(t *testing.T) {
	t.Parallel()
	l := newLive(t, config(t.TempDir()))
	defer l.stop()
	l.apply(time.Hour, state.InitCluster{Info: dcos.ClusterInfo{ID: "c", Level: state.Level}})
	l.wait()
	l.apply(time.Hour, l.user(1))
	for name, tt := range map[string]struct {
		at   dcos.Time
		want error
	}{
		"before": {day0.Add(-time.Hour), dcos.ErrNotFound},
		"future": {day0.Add(1000 * time.Hour), dcos.ErrInvalid},
	} {
		_, err := l.h.At(t.Context(), tt.at)
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
		if errors.Is(tt.want, dcos.ErrNotFound) && !strings.Contains(err.Error(), "kept is from") {
			t.Errorf("%s: %v does not say what is kept", name, err)
		}
	}
	if err := errGap(day0, []Kept{{To: day0 + 1}}); !strings.Contains(err.Error(), "kept is from the beginning to 2026-") {
		t.Errorf("%v, want it to say that nothing came before", err)
	}
	if v, err := l.h.At(t.Context(), l.view().Time()); err != nil || v.Index() != l.view().Index() {
		t.Errorf("now: index %d, %v", v.Index(), err)
	}
}

func TestWhatDidNotFitIsAGapAndLaterTimesAreReadAgain(t *testing.T) {
	t.Parallel()
	cfg := config(t.TempDir())
	cfg.queueBytes = 1000
	room := true
	cfg.Room = func(int64) bool { return room }
	l := newLive(t, cfg)
	defer func() { l.stop() }()
	l.apply(time.Hour, state.InitCluster{Info: dcos.ClusterInfo{ID: "c", Level: state.Level}})
	l.wait()
	l.stop() // nobody writes: the queue overflows
	room = false
	for i := range 50 {
		l.apply(time.Minute, l.user(i))
	}
	inGap := l.marks[40].at
	room = true
	l.apply(time.Hour, l.user(1))
	l.open(cfg)
	l.apply(time.Hour, l.user(2))
	l.wait()
	after := l.marks[len(l.marks)-1].at
	l.apply(time.Hour, l.user(3))
	l.check(l.marks[0].at)
	l.check(after)
	if _, err := l.h.At(t.Context(), inGap); !errors.Is(err, dcos.ErrNotFound) || !strings.Contains(err.Error(), ", and from") {
		t.Errorf("in the gap: %v, want the two spans that are kept", err)
	}
}

func TestFilesStayWithinTheirBounds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := config(dir)
	cfg.Bytes = 40_000
	l := newLive(t, cfg)
	defer func() { l.stop() }()
	l.apply(time.Hour, state.InitCluster{Info: dcos.ClusterInfo{ID: "c", Level: state.Level}})
	for i := range 400 {
		l.apply(time.Minute, l.user(i%5))
		if i%10 == 0 {
			l.wait()
		}
	}
	l.wait()
	if n := sizeOf(t, dir); n > cfg.Bytes+10_000 { // and the chapter under way
		t.Errorf("%d bytes are kept, at most %d", n, cfg.Bytes)
	}
	if k := l.h.Kept(); len(k) != 1 || k[0].From <= l.marks[0].at {
		t.Errorf("kept: %+v, want one span from which the oldest has gone", k)
	}
	l.check(l.marks[len(l.marks)-20].at)
	// Age too.
	l.stop()
	cfg.Bytes, cfg.Age = 1<<30, 30*time.Minute
	l.open(cfg)
	l.apply(10*time.Hour, l.user(1))
	l.wait()
	l.stop()
	l.h.trim()
	if k := l.h.Kept(); len(k) == 0 || k[0].From < l.marks[300].at {
		t.Errorf("kept after 10 hours with an age of 30 minutes: %+v", k)
	}
}

func sizeOf(t *testing.T, dir string) (n int64) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if st, err := f.Info(); err == nil {
			n += st.Size()
		}
	}
	return n
}

func TestACrashAtAnyByteCostsTheLastEntriesOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := config(dir)
	cfg.chapterBytes = 1 << 20
	l := newLive(t, cfg)
	l.apply(0, state.InitCluster{Info: dcos.ClusterInfo{ID: "c", Level: state.Level}})
	l.wait()
	for i := range 20 {
		l.apply(time.Second, l.user(i))
	}
	l.wait()
	l.stop()
	base := l.h.book[0].base
	whole, err := os.ReadFile(filepath.Join(dir, chapterName(base, logSuffix)))
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for range 60 {
		cut := headSize + rng.IntN(len(whole)-headSize)
		if err := os.WriteFile(filepath.Join(dir, chapterName(base, logSuffix)), whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		l.open(cfg)
		l.h.cfg.View = l.view
		// What the raft log still has comes again; so does the rest.
		l.replayFrom(1)
		l.wait()
		for _, n := range []int{1, 5, 12, 19} {
			l.check(l.marks[n].at)
		}
		l.stop()
	}
}

// replayFrom gives the history the entries from an index on again, as a restart
// does.
func (l *live) replayFrom(first dcos.Index) {
	s := state.New()
	for _, m := range l.marks {
		data := l.entries()[m.index]
		c, _, err := s.Apply(m.index, data)
		if err != nil {
			l.t.Fatal(err)
		}
		if m.index >= first {
			l.h.Applied(m.index, c.Time, data)
		}
	}
}

// entries are those of TestACrash..., made again.
func (l *live) entries() map[dcos.Index][]byte {
	out := map[dcos.Index][]byte{}
	for i, m := range l.marks {
		var cmd state.Command = state.InitCluster{Info: dcos.ClusterInfo{ID: "c", Level: state.Level}}
		if i > 0 {
			cmd = l.user(i - 1)
		}
		b, err := state.EncodeProposal(state.Proposal{Principal: "ann", Commands: []state.Command{cmd}})
		if err != nil {
			l.t.Fatal(err)
		}
		out[m.index] = state.EncodeEntry(m.at, b)
	}
	return out
}

func TestDamagedFilesAreNamedAndTheRestIsRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := config(dir)
	cfg.chapterBytes = 1500
	l := newLive(t, cfg)
	l.apply(0, state.InitCluster{Info: dcos.ClusterInfo{ID: "c", Level: state.Level}})
	for i := range 100 {
		l.apply(time.Second, l.user(i%9))
		l.wait()
	}
	l.stop()
	book := l.h.book
	if len(book) < 4 {
		t.Fatalf("%d chapters, want some", len(book))
	}
	flip := func(name string, at int) {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		b[at] ^= 0x40
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	flip(chapterName(book[0].base, logSuffix), headSize+frameHead+3) // its first entry
	flip(chapterName(book[1].base, stateSuffix), 40)
	l.open(cfg)
	defer l.stop()
	l.apply(time.Second, l.user(1))
	for i, c := range book[:2] {
		_, err := l.h.At(t.Context(), c.lastTime-1)
		if !errors.Is(err, dcos.ErrNotFound) {
			t.Errorf("chapter %d is damaged, At says %v", i, err)
		}
		if i == 1 && !strings.Contains(err.Error(), chapterName(c.base, stateSuffix)) {
			t.Errorf("the file is not named: %v", err)
		}
	}
	l.check(book[2].baseTime.Add(time.Millisecond))
	l.check(book[3].lastTime - 1)
}

// Without this each crash at the wrong moment left a snapshot for ever, beyond
// all bounds, and so did a log whose beginning is damaged.
func TestWhatACrashLeftOfAChapterIsRemoved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := config(dir)
	l := newLive(t, cfg)
	l.apply(0, state.InitCluster{Info: dcos.ClusterInfo{ID: "c", Level: state.Level}})
	l.wait()
	l.stop()
	old := time.Now().Add(-cfg.Age - time.Hour)
	for name, at := range map[string]time.Time{
		chapterName(77, stateSuffix): time.Now(),                           // killed before its log was begun, or after that was removed
		chapterName(78, stateSuffix): old, chapterName(78, logSuffix): old, // no log begins like this
		chapterName(79, stateSuffix): time.Now(), chapterName(79, logSuffix): time.Now(), // nor like this
	} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chtimes(path, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	cfg.View = l.view
	if _, err := Open(cfg); err != nil {
		t.Fatal(err)
	}
	for base, want := range map[dcos.Index]bool{l.h.book[0].base: true, 77: false, 78: false, 79: true} {
		if _, err := os.Stat(filepath.Join(dir, chapterName(base, stateSuffix))); (err == nil) != want {
			t.Errorf("the snapshot of chapter %d is there: %v, want %v", base, err == nil, want)
		}
	}
}

func FuzzLog(f *testing.F) {
	good := head(3, 5)
	good = appendFrame(good, entry{4, 6, []byte("x")})
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		var last dcos.Index
		c, err := scanLog(strings.NewReader(string(b)), func(e entry) bool {
			if last != 0 && e.index != last+1 || len(e.data) > maxData {
				t.Fatalf("entry %d of %d bytes follows %d", e.index, len(e.data), last)
			}
			last = e.index
			return true
		})
		if err == nil && (c.log > int64(len(b)) || c.last < c.base) {
			t.Fatalf("%+v of %d bytes", c, len(b))
		}
	})
}
