package client

import (
	"context"
	"net/http"
	"net/url"
)

// NodeImages are the images of one node.
type NodeImages struct {
	Node   string      `json:"node"`
	Images []NodeImage `json:"images"` // the last used first
	Pulls  []NodePull  `json:"pulls"`  // on their way
}

// NodeImage is one image that is unpacked on a node.
type NodeImage struct {
	Digest   string   `json:"digest"`
	Names    []string `json:"names,omitempty"`
	Bytes    int64    `json:"bytes"` // unpacked; a layer that images share counts in each
	Layers   int      `json:"layers"`
	LastUsed string   `json:"lastUsed"`
	InUse    bool     `json:"inUse"` // it is not deleted to make room
	Tasks    []string `json:"tasks,omitempty"`
}

// NodePull is an image on its way.
type NodePull struct {
	Name   string `json:"name"`
	Since  string `json:"since"`
	Layers int    `json:"layers"`
	Bytes  int64  `json:"bytes"`
	Total  int64  `json:"total"`
}

// NodeImages lists the images of a node that answers.
func (c *Client) NodeImages(ctx context.Context, node string) (NodeImages, error) {
	var out NodeImages
	return out, c.do(ctx, call{method: http.MethodGet, path: "/system/v1/agent/" + url.PathEscape(node) + "/images"}, &out)
}
