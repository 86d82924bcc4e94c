package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// ReadBody reads a request's body up to its route's limit.
func ReadBody(r *http.Request) ([]byte, error) {
	if b, ok := r.Body.(*body); ok && b.at == 0 { // the server has read it
		b.at = len(b.b)
		return b.b, nil
	}
	return readAll(r.Body)
}

func readAll(from io.Reader) ([]byte, error) {
	b, err := io.ReadAll(from)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, fmt.Errorf("%w: expected at most %d bytes", ErrTooLarge, tooLarge.Limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, fmt.Errorf("%w: %d bytes within %s", ErrSlow, len(b), bodyTimeout)
	case errors.Is(err, dcos.ErrUnavailable):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("%w: read request body: %w", dcos.ErrInvalid, err)
	}
	return b, nil
}

// body is a request's body that is in memory.
type body struct {
	b  []byte
	at int
}

func newBody(b []byte) *body { return &body{b: b} }

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	if b.at == len(b.b) {
		return 0, io.EOF
	}
	n := copy(p, b.b[b.at:])
	b.at += n
	return n, nil
}

// Close does nothing.
func (b *body) Close() error { return nil }

// ReadJSON decodes a body strictly: unknown fields, wrong types and trailing
// data are dcos.ErrInvalid and name the field. An empty body leaves into as it is.
func ReadJSON(r *http.Request, into any) error {
	b, err := ReadBody(r)
	if err != nil || len(b) == 0 {
		return err
	}
	return DecodeJSON(b, into)
}

// WriteJSON answers with a document.
func WriteJSON(w http.ResponseWriter, status int, body any) {
	b, err := json.Marshal(body)
	if err != nil { // only a shape of ours can be at fault
		WriteProblem(w, nil, fmt.Errorf("encode answer: %w", err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // a client that went away is no error of ours
}
