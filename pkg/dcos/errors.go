package dcos

import (
	"errors"
	"fmt"
)

// The kinds of error. Every error that a user can see wraps exactly one of
// them; the API maps kinds to status codes and the command line to exit codes
// in one place each.
var (
	// ErrInvalid: the request can never succeed as it is.
	ErrInvalid = errors.New("invalid")
	// ErrNotFound: the thing named does not exist.
	ErrNotFound = errors.New("not found")
	// ErrConflict: it clashes with what is there now.
	ErrConflict = errors.New("conflict")
	// ErrDenied: the caller is known and may not do this.
	ErrDenied = errors.New("denied")
	// ErrUnauthenticated: the caller is not known.
	ErrUnauthenticated = errors.New("not authenticated")
	// ErrUnavailable: not now; nothing was changed; try again.
	ErrUnavailable = errors.New("unavailable")
	// ErrExhausted: a limit is reached.
	ErrExhausted = errors.New("exhausted")
	// ErrUnknown: it may have happened or not; look before trying again.
	ErrUnknown = errors.New("outcome unknown")
	// ErrReset: the changes asked for are no longer kept; read anew.
	ErrReset = errors.New("history no longer kept, read the state anew")
)

// NotLeader says which master to ask instead. It is an ErrUnavailable.
type NotLeader struct {
	Leader MasterID // 0: no leader is known at present
}

// Error tells what to do next.
func (e NotLeader) Error() string {
	if e.Leader == 0 {
		return "unavailable: no master leads at present, try again in a few seconds"
	}
	return fmt.Sprintf("unavailable: master %x leads, ask that one", uint64(e.Leader))
}

// Unwrap makes it an ErrUnavailable.
func (e NotLeader) Unwrap() error { return ErrUnavailable }

// FieldError is one thing wrong with one field of a request.
type FieldError struct {
	Path string // "/upgradeStrategy/minimumHealthCapacity", "/constraints(0)"
	Rule string // in words, or a code like "error.path.missing"
}

// InvalidFields is an ErrInvalid that names the fields, for API answers.
type InvalidFields struct {
	Parse  bool // the document broke its schema, not a rule of meaning
	Fields []FieldError
}

// Error lists every field with its fault.
func (e *InvalidFields) Error() string {
	s := ErrInvalid.Error()
	for i, f := range e.Fields {
		sep := "; "
		if i == 0 {
			sep = ": "
		}
		s += sep + f.Path + ": " + f.Rule
	}
	return s
}

// Unwrap makes it an ErrInvalid.
func (e *InvalidFields) Unwrap() error { return ErrInvalid }
