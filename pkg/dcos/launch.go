package dcos

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dcos-go/dcos/pkg/resource"
)

// Launch is what a node is asked to run: all an agent needs to know of a task.
type Launch struct {
	Task      TaskID            `cbor:"1,keyasint"`
	App       AppID             `cbor:"2,keyasint"`
	Epoch     Epoch             `cbor:"3,keyasint"`
	Instance  string            `cbor:"4,keyasint"`           // of all attempts at the same instance; two never run at once on a node
	Image     string            `cbor:"5,keyasint,omitempty"` // "" runs on the host's file system
	ForcePull bool              `cbor:"6,keyasint,omitempty"`
	Cmd       string            `cbor:"7,keyasint,omitempty"`
	Args      []string          `cbor:"8,keyasint,omitempty"`
	User      string            `cbor:"9,keyasint,omitempty"`
	Env       map[string]string `cbor:"10,keyasint,omitempty"` // complete but for what only the agent knows
	Need      resource.Set      `cbor:"11,keyasint"`
	Ports     []uint16          `cbor:"12,keyasint,omitempty"`
	// KillGraceMillis is the time between SIGTERM and SIGKILL.
	KillGraceMillis int64 `cbor:"13,keyasint"`
	// Fenced: it may run only while the node holds a lease (FenceLease).
	Fenced bool `cbor:"14,keyasint,omitempty"`
	// Fetch is brought into the sandbox first, in this order.
	Fetch []Artifact `cbor:"50,keyasint,omitempty"`
}

// DefaultKillGraceMillis is used where the app says nothing; Mesos' default.
const DefaultKillGraceMillis = 3000

// NewLaunch makes the launch of a placed task. The environment follows
// marathon-api section 1.10: context, then ports and HOST, then the app's own
// variables, which win. The agent adds MESOS_SANDBOX and what else it alone
// knows, below the app's own.
func NewLaunch(a *App, t *Task, n *Node) Launch {
	l := Launch{
		Task: t.ID, App: t.App, Epoch: t.Epoch, Instance: InstanceOf(t.ID),
		Cmd: a.Cmd, Args: a.Args, User: a.User,
		Need: t.Need, Ports: t.Ports, KillGraceMillis: DefaultKillGraceMillis, Fenced: a.Fence == FenceLease, Fetch: a.Fetch,
	}
	if a.Container != nil {
		l.Image, l.ForcePull = a.Container.Image, a.Container.ForcePull
	}
	if a.KillGraceMillis != nil {
		l.KillGraceMillis = *a.KillGraceMillis
	}
	l.Env = launchEnv(a, t, n)
	return l
}

// maxLabelKey and maxLabelValue are Marathon's limits for labels shown to
// tasks; longer ones are left out.
const maxLabelKey, maxLabelValue = 512 - 19, 512

func launchEnv(a *App, t *Task, n *Node) map[string]string {
	env := map[string]string{
		"MESOS_TASK_ID":                   string(t.ID),
		"MARATHON_APP_ID":                 string(a.ID),
		"MARATHON_APP_VERSION":            t.Version.String(),
		"MARATHON_APP_RESOURCE_CPUS":      double(a.Need.CPUs),
		"MARATHON_APP_RESOURCE_MEM":       double(a.Need.Mem),
		"MARATHON_APP_RESOURCE_DISK":      double(a.Need.Disk),
		"MARATHON_APP_RESOURCE_GPUS":      fmt.Sprint(a.Need.GPUs),
		"MARATHON_APP_ENFORCE_GROUP_ROLE": "FALSE",
		"HOST":                            n.Hostname,
	}
	if a.Container != nil && a.Container.Type == "DOCKER" && a.Container.Image != "" {
		env["MARATHON_APP_DOCKER_IMAGE"] = a.Container.Image
	}
	var names []string
	for _, key := range slices.Sorted(maps.Keys(a.Labels)) {
		if len(key) >= maxLabelKey || len(a.Labels[key]) >= maxLabelValue {
			continue
		}
		name := labelName(key)
		names = append(names, name)
		env["MARATHON_APP_LABEL_"+name] = a.Labels[key]
	}
	env["MARATHON_APP_LABELS"] = strings.Join(names, " ")
	portEnv(env, a.Ports, t.Ports)
	maps.Copy(env, a.Env)
	return env
}

