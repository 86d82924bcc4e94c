package integration

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dcos-go/dcos/pkg/client"
)

// placeDev is a machine of 2 CPUs and 2 GiB in rack r7.
func placeDev(t *testing.T) *dev {
	t.Helper()
	return startDev(t, "--resources", "cpus:2;mem:2048", "--attributes", "rack=r7,speed=2.50")
}

// app adds an app and does not wait for it.
func (d *dev) app(t *testing.T, doc string) {
	t.Helper()
	if out, errs, code := d.run(t, doc, "marathon", "app", "add", "--no-wait"); code != 0 {
		t.Fatalf("app add %s: %d %s%s", doc, code, out, errs)
	}
}

// whyText is what `dcos why` says once the scheduler has tried.
func (d *dev) whyText(t *testing.T, app, want string) string {
	t.Helper()
	var text string
	eventually(t, 30*time.Second, "why "+app+" says "+want, func() error {
		if text = d.must(t, "why", app); !strings.Contains(text, want) {
			return fmt.Errorf("it says %q", text)
		}
		return nil
	})
	return text
}

// Every proposal is carried out: what `why` names as the smallest change lets
// the app run.
func TestCoreWhyNamesTheSmallestChange(t *testing.T) {
	d := placeDev(t)

	d.app(t, `{"id":"/wide","cmd":"sleep 1000","cpus":3,"mem":32}`)
	text := d.whyText(t, "/wide", "needs 3 cpus, the most that is free on one of them is 2, and none has more than 2 in all")
	if first := suggestion(text); !strings.Contains(first, "ask for 2 cpus instead of 3 (1 node takes it then)") {
		t.Errorf("the first proposal is %q:\n%s", first, text)
	}
	d.must(t, "marathon", "app", "update", "/wide", "cpus=2", "--force")
	d.runningTasks(t, "/wide", 1)

	// All CPUs are in use now: a machine more would do.
	d.app(t, `{"id":"/more","cmd":"sleep 1000","cpus":0.5,"mem":32}`)
	if text = d.whyText(t, "/more", "the most that is free on one of them is 0"); !strings.Contains(text, "add a node like") {
		t.Errorf("no node is proposed:\n%s", text)
	}
	d.must(t, "marathon", "app", "remove", "/wide")
	d.runningTasks(t, "/more", 1)

	d.app(t, `{"id":"/racked","cmd":"sleep 1000","cpus":0.1,"mem":32,"constraints":[["rack","UNLIKE","r7"],["speed","IS","2.5"]]}`)
	text = d.whyText(t, "/racked", "constraint [rack UNLIKE r7] does not hold there")
	if first := suggestion(text); !strings.Contains(first, "drop the constraint [rack UNLIKE r7]") {
		t.Errorf("the first proposal is %q:\n%s", first, text)
	}
	d.must(t, "marathon", "app", "update", "/racked", `constraints=[["speed","LIKE","2\\.5"]]`, "--force")
	d.runningTasks(t, "/racked", 1)

	d.app(t, `{"id":"/lonely","cmd":"sleep 1000","cpus":0.1,"mem":32,"instances":3,"constraints":[["hostname","UNIQUE"]]}`)
	text = d.whyText(t, "/lonely", "constraint [hostname UNIQUE] does not hold there")
	if first := suggestion(text); !strings.Contains(first, "be content with the 1 of 3 instances that have a place") {
		t.Errorf("the first proposal is %q:\n%s", first, text)
	}
	for _, want := range []string{"drop the constraint [hostname UNIQUE]", "add a node like"} {
		if !strings.Contains(text, want) {
			t.Errorf("why does not say %q:\n%s", want, text)
		}
	}
	d.must(t, "marathon", "app", "update", "/lonely", "instances=1", "--force")
	d.runningTasks(t, "/lonely", 1)
}

func suggestion(text string) string {
	_, first, _ := strings.Cut(text, "Try: ")
	first, _, _ = strings.Cut(first, "\n")
	return first
}

func TestCoreDryRunChangesNothing(t *testing.T) {
	d := placeDev(t)
	d.app(t, `{"id":"/web","cmd":"sleep 1000","cpus":0.5,"mem":32,"instances":2}`)
	before := d.runningTasks(t, "/web", 2)
	eventually(t, 20*time.Second, "nothing is being changed", func() error {
		all, err := d.api.Deployments(t.Context())
		if err == nil && len(all) > 0 {
			err = fmt.Errorf("deployment %s", all[0].ID)
		}
		return err
	})
	settled := d.picture(t)
	for _, tt := range []struct {
		input string
		args  []string
		want  []string
	}{
		{`{"id":"/new","cmd":"sleep 1","cpus":0.5,"mem":32,"instances":3}`, []string{"marathon", "app", "add"}, []string{
			"create app /new with 3 instances", "/new: 2 new tasks find a place right now, on 1 nodes", "/new: 1 of 3 instances find no place right now",
			"smallest change that lets it run",
		}},
		{"", []string{"marathon", "app", "update", "/web", "instances=4"}, []string{"from 2 to 4", "/web: 2 new tasks find a place right now", "/web: 2 tasks go on, 0 end"}},
		{"", []string{"marathon", "app", "update", "/web", "cmd=sleep 2000"}, []string{"/web: 2 new tasks find a place", "/web: 0 tasks go on, 2 end"}},
		{"", []string{"marathon", "app", "update", "/web", "cpus=64"}, []string{"/web: 2 tasks go on, 0 end", "smallest change that lets it run"}},
		{"", []string{"marathon", "app", "stop", "/web"}, []string{"from 2 to 0", "/web: 0 tasks go on, 2 end"}},
		{"", []string{"marathon", "app", "restart", "/web"}, []string{"replace the 2 tasks", "/web: 2 new tasks find a place right now"}},
		{"", []string{"marathon", "app", "kill", "/web"}, []string{"end 2 tasks"}},
		{"", []string{"marathon", "app", "remove", "/web"}, []string{"delete app /web and end its 2 tasks", "/web: 0 tasks go on, 2 end"}},
		{"", []string{"task", "kill", before[0].ID}, []string{"end task " + before[0].ID}},
		{"", []string{"package", "install", "hello-world"}, []string{"install package hello-world", "/hello-world: 1 new tasks find a place right now"}},
	} {
		out, errs, code := d.run(t, tt.input, append(tt.args, "--dry-run")...)
		if code != 0 {
			t.Errorf("dcos %s: %d %s%s", strings.Join(tt.args, " "), code, out, errs)
		}
		for _, want := range tt.want {
			if !strings.Contains(out, want) {
				t.Errorf("dcos %s does not say %q:\n%s", strings.Join(tt.args, " "), want, out)
			}
		}
	}
	// What would be refused is refused.
	if out, _, code := d.run(t, "", "marathon", "app", "restart", "/none", "--dry-run"); code == 0 {
		t.Errorf("a restart of nothing was tried: %s", out)
	}
	if code, body := d.send(t, "POST", "/service/marathon/v2/apps?dryRun=1", d.token(t), `{"id":"/web","cmd":"sleep 1"}`); code != 409 {
		t.Errorf("an app that exists: %d %s", code, body)
	}
	if after := d.picture(t); after != settled {
		t.Errorf("the cluster was\n%s\nand is\n%s", settled, after)
	}
}

