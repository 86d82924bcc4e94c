// Package app makes apps of Marathon's JSON, and decides what must happen for
// an app to become what its definition says.
//
// It owns the meaning of every field of an app definition, and the reconciler:
// instances, scaling, rolling change, restart, loss, deletion. It promises
// that a field either has its effect or is refused with its name, and that
// Reconcile, applied again and again, reaches the goal, keeps within the
// upgrade strategy, and asks for nothing once the goal is reached. It must not
// pick nodes, keep anything between calls, or read a clock.
package app

import (
	"maps"
	"slices"
	"strings"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/placement"
	"github.com/dcos-go/dcos/pkg/resource"
)

// Parse decodes a complete app definition in Marathon's JSON, sets the
// defaults and checks it. Its error is a *SyntaxError when the document is not
// JSON, else a *dcos.InvalidFields that names every field at fault.
func Parse(doc []byte) (dcos.App, error) { return parse("", doc) }

// ParseAs is Parse for a definition that is put under an id: the document's
// own id, if any, gives way.
func ParseAs(id dcos.AppID, doc []byte) (dcos.App, error) { return parse(id, doc) }

func parse(id dcos.AppID, doc []byte) (dcos.App, error) {
	o, err := readObject(doc)
	if err != nil {
		return dcos.App{}, err
	}
	d := &draft{app: defaults()}
	d.read(o)
	if id == "" {
		id = d.id(o.values["id"])
	}
	d.app.ID = id
	return d.finish()
}

// Merge applies a partial update: each top-level field that the document gives
// replaces the stored one, and the result is checked like a complete
// definition. The id stays as it is stored. Errors as for Parse.
func Merge(stored dcos.App, patch []byte) (dcos.App, error) {
	o, err := readObject(patch)
	if err != nil {
		return dcos.App{}, err
	}
	d := &draft{app: clone(stored)}
	d.read(o)
	return d.finish()
}

// Restores says whether an update asks for the definition of an earlier
// version: it holds a version and, at most, an id.
func Restores(patch []byte) (dcos.Version, bool, error) {
	o, err := readObject(patch)
	if err != nil {
		return 0, false, err
	}
	v := o.values["version"]
	for _, k := range o.keys {
		if k != "version" && k != "id" && o.values[k] != nil {
			v = nil
		}
	}
	if v == nil {
		return 0, false, nil
	}
	var f form
	text, ok := f.text("/version", v)
	if !ok {
		return 0, false, f.err()
	}
	at, err := dcos.ParseTime(text)
	return at, err == nil, err
}

func defaults() dcos.App {
	return dcos.App{
		Instances: 1,
		Need:      resource.Set{CPUs: resource.Whole(1), Mem: resource.Whole(128)},
		Ports:     []dcos.PortDef{{Protocol: "tcp", Name: defaultPort}},
		Backoff:   dcos.Backoff{InitialMillis: 1000, FactorMilli: 1150, MaxMillis: 300_000},
		Upgrade:   dcos.Upgrade{MinHealth: 1, MaxOver: 1},
	}
}

// clone copies what a draft writes to in place.
func clone(a dcos.App) dcos.App {
	if a.Container != nil {
		c := *a.Container
		a.Container = &c
	}
	a.Labels, a.Env = maps.Clone(a.Labels), maps.Clone(a.Env)
	return a
}

func (d *draft) id(v any) dcos.AppID {
	if v == nil {
		d.schema("/id", "error.path.missing")
		return ""
	}
	s, ok := v.(string)
	if !ok {
		return "" // read has said so
	}
	id, err := dcos.ParseAppID(s)
	if err != nil {
		d.rule("/id", "%s", strings.TrimPrefix(err.Error(), dcos.ErrInvalid.Error()+": "))
	}
	return id
}

// finish brings the draft into its one form and checks it as a whole.
func (d *draft) finish() (dcos.App, error) {
	if len(d.broken) > 0 {
		return dcos.App{}, d.err()
	}
	d.settlePorts()
	d.settleSingleInstance()
	if d.app.Fence != dcos.FenceNone && d.given["fence"] && !d.given["upgradeStrategy"] && d.app.Upgrade == defaults().Upgrade {
		// As Marathon's for apps with volumes: the old one ends first.
		d.app.Upgrade = dcos.Upgrade{MinHealth: 0.5}
	}
	d.check()
	if err := d.err(); err != nil {
		return dcos.App{}, err
	}
	a := d.app
	if len(a.Args) == 0 {
		a.Args = nil
	}
	if len(a.Ports) == 0 {
		a.Ports = nil
	}
	return a, nil
}

