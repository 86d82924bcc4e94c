// Package client is the Go client of a cluster's API, and holds the one
// definition of the JSON shapes that the API writes.
//
// It promises that an error wraps a kind of pkg/dcos and carries the server's
// words, that every call ends with its context, and that answers are read with
// a limit. It must not hold state beyond its connection pool, and it never
// retries a write by itself.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// Config says which cluster to talk to, and as whom.
type Config struct {
	URL   string // https://host:port
	Token string // bearer token; "" is nobody
	// CA is PEM certificates to trust; nil trusts those of the system.
	CA []byte
	// Insecure trusts any certificate: for the first look at a cluster only.
	Insecure bool
	// UserAgent is sent with each request; "" is "dcos".
	UserAgent string
	// HTTP is used instead of a client of one's own; then CA and Insecure
	// have no effect. It must have no Timeout, which would end streams.
	HTTP *http.Client
}

// Client talks to one cluster. It may be used by many goroutines at once.
type Client struct {
	base  *url.URL
	token string
	agent string
	http  *http.Client
	own   *http.Transport // nil when the HTTP client was given
	dry   *DryRun         // of a client that tries writes out; see Try
	at    string          // of a client that reads the past; see At
}

// Try lets a write be tried out instead of made: what it was to answer stays
// empty. It serves writes of apps, tasks and packages.
func (c *Client) Try(write func(*Client) error) (DryRun, error) {
	try := *c
	try.dry = &DryRun{}
	err := write(&try)
	if err == nil && !try.dry.DryRun {
		err = fmt.Errorf("%w: the master does not know how to try that out; it may have been done", dcos.ErrUnknown)
	}
	return *try.dry, err
}

// tried is the call as it is tried out.
func (c *Client) tried(k call, into any) (call, any) {
	if c.dry == nil || k.method == http.MethodGet {
		return k, into
	}
	q := url.Values{"dryRun": {"1"}}
	for name, values := range k.query {
		q[name] = values
	}
	k.query = q
	return k, c.dry
}

// Limits of answers.
const (
	maxAnswer = 256 << 20
	maxFault  = 1 << 20
)

// New makes a client. It does not connect.
func New(c Config) (*Client, error) {
	base, err := url.Parse(c.URL)
	if err != nil || base.Host == "" || base.Scheme != "https" && base.Scheme != "http" {
		return nil, fmt.Errorf("%w: cluster URL %q, expected https://HOST[:PORT]", dcos.ErrInvalid, c.URL)
	}
	base.Path, base.RawQuery, base.Fragment = strings.TrimSuffix(base.Path, "/"), "", ""
	out := &Client{base: base, token: c.Token, agent: c.UserAgent, http: c.HTTP}
	if out.agent == "" {
		out.agent = "dcos"
	}
	if out.http != nil {
		return out, nil
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: c.Insecure} //nolint:gosec // only when the user asks for it
	if c.CA != nil {
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(c.CA) {
			return nil, fmt.Errorf("%w: the CA of %s holds no certificate in PEM form", dcos.ErrInvalid, c.URL)
		}
	}
	out.own = &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSClientConfig:       conf,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 90 * time.Second,
		IdleConnTimeout:       30 * time.Second,
		MaxIdleConnsPerHost:   16,
	}
	out.http = &http.Client{Transport: out.own}
	return out, nil
}

// URL is the cluster's address.
func (c *Client) URL() string { return c.base.String() }

// As is the same client with another token.
func (c *Client) As(token string) *Client {
	other := *c
	other.token = token
	return &other
}

// At is the same client reading what was at an earlier time: one like
// 2026-01-31T12:00:00Z, or how long ago, like -10m. It cannot write.
func (c *Client) At(moment string) *Client {
	other := *c
	other.at = moment
	return &other
}

// Close drops kept connections.
func (c *Client) Close() {
	if c.own != nil {
		c.own.CloseIdleConnections()
	}
}

// call is one request.
type call struct {
	method string
	path   string // escaped where it holds ids
	query  url.Values
	body   any // []byte as it is, everything else as JSON; nil is none
	header map[string]string
}

// do sends a request and decodes the answer into what into points at; nil
// drops it.
func (c *Client) do(ctx context.Context, k call, into any) error {
	_, err := c.full(ctx, k, into)
	return err
}

func (c *Client) full(ctx context.Context, k call, into any) (http.Header, error) {
	k, into = c.tried(k, into)
	res, err := c.send(ctx, k)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, k.lost(ctx, err)
	case len(body) > maxAnswer:
		return nil, fmt.Errorf("%s %s: %w: the answer has more than %d bytes", k.method, k.path, dcos.ErrExhausted, maxAnswer)
	case into == nil || len(body) == 0:
		return res.Header, nil
	}
	if err := json.Unmarshal(body, into); err != nil {
		return nil, fmt.Errorf("%s %s: %w: the answer is not what this version understands: %w", k.method, k.path, dcos.ErrUnavailable, err)
	}
	return res.Header, nil
}

// send gives the answer to a request if it is a good one; the caller closes
// its body.
func (c *Client) send(ctx context.Context, k call) (*http.Response, error) {
	r, err := c.request(ctx, k)
	if err != nil {
		return nil, err
	}
	res, err := c.http.Do(r)
	if err != nil {
		return nil, k.lost(ctx, err)
	}
	if res.StatusCode < 300 {
		return res, nil
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxFault))
	if err != nil {
		return nil, k.lost(ctx, err)
	}
	return nil, newError(k, res, body)
}

func (c *Client) request(ctx context.Context, k call) (*http.Request, error) {
	var body io.Reader
	switch b := k.body.(type) {
	case nil:
	case []byte:
		body = bytes.NewReader(b)
	default:
		doc, err := json.Marshal(b)
		if err != nil {
			return nil, fmt.Errorf("%w: encode request: %w", dcos.ErrInvalid, err)
		}
		body = bytes.NewReader(doc)
	}
	if c.at != "" {
		if k.method != http.MethodGet {
			return nil, fmt.Errorf("%w: the past cannot be changed", dcos.ErrInvalid)
		}
		q := url.Values{"t": {c.at}}
		for name, v := range k.query {
			q[name] = v
		}
		k.query = q
	}
	target := c.base.String() + k.path
	if len(k.query) > 0 {
		target += "?" + k.query.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, k.method, target, body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", dcos.ErrInvalid, err)
	}
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", c.agent)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		r.Header.Set("Authorization", "token="+c.token)
	}
	for name, value := range k.header {
		r.Header.Set(name, value)
	}
	return r, nil
}

// lost gives an error of the connection its kind: a write that may have
// arrived has an unknown outcome.
func (k call) lost(ctx context.Context, err error) error {
	var dialing *net.OpError
	kind := dcos.ErrUnavailable
	if k.method != http.MethodGet && !(errors.As(err, &dialing) && dialing.Op == "dial") && !untrusted(err) {
		kind = dcos.ErrUnknown
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return fmt.Errorf("%s %s: %w: %w", k.method, k.path, kind, err)
}

// untrusted says that a connection failed before anything was sent on it.
func untrusted(err error) bool {
	var cert *tls.CertificateVerificationError
	return errors.As(err, &cert)
}
