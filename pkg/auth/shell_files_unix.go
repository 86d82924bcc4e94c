//go:build unix

package auth

import (
	"fmt"
	"os"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// checkMode refuses secrets that others can read.
func checkMode(f *os.File) error {
	st, err := f.Stat()
	if err != nil {
		return fmt.Errorf("read secrets: %w", err)
	}
	if !st.Mode().IsRegular() || st.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%w: %s must be a file that only its owner can read: run chmod 600 on it", dcos.ErrInvalid, f.Name())
	}
	return nil
}

// syncDir makes a rename in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}
