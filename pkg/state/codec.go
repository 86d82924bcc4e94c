package state

import (
	"fmt"
	"reflect"

	"github.com/fxamacker/cbor/v2"

	"github.com/dcos-go/dcos/pkg/config"
	"github.com/dcos-go/dcos/pkg/dcos"
)

// commandSpec is what the log knows of one kind of command.
type commandSpec struct {
	number uint64 // on disk
	name   string // in the audit
	level  uint64 // feature level since which it may be proposed
	kind   reflect.Type
	fields config.LevelOf // finds fields that came later; nil when there are none
	decode func([]byte) (Command, error)
}

// registry gives commands their numbers. A number is never used again for
// anything else, not even after its command is gone: old logs hold it. What
// came after the first release says since which feature level. Level 2: 28 to
// 39 are of roles, quotas, reservations and volumes.
var registry = []commandSpec{
	specOf[InitCluster](1, "init-cluster"),
	specOf[RaiseLevel](2, "raise-level"),
	specOf[PutMaster](3, "put-master"),
	specOf[RemoveMaster](4, "remove-master"),
	specOf[PutNode](5, "put-node"),
	specOf[SetNodeState](6, "set-node-state"),
	specOf[RemoveNode](7, "remove-node"),
	specOf[PutApp](8, "put-app"),
	specOf[RestartApp](9, "restart-app"),
	specOf[DeleteApp](10, "delete-app"),
	specOf[RemoveApp](11, "remove-app"),
	specOf[AdvanceDeployment](12, "advance-deployment"),
	specOf[CancelDeployment](13, "cancel-deployment"),
	specOf[ResetBackoff](14, "reset-backoff"),
	specOf[AddTasks](15, "add-tasks"),
	specOf[RetryTasks](16, "retry-tasks"),
	specOf[Place](17, "place"),
	specOf[StopTasks](18, "stop-tasks"),
	specOf[TaskStatuses](19, "task-statuses"),
	specOf[LoseTasks](20, "lose-tasks"),
	specOf[PutPackage](21, "put-package"),
	specOf[RemovePackage](22, "remove-package"),
	specOf[PutUser](23, "put-user"),
	specOf[RemoveUser](24, "remove-user"),
	specOf[PutToken](25, "put-token"),
	specOf[RemoveToken](26, "remove-token"),
	specOf[PutRole](28, "put-role").since(2),
	specOf[RemoveRole](29, "remove-role").since(2),
	specOf[PutQuota](30, "put-quota").since(2),
	specOf[Reserve](31, "reserve").since(2),
	specOf[Unreserve](32, "unreserve").since(2),
	specOf[CreateVolume](33, "create-volume").since(2),
	specOf[ResizeVolume](34, "resize-volume").since(2),
	specOf[DestroyVolume](35, "destroy-volume").since(2),
	specOf[StartMaster](50, "start-master").since(2),
	specOf[HoldMaster](51, "hold-master").since(2),
	{number: allNumber, name: "all", level: 1, kind: reflect.TypeFor[All]()},
	specOf[PutGossip](40, "put-gossip").since(2),
	specOf[DrainNode](41, "drain-node").since(2),
	specOf[ActivateNode](42, "activate-node").since(2),
	specOf[RetireNode](43, "retire-node").since(2),
	specOf[ReadmitNode](44, "readmit-node").since(2),
}

const allNumber = 27

var (
	byNumber = indexRegistry(func(s commandSpec) uint64 { return s.number })
	byKind   = indexRegistry(func(s commandSpec) reflect.Type { return s.kind })
)

func indexRegistry[K comparable](key func(commandSpec) K) map[K]commandSpec {
	m := make(map[K]commandSpec, len(registry))
	for _, s := range registry {
		if twin, ok := m[key(s)]; ok {
			panic("state: commands " + twin.name + " and " + s.name + " share a number or a type")
		}
		m[key(s)] = s
	}
	return m
}

