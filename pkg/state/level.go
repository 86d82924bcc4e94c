package state

import (
	"fmt"
	"reflect"
	"strconv"

	"github.com/dcos-go/dcos/pkg/config"
	"github.com/dcos-go/dcos/pkg/dcos"
)

// Level is the newest feature level that this build can apply.
//
// Masters of two builds share one log while they are upgraded. What an older
// build does not know must not get into it: a command carries the level since
// which it may be proposed (see registry), and so does a field that was added
// to a command later, or to a value within one, by its tag `since:"2"`. Neither
// is proposed, nor applied, before the state has that level; and where Apply
// does something else than an older build did for the same entry, it does so
// from that level on only (tables.level).
const Level uint64 = config.FeatureLevel

// Admits says why commands may not be proposed at the state's feature level,
// nil when they may.
func (v View) Admits(cmds ...Command) error {
	for _, c := range cmds {
		if all, ok := c.(All); ok {
			if err := v.Admits(all.Commands...); err != nil {
				return err
			}
		}
		if err := v.t.admits(c); err != nil {
			return err
		}
	}
	return nil
}

// level is the state's feature level; before there is a cluster it is the
// first one.
func (t *tables) level() uint64 { return max(t.cluster.Level, 1) }

func (t *tables) admits(c Command) error {
	if have := t.level(); have < Level {
		if need, what := neededBy(c); need > have {
			return fmt.Errorf("%w: %s needs feature level %d, the cluster is at %d: upgrade every master, then run `dcos upgrade finish`",
				dcos.ErrConflict, what, need, have)
		}
	}
	return nil
}

// neededBy is the feature level that a command needs, and the part of it that
// does. Commands within All are not looked at.
func neededBy(c Command) (level uint64, what string) {
	spec, ok := byKind[reflect.TypeOf(c)]
	if !ok {
		return 0, ""
	}
	if put, ok := c.(PutApp); ok && put.App.Unreachable != (dcos.Unreachable{}) {
		return 2, "an unreachableStrategy other than 0, 0" // older builds have the field and know no other value
	}
	if spec.fields != nil {
		if l, field := spec.fields(reflect.ValueOf(c)); l > spec.level {
			return l, "field " + field + " of " + spec.name
		}
	}
	return spec.level, spec.name
}

// fieldLevel looks through a value for fields that are set and carry a level:
// the highest, and its name.
type fieldLevel func(reflect.Value) (level uint64, field string)

// sinceOf makes the function for a type; nil when no field in it carries a
// level, as is so for most.
func sinceOf(t reflect.Type) fieldLevel { return since(t, map[reflect.Type]bool{}) }

func since(t reflect.Type, within map[reflect.Type]bool) fieldLevel {
	if within[t] {
		panic("state: " + t.String() + " holds itself: levels of its fields are not supported")
	}
	within[t] = true
	defer delete(within, t)
	switch t.Kind() {
	case reflect.Struct:
		return sinceStruct(t, within)
	case reflect.Pointer:
		elem := since(t.Elem(), within)
		if elem == nil {
			return nil
		}
		return func(v reflect.Value) (uint64, string) {
			if v.IsNil() {
				return 0, ""
			}
			return elem(v.Elem())
		}
	case reflect.Slice, reflect.Array:
		elem := since(t.Elem(), within)
		if elem == nil {
			return nil
		}
		return func(v reflect.Value) (level uint64, field string) {
			for i := range v.Len() {
				if l, f := elem(v.Index(i)); l > level {
					level, field = l, f
				}
			}
			return level, field
		}
	case reflect.Map:
		elem := since(t.Elem(), within)
		if elem == nil {
			return nil
		}
		return func(v reflect.Value) (level uint64, field string) {
			for it := v.MapRange(); it.Next(); {
				if l, f := elem(it.Value()); l > level || l == level && f < field {
					level, field = l, f
				}
			}
			return level, field
		}
	}
	return nil
}

func sinceStruct(t reflect.Type, within map[reflect.Type]bool) fieldLevel {
	type leveled struct {
		index int
		level uint64
		below fieldLevel
	}
	var all []leveled
	for i := range t.NumField() {
		f := t.Field(i)
		l := leveled{index: i, below: since(f.Type, within)}
		if tag, ok := f.Tag.Lookup("since"); ok {
			n, err := strconv.ParseUint(tag, 10, 8)
			if err != nil || n > Level {
				panic(fmt.Sprintf("state: field %s of %s: since %q is no feature level of this build", f.Name, t, tag))
			}
			l.level = n
		}
		if l.level > 0 || l.below != nil {
			all = append(all, l)
		}
	}
	if all == nil {
		return nil
	}
	return func(v reflect.Value) (level uint64, field string) {
		for _, l := range all {
			f := v.Field(l.index)
			if l.level > level && !f.IsZero() {
				level, field = l.level, t.Field(l.index).Name
			}
			if l.below != nil {
				if n, name := l.below(f); n > level {
					level, field = n, name
				}
			}
		}
		return level, field
	}
}
