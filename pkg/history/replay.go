package history

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

// replay makes the state at a time from the files; h.reading is held.
func (h *History) replay(ctx context.Context, at dcos.Time) (state.View, error) {
	h.mu.Lock()
	kept := spans(h.book)
	var c chapter
	var next dcos.Time // of what is known behind the chapter; 0: it is the last
	found := false
	for _, b := range h.book {
		if b.baseTime > at {
			if found && b.base <= c.last {
				// The next chapter goes on where this one ends.
				found, next = true, 0
			} else if found {
				next = b.baseTime
			}
			break
		}
		c, found, next = b, true, 0
	}
	newest := len(h.book) > 0 && h.book[len(h.book)-1].base == c.base
	behind := h.written < h.cfg.View().Index() && newest
	h.mu.Unlock()
	switch {
	case !found:
		return state.View{}, errGap(at, kept)
	case at > c.lastTime && (next != 0 || behind || c.damage != ""):
		return state.View{}, errGap(at, kept)
	}
	return h.play(ctx, c, at)
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
		if e.time > at {
			return false
		}
		end = e.index
		return ctx.Err() == nil
	})
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return state.View{}, fmt.Errorf("history: %s: %w", name, err)
	}
	if seen.last < end || seen.damage != "" && end >= seen.last && at > seen.lastTime && end < c.last {
		return state.View{}, fmt.Errorf("%w: history: %s is damaged: %s", dcos.ErrNotFound, name, seen.damage)
	}
	if v := h.last.view; h.cfg.Now().Before(h.last.until) && v.Index() == end {
		return v, nil
	}
	h.last.view = state.View{}
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
		return state.View{}, fmt.Errorf("%w: the past could not be read in time: %w", dcos.ErrUnavailable, ctx.Err())
	case err != nil || fault != nil || v.Index() != end:
		return state.View{}, fmt.Errorf("%w: history: %s is damaged: reached index %d of %d (%w)", dcos.ErrNotFound, name, v.Index(), end, firstOf(err, fault))
	}
	h.last.view, h.last.until = v, h.cfg.Now().Add(keepView)
	return v, nil
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return dcos.ErrInvalid
}