func specOf[C Command](number uint64, name string) commandSpec {
	return commandSpec{
		number: number, name: name, level: 1, kind: reflect.TypeFor[C](), fields: config.Since(reflect.TypeFor[C]()),
		decode: func(body []byte) (Command, error) {
			var c C
			err := decMode.Unmarshal(body, &c)
			return c, err
		},
	}
}

// since says at which feature level a command came.
func (s commandSpec) since(level uint64) commandSpec { //nolint:unparam // there will be a third level
	s.level = level
	return s
}

func nameOf(c Command) string { return byKind[reflect.TypeOf(c)].name }

// The limits of decoding. EncodeProposal refuses what would not pass them, so
// that no leader can commit what stops its followers.
const (
	maxNesting  = 16
	maxElements = 1 << 17
	maxPairs    = 1 << 16
)

var (
	encMode = must(cbor.CoreDetEncOptions().EncMode())
	decMode = must(cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		// Texts come from programs, which write what they like.
		UTF8:             cbor.UTF8DecodeInvalid,
		MaxNestedLevels:  maxNesting,
		MaxArrayElements: maxElements,
		MaxMapPairs:      maxPairs,
	}.DecMode())
)

// must is for options fixed at compile time.
func must[T any](v T, err error) T {
	if err != nil {
		panic("state: codec options: " + err.Error())
	}
	return v
}

// commandWire is a command in the log.
type commandWire struct {
	_      struct{} `cbor:",toarray"`
	Number uint64
	Body   cbor.RawMessage
}

func encodeCommands(cmds []Command, nested bool) (out []commandWire, level uint64, err error) {
	level = 1
	for _, c := range cmds {
		spec, ok := byKind[reflect.TypeOf(c)]
		if !ok {
			return nil, 0, fmt.Errorf("%w: %T is no command", dcos.ErrInvalid, c)
		}
		var body any = c
		if all, ok := c.(All); ok {
			if nested {
				return nil, 0, fmt.Errorf("%w: all within all", dcos.ErrInvalid)
			}
			inner, l, err := encodeCommands(all.Commands, true)
			if err != nil {
				return nil, 0, err
			}
			body, level = inner, max(level, l)
		}
		b, err := encMode.Marshal(body)
		if err != nil {
			return nil, 0, fmt.Errorf("%w: encode %s: %w", dcos.ErrInvalid, spec.name, err)
		}
		needs, _ := neededBy(c)
		out, level = append(out, commandWire{Number: spec.number, Body: b}), max(level, needs)
	}
	return out, level, nil
}

// decodeCommands fails on what this build does not know; the caller stops.
func decodeCommands(in []commandWire, nested bool) ([]Command, error) {
	out := make([]Command, 0, len(in))
	for i, w := range in {
		c, err := decodeCommand(w, nested)
		if err != nil {
			return nil, fmt.Errorf("command %d: %w", i, err)
		}
		out = append(out, c)
	}
	return out, nil
}

func decodeCommand(w commandWire, nested bool) (Command, error) {
	spec, ok := byNumber[w.Number]
	switch {
	case !ok:
		return nil, fmt.Errorf("%w: command number %d is not known to this build (%s): install the version that the other masters run",
			dcos.ErrInvalid, w.Number, config.Version)
	case w.Number != allNumber:
		c, err := spec.decode(w.Body)
		if err != nil {
			return nil, fmt.Errorf("%w: decode %s: %w", dcos.ErrInvalid, spec.name, err)
		}
		return c, nil
	case nested:
		return nil, fmt.Errorf("%w: all within all", dcos.ErrInvalid)
	}
	var inner []commandWire
	if err := decMode.Unmarshal(w.Body, &inner); err != nil {
		return nil, fmt.Errorf("%w: decode all: %w", dcos.ErrInvalid, err)
	}
	cmds, err := decodeCommands(inner, true)
	return All{Commands: cmds}, err
}
