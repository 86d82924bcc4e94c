package config

import (
	"fmt"
	"reflect"
	"strconv"
)

// LevelOf looks through a value for fields that are set and carry a level:
// the highest, and its name.
type LevelOf func(reflect.Value) (level uint64, field string)

// Since makes the function for a type from the tags `since:"2"` of its fields,
// also deep inside; nil when no field carries one, as is so for most.
func Since(t reflect.Type) LevelOf { return since(t, map[reflect.Type]bool{}) }

func since(t reflect.Type, within map[reflect.Type]bool) LevelOf {
	if within[t] {
		panic("config: " + t.String() + " holds itself: levels of its fields are not supported")
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

func sinceStruct(t reflect.Type, within map[reflect.Type]bool) LevelOf {
	type leveled struct {
		index int
		level uint64
		below LevelOf
	}
	var all []leveled
	for i := range t.NumField() {
		f := t.Field(i)
		l := leveled{index: i, below: since(f.Type, within)}
		if tag, ok := f.Tag.Lookup("since"); ok {
			n, err := strconv.ParseUint(tag, 10, 8)
			if err != nil || n > FeatureLevel {
				panic(fmt.Sprintf("config: field %s of %s: since %q is no feature level of this build", f.Name, t, tag))
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
