package state

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dcos-go/dcos/pkg/dcos"
)

var rewrite = flag.Bool("rewrite", false, "write what the traces give into testdata")

// TestTracesGiveWhatTheyGaveBefore runs testdata/*.txt: blocks of commands, a
// line "----", and what came of them, up to an empty line.
func TestTracesGiveWhatTheyGaveBefore(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no traces: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := runTrace(t, string(text))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(string(text), got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", file, diff)
			}
		})
	}
}

func runTrace(t *testing.T, text string) string {
	tr := &trace{cluster: newCluster(t)}
	tr.must(PutNode{Node: testNode("n1")})
	var out strings.Builder
	for _, block := range strings.Split(strings.TrimSpace(text), "\n\n") {
		commands, _, _ := strings.Cut(block, "\n----")
		out.WriteString(commands + "\n----\n")
		for _, line := range strings.Split(commands, "\n") {
			if line == "" || line[0] == '#' {
				continue
			}
			tr.now++
			if got := tr.run(strings.Fields(line)); got != "" {
				out.WriteString(got + "\n")
			}
		}
		out.WriteString("\n")
	}
	return out.String()
}

// trace is a cluster with words for its commands.
type trace struct {
	*cluster
	arg map[string]string
}

func (tr *trace) on(name string) bool { _, ok := tr.arg[name]; return ok }

func (tr *trace) number(name string) uint32 {
	n, err := strconv.ParseUint(tr.arg[name], 10, 32)
	if err != nil {
		tr.t.Fatalf("%s=%q: %v", name, tr.arg[name], err)
	}
	return uint32(n)
}

func (tr *trace) run(words []string) string {
	tr.arg = map[string]string{}
	for _, w := range words[1:] {
		k, v, _ := strings.Cut(w, "=")
		tr.arg[k] = v
	}
	subject := ""
	if len(words) > 1 {
		subject = words[1]
	}
	app := dcos.AppID(subject)
	switch words[0] {
	case "wait":
		d, err := time.ParseDuration(subject)
		if err != nil {
			tr.t.Fatal(err)
		}
		tr.now = tr.now.Add(d)
		return ""
	case "show":
		return tr.show(app)
	case "place", "status", "retry", "stop":
		return tr.task(words[0], subject)
	case "lose-node":
		return tr.answer(SetNodeState{Node: "n1", Boot: "boot-1", State: dcos.NodeLost, Why: "silent"})
	case "put-node":
		return tr.answer(PutNode{Node: testNode("n1")})
	}
	return tr.answer(tr.appCommand(words[0], app))
}

func (tr *trace) appCommand(word string, app dcos.AppID) Command {
	force := tr.on("force")
	d, _ := tr.s.View().DeploymentOf(app)
	if d == nil {
		d = &dcos.Deployment{ID: "none"}
	}
	switch word {
	case "put":
		return tr.put(app)
	case "restart":
		return RestartApp{App: app, Force: force}
	case "delete":
		return DeleteApp{App: app, Force: force}
	case "remove":
		return RemoveApp{App: app}
	case "reset":
		return ResetBackoff{App: app}
	case "advance":
		step := d.Step
		if tr.on("step") {
			step = int(tr.number("step"))
		}
		return AdvanceDeployment{ID: d.ID, Step: step}
	case "cancel":
		return CancelDeployment{ID: d.ID, Force: force}
	case "add":
		row, _ := tr.s.View().App(app)
		return AddTasks{App: app, Version: row.App.Version, Count: tr.number("count"), First: row.NextOrdinal}
	}
	tr.t.Fatalf("no command %q", word)
	return nil
}

// put changes what is named and keeps the rest of the present definition.
func (tr *trace) put(id dcos.AppID) Command {
	app := testApp(string(id), 1)
	if row, ok := tr.s.View().App(id); ok {
		app = *row.App
	}
	if tr.on("instances") {
		app.Instances = tr.number("instances")
	}
	if tr.on("cmd") {
		app.Cmd = tr.arg["cmd"]
	}
	if tr.on("ports") {
		app.Ports = nil
		for _, p := range strings.Split(tr.arg["ports"], ",") {
			n, _ := strconv.ParseUint(p, 10, 16)
			app.Ports = append(app.Ports, dcos.PortDef{Port: uint16(n), Protocol: "tcp"})
		}
	}
	c := PutApp{App: app, Force: tr.on("force")}
	if tr.on("create") {
		c.Mode = PutCreate
	}
	if tr.on("update") {
		c.Mode = PutUpdate
	}
	return c
}

