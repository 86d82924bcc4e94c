// Package packages is the catalog that comes with the binary, in Universe's
// source layout: <Initial>/<name>/<release>/.
//
// It owns the files alone; pkg/catalog reads them. Every package in it runs
// real software, with the command and the configuration given here and not
// left to the image. It must not hold code.
package packages

import "embed"

// Source is what users see as the origin of these packages.
const Source = "bundled"

// FS holds the packages.
//
//go:embed H R
var FS embed.FS
