package node

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/dcos-go/dcos/pkg/api"
	"github.com/dcos-go/dcos/pkg/auth"
	"github.com/dcos-go/dcos/pkg/dcos"
)

// memberRoute is where a master that does not lead hands over another one's
// wish to join, and where one whose data was wiped asks to be taken in again.
const memberRoute = "/dcos/v1/internal/masters"

// newMember is a master that wants to be a member.
type newMember struct {
	dcos.Master
	Replaces dcos.MasterID `json:",omitempty"` // the member that it was before its data was wiped
}

func (m *master) askLeader(ctx context.Context, row dcos.Master) error {
	l, _ := m.raft.Leadership()
	if l.Leader == 0 || l.Leader == m.files.id {
		return dcos.NotLeader{}
	}
	return tell(ctx, m.masterPeer(l.Leader), memberRoute, newMember{Master: row}, nil)
}

// tell sends a document to another master and reads its answer into what into
// points at.
func tell(ctx context.Context, to *api.Peer, route string, body, into any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode %T: %w", body, err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, route, bytes.NewReader(b))
	if err != nil {
		return fmt.Errorf("ask another master: %w", err)
	}
	answer, err := to.RoundTrip(r)
	if err != nil {
		return fmt.Errorf("ask another master: %w: %w", dcos.ErrUnavailable, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
	switch {
	case err != nil:
		return fmt.Errorf("ask another master: %w: %w", dcos.ErrUnavailable, err)
	case answer.StatusCode == http.StatusConflict:
		return fmt.Errorf("%w: the other master answers: %.500s", dcos.ErrConflict, text)
	case answer.StatusCode == http.StatusNotFound:
		return fmt.Errorf("%w: the other master answers: %.500s", dcos.ErrNotFound, text)
	case answer.StatusCode != http.StatusOK:
		return fmt.Errorf("%w: the other master answers %d: %.500s", dcos.ErrUnavailable, answer.StatusCode, text)
	case into == nil:
		return nil
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("ask another master: %w: its answer: %w", dcos.ErrUnavailable, err)
	}
	return nil
}

// members are the routes about the group of masters.
func (m *master) members() api.Dialect {
	d := api.Dialect{Name: "members", WriteError: api.WriteProblem}
	add := func(method, pattern string, place api.Place, h func(r *http.Request) (any, error)) {
		d.Routes = append(d.Routes, api.Route{
			Method: method, Pattern: pattern, Access: api.Permitted, Place: place,
			Need: auth.Permission{Path: "/cluster/masters", Action: auth.ActionWrite},
			Handler: api.Handle(m.log, api.WriteProblem, func(w http.ResponseWriter, r *http.Request) error {
				out, err := h(r)
				if err == nil {
					api.WriteJSON(w, http.StatusOK, out)
				}
				return err
			}),
		})
	}
	nothing := struct{}{}
	add(http.MethodDelete, "/dcos/v1/masters/{id}", api.LeaderOnly, func(r *http.Request) (any, error) {
		leave, err := api.Flag(r.URL.Query(), "leave", false)
		if err != nil {
			return nil, err
		}
		return nothing, m.removeMaster(r.Context(), r.PathValue("id"), leave)
	})
	add(http.MethodPost, "/dcos/v1/masters/{id}/promote", api.LeaderOnly, func(r *http.Request) (any, error) {
		return nothing, m.setVote(r.Context(), r.PathValue("id"), true)
	})
	add(http.MethodPost, "/dcos/v1/masters/{id}/demote", api.LeaderOnly, func(r *http.Request) (any, error) {
		return nothing, m.setVote(r.Context(), r.PathValue("id"), false)
	})
	add(http.MethodPost, "/dcos/v1/masters/{id}/lead", api.LeaderOnly, func(r *http.Request) (any, error) {
		id, err := m.findMaster(r.PathValue("id"))
		if err != nil {
			return nil, err
		}
		return nothing, m.raft.Transfer(r.Context(), id)
	})
	add(http.MethodPost, memberRoute, api.LeaderOnly, func(r *http.Request) (any, error) {
		var row newMember
		if err := ofMaster(r, "hand over joins", &row); err != nil {
			return nil, err
		}
		return nothing, m.addMaster(r.Context(), row.Master, row.Replaces)
	})
	add(http.MethodPost, startRoute, api.AnyMaster, func(r *http.Request) (any, error) {
		var said start
		if err := ofMaster(r, "tell of their starts", &said); err != nil {
			return nil, err
		}
		return m.judge(r.Context(), said), nil
	})
	d.Routes = append(d.Routes, m.snapshotRoute())
	return d
}

// ofMaster reads a document that only masters send.
func ofMaster(r *http.Request, what string, into any) error {
	if api.PrincipalOf(r.Context()).Kind != auth.KindNode {
		return fmt.Errorf("%w: only masters %s", dcos.ErrDenied, what)
	}
	return api.ReadJSON(r, into)
}

// snapshotRoute streams the whole state. It holds password hashes, so that
// it takes a permission to write, and no GET.
func (m *master) snapshotRoute() api.Route {
	return api.Route{
		Method: http.MethodPost, Pattern: "/dcos/v1/snapshot", Access: api.Permitted, Stream: true,
		Need: auth.Permission{Path: "/cluster/snapshot", Action: auth.ActionWrite},
		Handler: func(w http.ResponseWriter, r *http.Request) {
			begun := false
			err := m.raft.WriteSnapshot(r.Context(), func(index dcos.Index) (io.Writer, error) {
				begun = true
				w.Header().Set("Content-Type", "application/octet-stream")
				w.Header().Set("X-Dcos-Index", strconv.FormatUint(uint64(index), 10))
				return w, nil
			})
			switch {
			case err == nil:
			case !begun:
				api.WriteProblem(w, r, err)
			default:
				m.log.Warn("snapshot was not sent to its end", "err", err)
				panic(http.ErrAbortHandler) // the client must not take it for whole
			}
		},
	}
}