func portEnv(env map[string]string, defs []PortDef, ports []uint16) {
	if len(ports) == 0 {
		return
	}
	all := make([]string, len(ports))
	for i, p := range ports {
		all[i] = fmt.Sprint(p)
		env[fmt.Sprintf("PORT%d", i)] = all[i]
		if i >= len(defs) {
			continue
		}
		asked := defs[i].Port
		if asked == 0 {
			asked = p
		}
		env[fmt.Sprintf("PORT_%d", asked)] = all[i]
		if defs[i].Name != "" {
			env["PORT_"+strings.ToUpper(defs[i].Name)] = all[i]
		}
	}
	env["PORT"], env["PORTS"] = all[0], strings.Join(all, ",")
}

// double prints a scalar as Java does: at least one decimal.
func double(s resource.Scalar) string {
	if text := s.String(); strings.Contains(text, ".") {
		return text
	}
	return s.String() + ".0"
}

func labelName(key string) string {
	var b strings.Builder
	gap := false
	for _, c := range []byte(strings.ToUpper(key)) {
		if (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' {
			b.WriteByte(c)
			gap = false
		} else if !gap {
			b.WriteByte('_')
			gap = true
		}
	}
	return b.String()
}

// Kind is how a process is run on a node.
type Kind uint8

// The three kinds of task (design: agent and containers).
const (
	KindImage   Kind = iota + 1 // OCI image on overlayfs, in namespaces and cgroups
	KindCommand                 // the host's file system in a private mount namespace, in cgroups
	KindProcess                 // a plain process; nothing is enforced
)

// Spec is what the runtime starts: a launch made concrete on one node.
type Spec struct {
	Task    TaskID   `cbor:"1,keyasint"`
	Kind    Kind     `cbor:"2,keyasint"`
	Argv    []string `cbor:"3,keyasint"`
	Env     []string `cbor:"4,keyasint"` // KEY=value, sorted
	WorkDir string   `cbor:"5,keyasint"` // inside the container
	Sandbox string   `cbor:"6,keyasint"` // the task's directory on the host
	User    string   `cbor:"7,keyasint,omitempty"`
	Lower   []string `cbor:"8,keyasint,omitempty"` // image layers on the host, top first
	Limits  Limits   `cbor:"9,keyasint"`
	// StopSignal is sent first on a kill; 0 is SIGTERM.
	StopSignal int `cbor:"10,keyasint,omitempty"`
	// Lease, unless zero, is when the task must have ended, by the clock of the
	// runtime, should nobody extend it (FenceLease).
	Lease time.Time `cbor:"11,keyasint,omitempty"`
}

// Limits bound a task on its node; zero is unlimited.
type Limits struct {
	CPUs      resource.Scalar `cbor:"1,keyasint"` // share and hard limit in cores
	MemBytes  int64           `cbor:"2,keyasint"`
	DiskBytes int64           `cbor:"3,keyasint"`
	Pids      int64           `cbor:"4,keyasint"`
	LogBytes  int64           `cbor:"5,keyasint"` // per stream, kept in the sandbox
}

// Exit is how a process ended.
type Exit struct {
	Code    int  `cbor:"1,keyasint"`           // exit code; -1 when it ended by a signal or the code is not known
	Signal  int  `cbor:"2,keyasint,omitempty"` // the signal that ended it
	OOM     bool `cbor:"3,keyasint,omitempty"` // the memory limit killed a process of it
	Unknown bool `cbor:"4,keyasint,omitempty"` // nobody saw the end
	At      Time `cbor:"5,keyasint,omitempty"`
}

// String tells the end in words.
func (e Exit) String() string {
	switch {
	case e.Unknown:
		return "ended while nobody watched, exit code unknown"
	case e.OOM:
		return "killed: memory limit exceeded"
	case e.Signal != 0:
		return fmt.Sprintf("killed by signal %d", e.Signal)
	}
	switch e.Code {
	case 126:
		return "exited with code 126: usually a command that may not be executed; the task's stderr names it (dcos task log TASK stderr)"
	case 127:
		return "exited with code 127: usually a command that was not found; the task's stderr names it (dcos task log TASK stderr)"
	}
	return fmt.Sprintf("exited with code %d", e.Code)
}

// Unpacked is an image ready to be run on this node.
type Unpacked struct {
	Digest     string // of the manifest that was resolved
	Lower      []string
	Entrypoint []string
	Cmd        []string
	Env        []string
	User       string
	WorkDir    string
	StopSignal int
}
