package fetch

import (
	"net/netip"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// plan is what the process is told, on its standard input.
type plan struct {
	Items  []item
	Allow  []string
	Refuse []netip.AddrPort
	Limits Limits
}

// item is one artifact. Files that the agent has opened for it are given by
// their numbers; 0 is none.
type item struct {
	dcos.Artifact
	Name   string // in the sandbox
	Cached int    // what the cache holds of it, to be read
	Fresh  int    // where the cache wants a newer one
	Meta   meta   // of Cached
}

// meta says how a server named what it sent.
type meta struct {
	URI      string `json:"uri"`
	ETag     string `json:"etag,omitempty"`
	Modified string `json:"modified,omitempty"`
	SHA256   string `json:"sha256"`
	Bytes    int64  `json:"bytes"`
}

// outcome is what the process answers, on its standard output.
type outcome struct {
	Kind  string // of the error; "" is none
	Error string
	Items []done
}

// done is what became of an item.
type done struct {
	Fresh bool // Item.Fresh holds it now
	Meta  meta
}

// The kinds of an outcome's error.
var kinds = map[string]error{
	"invalid": dcos.ErrInvalid, "denied": dcos.ErrDenied, "not found": dcos.ErrNotFound,
	"exhausted": dcos.ErrExhausted, "unavailable": dcos.ErrUnavailable,
}
