package hosts

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/dcos-go/dcos/integration/hosts/cache"
)

// Root is the file system that all hosts start from. Nobody writes to it.
type Root struct {
	Dir     string // the root file system: a directory
	KeyFile string // the private ssh key that root of every host accepts
	HostKey string // every host's ed25519 key, as a line of known_hosts has it
}

const suite = "bookworm"

var basePackages = []string{
	"systemd", "systemd-sysv", "dbus", "openssh-server", "iproute2", "iputils-ping", "procps", "kmod",
	"ca-certificates", "nftables", "curl", "util-linux", "e2fsprogs", "redis-tools",
}

// masked units either need what a host in namespaces has not, or would change
// the machine below (systemd-sysctl), or only make noise. Timers would run
// apt or remove files while a test looks.
var masked = []string{
	"systemd-sysctl.service", "systemd-udevd.service", "systemd-udevd-control.socket", "systemd-udevd-kernel.socket",
	"systemd-udev-trigger.service", "systemd-resolved.service", "systemd-networkd-wait-online.service",
	"systemd-logind.service", "systemd-binfmt.service", "systemd-pstore.service", "systemd-modules-load.service",
	"systemd-timesyncd.service", "proc-sys-fs-binfmt_misc.automount", "proc-sys-fs-binfmt_misc.mount",
	"sys-kernel-debug.mount", "sys-kernel-tracing.mount", "sys-fs-fuse-connections.mount", "dev-hugepages.mount",
	"getty@tty1.service", "console-getty.service", "e2scrub_reap.service", "apt-daily.timer", "apt-daily-upgrade.timer",
	"dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer", "systemd-tmpfiles-clean.timer",
}

var baseFiles = map[string]string{
	"etc/machine-id":                     "",
	"etc/hostname":                       "",
	"etc/resolv.conf":                    "",
	"etc/fstab":                          "",
	"etc/ssh/sshd_config.d/test.conf":    "UseDNS no\nMaxStartups 200\nMaxSessions 200\nLogLevel ERROR\n",
	"etc/systemd/journald.conf.d/a.conf": "[Journal]\nStorage=volatile\nRuntimeMaxUse=16M\nForwardToConsole=no\nRateLimitIntervalSec=0\n",
	"etc/systemd/system.conf.d/a.conf":   "[Manager]\nDefaultTimeoutStopSec=10s\n",
}

// trimmed directories are of no use to a machine in a test.
var trimmed = []string{
	"usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "var/cache/apt", "var/lib/apt/lists", "var/log",
}

// Base returns the root file system, and builds it once for this recipe: a
// minute by debootstrap, which it installs by apt when it is missing. It needs
// root, and a way to the Debian mirror the first time.
func Base(ctx context.Context) (Root, error) {
	if os.Geteuid() != 0 {
		return Root{}, errors.New("test hosts need root: namespaces, mounts and cgroups; run the tests as root")
	}
	dir, err := cache.Build(ctx, "base-"+recipe(), buildBase)
	if err != nil {
		return Root{}, fmt.Errorf("root file system of the test hosts: %w", err)
	}
	pub, err := os.ReadFile(filepath.Join(dir, "root/etc/ssh/ssh_host_ed25519_key.pub"))
	if err != nil {
		return Root{}, fmt.Errorf("root file system of the test hosts: %w", err)
	}
	fields := strings.Fields(string(pub))
	return Root{
		Dir:     filepath.Join(dir, "root"),
		KeyFile: filepath.Join(dir, "id"),
		HostKey: strings.Join(fields[:2], " "),
	}, nil
}

// recipe is a hash of all that decides the content of the base.
func recipe() string {
	h := sha256.New()
	fmt.Fprintln(h, "v1", suite, basePackages, masked, baseFiles, trimmed)
	return hex.EncodeToString(h.Sum(nil))[:16]
}

func buildBase(ctx context.Context, dir string) error {
	if err := cache.Need(ctx, cache.Tool{Program: "debootstrap", Package: "debootstrap"}); err != nil {
		return err
	}
	root := filepath.Join(dir, "root")
	cmd := exec.CommandContext(ctx, "/usr/sbin/debootstrap", "--variant=minbase",
		"--include="+strings.Join(basePackages, ","), suite, root)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C")
	if err := cache.Run(cmd); err != nil {
		return err
	}
	for _, name := range trimmed {
		if err := emptyDir(filepath.Join(root, name)); err != nil {
			return err
		}
	}
	for _, unit := range masked {
		path := filepath.Join(root, "etc/systemd/system", unit)
		if err := errors.Join(removeIfThere(path), os.Symlink("/dev/null", path)); err != nil {
			return err
		}
	}
	for name, text := range baseFiles {
		if err := writeFile(filepath.Join(root, name), text, 0o644); err != nil {
			return err
		}
	}
	return makeKeys(dir, root)
}

func makeKeys(dir, root string) error {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	block, err := ssh.MarshalPrivateKey(private, "dcos test hosts")
	if err != nil {
		return err
	}
	line, err := ssh.NewPublicKey(public)
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(root, "root/.ssh/authorized_keys"), string(ssh.MarshalAuthorizedKey(line)), 0o600); err != nil {
		return err
	}
	if err := os.Chmod(filepath.Join(root, "root/.ssh"), 0o700); err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, "id"), string(pem.EncodeToMemory(block)), 0o600)
}

func writeFile(path, text string, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), mode)
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func emptyDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}