// task resolves "/a#0" to the newest attempt at instance 0.
func (tr *trace) task(word, name string) string {
	app, ordinal, _ := strings.Cut(name, "#")
	var k *dcos.Task
	for other := range tr.s.View().TasksOf(dcos.AppID(app)) {
		if fmt.Sprint(other.Ordinal) == ordinal {
			k = other
		}
	}
	if k == nil {
		return "no such instance"
	}
	switch word {
	case "place":
		return tr.answer(Place{Items: []Placement{{Task: k.ID, Node: "n1"}}})
	case "retry":
		row, _ := tr.s.View().App(k.App)
		return tr.answer(RetryTasks{Tasks: []dcos.TaskID{k.ID}, Version: row.App.Version})
	case "stop":
		return tr.answer(StopTasks{Tasks: []dcos.TaskID{k.ID}, Final: tr.on("final")})
	}
	for state := dcos.TaskStaging; state <= dcos.TaskLost; state++ {
		if tr.on(state.String()) {
			return tr.answer(TaskStatuses{Node: k.Node, Statuses: []dcos.Status{
				{Task: k.ID, Epoch: k.Epoch, Seq: k.StatusSeq + 1, State: state, Message: tr.arg["message"]},
			}})
		}
	}
	tr.t.Fatalf("no state in %v", tr.arg)
	return ""
}

func (tr *trace) answer(c Command) string {
	item := tr.do(c)[0]
	if err := firstError(item); err != nil {
		return tr.short("error: " + err.Error())
	}
	switch {
	case item.Deployment == "":
		return ""
	case item.Version == 0:
		return "deployment"
	}
	return "deployment, version " + moment(item.Version)
}

// short takes out what is long and says nothing.
func (tr *trace) short(text string) string {
	for d := range tr.s.View().Deployments() {
		text = strings.ReplaceAll(text, string(d.ID), "of "+string(d.App))
	}
	for k := range tr.s.View().Tasks() {
		text = strings.ReplaceAll(text, string(k.ID), fmt.Sprintf("%s#%d.%d", k.App, k.Ordinal, k.Attempt))
	}
	return text
}

// moment is the time since the trace began.
func moment(at dcos.Time) string {
	if at == 0 {
		return "never"
	}
	return "+" + at.Sub(epoch0).String()
}

func (tr *trace) show(id dcos.AppID) string {
	row, ok := tr.s.View().App(id)
	if !ok {
		return "no app"
	}
	a := row.App
	out := []string{fmt.Sprintf("app: instances=%d cmd=%q version=%s scaling=%s config=%s", a.Instances, a.Cmd, moment(a.Version), moment(a.LastScaling), moment(a.LastConfigChange))}
	if row.Deleting {
		out = append(out, "deleting")
	}
	for _, p := range a.Ports {
		out = append(out, fmt.Sprintf("port: %d", p.Port))
	}
	if b := row.Backoff; b != (BackoffRow{}) {
		out = append(out, fmt.Sprintf("backoff: %d failures, delay %dms until %s, reference %s", b.Failures, b.DelayMillis, moment(b.Until), moment(b.Reference)))
	}
	if f := row.LastFailure; f != nil {
		out = append(out, tr.short(fmt.Sprintf("last failure: %s %s on %s at %s: %s", f.Task, f.State, f.Host, moment(f.At), f.Message)))
	}
	if d, ok := tr.s.View().DeploymentOf(id); ok {
		out = append(out, fmt.Sprintf("deployment: %v step %d, target %s, before %s", d.Steps, d.Step, moment(d.Target), moment(d.Before)))
	}
	for k := range tr.s.View().TasksOf(id) {
		out = append(out, "task: "+tr.line(row, k))
	}
	for k := range tr.s.View().Ended(id) {
		out = append(out, "ended: "+tr.line(row, k))
	}
	return strings.Join(out, "\n")
}

func (tr *trace) line(row *AppRow, k *dcos.Task) string {
	s := fmt.Sprintf("#%d.%d %s goal=%d", k.Ordinal, k.Attempt, k.State, k.Goal)
	if k.Node != "" {
		s += fmt.Sprintf(" on %s", k.Node)
	}
	if tr.s.View().Outdated(row, k) {
		s += " outdated"
	}
	return s
}
