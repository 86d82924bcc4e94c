package catalog

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cbroglie/mustache"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// SchemaMismatch says how options break a package's schema.
type SchemaMismatch struct {
	Violations []dcos.FieldError
}

// Error lists every violation.
func (e *SchemaMismatch) Error() string {
	parts := make([]string, len(e.Violations))
	for i, v := range e.Violations {
		parts[i] = v.Path + ": " + v.Rule
	}
	return "options do not match the package's schema: " + strings.Join(parts, "; ")
}

// Unwrap makes it a dcos.ErrInvalid.
func (e *SchemaMismatch) Unwrap() error { return dcos.ErrInvalid }

// ErrNoTemplate says that the package has nothing to run on the cluster.
var ErrNoTemplate = fmt.Errorf("%w: the package has no app template", dcos.ErrInvalid)

// Render makes the app definition (Marathon JSON) of a package with the user's
// options (a JSON object, or nothing). appID, when given, replaces the
// template's id. source is kept in a label.
func (p *Package) Render(source string, options []byte, appID string) ([]byte, error) {
	if p.Marathon == nil {
		return nil, ErrNoTemplate
	}
	merged, user, err := p.options(options)
	if err != nil {
		return nil, err
	}
	context := map[string]any{}
	for k, v := range merged {
		context[k] = templateValue(v, false)
	}
	if p.Resource != nil {
		var resource any
		if err := decodeNumbers(p.Resource, &resource); err != nil {
			return nil, fmt.Errorf("package %s: resource: %w", p.Name, err)
		}
		context["resource"] = templateValue(resource, false)
	}
	template, err := mustache.ParseStringRaw(string(p.Marathon.V2AppMustacheTemplate), true)
	if err != nil {
		return nil, fmt.Errorf("%w: package %s: template: %w", dcos.ErrInvalid, p.Name, err)
	}
	text, err := template.Render(context)
	if err != nil {
		return nil, fmt.Errorf("%w: package %s: render: %w", dcos.ErrInvalid, p.Name, err)
	}
	var app map[string]any
	if err := decodeNumbers([]byte(text), &app); err != nil || app == nil {
		return nil, fmt.Errorf("%w: package %s: the rendered template is no JSON object: %w", dcos.ErrInvalid, p.Name, err)
	}
	if appID != "" {
		app["id"] = appID
	}
	labels, _ := app["labels"].(map[string]any)
	if labels == nil {
		labels = map[string]any{}
	}
	maps.Copy(labels, p.labels(source, user))
	app["labels"] = labels
	return json.Marshal(app)
}

// options are the defaults with the user's on top, checked against the schema;
// user is the user's document as it is kept.
func (p *Package) options(options []byte) (merged map[string]any, user []byte, err error) {
	user = []byte("{}")
	given := map[string]any{}
	if len(bytes.TrimSpace(options)) > 0 {
		if len(options) > maxDocument {
			return nil, nil, fmt.Errorf("%w: options of %d bytes, expected at most %d", dcos.ErrInvalid, len(options), maxDocument)
		}
		if err := decodeNumbers(options, &given); err != nil || given == nil {
			return nil, nil, fmt.Errorf("%w: options must be a JSON object: %w", dcos.ErrInvalid, err)
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, options); err != nil {
			return nil, nil, fmt.Errorf("%w: options: %w", dcos.ErrInvalid, err)
		}
		user = compact.Bytes()
	}
	if p.Config == nil {
		if len(given) > 0 {
			return nil, nil, fmt.Errorf("%w: package %s takes no options", dcos.ErrInvalid, p.Name)
		}
		return given, user, nil
	}
	var schema map[string]any
	if err := decodeNumbers(p.Config, &schema); err != nil {
		return nil, nil, fmt.Errorf("%w: package %s: config: %w", dcos.ErrInvalid, p.Name, err)
	}
	merged = mergeOptions(defaults(schema), given)
	return merged, user, p.validate(merged)
}

// defaults walks config.properties: a property's default, or its own
// properties' defaults.
func defaults(schema map[string]any) map[string]any {
	out := map[string]any{}
	properties, _ := schema["properties"].(map[string]any)
	for name, raw := range properties {
		property, ok := raw.(map[string]any)
		if !ok {
			continue
		}
		if d, ok := property["default"]; ok {
			out[name] = d
		} else if nested := defaults(property); len(nested) > 0 {
			out[name] = nested
		}
	}
	return out
}

