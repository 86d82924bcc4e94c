package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
)

// Metadata is what a cluster says of itself to whoever is logged in.
type Metadata struct {
	ClusterID  string `json:"CLUSTER_ID"`
	PublicIPv4 string `json:"PUBLIC_IPV4"`
}

// Metadata names the cluster.
func (c *Client) Metadata(ctx context.Context) (Metadata, error) {
	var out Metadata
	return out, c.do(ctx, call{method: http.MethodGet, path: "/metadata"}, &out)
}

// Release is what anybody may know of a cluster.
type Release struct {
	Version   string `json:"version"`      // the DC/OS release whose interfaces these are
	Bootstrap string `json:"bootstrap-id"` // the version of dcos
}

// Release asks which version a cluster is; no login is needed.
func (c *Client) Release(ctx context.Context) (Release, error) {
	var out Release
	return out, c.do(ctx, call{method: http.MethodGet, path: "/dcos-metadata/dcos-version.json"}, &out)
}

// Provider is a way to log in.
type Provider struct {
	Type        string `json:"authentication-type"`
	Method      string `json:"client-method"`
	Description string `json:"description"`
	Config      struct {
		StartFlowURL string `json:"start_flow_url"`
	} `json:"config"`
}

// Providers are the ways to log in, by id.
func (c *Client) Providers(ctx context.Context) (map[string]Provider, error) {
	var out map[string]Provider
	return out, c.do(ctx, call{method: http.MethodGet, path: "/acs/api/v1/auth/providers"}, &out)
}

// maxCA bounds a CA certificate.
const maxCA = 1 << 20

// CA is the certificate of the cluster's own CA in PEM form. Over an untrusted
// connection it is only a claim: compare its fingerprint.
func (c *Client) CA(ctx context.Context) ([]byte, error) {
	k := call{method: http.MethodGet, path: "/ca/dcos-ca.crt"}
	res, err := c.send(ctx, k)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxCA))
	if err != nil {
		return nil, k.lost(ctx, err)
	}
	if len(b) == 0 {
		return nil, fmt.Errorf("%s gives no CA certificate", c.URL())
	}
	return b, nil
}
