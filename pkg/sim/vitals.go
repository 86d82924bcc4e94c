package sim

import (
	"slices"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/resource"
	"github.com/dcos-go/dcos/pkg/state"
)

// overdue is how long a difference between a machine and the state may last
// while nothing stands in the way of settling it.
const overdue = 45 * time.Second

// vitals look once a second for what should have been settled long ago, also
// while there are faults elsewhere.
type vitals struct {
	term   dcos.Term                     // of the leader that leads without trouble
	since  time.Duration                 // that it does
	online map[*machine]time.Duration    // since when a machine has a session without trouble
	life   map[*machine]int              // of the agent then
	odd    map[dcos.TaskID]time.Duration // since when a task is other than it must be
	waits  map[dcos.TaskID]time.Duration // since when a task waits though there is room
}

func (c *checker) watchVitals() {
	c.vitals = vitals{online: map[*machine]time.Duration{}, life: map[*machine]int{}, odd: map[dcos.TaskID]time.Duration{}, waits: map[dcos.TaskID]time.Duration{}}
	c.pulse()
}

func (c *checker) pulse() {
	c.w.after(time.Second, "pulse", 0, func() {
		c.takePulse()
		c.pulse()
	})
}

func (c *checker) takePulse() {
	v, w := &c.vitals, c.w
	leader := w.aLeader()
	if leader == nil || leader.lead.Term != v.term || leader.troubled() {
		clear(v.online)
		clear(v.odd)
		clear(v.waits)
		v.term, v.since = 0, w.now
		if leader != nil && !leader.troubled() {
			v.term = leader.lead.Term
		}
		return
	}
	view := leader.store.View()
	c.placeable(view)
	for _, m := range w.machines {
		if !m.up || m.paused > w.now || m.stall > w.now || !m.core.Online() || v.life[m] != m.life {
			v.life[m] = m.life
			v.online[m] = w.now
			continue
		}
		if _, ok := v.online[m]; !ok {
			v.online[m] = w.now
		}
		if w.now-v.online[m] > overdue {
			c.compare(m, view)
		}
	}
}

// troubled says that a master cannot be expected to get anything done.
func (m *master) troubled() bool { return m.paused > m.w.now || m.stall > m.w.now || m.low }

// compare looks at a machine that has been in touch for long.
func (c *checker) compare(m *machine, view state.View) {
	now := c.w.now
	late := func(id dcos.TaskID, odd bool) bool {
		if !odd {
			delete(c.vitals.odd, id)
			return false
		}
		from, ok := c.vitals.odd[id]
		if !ok {
			c.vitals.odd[id] = now
		}
		return ok && now-from > overdue
	}
	for k := range view.TasksOn(m.id) {
		p := c.procs[k.ID]
		if late(k.ID, p != nil && !p.alive && p.on == m) {
			c.w.fail("task %s on %s is %s for %s after its process ended", k.ID, m.addr(), k.State, overdue)
		}
	}
	for _, id := range runningOn(m) {
		k, ok := view.Task(id)
		if late(id, !ok || !k.Live() || k.Goal != dcos.GoalRun) {
			c.w.fail("agent %s runs %s, which has not been wanted for %s", m.addr(), id, overdue)
		}
	}
}

// placeable: what waits for a place is not left waiting while a node that takes
// tasks has the room. Where it may go by its constraints is not judged here.
func (c *checker) placeable(view state.View) {
	now, before := c.w.now, c.vitals.waits
	c.vitals.waits = map[dcos.TaskID]time.Duration{}
	var room []resource.Set
	for n := range view.Nodes() {
		if free, ok := view.Free(n.ID); ok && n.Takes() {
			room = append(room, free)
		}
	}
	for id := range view.WaitingApps() {
		for k := range view.TasksOf(id) {
			def, ok := view.AppAt(id, k.Version)
			fits := func(free resource.Set) bool { return k.Need.FitsIn(free) && free.Ports.Size() >= len(def.Ports) }
			if !ok || k.State != dcos.TaskWaiting || k.Goal != dcos.GoalRun || k.Final || len(def.Constraints) > 0 || !slices.ContainsFunc(room, fits) {
				continue
			}
			from, ok := before[k.ID]
			if !ok {
				from = now
			}
			if now-from > overdue {
				c.w.fail("task %s waits for a place for %s, and there is room", k.ID, overdue)
			}
			c.vitals.waits[k.ID] = from
		}
	}
}
