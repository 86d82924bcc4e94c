package integration

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/dcos-go/dcos/pkg/client"
)

// What is passed on from a master that does not lead is judged by who asked,
// whatever headers the client sends.
func TestSpineAFollowerPassesOnWhoAsks(t *testing.T) {
	c := sharedCluster(t)
	const password = "correct horse battery"
	low := client.User{ID: "low", Password: password, Grants: []client.Grant{{Path: "/users", Actions: []string{"read", "write"}}}}
	err := c.ask(t.Context(), func(ctx context.Context, api *client.Client) error {
		_, err := api.CreateUser(ctx, low)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		err := c.ask(context.WithoutCancel(t.Context()), func(ctx context.Context, api *client.Client) error { return api.RemoveUser(ctx, low.ID) })
		if err != nil {
			t.Error(err)
		}
	}()
	token, err := answer(t.Context(), c, func(ctx context.Context, api *client.Client) (string, error) {
		return api.As("").Login(ctx, low.ID, password)
	})
	if err != nil {
		t.Fatal(err)
	}
	leader := c.mustLeader(t)
	for _, h := range c.masters {
		for _, hidden := range []string{"", "Authorization", "Authorization, X-Dcos-Own"} {
			body := `{"id":"evil","password":"` + password + `","grants":[{"path":"/","actions":["full"]}]}`
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, apiURL(h)+"/dcos/v1/users", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "token="+token)
			r.Header.Set("X-Dcos-Own", "1")
			if hidden != "" {
				r.Header.Set("Connection", hidden)
			}
			res, err := c.http.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			text, _ := io.ReadAll(io.LimitReader(res.Body, 1<<10)) // for the message
			res.Body.Close()
			if res.StatusCode != http.StatusForbidden {
				t.Errorf("by way of %s (leads: %v), hiding %q: %d %s, want 403", h.Name(), h == leader, hidden, res.StatusCode, text)
			}
		}
	}
}
