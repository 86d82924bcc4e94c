package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// DecodeJSON decodes one document strictly into a shape of ours. Errors are
// dcos.ErrInvalid in the user's terms: the field, what was found, what was
// expected.
func DecodeJSON(doc []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(doc))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("%w: %s", dcos.ErrInvalid, jsonFault(err))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: data after the end of the JSON document", dcos.ErrInvalid)
	}
	return nil
}

func jsonFault(err error) string {
	var typ *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &typ):
		field := typ.Field
		if field == "" {
			field = "the document"
		}
		return fmt.Sprintf("%s: got %s, expected %s", field, typ.Value, typ.Type)
	case errors.As(err, &syntax):
		return fmt.Sprintf("not JSON at byte %d: %s", syntax.Offset, syntax.Error())
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "not JSON: the document ends too early"
	}
	return strings.TrimPrefix(err.Error(), "json: ")
}
