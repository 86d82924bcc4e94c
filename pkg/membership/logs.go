package membership

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Strangers can make the gossip library write a line per packet: more than
// these many lines in a window are counted instead of written.
const (
	logLines  = 20
	logWindow = 10 * time.Second
	maxLine   = 500
)

// logWriter turns the library's lines ("[WARN] memberlist: text") into records.
type logWriter struct {
	log *slog.Logger
	now func() time.Time

	mu      sync.Mutex
	since   time.Time // guarded by mu; start of the window
	lines   int       // guarded by mu; written in it
	dropped int       // guarded by mu
}

// Write implements io.Writer; each call is one line.
func (w *logWriter) Write(b []byte) (int, error) {
	level, text := parseLine(string(b))
	if !w.log.Enabled(context.Background(), level) {
		return len(b), nil
	}
	w.mu.Lock()
	now := w.now()
	if now.Sub(w.since) >= logWindow {
		w.since, w.lines = now, 0
	}
	w.lines++
	write := w.lines <= logLines
	dropped := w.dropped
	if write {
		w.dropped = 0
	} else {
		w.dropped++
	}
	w.mu.Unlock()
	if !write {
		return len(b), nil
	}
	attrs := []slog.Attr{slog.String("text", text)}
	if dropped > 0 {
		attrs = append(attrs, slog.Int("dropped", dropped))
	}
	w.log.LogAttrs(context.Background(), level, "gossip", attrs...)
	return len(b), nil
}

// parseLine takes the level off. What the library calls an error is a warning
// here, since gossip decides nothing; its information is for debugging,
// because changes of members are logged by this package.
func parseLine(s string) (slog.Level, string) {
	s = strings.TrimSpace(s)
	level := slog.LevelDebug
	if rest, ok := strings.CutPrefix(s, "["); ok {
		if word, text, ok := strings.Cut(rest, "] "); ok {
			s = text
			if word == "ERR" || word == "ERROR" || word == "WARN" {
				level = slog.LevelWarn
			}
		}
	}
	if len(s) > maxLine {
		s = s[:maxLine] + "..."
	}
	return level, s
}

// A member that comes and goes writes this many lines in a window; the rest is
// counted.
const (
	flapLines  = 4
	flapWindow = time.Minute
)

// flaps keeps members that come and go from filling the log.
type flaps struct {
	since time.Time
	lines map[string]int // by member, in this window
}

// tell says whether a change of a member is to be written. At the end of a
// window it writes how many were not.
func (f *flaps) tell(name string, now time.Time, log *slog.Logger) bool {
	if now.Sub(f.since) >= flapWindow {
		for _, n := range slices.Sorted(maps.Keys(f.lines)) {
			if more := f.lines[n] - flapLines; more > 0 {
				log.Warn("gossip member comes and goes", "member", n, "changes not written", more)
			}
		}
		f.since, f.lines = now, map[string]int{}
	}
	f.lines[name]++
	return f.lines[name] <= flapLines
}
