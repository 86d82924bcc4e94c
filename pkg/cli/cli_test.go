package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
)

func TestMistakesHaveTheirExitCodesAndSayWhatToDo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	w.attach()
	for _, tt := range []struct {
		code  int
		in    string
		args  string
		words []string
	}{
		{exitUsage, "", "nonsense", []string{`unknown command "nonsense"`, "--help"}},
		{exitUsage, "", "marathn", []string{"Try: dcos marathon"}},
		{exitUsage, "", "marathon app lst", []string{"Try: dcos marathon app list"}},
		{exitUsage, "", "node list --nonsense", []string{"unknown flag: --nonsense"}},
		{exitUsage, "", "node list extra", []string{"takes no arguments"}},
		{exitUsage, "", "why", []string{"dcos why APP"}},
		{exitUsage, "", "task log a b c", []string{"expected: dcos task log TASK"}},
		{exitUsage, "", "task log a journal", []string{"stdout and stderr"}},
		{exitUsage, "", "task log a --lines 0", []string{"--lines 0"}},
		{exitUsage, "{bad", "marathon app add", []string{"standard input, line 1"}},
		{exitUsage, "", "marathon app add", []string{"standard input is empty"}},
		{exitUsage, "", "marathon app add /no/such/file", []string{"no such file"}},
		{exitUsage, "", "marathon app update /a instances", []string{"expected NAME=VALUE"}},
		{exitUsage, "", "marathon app start /a none", []string{"INSTANCES"}},
		{exitUsage, "", "package uninstall redis", []string{"--yes"}},
		{exitUsage, "", "package install redis --options /no/such/file", []string{"no such file"}},
		{exitUsage, "", "token create nobody", []string{"master or agent"}},
		{exitUsage, "", "user create ann --grant x", []string{"PATH=ACTION"}},
		{exitUsage, "", "user create ann", []string{"--password-file"}},
		{exitUsage, "", "cluster setup ftp://x", []string{"no address of a cluster"}},
		{exitUsage, "", "cluster remove", []string{"--all"}},
		{exitNotFound, "", "why /nope", []string{"/nope"}},
		{exitNotFound, "", "task log nope", []string{`no task matches "nope"`, "dcos task list --all"}},
		{exitNotFound, "", "task kill nope", []string{`no live task matches "nope"`}},
		{exitNotFound, "", "marathon app show nope", []string{"/nope"}},
		{exitNotFound, "", "marathon app update nope instances=1", []string{"/nope"}},
		{exitNotFound, "", "marathon task list nope", []string{"dcos marathon app list"}},
		{exitNotFound, "", "package install nope --yes", []string{"nope"}},
		{exitNotFound, "", "package uninstall redis --yes", []string{"redis"}},
		{exitNotFound, "", "node show nope", []string{"nope"}},
		{exitFailed, `{"id": "/a", "cmd": "x", "cpus": -1}`, "marathon app add", []string{"/cpus"}},
		{exitFailed, `{"id": "/a", "cmd": "x", "whatever": 1}`, "marathon app add", []string{"/whatever"}},
		{exitFailed, `{"nonsense": 1}`, "package install hello-world --yes --options -", []string{"nonsense"}},
	} {
		_, errs := w.run(tt.code, tt.in, strings.Fields(tt.args)...)
		contains(t, errs, tt.words...)
		contains(t, errs, "Error: ")
	}
}

func TestConflictsAndDeploymentsInTheWayAreTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false) // nobody schedules: deployments stay
	w.attach()
	w.run(exitOK, clock, "marathon", "app", "add", "--no-wait")
	_, errs := w.run(exitConflict, clock, "marathon", "app", "add", "--no-wait")
	contains(t, errs, "already exists")
	_, errs = w.run(exitConflict, "", "marathon", "app", "update", "clock", "instances=2")
	contains(t, errs, "held by deployment", "--force")
	out, _ := w.run(exitOK, "", "marathon", "deployment", "list")
	contains(t, out, "APP     ACTION", "/clock")
	w.run(exitOK, "", "marathon", "app", "update", "clock", "instances=2", "--force", "--no-wait")
	out, _ = w.run(exitOK, "", "marathon", "deployment", "list", "--quiet")
	w.run(exitOK, "", "marathon", "deployment", "stop", strings.TrimSpace(out))
	_, errs = w.run(exitOK, "", "marathon", "deployment", "list")
	contains(t, errs, "no deployments")
}

func TestWhoIsNotLoggedInIsToldHow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	w.attach()
	w.run(exitOK, "", "auth", "logout")
	_, errs := w.run(exitDenied, "", "node", "list")
	contains(t, errs, "Try: log in: dcos auth login")
	e, _, _ := w.env("", "auth", "login", "--username", "admin", "--password", "wrong")
	if code := Run(t.Context(), e); code != exitDenied {
		t.Errorf("a wrong password: exit code %d, want %d", code, exitDenied)
	}
	e, _, out := w.env("admin\nwrong\nadmin\n"+password+"\n", "auth", "login")
	e.TTY = true
	if code := Run(t.Context(), e); code != exitOK {
		t.Errorf("a person who mistypes once: exit code %d: %s", code, out)
	}
	w.run(exitOK, "", "node", "list")
	text, _ := w.run(exitOK, "", "auth", "list-providers")
	contains(t, text, "PROVIDER ID", "dcos-users")
}

