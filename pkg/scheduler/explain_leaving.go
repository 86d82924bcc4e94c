package scheduler

import (
	"fmt"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// addLost notes a task that waits for its lost node; the words are those of the
// first one.
func (e *explainer) addLost(t *dcos.Task) {
	h := &e.lost
	if h.Count == 0 {
		h.Cause = CauseLost
		h.Words = fmt.Sprintf("node %s is lost since %s; %s", e.host(t.Node), t.Unreachable, e.rule(t, h))
	}
	h.add(t.ID)
}

// rule says what an unreachable task waits for.
func (e *explainer) rule(t *dcos.Task, h *Hold) string {
	def, ok := e.view.AppAt(t.App, t.Version)
	if !ok {
		return "it is about to be given up"
	}
	u := def.Unreachable
	gone := fmt.Sprintf("if the machine is off for good: dcos node remove %s --gone", t.Node)
	at := func(seconds int64) dcos.Time { return t.Unreachable + dcos.Time(seconds*1000) }
	switch {
	case u.Disabled:
		return "its unreachableStrategy \"disabled\" never gives it up; " + gone
	case def.Fence == dcos.FenceLease:
		return fmt.Sprintf("its replacement waits until its lease has ended for certain, at most %s after the last contact; %s",
			dcos.LeaseFor+dcos.LeaseMargin, gone)
	case e.now < at(u.InactiveSeconds):
		h.Until = at(u.InactiveSeconds)
		return fmt.Sprintf("its unreachableStrategy lets it count until %s; %s", h.Until, gone)
	}
	h.Until = at(u.ExpungeSeconds)
	return fmt.Sprintf("replaced; should it come back before %s, one of the two is stopped", h.Until)
}

// addMoving notes a task that is to leave its node.
func (e *explainer) addMoving(t *dcos.Task) {
	n, ok := e.view.Node(t.Node)
	if !ok || n.Drain == nil || !t.Live() || t.Goal != dcos.GoalRun || t.Unreachable != 0 {
		return
	}
	h := &e.moving
	if h.Count == 0 {
		h.Cause = CauseDrain
		h.Words = fmt.Sprintf("node %s is being drained; they end there once others run elsewhere, as the upgrade strategy says", e.host(t.Node))
		if d := n.Drain.Deadline; d != 0 {
			h.Words += fmt.Sprintf(", and at %s in any case", d)
		}
	}
	h.add(t.ID)
}

func (e *explainer) host(id dcos.NodeID) string {
	if n, ok := e.view.Node(id); ok && n.Hostname != "" {
		return n.Hostname
	}
	return string(id)
}
