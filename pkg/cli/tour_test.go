package cli

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
)

const clock = `{"id": "/clock", "cmd": "while sleep 1; do date; done", "cpus": 0.1, "mem": 32}`

func TestTheTourOfTheReadmeRuns(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	w.attach()
	w.live()
	out, _ := w.run(exitOK, "", "cluster", "status")
	contains(t, out, "test (c0ffee00-0000-4000-8000-000000000001)", "1 of 1 alive", "Health    ok")
	out, _ = w.run(exitOK, "", "node", "list")
	contains(t, out, "HOSTNAME", "n1.example", "master (leader)", "ACTIVE", "0/4")
	out, _ = w.run(exitOK, "", "package", "search")
	contains(t, out, "NAME", "hello-world", "redis", "True")
	out, errs := w.run(exitOK, `{"service": {"name": "greeter", "instances": 2}, "hello": {"message": "Good morning"}}`,
		"package", "install", "hello-world", "--yes", "--options", "-")
	contains(t, out, "Installed hello-world", "as /greeter")
	contains(t, errs, "/greeter: 2 of 2 running", "hello-world is starting")
	out, _ = w.run(exitOK, "", "task", "list", "greeter")
	if n := strings.Count(out, "running"); n != 2 {
		t.Errorf("%d tasks run, want 2:\n%s", n, out)
	}
	out, _ = w.run(exitOK, "", "why", "/greeter")
	contains(t, out, "/greeter: 2 of 2 running")

	out, errs = w.run(exitOK, clock, "marathon", "app", "add")
	contains(t, out, "Created deployment ")
	contains(t, errs, "/clock: 1 of 1 running")
	out, _ = w.run(exitOK, "", "marathon", "app", "list")
	contains(t, out, "ID        MEM  CPUS  TASKS  STATE", "/clock     32   0.1  1/1    running", "/greeter")
	id := taskIDs(w)[0]
	w.writeLog(id, "stdout", "one\ntwo\nthree\nfour\n")
	out, _ = w.run(exitOK, "", "task", "log", "clock", "--lines", "3")
	if out != "two\nthree\nfour\n" {
		t.Errorf("the last three lines are %q", out)
	}
	_, errs = w.run(exitOK, "", "marathon", "app", "update", "/clock", "instances=3")
	contains(t, errs, "/clock: 3 of 3 running")
	if ids := taskIDs(w); len(ids) != 3 {
		t.Errorf("tasks %v, want 3", ids)
	}
	_, errs = w.run(exitOK, `{"id": "/giant", "cmd": "sleep 1000", "cpus": 1000, "mem": 32}`, "marathon", "app", "add")
	contains(t, errs, "/giant is accepted and waits", "Try: dcos why /giant")
	out, _ = w.run(exitOK, "", "why", "/giant")
	contains(t, out, "0 of 1 running", "Try: ask for")
	_, errs = w.run(exitOK, "", "marathon", "app", "remove", "/giant")
	contains(t, errs, "/giant is removed")
	w.run(exitOK, "", "marathon", "app", "remove", "/clock")
	out, errs = w.run(exitOK, "", "package", "uninstall", "hello-world", "--app-id", "/greeter", "--yes")
	contains(t, out, "Uninstalled hello-world")
	contains(t, errs, "/greeter is removed", "hello-world is gone")
	out, errs = w.run(exitOK, "", "package", "list")
	if out != "" || !strings.Contains(errs, "nothing is installed") {
		t.Errorf("an empty list printed %q and said %q", out, errs)
	}
}

// taskIDs are the tasks of /clock.
func taskIDs(w *world) []dcos.TaskID {
	out, _ := w.run(exitOK, "", "task", "list", "clock", "--quiet")
	var ids []dcos.TaskID
	for line := range strings.Lines(out) {
		ids = append(ids, dcos.TaskID(strings.TrimSpace(line)))
	}
	slices.Sort(ids)
	return ids
}

func TestAppsStartStopRestartAndShow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	w.attach()
	w.live()
	w.run(exitOK, clock, "marathon", "app", "add", "-")
	var app client.App
	out, _ := w.run(exitOK, "", "marathon", "app", "show", "clock")
	if err := json.Unmarshal([]byte(out), &app); err != nil || app.ID != "/clock" || app.TasksRunning != 1 {
		t.Errorf("show: %v, %s", err, out)
	}
	w.run(exitOK, "", "marathon", "app", "update", "clock", "cmd=true", `env={"A": "b"}`)
	out, _ = w.run(exitOK, "", "marathon", "app", "show", "clock", "--app-version", "-1")
	contains(t, out, "while sleep 1")
	out, _ = w.run(exitOK, "", "marathon", "app", "show", "clock")
	contains(t, out, `"cmd": "true"`, `"A": "b"`)
	var versions []string
	out, _ = w.run(exitOK, "", "marathon", "app", "version", "list", "clock", "--max-count", "2")
	if err := json.Unmarshal([]byte(out), &versions); err != nil || len(versions) != 2 {
		t.Errorf("versions: %v, %s", err, out)
	}
	before := taskIDs(w)
	w.run(exitOK, "", "marathon", "app", "restart", "clock")
	if after := taskIDs(w); slices.Equal(before, after) {
		t.Errorf("a restart kept the tasks %v", after)
	}
	_, errs := w.run(exitOK, "", "marathon", "app", "stop", "clock")
	contains(t, errs, "0 of 0 running")
	_, errs = w.run(exitOK, "", "marathon", "app", "stop", "clock")
	contains(t, errs, "stopped already")
	w.run(exitOK, "", "marathon", "app", "start", "clock", "2")
	_, errs = w.run(exitOK, "", "marathon", "app", "start", "clock")
	contains(t, errs, "started already and has 2 instances")
	out, _ = w.run(exitOK, "", "marathon", "task", "list", "clock", "--json")
	contains(t, out, `"appId": "/clock"`)
	out, _ = w.run(exitOK, "", "marathon", "app", "kill", "clock")
	if n := strings.Count(out, "clock.instance"); n != 2 {
		t.Errorf("%d killed, want 2: %s", n, out)
	}
}
