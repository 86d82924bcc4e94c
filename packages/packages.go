// Package packages is the catalog that comes with the binary, in Universe's
// source layout: <Initial>/<name>/<release>/.
//
// It owns the files alone; pkg/catalog reads them. Every package in it runs
// real software, with the command and the configuration given here and not
// left to the image. It must not hold code.
package packages

import (
	"embed"
	"io/fs"
)

// Source is what users see as the origin of these packages.
const Source = "bundled"

//go:embed H R
var files embed.FS

// Files are the contents of all files by path.
func Files() map[string][]byte {
	out := map[string][]byte{}
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		out[name], err = files.ReadFile(name)
		return err
	})
	if err != nil {
		panic("packages: read an embedded file: " + err.Error())
	}
	return out
}