func TestAKeptTokenIsNotSentToAnotherAddress(t *testing.T) {
	t.Parallel()
	w, other := newWorld(t, false), newWorld(t, false)
	w.attach()
	one, err := target(&Env{Home: w.home})
	if err != nil || one.Token == "" {
		t.Fatalf("%+v, %v", one, err)
	}
	e := &Env{Home: w.home, Environ: []string{"DCOS_URL=" + other.server.URL}}
	if one, err = target(e); err != nil || one.Token != "" || one.URL != other.server.URL {
		t.Errorf("with DCOS_URL: %+v, %v, want no token", one, err)
	}
	e.Environ = append(e.Environ, "DCOS_ACS_TOKEN=t", "DCOS_SSL_VERIFY=false")
	if one, err = target(e); err != nil || one.Token != "t" || one.SSLVerify != "false" {
		t.Errorf("with a token: %+v, %v", one, err)
	}
	e.Environ = []string{"DCOS_URL=" + w.server.URL}
	if one, err = target(e); err != nil || one.Token == "" {
		t.Errorf("the same address: %+v, %v, want the kept token", one, err)
	}
}

func TestAClusterThatDoesNotAnswerIsUnreachable(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	w.attach()
	w.server.Close()
	_, errs := w.run(exitUnreachable, "", "node", "list")
	contains(t, errs, "Error: the cluster cannot be reached", "Why: ", "Try: does it run?")
	// Completion says nothing at all.
	out, errs := w.run(exitOK, "", "__complete", "why", "")
	if out != ":4\n" || strings.Contains(errs, "Error") {
		t.Errorf("completion printed %q and said %q", out, errs)
	}
}

func TestNamesAreCompleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	w.attach()
	w.run(exitOK, clock, "marathon", "app", "add", "--no-wait")
	out, _ := w.run(exitOK, "", "__complete", "why", "/cl")
	if out != "/clock\n:4\n" {
		t.Errorf("completion of /cl: %q", out)
	}
	out, _ = w.run(exitOK, "", "__complete", "package", "install", "red")
	if out != "redis\n:4\n" {
		t.Errorf("completion of red: %q", out)
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if out, _ := w.run(exitOK, "", "completion", shell); !strings.Contains(out, "dcos") {
			t.Errorf("no completion for %s", shell)
		}
	}
}

func TestAnInterruptWhileWaitingLeavesTheWorkGoingOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false) // nobody schedules: it would wait for ever
	w.attach()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	e, _, errs := w.env(clock, "marathon", "app", "add", "--wait")
	e.Err = &hook{errs, "/clock: ", cancel}
	if code := Run(ctx, e); code != exitTimeout {
		t.Errorf("exit code %d, want %d", code, exitTimeout)
	}
	contains(t, errs.String(), "the work goes on", "dcos why /clock")
	_, out := w.run(exitTimeout, "", "marathon", "app", "restart", "clock", "--force", "--wait", "--timeout", "1ms")
	contains(t, out, "/clock is not done in time")
}

// hook calls a function once something is written.
type hook struct {
	*bytes.Buffer
	word string
	then func()
}

func (h *hook) Write(b []byte) (int, error) {
	if strings.Contains(string(b), h.word) {
		h.then()
	}
	return h.Buffer.Write(b)
}

func TestJSONIsWhatTheAPIAnswers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	w.attach()
	w.run(exitOK, clock, "marathon", "app", "add", "--no-wait")
	ids := w.cluster.Run("/clock", "n1")
	var tasks []client.Task
	var nodes []client.Node
	var apps []client.App
	var status client.ClusterStatus
	var why client.Why
	for _, tt := range []struct {
		args string
		into any
	}{
		{"task list --json", &tasks},
		{"node list --json", &nodes},
		{"marathon app list --json", &apps},
		{"cluster status --json", &status},
		{"why /clock --json", &why},
		{"package search --json", &client.PackageSearch{}},
		{"package describe redis", &client.PackageDescribe{}},
		{"package list --json", &[]client.PackageListed{}},
		{"token list --json", &[]client.TokenRow{}},
		{"user list --json", &[]client.User{}},
		{"master list --json", &[]client.MasterStatus{}},
		{"events --json", &[]client.Event{}},
		{"version --json", &client.Version{}},
		{"package describe redis --config", &map[string]any{}},
		{"package describe redis --render", &map[string]any{}},
		{"package describe redis --package-versions", &[]string{}},
		{"package repo list --json", &client.RepositoryList{}},
		{"auth list-providers --json", &map[string]client.Provider{}},
	} {
		out, _ := w.run(exitOK, "", strings.Fields(tt.args)...)
		d := json.NewDecoder(strings.NewReader(out))
		d.DisallowUnknownFields()
		if err := d.Decode(tt.into); err != nil {
			t.Errorf("%s: %v in %s", tt.args, err, out)
		}
	}
	if len(tasks) != 1 || tasks[0].ID != string(ids[0]) || len(nodes) != 1 || len(apps) != 1 || status.Apps != 1 || why.Running != 1 {
		t.Errorf("tasks %v, nodes %v, apps %v, status %+v, why %+v", tasks, nodes, apps, status, why)
	}
}

