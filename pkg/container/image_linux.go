package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// sandboxInside is where a task with an image finds its sandbox, as under Mesos.
const sandboxInside = "/mnt/mesos/sandbox"

const (
	overlayDir   = "ov" // below the run directory: upper, work, merged, links to layers
	containerDir = "lc" // below the run directory: libcontainer's state
)

// helperPlan is what the helper is told: a process of this binary that makes
// the container in the shim's mount namespace and leaves it to the shim.
type helperPlan struct {
	Dir   string
	Group string
	Caps  Capabilities
	Spec  dcos.Spec
}

// planImage is the plan of a container from image layers.
func (r *Runtime) planImage(p *plan, dir string, s dcos.Spec) error {
	if s.WorkDir == "" {
		s.WorkDir = sandboxInside
	}
	if err := checkDir(s); err != nil {
		return err
	}
	for _, layer := range s.Lower {
		if _, err := os.Stat(layer); err != nil {
			return fmt.Errorf("%w: image layer: %w: pull the image again", dcos.ErrUnavailable, err)
		}
	}
	m, err := r.group(filepath.Base(dir), &cgroups.Resources{SkipDevices: true})
	if err != nil {
		return err
	}
	p.add("oom", r.oomFile(m))
	text, err := json.Marshal(helperPlan{Dir: dir, Group: r.groupPath(filepath.Base(dir)), Caps: r.caps, Spec: s})
	if err != nil {
		return err
	}
	p.add("helper", string(text))
	return nil
}

// Layers are the image layers that tasks stand on, as paths on the host: of
// every run directory that there is, whoever started what is in it.
func (r *Runtime) Layers() ([]string, error) {
	dirs, err := os.ReadDir(r.dir)
	if err != nil {
		return nil, fmt.Errorf("layers in use: %w", err)
	}
	seen := make(map[string]bool)
	var all []string
	for _, d := range dirs {
		base := filepath.Join(r.dir, d.Name(), overlayDir)
		links, err := os.ReadDir(base)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
			continue // a task without an image, or one that was removed meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("layers in use: %w", err)
		}
		for _, l := range links {
			if l.Type()&fs.ModeSymlink == 0 {
				continue
			}
			layer, err := os.Readlink(filepath.Join(base, l.Name()))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("layers in use: %w", err)
			}
			if err == nil && !seen[layer] {
				seen[layer] = true
				all = append(all, layer)
			}
		}
	}
	return all, nil
}

// mountOverlay puts the image's layers and a writable one together and returns
// the root. Layers go by short links: a mount's options must fit into one page.
func mountOverlay(dir string, lower []string) (string, error) {
	base := filepath.Join(dir, overlayDir)
	for _, name := range []string{"", "u", "w", "m"} {
		if err := os.MkdirAll(filepath.Join(base, name), 0o755); err != nil {
			return "", err
		}
	}
	options := "upperdir=u,workdir=w,lowerdir="
	for i, layer := range lower {
		name := strconv.Itoa(i)
		if err := os.Symlink(layer, filepath.Join(base, name)); err != nil {
			return "", err
		}
		if i > 0 {
			options += ":"
		}
		options += name
	}
	if len(options) >= os.Getpagesize() {
		return "", fmt.Errorf("%w: image of %d layers", dcos.ErrInvalid, len(lower))
	}
	if err := os.Chdir(base); err != nil {
		return "", err
	}
	if err := unix.Mount("overlay", "m", "overlay", 0, options); err != nil {
		return "", fmt.Errorf("overlay of %d layers in %s (the data directory must not itself be on an overlay): %w", len(lower), base, err)
	}
	return filepath.Join(base, "m"), os.Chdir("/")
}

// imageUser finds the user in the image's own files, opened by handle: their
// names are a stranger's.
func imageUser(root, name string) (identity, error) {
	if name == "" {
		name = "0:0"
	}
	dir, err := os.OpenRoot(root)
	if err != nil {
		return identity{}, err
	}
	defer dir.Close()
	passwd, err := rootFile(dir, "etc/passwd")
	if err != nil {
		return identity{}, err
	}
	defer passwd.Close()
	group, err := rootFile(dir, "etc/group")
	if err != nil {
		return identity{}, err
	}
	defer group.Close()
	return resolve(name, passwd, group)
}

// containerConfig is the container as libcontainer takes it.
func containerConfig(h helperPlan, root string, who identity) (*configs.Config, error) {
	spec, err := containerSpec(h, root, who)
	if err != nil {
		return nil, err
	}
	config, err := specconv.CreateLibcontainerConfig(&specconv.CreateOpts{CgroupName: filepath.Base(h.Group), Spec: spec})
	if err != nil {
		return nil, fmt.Errorf("container: %w", err)
	}
	r := &Runtime{caps: h.Caps}
	config.Cgroups.Resources = r.resources(h.Spec.Limits)
	return config, nil
}

func containerSpec(h helperPlan, root string, who identity) (*specs.Spec, error) {
	filter, err := seccompSpec()
	if err != nil {
		return nil, err
	}
	caps := &specs.LinuxCapabilities{Bounding: defaultCaps}
	if who.uid == 0 {
		caps.Effective, caps.Permitted = defaultCaps, defaultCaps
	}
	return &specs.Spec{
		Version: specs.Version,
		Root:    &specs.Root{Path: root},
		Process: &specs.Process{Args: h.Spec.Argv, Cwd: h.Spec.WorkDir, Capabilities: caps, NoNewPrivileges: true},
		Mounts:  containerMounts(h.Spec.Sandbox),
		Linux: &specs.Linux{
			CgroupsPath: h.Group,
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace},
				{Type: specs.MountNamespace},
				{Type: specs.IPCNamespace},
				{Type: specs.UTSNamespace},
				{Type: specs.CgroupNamespace},
			},
			MaskedPaths: maskedPaths, ReadonlyPaths: append([]string{"/sys/fs/cgroup"}, readonlyPaths...),
			Seccomp: filter, RootfsPropagation: "rslave",
			Resources: &specs.LinuxResources{},
		},
	}, nil
}

func containerMounts(sandbox string) []specs.Mount {
	mounts := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "nodev", "noexec"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "nodev", "noexec", "mode=1777", "size=65536k"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "nodev", "noexec"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "nodev", "noexec", "ro"}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "nodev", "noexec", "relatime", "ro"}},
		{Destination: sandboxInside, Type: "bind", Source: sandbox, Options: []string{"rbind", "rw", "nosuid", "nodev"}},
	}
	// The network is the host's, and so are its names.
	for _, file := range []string{"/etc/resolv.conf", "/etc/hosts", "/etc/hostname"} {
		if _, err := os.Stat(file); err == nil {
			mounts = append(mounts, specs.Mount{Destination: file, Type: "bind", Source: file, Options: []string{"bind", "ro", "nosuid", "nodev", "noexec"}})
		}
	}
	return mounts
}
