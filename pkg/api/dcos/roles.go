package dcos

import (
	"fmt"
	"net/http"

	"github.com/dcos-go/dcos/pkg/api"
	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/resource"
	"github.com/dcos-go/dcos/pkg/state"
)

func (s *server) roles(w http.ResponseWriter, r *http.Request) error {
	rows := func(v state.View) []client.Role {
		var out []client.Role
		for row := range v.Roles() {
			open, reserved := v.Consumed(row.ID)
			out = append(out, client.Role{
				ID: string(row.ID), Weight: float64(row.Weight) / 1000, Guarantee: resources(row.Quota.Guarantee),
				Limit: limitOf(row.Quota.Limit), Consumed: resources(open.Plus(reserved)), Reserved: resources(reserved),
			})
		}
		return out
	}
	id := func(r client.Role) string { return r.ID }
	return page(s, w, r, rows, id, map[string]api.Column[client.Role]{"id": text(id)})
}

func limitOf(l resource.Limit) client.Limit {
	out := client.Limit{GPUs: l.GPUs}
	for _, f := range []struct {
		from *resource.Scalar
		to   **float64
	}{{l.CPUs, &out.CPUs}, {l.Mem, &out.Mem}, {l.Disk, &out.Disk}} {
		if f.from != nil {
			n := f.from.Float()
			*f.to = &n
		}
	}
	return out
}

// putRole makes a role, or sets its weight, limit and guarantee, all of them.
func (s *server) putRole(w http.ResponseWriter, r *http.Request) error {
	var in client.RoleSettings
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	id, err := dcos.ParseRoleID(r.PathValue("role"))
	if err != nil {
		return err
	}
	quota, weight, err := quotaOf(in)
	if err != nil {
		return fmt.Errorf("role %s: %w", id, err)
	}
	dry, err := api.DryRun(r)
	switch {
	case err != nil:
		return err
	case dry:
		return dryRun(w, fmt.Sprintf("set weight, limit and guarantee of role %s", id))
	}
	_, err = s.State.Propose(r, state.All{Commands: []state.Command{
		state.PutRole{Role: id, Weight: weight}, state.PutQuota{Role: id, Quota: quota, Force: in.Force},
	}})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func quotaOf(in client.RoleSettings) (q dcos.Quota, weight uint32, err error) {
	scalar := func(name string, n float64) resource.Scalar {
		s, bad := resource.FromFloat(n)
		if bad != nil && err == nil {
			err = fmt.Errorf("%w: %s: %w", dcos.ErrInvalid, name, bad)
		}
		return s
	}
	bound := func(name string, n *float64) *resource.Scalar {
		if n == nil {
			return nil
		}
		s := scalar(name, *n)
		return &s
	}
	q.Limit = resource.Limit{CPUs: bound("limit.cpus", in.Limit.CPUs), Mem: bound("limit.mem", in.Limit.Mem), Disk: bound("limit.disk", in.Limit.Disk), GPUs: in.Limit.GPUs}
	g := in.Guarantee
	q.Guarantee = resource.Set{CPUs: scalar("guarantee.cpus", g.CPUs), Mem: scalar("guarantee.mem", g.Mem), Disk: scalar("guarantee.disk", g.Disk), GPUs: g.GPUs}
	if g.Ports != "" {
		err = fmt.Errorf("%w: guarantee.ports: ports belong to nodes and cannot be guaranteed", dcos.ErrInvalid)
	}
	share := scalar("weight", in.Weight)
	if share > 1_000_000_000 && err == nil {
		err = fmt.Errorf("%w: weight %v, expected at most 1000000", dcos.ErrInvalid, in.Weight)
	}
	return q, uint32(share), err
}

func (s *server) removeRole(w http.ResponseWriter, r *http.Request) error {
	id := dcos.RoleID(r.PathValue("role"))
	dry, err := api.DryRun(r)
	switch {
	case err != nil:
		return err
	case dry:
		return dryRun(w, fmt.Sprintf("forget role %s", id))
	}
	if _, err := s.State.Propose(r, state.RemoveRole{Role: id}); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
