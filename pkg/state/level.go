package state

import (
	"fmt"
	"reflect"

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
