package auth

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/link"
)

// secretsFile holds Secrets in a master's directory.
const secretsFile = "secrets.pem"

// SaveSecrets writes a master's secrets, for its owner's eyes only. Once it
// has returned they survive a crash; a crash before leaves the old ones.
func SaveSecrets(dir string, s *Secrets) error {
	b, err := EncodeSecrets(s)
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(dir, secretsFile), b)
}

// LoadSecrets reads them back; dcos.ErrNotFound when there are none.
func LoadSecrets(dir string) (*Secrets, error) {
	path := filepath.Join(dir, secretsFile)
	b, err := readPrivate(path)
	if err != nil {
		return nil, err
	}
	s, err := DecodeSecrets(b)
	if err != nil {
		return nil, damaged(path, err)
	}
	return s, nil
}

// SaveCredentials writes a machine's certificate and key of one role, with the
// same promises as SaveSecrets.
func SaveCredentials(dir string, c *link.Credentials) error {
	b, err := EncodeCredentials(c)
	if err != nil {
		return err
	}
	return replaceFile(credentialsPath(dir, c.Self.Role), b)
}

// LoadCredentials reads them back; dcos.ErrNotFound when there are none.
func LoadCredentials(dir string, role dcos.Role) (*link.Credentials, error) {
	path := credentialsPath(dir, role)
	b, err := readPrivate(path)
	if err != nil {
		return nil, err
	}
	c, err := DecodeCredentials(b)
	if err == nil && c.Self.Role != role {
		err = fmt.Errorf("%w: it is a certificate of the role %s", dcos.ErrInvalid, c.Self.Role)
	}
	if err != nil {
		return nil, damaged(path, err)
	}
	return c, nil
}

func credentialsPath(dir string, role dcos.Role) string {
	return filepath.Join(dir, string(role)+".pem")
}

func damaged(path string, err error) error {
	return fmt.Errorf("read %s: %w; restore the file, or delete it and join the machine again", path, err)
}

// readPrivate reads a bounded file that must be closed to other users.
func readPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", dcos.ErrNotFound, path)
	}
	if err != nil {
		return nil, fmt.Errorf("read secrets: %w", err)
	}
	defer f.Close()
	if err := checkMode(f); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxPEM+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return b, nil
}

// replaceFile writes a file of mode 0600 such that after a crash there is
// either the old or the new one, whole.
func replaceFile(path string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	// The name is fixed, so that crashes leave one stray file at most; Remove
	// and O_EXCL keep its mode and owner ours.
	tmp := path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("write %s: %w", path, err)
	}
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		os.Remove(tmp) // the first error counts
		return fmt.Errorf("write %s: %w", path, err)
	}
	return syncDir(filepath.Dir(path))
}
