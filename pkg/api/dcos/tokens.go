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

func (s *server) tokens(w http.ResponseWriter, r *http.Request) error {
	rows := func(v state.View) []client.TokenRow {
		var out []client.TokenRow
		for t := range v.Tokens() {
			out = append(out, client.TokenRow{ID: t.ID, Role: string(t.Role), CreatedAt: t.CreatedAt.String()})
		}
		return out
	}
	return page(s, w, r, rows, func(t client.TokenRow) string { return t.ID }, map[string]api.Column[client.TokenRow]{
		"id":   text(func(t client.TokenRow) string { return t.ID }),
		"role": text(func(t client.TokenRow) string { return t.Role }),
	})
}

// createToken makes a join token. This answer is the only place where it can
// be read.
func (s *server) createToken(w http.ResponseWriter, r *http.Request) error {
	var in client.TokenRequest
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	token, row, err := auth.NewToken(dcos.Role(in.Role), s.caHash(), s.Random)
	if err != nil {
		return err
	}
	dry, err := api.DryRun(r)
	if err != nil {
		return err
	}
	if dry {
		return dryRun(w, "make a join token for the role "+in.Role)
	}
	if _, err := s.State.Propose(r, state.PutToken{Token: row}); err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	api.WriteJSON(w, http.StatusCreated, client.JoinToken{
		ID: row.ID, Role: in.Role, Token: token.Reveal(),
		Command: fmt.Sprintf("dcos install --role %s --join %s --token %s", in.Role, s.joinAddr(), token.Reveal()),
	})
	return nil
}

// joinAddr is the peer address of a master to join: the leader's.
func (s *server) joinAddr() string {
	v := s.State.Feed.View()
	if m, ok := v.Master(s.Leader()); ok {
		return m.Peer
	}
	for m := range v.Masters() {
		return m.Peer
	}
	return "MASTER"
}

func (s *server) removeToken(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	dry, err := api.DryRun(r)
	if err != nil {
		return err
	}
	if dry {
		if _, ok := s.State.Feed.View().Token(id); !ok {
			return fmt.Errorf("join token %.80q: %w", id, dcos.ErrNotFound)
		}
		return dryRun(w, "make join token "+id+" void")
	}
	if _, err := s.State.Propose(r, state.RemoveToken{ID: id}); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
