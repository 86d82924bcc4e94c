package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"github.com/dcos-go/dcos/pkg/auth"
	"github.com/dcos-go/dcos/pkg/dcos"
)

// MaxBody is the largest body of a request unless its route says otherwise.
const MaxBody = 1 << 20

// bodyTimeout bounds how long a client may take to send a body. It is longer
// than any handler waits, since the connection is watched with it meanwhile.
const bodyTimeout = time.Minute

// Authenticator finds out who asks. It answers dcos.ErrUnauthenticated when
// nobody does or the credential is not good.
type Authenticator interface {
	Authenticate(r *http.Request) (auth.Principal, error)
}

// Leader tells whether this master leads and passes requests on to the one
// that does.
type Leader interface {
	// Leads is true once this master may answer for the cluster.
	Leads() bool
	// Forward answers the request through the leader, or fails with
	// dcos.ErrUnavailable before anything was written.
	Forward(w http.ResponseWriter, r *http.Request) error
}

// Config is what a Server needs; all of it is required but Leader, which an
// agent's own API does not have.
type Config struct {
	Table  *Table
	Auth   Authenticator
	Leader Leader
	Log    *slog.Logger
	Limits Limits
}

// Server is the HTTP shell.
type Server struct {
	c     Config
	mux   *http.ServeMux
	gates *gates
}

// New makes the shell around a table.
func New(c Config) *Server {
	s := &Server{c: c, mux: http.NewServeMux(), gates: newGates(c.Limits)}
	for i := range c.Table.rows {
		row := &c.Table.rows[i]
		s.mux.HandleFunc(row.mux(), func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, row) })
	}
	return s
}

type contextKey int

const (
	principalKey contextKey = iota
	forwardedKey
)

// PrincipalOf is who the request was authenticated as; the zero value on
// public routes.
func PrincipalOf(ctx context.Context) auth.Principal {
	p, _ := ctx.Value(principalKey).(auth.Principal)
	return p
}

// WithForwarded marks a request that another master passed on: it is not
// passed on again. Only the listener for masters does this.
func WithForwarded(ctx context.Context) context.Context {
	return context.WithValue(ctx, forwardedKey, true)
}

// ServeHTTP finds the route, checks the permission, and only then runs it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	rec := &recorder{ResponseWriter: w}
	defer func() {
		if p := recover(); p != nil {
			if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(p) // net/http's own way to end a connection
			}
			s.c.Log.Error("handler panicked", "method", r.Method, "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
			if !rec.wrote {
				WriteProblem(rec, r, errors.New("internal error"))
			}
		}
		s.c.Log.Debug("request", "method", r.Method, "path", r.URL.Path, "status", rec.status, "took", time.Since(start))
	}()
	w.Header().Set("X-Content-Type-Options", "nosniff")
	// A body must come in time and an answer be taken in time, whoever asks:
	// before an early answer the server reads what is left of the body. The next
	// request has its own deadlines.
	answered := start.Add(writePatience + answerTimeout)
	var err error
	if r.ContentLength != 0 {
		answered = answered.Add(bodyTimeout)
		err = setReadDeadline(w, start.Add(bodyTimeout))
	}
	if err = errors.Join(err, setWriteDeadline(w, answered)); err != nil {
		WriteProblem(rec, r, err)
		return
	}
	cleanPath(r)
	// Anything but a row's own function is the mux's answer: not found, another
	// method, or a redirect to a spelling that cleanPath would undo.
	h, pattern := s.mux.Handler(r)
	if _, row := h.(http.HandlerFunc); pattern == "" || !row {
		dropBody(rec, r)
		WriteProblem(rec, r, s.noRoute(rec, r))
		return
	}
	s.mux.ServeHTTP(rec, r)
}

func setWriteDeadline(w http.ResponseWriter, at time.Time) error {
	if err := http.NewResponseController(w).SetWriteDeadline(at); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return fmt.Errorf("set write deadline: %w", err)
	}
	return nil
}

func setReadDeadline(w http.ResponseWriter, at time.Time) error {
	if err := http.NewResponseController(w).SetReadDeadline(at); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return fmt.Errorf("set read deadline: %w", err)
	}
	return nil
}

// dropBody ends the connection after the answer instead of waiting for a body
// that nobody will read: strangers hold no connection with it.
func dropBody(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		w.Header().Set("Connection", "close")
	}
}

