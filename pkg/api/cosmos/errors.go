package cosmos

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/dcos-go/dcos/pkg/api"
	"github.com/dcos-go/dcos/pkg/catalog"
	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
)

// fault is an error of one of Cosmos' types.
type fault struct {
	status  int // 0 is 400
	typ     string
	message string
	data    any
	kind    error
}

func (f *fault) Error() string { return f.message }

func (f *fault) Unwrap() error {
	if f.kind == nil {
		return dcos.ErrInvalid
	}
	return f.kind
}

// quote bounds a stranger's text in a message.
func quote(s string) string {
	if len(s) > 80 {
		s = s[:80] + "..."
	}
	return "[" + s + "]"
}

// types are Cosmos' names for what has no type of its own.
var types = map[int]string{
	http.StatusUnauthorized:        "Unauthorized",
	http.StatusForbidden:           "Forbidden",
	http.StatusServiceUnavailable:  "ServiceUnavailable",
	http.StatusInternalServerError: "unhandled_exception",
	http.StatusConflict:            "ConcurrentAccess",
}

// faultOf gives any error its type (dcos-api section 3.2).
func faultOf(err error) *fault {
	var own *fault
	if errors.As(err, &own) {
		return own
	}
	var (
		missing  *catalog.NotFound
		mismatch *catalog.SchemaMismatch
		fields   *dcos.InvalidFields
	)
	switch {
	case errors.As(err, &missing) && missing.Version != "":
		return &fault{typ: "VersionNotFound", message: missing.Error(), data: map[string]string{"packageName": missing.Name, "packageVersion": missing.Version}}
	case errors.As(err, &missing):
		return &fault{typ: "PackageNotFound", message: missing.Error(), data: map[string]string{"packageName": missing.Name}}
	case errors.As(err, &mismatch):
		return &fault{typ: "JsonSchemaMismatch", message: mismatch.Error(), data: map[string]any{"errors": violations(mismatch.Violations)}}
	case errors.As(err, &fields):
		return &fault{typ: "MarathonBadResponse", message: "the app that the package makes is not valid: " + fields.Error(), data: map[string]any{"errors": violations(fields.Fields)}}
	}
	status, _, hint := api.StatusOf(err)
	f := &fault{status: status, typ: types[status], message: err.Error()}
	switch {
	case status == http.StatusInternalServerError:
		f.message = "internal error: " + hint
	case status == http.StatusUnprocessableEntity:
		f.status, f.typ = http.StatusBadRequest, "JsonDecodingError"
	case f.typ == "":
		f.typ = "GenericHttpError"
	}
	return f
}

func violations(fields []dcos.FieldError) []map[string]any {
	out := make([]map[string]any, len(fields))
	for i, f := range fields {
		out[i] = map[string]any{"level": "error", "instance": map[string]string{"pointer": f.Path}, "message": f.Rule}
	}
	return out
}

// writeError writes an error as Cosmos does. Clients put messages through a
// formatter, so they hold no percent sign.
func writeError(w http.ResponseWriter, _ *http.Request, err error) {
	f := faultOf(err)
	status := f.status
	if status == 0 {
		status = http.StatusBadRequest
	}
	body := client.CosmosError{Type: f.typ, Message: strings.ReplaceAll(f.message, "%", "percent")}
	if f.data != nil {
		if b, err := json.Marshal(f.data); err == nil {
			body.Data = b
		}
	}
	api.Headers(w, status)
	_, code, _ := api.StatusOf(err)
	w.Header().Set("X-Dcos-Error", code)
	b, merr := json.Marshal(body)
	if merr != nil {
		status, b = http.StatusInternalServerError, []byte(`{"type":"unhandled_exception","message":"internal error"}`)
	}
	w.Header().Set("Content-Type", "application/vnd.dcos.package.error+json;charset=utf-8;version=v1")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // a client that went away is no error of ours
}

func noRepositories(http.ResponseWriter, *http.Request) error {
	return &fault{typ: "UnsupportedOperation", message: "changing the list of repositories is not supported yet: the catalog is the one that comes with dcos"}
}
