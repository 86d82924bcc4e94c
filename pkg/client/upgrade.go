package client

import (
	"context"
	"net/http"
	"net/url"
)

// UpgradeFinished answers POST /dcos/v1/upgrade/finish: the cluster's feature
// level now, or what it would be, and the one before.
type UpgradeFinished struct {
	Level  uint64 `json:"featureLevel"`
	Before uint64 `json:"before"`
	DryRun bool   `json:"dryRun,omitempty"`
}

// FinishUpgrade lets the cluster use what the masters' version brings. It is
// refused with a conflict while a master does not support it; done once, there
// is no way back to the version before.
func (c *Client) FinishUpgrade(ctx context.Context, dryRun bool) (UpgradeFinished, error) {
	q := url.Values{}
	if dryRun {
		q.Set("dryRun", "true")
	}
	var out UpgradeFinished
	return out, c.do(ctx, call{method: http.MethodPost, path: "/dcos/v1/upgrade/finish", query: q}, &out)
}
