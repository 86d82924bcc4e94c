package dispatch

import (
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
	"github.com/dcos-go/dcos/pkg/wire"
)

// session is one agent's connection, from its hello on.
type session struct {
	id      uint64
	hello   wire.Hello
	version uint32
	open    bool
	// from is the index that the view must reach before the session opens; it
	// is 0 until its node's row is as the hello says.
	from  dcos.Index
	heard time.Time
	every time.Duration // between beats, as the agent was told
	bye   bool

	seq      uint64         // of the last assignment
	sent     []wire.TaskRef // the set that the agent was told, by id
	stops    []wire.TaskRef // live tasks that the agent was told to stop, by id
	hash     uint64         // of sent
	sentAt   time.Time      // of the last assignment
	resyncAt time.Time      // not before, for a wrong hash
	fenced   bool           // it holds tasks that need a lease
}

func (s *session) node() dcos.NodeID { return s.hello.Node.ID }

// node is what the leader keeps of one machine while it leads.
type node struct {
	id   dcos.NodeID
	sess *session
	// suspect: the session is up, but beats are missing.
	suspect bool
	judgeAt time.Time // end of a new leader's grace; zero: over
	absent  *absence  // nil while there is a session
	contact time.Time // of the last message before its session ended: no lease of it is younger
	fenceAt time.Time // when to look again at what waits for its lease to end

	control   bool       // a command about its state is being proposed
	settled   dcos.Index // the view must reach it before the state is looked at again
	lookAt    time.Time  // when to see whether it has
	recheckAt time.Time  // no command about its state before
	calmUntil time.Time  // no further suspicion is written before: its session comes and goes

	pending  []dcos.Status   // to be proposed, in order
	queued   map[uint64]bool // their numbers; nil while nothing is pending
	inFlight int             // of pending, at its front; 0 is none

	wakeAt time.Time
}

func (c *Core) node(id dcos.NodeID) *node {
	n := c.nodes[id]
	if n == nil {
		n = &node{id: id}
		c.nodes[id] = n
	}
	return n
}

func (c *Core) row(id dcos.NodeID) *dcos.Node {
	row, _ := c.view.Node(id)
	return row
}

func (c *Core) refuse(sess uint64, node dcos.NodeID, why string, retry time.Duration) {
	c.do(Note{Node: node, Text: "agent refused: " + why, Alarm: true})
	c.do(Send{Sess: sess, Msg: wire.Refused{Why: why, RetryMillis: retry.Milliseconds()}})
	c.do(CloseSession{Sess: sess, Why: why})
}

func (c *Core) redirect(sess uint64, to string) {
	c.do(Send{Sess: sess, Msg: wire.Redirect{Leader: to}})
	c.do(CloseSession{Sess: sess, Why: "redirected"})
}

// onOpened checks who says hello, and lets its node in.
func (c *Core) onOpened(now time.Time, ev Opened) {
	h := ev.Hello
	id := h.Node.ID
	cluster := dcos.ClusterInfo{}
	if c.leads {
		cluster, _ = c.view.Cluster()
	}
	// A leader that has not made the cluster's first rows knows nothing yet.
	if !c.leads || h.Term > c.term || cluster.ID == "" {
		c.redirect(ev.Sess, c.leader)
		return
	}
	version, err := wire.Negotiate(wire.Supported, h.Versions)
	peer, isAgent := ev.Peer.Node()
	switch {
	case err != nil:
		c.refuse(ev.Sess, id, err.Error(), retryNever)
	case h.Cluster != cluster.ID || ev.Peer.Cluster != cluster.ID:
		c.refuse(ev.Sess, id, fmt.Sprintf("the agent belongs to cluster %q, this is %q: uninstall it there and join it here", h.Cluster, cluster.ID), retryNever)
	case !isAgent || peer != id:
		c.refuse(ev.Sess, id, fmt.Sprintf("the agent calls itself %q, its certificate says %q: join the machine anew", id, ev.Peer.ID), retryNever)
	case h.Node.Boot == "":
		c.refuse(ev.Sess, id, "the agent names no boot", retryNever)
	case saidBytes(h.Node) > maxSaid:
		c.refuse(ev.Sess, id, fmt.Sprintf("the agent says %d bytes of its machine, expected %d at most: it needs fewer attributes", saidBytes(h.Node), maxSaid), retryNever)
	case c.removed(id):
		c.sendAway(ev.Sess, id)
	case len(c.sessions) >= maxSessions:
		c.refuse(ev.Sess, id, fmt.Sprintf("%d sessions are open, no more are taken", maxSessions), retryNever)
	default:
		c.admit(now, ev, version)
	}
}

// saidBytes is about how much of the state an agent's words take.
func saidBytes(n dcos.Node) int {
	size := 16 * len(n.Total.Ports)
	for name, value := range n.Attributes {
		size += len(name) + len(value)
	}
	for _, s := range n.NotEnforced {
		size += len(s)
	}
	return size
}

