package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// client asks registries, mirrors first.
type client struct {
	mirrors     []mirror
	transport   http.RoundTripper
	credentials func(string) (Login, error)
}

type mirror struct {
	host, path string
}

// newClient checks the setting: a mirror that cannot be meant is told at the start.
func newClient(c Config) (client, error) {
	inner := c.Transport
	if inner == nil {
		inner = &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
			TLSHandshakeTimeout:   10 * time.Second,
			ResponseHeaderTimeout: 30 * time.Second,
			IdleConnTimeout:       30 * time.Second,
			ForceAttemptHTTP2:     true,
			MaxIdleConnsPerHost:   4,
		}
	}
	g := &guard{inner: inner, plain: slices.Clone(c.Insecure), stall: stallAfter, pause: pauseBetween}
	cl := client{transport: g, credentials: c.Credentials}
	for _, text := range c.Mirrors {
		u, err := url.Parse(text)
		if err != nil || !strings.Contains(text, "://") {
			u, err = url.Parse("https://" + text)
		}
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != "" {
			return client{}, fmt.Errorf("images: %w: mirror %q: want host[:port][/path], with http:// in front to go without TLS", dcos.ErrInvalid, text)
		}
		if u.Port() == "" { // a bare name would read as a repository of docker.io
			u.Host += map[string]string{"http": ":80", "https": ":443"}[u.Scheme]
		}
		if u.Scheme == "http" {
			g.plain = append(g.plain, u.Host)
		}
		cl.mirrors = append(cl.mirrors, mirror{host: u.Host, path: strings.Trim(u.Path, "/")})
	}
	return cl, nil
}

// places are the references to try for an image, in order.
func (c client) places(n name.Reference) []name.Reference {
	var all []name.Reference
	repo := n.Context()
	for _, m := range c.mirrors {
		path := repo.RepositoryStr()
		if repo.RegistryStr() != name.DefaultRegistry {
			path = strings.ReplaceAll(repo.RegistryStr(), ":", "_") + "/" + path
		}
		if m.path != "" {
			path = m.path + "/" + path
		}
		r, err := name.NewRepository(m.host+"/"+path, name.WeakValidation, name.Insecure)
		if err != nil {
			continue // a path that the mirror could not have either
		}
		switch n := n.(type) {
		case name.Digest:
			all = append(all, r.Digest(n.DigestStr()))
		case name.Tag:
			all = append(all, r.Tag(n.TagStr()))
		}
	}
	return append(all, c.own(n))
}

// own is the image's own registry. That it may be asked without TLS is left to
// the guard, which knows the setting.
func (c client) own(n name.Reference) name.Reference {
	if r, err := name.ParseReference(n.Name(), name.WeakValidation, name.Insecure); err == nil {
		return r
	}
	return n
}

func (c client) options(ctx context.Context, registry string) ([]remote.Option, error) {
	auth := authn.Anonymous
	if c.credentials != nil {
		l, err := c.credentials(registry)
		if err != nil {
			return nil, err
		}
		if l != (Login{}) {
			auth = authn.FromConfig(authn.AuthConfig{Username: l.User, Password: l.password, IdentityToken: l.token})
		}
	}
	return []remote.Option{
		remote.WithContext(ctx), remote.WithTransport(c.transport), remote.WithAuth(auth),
		remote.WithPlatform(v1.Platform{OS: "linux", Architecture: runtime.GOARCH}),
		remote.WithRetryBackoff(remote.Backoff{Duration: 200 * time.Millisecond, Factor: 3, Jitter: 0.1, Steps: 3}),
	}, nil
}

