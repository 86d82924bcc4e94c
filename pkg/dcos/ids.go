// Package dcos is the vocabulary of the system: ids, nodes, apps, tasks and
// their forward-only states, what a container launch and its exit are, and the
// kinds of error.
//
// It owns the meaning of these words and the rules that hold for one value
// alone (which task state may follow which, which id is well formed). It
// promises that every value here can be stored, compared and replayed: no
// clock, no randomness, no IO. It must not know how things are stored, decided
// or carried out.
package dcos

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Index is a position in the replicated log; it grows by one per entry.
type Index uint64

// Term is a raft term.
type Term uint64

// NodeID names an agent's machine for as long as its disk lives.
type NodeID string

// MasterID is a raft member's number; 0 is no member.
type MasterID uint64

// AppID is an app's absolute path: "/group/name".
type AppID string

// TaskID names one attempt at running one instance of an app. It is never
// used twice.
type TaskID string

// DeploymentID names one change of apps that is being carried out, as a UUID.
type DeploymentID string

// Epoch orders the owners of one instance: a task of a higher epoch replaces
// one of a lower. It is the log index at which the task was placed.
type Epoch uint64

// ProposalID makes a proposal recognisable when it is sent twice: state drops
// the second one. Proposer is given out by raft, Seq counts up within it.
type ProposalID struct {
	Proposer uint64 `cbor:"1,keyasint"`
	Seq      uint64 `cbor:"2,keyasint"`
}

// IsZero says that the proposal is not protected against being applied twice.
func (p ProposalID) IsZero() bool { return p == ProposalID{} }

// String prints the id as proposer.seq.
func (p ProposalID) String() string { return fmt.Sprintf("%d.%d", p.Proposer, p.Seq) }

// Time is a moment as milliseconds since 1970 in UTC, the resolution of
// Marathon's versions. The zero value means "never".
type Time int64

// TimeOf cuts t to milliseconds.
func TimeOf(t time.Time) Time { return Time(t.UnixMilli()) }

// Std is the moment as a time.Time in UTC.
func (t Time) Std() time.Time { return time.UnixMilli(int64(t)).UTC() }

// Add is the moment d later.
func (t Time) Add(d time.Duration) Time { return t + Time(d.Milliseconds()) }

// Sub is the time from o to t.
func (t Time) Sub(o Time) time.Duration { return time.Duration(t-o) * time.Millisecond }

// timeLayout is Marathon's: three decimals, literal Z (marathon-api section 0).
const timeLayout = "2006-01-02T15:04:05.000Z"

// String prints the moment as Marathon does, "" for never.
func (t Time) String() string {
	if t == 0 {
		return ""
	}
	return t.Std().Format(timeLayout)
}

// ParseTime reads any ISO 8601 moment with an offset.
func ParseTime(s string) (Time, error) {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return 0, fmt.Errorf("%w: %q is not a moment like 2026-01-31T12:00:00.000Z", ErrInvalid, s)
	}
	return TimeOf(t), nil
}

// Version identifies one definition of an app: the moment it was accepted,
// unique and growing per app.
type Version = Time

// maxAppID bounds an app id; Marathon's own limit is the size of a ZooKeeper
// node name.
const maxAppID = 512

// ParseAppID normalises a path (leading, trailing and double slashes) and
// checks it against Marathon's rules for ids (marathon-api section 1.2).
func ParseAppID(path string) (AppID, error) {
	if len(path) > maxAppID {
		return "", fmt.Errorf("%w: app id of %d bytes, expected at most %d", ErrInvalid, len(path), maxAppID)
	}
	var segments []string
	for _, s := range strings.Split(path, "/") {
		switch s {
		case "", ".":
			continue
		case "..":
			if len(segments) == 0 {
				return "", fmt.Errorf("%w: app id %q leaves the root", ErrInvalid, path)
			}
			segments = segments[:len(segments)-1]
			continue
		}
		if !validSegment(s) {
			return "", fmt.Errorf("%w: app id %q: segment %q must be lower-case letters, digits, dashes and dots, beginning and ending with a letter or digit", ErrInvalid, path, s)
		}
		segments = append(segments, s)
	}
	if len(segments) == 0 {
		return "", fmt.Errorf("%w: app id %q names the root, expected a path like /group/name", ErrInvalid, path)
	}
	switch last := segments[len(segments)-1]; last {
	case "restart", "tasks", "versions":
		return "", fmt.Errorf("%w: app id %q must not end in the reserved word %q", ErrInvalid, path, last)
	}
	return AppID("/" + strings.Join(segments, "/")), nil
}

