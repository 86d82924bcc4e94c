package membership

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/hashicorp/memberlist"

	"github.com/dcos-go/dcos/pkg/dcos"
)

const (
	keySize    = 32 // AES-256
	maxKeys    = 8
	maxKeyring = 4096 // bytes of the file
)

func encodeKey(k []byte) string { return base64.StdEncoding.EncodeToString(k) }

// goodSuffix is the second copy of the file, for a first one that was damaged.
const goodSuffix = ".good"

// openKeyring takes the keys from the file, or from the configuration when
// there is no file yet.
func openKeyring(path string, given [][]byte) (*memberlist.Keyring, error) {
	keys, err := loadKeys(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		keys = given
	case err != nil:
		good, gerr := loadKeys(path + goodSuffix)
		if gerr != nil {
			return nil, fmt.Errorf("gossip keyring: %w; delete the file to start with the keys of the last join", err)
		}
		keys = good
	}
	if err := checkKeys(keys); err != nil {
		return nil, err
	}
	if path != "" {
		for _, p := range []string{path, path + goodSuffix} {
			if err := WriteKeyring(p, keys); err != nil {
				return nil, err
			}
		}
	}
	ring, err := memberlist.NewKeyring(keys, keys[0])
	if err != nil {
		return nil, fmt.Errorf("gossip keyring: %w: %w", dcos.ErrInvalid, err)
	}
	return ring, nil
}

func checkKeys(keys [][]byte) error {
	if len(keys) == 0 {
		return fmt.Errorf("%w: gossip without a key is refused; join the cluster to get one", dcos.ErrInvalid)
	}
	if len(keys) > maxKeys {
		return fmt.Errorf("%w: %d gossip keys, at most %d", dcos.ErrInvalid, len(keys), maxKeys)
	}
	for _, k := range keys {
		if len(k) != keySize {
			return fmt.Errorf("%w: gossip key of %d bytes, expected %d", dcos.ErrInvalid, len(k), keySize)
		}
	}
	return nil
}

func loadKeys(path string) ([][]byte, error) {
	if path == "" {
		return nil, os.ErrNotExist
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxKeyring+1))
	if err != nil {
		return nil, err
	}
	keys, err := decodeKeys(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return keys, nil
}

// decodeKeys reads serf's form: a JSON list of base64, the first encrypts. Its
// errors quote nothing of the keys.
func decodeKeys(b []byte) ([][]byte, error) {
	var texts []string
	if len(b) > maxKeyring || json.Unmarshal(b, &texts) != nil {
		return nil, fmt.Errorf("%w: damaged keyring", dcos.ErrInvalid)
	}
	var keys [][]byte
	for _, t := range texts {
		k, err := base64.StdEncoding.Strict().DecodeString(t)
		if err != nil {
			return nil, fmt.Errorf("%w: damaged key in the keyring", dcos.ErrInvalid)
		}
		keys = append(keys, k)
	}
	return keys, checkKeys(keys)
}

// WriteKeyring replaces a keyring file, readable for its owner only. After a
// crash there is either the old or the new one, whole. It must not be used
// while a Gossip has the file open.
func WriteKeyring(path string, keys [][]byte) error {
	if err := checkKeys(keys); err != nil {
		return err
	}
	texts := make([]string, 0, len(keys))
	for _, k := range keys {
		texts = append(texts, encodeKey(k))
	}
	b, err := json.MarshalIndent(texts, "", "  ")
	if err == nil {
		err = replace(path, b)
	}
	if err != nil {
		return fmt.Errorf("write gossip keyring: %w", err)
	}
	return nil
}

func replace(path string, b []byte) error {
	tmp := path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
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
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
