// Package ui is the cluster's web page, built from src/ and embedded.
//
// It owns the files under dist/ and how they are served: packed bytes as they
// are, hashed names cached for good, everything else asked for anew, and the
// security headers of every answer. It promises that the page loads nothing
// from any other origin. It must not know the API that the page talks to.
package ui

import (
	"bytes"
	"compress/gzip"
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path"
	"strconv"
	"strings"
)

//go:embed all:dist
var dist embed.FS

// policy lets the page run its own files and talk to its own origin, and
// nothing else; no other page may frame it.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; " +
	"connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"

// assets is where names carry a hash of their content.
const assets = "assets/"

// File is one file of the page, packed.
type File struct {
	Type   string // media type
	Size   int    // of the content
	Sum    string // SHA-256 of the content, in hex
	Packed []byte // gzip
}

// Patterns are the paths that the page needs, for a table of routes: net/http's
// patterns without a method. Everything else the page keeps behind its "#".
func Patterns() []string { return []string{"/{$}", "/" + assets + "{file}"} }

// Files are all files of the page by name: index.html, assets/...
func Files() map[string]File {
	files, err := readFiles()
	if err != nil {
		panic("ui: the embedded page is damaged: " + err.Error()) // the tests of this package read it too
	}
	return files
}

func readFiles() (map[string]File, error) {
	text, err := dist.ReadFile("dist/manifest.json")
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	var manifest struct {
		Files map[string]struct {
			Type   string `json:"type"`
			Size   int    `json:"size"`
			SHA256 string `json:"sha256"`
		} `json:"files"`
	}
	if err := json.Unmarshal(text, &manifest); err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	out := make(map[string]File, len(manifest.Files))
	for name, m := range manifest.Files {
		packed, err := dist.ReadFile("dist/" + name + ".gz")
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		out[name] = File{Type: m.Type, Size: m.Size, Sum: m.SHA256, Packed: packed}
	}
	if _, ok := out["index.html"]; !ok {
		return nil, fmt.Errorf("manifest names %d files but no index.html", len(out))
	}
	return out, nil
}

// Handler serves the page. A path that names no file is answered with the page
// itself, except below /assets/, where it is a file of another version.
func Handler() http.Handler { return handler(Files()) }

type handler map[string]File

// ServeHTTP answers one request.
func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	head.Set("Content-Security-Policy", policy)
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("Referrer-Policy", "no-referrer")
	head.Set("Cross-Origin-Opener-Policy", "same-origin")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		head.Set("Allow", "GET, HEAD")
		http.Error(w, "the page can only be read", http.StatusMethodNotAllowed)
		return
	}
	name := strings.TrimPrefix(path.Clean("/"+r.URL.Path), "/")
	f, ok := h[name]
	switch {
	case !ok && strings.HasPrefix(name, assets):
		head.Set("Cache-Control", "no-store")
		http.Error(w, "no such file in this version of the page: load it anew", http.StatusNotFound)
		return
	case !ok:
		name, f = "index.html", h["index.html"]
	}
	head.Set("Cache-Control", "no-cache")
	if strings.HasPrefix(name, assets) {
		head.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	f.serve(w, r)
}

// serve writes the file packed, or unpacked for the rare client that cannot
// unpack it.
func (f File) serve(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	head.Set("Content-Type", f.Type)
	head.Set("Vary", "Accept-Encoding")
	packed := acceptsGzip(r.Header.Values("Accept-Encoding"))
	tag, size := `"`+f.Sum[:16]+`"`, f.Size
	if packed {
		tag, size = `"`+f.Sum[:16]+`-gz"`, len(f.Packed)
	}
	head.Set("ETag", tag)
	if matches(r.Header.Get("If-None-Match"), tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	head.Set("Content-Length", strconv.Itoa(size))
	if packed {
		head.Set("Content-Encoding", "gzip")
	}
	if r.Method == http.MethodHead {
		return
	}
	if packed {
		_, _ = w.Write(f.Packed) // a client that went away is no error of ours
		return
	}
	if z, err := gzip.NewReader(bytes.NewReader(f.Packed)); err == nil {
		_, _ = io.Copy(w, io.LimitReader(z, int64(f.Size))) // as above
	}
}

// acceptsGzip reads Accept-Encoding: gzip must be named, and not with q=0.
func acceptsGzip(values []string) bool {
	for _, value := range values {
		for _, part := range strings.Split(value, ",") {
			coding, params, _ := strings.Cut(strings.TrimSpace(part), ";")
			if !strings.EqualFold(strings.TrimSpace(coding), "gzip") {
				continue
			}
			q, weighted := strings.CutPrefix(strings.ReplaceAll(strings.ToLower(params), " ", ""), "q=")
			weight, err := strconv.ParseFloat(q, 64)
			return !weighted || err == nil && weight > 0
		}
	}
	return false
}

// matches says whether one of the tags of If-None-Match is this one. Weak tags
// count: the content is what matters.
func matches(header, tag string) bool {
	for _, t := range strings.Split(header, ",") {
		if t = strings.TrimSpace(t); t == "*" || strings.TrimPrefix(t, "W/") == tag {
			return true
		}
	}
	return false
}
