package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// writeTimeout bounds one write to a client that listens to a stream; a slower
// one is dropped, so that it never holds anything of ours.
const writeTimeout = 15 * time.Second

// Events writes server-sent events to one client.
type Events struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

// StartEvents answers 200 and opens the stream.
func StartEvents(w http.ResponseWriter) (*Events, error) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	e := &Events{w, http.NewResponseController(w)}
	return e, e.Comment("stream of events")
}

// Send writes one event; empty id and name are left out. The error means that
// the client is gone.
func (e *Events) Send(id, name string, data any) error {
	b, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("encode event: %w", err)
	}
	frame := make([]byte, 0, len(b)+len(id)+len(name)+32)
	if id != "" {
		frame = append(append(append(frame, "id: "...), id...), '\n')
	}
	if name != "" {
		frame = append(append(append(frame, "event: "...), name...), '\n')
	}
	frame = append(append(append(frame, "data: "...), b...), "\n\n"...)
	return e.write(frame)
}

// Comment writes a line that clients ignore; it keeps the connection alive and
// finds out whether the client is still there.
func (e *Events) Comment(text string) error { return e.write([]byte(": " + text + "\n\n")) }

func (e *Events) write(frame []byte) error {
	if err := e.rc.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return fmt.Errorf("set write deadline: %w", err)
	}
	if _, err := e.w.Write(frame); err != nil {
		return fmt.Errorf("write event: %w", err)
	}
	if err := e.rc.Flush(); err != nil {
		return fmt.Errorf("flush event: %w", err)
	}
	return nil
}
