package api

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
)

// ErrTooLarge says that the request's body is over its limit.
var ErrTooLarge = errors.New("request body too large")

// ErrSlow says that the request's body did not come in time.
var ErrSlow = errors.New("request body came too slowly")

// ErrMethod says that the path exists and the method does not.
var ErrMethod = errors.New("method not allowed")

// ErrNoRoute says that no route has this path.
var ErrNoRoute = errors.New("no such route")

// kinds is the one place where a kind of error becomes a status.
var kinds = []struct {
	kind   error
	status int
	code   string
	hint   string
}{
	{ErrTooLarge, http.StatusRequestEntityTooLarge, "too_large", "send a smaller document"},
	{ErrSlow, http.StatusRequestTimeout, "too_slow", "send the whole document within a minute"},
	{ErrMethod, http.StatusMethodNotAllowed, "method_not_allowed", "see the Allow header"},
	{ErrNoRoute, http.StatusNotFound, "not_found", "check the path"},
	{dcos.ErrUnauthenticated, http.StatusUnauthorized, "unauthenticated", "log in (dcos auth login) and send the token"},
	{dcos.ErrDenied, http.StatusForbidden, "denied", "ask an administrator for the permission named"},
	{dcos.ErrNotFound, http.StatusNotFound, "not_found", ""},
	{dcos.ErrConflict, http.StatusConflict, "conflict", ""},
	{dcos.ErrInvalid, http.StatusUnprocessableEntity, "invalid", ""},
	{dcos.ErrExhausted, http.StatusTooManyRequests, "exhausted", "try again later"},
	{dcos.ErrUnknown, http.StatusServiceUnavailable, "unknown_outcome", "the change may have happened: look before trying again"},
	{dcos.ErrUnavailable, http.StatusServiceUnavailable, "unavailable", "try again in a few seconds"},
}

// StatusOf is the status and code for an error, by its kind; an error without
// a kind is ours: 500.
func StatusOf(err error) (status int, code, hint string) {
	for _, k := range kinds {
		if errors.Is(err, k.kind) {
			return k.status, k.code, k.hint
		}
	}
	return http.StatusInternalServerError, "internal", "look into the master's log"
}

// Headers sets the headers that go with an error's status.
func Headers(w http.ResponseWriter, status int) {
	switch status {
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		w.Header().Set("Retry-After", "2")
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "acsjwt")
	}
}

// WriteProblem writes an error as a problem document (RFC 9457): the shape of
// /dcos/v1 and of everything outside the dialects.
func WriteProblem(w http.ResponseWriter, _ *http.Request, err error) {
	status, code, hint := StatusOf(err)
	p := client.Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Code: code, Detail: err.Error(), Hint: hint}
	var fields *dcos.InvalidFields
	if errors.As(err, &fields) {
		p.Fields = Fields(fields)
	}
	if status == http.StatusInternalServerError {
		p.Detail = "internal error" // its text is for the log, not for strangers
	}
	Headers(w, status)
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(p) // a client that went away is no error of ours
}

// Fields groups field errors by path, in their order.
func Fields(e *dcos.InvalidFields) []client.FieldErrors {
	var out []client.FieldErrors
	at := map[string]int{}
	for _, f := range e.Fields {
		i, seen := at[f.Path]
		if !seen {
			i = len(out)
			at[f.Path] = i
			out = append(out, client.FieldErrors{Path: f.Path})
		}
		out[i].Errors = append(out[i].Errors, f.Rule)
	}
	return out
}
