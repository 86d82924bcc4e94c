package client

import (
	"context"
	"net/http"
	"net/url"
)

// GossipKeys is which gossip keys the cluster has, and how far a change is.
type GossipKeys struct {
	Serial  uint64      `json:"serial"` // one higher with every step
	Step    string      `json:"step"`   // settled, spread or use
	Since   string      `json:"since,omitempty"`
	Keys    []GossipKey `json:"keys"`
	Members int         `json:"members"` // machines that gossip sees alive
	Waiting []string    `json:"waiting"` // those of them that do not have exactly these keys
	Problem string      `json:"problem,omitempty"`
}

// GossipKey is one key, by its fingerprint.
type GossipKey struct {
	ID       string `json:"id"`
	Encrypts bool   `json:"encrypts"`
}

// GossipKeys lists the gossip keys by their fingerprints.
func (c *Client) GossipKeys(ctx context.Context) (GossipKeys, error) {
	var out GossipKeys
	return out, c.get(ctx, "gossip/keys", nil, &out)
}

// RotateGossipKey begins a change of the gossip key. The leader goes on with it
// by itself; GossipKeys says how far it is.
func (c *Client) RotateGossipKey(ctx context.Context, dryRun bool) (GossipKeys, error) {
	q := url.Values{}
	if dryRun {
		q.Set("dryRun", "true")
	}
	var out GossipKeys
	return out, c.do(ctx, call{method: http.MethodPost, path: "/dcos/v1/gossip/keys/rotate", query: q}, &out)
}
