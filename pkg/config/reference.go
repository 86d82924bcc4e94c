package config

import (
	"fmt"
	"strings"
)

// Reference documents every key as Markdown, from the tags of Config.
func Reference() string {
	var b strings.Builder
	b.WriteString("# Configuration keys\n\nA key is given as a flag, in the environment, or in the YAML file named by --config; " +
		"flags win over the environment, the environment over the file.\n")
	for _, k := range Keys() {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n", k.Name, k.Doc)
		def := "none"
		if k.Default != "" {
			def = "`" + k.Default + "`"
		}
		fmt.Fprintf(&b, "- type: %s\n- default: %s\n- flag: `--%s`\n- environment: `%s`\n- read by: %s\n",
			typeWord(k), def, k.Flag(), k.Env(), strings.Join(k.Roles, ", "))
	}
	return b.String()
}

func typeWord(k Key) string {
	switch k.Kind.String() {
	case "slice":
		return "list of text, separated by commas"
	case "map":
		return "name=value pairs, separated by commas"
	case "int", "int64":
		return "whole number"
	case "float64":
		return "number"
	case "bool":
		return "true or false"
	}
	return "text"
}

// Show lists the values in effect, secrets hidden.
func (c Config) Show() map[string]any {
	out := map[string]any{}
	v := valueOf(c)
	for _, k := range Keys() {
		value := v.Field(k.field).Interface()
		if k.Secret && fmt.Sprint(value) != "" {
			value = "…"
		}
		out[k.Name] = value
	}
	return out
}