func (c *Core) admit(now time.Time, ev Opened, version uint32) {
	n := c.node(ev.Hello.Node.ID)
	if old := n.sess; old != nil {
		if old.hello.Node.Boot != ev.Hello.Node.Boot {
			c.refuse(ev.Sess, n.id, "another machine holds a session under the same id: if this machine's disk was cloned, remove its data directory and join it anew", retryClone)
			return
		}
		c.forget(n)
		c.do(CloseSession{Sess: old.id, Why: "the agent connected anew"})
	}
	s := &session{id: ev.Sess, hello: ev.Hello, version: version, heard: now, every: c.every()}
	if ev.Hello.Term == c.term {
		s.seq = ev.Hello.Seq
	}
	c.sessions[s.id] = s
	c.present(n)
	n.sess, n.suspect, n.judgeAt = s, false, time.Time{}
	c.reconcile(now, n)
}

// forget takes a node's session away; what waits for it comes again.
func (c *Core) forget(n *node) {
	s := n.sess
	n.contact = s.heard
	delete(c.leases.wait, s.id)
	delete(c.sessions, s.id)
	if i, ok := slices.BinarySearch(c.open, n.id); ok {
		c.open = slices.Delete(c.open, i, i+1)
	}
	n.sess, n.suspect = nil, false
	n.pending = n.pending[:n.inFlight]
	clear(n.queued)
	delete(c.waiting, n.id)
}

// enter is the commands that make the node's row what the hello says; none
// when it is so already.
func (c *Core) enter(s *session) []state.Command {
	row := c.row(s.node())
	sameBoot := row != nil && row.Boot == s.hello.Node.Boot
	var cmds []state.Command
	if row == nil || row.State != dcos.NodeActive || !sameNode(*row, s.hello.Node) {
		cmds = append(cmds, state.PutNode{Node: s.hello.Node})
	}
	if lost := c.unknownTo(s); sameBoot && len(lost) > 0 {
		cmds = append(cmds, state.LoseTasks{
			Node: s.node(), Tasks: lost, Reason: dcos.ReasonReconciliation, Message: "the agent does not know the task any more",
		})
	}
	return cmds
}

// unknownTo are the tasks that the agent has reported of before and does not
// hold now: its checkpoint was lost. A task that it never reported of may be
// on its way and is sent again; the agent keeps a record before it reports.
func (c *Core) unknownTo(s *session) []dcos.TaskID {
	holds := make(map[dcos.TaskID]bool, len(s.hello.Tasks))
	for _, t := range s.hello.Tasks {
		holds[t.ID] = true
	}
	var lost []dcos.TaskID
	for t := range c.view.TasksOn(s.node()) {
		if t.State > dcos.TaskPlaced && !holds[t.ID] {
			lost = append(lost, t.ID)
		}
	}
	return lost
}

// sameNode compares what an agent says of itself with its row.
func sameNode(row, said dcos.Node) bool {
	said.State, said.Why, said.Since, said.CreatedAt = row.State, row.Why, row.Since, row.CreatedAt
	return reflect.DeepEqual(row, said)
}

// welcome opens a session when the view shows the node's row.
func (c *Core) welcome(now time.Time, n *node) {
	s := n.sess
	if s == nil || s.open || s.from == 0 || c.view.Index() < s.from {
		return
	}
	s.open, s.heard = true, now
	cluster, _ := c.view.Cluster()
	c.send(s, wire.Welcome{Version: s.version, Term: c.term, BeatMillis: s.every.Milliseconds(), Level: cluster.Level})
	if i, ok := slices.BinarySearch(c.open, n.id); !ok {
		c.open = slices.Insert(c.open, i, n.id)
	}
	c.assignAll(now, s, s.hello.Tasks)
	s.hello.Tasks = nil
	c.arm(n)
}

func (c *Core) onClosed(now time.Time, ev Closed) {
	s := c.sessions[ev.Sess]
	if s == nil {
		return
	}
	c.lost(now, c.nodes[s.node()], ev.How)
}

// lost ends a node's session from the other side and begins to look for it.
func (c *Core) lost(now time.Time, n *node, how How) {
	why := how.String()
	if n.sess.bye {
		why = "its agent stopped"
	}
	c.forget(n)
	c.goAbsent(now, n, why)
}

func (c *Core) onGot(now time.Time, ev Got) {
	s := c.sessions[ev.Sess]
	if s == nil {
		return
	}
	n := c.nodes[s.node()]
	s.heard = now
	if n.suspect {
		n.suspect = false
		c.reconcile(now, n)
	}
	if !s.open {
		return
	}
	switch m := ev.Msg.(type) {
	case wire.Beat:
		c.onBeat(now, s, m)
	case wire.Report:
		c.onReport(now, n, m)
	case wire.ProbeAnswer:
		c.onAnswer(now, n, m)
	case wire.Bye:
		s.bye = true
	default:
		c.do(CloseSession{Sess: s.id, Why: fmt.Sprintf("%T is not for a master", m)})
		c.lost(now, n, HowBroken)
	}
}

func (c *Core) onBeat(now time.Time, s *session, m wire.Beat) {
	s.every = c.every()
	c.send(s, wire.BeatAck{N: m.N, BeatMillis: s.every.Milliseconds()})
	c.askLease(s, m.N)
	c.do(Used{Node: s.node(), Usage: m.Usage})
	same := m.Term == c.term && m.Seq == s.seq
	late := !same && !s.sentAt.Add(resyncAfter).After(now)
	if (late || same && m.Hash != s.hash) && !s.resyncAt.After(now) {
		s.resyncAt = now.Add(resyncAfter)
		c.do(Note{Node: s.node(), Text: "the agent's set of tasks differs, it is sent again"})
		c.assignAll(now, s, nil)
	}
}
