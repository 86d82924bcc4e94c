package api

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

func TestMomentsAreReadAsTimesOrAsHowLongAgo(t *testing.T) {
	t.Parallel()
	now := dcos.Time(1767225600000) // 2026-01-01
	for text, want := range map[string]string{
		"2025-12-31T23:00:00Z":         "2025-12-31T23:00:00.000Z",
		"2026-01-01T01:00:00.5+02:00":  "2025-12-31T23:00:00.500Z",
		"2026-01-01T01:00:00.5 02:00":  "2025-12-31T23:00:00.500Z", // + as a query has it
		"-10m":                         "2025-12-31T23:50:00.000Z",
		"-7d":                          "2025-12-25T00:00:00.000Z",
		"-1h30m":                       "2025-12-31T22:30:00.000Z",
		"":                             "",
		"10m":                          "",
		"--10m":                        "",
		"-10":                          "",
		"-9999999999h":                 "",
		"-99999999999999999999999999d": "",
		"yesterday":                    "",
		"2026-01-01":                   "",
		"2026-13-01T00:00:00Z":         "",
	} {
		got, err := ParseMoment(text, now)
		if want == "" {
			if !errors.Is(err, dcos.ErrInvalid) {
				t.Errorf("%q: %s, %v, want ErrInvalid", text, got, err)
			}
		} else if err != nil || got.String() != want {
			t.Errorf("%q: %s, %v, want %s", text, got, err, want)
		}
	}
}

func TestReadsOfThePastAreMarkedAndWritesRefused(t *testing.T) {
	t.Parallel()
	var asked dcos.Time
	st := State{Past: func(_ context.Context, at dcos.Time) (state.View, error) {
		asked = at
		return state.New().View(), nil
	}}
	r := httptest.NewRequest(http.MethodGet, "/x?t=2026-01-01T00:00:00Z", nil)
	w := httptest.NewRecorder()
	if _, err := st.View(w, r); err != nil || asked != 1767225600000 {
		t.Errorf("asked for %s, %v", asked, err)
	}
	if w.Header().Get("X-Dcos-Index") != "0" || len(w.Header()["X-Dcos-Time"]) != 1 {
		t.Errorf("headers %v", w.Header())
	}
	if _, err := st.Propose(r); !errors.Is(err, dcos.ErrInvalid) {
		t.Errorf("a write: %v, want ErrInvalid", err)
	}
	if _, err := (State{}).View(w, r); !errors.Is(err, dcos.ErrNotFound) {
		t.Errorf("without a history: %v, want ErrNotFound", err)
	}
}
