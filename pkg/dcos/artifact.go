package dcos

import (
	"fmt"
	"net/url"
	"path"
	"strings"
)

// Artifact is a file that is brought into a task's sandbox before it starts.
type Artifact struct {
	URI        string `cbor:"1,keyasint"`
	Dest       string `cbor:"2,keyasint,omitempty"` // path in the sandbox; "" is the address's last part
	Extract    bool   `cbor:"3,keyasint,omitempty"` // unpack archives, known by their ending
	Executable bool   `cbor:"4,keyasint,omitempty"` // not unpacked, but made executable
	Cache      bool   `cbor:"5,keyasint,omitempty"` // the node keeps it for others that ask for it
	// Checksum, as sha256:HEX, must be that of what is sent; "" is not compared.
	Checksum string `cbor:"6,keyasint,omitempty"`
}

// Limits of artifacts.
const (
	MaxArtifacts   = 64
	MaxArtifactURI = 1024 // Marathon's
)

// Check says what is wrong with an artifact, as ErrInvalid.
func (a Artifact) Check() error {
	if _, err := ParseArtifactURI(a.URI); err != nil {
		return err
	}
	if a.Dest != "" {
		clean := path.Clean(a.Dest)
		if len(a.Dest) > MaxArtifactURI || strings.ContainsRune(a.Dest, 0) || path.IsAbs(a.Dest) || clean == "." || clean == ".." || strings.HasPrefix(clean, "../") {
			return fmt.Errorf("%w: destPath %q, expected a path inside of the sandbox", ErrInvalid, a.Dest)
		}
	}
	if a.Checksum != "" {
		hex, ok := strings.CutPrefix(a.Checksum, "sha256:")
		if !ok || len(hex) != 64 || strings.Trim(hex, "0123456789abcdef") != "" {
			return fmt.Errorf("%w: checksum %q, expected sha256: and 64 digits 0-9a-f", ErrInvalid, a.Checksum)
		}
	}
	return nil
}

// ParseArtifactURI reads an address that can be fetched: http, https, file, or
// an absolute path, which is a file's.
func ParseArtifactURI(uri string) (*url.URL, error) {
	if uri == "" || len(uri) > MaxArtifactURI {
		return nil, fmt.Errorf("%w: address of %d bytes, expected 1 to %d", ErrInvalid, len(uri), MaxArtifactURI)
	}
	if strings.HasPrefix(uri, "/") {
		uri = "file://" + (&url.URL{Path: uri}).EscapedPath()
	}
	u, err := url.Parse(uri)
	if err != nil { // its text holds the address, which may hold secrets
		return nil, fmt.Errorf("%w: an address that is no URI", ErrInvalid)
	}
	if strings.ContainsRune(u.Path, 0) {
		return nil, fmt.Errorf("%w: an address with a zero byte", ErrInvalid)
	}
	switch u.Scheme {
	case "http", "https":
		if u.Hostname() == "" {
			return nil, fmt.Errorf("%w: an address without a host", ErrInvalid)
		}
	case "file":
		if u.Host != "" && u.Host != "localhost" || !path.IsAbs(u.Path) {
			return nil, fmt.Errorf("%w: a file's address is file:///PATH", ErrInvalid)
		}
	case "":
		return nil, fmt.Errorf("%w: an address without http://, https:// or file://", ErrInvalid)
	default:
		return nil, fmt.Errorf("%w: addresses of kind %q are not fetched, only http, https and file", ErrInvalid, u.Scheme)
	}
	return u, nil
}
