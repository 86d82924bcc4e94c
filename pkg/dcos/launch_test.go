package dcos

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/dcos-go/dcos/pkg/resource"
)

func launched() (*App, *Task, *Node) {
	grace := int64(9000)
	app := &App{
		ID: "/prod/db", Cmd: "run", User: "nobody", KillGraceMillis: &grace,
		Need: resource.Set{CPUs: 100, Mem: resource.Whole(128), GPUs: 1},
		Env:  map[string]string{"OWN": "x", "PORT1": "mine", "HOST": "elsewhere"},
		Labels: map[string]string{
			"team": "core", "HAPROXY_0-VHOST": "db.example", strings.Repeat("k", maxLabelKey): "key too long", "long": strings.Repeat("v", maxLabelValue),
		},
		Container: &Container{Type: "DOCKER", Image: "redis:7", ForcePull: true},
		Ports:     []PortDef{{Port: 10005, Protocol: "tcp", Name: "client"}, {Protocol: "tcp"}},
	}
	task := &Task{
		ID: NewTaskID("/prod/db", 7, 2, 3), App: "/prod/db", Version: 1767225600000, Epoch: 42,
		Need: resource.Set{CPUs: 100, Mem: resource.Whole(128), GPUs: 1, Ports: resource.PortSet(31005, 31009)}, Ports: []uint16{31005, 31009},
	}
	return app, task, &Node{ID: "n1", Hostname: "h1.example"}
}

func TestLaunchTellsAnAgentAllItNeeds(t *testing.T) {
	t.Parallel()
	app, task, node := launched()
	got := NewLaunch(app, task, node)
	want := Launch{
		Task: task.ID, App: "/prod/db", Epoch: 42, Instance: InstanceID("/prod/db", 7, 2),
		Image: "redis:7", ForcePull: true, Cmd: "run", User: "nobody", Need: task.Need, Ports: task.Ports, KillGraceMillis: 9000,
		Env: map[string]string{
			"MESOS_TASK_ID":                      string(task.ID),
			"MARATHON_APP_ID":                    "/prod/db",
			"MARATHON_APP_VERSION":               "2026-01-01T00:00:00.000Z",
			"MARATHON_APP_DOCKER_IMAGE":          "redis:7",
			"MARATHON_APP_RESOURCE_CPUS":         "0.1",
			"MARATHON_APP_RESOURCE_MEM":          "128.0",
			"MARATHON_APP_RESOURCE_DISK":         "0.0",
			"MARATHON_APP_RESOURCE_GPUS":         "1",
			"MARATHON_APP_ENFORCE_GROUP_ROLE":    "FALSE",
			"MARATHON_APP_LABELS":                "HAPROXY_0_VHOST TEAM",
			"MARATHON_APP_LABEL_HAPROXY_0_VHOST": "db.example",
			"MARATHON_APP_LABEL_TEAM":            "core",
			"HOST":                               "elsewhere",
			"PORT":                               "31005",
			"PORT0":                              "31005",
			"PORT1":                              "mine",
			"PORTS":                              "31005,31009",
			"PORT_10005":                         "31005",
			"PORT_31009":                         "31009",
			"PORT_CLIENT":                        "31005",
			"OWN":                                "x",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("launch (-want +got):\n%s", diff)
	}
}

func TestLaunchWithoutImagePortsAndGrace(t *testing.T) {
	t.Parallel()
	l := NewLaunch(&App{ID: "/a", Args: []string{"x"}, Container: &Container{Type: "MESOS"}}, &Task{ID: "a.instance-1._app.1"}, &Node{Hostname: "h1"})
	for _, name := range []string{"PORT", "PORTS", "PORT0", "MARATHON_APP_DOCKER_IMAGE"} {
		if v, ok := l.Env[name]; ok {
			t.Errorf("%s is set to %q", name, v)
		}
	}
	if l.KillGraceMillis != DefaultKillGraceMillis || l.Image != "" || l.Env["HOST"] != "h1" || l.Env["MARATHON_APP_LABELS"] != "" {
		t.Errorf("launch %+v", l)
	}
}

func TestLaunchIsTheSameEveryTimeAndLeavesTheAppAlone(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		app, task, node := launched()
		app.Env = rapid.MapOf(rapid.StringMatching(`[A-Z_]{1,8}`), rapid.String()).Draw(t, "env")
		app.Labels = rapid.MapOf(rapid.StringMatching(`[a-zA-Z.-]{1,4}`), rapid.String()).Draw(t, "labels")
		before := len(app.Env)
		first, second := NewLaunch(app, task, node), NewLaunch(app, task, node)
		if diff := cmp.Diff(first, second); diff != "" {
			t.Fatalf("twice:\n%s", diff)
		}
		if len(app.Env) != before {
			t.Fatalf("the app's environment grew to %v", app.Env)
		}
		for k, v := range app.Env {
			if first.Env[k] != v {
				t.Fatalf("the app sets %s to %q, the launch to %q", k, v, first.Env[k])
			}
		}
	})
}

func TestLabelNamesAreFitForTheEnvironment(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"a": "A", "a.b": "A_B", "a.-b": "A_B", "a__b": "A__B", "é": "_", ".a.": "_A_", "9": "9"} {
		if got := labelName(in); got != want {
			t.Errorf("labelName(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestEndsAreToldInWords(t *testing.T) {
	t.Parallel()
	for want, e := range map[string]Exit{
		"exited with code 0":                            {},
		"exited with code 7":                            {Code: 7},
		"killed by signal 9":                            {Code: -1, Signal: 9},
		"killed: memory limit exceeded":                 {Code: -1, Signal: 9, OOM: true},
		"ended while nobody watched, exit code unknown": {Code: -1, Unknown: true},
	} {
		if e.String() != want {
			t.Errorf("%+v is told as %q, want %q", e, e, want)
		}
	}
}
