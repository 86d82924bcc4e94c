package dispatch

import (
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
	"github.com/dcos-go/dcos/pkg/wire"
)

// leases are the beats that wait for the word that this master leads. A lease
// is granted for a beat only if a majority has said so after the beat came:
// then no other master did lead when it was sent, and whoever leads later may
// count dcos.LeaseFor from the begin of its own term.
type leases struct {
	wait   map[uint64]uint64 // by session: newest beat that has not been asked for
	asked  map[uint64]uint64 // those that the round under way is for
	asking uint64            // its id; 0 is none
}

// askLease notes a beat of a node that holds fenced tasks.
func (c *Core) askLease(s *session, beat uint64) {
	if !s.fenced {
		return
	}
	c.leases.wait[s.id] = beat
	c.confirm()
}

// confirm begins a round for everything that waits, unless one is under way.
func (c *Core) confirm() {
	l := &c.leases
	if l.asking != 0 || len(l.wait) == 0 {
		return
	}
	l.asking, l.asked, l.wait = c.id(), l.wait, make(map[uint64]uint64)
	c.do(Confirm{ID: l.asking, Term: c.term})
}

func (c *Core) onConfirmed(ev Confirmed) {
	l := &c.leases
	if !c.leads || ev.ID != l.asking {
		return
	}
	asked := l.asked
	l.asking, l.asked = 0, nil
	if ev.OK {
		for _, id := range sortedKeys(asked) {
			if s := c.sessions[id]; s != nil {
				c.send(s, wire.BeatAck{N: asked[id], BeatMillis: s.every.Milliseconds(), Lease: asked[id]})
			}
		}
	}
	c.confirm()
}

// isFenced says that a task may only run under a lease.
func (c *Core) isFenced(t *dcos.Task) bool {
	def, ok := c.view.AppAt(t.App, t.Version)
	return ok && def.Fence != dcos.FenceNone
}

// farOff is when to look again at tasks that only an operator gives up.
const farOff = time.Hour

// fence gives up the fenced tasks of a lost node, when their leases have ended
// for certain: by this master's clock, from the last contact that it knows of.
func (c *Core) fence(now time.Time, n *node) {
	n.fenceAt = time.Time{}
	row := c.row(n.id)
	if row == nil || row.State != dcos.NodeLost || n.sess != nil || c.view.Index() < n.settled {
		return
	}
	ended := n.contact.Add(dcos.LeaseFor + dcos.LeaseMargin)
	var lost []dcos.TaskID
	for t := range c.view.TasksOn(n.id) {
		def, ok := c.view.AppAt(t.App, t.Version)
		if t.Unreachable == 0 || !ok || def.Fence == dcos.FenceNone {
			continue
		}
		// Its strategy is by the time of the state, which is the wall clock's; the
		// lease is not, so neither may stand for the other.
		at := ended
		if u := def.Unreachable; t.Goal == dcos.GoalRun && !ended.After(now) {
			counts := t.Unreachable + dcos.Time(u.InactiveSeconds*1000)
			if left := counts.Sub(dcos.TimeOf(now)); u.Disabled {
				at = now.Add(farOff)
			} else if left > 0 {
				at = now.Add(left)
			}
		}
		switch {
		case !at.After(now):
			lost = append(lost, t.ID)
		case n.fenceAt.IsZero() || at.Before(n.fenceAt):
			n.fenceAt = at
		}
	}
	if len(lost) == 0 {
		return
	}
	// Tried again until the view shows it; a repeat changes nothing.
	n.fenceAt = now.Add(recheck)
	c.propose([]part{{node: n.id, kind: partLose, cmd: state.LoseTasks{
		Node: n.id, Tasks: lost, Reason: dcos.ReasonAgentLost, Unreachable: true, Message: "its node is lost, and its lease has ended for certain",
	}}})
}

func (c *Core) removed(id dcos.NodeID) bool {
	_, removed := c.view.Removed(id)
	return removed
}

// sendAway tells an agent that its machine was removed.
func (c *Core) sendAway(sess uint64, id dcos.NodeID) {
	const why = "this machine was removed from the cluster: join it anew with a token, after `dcos uninstall`"
	c.do(Note{Node: id, Text: "agent refused: its machine was removed"})
	c.do(Send{Sess: sess, Msg: wire.Refused{Why: why, RetryMillis: retryNever.Milliseconds(), Removed: true}})
	c.do(CloseSession{Sess: sess, Why: why})
}

// sendRemoved ends the session of a node that has just been removed.
func (c *Core) sendRemoved(n *node) bool {
	if !c.removed(n.id) {
		return false
	}
	if s := n.sess; s != nil {
		c.sendAway(s.id, n.id)
		c.forget(n)
	}
	c.present(n)
	if !n.control && n.inFlight == 0 {
		delete(c.nodes, n.id)
	} else {
		n.judgeAt, n.lookAt, n.fenceAt = time.Time{}, time.Time{}, time.Time{}
		c.arm(n)
	}
	return true
}
