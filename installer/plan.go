package installer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/dcos-go/dcos/pkg/config"
)

// Unit is the one systemd unit of a machine, whatever its role.
const Unit = "dcos.service"

// Install brings a machine to the wanted state and waits until it is healthy.
func Install(ctx context.Context, o Options, p Paths, m Machine, r *Report) error {
	if err := o.check(); err != nil {
		return err
	}
	conf, err := o.configFile(p)
	if err != nil {
		return err
	}
	loaded, err := config.Load(o.process(), conf, nil, nil)
	if err != nil {
		return err
	}
	if err := sameRole(p, conf); err != nil {
		return err
	}
	if err := preflight(ctx, o, m, ports(o.Role, loaded), unitState(ctx, m).active); err != nil {
		return err
	}
	r.line("ok", "preflight", "the machine is fit")
	unit := unitFile(o, p)
	changed := false // anything for which a running unit must be restarted
	last := ""       // the unit's start before this run
	steps := []step{
		fileStep("binary", p.Binary, 0o755, func() (io.ReadCloser, error) { return os.Open(o.Binary) }, &changed),
		fileStep("config", filepath.Join(p.ConfigDir, "config.yaml"), 0o600, content(conf), &changed),
		tokenStep(o, p, &changed),
		fileStep("unit", filepath.Join(p.UnitDir, Unit), 0o644, content([]byte(unit)), &changed),
		startStep(m, &changed, &last),
		healthyStep(m, o, p, &last),
	}
	return run(ctx, steps, r)
}

func (o Options) check() error {
	switch {
	case o.Role != RoleMaster && o.Role != RoleAgent && o.Role != RoleBoth:
		return fmt.Errorf("role %q: expected master, agent or both", o.Role)
	case o.Role == RoleAgent && len(o.Join) == 0:
		return errors.New("an agent joins masters: give --join ADDRESS and --token TOKEN (a master prints both: dcos token create agent)")
	case len(o.Join) > 0 && o.Token == "":
		return errors.New("joining needs a token: give --token (a master prints one: dcos token create " + o.process() + ")")
	}
	return nil
}

// process is the mode of the binary that the unit runs.
func (o Options) process() string {
	if o.Role == RoleAgent {
		return "agent"
	}
	return "master"
}

func (o Options) configFile(p Paths) ([]byte, error) {
	values := map[string]any{"data_dir": p.DataDir}
	if len(o.Join) > 0 {
		values["join"] = o.Join
		values["token_file"] = tokenFile(p)
	} else {
		values["bootstrap"] = true
	}
	if o.Role == RoleBoth {
		values["with_agent"] = true
	}
	for key := range o.Set {
		switch key {
		case "data_dir", "join", "token", "token_file", "bootstrap", "with_agent":
			return nil, fmt.Errorf("--set %s: install decides this key, by --role, --join and --token; data is always in %s", key, p.DataDir)
		}
	}
	maps.Copy(values, o.Set)
	b, err := yaml.Marshal(values) // sorted by key: the same options give the same file
	if err != nil {
		return nil, fmt.Errorf("write configuration: %w", err)
	}
	return append([]byte(roleLine+o.Role+"\n# Written by dcos install. `dcos config reference` explains every key.\n"), b...), nil
}

func tokenFile(p Paths) string { return filepath.Join(p.ConfigDir, "join-token") }

// roleLine begins the configuration, so that a second install knows the first.
const roleLine = "# Role of this machine: "

// sameRole refuses to turn an installed machine into something else: its data
// would not fit.
func sameRole(p Paths, conf []byte) error {
	old, err := os.ReadFile(filepath.Join(p.ConfigDir, "config.yaml"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the present configuration: %w", err)
	}
	was, _, _ := bytes.Cut(old, []byte("\n"))
	will, _, _ := bytes.Cut(conf, []byte("\n"))
	boots := func(b []byte) bool { return bytes.Contains(b, []byte("\nbootstrap: ")) }
	if !bytes.Equal(was, will) || boots(old) != boots(conf) {
		return errors.New("this machine is installed in another role or for another cluster: run `dcos uninstall` first")
	}
	return nil
}

func ports(role string, c config.Config) []int {
	agent := []int{c.AgentPort, c.GossipPort}
	master := []int{c.APIPort, c.PeerPort, c.GossipPort}
	switch role {
	case RoleAgent:
		return agent
	case RoleMaster:
		return master
	}
	return append(master, c.AgentPort)
}

func content(b []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
}

// fileStep makes a file have the given content and mode, atomically.
func fileStep(name, path string, mode fs.FileMode, open func() (io.ReadCloser, error), changed *bool) step {
	return step{
		name: name,
		done: func(context.Context) (bool, string, error) {
			want, err := digest(open)
			if err != nil {
				return false, "", err
			}
			have, err := digest(func() (io.ReadCloser, error) { return os.Open(path) })
			if errors.Is(err, fs.ErrNotExist) {
				return false, "", nil
			}
			if err != nil {
				return false, "", err
			}
			info, err := os.Stat(path)
			if err != nil {
				return false, "", err
			}
			return have == want && info.Mode().Perm() == mode, path, nil
		},
		do: func(context.Context) (string, error) {
			*changed = true
			return path, writeFile(path, mode, open)
		},
	}
}

func digest(open func() (io.ReadCloser, error)) (string, error) {
	f, err := open()
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return string(h.Sum(nil)), nil
}

// writeFile replaces a file by a whole new one, so that a crash leaves the old
// or the new, and a running binary is never written to.
func writeFile(path string, mode fs.FileMode, open func() (io.ReadCloser, error)) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	in, err := open()
	if err != nil {
		return err
	}
	defer in.Close()
	tmp := path + ".new"
	out, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp) // what counts is the first error
		}
	}()
	_, err = io.Copy(out, in)
	err = errors.Join(err, out.Chmod(mode), out.Sync(), out.Close())
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.Rename(tmp, path)
}

// tokenStep keeps the token where only root reads it. Once the machine has
// joined, it is removed (healthyStep), and a second run does not put it back.
func tokenStep(o Options, p Paths, changed *bool) step {
	path := tokenFile(p)
	return step{
		name: "token",
		done: func(context.Context) (bool, string, error) {
			if len(o.Join) == 0 {
				return true, "not needed", nil
			}
			if joined(p) {
				return true, "the machine has joined", nil
			}
			b, err := os.ReadFile(path)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return false, "", err
			}
			return strings.TrimSpace(string(b)) == o.Token, path, nil
		},
		do: func(context.Context) (string, error) {
			*changed = true
			return path, writeFile(path, 0o600, content([]byte(o.Token+"\n")))
		},
	}
}

// joined says whether the machine holds a certificate of its cluster.
func joined(p Paths) bool {
	for _, file := range []string{"agent/agent.pem", "master/secrets.pem"} { // the last that each writes
		if _, err := os.Stat(filepath.Join(p.DataDir, file)); err == nil {
			return true
		}
	}
	return false
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
