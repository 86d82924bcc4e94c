package app

import (
	"fmt"
	"strings"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/resource"
)

// The limits of single values.
const (
	maxInstances   = 1_000_000
	maxPorts       = 1000
	maxSeconds     = 10 * 365 * 24 * 3600
	maxFactor      = 1000
	maxImage       = 1024
	leastCPUs      = 0.001
	maxResource    = float64(resource.MaxScalar) / 1000
	defaultPort    = "default" // name of the port that an app gets that names none
	executorInside = "//cmd"   // the only executor; "" stands for it
)

// draft is an app while its document is read.
type draft struct {
	form
	app   dcos.App
	given map[string]bool // top-level fields with a value
	// legacy are the ports of the deprecated field "ports".
	legacy []dcos.PortDef
}

// handler takes over one field's value, which is never null.
type handler func(d *draft, path string, v any)

// handlers are the fields of an app that have an effect here.
var handlers = map[string]handler{
	"id": func(d *draft, path string, v any) { d.text(path, v) }, // Parse and Merge look at it themselves
	"cmd": func(d *draft, path string, v any) {
		if s, ok := d.text(path, v); ok && s == "" {
			d.schema(path, "error.minLength")
		} else {
			d.app.Cmd = s
		}
	},
	"args":                       (*draft).args,
	"cpus":                       func(d *draft, path string, v any) { d.scalar(path, v, leastCPUs, &d.app.Need.CPUs) },
	"mem":                        func(d *draft, path string, v any) { d.scalar(path, v, 0, &d.app.Need.Mem) },
	"disk":                       func(d *draft, path string, v any) { d.scalar(path, v, 0, &d.app.Need.Disk) },
	"gpus":                       (*draft).gpus,
	"instances":                  (*draft).instances,
	"user":                       func(d *draft, path string, v any) { d.app.User, _ = d.text(path, v) },
	"env":                        (*draft).env,
	"labels":                     func(d *draft, path string, v any) { d.app.Labels = d.texts(path, v) },
	"executor":                   (*draft).executor,
	"constraints":                (*draft).constraints,
	"acceptedResourceRoles":      (*draft).roles,
	"role":                       (*draft).role,
	"ports":                      (*draft).legacyPorts,
	"portDefinitions":            (*draft).portDefinitions,
	"requirePorts":               func(d *draft, path string, v any) { d.app.RequirePorts = d.flag(path, v) },
	"networks":                   (*draft).networks,
	"container":                  (*draft).container,
	"backoffSeconds":             func(d *draft, path string, v any) { d.millis(path, v, &d.app.Backoff.InitialMillis) },
	"maxLaunchDelaySeconds":      func(d *draft, path string, v any) { d.millis(path, v, &d.app.Backoff.MaxMillis) },
	"backoffFactor":              (*draft).backoffFactor,
	"taskKillGracePeriodSeconds": (*draft).killGrace,
	"upgradeStrategy":            (*draft).upgrade,
	"unreachableStrategy":        (*draft).unreachable,
	"fence":                      (*draft).fence,
	"killSelection":              (*draft).killSelection,
	"fetch":                      (*draft).fetch,
	"uris":                       (*draft).uris,
}

// later are the known fields that have no effect yet; each may be given with
// the value that means nothing, since clients send back what they have read.
var later = map[string]func(v any) bool{
	"storeUrls": isEmpty, "secrets": isEmpty,
	"healthChecks": isEmpty, "readinessChecks": isEmpty, "dependencies": isEmpty,
	"check": never, "ipAddress": never, "residency": never, "executorResources": never,
	"resourceLimits": isEmpty, "tty": isFalse,
}

// answers are the fields that are only ever written by us.
var answers = map[string]bool{
	"version": true, "versionInfo": true, "tasksStaged": true, "tasksRunning": true, "tasksHealthy": true,
	"tasksUnhealthy": true, "deployments": true, "tasks": true, "lastTaskFailure": true,
	"readinessCheckResults": true, "tasksStats": true, "taskStats": true,
}

