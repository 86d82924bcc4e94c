// Package auth decides who somebody is and what they may do, for people,
// programs and machines.
//
// It owns the cluster's certificate authority, join tokens and the exchange
// that turns one into a certificate, passwords, bearer tokens, principals and
// the rule that allows or denies. It promises that nothing is allowed that no
// grant names, that secrets are compared in constant time and never printed,
// and that every decoder of a stranger's bytes has a limit. Its core is pure:
// time, randomness and the state come in as arguments; files, sockets and
// caches are in the files named shell. It must not know routes or requests of
// any API.
package auth

import (
	"fmt"
	"strings"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// Kind is the sort of a principal.
type Kind uint8

// The kinds of principal.
const (
	KindUser   Kind = iota + 1 // a person or program, by token
	KindNode                   // a machine of the cluster, by certificate
	KindSystem                 // this process itself
)

// Principal is somebody whose identity was proven.
type Principal struct {
	ID     string
	Kind   Kind
	Grants []dcos.Grant
}

// System is the process itself; it may do everything.
func System() Principal {
	return Principal{ID: "system", Kind: KindSystem, Grants: []dcos.Grant{{Path: "/", Actions: []string{ActionFull}}}}
}

// UserPrincipal is a user as the state has them now.
func UserPrincipal(u *dcos.User) Principal {
	return Principal{ID: u.ID, Kind: KindUser, Grants: u.Grants}
}

// NodePrincipal is a machine by the identity in its certificate. Masters carry
// out what any user asked of another master, so they may do everything; an
// agent may nothing on the API of masters: all it does goes over its session.
func NodePrincipal(id dcos.Identity) Principal {
	p := Principal{ID: string(id.Role) + ":" + id.ID, Kind: KindNode}
	if id.Role == dcos.RoleMaster {
		p.Grants = System().Grants
	}
	return p
}

// The actions of grants and permissions. Full is every action, and is never
// needed by itself.
const (
	ActionRead  = "read"
	ActionWrite = "write"
	ActionFull  = "full"
)

// Permission is what an act needs: an action on a path like "/service/web".
type Permission struct {
	Path   string
	Action string
}

// String is the form used in messages.
func (p Permission) String() string { return p.Action + " on " + p.Path }

// Allow says nil when one of the principal's grants covers the need: its path
// is the need's path or one above it, segment by segment, and it names the
// action or "full". Everything else is dcos.ErrDenied, also a need or a grant
// that is not well formed.
func Allow(p Principal, need Permission) error {
	if p.ID == "" {
		return fmt.Errorf("%w: %s needs a login: run `dcos auth login`", dcos.ErrUnauthenticated, need)
	}
	want, ok := segments(need.Path)
	if ok && (need.Action == ActionRead || need.Action == ActionWrite) {
		for _, g := range p.Grants {
			if covers(g, want, need.Action) {
				return nil
			}
		}
	}
	return fmt.Errorf("%w: %s has no grant for %s; an administrator can give one", dcos.ErrDenied, p.ID, need)
}

func covers(g dcos.Grant, want []string, action string) bool {
	have, ok := segments(g.Path)
	if !ok || len(have) > len(want) {
		return false
	}
	for i := range have {
		if have[i] != want[i] {
			return false
		}
	}
	for _, a := range g.Actions {
		if a == action || a == ActionFull {
			return true
		}
	}
	return false
}

// segments splits an absolute path. Paths that could be read in two ways
// (empty, "." and ".." segments, no leading slash) are not well formed.
func segments(path string) ([]string, bool) {
	rest, ok := strings.CutPrefix(path, "/")
	if !ok {
		return nil, false
	}
	if rest == "" {
		return nil, true
	}
	parts := strings.Split(rest, "/")
	for _, s := range parts {
		if s == "" || s == "." || s == ".." || strings.ContainsFunc(s, control) {
			return nil, false
		}
	}
	return parts, true
}

func control(r rune) bool { return r < ' ' || r == 0x7f }

// maxGrants bounds what one user holds.
const maxGrants = 256

// CheckGrants says what is wrong with grants before they are stored.
func CheckGrants(gs []dcos.Grant) error {
	if len(gs) > maxGrants {
		return fmt.Errorf("%w: %d grants, at most %d", dcos.ErrInvalid, len(gs), maxGrants)
	}
	for _, g := range gs {
		if _, ok := segments(g.Path); !ok || len(g.Path) > 512 {
			return fmt.Errorf("%w: grant on %.80q: expected an absolute path like /service/web without empty or dot segments", dcos.ErrInvalid, g.Path)
		}
		if len(g.Actions) == 0 {
			return fmt.Errorf("%w: grant on %s names no action: read, write or full", dcos.ErrInvalid, g.Path)
		}
		for _, a := range g.Actions {
			if a != ActionRead && a != ActionWrite && a != ActionFull {
				return fmt.Errorf("%w: grant on %s: action %.40q is not read, write or full", dcos.ErrInvalid, g.Path, a)
			}
		}
	}
	return nil
}
