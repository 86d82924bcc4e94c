// Package fetch brings the files that a task asks for into its sandbox:
// Marathon's fetch, Mesos' URIs.
//
// It promises that what it brings is bounded (bytes, entries, redirects, time),
// that nothing is written outside of the sandbox whatever an archive or a
// server says, and that a file with a checksum has it. The work is done by a
// process of its own that runs as the owner of the sandbox, so that a fetch can
// read and write only what the task could, and ends with this process. It must
// not know when a task starts; it never runs a program of anybody else, and
// knows no other addresses than http, https and files of directories that the
// operator has named.
package fetch

import (
	"fmt"
	"log/slog"
	"net/netip"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// Config is what a Fetcher needs to know.
type Config struct {
	// Dir holds the cache.
	Dir string
	// CacheBytes bounds it; the longest unused files go first.
	CacheBytes int64
	// Allow are directories of the host below which file:// may read; none by
	// default. Links in them do not lead out of them.
	Allow []string
	// Refuse are ports of this and other machines that no fetch may connect to:
	// those of masters and agents. It is asked for every task.
	Refuse func() []netip.AddrPort
	// Binary is executed again for each fetch; "" is this program. Its main must
	// begin with Init.
	Binary string
	Limits Limits
	Log    *slog.Logger
}

// Limits bound what one task may fetch; zero values are replaced by defaults.
type Limits struct {
	Bytes     int64         // as they are sent, and once more unpacked; default 10 GiB
	Entries   int           // of all archives; default 500,000
	Redirects int           // of one address; default 10
	Tries     int           // of one address; default 4
	Time      time.Duration // of all; default 15 minutes
	FreeBytes int64         // space to leave free on the disk; default 256 MiB
	GrowBytes int64         // an archive that unpacks to more is at most 200 times as large as packed; default 256 MiB
}

func (l Limits) orDefault() Limits {
	if l.Bytes == 0 {
		l.Bytes = 10 << 30
	}
	if l.Entries == 0 {
		l.Entries = 500_000
	}
	if l.Redirects == 0 {
		l.Redirects = 10
	}
	if l.Tries == 0 {
		l.Tries = 4
	}
	if l.Time == 0 {
		l.Time = 15 * time.Minute
	}
	if l.FreeBytes == 0 {
		l.FreeBytes = 256 << 20
	}
	if l.GrowBytes == 0 {
		l.GrowBytes = 256 << 20
	}
	return l
}

// kind is the form of an archive.
type kind uint8

const (
	plain kind = iota
	tarball
	zipped
	single // one compressed file
)

// archives are the endings by which an archive is known, as Marathon's and
// Mesos' fetchers do it, and zstd.
var archives = []struct {
	ending string
	kind   kind
	method string
}{
	{".tar.gz", tarball, "gz"},
	{".tgz", tarball, "gz"},
	{".tar.bz2", tarball, "bz2"},
	{".tbz2", tarball, "bz2"},
	{".tar.xz", tarball, "xz"},
	{".txz", tarball, "xz"},
	{".tar.zst", tarball, "zst"},
	{".tzst", tarball, "zst"},
	{".tar", tarball, ""},
	{".zip", zipped, ""},
	{".gz", single, "gz"},
	{".bz2", single, "bz2"},
	{".xz", single, "xz"},
	{".zst", single, "zst"},
}

// form finds out what a name stands for; rest is the name without the ending.
func form(name string) (k kind, method, rest string) {
	lower := strings.ToLower(name)
	for _, a := range archives {
		if strings.HasSuffix(lower, a.ending) && len(name) > len(a.ending) {
			return a.kind, a.method, name[:len(name)-len(a.ending)]
		}
	}
	return plain, "", name
}

// target is the name in the sandbox under which an artifact is saved.
func target(a dcos.Artifact) (string, error) {
	name := a.Dest
	if name == "" {
		u, err := dcos.ParseArtifactURI(a.URI)
		if err != nil {
			return "", err
		}
		if name = path.Base(u.Path); name == "/" || name == "." {
			return "", fmt.Errorf("%w: fetch %s: the address has no file name: give destPath", dcos.ErrInvalid, shown(a.URI))
		}
	}
	if !filepath.IsLocal(name) || strings.ContainsRune(name, 0) || path.Clean(name) == "." {
		return "", fmt.Errorf("%w: fetch %s: destPath %q leads out of the sandbox", dcos.ErrInvalid, shown(a.URI), name)
	}
	name = path.Clean(name)
	if reserved(name) {
		return "", fmt.Errorf("%w: fetch %s: %q is a file of the task's log: give another destPath", dcos.ErrInvalid, shown(a.URI), name)
	}
	return name, nil
}

// reserved says whether a name in the sandbox belongs to the logs.
func reserved(name string) bool {
	first, _, _ := strings.Cut(name, "/")
	for _, stream := range []string{"stdout", "stderr"} {
		if first == stream || first == "."+stream+".index" {
			return true
		}
		if number, ok := strings.CutPrefix(first, stream+"."); ok && number != "" && strings.Trim(number, "0123456789") == "" {
			return true
		}
	}
	return false
}

// shown is an address without what may be secret in it: user, query, fragment.
func shown(uri string) string {
	u, err := dcos.ParseArtifactURI(uri)
	if err != nil {
		return "an address that cannot be read"
	}
	u.User, u.RawQuery, u.Fragment, u.ForceQuery = nil, "", "", false
	return u.String()
}
