package client

import (
	"context"
	"net/http"
	"net/url"
)

type (
	// Role is who shares resources: "eng", or below it "eng/search". Consumed
	// is by it and all below it: what is reserved, used or not, and what live
	// tasks hold otherwise.
	Role struct {
		ID        string    `json:"id"`
		Weight    float64   `json:"weight"`
		Limit     Limit     `json:"limit"`
		Guarantee Resources `json:"guarantee"`
		Consumed  Resources `json:"consumed"`
		Reserved  Resources `json:"reserved"`
	}
	// Limit bounds amounts; what is not set has no bound.
	Limit struct {
		CPUs *float64 `json:"cpus,omitempty"`
		Mem  *float64 `json:"mem,omitempty"`
		Disk *float64 `json:"disk,omitempty"`
		GPUs *int64   `json:"gpus,omitempty"`
	}
	// RoleSettings is the body of PUT /dcos/v1/roles/{role}; a weight of 0 is 1.
	RoleSettings struct {
		Weight    float64   `json:"weight,omitempty"`
		Limit     Limit     `json:"limit"`
		Guarantee Resources `json:"guarantee"`
		// Force sets a limit below what is consumed, or a guarantee that the
		// cluster cannot give.
		Force bool `json:"force,omitempty"`
	}
)

// Roles lists roles.
func (c *Client) Roles(ctx context.Context, q Query) (List[Role], error) {
	return list[Role](ctx, c, "roles", q)
}

// PutRole makes a role or changes what is set for it.
func (c *Client) PutRole(ctx context.Context, role string, in RoleSettings) error {
	return c.do(ctx, call{method: http.MethodPut, path: rolePath(role), body: in}, nil)
}

// RemoveRole forgets a role that nothing names.
func (c *Client) RemoveRole(ctx context.Context, role string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: rolePath(role)}, nil)
}

func rolePath(role string) string {
	return "/dcos/v1/roles/" + (&url.URL{Path: role}).EscapedPath()
}