func never(any) bool     { return false }
func isFalse(v any) bool { return v == false }

func isEmpty(v any) bool {
	switch v := v.(type) {
	case []any:
		return len(v) == 0
	case *object:
		return len(v.keys) == 0
	}
	return false
}

// read takes over every field of the document.
func (d *draft) read(o *object) {
	d.given = make(map[string]bool, len(o.keys))
	for _, key := range o.keys {
		v, path := o.values[key], "/"+key
		handle, known := handlers[key]
		neutral, isLater := later[key]
		switch {
		case v == nil && (known || isLater):
		case known:
			d.given[key] = true
			handle(d, path, v)
		case isLater:
			if !neutral(v) {
				d.unsupported(path, "")
			}
		case !answers[key]:
			d.unknown(path, key, knownFields())
		}
	}
}

// unknown refuses a field that nobody knows, with the name that was probably
// meant.
func (d *draft) unknown(path, key string, known []string) {
	text := "unknown field"
	if near := nearest(key, known); near != "" {
		text += fmt.Sprintf(", did you mean %q?", near)
	}
	d.schema(path, text)
}

func (d *draft) scalar(path string, v any, least float64, to *resource.Scalar) {
	x, ok := d.number(path, v, least, maxResource)
	if !ok {
		return
	}
	s, err := resource.FromFloat(x)
	if err != nil {
		d.schema(path, err.Error())
		return
	}
	*to = s
}

func (d *draft) millis(path string, v any, to *int64) {
	if x, ok := d.number(path, v, 0, maxSeconds); ok {
		*to = int64(x*1000 + 0.5)
	}
}

func (d *draft) args(path string, v any) {
	d.app.Args = nil
	for i, e := range d.list(path, v) {
		s, _ := d.text(fmt.Sprintf("%s(%d)", path, i), e)
		d.app.Args = append(d.app.Args, s)
	}
}

func (d *draft) gpus(path string, v any) {
	if n, ok := d.whole(path, v, 1<<20); ok && n > 0 {
		d.unsupported(path, "only 0 is")
	}
}

func (d *draft) instances(path string, v any) {
	if n, ok := d.whole(path, v, maxInstances); ok {
		d.app.Instances = uint32(n)
	}
}

func (d *draft) env(path string, v any) {
	d.app.Env = nil
	o, ok := d.object(path, v)
	if !ok {
		return
	}
	for _, name := range o.keys {
		at := path + "/" + name
		switch v := o.values[name].(type) {
		case string:
			if d.app.Env == nil {
				d.app.Env = make(map[string]string, len(o.keys))
			}
			d.app.Env[name] = v
		case *object:
			d.unsupported(at, "values from secrets")
		default:
			d.schema(at, "error.expected.jsstring")
		}
	}
}

func (d *draft) executor(path string, v any) {
	if s, ok := d.text(path, v); ok && s != "" && s != executorInside {
		d.unsupported(path, `only "" and "//cmd" are`)
	}
}

func (d *draft) constraints(path string, v any) {
	d.app.Constraints = nil
	for i, e := range d.list(path, v) {
		at := fmt.Sprintf("%s(%d)", path, i)
		parts := d.list(at, e)
		if n := len(parts); e != nil && (n < 2 || n > 3) {
			d.rule(at, "got %d parts, expected [field, operator] or [field, operator, value]", n)
			continue
		}
		var words [3]string
		for j, p := range parts {
			words[j], _ = d.text(fmt.Sprintf("%s(%d)", at, j), p)
		}
		d.app.Constraints = append(d.app.Constraints,
			dcos.Constraint{Field: words[0], Operator: dcos.Operator(strings.ToUpper(words[1])), Value: words[2]})
	}
}

