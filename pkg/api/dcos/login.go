package dcos

import (
	"encoding/json"
	"encoding/pem"
	"net"
	"net/http"

	"github.com/dcos-go/dcos/pkg/api"
	"github.com/dcos-go/dcos/pkg/auth"
	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/link"
)

// dcosVersion is the DC/OS release whose interfaces these are; its clients
// look at it to find out what they may ask.
const dcosVersion = "2.2.0"

// loginRoutes are what clients need before they know anything, and DC/OS'
// login. A login is answered where it arrives: one-time tokens are known at
// one process only.
func (s *server) loginRoutes() []api.Route {
	handle := func(h api.Handler) http.HandlerFunc { return api.Handle(s.Log, writeLoginError, h) }
	public := func(method, pattern string, h api.Handler) api.Route {
		return api.Route{Method: method, Pattern: pattern, Access: api.Public, Handler: handle(h)}
	}
	loggedIn := func(method, pattern string, h api.Handler) api.Route {
		return api.Route{Method: method, Pattern: pattern, Access: api.LoggedIn, Handler: handle(h)}
	}
	return []api.Route{
		public(http.MethodPost, "/acs/api/v1/auth/login", s.login),
		public(http.MethodGet, "/acs/api/v1/auth/providers", providers),
		public(http.MethodGet, "/ca/dcos-ca.crt", s.ca),
		public(http.MethodGet, "/dcos-metadata/dcos-version.json", s.dcosVersion),
		loggedIn(http.MethodGet, "/acs/api/v1/auth/logout", logout),
		loggedIn(http.MethodPost, "/acs/api/v1/auth/logout", logout),
		loggedIn(http.MethodGet, "/metadata", s.metadata),
		loggedIn(http.MethodGet, "/pkgpanda/active.buildinfo.full.json", func(w http.ResponseWriter, _ *http.Request) error {
			api.WriteJSON(w, http.StatusOK, struct{}{})
			return nil
		}),
	}
}

// loginError is a problem that DC/OS' clients can read too.
type loginError struct {
	client.Problem
	Description string `json:"description"`
}

func writeLoginError(w http.ResponseWriter, _ *http.Request, err error) {
	status, code, hint := api.StatusOf(err)
	p := client.Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Code: code, Detail: err.Error(), Hint: hint}
	if status == http.StatusInternalServerError {
		p.Detail = "internal error"
	}
	api.Headers(w, status)
	b, err := json.Marshal(loginError{p, p.Detail})
	if err != nil {
		b = []byte("{}")
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_, _ = w.Write(b) // a client that went away is no error of ours
}

// login exchanges a password, or a token that works once, for a bearer token,
// in the answer and in a cookie that only the browser sees.
func (s *server) login(w http.ResponseWriter, r *http.Request) error {
	var in client.Login
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	users := s.State.Feed.View()
	var token string
	var err error
	if in.Token != "" {
		token, err = s.Gate.Redeem(users, in.Token)
	} else {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		token, err = s.Gate.Login(r.Context(), users, in.UID, in.Password, host)
	}
	if err != nil {
		return err
	}
	http.SetCookie(w, cookie(r, token, int(auth.BearerLife.Seconds())))
	w.Header().Set("Cache-Control", "no-store")
	api.WriteJSON(w, http.StatusOK, client.Login{Token: token})
	return nil
}

func cookie(r *http.Request, token string, maxAge int) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // Secure wherever there is TLS; dev speaks plain HTTP on loopback
		Name: auth.CookieName, Value: token, Path: "/", MaxAge: maxAge,
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil,
	}
}

func logout(w http.ResponseWriter, r *http.Request) error {
	http.SetCookie(w, cookie(r, "", -1))
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func providers(w http.ResponseWriter, _ *http.Request) error {
	api.WriteJSON(w, http.StatusOK, map[string]any{"dcos-users": map[string]any{
		"authentication-type": "dcos-uid-password",
		"client-method":       "dcos-usercredential-post-receive-authtoken",
		"config":              map[string]string{"start_flow_url": "/acs/api/v1/auth/login"},
		"description":         "Default DC/OS login provider",
	}})
	return nil
}

func (s *server) ca(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/x-x509-ca-cert")
	w.Header().Set("Cache-Control", "no-cache")
	_, _ = w.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Secrets().CA.Cert().Raw})) // a client that went away is no error of ours
	return nil
}

func (s *server) dcosVersion(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Cache-Control", "no-cache")
	api.WriteJSON(w, http.StatusOK, map[string]string{
		"version": dcosVersion, "dcos-variant": "open", "dcos-image-commit": s.Version.Commit, "bootstrap-id": s.Version.Version,
	})
	return nil
}

func (s *server) metadata(w http.ResponseWriter, _ *http.Request) error {
	v := s.State.Feed.View()
	info, _ := v.Cluster()
	out := map[string]string{"CLUSTER_ID": info.ID}
	if m, ok := v.Master(s.Leader()); ok {
		if host, _, err := net.SplitHostPort(m.API); err == nil {
			out["PUBLIC_IPV4"] = host
		}
	}
	api.WriteJSON(w, http.StatusOK, out)
	return nil
}

// caHash is what join tokens carry of the CA.
func (s *server) caHash() [32]byte { return link.CAHash(s.Secrets().CA.Cert()) }
