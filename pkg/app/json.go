package app

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// The limits of a document from outside.
const (
	maxDocument = 1 << 20
	maxDepth    = 64
)

// SyntaxError says that a document is not JSON at all, or not an object, or
// beyond the limits. The API answers it with 400.
type SyntaxError struct {
	Text string
}

// Error says what is wrong and where.
func (e *SyntaxError) Error() string { return "invalid JSON: " + e.Text }

// Unwrap makes it a dcos.ErrInvalid.
func (e *SyntaxError) Unwrap() error { return dcos.ErrInvalid }

// object is a JSON object in the order of its document. Its values are nil,
// bool, json.Number, string, []any and *object.
type object struct {
	keys   []string
	values map[string]any
}

// readObject reads one JSON object and nothing after it. Keys given twice are
// an error, since readers disagree about which one counts.
func readObject(doc []byte) (*object, error) {
	if len(doc) > maxDocument {
		return nil, &SyntaxError{fmt.Sprintf("%d bytes, expected %d or less", len(doc), maxDocument)}
	}
	if !utf8.Valid(doc) {
		return nil, &SyntaxError{"not UTF-8"}
	}
	r := treeReader{json.NewDecoder(bytes.NewReader(doc))}
	r.UseNumber()
	v, err := r.value(0)
	if err != nil {
		return nil, err
	}
	if _, err := r.Token(); !errors.Is(err, io.EOF) {
		return nil, &SyntaxError{fmt.Sprintf("something follows the document at byte %d", r.InputOffset())}
	}
	o, ok := v.(*object)
	if !ok {
		return nil, &SyntaxError{"expected an object"}
	}
	return o, nil
}

type treeReader struct{ *json.Decoder }

func (r treeReader) token() (json.Token, error) {
	t, err := r.Token()
	if errors.Is(err, io.EOF) {
		return nil, &SyntaxError{"the document ends early"}
	}
	if err != nil {
		return nil, &SyntaxError{fmt.Sprintf("%v at byte %d", err, r.InputOffset())}
	}
	return t, nil
}

func (r treeReader) value(depth int) (any, error) {
	t, err := r.token()
	if err != nil {
		return nil, err
	}
	d, ok := t.(json.Delim)
	if !ok {
		return t, nil
	}
	if depth == maxDepth {
		return nil, &SyntaxError{fmt.Sprintf("nested deeper than %d at byte %d", maxDepth, r.InputOffset())}
	}
	if d == '[' {
		return r.array(depth)
	}
	return r.object(depth)
}

func (r treeReader) array(depth int) (any, error) {
	out := []any{}
	for r.More() {
		v, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	_, err := r.token()
	return out, err
}

func (r treeReader) object(depth int) (any, error) {
	o := &object{values: make(map[string]any)}
	for r.More() {
		t, err := r.token()
		if err != nil {
			return nil, err
		}
		key, ok := t.(string)
		if !ok {
			return nil, &SyntaxError{fmt.Sprintf("expected a key at byte %d", r.InputOffset())}
		}
		if _, twice := o.values[key]; twice {
			return nil, &SyntaxError{fmt.Sprintf("key %q is given twice, at byte %d", key, r.InputOffset())}
		}
		v, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		o.keys = append(o.keys, key)
		o.values[key] = v
	}
	_, err := r.token()
	return o, err
}

// form collects everything that is wrong with a document, so that one answer
// names it all.
type form struct {
	broken []dcos.FieldError // against the schema
	wrong  []dcos.FieldError // against a rule of meaning
}

// maxFaults bounds an answer; a hostile document may hold very many faults.
const (
	maxFaults    = 50
	maxFaultText = 1500
)

func (f *form) schema(path, code string) {
	if len(f.broken) < maxFaults {
		f.broken = append(f.broken, dcos.FieldError{Path: short(path), Rule: short(code)})
	}
}

func (f *form) rule(path, format string, args ...any) {
	if len(f.wrong) < maxFaults {
		f.wrong = append(f.wrong, dcos.FieldError{Path: short(path), Rule: short(fmt.Sprintf(format, args...))})
	}
}

// short keeps names and values of any length out of an answer.
func short(s string) string {
	if len(s) <= maxFaultText {
		return s
	}
	return strings.ToValidUTF8(s[:maxFaultText], "") + "..."
}

func (f *form) unsupported(path, hint string) {
	if hint != "" {
		hint = ": " + hint
	}
	f.rule(path, "is not supported yet%s", hint)
}

// err is the schema's faults, or else the rules', or nil.
func (f *form) err() error {
	if len(f.broken) > 0 {
		return &dcos.InvalidFields{Parse: true, Fields: f.broken}
	}
	if len(f.wrong) > 0 {
		return &dcos.InvalidFields{Fields: f.wrong}
	}
	return nil
}

func (f *form) text(path string, v any) (string, bool) {
	s, ok := v.(string)
	if !ok {
		f.schema(path, "error.expected.jsstring")
	}
	return s, ok
}

func (f *form) flag(path string, v any) bool {
	b, ok := v.(bool)
	if !ok {
		f.schema(path, "error.expected.jsboolean")
	}
	return b
}

func (f *form) list(path string, v any) []any {
	l, ok := v.([]any)
	if !ok {
		f.schema(path, "error.expected.jsarray")
	}
	return l
}

func (f *form) object(path string, v any) (*object, bool) {
	o, ok := v.(*object)
	if !ok {
		f.schema(path, "error.expected.jsobject")
	}
	return o, ok
}

// number reads a finite number between least and most.
func (f *form) number(path string, v any, least, most float64) (float64, bool) {
	n, ok := v.(json.Number)
	if !ok {
		f.schema(path, "error.expected.jsnumber")
		return 0, false
	}
	x, err := n.Float64()
	switch {
	case err != nil && !math.IsInf(x, 0):
		f.schema(path, "error.expected.jsnumber")
	case x < least:
		f.schema(path, "error.min")
		f.schema(path, fmt.Sprintf("got %s, expected %v or more", cut(n), least))
	case x > most:
		f.schema(path, "error.max")
		f.schema(path, fmt.Sprintf("got %s, expected %v or less", cut(n), most))
	default:
		return x, true
	}
	return 0, false
}

// cut keeps a number of many digits out of a message.
func cut(n json.Number) string {
	if len(n) > 30 {
		return string(n[:30]) + "..."
	}
	return string(n)
}

// whole reads an integer between 0 and most.
func (f *form) whole(path string, v any, most int64) (int64, bool) {
	x, ok := f.number(path, v, 0, float64(most))
	if ok && x != math.Trunc(x) {
		f.schema(path, "error.expected.int")
		return 0, false
	}
	return int64(x), ok
}

// texts reads a map of strings; empty is nil.
func (f *form) texts(path string, v any) map[string]string {
	o, ok := f.object(path, v)
	if !ok || len(o.keys) == 0 {
		return nil
	}
	out := make(map[string]string, len(o.keys))
	for _, k := range o.keys {
		if s, ok := f.text(path+"/"+k, o.values[k]); ok {
			out[k] = s
		}
	}
	return out
}
