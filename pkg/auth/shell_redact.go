package auth

import (
	"encoding/json"
	"log/slog"
)

// LogValue is String: no key reaches a log.
func (ca *CA) LogValue() slog.Value { return slog.StringValue(ca.String()) }

// LogValue is String: no key reaches a log.
func (s *Secrets) LogValue() slog.Value { return slog.StringValue(s.String()) }

// LogValue is String: the secret does not reach a log.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }

// LogValue is String: the secret does not reach a log.
func (r JoinRequest) LogValue() slog.Value { return slog.StringValue(r.String()) }

// LogValue is String: no key reaches a log.
func (a JoinAnswer) LogValue() slog.Value { return slog.StringValue(a.String()) }

// String leaves the keys out.
func (j *Joined) String() string {
	if j == nil || j.Credentials == nil {
		return "not joined"
	}
	return "joined as " + j.Credentials.Self.String()
}

// GoString is String.
func (j *Joined) GoString() string { return j.String() }

// LogValue is String: no key reaches a log.
func (j *Joined) LogValue() slog.Value { return slog.StringValue(j.String()) }

// MarshalJSON is String: a value inside another one is printed as JSON by
// some log handlers and answers.
func (s *Secrets) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// MarshalJSON is String.
func (r JoinRequest) MarshalJSON() ([]byte, error) { return json.Marshal(r.String()) }

// MarshalJSON is String.
func (a JoinAnswer) MarshalJSON() ([]byte, error) { return json.Marshal(a.String()) }

// MarshalJSON is String.
func (j *Joined) MarshalJSON() ([]byte, error) { return json.Marshal(j.String()) }