func (d *draft) roles(path string, v any) {
	d.app.Roles = nil
	list := d.list(path, v)
	if list != nil && len(list) == 0 {
		d.rule(path, "must not be empty")
	}
	for i, e := range list {
		at := fmt.Sprintf("%s(%d)", path, i)
		if s, ok := d.text(at, e); ok && s != "*" {
			d.unsupported(at, `only "*" is`)
		} else if i == 0 {
			d.app.Roles = []string{"*"}
		} else {
			d.rule(path, "the roles must be unique")
		}
	}
}

func (d *draft) role(path string, v any) {
	switch s, ok := d.text(path, v); {
	case !ok || s == "*":
	case s == "":
		d.schema(path, "error.minLength")
	default:
		d.unsupported(path, `only "*" is`)
	}
}

func (d *draft) backoffFactor(path string, v any) {
	if x, ok := d.number(path, v, 1, maxFactor); ok {
		d.app.Backoff.FactorMilli = uint32(x*1000 + 0.5)
	}
}

func (d *draft) killGrace(path string, v any) {
	var ms int64
	d.millis(path, v, &ms)
	d.app.KillGraceMillis = &ms
}

func (d *draft) upgrade(path string, v any) {
	o, ok := d.object(path, v)
	if !ok {
		return
	}
	share := func(name string, to *float64) {
		at := path + "/" + name
		v, has := o.values[name]
		if !has || v == nil {
			d.schema(at, "error.path.missing")
			return
		}
		if x, ok := d.number(at, v, 0, 1); ok {
			*to = x
		}
	}
	share("minimumHealthCapacity", &d.app.Upgrade.MinHealth)
	share("maximumOverCapacity", &d.app.Upgrade.MaxOver)
	d.onlyFields(path, o, "minimumHealthCapacity", "maximumOverCapacity")
}

func (d *draft) unreachable(path string, v any) {
	d.app.Unreachable = dcos.Unreachable{}
	if s, isText := v.(string); isText {
		if d.app.Unreachable.Disabled = s == "disabled"; s != "disabled" {
			d.schema(path, "error.unknown.enum.literal")
		}
		return
	}
	o, ok := d.object(path, v)
	if !ok {
		return
	}
	d.onlyFields(path, o, "inactiveAfterSeconds", "expungeAfterSeconds")
	var seconds [2]int64
	for i, name := range []string{"inactiveAfterSeconds", "expungeAfterSeconds"} {
		if v := o.values[name]; v != nil {
			seconds[i], _ = d.whole(path+"/"+name, v, maxSeconds)
		}
	}
	if seconds[0] > seconds[1] {
		d.rule(path, "inactiveAfterSeconds must not be more than expungeAfterSeconds")
	}
	d.app.Unreachable = dcos.Unreachable{InactiveSeconds: seconds[0], ExpungeSeconds: seconds[1]}
}

// fence is not Marathon's: it says what keeps an instance from running twice.
func (d *draft) fence(path string, v any) {
	s, ok := d.text(path, v)
	switch {
	case !ok:
	case s == "none":
		d.app.Fence = dcos.FenceNone
	case s == "lease":
		d.app.Fence = dcos.FenceLease
	default:
		d.schema(path, "error.unknown.enum.literal")
	}
}

func (d *draft) killSelection(path string, v any) {
	s, ok := d.text(path, v)
	switch {
	case !ok:
	case s == "YOUNGEST_FIRST":
		d.app.KillSelection = dcos.YoungestFirst
	case s == "OLDEST_FIRST":
		d.app.KillSelection = dcos.OldestFirst
	default:
		d.schema(path, "error.unknown.enum.literal")
	}
}

// onlyFields refuses every other field of a nested object.
func (d *draft) onlyFields(path string, o *object, known ...string) {
	for _, key := range o.keys {
		if !contains(known, key) {
			d.unknown(path+"/"+key, key, known)
		}
	}
}

func contains(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}
