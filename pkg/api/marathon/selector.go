package marathon

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// selector compiles a label selector (marathon-api section 5.1): comma is
// "and"; the terms are KEY, KEY==V, KEY!=V, KEY in (A,B), KEY notin (A,B).
// Every form needs the label to exist.
func selector(text string) (func(labels map[string]string) bool, error) {
	p := &selectorParser{rest: text}
	var terms []func(map[string]string) bool
	for p.space(); p.rest != "" || len(terms) > 0; {
		term, err := p.term()
		if err != nil {
			return nil, fmt.Errorf("%w: label selector %.80q: %w", dcos.ErrInvalid, text, err)
		}
		terms = append(terms, term)
		if p.space(); p.rest == "" {
			break
		}
		if !p.take(",") {
			return nil, fmt.Errorf("%w: label selector %.80q: expected a comma at %.20q", dcos.ErrInvalid, text, p.rest)
		}
	}
	return func(labels map[string]string) bool {
		for _, t := range terms {
			if !t(labels) {
				return false
			}
		}
		return true
	}, nil
}

type selectorParser struct{ rest string }

func (p *selectorParser) space() { p.rest = strings.TrimLeft(p.rest, " ") }

func (p *selectorParser) take(token string) bool {
	p.space()
	rest, ok := strings.CutPrefix(p.rest, token)
	if ok {
		p.rest = rest
	}
	return ok
}

// word is letters, digits and _.- ; anything else is escaped by a backslash.
func (p *selectorParser) word() (string, error) {
	p.space()
	var b strings.Builder
	i := 0
	for ; i < len(p.rest); i++ {
		c := p.rest[i]
		if c == '\\' && i+1 < len(p.rest) {
			i++
			b.WriteByte(p.rest[i])
			continue
		}
		plain := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '.' || c == '-'
		if !plain {
			break
		}
		b.WriteByte(c)
	}
	if b.Len() == 0 {
		return "", fmt.Errorf("expected a word at %.20q", p.rest)
	}
	p.rest = p.rest[i:]
	return b.String(), nil
}

func (p *selectorParser) term() (func(map[string]string) bool, error) {
	key, err := p.word()
	if err != nil {
		return nil, err
	}
	var values []string
	in := true
	switch {
	case p.take("=="), p.take("="):
		values, err = p.one()
	case p.take("!="):
		in = false
		values, err = p.one()
	case p.take("notin"):
		in = false
		values, err = p.list()
	case p.take("in"):
		values, err = p.list()
	default:
		return func(l map[string]string) bool { _, ok := l[key]; return ok }, nil
	}
	if err != nil {
		return nil, err
	}
	return func(l map[string]string) bool {
		v, ok := l[key]
		return ok && slices.Contains(values, v) == in
	}, nil
}

func (p *selectorParser) one() ([]string, error) {
	w, err := p.word()
	return []string{w}, err
}

func (p *selectorParser) list() ([]string, error) {
	if !p.take("(") {
		return nil, fmt.Errorf("expected ( at %.20q", p.rest)
	}
	var out []string
	for {
		w, err := p.word()
		if err != nil {
			return nil, err
		}
		out = append(out, w)
		if p.take(")") {
			return out, nil
		}
		if !p.take(",") {
			return nil, fmt.Errorf("expected , or ) at %.20q", p.rest)
		}
	}
}
