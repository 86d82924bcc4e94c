package dcos

import (
	"errors"
	"net/http"
	"testing"

	"github.com/dcos-go/dcos/pkg/client"
)

func TestRolesAreMadeBoundedAndRemoved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	two, one := 2.5, 1.0
	for _, put := range []struct {
		role   string
		in     client.RoleSettings
		status int
	}{
		{"eng", client.RoleSettings{Weight: 2, Limit: client.Limit{CPUs: &two}, Guarantee: client.Resources{CPUs: 1}}, 0},
		{"eng/search", client.RoleSettings{}, 0},
		{"*", client.RoleSettings{Weight: 0.5}, 0},
		{"ops/web", client.RoleSettings{}, http.StatusNotFound},
		{"a b", client.RoleSettings{}, http.StatusUnprocessableEntity},
		{"ops", client.RoleSettings{Weight: -1}, http.StatusUnprocessableEntity},
		{"ops", client.RoleSettings{Weight: 1e9}, http.StatusUnprocessableEntity},
		{"ops", client.RoleSettings{Limit: client.Limit{CPUs: &one}, Guarantee: client.Resources{CPUs: 2}}, http.StatusUnprocessableEntity},
		{"ops", client.RoleSettings{Guarantee: client.Resources{CPUs: 100}}, http.StatusConflict},
		{"ops", client.RoleSettings{Guarantee: client.Resources{Ports: "80-80"}}, http.StatusUnprocessableEntity},
	} {
		err := w.admin.PutRole(ctx, put.role, put.in)
		status := 0
		if refusal := (*client.Error)(nil); errors.As(err, &refusal) {
			status = refusal.Status
		}
		if status != put.status {
			t.Errorf("put %s %+v: %v, want status %d", put.role, put.in, err, put.status)
		}
	}
	rows, err := w.admin.Roles(ctx, client.Query{})
	if err != nil || len(rows.Items) != 3 {
		t.Fatalf("roles are %+v, %v", rows.Items, err)
	}
	if eng := rows.Items[1]; eng.ID != "eng" || eng.Weight != 2 || *eng.Limit.CPUs != 2.5 || eng.Limit.Mem != nil || eng.Guarantee.CPUs != 1 {
		t.Errorf("eng is %+v", eng)
	}
	if err := w.admin.RemoveRole(ctx, "eng"); err == nil {
		t.Error("a role with another below it was removed")
	}
	for _, role := range []string{"eng/search", "eng", "*"} {
		if err := w.admin.RemoveRole(ctx, role); err != nil {
			t.Error(err)
		}
	}
}
