package dcos

import (
	"fmt"
	"net/http"

	"github.com/dcos-go/dcos/pkg/api"
	"github.com/dcos-go/dcos/pkg/auth"
	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

func userRow(u *dcos.User) client.User {
	return client.User{ID: u.ID, Grants: grantRows(u.Grants), CreatedAt: u.CreatedAt.String()}
}

func grantRows(gs []dcos.Grant) []client.Grant {
	out := []client.Grant{}
	for _, g := range gs {
		out = append(out, client.Grant(g))
	}
	return out
}

// me tells a client who it is and what it may do.
func (s *server) me(w http.ResponseWriter, r *http.Request) error {
	p := api.PrincipalOf(r.Context())
	api.WriteJSON(w, http.StatusOK, client.User{ID: p.ID, Grants: grantRows(p.Grants)})
	return nil
}

func (s *server) users(w http.ResponseWriter, r *http.Request) error {
	rows := func(v state.View) []client.User {
		var out []client.User
		for u := range v.Users() {
			out = append(out, userRow(u))
		}
		return out
	}
	id := func(u client.User) string { return u.ID }
	return page(s, w, r, rows, id, map[string]api.Column[client.User]{"id": text(id)})
}

func (s *server) createUser(w http.ResponseWriter, r *http.Request) error {
	var in client.User
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	var grants []dcos.Grant
	for _, g := range in.Grants {
		grants = append(grants, dcos.Grant(g))
	}
	if err := auth.CheckGrants(grants); err != nil {
		return err
	}
	if err := mayGrant(api.PrincipalOf(r.Context()), grants); err != nil {
		return err
	}
	u, err := auth.NewUser(in.ID, in.Password, grants, s.Random)
	if err != nil {
		return err
	}
	dry, err := api.DryRun(r)
	if err != nil {
		return err
	}
	if dry {
		if _, exists := s.State.Feed.View().User(in.ID); exists {
			return fmt.Errorf("user %s exists already: %w", in.ID, dcos.ErrConflict)
		}
		return dryRun(w, "create user "+u.ID)
	}
	if _, err := s.State.Propose(r, state.PutUser{User: u, Create: true}); err != nil {
		return err
	}
	api.WriteJSON(w, http.StatusCreated, s.shownUser(&u))
	return nil
}

// shownUser is the row as it is stored.
func (s *server) shownUser(u *dcos.User) client.User {
	if stored, ok := s.State.Feed.View().User(u.ID); ok {
		u = stored
	}
	return userRow(u)
}

// mayGrant keeps those who manage users from giving what they do not have.
func mayGrant(p auth.Principal, grants []dcos.Grant) error {
	for _, g := range grants {
		for _, action := range g.Actions {
			asked := []string{action}
			if action == auth.ActionFull {
				asked = []string{auth.ActionRead, auth.ActionWrite}
			}
			for _, a := range asked {
				if err := auth.Allow(p, auth.Permission{Path: g.Path, Action: a}); err != nil {
					return fmt.Errorf("nobody can give more than they have: %w", err)
				}
			}
		}
	}
	return nil
}

// managed is a user whom the caller may change: one who has no more rights.
func (s *server) managed(r *http.Request) (*dcos.User, error) {
	u, ok := s.State.Feed.View().User(r.PathValue("id"))
	if !ok {
		return nil, fmt.Errorf("user %.80q: %w", r.PathValue("id"), dcos.ErrNotFound)
	}
	return u, mayGrant(api.PrincipalOf(r.Context()), u.Grants)
}

func (s *server) removeUser(w http.ResponseWriter, r *http.Request) error {
	u, err := s.managed(r)
	if err != nil {
		return err
	}
	dry, err := api.DryRun(r)
	switch {
	case err != nil:
		return err
	case u.ID == api.PrincipalOf(r.Context()).ID:
		return fmt.Errorf("%w: you cannot delete yourself; another administrator can", dcos.ErrConflict)
	case dry:
		return dryRun(w, "delete user "+u.ID)
	}
	if _, err := s.State.Propose(r, state.RemoveUser{ID: u.ID}); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// setPassword gives a user a new password; their tokens become void.
func (s *server) setPassword(w http.ResponseWriter, r *http.Request) error {
	var in client.Password
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	u, err := s.managed(r)
	if err != nil {
		return err
	}
	next, err := auth.NewUser(u.ID, in.Password, u.Grants, s.Random)
	if err != nil {
		return err
	}
	next.Generation = u.Generation + 1
	dry, err := api.DryRun(r)
	if err != nil {
		return err
	}
	if dry {
		return dryRun(w, "change the password of user "+u.ID+" and end their sessions")
	}
	if _, err := s.State.Propose(r, state.PutUser{User: next}); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
