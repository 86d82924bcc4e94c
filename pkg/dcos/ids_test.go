package dcos

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParseAppIDNormalisesAndRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, want string }{
		{"/a", "/a"},
		{"a", "/a"},
		{"/prod/db", "/prod/db"},
		{"prod//db/", "/prod/db"},
		{"/prod/./db", "/prod/db"},
		{"/prod/../db", "/db"},
		{"/a.b-c.d9", "/a.b-c.d9"},
		{"/9", "/9"},
		{"/restart/x", "/restart/x"},
		{"/" + strings.Repeat("x", maxAppID-1), "/" + strings.Repeat("x", maxAppID-1)},
		{"", ""},
		{"/", ""},
		{"//", ""},
		{"..", ""},
		{"/a/../..", ""},
		{"/a/..", ""},
		{"/A", ""},
		{"/a b", ""},
		{"/a_b", ""},
		{"/-a", ""},
		{"/a-", ""},
		{"/.a", ""},
		{"/a.", ""},
		{"/a..b", ""},
		{"/a.-b", ""},
		{"/é", ""},
		{"/a\x00", ""},
		{"/x/restart", ""},
		{"/x/tasks", ""},
		{"/versions", ""},
		{strings.Repeat("x", maxAppID+1), ""},
	} {
		got, err := ParseAppID(tt.in)
		if string(got) != tt.want || (tt.want == "") != errors.Is(err, ErrInvalid) {
			t.Errorf("ParseAppID(%.40q) = %q, %v, want %q", tt.in, got, err, tt.want)
		}
	}
}

func TestParsedAppIDStaysAsItIs(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		id, err := ParseAppID(rapid.StringMatching(`[/a-c.0-]{0,12}`).Draw(t, "path"))
		if err != nil {
			return
		}
		if again, err := ParseAppID(string(id)); err != nil || again != id {
			t.Fatalf("%q becomes %q, %v", id, again, err)
		}
	})
}

func FuzzParseAppID(f *testing.F) {
	f.Add("/prod/db")
	f.Add("a/../b//c.")
	f.Fuzz(func(t *testing.T, path string) {
		id, err := ParseAppID(path)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("%q: %v is of no kind", path, err)
			}
			return
		}
		if !strings.HasPrefix(string(id), "/") || len(id) > maxAppID+1 {
			t.Errorf("%q gives %q", path, id)
		}
	})
}

var (
	taskIDForm       = regexp.MustCompile(`^prod_db\.instance-[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\._app\.3$`)
	deploymentIDForm = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
)

func TestIDsHaveMarathonsForm(t *testing.T) {
	t.Parallel()
	id := NewTaskID("/prod/db", 7, 2, 3)
	if !taskIDForm.MatchString(string(id)) {
		t.Errorf("task id %q", id)
	}
	if got, want := InstanceOf(id), InstanceID("/prod/db", 7, 2); got != want {
		t.Errorf("instance of %q is %q, want %q", id, got, want)
	}
	if got := InstanceOf("no instance"); got != "no instance" {
		t.Errorf("instance of a foreign id is %q", got)
	}
	if d := NewDeploymentID("/prod/db", 7, 1); !deploymentIDForm.MatchString(string(d)) {
		t.Errorf("deployment id %q", d)
	}
}

// Other ids would make the masters of one cluster disagree after an upgrade.
func TestIDsOfTodayAreThoseOfYesterday(t *testing.T) {
	t.Parallel()
	if got, want := NewTaskID("/prod/db", 7, 2, 3), TaskID("prod_db.instance-8dfc30b2-11af-8fbb-95b5-be2767642970._app.3"); got != want {
		t.Errorf("task id %q, was %q", got, want)
	}
	if got, want := NewDeploymentID("/prod/db", 7, 1), DeploymentID("880596b5-5289-8c5f-a41f-506dca7a2a0f"); got != want {
		t.Errorf("deployment id %q, was %q", got, want)
	}
}

