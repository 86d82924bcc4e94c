package ui

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The budget of what a browser loads before the first screen, and of every
// part that it loads later.
const (
	maxInitialBytes = 200_000
	maxChunkBytes   = 130_000
)

func unpack(t *testing.T, f File) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(f.Packed))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func ask(t *testing.T, method, target string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, r)
	return w
}

func TestEveryFileIsWhatTheManifestSays(t *testing.T) {
	t.Parallel()
	files := Files()
	onDisk := []string{}
	err := fs.WalkDir(dist, "dist", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			onDisk = append(onDisk, strings.TrimPrefix(name, "dist/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"SOURCE_HASH", "manifest.json"}
	for name, f := range files {
		want = append(want, name+".gz")
		text := unpack(t, f)
		sum := sha256.Sum256(text)
		if got := hex.EncodeToString(sum[:]); got != f.Sum || len(text) != f.Size {
			t.Errorf("%s unpacks to %d bytes with sum %s, the manifest says %d and %s", name, len(text), got, f.Size, f.Sum)
		}
		if f.Packed[3] != 0 || !bytes.Equal(f.Packed[4:8], make([]byte, 4)) {
			t.Errorf("%s.gz carries a name or a time: the same sources must give the same bytes", name)
		}
	}
	slices.Sort(want)
	slices.Sort(onDisk)
	if !slices.Equal(want, onDisk) {
		t.Errorf("dist holds %q, want %q", onDisk, want)
	}
}

// sources are the files that the page is built from; scripts/pack.mjs takes
// the same.
func sources(t *testing.T) []string {
	t.Helper()
	names := []string{"index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts", "scripts/pack.mjs"}
	err := fs.WalkDir(os.DirFS("."), "src", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !regexp.MustCompile(`\.test\.tsx?$`).MatchString(name) {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

func TestDistWasBuiltFromTheseSources(t *testing.T) {
	t.Parallel()
	all := sha256.New()
	for _, name := range sources(t) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(all, "%x  %s\n", sha256.Sum256(text), name)
	}
	want := hex.EncodeToString(all.Sum(nil))
	got, err := dist.ReadFile("dist/SOURCE_HASH")
	if err != nil {
		t.Fatal(err)
	}
	if strings.TrimSpace(string(got)) != want {
		t.Errorf("ui/dist was built from other sources: run `make ui` and commit ui/dist")
	}
}

// loaded are the scripts and styles that index.html names.
func loaded(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, m := range regexp.MustCompile(`(?:src|href)="/?(assets/[^"]+)"`).FindAllStringSubmatch(string(unpack(t, Files()["index.html"])), -1) {
		out = append(out, m[1])
	}
	return out
}

func TestThePageKeepsItsSizeBudget(t *testing.T) {
	t.Parallel()
	files, initial := Files(), 0
	names := loaded(t)
	if len(names) < 2 {
		t.Fatalf("index.html loads %q, want at least a script and a style", names)
	}
	for _, name := range names {
		f, ok := files[name]
		if !ok {
			t.Fatalf("index.html loads %s, which is not there", name)
		}
		if path.Ext(name) == ".js" {
			initial += len(f.Packed)
		}
	}
	if initial == 0 || initial > maxInitialBytes {
		t.Errorf("initial scripts are %d bytes packed, want at most %d", initial, maxInitialBytes)
	}
	for name, f := range files {
		if !slices.Contains(names, name) && len(f.Packed) > maxChunkBytes {
			t.Errorf("%s is %d bytes packed, want at most %d", name, len(f.Packed), maxChunkBytes)
		}
	}
}

func TestThePageCarriesNothingOfTheMachineThatBuiltIt(t *testing.T) {
	t.Parallel()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range Files() {
		text := string(unpack(t, f))
		for _, not := range []string{"sourceMappingURL", "node_modules", here, "file:///"} {
			if strings.Contains(text, not) {
				t.Errorf("%s contains %q", name, not)
			}
		}
		if strings.HasSuffix(name, ".map") {
			t.Errorf("%s is a source map", name)
		}
	}
}

func TestThePageLoadsFromItsOwnOriginOnly(t *testing.T) {
	t.Parallel()
	html := string(unpack(t, Files()["index.html"]))
	for _, m := range regexp.MustCompile(`<(?:script|link)[^>]*(?:src|href)="([^"]+)"`).FindAllStringSubmatch(html, -1) {
		if !strings.HasPrefix(m[1], "/assets/") && !strings.HasPrefix(m[1], "data:") {
			t.Errorf("index.html loads %s", m[1])
		}
	}
	if regexp.MustCompile(`<script(?:[^>]*)>[^<]`).MatchString(html) {
		t.Error("index.html has a script in it, which the policy forbids")
	}
}

func TestEveryAnswerHasTheSecurityHeaders(t *testing.T) {
	t.Parallel()
	for _, target := range []string{"/", "/assets/nothing-here.js", "/somewhere/else"} {
		h := ask(t, http.MethodGet, target).Header()
		for name, want := range map[string]string{
			"Content-Security-Policy": "frame-ancestors 'none'", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
		} {
			if !strings.Contains(h.Get(name), want) {
				t.Errorf("%s: header %s is %q, want it to contain %q", target, name, h.Get(name), want)
			}
		}
		if csp := h.Get("Content-Security-Policy"); strings.Contains(csp, "unsafe") || !strings.Contains(csp, "script-src 'self'") {
			t.Errorf("%s: policy %q", target, csp)
		}
	}
}

func TestPackedAndUnpackedClientsGetTheSamePage(t *testing.T) {
	t.Parallel()
	want := unpack(t, Files()["index.html"])
	for _, tt := range []struct {
		accept string
		packed bool
	}{
		{"gzip, deflate, br", true},
		{"br;q=1.0, GZIP ;q=0.5", true},
		{"", false},
		{"identity", false},
		{"gzip;q=0", false},
		{"gzip;q=none", false},
	} {
		w := ask(t, http.MethodGet, "/", "Accept-Encoding", tt.accept)
		got := w.Body.Bytes()
		if (w.Header().Get("Content-Encoding") == "gzip") != tt.packed {
			t.Errorf("accepting %q: Content-Encoding is %q", tt.accept, w.Header().Get("Content-Encoding"))
			continue
		}
		if w.Header().Get("Content-Length") != fmt.Sprint(len(got)) {
			t.Errorf("accepting %q: %d bytes, Content-Length %s", tt.accept, len(got), w.Header().Get("Content-Length"))
		}
		if tt.packed {
			got = unpack(t, File{Packed: got})
		}
		if !bytes.Equal(got, want) || w.Header().Get("Vary") != "Accept-Encoding" {
			t.Errorf("accepting %q: got %d bytes, want %d", tt.accept, len(got), len(want))
		}
	}
}

func TestHashedNamesAreCachedForGoodAndTheIndexIsAskedForAnew(t *testing.T) {
	t.Parallel()
	for _, name := range loaded(t) {
		if got := ask(t, http.MethodGet, "/"+name).Header().Get("Cache-Control"); !strings.Contains(got, "immutable") {
			t.Errorf("%s: Cache-Control %q", name, got)
		}
	}
	w := ask(t, http.MethodGet, "/", "Accept-Encoding", "gzip")
	if got := w.Header().Get("Cache-Control"); got != "no-cache" {
		t.Errorf("index: Cache-Control %q", got)
	}
	tag := w.Header().Get("ETag")
	for _, have := range []string{tag, "W/" + tag, `"other", ` + tag, "*"} {
		if w := ask(t, http.MethodGet, "/", "Accept-Encoding", "gzip", "If-None-Match", have); w.Code != http.StatusNotModified || w.Body.Len() > 0 {
			t.Errorf("having %s: status %d with %d bytes, want 304 with none", have, w.Code, w.Body.Len())
		}
	}
	if w := ask(t, http.MethodGet, "/", "If-None-Match", tag); w.Code != http.StatusOK {
		t.Errorf("the packed tag counts for the unpacked page: status %d", w.Code)
	}
}

func TestUnknownPathsGetThePageButUnknownAssetsDoNot(t *testing.T) {
	t.Parallel()
	for target, want := range map[string]int{"/": 200, "/index.html": 200, "/nodes": 200, "/../../etc/passwd": 200, "/assets/old-1234.js": 404, "/assets/": 200} {
		w := ask(t, http.MethodGet, target)
		if w.Code != want || want == 200 && w.Header().Get("Content-Type") != "text/html; charset=utf-8" {
			t.Errorf("GET %s: status %d, type %s; want %d", target, w.Code, w.Header().Get("Content-Type"), want)
		}
	}
	if w := ask(t, http.MethodPost, "/"); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") == "" {
		t.Errorf("POST /: status %d", w.Code)
	}
	if w := ask(t, http.MethodHead, "/"); w.Code != http.StatusOK || w.Body.Len() > 0 || w.Header().Get("Content-Length") == "" {
		t.Errorf("HEAD /: status %d with %d bytes", w.Code, w.Body.Len())
	}
}

func TestThePatternsCoverEveryFile(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	for _, p := range Patterns() {
		mux.Handle("GET "+p, Handler())
	}
	for _, name := range append(loaded(t), "") {
		r := httptest.NewRequest(http.MethodGet, "/"+name, nil)
		if _, pattern := mux.Handler(r); pattern == "" {
			t.Errorf("no pattern of %q covers /%s", Patterns(), name)
		}
	}
}
