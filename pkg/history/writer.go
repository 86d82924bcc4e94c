package history

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

// writer is the chapter being written.
type writer struct {
	file  *os.File
	begun time.Time
	dirty bool
	buf   []byte
}

// Run writes what Applied takes, until ctx ends; it returns nil only for that
// reason. A fault of the disk ends a chapter, never the process.
func (h *History) Run(ctx context.Context) error {
	defer h.shut()
	tick := time.NewTicker(syncEvery)
	defer tick.Stop()
	var again time.Time // before which no chapter begins after a fault
	h.resume()
	for {
		select {
		case <-ctx.Done():
			if h.out != nil {
				if err := h.write(h.take()); err != nil { // what is there at the end
					h.cfg.Log.Warn("history: the end is missing", "err", err)
				}
			}
			return nil
		case <-tick.C:
			h.sync()
			h.trim()
			h.forget()
		case <-h.news:
		}
		if h.out == nil || h.broken() {
			if h.cfg.Now().Before(again) {
				h.skip()
				continue
			}
			again = h.cfg.Now().Add(startAgain)
			if err := h.begin(); err != nil {
				h.cfg.Log.Warn("history: no chapter begun, there is a gap", "err", err)
				h.skip()
				continue
			}
		}
		if err := h.write(h.take()); err != nil {
			h.cfg.Log.Warn("history: not written, there is a gap", "err", err)
			h.shut()
			continue
		}
		if h.due() {
			if err := h.begin(); err != nil {
				h.cfg.Log.Warn("history: no chapter begun", "err", err)
				h.out.begun = h.cfg.Now() // not at once again
			}
		}
	}
}

// resume goes on with the last chapter, without what a crash cut off.
func (h *History) resume() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.book) == 0 {
		return
	}
	c := &h.book[len(h.book)-1]
	path := filepath.Join(h.cfg.Dir, chapterName(c.base, logSuffix))
	st, err := os.Stat(path)
	if err != nil || st.Size()-c.log > maxData+frameHead {
		return // more than a torn end: that stays as it is, and a new one begins
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0o600)
	if err == nil {
		err = f.Truncate(c.log)
	}
	if err == nil {
		_, err = f.Seek(c.log, 0)
	}
	if err != nil {
		h.cfg.Log.Warn("history: the last chapter cannot be written on", "err", err)
		return
	}
	c.damage = ""
	h.out = &writer{file: f, begun: h.cfg.Now()}
	h.movedTo(c.last) // somebody may have asked before
}

// take empties the queue.
func (h *History) take() []entry {
	h.mu.Lock()
	defer h.mu.Unlock()
	q := h.queue
	h.queue, h.queued = nil, 0
	return q
}

// skip lets go of what cannot be written now.
func (h *History) skip() {
	h.take()
	h.moved(h.cfg.View().Index())
}

// broken says that entries are missing between the chapter and the queue.
func (h *History) broken() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	last := h.book[len(h.book)-1].last
	if len(h.queue) == 0 {
		return h.missed
	}
	return h.queue[0].index > last+1 // a restart brings older ones again
}

// write appends entries that follow each other; others it leaves.
func (h *History) write(es []entry) error {
	if len(es) == 0 {
		return nil
	}
	h.mu.Lock()
	c := h.book[len(h.book)-1]
	h.mu.Unlock()
	w := h.out
	w.buf = w.buf[:0]
	for i := range es {
		e := &es[i]
		if e.index <= c.last {
			continue
		}
		if e.index != c.last+1 {
			return fmt.Errorf("index %d follows %d", e.index, c.last)
		}
		before := len(w.buf)
		w.buf = appendFrame(w.buf, *e)
		c.last, c.lastTime, c.log = e.index, e.time, c.log+int64(len(w.buf)-before)
		if len(w.buf) >= 1<<20 || i == len(es)-1 {
			if err := h.flush(c); err != nil {
				return err
			}
		}
	}
	if err := h.flush(c); err != nil {
		return err
	}
	return nil
}

func (h *History) flush(c chapter) error {
	w := h.out
	if len(w.buf) > 0 {
		if !h.cfg.Room(int64(len(w.buf))) {
			return errors.New("too little room on the disk")
		}
		if _, err := w.file.Write(w.buf); err != nil {
			return err
		}
		w.buf, w.dirty = w.buf[:0], true
	}
	h.mu.Lock()
	h.book[len(h.book)-1] = c
	h.mu.Unlock()
	h.moved(c.last)
	return nil
}

func (h *History) moved(to dcos.Index) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.movedTo(to)
}

// movedTo wakes those who wait for an index; mu is held.
func (h *History) movedTo(to dcos.Index) {
	h.written = max(h.written, to)
	close(h.waiters)
	h.waiters = make(chan struct{})
}

