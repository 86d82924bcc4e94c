// Package history keeps what the cluster was: bounded files per master from
// which the state can be read as it was at an earlier time.
//
// It owns the files of one directory. It promises that what it gives out for a
// time is exactly the state that was live then, bit for bit, or an error that
// says what is kept; that it never slows a commit down (a queue of bounded size
// is all that the state machine meets); that its files stay within their bounds
// of size and age; and that a crash at any moment costs no more than the last
// records, which the raft log brings again. It must not decide anything, and
// nobody may depend on it for what must survive: what it could not write is a
// gap, and said.
//
// The files come in chapters. A chapter is a snapshot of the state (INDEX.state,
// in the format of package state) and every log entry that was applied after it
// (INDEX.log). Reading a moment restores the chapter's snapshot and applies the
// entries up to it again, which gives the same state because Apply is
// deterministic.
package history

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

// Config is what a History keeps, and where.
type Config struct {
	Dir string
	// Bytes and Age bound what is kept.
	Bytes int64
	Age   time.Duration
	// View is the state right now, for the snapshot that a chapter begins with.
	View func() state.View
	// Room says whether so many more bytes may be written; nil: always.
	Room func(bytes int64) bool
	Log  *slog.Logger
	// Now is the clock; nil is time.Now.
	Now func() time.Time

	chapterBytes int64         // in tests
	chapterAge   time.Duration // in tests
	queueBytes   int64         // in tests
}

// The limits.
const (
	queueBytes   = 64 << 20      // of entries that wait to be written
	chapterBytes = 32 << 20      // of entries, unless the snapshot is larger
	chapterAge   = 6 * time.Hour // of a chapter
	entryCost    = 128           // counted for each entry besides its bytes
	syncEvery    = 5 * time.Second
	startAgain   = time.Minute     // between two chapters that begin after a fault
	readWait     = 5 * time.Second // for what is still in the queue
	keepView     = time.Minute     // for the next question about the same moment
)

func (c Config) withDefaults() Config {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Room == nil {
		c.Room = func(int64) bool { return true }
	}
	if c.chapterBytes == 0 {
		c.chapterBytes = chapterBytes
	}
	if c.chapterAge == 0 {
		c.chapterAge = chapterAge
	}
	if c.queueBytes == 0 {
		c.queueBytes = queueBytes
	}
	return c
}

// entry is one applied log entry.
type entry struct {
	index dcos.Index
	time  dcos.Time // of the state after it
	data  []byte
}

// History is the open directory. Applied may be called by one goroutine, At by
// many; Run writes.
type History struct {
	cfg Config

	mu      sync.Mutex
	queue   []entry       // guarded by mu, as all below
	queued  int64         // bytes in queue
	missed  bool          // something did not fit into the queue
	news    chan struct{} // of size 1: the queue has something
	written dcos.Index    // all up to here is in files, or known to be a gap
	waiters chan struct{} // closed and replaced when written moves
	book    []chapter     // oldest first; the last is the one being written

	out *writer // Run's own

	reading chan struct{} // held by the one who replays
	last    struct {      // guarded by reading
		view  state.View
		index dcos.Index
		until time.Time // of the clock, after which the view is let go
	}
}

// Open reads which chapters there are. Files that make no sense are named in
// the log and left alone until they are old.
func Open(cfg Config) (*History, error) {
	cfg = cfg.withDefaults()
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("history: make directory: %w", err)
	}
	h := &History{cfg: cfg, news: make(chan struct{}, 1), waiters: make(chan struct{}), reading: make(chan struct{}, 1)}
	var err error
	if h.book, err = readBook(cfg.Dir, cfg.Age, cfg.Now(), cfg.Log); err != nil {
		return nil, err
	}
	return h, nil
}

// Applied takes note of an entry that was applied, with the time that the state
// has after it. It never waits: what does not fit is a gap.
func (h *History) Applied(index dcos.Index, at dcos.Time, data []byte) {
	h.mu.Lock()
	cost := int64(len(data)) + entryCost
	if h.queued+cost > h.cfg.queueBytes {
		h.missed = true
	} else {
		h.queue = append(h.queue, entry{index, at, data})
		h.queued += cost
	}
	h.mu.Unlock()
	select {
	case h.news <- struct{}{}:
	default:
	}
}

// Kept is a span of time that can be read.
type Kept struct {
	From, To           dcos.Time
	FirstIndex, ToLast dcos.Index
}

// Kept are the spans, oldest first. Between two of them is a gap.
func (h *History) Kept() []Kept {
	h.mu.Lock()
	defer h.mu.Unlock()
	return spans(h.book)
}

func spans(book []chapter) []Kept {
	var out []Kept
	for _, c := range book {
		if n := len(out); n > 0 && out[n-1].ToLast >= c.base {
			out[n-1].To, out[n-1].ToLast = max(out[n-1].To, c.lastTime), max(out[n-1].ToLast, c.last)
			continue
		}
		out = append(out, Kept{c.baseTime, c.lastTime, c.base, c.last})
	}
	return out
}

// errGap is a time that is not kept.
func errGap(at dcos.Time, kept []Kept) error {
	text := "nothing is kept yet"
	for i, k := range kept {
		if i == 0 {
			text = "kept is "
		} else {
			text += ", and "
		}
		from := k.From.String()
		if k.From == 0 { // nothing had happened yet
			from = "the beginning"
		}
		text += "from " + from + " to " + k.To.String()
	}
	return fmt.Errorf("%w: the state at %s is not kept on this master: %s", dcos.ErrNotFound, at, text)
}

// At is the state as it was at a time: after the last entry whose time is not
// later. It fails with dcos.ErrNotFound and what is kept for other times, with
// dcos.ErrInvalid for the future, and with dcos.ErrUnavailable when others ask
// too much right now.
func (h *History) At(ctx context.Context, at dcos.Time) (state.View, error) {
	now := h.cfg.View()
	if limit := max(dcos.TimeOf(h.cfg.Now()), now.Time()); at > limit {
		return state.View{}, fmt.Errorf("%w: %s is in the future, it is %s", dcos.ErrInvalid, at, limit)
	}
	if at >= now.Time() {
		return now, nil
	}
	if err := h.settle(ctx, now.Index()); err != nil {
		return state.View{}, err
	}
	select {
	case h.reading <- struct{}{}:
		defer func() { <-h.reading }()
	case <-ctx.Done():
		return state.View{}, fmt.Errorf("%w: others read the past right now, try again: %w", dcos.ErrUnavailable, ctx.Err())
	}
	return h.replay(ctx, at, now.Index())
}

// settle waits until what was applied up to an index is in the files.
func (h *History) settle(ctx context.Context, index dcos.Index) error {
	ctx, cancel := context.WithTimeout(ctx, readWait)
	defer cancel()
	for {
		h.mu.Lock()
		done, more := h.written >= index, h.waiters
		h.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return nil // what is in the files is answered, or is said not to be
			}
			return ctx.Err()
		}
	}
}
