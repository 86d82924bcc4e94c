package dispatch

import (
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
	"github.com/dcos-go/dcos/pkg/wire"
)

// absence is a node without a session, from when that was noticed until the
// node comes back or is lost.
type absence struct {
	why    string
	lostAt time.Time // it counts as lost then, whatever its machine answers
	gone   string    // why it is lost; "" while that is open

	round  uint64 // id of the probes under way; 0 is none
	until  time.Time
	nextAt time.Time
	asked  []uint64 // sessions that were asked and have not answered
	own    bool     // this master's own probe has not answered
	silent bool     // its answer was that the machine is
}

// onChanged brings the agents' sets and the nodes' states in line with a new
// view.
func (c *Core) onChanged(now time.Time, ev Changed) {
	if !c.leads || ev.View.Index() < c.view.Index() {
		return
	}
	c.view = ev.View
	if ev.Reset {
		for _, id := range sortedKeys(c.nodes) {
			c.look(now, c.nodes[id], true)
		}
		return
	}
	tasks, touched := make(map[dcos.NodeID]bool), make(map[dcos.NodeID]bool)
	for _, ch := range ev.Changes {
		switch ch.Table {
		case state.TableTasks:
			for _, row := range [...]any{ch.Old, ch.New} {
				if t, ok := row.(*dcos.Task); ok && t != nil && t.Node != "" {
					tasks[t.Node], touched[t.Node] = true, true
				}
			}
		case state.TableNodes:
			touched[dcos.NodeID(ch.Key)] = true
		}
	}
	for _, id := range sortedKeys(touched) {
		n := c.nodes[id]
		if n == nil && tasks[id] { // of a lost node that nothing was kept of: its contact is not known any more
			n = c.node(id)
			n.contact = now
		}
		if n != nil {
			c.look(now, n, tasks[id])
		}
	}
}

// look brings one node in line with the view.
func (c *Core) look(now time.Time, n *node, tasks bool) {
	wasOpen := n.sess != nil && n.sess.open
	c.welcome(now, n)
	if wasOpen && tasks {
		c.assignChanges(now, n.sess)
	}
	if c.sendRemoved(n) {
		return
	}
	c.fence(now, n)
	c.reconcile(now, n)
	c.arm(n)
}

// present ends an absence, and lets go of the probes that are under way for it.
func (c *Core) present(n *node) {
	if n.absent != nil {
		delete(c.probes, n.absent.round)
		n.absent = nil
	}
}

// reconcile proposes what makes the node's row say what its session says. It
// is level-triggered: it may be called at any time, and does nothing when the
// row is right, when a command about it is under way, or when the view does
// not show the last one yet.
func (c *Core) reconcile(now time.Time, n *node) {
	defer c.arm(n)
	if n.control || c.view.Index() < n.settled || !n.recheckAt.IsZero() {
		return
	}
	row, s := c.row(n.id), n.sess
	if s != nil && !s.open {
		if s.from > 0 {
			return
		}
		cmds := c.enter(s)
		if len(cmds) == 0 {
			s.from = max(c.view.Index(), 1)
			c.welcome(now, n)
			return
		}
		parts := make([]part, len(cmds))
		for i, cmd := range cmds {
			parts[i] = part{node: n.id, kind: partLose, cmd: cmd}
		}
		parts[0].kind, parts[0].sess = partEnter, s.id // PutNode, where there is one
		n.control = true
		c.propose(parts)
		return
	}
	if cmd := c.stateCommand(n, row); cmd != nil {
		if suspects(cmd) && n.calmUntil.After(now) {
			n.lookAt = n.calmUntil
			return
		}
		n.control = true
		c.propose([]part{{node: n.id, kind: partState, cmd: cmd}})
	}
}

func suspects(cmd state.Command) bool {
	set, ok := cmd.(state.SetNodeState)
	return ok && set.State == dcos.NodeSuspect
}

// stateCommand is what must be proposed for the row's state; nil for nothing.
func (c *Core) stateCommand(n *node, row *dcos.Node) state.Command {
	want, why := dcos.NodeState(0), ""
	switch {
	case n.sess != nil && n.suspect:
		want, why = dcos.NodeSuspect, "beats are missing"
	case n.sess != nil:
		if row == nil || row.State != dcos.NodeActive {
			return state.PutNode{Node: n.sess.hello.Node}
		}
		return nil
	case n.absent == nil:
		return nil
	case n.absent.gone != "":
		want, why = dcos.NodeLost, n.absent.gone
	default:
		want, why = dcos.NodeSuspect, n.absent.why
	}
	if row == nil || row.State == want || row.State == dcos.NodeLost {
		return nil
	}
	return state.SetNodeState{Node: n.id, Boot: row.Boot, State: want, Why: why}
}

// goAbsent begins to look for a node that has no session.
func (c *Core) goAbsent(now time.Time, n *node, why string) {
	row := c.row(n.id)
	n.judgeAt = time.Time{}
	if row == nil || row.State == dcos.NodeLost {
		c.arm(n)
		return
	}
	c.present(n)
	n.absent = &absence{why: why, lostAt: now.Add(comeBack)}
	c.do(Note{Node: n.id, Text: "node has no session: " + why})
	c.probe(now, n)
	c.reconcile(now, n)
}

// probe asks this master and up to two members whether the machine is there.
func (c *Core) probe(now time.Time, n *node) {
	a := n.absent
	row := c.row(n.id)
	if row == nil {
		return
	}
	a.round, a.until, a.nextAt = c.id(), now.Add(probeWait), time.Time{}
	a.own, a.silent, a.asked = true, false, nil
	c.probes[a.round] = n.id
	c.do(Probe{ID: a.round, Addr: row.Addr})
	for i := range min(probeVia, len(c.open)) {
		// Any members will do; the round's number spreads the asking.
		at := (int(a.round%uint64(len(c.open))) + i) % len(c.open)
		s := c.nodes[c.open[at]].sess
		a.asked = append(a.asked, s.id)
		c.send(s, wire.ProbeAsk{ID: a.round, Target: row.Addr})
	}
}

