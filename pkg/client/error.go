package client

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// Error is a refusal by the server, in its own words. It wraps a kind of
// pkg/dcos.
type Error struct {
	Status  int
	Code    string // of /dcos/v1 and X-Dcos-Error: invalid, not_found, ...
	Type    string // of the package API: PackageNotFound, ...
	Message string
	Hint    string        // what to do next; may be ""
	Fields  []FieldErrors // what is wrong with which field
	// Deployments hold the app; force cancels them.
	Deployments []string

	kind error
}

// Error is the server's message with everything that it says about fields.
func (e *Error) Error() string {
	s := e.Message
	for _, f := range e.Fields {
		s += "; " + f.Path + ": " + strings.Join(f.Errors, ", ")
	}
	if len(e.Deployments) > 0 {
		s += " (held by " + strings.Join(e.Deployments, ", ") + ")"
	}
	if e.Hint != "" {
		s += ": " + e.Hint
	}
	return s
}

// Unwrap is the error's kind.
func (e *Error) Unwrap() error { return e.kind }

// kinds of errors by what the package API calls them.
var kindOfType = map[string]error{
	"PackageNotFound": dcos.ErrNotFound, "VersionNotFound": dcos.ErrNotFound, "PackageNotInstalled": dcos.ErrNotFound,
	"UninstallNonExistentAppForPackage": dcos.ErrNotFound, "MarathonAppNotFound": dcos.ErrNotFound,
	"PackageAlreadyInstalled": dcos.ErrConflict, "AmbiguousAppId": dcos.ErrConflict, "ConcurrentAccess": dcos.ErrConflict,
}

var kindOfStatus = map[int]error{
	http.StatusBadRequest: dcos.ErrInvalid, http.StatusUnauthorized: dcos.ErrUnauthenticated, http.StatusForbidden: dcos.ErrDenied,
	http.StatusNotFound: dcos.ErrNotFound, http.StatusMethodNotAllowed: dcos.ErrInvalid, http.StatusNotAcceptable: dcos.ErrInvalid,
	http.StatusConflict: dcos.ErrConflict, http.StatusPreconditionFailed: dcos.ErrConflict, http.StatusRequestEntityTooLarge: dcos.ErrInvalid,
	http.StatusUnprocessableEntity: dcos.ErrInvalid, http.StatusTooManyRequests: dcos.ErrExhausted, http.StatusServiceUnavailable: dcos.ErrUnavailable,
}

// newError makes an Error of any dialect's answer.
func newError(k call, res *http.Response, body []byte) error {
	e := &Error{Status: res.StatusCode, Code: res.Header.Get("X-Dcos-Error")}
	var doc struct {
		Problem
		Type        string          `json:"type"`
		Message     string          `json:"message"`
		Details     json.RawMessage `json:"details"`
		Deployments []DeploymentRef `json:"deployments"`
		Data        struct {
			Errors []struct {
				Instance struct {
					Pointer string `json:"pointer"`
				} `json:"instance"`
				Message string `json:"message"`
			} `json:"errors"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &doc); err == nil {
		e.Message, e.Hint, e.Fields = doc.Detail, doc.Hint, doc.Fields
		if doc.Code != "" {
			e.Code = doc.Code
		}
		if doc.Message != "" {
			e.Message = doc.Message
			if doc.Type != "" && !strings.Contains(doc.Type, ":") {
				e.Type = doc.Type
			}
		}
		var text string
		if json.Unmarshal(doc.Details, &e.Fields) != nil && json.Unmarshal(doc.Details, &text) == nil {
			e.Message += ": " + text
		}
		for _, d := range doc.Deployments {
			e.Deployments = append(e.Deployments, d.ID)
		}
		if e.Type == "" {
			doc.Data.Errors = nil
		}
		for _, d := range doc.Data.Errors {
			e.Fields = append(e.Fields, FieldErrors{Path: d.Instance.Pointer, Errors: []string{d.Message}})
		}
	}
	if e.Message == "" {
		e.Message = fmt.Sprintf("%s %s: %s", k.method, k.path, res.Status)
	}
	e.kind = e.kindOf(k)
	return e
}

func (e *Error) kindOf(k call) error {
	if kind := kindOfType[e.Type]; kind != nil {
		return kind
	}
	if e.Code == "unknown_outcome" {
		return dcos.ErrUnknown
	}
	if kind := kindOfStatus[e.Status]; kind != nil {
		return kind
	}
	switch {
	case e.Status < http.StatusInternalServerError:
		return dcos.ErrInvalid
	case k.method == http.MethodGet:
		return dcos.ErrUnavailable
	}
	return dcos.ErrUnknown // the server failed in the middle of it
}
