package app

import (
	"fmt"
	"strings"

	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
)

// fetch reads Marathon's artifacts; the checksum is ours.
func (d *draft) fetch(path string, v any) {
	list := d.list(path, v)
	if d.given["uris"] && len(list) == 0 {
		return
	}
	if d.given["uris"] && len(d.app.Fetch) > 0 {
		d.rule(path, "must not be given together with uris")
		return
	}
	d.app.Fetch = nil
	if len(list) > dcos.MaxArtifacts {
		d.rule(path, "got %d artifacts, expected at most %d", len(list), dcos.MaxArtifacts)
		return
	}
	for i, e := range list {
		at := fmt.Sprintf("%s(%d)", path, i)
		o, ok := d.object(at, e)
		if !ok {
			continue
		}
		a := dcos.Artifact{Extract: true}
		d.onlyFields(at, o, "uri", "extract", "executable", "cache", "destPath", "checksum")
		if o.values["uri"] == nil {
			d.schema(at+"/uri", "error.path.missing")
			continue
		}
		for _, key := range o.keys {
			v := o.values[key]
			if v == nil {
				continue
			}
			switch field := at + "/" + key; key {
			case "uri":
				a.URI, _ = d.text(field, v)
			case "destPath":
				a.Dest, _ = d.text(field, v)
			case "checksum":
				a.Checksum, _ = d.text(field, v)
			case "extract":
				a.Extract = d.flag(field, v)
			case "executable":
				a.Executable = d.flag(field, v)
			case "cache":
				a.Cache = d.flag(field, v)
			}
		}
		d.artifact(at, a)
	}
}

// uris is the old form: what is known to be an archive is unpacked.
func (d *draft) uris(path string, v any) {
	list := d.list(path, v)
	if len(list) == 0 && d.given["fetch"] {
		return
	}
	if len(list) > 0 && len(d.app.Fetch) > 0 && d.given["fetch"] {
		d.rule(path, "must not be given together with fetch")
		return
	}
	d.app.Fetch = nil
	if len(list) > dcos.MaxArtifacts {
		d.rule(path, "got %d, expected at most %d", len(list), dcos.MaxArtifacts)
		return
	}
	for i, e := range list {
		at := fmt.Sprintf("%s(%d)", path, i)
		if s, ok := d.text(at, e); ok {
			d.artifact(at, dcos.Artifact{URI: s, Extract: knownArchive(s)})
		}
	}
}

func knownArchive(uri string) bool {
	for _, ending := range []string{".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz", ".zip"} {
		if strings.HasSuffix(uri, ending) {
			return true
		}
	}
	return false
}

func (d *draft) artifact(path string, a dcos.Artifact) {
	if err := a.Check(); err != nil {
		d.rule(path, "%s", strings.TrimPrefix(err.Error(), dcos.ErrInvalid.Error()+": "))
		return
	}
	d.app.Fetch = append(d.app.Fetch, a)
}

func renderFetch(all []dcos.Artifact) []client.Artifact {
	var out []client.Artifact
	for _, a := range all {
		out = append(out, client.Artifact{URI: a.URI, Extract: a.Extract, Executable: a.Executable, Cache: a.Cache, DestPath: a.Dest, Checksum: a.Checksum})
	}
	return out
}
