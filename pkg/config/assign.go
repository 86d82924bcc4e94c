package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// assignOne sets one field from what a source gave: a value of the field's own
// type, or its text.
func assignOne(f reflect.Value, from any) error {
	if from != nil && reflect.TypeOf(from) == f.Type() {
		f.Set(reflect.ValueOf(from))
		return nil
	}
	switch from := from.(type) {
	case nil:
		return nil
	case string:
		return assignText(f, strings.TrimSpace(from))
	case map[string]any: // viper's form of pairs
		pairs := make(map[string]string, len(from))
		for name, v := range from {
			pairs[name] = fmt.Sprint(v)
		}
		return assignOne(f, pairs)
	case []any: // viper's form of lists
		list := make([]string, len(from))
		for i, v := range from {
			list[i] = fmt.Sprint(v)
		}
		return assignOne(f, list)
	default:
		return fmt.Errorf("got %v (%T), expected %s", from, from, f.Type())
	}
}

func assignText(f reflect.Value, text string) error {
	if text == "" && f.Kind() != reflect.String {
		f.SetZero()
		return nil
	}
	switch f.Kind() {
	case reflect.String:
		f.SetString(text)
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("got %q, expected true or false", text)
		}
		f.SetBool(b)
	case reflect.Int, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || f.OverflowInt(n) {
			return fmt.Errorf("got %q, expected a whole number", text)
		}
		f.SetInt(n)
	case reflect.Float64:
		x, err := strconv.ParseFloat(text, 64)
		if err != nil || x != x || x > 1e12 {
			return fmt.Errorf("got %q, expected a number", text)
		}
		f.SetFloat(x)
	case reflect.Slice:
		var list []string
		for _, part := range strings.Split(strings.Trim(text, "[]"), ",") {
			if part = strings.TrimSpace(part); part != "" {
				list = append(list, part)
			}
		}
		f.Set(reflect.ValueOf(list))
	case reflect.Map:
		return assignPairs(f, text)
	default:
		return fmt.Errorf("a %s cannot be given as text", f.Type())
	}
	return nil
}

func assignPairs(f reflect.Value, text string) error {
	m := map[string]string{}
	for _, part := range strings.Split(strings.Trim(text, "[]"), ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		name, value, ok := strings.Cut(part, "=")
		if !ok || name == "" {
			return fmt.Errorf("got %q, expected name=value,name=value", part)
		}
		m[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
	f.Set(reflect.ValueOf(m))
	return nil
}

func valueOf(c Config) reflect.Value { return reflect.ValueOf(c) }
