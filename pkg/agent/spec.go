package agent

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/resource"
)

// Facts are what only the node knows of a launch.
type Facts struct {
	Isolation dcos.Isolation
	Sandbox   string // the task's directory on the host
	Binary    string // path of the dcos executable
	LogBytes  int64
	Pids      int64
}

// The places that a task sees.
const (
	imageSandbox = "/mnt/mesos/sandbox" // where an image task sees its sandbox
	defaultPath  = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// MakeSpec makes a launch concrete on a node. It fails with dcos.ErrInvalid
// when the node can never run it. The image is nil for tasks without one.
func MakeSpec(l *dcos.Launch, img *dcos.Unpacked, f Facts) (dcos.Spec, error) {
	s := dcos.Spec{
		Task: l.Task, Kind: kindOf(l, f), Sandbox: f.Sandbox, WorkDir: f.Sandbox, User: userOf(l, img),
		Limits: dcos.Limits{
			CPUs: l.Need.CPUs, MemBytes: mebibytes(l.Need.Mem), DiskBytes: mebibytes(l.Need.Disk), Pids: f.Pids, LogBytes: f.LogBytes,
		},
	}
	if s.Kind == dcos.KindImage {
		if img == nil || f.Isolation != dcos.IsolationContainer {
			return dcos.Spec{}, fmt.Errorf("%w: image %s cannot run on this node: its agent runs plain processes only, start it as root or ask for a node that runs containers", dcos.ErrInvalid, l.Image)
		}
		s.Lower, s.StopSignal = img.Lower, img.StopSignal
		s.WorkDir = img.WorkDir
		if s.WorkDir == "" {
			s.WorkDir = "/"
		}
	}
	var err error
	if s.Argv, err = argv(l, img); err != nil {
		return dcos.Spec{}, err
	}
	s.Env, err = environ(l, img, f, s.Kind)
	return s, err
}

func kindOf(l *dcos.Launch, f Facts) dcos.Kind {
	switch {
	case l.Image != "":
		return dcos.KindImage
	case f.Isolation == dcos.IsolationContainer:
		return dcos.KindCommand
	}
	return dcos.KindProcess
}

func userOf(l *dcos.Launch, img *dcos.Unpacked) string {
	if l.User == "" && img != nil {
		return img.User
	}
	return l.User
}

// sandboxOwner is the user that a sandbox is made for. A name in an image means
// nothing on the host: there the runtime, which looks it up inside, gives the
// directory to the user.
func sandboxOwner(l *dcos.Launch, img *dcos.Unpacked) string {
	u := userOf(l, img)
	if img != nil && (u == "" || u[0] < '0' || u[0] > '9') {
		return ""
	}
	return u
}

// mebibytes is an amount of MiB in bytes.
func mebibytes(s resource.Scalar) int64 { return int64(s)/1000<<20 + int64(s)%1000<<20/1000 }

// argv follows Marathon and docker run: a command goes through the shell and
// sets the entry point aside; arguments replace the image's own and go to its
// entry point; without an image they are the whole command.
func argv(l *dcos.Launch, img *dcos.Unpacked) ([]string, error) {
	var out []string
	switch {
	case l.Cmd != "":
		out = []string{"/bin/sh", "-c", l.Cmd}
	case img == nil:
		out = slices.Clone(l.Args)
	case len(l.Args) > 0:
		out = slices.Concat(img.Entrypoint, l.Args)
	default:
		out = slices.Concat(img.Entrypoint, img.Cmd)
	}
	if len(out) == 0 || out[0] == "" {
		if img != nil {
			return nil, fmt.Errorf("%w: image %s has neither entry point nor command: give the app a cmd or args", dcos.ErrInvalid, l.Image)
		}
		return nil, fmt.Errorf("%w: nothing to run: give the app a cmd or args", dcos.ErrInvalid)
	}
	for _, a := range out {
		if strings.ContainsRune(a, 0) {
			return nil, fmt.Errorf("%w: the command holds a zero byte", dcos.ErrInvalid)
		}
	}
	return out, nil
}

// environ is the image's variables, then what the node adds, then the
// launch's, each winning over those before.
func environ(l *dcos.Launch, img *dcos.Unpacked, f Facts, kind dcos.Kind) ([]string, error) {
	env := map[string]string{"PATH": defaultPath}
	sandbox := f.Sandbox
	if kind == dcos.KindImage {
		sandbox = imageSandbox
		for _, kv := range img.Env {
			if k, v, ok := strings.Cut(kv, "="); ok && k != "" {
				env[k] = v
			}
		}
	} else {
		env["HOME"] = sandbox
		env["DCOS_BINARY"] = f.Binary
	}
	env["MESOS_SANDBOX"] = sandbox
	env["MESOS_CONTAINER_NAME"] = "mesos-" + string(l.Task)
	maps.Copy(env, l.Env)
	out := make([]string, 0, len(env))
	for _, k := range sortedKeys(env) {
		if k == "" || strings.ContainsAny(k, "=\x00") || strings.ContainsRune(env[k], 0) {
			return nil, fmt.Errorf("%w: environment variable %q: names have no = and neither part has a zero byte", dcos.ErrInvalid, cut(k))
		}
		out = append(out, k+"="+env[k])
	}
	return out, nil
}