func TestIDsDifferWheneverWhatTheyNameDiffers(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		type key struct {
			app              AppID
			at               Index
			ordinal, attempt uint32
		}
		draw := func(name string) key {
			return key{
				rapid.SampledFrom([]AppID{"/a", "/a/b", "/a-b", "/b"}).Draw(t, name+" app"), Index(rapid.Uint64Range(1, 3).Draw(t, name+" at")),
				rapid.Uint32Range(0, 3).Draw(t, name+" ordinal"), rapid.Uint32Range(1, 3).Draw(t, name+" attempt"),
			}
		}
		a, b := draw("first"), draw("second")
		x, y := NewTaskID(a.app, a.at, a.ordinal, a.attempt), NewTaskID(b.app, b.at, b.ordinal, b.attempt)
		if (x == y) != (a == b) {
			t.Fatalf("%+v is %s, %+v is %s", a, x, b, y)
		}
		a.attempt, b.attempt = 0, 0
		if (InstanceOf(x) == InstanceOf(y)) != (a == b) {
			t.Fatalf("%+v is of %s, %+v of %s", a, InstanceOf(x), b, InstanceOf(y))
		}
	})
}

func TestProposalIDPrints(t *testing.T) {
	t.Parallel()
	if id := (ProposalID{Proposer: 3, Seq: 9}); id.String() != "3.9" || id.IsZero() || !(ProposalID{}).IsZero() {
		t.Errorf("%s, zero: %v", id, id.IsZero())
	}
}

func TestTimesAreWrittenAsMarathonDoes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in, want string
	}{
		{"2026-01-31T12:00:00Z", "2026-01-31T12:00:00.000Z"},
		{"2026-01-31T12:00:00.1Z", "2026-01-31T12:00:00.100Z"},
		{"2026-01-31T12:00:00.1239Z", "2026-01-31T12:00:00.123Z"},
		{"2026-01-31T12:00:00.5+02:00", "2026-01-31T10:00:00.500Z"},
		{"1969-12-31T23:59:59.999Z", "1969-12-31T23:59:59.999Z"},
	} {
		got, err := ParseTime(tt.in)
		if err != nil || got.String() != tt.want {
			t.Errorf("ParseTime(%q) = %s, %v, want %s", tt.in, got, err, tt.want)
		}
	}
	for _, in := range []string{"", "now", "2026-01-31", "2026-01-31T12:00:00", "2026-13-31T12:00:00Z"} {
		if got, err := ParseTime(in); !errors.Is(err, ErrInvalid) {
			t.Errorf("ParseTime(%q) = %s, %v", in, got, err)
		}
	}
	if Time(0).String() != "" {
		t.Errorf("never is written %q", Time(0))
	}
}

func TestTimesAddAndReadBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		at := Time(rapid.Int64Range(1, 253402300799999).Draw(t, "at"))
		d := time.Duration(rapid.Int64Range(-1e9, 1e9).Draw(t, "millis")) * time.Millisecond
		if got := at.Add(d).Sub(at); got != d {
			t.Fatalf("%s plus %s is %s later", at, d, got)
		}
		if back, err := ParseTime(at.String()); err != nil || back != at {
			t.Fatalf("%d is written %s, read %d, %v", at, at, back, err)
		}
		if TimeOf(at.Std()) != at {
			t.Fatalf("%s is %s", at, at.Std())
		}
	})
}

func TestErrorsAreOfTheirKind(t *testing.T) {
	t.Parallel()
	fields := &InvalidFields{Fields: []FieldError{{"/cmd", "must be text"}, {"/cpus", "must be positive"}}}
	for _, tt := range []struct {
		err  error
		kind error
		text string
	}{
		{NotLeader{}, ErrUnavailable, "unavailable: no master leads at present, try again in a few seconds"},
		{NotLeader{Leader: 255}, ErrUnavailable, "unavailable: master ff leads, ask that one"},
		{fields, ErrInvalid, "invalid: /cmd: must be text; /cpus: must be positive"},
	} {
		if wrapped := fmt.Errorf("put app: %w", tt.err); !errors.Is(wrapped, tt.kind) || tt.err.Error() != tt.text {
			t.Errorf("%v, want %q", wrapped, tt.text)
		}
	}
}

func TestUserNeverPrintsItsPassword(t *testing.T) {
	t.Parallel()
	u := User{ID: "ann", PasswordHash: "argon2-secret"}
	for _, text := range []string{fmt.Sprint(u), fmt.Sprintf("%v %s %+v", u, u, u), fmt.Sprintf("%v", &u), fmt.Sprintf("%+v", []User{u})} {
		if strings.Contains(text, "secret") {
			t.Errorf("printed %q", text)
		}
	}
}
