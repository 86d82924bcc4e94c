package integration

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dcos-go/dcos/pkg/client"
)

// seen is what a master says that there is, in the parts that follow from the
// state alone.
type seen struct {
	Apps  []string
	Tasks []string
	Nodes []string
}

func see(t *testing.T, api *client.Client) (seen, error) {
	t.Helper()
	var out seen
	apps, err := api.Apps(t.Context(), client.AppFilter{})
	if err != nil {
		return out, err
	}
	for _, a := range apps {
		out.Apps = append(out.Apps, a.ID)
	}
	tasks, err := client.All(t.Context(), api.Tasks, client.Query{})
	if err != nil {
		return out, err
	}
	for _, k := range tasks {
		out.Tasks = append(out.Tasks, k.ID+" "+k.State+" on "+k.Node)
	}
	nodes, err := client.All(t.Context(), api.Nodes, client.Query{})
	for _, n := range nodes {
		out.Nodes = append(out.Nodes, n.ID+" "+n.State)
	}
	slices.Sort(out.Apps)
	return out, err
}

func TestCoreHistoryReadsAnyEarlierState(t *testing.T) {
	beside(t)
	c := newCluster(t, 3, 3)
	c.clear(t)
	type moment struct {
		name string
		at   string
		was  seen
	}
	var moments []moment
	live, err := c.on(c.masters[0])
	if err != nil {
		t.Fatal(err)
	}
	// remember takes what is there, once nothing moves any more.
	remember := func(name string) {
		t.Helper()
		var last seen
		eventually(t, time.Minute, "the cluster is at rest "+name, func() error {
			now, err := see(t, live)
			if err != nil {
				return err
			}
			was := last
			if last = now; !cmp.Equal(was, now) {
				return errors.New("it moves")
			}
			return pause(t.Context(), time.Second)
		})
		// The masters' clock, not the test's: command time.
		at := strings.TrimSpace(mustRun(t, c.masters[0], "date", "-u", "+%Y-%m-%dT%H:%M:%S.%3NZ"))
		moments = append(moments, moment{name, at, last})
		if err := pause(t.Context(), 100*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	remember("before")
	c.create(t, sleeper("/past/one", 3))
	c.running(t, time.Minute, "/past/one", 3)
	remember("with one app")
	c.create(t, sleeper("/past/two", 2))
	c.running(t, time.Minute, "/past/two", 2)
	remember("with two apps")
	c.clear(t)
	remember("after")

	check := func(when string) {
		t.Helper()
		for _, h := range c.masters {
			for _, m := range moments {
				api, err := c.on(h)
				if err != nil {
					t.Fatal(err)
				}
				var got seen
				eventually(t, 30*time.Second, h.Name()+" answers "+m.name+" "+when, func() error {
					var refusal *client.Error
					got, err = see(t, api.At(m.at))
					if errors.As(err, &refusal) && refusal.Status == http.StatusNotFound {
						return nil
					}
					return err
				})
				if err != nil {
					t.Errorf("%s, %s, %s at %s: %v", when, h.Name(), m.name, m.at, err)
				} else if d := cmp.Diff(m.was, got); d != "" {
					t.Errorf("%s, %s: %s at %s it was otherwise (-was +read):\n%s", when, h.Name(), m.name, m.at, d)
				}
			}
		}
	}
	check("while all run")

	// The command line, by how long ago too.
	out, err := c.dcos(t, "marathon", "app", "list", "--at", moments[2].at)
	if err != nil || !strings.Contains(out, "/past/one") || !strings.Contains(out, "/past/two") {
		t.Errorf("dcos marathon app list --at %s: %v\n%s", moments[2].at, err, out)
	}
	if out, err = c.dcos(t, "task", "list", "--at=-1s"); err != nil {
		t.Errorf("dcos task list --at=-1s: %v\n%s", err, out)
	}
	for at, status := range map[string]int{"-90d": http.StatusNotFound, "2999-01-01T00:00:00Z": http.StatusUnprocessableEntity, "nonsense": http.StatusUnprocessableEntity} {
		_, err := live.At(at).Nodes(t.Context(), client.Query{})
		var refusal *client.Error
		if !errors.As(err, &refusal) || refusal.Status != status {
			t.Errorf("t=%s: %v, want %d", at, err, status)
		}
	}

	// Killed while it writes, at any moment, and nothing is forgotten.
	for range 2 {
		c.create(t, sleeper("/past/three", 3))
		for _, h := range c.masters {
			c.killUnit(t, h)
		}
		c.mustBeWhole(t)
		c.running(t, time.Minute, "/past/three", 3)
		c.clear(t)
	}
	check("after all were killed")

	// No secret got there.
	account, err := c.masters[0].ReadFile("/var/lib/dcos/admin")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := keysOf(c.masters[0])
	if err != nil {
		t.Fatal(err)
	}
	password := strings.Fields(string(account))[1]
	for _, h := range c.masters {
		mode := mustRun(t, h, "sh", "-c", "stat -c %a /var/lib/dcos/master/history; stat -c %a /var/lib/dcos/master/history/* | sort -u")
		if strings.Fields(mode)[0] != "700" || strings.Fields(mode)[1] != "600" {
			t.Errorf("%s: modes of the history: %s", h.Name(), mode)
		}
		for _, secret := range []string{password, keys[0]} {
			if _, _, err := h.Run(t.Context(), "grep", "-rqF", secret, "/var/lib/dcos/master/history"); err == nil {
				t.Errorf("the history of %s holds a secret", h.Name())
			}
		}
	}
}
