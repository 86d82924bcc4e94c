package marathon

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/dcos-go/dcos/pkg/api"
	"github.com/dcos-go/dcos/pkg/dcos"
)

// keepAlive is the longest silence of the stream of events.
const keepAlive = 15 * time.Second

// events is GET /v2/events: what changes, as it changes. A client that cannot
// keep up is cut off; what happens while nobody listens is not kept for it.
func (s *server) events(w http.ResponseWriter, r *http.Request) error {
	if !strings.Contains(r.Header.Get("Accept"), "text/event-stream") {
		return fmt.Errorf("%w: send Accept: text/event-stream", api.ErrMethod)
	}
	wanted := r.URL.Query()["event_type"]
	view := s.State.Feed.View()
	watch, err := api.StartWatch(r.Context(), s.State.Feed, view.Index())
	if err != nil {
		return err
	}
	defer watch.Stop()
	out, err := api.StartEvents(w)
	if err != nil {
		return nil // the client is gone
	}
	send := func(e event) error {
		if len(wanted) > 0 && !slices.Contains(wanted, e.kind()) {
			return nil
		}
		return out.Send("", e.kind(), e)
	}
	if send(newEvent("event_stream_attached", s.State.Time(), event{"remoteAddress": r.RemoteAddr})) != nil {
		return nil
	}
	alive := time.NewTicker(keepAlive)
	defer alive.Stop()
	for {
		select {
		case commit, ok := <-watch.C:
			if !ok {
				if errors.Is(watch.Err(), dcos.ErrReset) {
					_ = out.Comment("too slow: connect again and read the state anew")
				}
				return nil
			}
			for _, e := range eventsOf(&commit) {
				if send(e) != nil {
					return nil
				}
			}
		case <-alive.C:
			if out.Comment("alive") != nil {
				return nil
			}
		}
	}
}