// due says that the chapter is long or old enough.
func (h *History) due() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.book[len(h.book)-1]
	return c.log >= max(h.cfg.chapterBytes, c.state) || c.last > c.base && h.cfg.Now().Sub(h.out.begun) >= h.cfg.chapterAge
}

// begin makes a new chapter from the state of now. The old one gets what was
// applied before that, so that nothing lies between.
func (h *History) begin() error {
	h.mu.Lock()
	h.missed = false // what is queued from here on follows the view
	h.mu.Unlock()
	v := h.cfg.View()
	h.mu.Lock()
	n := len(h.book)
	same := n > 0 && h.book[n-1].base == v.Index()
	behind := n > 0 && v.Index() < h.book[n-1].last
	if same && h.out == nil {
		h.book = h.book[:n-1] // its log cannot be written on, and is made anew
	}
	h.mu.Unlock()
	switch {
	case same && h.out != nil:
		return nil // nothing happened since
	case behind:
		return fmt.Errorf("the state is at index %d, before what is in the files", v.Index())
	}
	size, err := h.saveState(v)
	if err != nil {
		return err
	}
	path := filepath.Join(h.cfg.Dir, chapterName(v.Index(), logSuffix))
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write(head(v.Index(), v.Time())); err == nil {
		err = errors.Join(f.Sync(), syncDir(h.cfg.Dir))
	}
	if err != nil {
		return errors.Join(err, f.Close(), os.Remove(path))
	}
	es := h.take()
	rest := 0
	for rest < len(es) && es[rest].index <= v.Index() {
		rest++
	}
	if h.out != nil {
		if err := h.write(es[:rest]); err != nil {
			h.cfg.Log.Warn("history: the end of a chapter is not written, there is a gap", "err", err)
		}
	}
	h.shut()
	h.mu.Lock()
	h.book = append(h.book, chapter{base: v.Index(), baseTime: v.Time(), last: v.Index(), lastTime: v.Time(), state: size, log: int64(headSize)})
	h.queue = append(es[rest:], h.queue...)
	for _, e := range es[rest:] {
		h.queued += int64(len(e.data)) + entryCost
	}
	h.mu.Unlock()
	h.out = &writer{file: f, begun: h.cfg.Now()}
	h.moved(v.Index())
	h.trim()
	if err := h.write(h.take()); err != nil {
		h.shut()
		return err
	}
	return nil
}

// saveState writes a chapter's snapshot.
func (h *History) saveState(v state.View) (int64, error) {
	h.mu.Lock()
	guess := int64(1 << 20)
	if n := len(h.book); n > 0 {
		guess = h.book[n-1].state
	}
	h.mu.Unlock()
	if !h.cfg.Room(guess) {
		return 0, errors.New("too little room on the disk")
	}
	path := filepath.Join(h.cfg.Dir, chapterName(v.Index(), stateSuffix))
	f, err := os.OpenFile(path+tmpSuffix, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, err
	}
	out := bufio.NewWriterSize(f, 256<<10)
	err = v.WriteSnapshot(out)
	if err == nil {
		err = errors.Join(out.Flush(), f.Sync())
	}
	size, serr := f.Seek(0, 1)
	if err = errors.Join(err, serr, f.Close()); err == nil {
		err = os.Rename(path+tmpSuffix, path)
	}
	if err != nil {
		return 0, errors.Join(err, os.Remove(path+tmpSuffix))
	}
	return size, nil
}

// trim removes the oldest chapters beyond the bounds; never the one that is
// being written.
func (h *History) trim() {
	h.mu.Lock()
	defer h.mu.Unlock()
	var total int64
	for _, c := range h.book {
		total += c.bytes()
	}
	oldest := dcos.TimeOf(h.cfg.Now().Add(-h.cfg.Age))
	for len(h.book) > 1 && (total > h.cfg.Bytes || h.book[0].lastTime < oldest && h.book[1].baseTime < oldest) {
		c := h.book[0]
		if err := removeChapter(h.cfg.Dir, c.base); err != nil {
			h.cfg.Log.Warn("history: an old chapter stays", "err", err)
			return
		}
		total -= c.bytes()
		h.book = h.book[1:]
	}
}

func (h *History) sync() {
	if h.out == nil || !h.out.dirty {
		return
	}
	if err := h.out.file.Sync(); err != nil {
		h.cfg.Log.Warn("history: not synced, a new chapter begins", "err", err)
		h.shut()
		return
	}
	h.out.dirty = false
}

// shut ends the chapter; the next entry begins another one.
func (h *History) shut() {
	if h.out == nil {
		return
	}
	if err := errors.Join(h.out.file.Sync(), h.out.file.Close()); err != nil {
		h.cfg.Log.Warn("history: end of a chapter", "err", err)
	}
	h.out = nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
