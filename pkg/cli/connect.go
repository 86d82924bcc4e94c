package cli

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/config"
	"github.com/dcos-go/dcos/pkg/dcos"
)

// target is the cluster that a command talks to: what DCOS_URL,
// DCOS_ACS_TOKEN and DCOS_SSL_VERIFY say, otherwise the cluster in use. A kept
// token is only ever sent to the address that it was made for.
func target(e *Env) (cluster, error) {
	address, token := e.Get("DCOS_URL"), e.Get("DCOS_ACS_TOKEN")
	known, err := clustersOf(e)
	if err != nil && address == "" {
		return cluster{}, err
	}
	var one cluster
	if err == nil {
		one, err = known.current(e)
	}
	if address != "" {
		if address, err = clusterURL(address); err != nil {
			return cluster{}, err
		}
		if address != one.URL {
			one = cluster{URL: address}
		}
	}
	if err != nil {
		return cluster{}, err
	}
	if token != "" {
		one.Token = token
	}
	switch {
	case e.Get("DCOS_SSL_VERIFY") != "":
		one.SSLVerify = e.Get("DCOS_SSL_VERIFY")
	case e.Get("DCOS_TLS_CA_PATH") != "":
		one.SSLVerify = e.Get("DCOS_TLS_CA_PATH")
	case e.Get("DCOS_TLS_INSECURE") == "1":
		one.SSLVerify = "false"
	}
	return one, nil
}

// clusterURL makes a URL of what people type: the scheme may be missing.
func clusterURL(s string) (string, error) {
	if !strings.Contains(s, "://") {
		s = "https://" + s
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil {
		return "", usagef("%q is no address of a cluster, expected https://HOST[:PORT]", s)
	}
	return u.Scheme + "://" + strings.ToLower(u.Host) + strings.TrimSuffix(u.Path, "/"), nil
}

// connect makes a client for the cluster that the command talks to.
func connect(e *Env) (*client.Client, error) {
	one, err := target(e)
	if err != nil {
		return nil, err
	}
	return dial(one)
}

func dial(one cluster) (*client.Client, error) {
	c := client.Config{URL: one.URL, Token: one.Token, UserAgent: "dcos/" + config.Version}
	switch strings.ToLower(one.SSLVerify) {
	case "", "true", "1", "yes":
	case "false", "0", "no":
		c.Insecure = true
	default:
		ca, err := os.ReadFile(one.SSLVerify)
		if err != nil {
			return nil, fmt.Errorf("read the CA of cluster %s: %w; attach it anew with `dcos cluster setup %s`", one.Name, err, one.URL)
		}
		c.CA = ca
	}
	return client.New(c)
}

// notFound is an error of that kind with what to do next.
func notFound(what, next string) error {
	return told{what: what, next: next, err: fmt.Errorf("%s: %w", what, dcos.ErrNotFound)}
}

// isNotFound says that a thing is not there, as opposed to not reachable.
func isNotFound(err error) bool { return errors.Is(err, dcos.ErrNotFound) }
