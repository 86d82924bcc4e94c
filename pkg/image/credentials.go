package image

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// Login is who a registry is asked as. What is secret in it is never printed.
type Login struct {
	User     string
	password string
	token    string // an identity token, instead of the two
}

// NewLogin is a login by name and password.
func NewLogin(user, password string) Login { return Login{User: user, password: password} }

// String implements fmt.Stringer.
func (l Login) String() string {
	if l == (Login{}) {
		return "anonymous"
	}
	return l.User + ":…"
}

// GoString implements fmt.GoStringer.
func (l Login) GoString() string { return l.String() }

// LogValue implements slog.LogValuer.
func (l Login) LogValue() slog.Value { return slog.StringValue(l.String()) }

// maxDockerConfig bounds a file of credentials.
const maxDockerConfig = 1 << 20

// dockerConfig is what is read of docker's config.json.
type dockerConfig struct {
	Auths map[string]struct {
		Auth          string `json:"auth"`
		Username      string `json:"username"`
		Password      string `json:"password"`
		IdentityToken string `json:"identitytoken"`
	} `json:"auths"`
	CredHelpers map[string]string `json:"credHelpers"`
	CredsStore  string            `json:"credsStore"`
}

// DockerConfig gives the logins of a file in the form of docker's config.json,
// as `docker login` writes it. The file is read at every call, so that a
// changed one is used at once. A file that is not there, or that others may
// read, is an error: an image that needs it must not be asked for as anybody.
// Programs that give credentials (credHelpers, credsStore) are never run; a
// registry for which only they could answer is an error.
func DockerConfig(path string) func(registry string) (Login, error) {
	return func(registry string) (Login, error) {
		c, err := readDockerConfig(path)
		if err != nil {
			return Login{}, fmt.Errorf("%w: credentials of registries: %w", dcos.ErrDenied, err)
		}
		return c.login(registry)
	}
}

func readDockerConfig(path string) (dockerConfig, error) {
	var c dockerConfig
	f, err := os.Open(path)
	if err != nil {
		var p *fs.PathError
		if errors.As(err, &p) {
			err = p.Err
		}
		return c, fmt.Errorf("file %s of image_credentials: %w", path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return c, err
	case !info.Mode().IsRegular() || info.Size() > maxDockerConfig:
		return c, fmt.Errorf("%s: want a file of at most %d bytes", path, maxDockerConfig)
	case info.Mode().Perm()&0o077 != 0:
		return c, fmt.Errorf("%s may be read by others (mode %04o): chmod 600 %s", path, info.Mode().Perm(), filepath.Base(path))
	}
	text, err := io.ReadAll(io.LimitReader(f, maxDockerConfig))
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return c, fmt.Errorf("%s: it is not what docker login writes (config.json)", path) // the reason would quote it
	}
	return c, nil
}

// login finds a registry under any of the names that docker uses for it.
func (c dockerConfig) login(registry string) (Login, error) {
	for key, a := range c.Auths {
		if !sameRegistry(key, registry) {
			continue
		}
		l := Login{User: a.Username, password: a.Password, token: a.IdentityToken}
		if a.Auth != "" {
			text, err := base64.StdEncoding.DecodeString(strings.TrimRight(a.Auth, "\x00"))
			user, password, ok := strings.Cut(string(text), ":")
			if err != nil || !ok {
				return Login{}, fmt.Errorf("%w: credentials of registry %s: its auth is not base64 of user:password: docker login %s again", dcos.ErrDenied, registry, registry)
			}
			l.User, l.password = user, strings.TrimRight(password, "\x00")
		}
		if l.token != "" {
			l.User, l.password = "", ""
		}
		if l != (Login{}) {
			return l, nil
		} // an empty entry stands for a helper
	}
	for key := range c.CredHelpers {
		if sameRegistry(key, registry) {
			return Login{}, fmt.Errorf("%w: credentials of registry %s: they come from a program (credHelpers), which is not run: put them under auths", dcos.ErrDenied, registry)
		}
	}
	if _, listed := c.Auths[registry]; listed && c.CredsStore != "" {
		return Login{}, fmt.Errorf("%w: credentials of registry %s: they are in a store of docker's (credsStore), which is not asked: put them under auths", dcos.ErrDenied, registry)
	}
	return Login{}, nil
}

// sameRegistry compares a key of auths, which may be an address, with a host.
func sameRegistry(key, registry string) bool {
	_, rest, hasScheme := strings.Cut(key, "://")
	if hasScheme {
		key = rest
	}
	key, _, _ = strings.Cut(key, "/")
	canonical := func(h string) string {
		switch h {
		case "docker.io", "registry-1.docker.io", "index.docker.io":
			return name.DefaultRegistry
		}
		return h
	}
	return canonical(key) == canonical(registry)
}