// resolve finds an image at the first place that has it.
func (c client) resolve(ctx context.Context, n name.Reference) (v1.Image, error) {
	var failures []error
	for _, place := range c.places(n) {
		img, err := c.get(ctx, place)
		if err == nil {
			return img, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		failures = append(failures, explain(place, err))
		if errors.Is(err, dcos.ErrInvalid) {
			break // the image is what is wrong, another place would not help
		}
	}
	return nil, join(failures)
}

// join makes one error of several, of the kind of the last: the image's own
// registry has the last word, unless only a mirror could be asked.
func join(failures []error) error {
	last := failures[len(failures)-1]
	for _, err := range failures[:len(failures)-1] {
		last = fmt.Errorf("%w (before that, %s)", last, err.Error())
	}
	return last
}

func (c client) get(ctx context.Context, place name.Reference) (v1.Image, error) {
	options, err := c.options(ctx, place.Context().RegistryStr())
	if err != nil {
		return nil, err
	}
	desc, err := remote.Get(place, options...)
	if err != nil {
		return nil, err
	}
	if err := unambiguous(desc.Manifest); err != nil {
		return nil, err
	}
	img, err := desc.Image()
	if err != nil {
		if desc.MediaType.IsIndex() && strings.Contains(err.Error(), "no child with platform") {
			return nil, fmt.Errorf("%w: it has no variant for linux/%s: build or choose one for this kind of machine", dcos.ErrInvalid, runtime.GOARCH)
		}
		return nil, err
	}
	raw, err := img.RawManifest()
	if err != nil {
		return nil, err
	}
	return img, unambiguous(raw)
}

// unambiguous refuses documents that are an index and a manifest at the same
// time: what was verified would not be what is used.
func unambiguous(raw []byte) error {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(raw, &keys); err != nil {
		return fmt.Errorf("%w: its manifest is not JSON: %w", dcos.ErrInvalid, err)
	}
	_, index := keys["manifests"]
	_, layers := keys["layers"]
	_, config := keys["config"]
	_, old := keys["fsLayers"]
	if index && (layers || config) || old && (layers || index) {
		return fmt.Errorf("%w: its manifest is ambiguous, it reads as an index and as an image", dcos.ErrInvalid)
	}
	return nil
}

// explain gives an error of a registry its kind and says what to do.
func explain(place name.Reference, err error) error {
	host := place.Context().RegistryStr()
	var answer *transport.Error
	switch {
	case errors.Is(err, dcos.ErrInvalid) || errors.Is(err, dcos.ErrDenied) || errors.Is(err, dcos.ErrExhausted):
		return err
	case errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound:
		return fmt.Errorf("%w: %s has no %s: check the name and the tag", dcos.ErrNotFound, host, place.Context().RepositoryStr()+sign(place)+place.Identifier())
	case errors.As(err, &answer) && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden):
		return fmt.Errorf("%w: %s does not give %s to us: check the name, and the credentials for this registry", dcos.ErrDenied, host, place.Context().RepositoryStr())
	case errors.As(err, &answer):
		return fmt.Errorf("%w: %s answers %d %s", dcos.ErrUnavailable, host, answer.StatusCode, http.StatusText(answer.StatusCode))
	case strings.Contains(err.Error(), "digest"):
		return fmt.Errorf("%w: what %s sends does not have the digest that was asked for: %w", dcos.ErrInvalid, host, err)
	}
	return fmt.Errorf("%w: registry %s cannot be asked: %w: check the name and the network, or set a mirror", dcos.ErrUnavailable, host, err)
}

func sign(n name.Reference) string {
	if _, ok := n.(name.Digest); ok {
		return "@"
	}
	return ":"
}

// guard lets requests without TLS pass to loopback addresses and to registries
// that the operator has named, and bounds manifests.
type guard struct {
	inner http.RoundTripper
	plain []string
	stall time.Duration             // a body without a byte for so long is given up
	pause func(n int) time.Duration // before the n-th try to go on
}

const maxManifest = 8 << 20

// RoundTrip refuses before anything is sent.
func (g *guard) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" && !loopback(r.URL.Hostname()) && !slices.Contains(g.plain, r.URL.Host) {
		return nil, fmt.Errorf("%w: %s would be asked without TLS: give it a certificate, or name it as insecure", dcos.ErrDenied, r.URL.Host)
	}
	resp, err := g.inner.RoundTrip(r)
	switch {
	case err != nil:
	case strings.Contains(r.URL.Path, "/manifests/"):
		resp.Body = &bounded{ReadCloser: resp.Body, left: maxManifest}
	case r.Method == http.MethodGet && resp.StatusCode == http.StatusOK && r.Header.Get("Range") == "":
		resp.Body = newResumed(g, r, resp)
	}
	return resp, err
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// bounded fails a body that is longer than it may be.
type bounded struct {
	io.ReadCloser
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("%w: manifest of more than %d bytes", dcos.ErrInvalid, maxManifest)
	}
	return n, err
}