func validSegment(s string) bool {
	for _, part := range strings.Split(s, ".") {
		if part == "" || part[0] == '-' || part[len(part)-1] == '-' {
			return false
		}
		for _, c := range []byte(part) {
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
				return false
			}
		}
	}
	return true
}

// InstanceID is the id that all attempts of one instance share, in Marathon's
// form: path with underscores, ".instance-", a UUID. It is a function of the
// app's incarnation and the instance's ordinal, so that a proposal repeated
// after a lost answer names the same instance.
func InstanceID(app AppID, incarnation Index, ordinal uint32) string {
	var buf [128]byte
	return string(appendInstanceID(buf[:0], app, incarnation, ordinal))
}

func appendInstanceID(to []byte, app AppID, incarnation Index, ordinal uint32) []byte {
	for i := range len(app) {
		switch c := app[i]; {
		case c != '/':
			to = append(to, c)
		case i > 0:
			to = append(to, '_')
		}
	}
	to = append(to, ".instance-"...)
	return appendUUID(to, "instance", string(app), uint64(incarnation), uint64(ordinal))
}

// NewTaskID is the id of one attempt at an instance: Marathon's
// "<instance>._app.<n>", n counting from 1.
func NewTaskID(app AppID, incarnation Index, ordinal, attempt uint32) TaskID {
	var buf [128]byte
	return TaskID(AppendTaskID(buf[:0], app, incarnation, ordinal, attempt))
}

// AppendTaskID is NewTaskID for callers that make many at once.
func AppendTaskID(to []byte, app AppID, incarnation Index, ordinal, attempt uint32) []byte {
	to = append(appendInstanceID(to, app, incarnation, ordinal), "._app."...)
	return strconv.AppendUint(to, uint64(attempt), 10)
}

// NewDeploymentID derives a deployment's id from the proposal that asks for it.
func NewDeploymentID(app AppID, at Index, n uint64) DeploymentID {
	return DeploymentID(uuidOf("deployment", string(app), uint64(at), n))
}

// InstanceOf cuts a task's id down to its instance's.
func InstanceOf(id TaskID) string {
	s := string(id)
	if i := strings.LastIndex(s, "._app."); i >= 0 {
		return s[:i]
	}
	return s
}

// uuidOf is a UUID of version 8 (RFC 9562: own meaning) from a hash.
func uuidOf(kind, name string, a, b uint64) string {
	var buf [128]byte
	return string(appendUUID(buf[:0], kind, name, a, b))
}

// appendUUID is uuidOf for callers that make many.
func appendUUID(to []byte, kind, name string, a, b uint64) []byte {
	var buf [256]byte
	in := append(append(append(append(buf[:0], kind...), 0), name...), 0)
	in = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(in, a), b)
	u := sha256.Sum256(in)
	u[6] = u[6]&0x0f | 0x80
	u[8] = u[8]&0x3f | 0x80
	to = append(hex.AppendEncode(to, u[0:4]), '-')
	to = append(hex.AppendEncode(to, u[4:6]), '-')
	to = append(hex.AppendEncode(to, u[6:8]), '-')
	to = append(hex.AppendEncode(to, u[8:10]), '-')
	return hex.AppendEncode(to, u[10:16])
}
