// Package images makes OCI images of real software from Debian packages,
// without Docker, and serves them as a mirror that can be broken.
//
// It owns the recipes (catalog.go), a cache of built images outside the
// checkout, and an in-process registry. It promises that the same packages
// give the same digests, that an image from the cache has been checked blob by
// blob, and that names, commands, users, ports and volumes are those of the
// official image with the name. It must not be taken for the official
// software: versions are Debian's, and only the files that the programs need
// are there.
package images