// mergeOptions lays over on base: objects merge, everything else replaces.
func mergeOptions(base, over map[string]any) map[string]any {
	out := maps.Clone(base)
	if out == nil {
		out = map[string]any{}
	}
	for k, v := range over {
		a, ok1 := out[k].(map[string]any)
		b, ok2 := v.(map[string]any)
		if ok1 && ok2 {
			v = mergeOptions(a, b)
		}
		out[k] = v
	}
	return out
}

// noLoader keeps schemas from naming files or addresses.
type noLoader struct{}

// Load refuses.
func (noLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("a schema may not refer to %s", url)
}

func (p *Package) schema() (*jsonschema.Schema, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(p.Config))
	if err != nil {
		return nil, fmt.Errorf("%w: package %s: config: %w", dcos.ErrInvalid, p.Name, err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft4)
	c.UseLoader(noLoader{})
	if err := c.AddResource("config.json", doc); err != nil {
		return nil, fmt.Errorf("%w: package %s: config: %w", dcos.ErrInvalid, p.Name, err)
	}
	s, err := c.Compile("config.json")
	if err != nil {
		return nil, fmt.Errorf("%w: package %s: config is no JSON schema: %w", dcos.ErrInvalid, p.Name, err)
	}
	return s, nil
}

func (p *Package) validate(options map[string]any) error {
	s, err := p.schema()
	if err != nil {
		return err
	}
	err = s.Validate(options)
	if err == nil {
		return nil
	}
	var bad *jsonschema.ValidationError
	if !errors.As(err, &bad) {
		return fmt.Errorf("%w: options: %w", dcos.ErrInvalid, err)
	}
	e := &SchemaMismatch{}
	collect(bad, e, message.NewPrinter(language.English))
	return e
}

func collect(v *jsonschema.ValidationError, into *SchemaMismatch, words *message.Printer) {
	if len(v.Causes) == 0 {
		into.Violations = append(into.Violations, dcos.FieldError{
			Path: "/" + strings.Join(v.InstanceLocation, "/"), Rule: v.ErrorKind.LocalizedString(words),
		})
	}
	for _, c := range v.Causes {
		collect(c, into, words)
	}
	slices.SortStableFunc(into.Violations, func(a, b dcos.FieldError) int { return strings.Compare(a.Path, b.Path) })
}

// list prints as JSON when a template names it, and is walked by sections.
type list []any

// String is the list as a JSON array.
func (l list) String() string {
	parts := make([]string, len(l))
	for i, v := range l {
		parts[i] = fmt.Sprint(v)
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// templateValue turns a JSON value into what the mustache.java dialect of
// Universe's templates prints: strings escaped for JSON without their quotes,
// but with them as elements of a list; numbers as they were written.
func templateValue(v any, inList bool) any {
	switch v := v.(type) {
	case string:
		quoted, err := jsonText(v)
		if err != nil || inList {
			return quoted
		}
		return quoted[1 : len(quoted)-1]
	case []any:
		out := make(list, len(v))
		for i, e := range v {
			out[i] = templateValue(e, true)
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			out[k] = templateValue(e, false)
		}
		return out
	}
	return v
}

func jsonText(s string) (string, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return "", err
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

// decodeNumbers decodes one document and keeps numbers as they are written.
func decodeNumbers(doc []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		return err
	}
	if d.More() {
		return errors.New("data after the end of the document")
	}
	return nil
}

// labels are the five that Cosmos puts on every app (dcos-api section 3.4).
func (p *Package) labels(source string, options []byte) map[string]any {
	return map[string]any{
		"DCOS_PACKAGE_NAME":       p.Name,
		"DCOS_PACKAGE_VERSION":    p.Version,
		"DCOS_PACKAGE_SOURCE":     source,
		"DCOS_PACKAGE_OPTIONS":    base64.StdEncoding.EncodeToString(options),
		"DCOS_PACKAGE_DEFINITION": p.definitionLabel(),
	}
}

func (p *Package) definitionLabel() string {
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	if _, err := w.Write(p.Definition()); err != nil {
		panic("catalog: gzip into memory: " + err.Error())
	}
	if err := w.Close(); err != nil {
		panic("catalog: gzip into memory: " + err.Error())
	}
	major, _, _ := strings.Cut(p.PackagingVersion, ".")
	doc, err := json.Marshal(map[string]any{
		"metadata": map[string]string{
			"Content-Type":     "application/vnd.dcos.universe.package+json;charset=utf-8;version=v" + major,
			"Content-Encoding": "gzip",
		},
		"data": zipped.Bytes(),
	})
	if err != nil {
		panic("catalog: encode definition: " + err.Error())
	}
	return base64.StdEncoding.EncodeToString(doc)
}
