package dispatch

import (
	"fmt"
	"strings"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
	"github.com/dcos-go/dcos/pkg/wire"
)

// wanted are the tasks that a node shall run, and those whose end the state
// waits for, both by id.
func (c *Core) wanted(id dcos.NodeID) (run, stop []wire.TaskRef, fenced bool) {
	for t := range c.view.TasksOn(id) {
		fenced = fenced || c.isFenced(t)
		ref := wire.TaskRef{ID: t.ID, Epoch: t.Epoch, State: t.State}
		if t.Goal == dcos.GoalRun {
			run = append(run, ref)
		} else {
			stop = append(stop, ref)
		}
	}
	return run, stop, fenced
}

// assignAll names the whole set to an agent, then sends the launches of the
// tasks that it does not hold.
func (c *Core) assignAll(now time.Time, s *session, holds []wire.TaskRef) {
	want, stop, fenced := c.wanted(s.node())
	s.fenced = fenced
	has := make(map[dcos.TaskID]dcos.Epoch, len(holds))
	for _, t := range holds {
		has[t.ID] = t.Epoch
	}
	var run []wire.TaskRef
	keep := make([]wire.TaskRef, len(want))
	for i, t := range want {
		keep[i] = wire.TaskRef{ID: t.ID, Epoch: t.Epoch}
		if epoch, ok := has[t.ID]; !ok || epoch != t.Epoch {
			run = append(run, t)
		}
	}
	s.sent, s.stops, s.hash = want, stop, wire.SetHash(want)
	c.assign(now, s, wire.Assign{Full: true, Keep: keep, Stop: stop}, run)
}

// assignChanges sends the difference between what the agent was told and what
// the state wants now.
func (c *Core) assignChanges(now time.Time, s *session) {
	want, stop, fenced := c.wanted(s.node())
	s.fenced = fenced
	m := wire.Assign{Stop: missing(stop, s.stops)}
	// What left the set and is not to be stopped has ended, or is no more.
	for _, t := range missing(missing(s.sent, want), stop) {
		m.Stop = append(m.Stop, wire.TaskRef{ID: t.ID, Epoch: t.Epoch, State: dcos.TaskLost})
	}
	run := missing(want, s.sent)
	s.sent, s.stops, s.hash = want, stop, wire.SetHash(want)
	if len(run) > 0 || len(m.Stop) > 0 {
		c.assign(now, s, m, run)
	}
}

// missing are the elements of a that are not in b; both are sorted by id.
func missing(a, b []wire.TaskRef) []wire.TaskRef {
	var out []wire.TaskRef
	i := 0
	for _, t := range a {
		for i < len(b) && b[i].ID < t.ID {
			i++
		}
		if i == len(b) || b[i].ID != t.ID {
			out = append(out, t)
		}
	}
	return out
}

// assign sends m with the launches of run, in as many messages as that needs.
// The hash of each is of the agent's set after it.
func (c *Core) assign(now time.Time, s *session, m wire.Assign, run []wire.TaskRef) {
	node := c.row(s.node())
	// A full assignment names every task; otherwise they come one by one.
	named, after := m.Full, s.hash
	if !named {
		after -= wire.SetHash(run)
	}
	s.sentAt = now
	size, lost, unable := 0, []dcos.TaskID(nil), []dcos.Status(nil)
	flush := func() {
		s.seq++
		m.Term, m.Seq, m.Hash = c.term, s.seq, after
		c.send(s, m)
		m, size = wire.Assign{}, 0
	}
	for _, ref := range run {
		l, ok := c.launch(ref.ID, node)
		if !ok {
			lost = append(lost, ref.ID)
			continue
		}
		if what := s.lacks(&l); what != "" {
			unable = append(unable, dcos.Status{
				Task: l.Task, Epoch: l.Epoch, Seq: 1, State: dcos.TaskFailed, Reason: dcos.ReasonInvalid,
				Message: fmt.Sprintf("dcos %s on node %s cannot %s: upgrade it", s.hello.Node.Version, s.node(), what),
			})
			continue
		}
		weight := launchSize(&l)
		if len(m.Run) == assignRun || len(m.Run) > 0 && size+weight > assignBytes {
			flush()
		}
		if !named {
			after += wire.TaskHash(ref.ID, ref.Epoch)
		}
		m.Run = append(m.Run, l)
		size += weight
	}
	flush()
	if len(unable) > 0 {
		c.propose([]part{{node: s.node(), kind: partLose, cmd: state.TaskStatuses{Node: s.node(), Statuses: unable}}})
	}
	if len(lost) > 0 {
		c.propose([]part{{node: s.node(), kind: partLose, cmd: state.LoseTasks{
			Node: s.node(), Tasks: lost, Reason: dcos.ReasonReconciliation, Message: "the definition that the task runs is no longer kept",
		}}})
	}
}

// lacks is what an agent of an earlier release cannot do of a launch.
func (s *session) lacks(l *dcos.Launch) string {
	switch {
	case l.Fenced && !s.hello.Fences:
		return "fence tasks"
	case len(l.Fetch) > 0 && !s.hello.Fetches:
		return "fetch files"
	}
	return ""
}

// launch is all that a node needs to know of a task.
func (c *Core) launch(id dcos.TaskID, node *dcos.Node) (dcos.Launch, bool) {
	t, ok := c.view.Task(id)
	if !ok || node == nil {
		return dcos.Launch{}, false
	}
	app, ok := c.view.AppAt(t.App, t.Version)
	if !ok {
		return dcos.Launch{}, false
	}
	return dcos.NewLaunch(app, t, node), true
}

// launchSize is about the encoded size of a launch.
func launchSize(l *dcos.Launch) int {
	n := 256 + len(l.Cmd) + len(strings.Join(l.Args, "    "))
	for k, v := range l.Env {
		n += len(k) + len(v) + 8
	}
	return n
}
