package integration

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// dcos runs the command line against the cluster, by way of any master that
// answers, and gives its standard output.
func (c *cluster) dcos(t *testing.T, args ...string) (string, error) {
	t.Helper()
	binary, err := builtBinary()
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	ca := filepath.Join(home, "ca.crt")
	if err := os.WriteFile(ca, c.ca, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "DCOS_URL=" + c.someURL(ctx), "DCOS_ACS_TOKEN=" + c.token, "DCOS_TLS_CA_PATH=" + ca}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("dcos %s: %w: %s", strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String(), nil
}

// someURL is the address of a master that answers right now.
func (c *cluster) someURL(ctx context.Context) string {
	for _, h := range c.masters {
		if h.PID1() == 0 {
			continue
		}
		if conn, err := dialer.DialContext(ctx, "tcp", h.IP()+":8443"); err == nil {
			conn.Close()
			return apiURL(h)
		}
	}
	return apiURL(c.masters[0])
}

// packageInstall installs a package by the command line.
func (c *cluster) packageInstall(t *testing.T, name, options string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "options.json")
	if err := os.WriteFile(file, []byte(options), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := c.dcos(t, "package", "install", name, "--yes", "--options", file); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
