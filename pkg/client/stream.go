package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// Topics says what a stream shows.
type Topics struct {
	Names []string // cluster, nodes, services, tasks, packages, deployments
	App   string   // of the tasks: only those of this app
	Since uint64   // resume after this frame; 0 begins with a snapshot
}

// Row decodes the row of an upsert.
func Row[T any](e Event) (T, error) {
	var out T
	if err := json.Unmarshal(e.Data, &out); err != nil {
		return out, fmt.Errorf("row %s of %s: %w: %w", e.Key, e.Topic, dcos.ErrUnavailable, err)
	}
	return out, nil
}

// Rows decodes the rows of a snapshot.
func Rows[T any](e Event) ([]T, error) { return Row[[]T](e) }

// Stream gives the frames of the event stream. It connects again by itself,
// and goes on where it left off; a frame with the op "reset" says that
// everything follows anew. It ends with ctx, or with an error when the server
// refuses, or cannot be reached for a while.
func (c *Client) Stream(ctx context.Context, t Topics) iter.Seq2[Event, error] {
	q := url.Values{"topics": {strings.Join(t.Names, ",")}}
	if t.App != "" {
		q.Set("app", t.App)
	}
	last := ""
	if t.Since > 0 {
		last = strconv.FormatUint(t.Since, 10)
	}
	return decoded[Event](c.follow(ctx, call{method: http.MethodGet, path: "/dcos/v1/stream", query: q}, last))
}

// MarathonEvent is one event of /v2/events.
type MarathonEvent struct {
	Type      string          `json:"eventType"`
	Timestamp string          `json:"timestamp"`
	Raw       json.RawMessage `json:"-"` // the whole event
}

// MarathonEvents gives Marathon's events of the types given, or all. Events
// that happen while the connection is lost are lost.
func (c *Client) MarathonEvents(ctx context.Context, types ...string) iter.Seq2[MarathonEvent, error] {
	k := call{method: http.MethodGet, path: marathonPath + "/events", query: url.Values{"event_type": types}}
	return func(yield func(MarathonEvent, error) bool) {
		for f, err := range c.follow(ctx, k, "") {
			var e MarathonEvent
			if err == nil {
				err = json.Unmarshal(f.data, &e)
				e.Raw = f.data
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// Logs says which part of a task's log to read. The zero value is all of
// stdout.
type Logs struct {
	Stderr bool
	Lines  int  // the last so many lines; 0 is from the beginning
	Follow bool // and whatever is written from then on
}

// Log gives the lines of a task's log.
func (c *Client) Log(ctx context.Context, task string, l Logs) iter.Seq2[LogEntry, error] {
	file := "stdout"
	if l.Stderr {
		file = "stderr"
	}
	q := url.Values{}
	if l.Lines > 0 {
		q.Set("cursor", "END")
		q.Set("skip", strconv.Itoa(-l.Lines))
	}
	k := call{method: http.MethodGet, path: "/system/v1/logs/v2/task/" + url.PathEscape(task) + "/file/" + file, query: q}
	if l.Follow {
		return decoded[LogEntry](c.follow(ctx, k, ""))
	}
	return decoded[LogEntry](c.lines(ctx, k))
}

func decoded[T any](frames iter.Seq2[frame, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for f, err := range frames {
			var out T
			if err == nil {
				if err = json.Unmarshal(f.data, &out); err != nil {
					err = fmt.Errorf("decode event: %w: %w", dcos.ErrUnavailable, err)
				}
			}
			if !yield(out, err) || err != nil {
				return
			}
		}
	}
}

// The patience of a stream whose connection is lost.
const (
	firstPause = 100 * time.Millisecond
	longPause  = 5 * time.Second
	patience   = time.Minute
	// silence is how long nothing may come; servers send something every 15 s.
	silence = 50 * time.Second
)

// follow gives the frames of a stream of events and connects again when it
// breaks.
func (c *Client) follow(ctx context.Context, k call, last string) iter.Seq2[frame, error] {
	return func(yield func(frame, error) bool) {
		pause, since := firstPause, time.Now()
		for {
			goOn, err := c.once(ctx, k, &last, func(f frame) bool {
				pause, since = firstPause, time.Now()
				return len(f.data) == 0 || yield(f, nil)
			})
			if !goOn || ctx.Err() != nil {
				return
			}
			if refused(err) || time.Since(since) > patience {
				yield(frame{}, err)
				return
			}
			wait := time.NewTimer(pause)
			select {
			case <-wait.C:
			case <-ctx.Done():
				wait.Stop()
				return
			}
			pause = min(2*pause, longPause)
		}
	}
}

// refused says that connecting again will not help.
func refused(err error) bool {
	e := &Error{}
	return asError(err, &e) && e.Status < http.StatusInternalServerError && e.Status != http.StatusTooManyRequests
}

func asError(err error, e **Error) bool { return errors.As(err, e) }

// once follows one connection and gives every frame, comments as well; goOn is
// false when the reader has had enough.
func (c *Client) once(ctx context.Context, k call, last *string, yield func(frame) bool) (goOn bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	k.header = map[string]string{"Accept": "text/event-stream"}
	if *last != "" {
		k.header["Last-Event-ID"] = *last
	}
	res, err := c.send(ctx, k)
	if err != nil {
		return true, err
	}
	defer res.Body.Close()
	watchdog := time.AfterFunc(silence, cancel)
	defer watchdog.Stop()
	frames := newFrames(res.Body)
	for {
		f, err := frames.next()
		if err != nil {
			return true, k.lost(ctx, err)
		}
		watchdog.Reset(silence)
		if f.id != "" {
			*last = f.id
		}
		if !yield(f) {
			return false, nil
		}
	}
}