// onProbed takes this master's own answer.
func (c *Core) onProbed(now time.Time, ev Probed) {
	n := c.nodes[c.probes[ev.ID]]
	if n == nil || n.absent == nil || n.absent.round != ev.ID || !n.absent.own {
		return
	}
	n.absent.own, n.absent.silent = false, !ev.Alive && !ev.Unknown
	c.answered(now, n, ev.Alive)
}

// onAnswer takes a member's answer.
func (c *Core) onAnswer(now time.Time, from *node, m wire.ProbeAnswer) {
	n := c.nodes[c.probes[m.ID]]
	if n == nil || n.absent == nil || n.absent.round != m.ID {
		return
	}
	for i, sess := range n.absent.asked {
		if sess == from.sess.id {
			n.absent.asked = append(n.absent.asked[:i], n.absent.asked[i+1:]...)
			c.answered(now, n, m.Alive)
			return
		}
	}
}

// answered counts one answer; the round is over at the first that the machine
// is there, or with the last.
func (c *Core) answered(now time.Time, n *node, alive bool) {
	if a := n.absent; alive || !a.own && len(a.asked) == 0 {
		c.judge(now, n, alive)
	}
}

// judge ends a round of probes.
func (c *Core) judge(now time.Time, n *node, alive bool) {
	a := n.absent
	delete(c.probes, a.round)
	a.round, a.until = 0, time.Time{}
	switch {
	case alive:
		a.nextAt = now.Add(probeAgain)
	case a.silent:
		a.gone = "its machine does not answer"
	default: // this master learned nothing itself: members alone do not decide
		a.nextAt = now.Add(probeSoon)
	}
	c.reconcile(now, n)
}

// tick does what a node waited for.
func (c *Core) tick(now time.Time, n *node) {
	if due(n.lookAt, now) {
		n.lookAt = time.Time{}
		c.unsettle(n)
	}
	if due(n.recheckAt, now) {
		n.recheckAt = time.Time{}
	}
	c.fence(now, n)
	c.welcome(now, n)
	if due(n.judgeAt, now) {
		n.judgeAt = time.Time{}
		if n.sess == nil && n.absent == nil {
			c.goAbsent(now, n, "its agent has not connected to the new leader")
		}
	}
	if s := n.sess; s != nil && s.open {
		c.checkBeats(now, n)
	}
	if a := n.absent; a != nil && a.gone == "" {
		switch {
		case due(a.lostAt, now):
			delete(c.probes, a.round)
			a.round, a.until, a.nextAt = 0, time.Time{}, time.Time{}
			a.gone = "its agent stayed away for over a minute"
		case due(a.until, now):
			c.judge(now, n, false)
		case due(a.nextAt, now):
			c.probe(now, n)
		}
	}
	c.reconcile(now, n)
}

// unsettle ends the wait for a change that does not come: a command that found
// everything as it wants it makes none. What is asked for twice changes nothing.
func (c *Core) unsettle(n *node) {
	if c.view.Index() >= n.settled {
		return
	}
	n.settled = 0
	if s := n.sess; s != nil && !s.open {
		s.from = 0
	}
}

func due(at, now time.Time) bool { return !at.IsZero() && !at.After(now) }

// checkBeats suspects a session that has been quiet, and ends it when it stays so.
func (c *Core) checkBeats(now time.Time, n *node) {
	s := n.sess
	quiet := now.Sub(s.heard)
	switch {
	case quiet >= closeAfter*s.every:
		c.do(CloseSession{Sess: s.id, Why: "beats are missing"})
		c.lost(now, n, HowSilence)
	case quiet >= suspectAfter*s.every:
		n.suspect = true
	}
}

// arm sets the node's timer to the next moment it waits for, and forgets a
// node that waits for nothing.
func (c *Core) arm(n *node) {
	var next time.Time
	add := func(at time.Time) {
		if !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	add(n.judgeAt)
	add(n.lookAt)
	add(n.recheckAt)
	add(n.fenceAt)
	if s := n.sess; s != nil && s.open {
		if n.suspect {
			add(s.heard.Add(closeAfter * s.every))
		} else {
			add(c.together(s.heard.Add(suspectAfter * s.every)))
		}
	}
	if a := n.absent; a != nil && a.gone == "" {
		add(a.lostAt)
		add(a.until)
		add(a.nextAt)
	}
	switch {
	case next.IsZero():
		n.wakeAt = time.Time{}
		if n.sess == nil && !n.control && n.inFlight == 0 && (n.absent == nil || n.absent.gone != "" && c.lostAlready(n)) {
			delete(c.nodes, n.id)
		}
	case n.wakeAt.IsZero() || next.Before(n.wakeAt):
		n.wakeAt = next
		c.timers.add(next, n.id)
	}
}

// together is a moment a little later that many nodes share. To look whether
// beats are missing is a matter of seconds, and thousands of sessions must not
// wake the process for each of them.
func (c *Core) together(at time.Time) time.Time {
	late := at.Sub(c.since) % lookTogether
	if late <= 0 {
		return at
	}
	return at.Add(lookTogether - late)
}

// lostAlready says that the state holds the node as lost, or not at all.
func (c *Core) lostAlready(n *node) bool {
	row := c.row(n.id)
	return row == nil || row.State == dcos.NodeLost
}