func TestLogsOfSeveralTasksAndOfEndedOnes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	w.attach()
	w.run(exitOK, strings.Replace(clock, `"mem"`, `"instances": 2, "mem"`, 1), "marathon", "app", "add", "--no-wait")
	_, errs := w.run(exitNotFound, "", "task", "log", "clock")
	contains(t, errs, "no task matches")
	ids := w.cluster.Run("/clock", "n1")
	w.writeLog(ids[0], "stdout", "from a\n")
	w.writeLog(ids[1], "stdout", "from b\n")
	w.writeLog(ids[1], "stderr", "oops\n")
	out, _ := w.run(exitOK, "", "task", "log", "/clock")
	contains(t, out, "===> "+string(ids[0])+":stdout <===\nfrom a\n", "===> "+string(ids[1])+":stdout <===\nfrom b\n")
	out, _ = w.run(exitOK, "", "task", "log", string(ids[1]), "stderr")
	if out != "oops\n" {
		t.Errorf("stderr: %q", out)
	}
	for _, id := range ids {
		w.cluster.Status(id, dcos.TaskFailed)
	}
	out, errs = w.run(exitOK, "", "task", "log", "clock", "--all")
	contains(t, out, "from ")
	contains(t, errs, "No task runs", "exited with code 3")
	_, errs = w.run(exitOK, "", "task", "list", "clock")
	contains(t, errs, "no tasks match")
	out, _ = w.run(exitOK, "", "task", "list", "clock", "--completed")
	contains(t, out, "failed", "exited with code 3")
}

func TestUsersAndTokensAreManaged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	w.attach()
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("another long secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.run(exitOK, "", "user", "create", "ann", "--password-file", file, "--grant", "/nodes=read")
	out, _ := w.run(exitOK, "", "user", "list")
	contains(t, out, "ID     GRANTS", "ann    /nodes=read", "admin")
	w.run(exitOK, "yet another secret", "user", "passwd", "ann", "--password-file", "-")
	w.run(exitOK, "", "auth", "login", "--username", "ann", "--password", "yet another secret")
	w.run(exitDenied, "", "user", "list")
	w.run(exitOK, "", "auth", "login", "--username", "admin", "--password", password)
	w.run(exitOK, "", "user", "remove", "ann")
	out, _ = w.run(exitOK, "", "token", "create", "agent")
	contains(t, out, "dcos install --role agent --join 10.0.0.1:7444 --token ")
	out, _ = w.run(exitOK, "", "token", "list", "--json")
	var rows []client.TokenRow
	if err := json.Unmarshal([]byte(out), &rows); err != nil || len(rows) != 1 {
		t.Fatalf("%v: %s", err, out)
	}
	w.run(exitOK, "", "token", "remove", rows[0].ID)
	_, errs := w.run(exitOK, "", "token", "list")
	contains(t, errs, "no join tokens")
}

func TestTablesAlignNumbersAndKeepToTheTerminal(t *testing.T) {
	t.Parallel()
	tb := newTable("NAME", "MEM", "NOTE")
	tb.add("a", "1.5", "x")
	tb.add("long-name", "128", "evil \x1b[2J\ntext that is rather long")
	tb.add("c", "", "")
	var out bytes.Buffer
	e := &Env{Out: &out, Err: &out, Width: 30}
	if err := tb.write(e, ""); err != nil {
		t.Fatal(err)
	}
	want := "NAME       MEM  NOTE\na          1.5  x\nlong-name  128  evil \ufffd[2J tex\u2026\nc            -  -\n"
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func FuzzFields(f *testing.F) {
	f.Add("instances=3")
	f.Add("cmd=true")
	f.Add(`env={"a":"b"}`)
	f.Add("=")
	f.Fuzz(func(t *testing.T, pair string) {
		fields, err := parseFields([]string{pair})
		if err != nil {
			return
		}
		doc, err := json.Marshal(fields)
		if err != nil {
			t.Fatalf("%q gives %q, which is no JSON: %v", pair, fields, err)
		}
		var back map[string]json.RawMessage
		if err := json.Unmarshal(doc, &back); err != nil || len(back) != 1 {
			t.Fatalf("%q gives %s: %v", pair, doc, err)
		}
	})
}

func TestFieldsAreJSONOrText(t *testing.T) {
	t.Parallel()
	got, err := parseFields([]string{"instances=3", "cmd=true", `env={"A":"b"}`, "labels=x y", "id=7"})
	if err != nil {
		t.Fatal(err)
	}
	text := map[string]string{}
	for name, value := range got {
		text[name] = string(value)
	}
	want := map[string]string{"instances": "3", "cmd": `"true"`, "env": `{"A":"b"}`, "labels": `"x y"`, "id": `"7"`}
	if d := cmp.Diff(want, text); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if _, err := parseFields([]string{"a=1", "a=2"}); err == nil {
		t.Error("a field given twice was taken")
	}
}
