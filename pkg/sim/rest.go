package sim

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

// rest is the end of a run: all must come to rest, and stay there.
type rest struct {
	from  time.Duration
	at    time.Duration // when it was reached; 0: not yet
	index dcos.Index    // then
}

// settle is how long after rest was reached its index is taken: what was under
// way may still come.
const settle = 3 * time.Second

// awaitRest looks twice a second whether all is well.
func (c *checker) awaitRest(from time.Duration) {
	c.rest.from = from
	c.look()
}

func (c *checker) look() {
	w := c.w
	w.after(500*time.Millisecond, "look", 0, func() {
		why := c.unrest()
		switch {
		case c.rest.at == 0 && why == "":
			w.converged = w.now - c.rest.from
			w.note("all is at rest")
			c.rest.at = w.now
		case c.rest.at == 0 && w.now > c.rest.from+w.rules.rest:
			w.fail("no rest within %s after the faults: %s", w.rules.rest, why)
		case c.rest.at != 0 && why != "":
			w.fail("rest is broken: %s", why)
		case c.rest.at != 0 && c.rest.index == 0 && w.now > c.rest.at+settle:
			c.rest.index = w.members()[0].store.View().Index()
		}
		c.look()
	})
}

// unrest says what is not yet as it must be; "" when all is well.
func (c *checker) unrest() string {
	w := c.w
	var leader *master
	if w.operator.busy || w.operator.ghosts > 0 {
		return "the masters change"
	}
	for _, m := range w.members() {
		switch {
		case m.damaged:
			return fmt.Sprintf("master %d is damaged", m.id)
		case !m.up:
			return fmt.Sprintf("master %d is down", m.id)
		case m.lead.Leader == m.id && m.lead.Ready:
			leader = m
		}
	}
	if leader == nil {
		return "nobody leads"
	}
	v := leader.store.View()
	if s := leader.core.Status(); len(s.Learners) > 0 || len(s.Voters) != len(w.members()) {
		return fmt.Sprintf("%d masters vote and %d do not, of %d", len(s.Voters), len(s.Learners), len(w.members()))
	}
	for _, m := range w.members() {
		if o := m.store.View(); o.Index() != v.Index() || o.Hash() != v.Hash() {
			return fmt.Sprintf("master %d is at index %d, the leader at %d", m.id, o.Index(), v.Index())
		}
	}
	if !w.client.last {
		return "a write is not acknowledged"
	}
	if why := c.appsUnrest(v); why != "" {
		return why
	}
	return c.machinesUnrest(v)
}

func (c *checker) appsUnrest(v state.View) string {
	for d := range v.Deployments() {
		return fmt.Sprintf("deployment of %s is at step %d of %v since %s", d.App, d.Step, d.Steps, d.StartedAt)
	}
	for row := range v.Apps() {
		if row.Deleting {
			return fmt.Sprintf("app %s is being deleted", row.App.ID)
		}
		n := 0
		for k := range v.TasksOf(row.App.ID) {
			n++
			if k.State != dcos.TaskRunning || k.Goal != dcos.GoalRun {
				return fmt.Sprintf("task %s is %s on %q with goal %d (%s), backoff %+v", k.ID, k.State, k.Node, k.Goal, k.Message, row.Backoff)
			}
			if v.Outdated(row, k) && !c.w.client.halted(row.App.ID) {
				return fmt.Sprintf("task %s is outdated", k.ID)
			}
		}
		if n != int(row.App.Instances) {
			return fmt.Sprintf("app %s has %d instances, wants %d", row.App.ID, n, row.App.Instances)
		}
	}
	return ""
}

func (c *checker) machinesUnrest(v state.View) string {
	for _, m := range c.w.machines {
		row, ok := v.Node(m.id)
		switch {
		case !m.up:
			return fmt.Sprintf("agent %s is down", m.addr())
		case !m.core.Online():
			return fmt.Sprintf("agent %s has no session", m.addr())
		case !ok:
			return fmt.Sprintf("agent %s is not known", m.addr())
		case row.State != dcos.NodeActive:
			return fmt.Sprintf("agent %s is %s: %s", m.addr(), row.State, row.Why)
		case m.core.Unacknowledged() > 0:
			return fmt.Sprintf("agent %s has %d statuses that nobody acknowledged", m.addr(), m.core.Unacknowledged())
		}
		var want []dcos.TaskID
		for k := range v.TasksOn(m.id) {
			want = append(want, k.ID)
		}
		if got := runningOn(m); !slices.Equal(got, want) {
			return fmt.Sprintf("agent %s runs %d tasks, the state wants %d: %v, not %v", m.addr(), len(got), len(want), got, want)
		}
		if len(m.tasks) != len(want) {
			return fmt.Sprintf("agent %s: the runtime holds %d tasks, %d run", m.addr(), len(m.tasks), len(want))
		}
		if most := len(want) + 3*len(c.w.client.apps) + len(m.owed); len(m.boxes) > most {
			return fmt.Sprintf("agent %s keeps %d sandboxes, expected at most %d", m.addr(), len(m.boxes), most)
		}
	}
	return ""
}

// atEnd: at rest nothing is written any more, and all that was acknowledged is
// there.
func (c *checker) atEnd() {
	w := c.w
	if c.rest.at == 0 {
		w.fail("the run has ended without rest")
	}
	for _, m := range w.members() {
		v := m.store.View()
		if v.Index() != c.rest.index {
			w.fail("master %d is at index %d; all was at rest at %d", m.id, v.Index(), c.rest.index)
		}
		if err := errors.Join(state.CheckHash(v), state.Check(v)); err != nil {
			w.fail("master %d: %v", m.id, err)
		}
		if n := len(m.snapFS.Names()); n > 2 {
			w.fail("master %d keeps %d files of snapshots: %v", m.id, n, m.snapFS.Names())
		}
		c.has(m, v, ^dcos.Term(0))
		for _, a := range w.client.apps {
			c.userApp(m, v, a)
		}
	}
}

// userApp: an app is as its users were told.
func (c *checker) userApp(m *master, v state.View, a *userApp) {
	row, ok := v.App(a.id)
	switch {
	case a.gone && ok:
		c.w.fail("master %d: app %s is there, its deletion was acknowledged", m.id, a.id)
	case a.version == 0:
	case !ok || row.App.Version < a.version:
		c.w.fail("master %d has lost version %s of app %s, which was acknowledged", m.id, a.version, a.id)
	case row.App.Version == a.version && a.wants >= 0 && int(row.App.Instances) != a.wants:
		c.w.fail("master %d: app %s wants %d instances at version %s, the user asked for %d", m.id, a.id, row.App.Instances, a.version, a.wants)
	}
}
