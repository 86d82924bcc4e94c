package api

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/dcos-go/dcos/pkg/auth"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

// Bearers knows users by their tokens; auth.Gate does.
type Bearers interface {
	Authenticate(users auth.Users, token string) (auth.Principal, error)
}

// Credentials is the Authenticator of the public API: a token in the
// Authorization header, or in the browser's cookie. A cookie alone is enough
// to read; to write, the page that sends it must be ours, since browsers send
// cookies for other people's pages too.
type Credentials struct {
	Bearers Bearers
	Feed    state.Feed
}

// Authenticate says who asks.
func (c Credentials) Authenticate(r *http.Request) (auth.Principal, error) {
	token, err := auth.FromHeader(r.Header.Get("Authorization"))
	if err != nil {
		return auth.Principal{}, err
	}
	if token == "" {
		if token, err = fromCookie(r); err != nil {
			return auth.Principal{}, err
		}
	}
	return c.Bearers.Authenticate(c.Feed.View(), token)
}

func fromCookie(r *http.Request) (string, error) {
	cookie, err := r.Cookie(auth.CookieName)
	if err != nil || cookie.Value == "" {
		return "", nil
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead && !sameOrigin(r) {
		return "", fmt.Errorf("%w: a write by cookie must come from this cluster's own page (Origin and Host must match); programs send the token in the Authorization header", dcos.ErrUnauthenticated)
	}
	return cookie.Value, nil
}

// sameOrigin says whether a request was made by a page of this host. Browsers
// send Origin with every request that is no plain read.
func sameOrigin(r *http.Request) bool {
	u, err := url.Parse(r.Header.Get("Origin"))
	return err == nil && u.Host != "" && u.Host == r.Host && (u.Scheme == "https" || u.Scheme == "http")
}

// Trusted is the Authenticator of a listener that has proven who is at the
// other end, such as the agent's port, which takes masters only.
type Trusted auth.Principal

// Authenticate is always the same principal.
func (t Trusted) Authenticate(*http.Request) (auth.Principal, error) { return auth.Principal(t), nil }