// cleanPath folds double slashes, which DC/OS' command line sends, and drops
// the trailing one, so that a route has one spelling in the table. It works on
// the path as it was sent: an encoded slash or dot stays what it is.
func cleanPath(r *http.Request) {
	p := r.URL.EscapedPath()
	if !strings.Contains(p, "//") && (len(p) == 1 || !strings.HasSuffix(p, "/")) {
		return
	}
	for strings.Contains(p, "//") {
		p = strings.ReplaceAll(p, "//", "/")
	}
	if len(p) > 1 {
		p = strings.TrimSuffix(p, "/")
	}
	if u, err := url.ParseRequestURI(p); err == nil {
		r.URL.Path, r.URL.RawPath = u.Path, u.RawPath
	}
}

// noRoute tells an unknown path from a wrong method, which only the mux knows.
func (s *Server) noRoute(w http.ResponseWriter, r *http.Request) error {
	h, _ := s.mux.Handler(r)
	probe := &recorder{ResponseWriter: discard{http.Header{}}}
	h.ServeHTTP(probe, r)
	if probe.status == http.StatusMethodNotAllowed {
		w.Header()["Allow"] = probe.Header()["Allow"]
		return fmt.Errorf("%w: %s %s", ErrMethod, r.Method, r.URL.Path)
	}
	return fmt.Errorf("%w: %s", ErrNoRoute, r.URL.Path)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, row *entry) {
	err := s.run(w, r, row)
	if err == nil {
		return
	}
	row.dialect.WriteError(w, r, err)
	if status, _, _ := StatusOf(err); status == http.StatusInternalServerError {
		s.c.Log.Error("request failed", "method", r.Method, "path", r.URL.Path, "err", err)
	}
}

// run checks who asks and how much is sent, waits for its place, and only then
// lets the handler or the leader answer.
func (s *Server) run(w http.ResponseWriter, r *http.Request, row *entry) error {
	var who auth.Principal
	limit := row.Upload
	if row.Access == Public {
		limit = maxPublicBody
	} else {
		var err error
		if who, err = s.c.Auth.Authenticate(r); err != nil {
			dropBody(w, r)
			return err
		}
		if row.Access == Permitted {
			if err := auth.Allow(who, row.Need); err != nil {
				return err
			}
		}
		r = r.WithContext(context.WithValue(r.Context(), principalKey, who))
	}
	if limit == 0 {
		limit = MaxBody
	}
	if r.ContentLength > limit {
		return fmt.Errorf("%w: %d bytes, expected at most %d", ErrTooLarge, r.ContentLength, limit)
	}
	r.Body = http.MaxBytesReader(w, r.Body, limit)
	drop, err := s.gates.body(r, row)
	if err != nil {
		return err
	}
	defer drop()
	// A master's own request is not kept waiting by those of clients.
	if who.Kind != auth.KindNode {
		leave, err := s.gates.enter(r, row, who)
		if err != nil {
			return err
		}
		defer leave()
	}
	if row.Stream { // its client may be silent for as long as it listens, and each event has its own deadline
		if err := errors.Join(setReadDeadline(w, time.Time{}), setWriteDeadline(w, time.Time{})); err != nil {
			return err
		}
	}
	if row.Place == LeaderOnly && s.c.Leader != nil && !s.c.Leader.Leads() {
		if forwarded, _ := r.Context().Value(forwardedKey).(bool); forwarded {
			return fmt.Errorf("pass on %s %s a second time: %w", r.Method, r.URL.Path, dcos.NotLeader{})
		}
		return s.c.Leader.Forward(w, r)
	}
	row.Handler(w, r)
	return nil
}

// discard is a ResponseWriter that keeps nothing.
type discard struct{ h http.Header }

// Header is there to be written to.
func (d discard) Header() http.Header { return d.h }

// Write drops p.
func (d discard) Write(p []byte) (int, error) { return len(p), nil }

// WriteHeader does nothing.
func (d discard) WriteHeader(int) {}

// recorder remembers what was answered, for the log and for panics.
type recorder struct {
	http.ResponseWriter
	status int
	wrote  bool
}

// WriteHeader remembers the status.
func (r *recorder) WriteHeader(status int) {
	if !r.wrote {
		r.status, r.wrote = status, true
	}
	r.ResponseWriter.WriteHeader(status)
}

// Write remembers that something was written.
func (r *recorder) Write(p []byte) (int, error) {
	if !r.wrote {
		r.status, r.wrote = http.StatusOK, true
	}
	return r.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach flushing and deadlines.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
