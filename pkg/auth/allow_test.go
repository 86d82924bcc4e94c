package auth

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/dcos-go/dcos/pkg/dcos"
)

func grants(path string, actions ...string) []dcos.Grant {
	return []dcos.Grant{{Path: path, Actions: actions}}
}

func TestGrantsCoverTheirPathAndWhatIsBelow(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		grants []dcos.Grant
		need   Permission
		ok     bool
	}{
		{"nothing granted", nil, Permission{"/app", "read"}, false},
		{"the path itself", grants("/app/web", "read"), Permission{"/app/web", "read"}, true},
		{"below", grants("/app", "read"), Permission{"/app/web/x", "read"}, true},
		{"root is everything", grants("/", "full"), Permission{"/app/web", "write"}, true},
		{"root asked for", grants("/app", "full"), Permission{"/", "read"}, false},
		{"above", grants("/app/web", "full"), Permission{"/app", "read"}, false},
		{"a prefix of a name is not its path", grants("/app/web", "full"), Permission{"/app/website", "read"}, false},
		{"read is not write", grants("/", "read"), Permission{"/app", "write"}, false},
		{"write is not read", grants("/", "write"), Permission{"/app", "read"}, false},
		{"full is both", grants("/", "full"), Permission{"/app", "read"}, true},
		{"any of several grants", append(grants("/x", "read"), grants("/app", "write")...), Permission{"/app", "write"}, true},
		{"dots in the need", grants("/app/web", "full"), Permission{"/app/web/../db", "read"}, false},
		{"dots in the grant", grants("/app/..", "full"), Permission{"/x", "read"}, false},
		{"empty segment", grants("/app", "full"), Permission{"/app//web", "read"}, false},
		{"relative need", grants("/", "full"), Permission{"app", "read"}, false},
		{"empty need", grants("/", "full"), Permission{"", "read"}, false},
		{"empty grant", grants("", "full"), Permission{"/app", "read"}, false},
		{"NUL", grants("/", "full"), Permission{"/app\x00", "read"}, false},
		{"unknown action", grants("/", "full"), Permission{"/app", "admin"}, false},
		{"full is never needed", grants("/", "full"), Permission{"/app", "full"}, false},
		{"star is a name", grants("/*", "full"), Permission{"/app", "read"}, false},
		{"case counts", grants("/App", "full"), Permission{"/app", "read"}, false},
	} {
		err := Allow(Principal{ID: "u", Kind: KindUser, Grants: tt.grants}, tt.need)
		if (err == nil) != tt.ok || !tt.ok && !errors.Is(err, dcos.ErrDenied) {
			t.Errorf("%s: Allow(%v, %v) = %v, want allowed %v", tt.name, tt.grants, tt.need, err, tt.ok)
		}
	}
}

func TestNobodyIsAskedToLogIn(t *testing.T) {
	t.Parallel()
	err := Allow(Principal{Grants: grants("/", "full")}, Permission{"/app", "read"})
	if !errors.Is(err, dcos.ErrUnauthenticated) {
		t.Errorf("Allow of nobody = %v, want ErrUnauthenticated", err)
	}
}

func TestAgentsMayNothingAndMastersEverythingOnTheAPI(t *testing.T) {
	t.Parallel()
	need := Permission{"/app/web", "write"}
	if err := Allow(NodePrincipal(dcos.AgentIdentity("c1", "n1")), need); !errors.Is(err, dcos.ErrDenied) {
		t.Errorf("agent: %v, want ErrDenied", err)
	}
	if err := Allow(NodePrincipal(dcos.MasterIdentity("c1", 1)), need); err != nil {
		t.Errorf("master: %v", err)
	}
	if err := Allow(System(), need); err != nil {
		t.Errorf("system: %v", err)
	}
}

func TestAnAllowedNeedHasAGrantThatIsItsSegmentwisePrefix(t *testing.T) {
	t.Parallel()
	segment := rapid.SampledFrom([]string{"a", "b", "ab", "a.b", "..", "", "*"})
	path := rapid.Custom(func(t *rapid.T) string {
		return "/" + strings.Join(rapid.SliceOfN(segment, 0, 4).Draw(t, "segments"), "/")
	})
	action := rapid.SampledFrom([]string{"read", "write", "full", "other"})
	rapid.Check(t, func(t *rapid.T) {
		var gs []dcos.Grant
		for range rapid.IntRange(0, 4).Draw(t, "n") {
			gs = append(gs, dcos.Grant{Path: path.Draw(t, "grant"), Actions: []string{action.Draw(t, "action")}})
		}
		need := Permission{path.Draw(t, "need"), action.Draw(t, "needed")}
		allowed := Allow(Principal{ID: "u", Grants: gs}, need) == nil
		want := false
		for _, g := range gs {
			fits := g.Path == "/" || g.Path == need.Path || strings.HasPrefix(need.Path, g.Path+"/")
			plain := !strings.Contains(need.Path, "..") && !strings.Contains(need.Path, "//") && (need.Path == "/" || !strings.HasSuffix(need.Path, "/")) &&
				!strings.Contains(g.Path, "..") && !strings.Contains(g.Path, "//") && (g.Path == "/" || !strings.HasSuffix(g.Path, "/"))
			known := need.Action == "read" || need.Action == "write"
			want = want || fits && plain && known && (g.Actions[0] == need.Action || g.Actions[0] == "full")
		}
		if allowed != want {
			t.Fatalf("grants %v, need %v: allowed %v, want %v", gs, need, allowed, want)
		}
		// Taking a grant away never allows more.
		if len(gs) > 0 && !allowed && Allow(Principal{ID: "u", Grants: gs[1:]}, need) == nil {
			t.Fatalf("need %v is allowed with fewer grants", need)
		}
	})
}

func TestGrantsAreCheckedBeforeTheyAreStored(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		grants []dcos.Grant
		ok     bool
	}{
		{grants("/app/web", "read", "write"), true},
		{nil, true},
		{grants("app", "read"), false},
		{grants("/a/../b", "read"), false},
		{grants("/a", "delete"), false},
		{grants("/a"), false},
		{make([]dcos.Grant, maxGrants+1), false},
		{grants("/"+strings.Repeat("a", 600), "read"), false},
	} {
		if err := CheckGrants(tt.grants); (err == nil) != tt.ok || !tt.ok && !errors.Is(err, dcos.ErrInvalid) {
			t.Errorf("CheckGrants(%.80v) = %v, want ok %v", tt.grants, err, tt.ok)
		}
	}
}