// picture is everything that a dry run might have changed.
func (d *dev) picture(t *testing.T) string {
	t.Helper()
	tasks, err := d.api.Tasks(t.Context(), client.Query{})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(tasks.Items, func(a, b client.Task) int { return cmp.Compare(a.ID, b.ID) })
	apps, err := d.api.Apps(t.Context(), client.AppFilter{})
	if err != nil {
		t.Fatal(err)
	}
	deployments, err := d.api.Deployments(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	packages, err := d.api.Packages(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.MarshalIndent([]any{tasks.Items, apps, deployments, packages}, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestCoreConstraintsOnRealNodes lets every operator decide among three agents.
func TestCoreConstraintsOnRealNodes(t *testing.T) {
	c := sharedCluster(t)
	hosts := make([]string, len(c.agents))
	for i, h := range c.agents {
		hosts[i] = h.Name()
	}
	slices.Sort(hosts)
	first, others := hosts[0], hosts[1:]
	for _, tt := range []struct {
		name       string
		instances  int
		constraint string
		run        int
		holds      func(by map[string]int) bool
	}{
		{"unique", 4, `["hostname","UNIQUE"]`, 3, func(by map[string]int) bool { return len(by) == 3 }},
		{"cluster", 3, `["hostname","CLUSTER"]`, 3, func(by map[string]int) bool { return len(by) == 1 }},
		{"cluster-value", 2, `["hostname","CLUSTER","` + first + `"]`, 2, func(by map[string]int) bool { return by[first] == 2 }},
		{"group-by", 6, `["hostname","GROUP_BY","3"]`, 6, func(by map[string]int) bool { return by[hosts[0]] == 2 && by[hosts[1]] == 2 && by[hosts[2]] == 2 }},
		{"like", 2, `["@hostname","LIKE","(` + strings.Join(others, "|") + `)"]`, 2, func(by map[string]int) bool { return by[first] == 0 }},
		{"unlike", 2, `["hostname","UNLIKE","` + first + `"]`, 2, func(by map[string]int) bool { return by[first] == 0 }},
		{"max-per", 5, `["hostname","MAX_PER","1"]`, 3, func(by map[string]int) bool { return len(by) == 3 }},
		{"is", 2, `["hostname","IS","` + first + `"]`, 2, func(by map[string]int) bool { return by[first] == 2 }},
		{"no-attribute", 1, `["rack","LIKE",".*"]`, 0, func(by map[string]int) bool { return len(by) == 0 }},
	} {
		id := "/constraint-" + tt.name
		doc := fmt.Sprintf(`{"id":%q,"cmd":"sleep 10000","cpus":0.01,"mem":8,"instances":%d,"constraints":[%s]}`, id, tt.instances, tt.constraint)
		if _, err := answer(t.Context(), c, func(ctx context.Context, api *client.Client) (client.App, error) {
			return api.CreateApp(ctx, []byte(doc))
		}); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		eventually(t, time.Minute, fmt.Sprintf("%d instances of %s run where they may", tt.run, id), func() error {
			l, err := answer(t.Context(), c, func(ctx context.Context, api *client.Client) (client.List[client.Task], error) {
				return api.Tasks(ctx, client.Query{Filter: "app=" + id})
			})
			if err != nil {
				return err
			}
			by, running, waiting := map[string]int{}, 0, 0
			for _, k := range l.Items {
				switch k.State {
				case "running":
					running++
					by[k.Hostname]++
				case "waiting":
					waiting++
				}
			}
			if running != tt.run || waiting != tt.instances-tt.run || !tt.holds(by) {
				return fmt.Errorf("%d run, %d wait, by host %v", running, waiting, by)
			}
			return nil
		})
		if tt.run < tt.instances {
			out, err := c.dcos(t, "why", id)
			if err != nil || !strings.Contains(out, "does not hold there") {
				t.Errorf("why %s: %v %s", id, err, out)
			}
		}
		if _, err := answer(t.Context(), c, func(ctx context.Context, api *client.Client) (client.DeploymentResult, error) {
			return api.DeleteApp(ctx, id, client.Write{Force: true})
		}); err != nil {
			t.Errorf("remove %s: %v", id, err)
		}
	}
}
