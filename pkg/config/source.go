package config

import (
	"errors"
	"fmt"
	"strings"
)

// fault is what is wrong with the value of a key, or of several together.
type fault struct {
	keys string // separated by ", "
	err  error
}

// Error begins with the keys.
func (f *fault) Error() string { return f.keys + ": " + f.err.Error() }

// Unwrap gives the cause.
func (f *fault) Unwrap() error { return f.err }

// sources say by what each key was set that has not its default.
type sources map[string]string

// sourceFile stands for the file, whose name only the caller knows.
const sourceFile = "file"

// inFile marks an error about what the file says.
type inFile struct{ error }

// Unwrap gives the error itself.
func (f inFile) Unwrap() error { return f.error }

// InFile says whether an error of Load is about what the file says, so that its
// name belongs into the message.
func InFile(err error) bool {
	var f inFile
	return errors.As(err, &f)
}

// name adds to each fault who set the keys.
func (s sources) name(err error) error {
	if all, ok := err.(interface{ Unwrap() []error }); ok {
		var out []error
		for _, one := range all.Unwrap() {
			out = append(out, s.name(one))
		}
		return errors.Join(out...)
	}
	var f *fault
	if !errors.As(err, &f) {
		return err
	}
	var by []string
	byFile := false
	for key := range strings.SplitSeq(f.keys, ", ") {
		switch source := s[key]; source {
		case "":
		case sourceFile:
			byFile = true
		default:
			by = append(by, fmt.Sprintf("%s is set by %s", key, source))
		}
	}
	if len(by) > 0 {
		err = fmt.Errorf("%w (%s)", err, strings.Join(by, ", "))
	}
	if byFile {
		return inFile{err}
	}
	return err
}
