package history

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

// replay makes the state at a time from the files; h.reading is held. live is
// the index that was applied when the question came.
func (h *History) replay(ctx context.Context, at dcos.Time, live dcos.Index) (state.View, error) {
	h.mu.Lock()
	book := slices.Clone(h.book)
	h.mu.Unlock()
	i := len(book) - 1
	for i >= 0 && book[i].baseTime > at {
		i--
	}
	if i < 0 {
		return state.View{}, errGap(at, spans(book))
	}
	// Behind the last entry of a chapter nothing is known, unless nothing
	// happened since.
	c := book[i]
	if at > c.lastTime && (i < len(book)-1 || c.last < live) {
		return state.View{}, errGap(at, spans(book))
	}
	v, err := h.play(ctx, c, at)
	if err == nil && v.Time() == 0 { // before the cluster's first entry
		return state.View{}, errGap(at, spans(book))
	}
	return v, err
}

func (h *History) play(ctx context.Context, c chapter, at dcos.Time) (state.View, error) {
	name := chapterName(c.base, logSuffix)
	f, err := os.Open(filepath.Join(h.cfg.Dir, name))
	if err != nil {
		return state.View{}, fmt.Errorf("%w: history: %w", dcos.ErrUnavailable, err)
	}
	defer f.Close()
	// Many questions are about the same moment: which entry is it?
	end := c.base
	seen, err := scanLog(f, func(e entry) bool {
		if e.time > at || ctx.Err() != nil {
			return false
		}
		end = e.index
		return true
	})
	switch {
	case ctx.Err() != nil:
		return state.View{}, errSlow(ctx)
	case err != nil || seen.damage != "" && seen.last < c.last:
		return state.View{}, fmt.Errorf("%w: history: %s is damaged: %s (%w)", dcos.ErrNotFound, name, seen.damage, firstOf(err))
	}
	if v := h.last.view; h.cfg.Now().Before(h.last.until) && h.last.index == end {
		return v, nil
	}
	h.last.view, h.last.until = state.View{}, time.Time{}
	store, err := loadState(h.cfg.Dir, c.base)
	if err != nil {
		return state.View{}, fmt.Errorf("%w: history: %w", dcos.ErrNotFound, err)
	}
	if _, err := f.Seek(0, 0); err != nil {
		return state.View{}, fmt.Errorf("%w: history: %s: %w", dcos.ErrUnavailable, name, err)
	}
	var fault error
	_, err = scanLog(f, func(e entry) bool {
		if e.index > end || ctx.Err() != nil {
			return false
		}
		_, _, fault = store.Apply(e.index, e.data)
		return fault == nil
	})
	v := store.View()
	switch {
	case ctx.Err() != nil:
		return state.View{}, errSlow(ctx)
	case err != nil || fault != nil || v.Index() != end:
		return state.View{}, fmt.Errorf("%w: history: %s is damaged: reached index %d of %d (%w)", dcos.ErrNotFound, name, v.Index(), end, firstOf(err, fault))
	}
	h.last.view, h.last.index, h.last.until = v, end, h.cfg.Now().Add(keepView)
	return v, nil
}

func errSlow(ctx context.Context) error {
	return fmt.Errorf("%w: the past could not be read in time, try again: %w", dcos.ErrUnavailable, ctx.Err())
}

// forget lets go of the last view when nobody asked again.
func (h *History) forget() {
	select {
	case h.reading <- struct{}{}:
		if h.cfg.Now().After(h.last.until) {
			h.last.view, h.last.until = state.View{}, time.Time{}
		}
		<-h.reading
	default: // somebody asks right now
	}
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return dcos.ErrInvalid
}