// settlePorts turns the deprecated ports into definitions.
func (d *draft) settlePorts() {
	if d.legacy == nil {
		return
	}
	if !d.given["portDefinitions"] {
		d.app.Ports = d.legacy
		return
	}
	same := slices.EqualFunc(d.legacy, d.app.Ports, func(a, b dcos.PortDef) bool { return a.Port == b.Port })
	if !same {
		d.rule("/ports", "must match portDefinitions when both are given")
	}
}

// labelSingle makes an app one that must never run twice.
const labelSingle = "MARATHON_SINGLE_INSTANCE_APP"

func (d *draft) settleSingleInstance() {
	if d.app.Labels[labelSingle] != "true" {
		return
	}
	if !d.given["upgradeStrategy"] {
		d.app.Upgrade = dcos.Upgrade{}
	}
	if d.app.Upgrade != (dcos.Upgrade{}) {
		d.rule("/upgradeStrategy", "both capacities must be 0 for an app labelled %s", labelSingle)
	}
	if d.app.Instances > 1 {
		d.rule("/instances", "got %d, expected 1 or less for an app labelled %s", d.app.Instances, labelSingle)
	}
}

// check holds the rules between fields and those of meaning.
func (d *draft) check() {
	a := &d.app
	image := a.Container != nil && a.Container.Image != ""
	switch {
	case a.Cmd != "" && len(a.Args) > 0:
		d.rule("/", "cmd and args must not both be given")
	case a.Cmd == "" && len(a.Args) == 0 && !image:
		d.rule("/", "must have cmd, args, or a container with an image")
	case len(a.Cmd) == 1:
		d.rule("/cmd", "must be longer than 1 character")
	case len(a.Args) > 0 && a.Args[0] == "" && !image:
		d.rule("/args(0)", "names the program and must not be empty")
	}
	d.noNUL("/cmd", a.Cmd)
	d.noNUL("/user", a.User)
	for _, s := range a.Args {
		d.noNUL("/args", s)
	}
	for _, k := range slices.Sorted(maps.Keys(a.Env)) {
		if k == "" || strings.Contains(k, "=") {
			d.rule("/env", "%q is not a name of a variable: it must not be empty or contain \"=\"", k)
		}
		d.noNUL("/env", k)
		d.noNUL("/env/"+k, a.Env[k])
	}
	d.checkPorts()
	d.checkConstraints()
	d.checkMigration()
}

func (d *draft) noNUL(path, s string) {
	if strings.ContainsRune(s, 0) {
		d.rule(path, "must not contain a zero byte")
	}
}

func (d *draft) checkPorts() {
	names, numbers := make(map[string]bool), make(map[uint16]bool)
	for _, p := range d.app.Ports {
		if p.Name != "" && names[p.Name] {
			d.rule("/portDefinitions", "port names must be unique, %q is not", p.Name)
		}
		if p.Port != 0 && numbers[p.Port] {
			d.rule("/portDefinitions", "ports must be unique, %d is not", p.Port)
		}
		names[p.Name], numbers[p.Port] = true, true
	}
}

func (d *draft) checkConstraints() {
	if _, err := placement.Compile(d.app.Constraints); err != nil {
		e := err.(*placement.RuleError) //nolint:errorlint,forcetypeassert // Compile's contract
		path := "/constraints"
		if e.Constraint >= 0 {
			path += "(" + itoa(e.Constraint) + ")"
		}
		d.rule(path, "%s", e.Rule)
	}
	seen := make(map[dcos.Constraint]bool)
	for i, c := range d.app.Constraints {
		if seen[c] {
			d.rule("/constraints("+itoa(i)+")", "constraints must be unique")
		}
		seen[c] = true
	}
}

// checkMigration holds the labels by which a framework moves its API.
func (d *draft) checkMigration() {
	v, has := d.app.Labels["DCOS_MIGRATION_API_VERSION"]
	if !has {
		return
	}
	if v != "v1" {
		d.rule("/labels/DCOS_MIGRATION_API_VERSION", "got %q, expected one of: [v1]", v)
	}
	for _, need := range []string{"DCOS_PACKAGE_FRAMEWORK_NAME", "DCOS_MIGRATION_API_PATH"} {
		if d.app.Labels[need] == "" {
			d.rule("/labels/"+need, "must not be empty when DCOS_MIGRATION_API_VERSION is given")
		}
	}
}
