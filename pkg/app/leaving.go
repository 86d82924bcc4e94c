package app

import (
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

// wakeAt asks to be called again at a moment, at the latest.
func (c *census) wakeAt(at dcos.Time) {
	if c.wake == 0 || at < c.wake {
		c.wake = at
	}
}

// inactive says that an unreachable task does not count any more, by its app's
// unreachable strategy (marathon-api 4.8), and notes those that are given up. A
// fenced task is not judged here: only who knows the last contact with its node
// can tell when it has ended (package dispatch).
func (c *census) inactive(t *dcos.Task) bool {
	def, ok := c.view.AppAt(t.App, t.Version)
	if ok && def.Fence != dcos.FenceNone {
		return false
	}
	if !ok || t.Goal == dcos.GoalStop {
		c.lost = append(c.lost, t)
		return false
	}
	u := def.Unreachable
	inactive, expunge := t.Unreachable+dcos.Time(u.InactiveSeconds*1000), t.Unreachable+dcos.Time(u.ExpungeSeconds*1000)
	switch {
	case u.Disabled:
		return false
	case c.now >= expunge:
		c.lost = append(c.lost, t)
		return inactive < expunge
	case c.now >= inactive:
		c.wakeAt(expunge)
		return true
	}
	c.wakeAt(inactive)
	return false
}

// giveUp declares those tasks lost whose time is over.
func (c *census) giveUp() {
	var nodes []dcos.NodeID
	byNode := make(map[dcos.NodeID][]dcos.TaskID)
	for _, t := range c.lost {
		if byNode[t.Node] == nil {
			nodes = append(nodes, t.Node)
		}
		byNode[t.Node] = append(byNode[t.Node], t.ID)
	}
	for _, n := range nodes {
		for _, some := range inParts(byNode[n]) {
			c.emit(state.LoseTasks{
				Node: n, Tasks: some, Reason: dcos.ReasonAgentLost, Unreachable: true,
				Message: "its node is lost, and did not come back in the time that its unreachableStrategy gives it",
			})
		}
	}
}

// drained says that a task is to go on elsewhere, because its node gives up
// its tasks. From an unreachable node nothing can be moved.
func (c *census) drained(t *dcos.Task) bool {
	if !t.Live() || t.Goal != dcos.GoalRun || t.Unreachable != 0 {
		return false
	}
	n, ok := c.view.Node(t.Node)
	return ok && n.Drain != nil
}

// overdue stops what is still on a node whose drain is to be over, and says
// whether there was any. Their instances go on elsewhere.
func (c *census) overdue() bool {
	if c.moving == 0 {
		return false
	}
	var ids []dcos.TaskID
	for _, m := range c.members {
		if !m.moving {
			continue
		}
		n, _ := c.view.Node(m.task.Node)
		switch at := n.Drain.Deadline; {
		case at == 0:
		case at <= c.now:
			ids = append(ids, m.task.ID)
		default:
			c.wakeAt(at)
		}
	}
	for _, some := range inParts(ids) {
		c.emit(state.StopTasks{Tasks: some, Message: "stopped: the time to drain its node is over"})
	}
	return len(ids) > 0
}
