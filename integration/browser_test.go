package integration

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/dcos-go/dcos/integration/leak"
)

// The page is opened in a real Chromium against a real cluster; browser.mjs
// says step by step what is done there and what has to be seen. With
// DCOS_TEST_SHOTS=DIR every screen's picture is left in DIR.
func TestSpineBrowserPage(t *testing.T) {
	dir := t.TempDir()
	leak.Check(t, leak.Scope{Match: []string{dir}})
	browserTools(t)
	d := startDev(t, "--data-dir", dir)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	script := exec.CommandContext(ctx, "node", "browser.mjs")
	script.Env = append([]string{
		"DCOS_URL=" + d.url, "DCOS_LOGIN=" + d.url + "/#/login?token=" + d.login, "DCOS_BIN=" + d.binary, "SHOTS=" + os.Getenv("DCOS_TEST_SHOTS"),
	}, d.env...)
	var out bytes.Buffer
	script.Stdout, script.Stderr = &out, &out
	script.Cancel = func() error { return script.Process.Signal(os.Interrupt) } // it ends its browser then
	script.WaitDelay = 10 * time.Second
	err := script.Run()
	t.Logf("browser.mjs:\n%s", out.String())
	if err != nil {
		t.Fatalf("the page failed: %v", err)
	}
	if !bytes.Contains(out.Bytes(), []byte("the page passed")) {
		t.Fatal("browser.mjs ended without a verdict")
	}
	if err := d.stop(syscall.SIGTERM); err != nil {
		t.Errorf("dev does not end well: %v", err)
	}
}

// browserTools installs what drives the browser, as ui/package-lock.json pins
// it, unless it is there.
func browserTools(t *testing.T) {
	t.Helper()
	ui := filepath.Join(root, "ui")
	have, err := os.Stat(filepath.Join(ui, "node_modules", ".package-lock.json"))
	want, werr := os.Stat(filepath.Join(ui, "package-lock.json"))
	if werr != nil {
		t.Fatal(werr)
	}
	if err == nil && !have.ModTime().Before(want.ModTime()) {
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "npm", "--prefix", ui, "ci", "--no-audit", "--no-fund").CombinedOutput(); err != nil {
		t.Fatalf("install the page's tools (npm --prefix ui ci): %v\n%s", err, out)
	}
}
