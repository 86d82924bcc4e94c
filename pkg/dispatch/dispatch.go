// Package dispatch is the leading master's half of the session with agents: it
// tells every node what to run, takes over what nodes report, and judges
// whether a node that is not heard of is restarting or gone.
//
// It owns sessions, and the node states that follow from them. It promises
// that a node always comes to run exactly what the state wants of it, that a
// status is acknowledged only when it is in the state (or can never be), and
// that a node is called lost only when its machine does not answer, its boot
// is another, or its agent stayed away for too long. It must not place or stop
// tasks by its own will, and keeps nothing that must survive: a new leader
// begins from the state alone.
//
// The core (Core) is pure: Step takes one event and returns effects. The files
// named shell*.go own goroutines, connections and the clock.
package dispatch

import (
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
	"github.com/dcos-go/dcos/pkg/wire"
)

// The times of a session (design: sessions and failure).
const (
	beatShort    = 2 * time.Second  // below smallCluster nodes
	beatLong     = 10 * time.Second // from largeCluster nodes on
	smallCluster = 500
	largeCluster = 5000
	suspectAfter = 3 // missing beats
	closeAfter   = 6

	// lookTogether is how much later than the third beat a session may be
	// looked at, so that one look is for many.
	lookTogether = 100 * time.Millisecond

	// leaderGrace is how long a new leader waits for agents to reconnect.
	leaderGrace = 15 * time.Second
	// comeBack is how long an agent may stay away while its machine answers.
	comeBack = 60 * time.Second
	// probeWait is how long all answers to one round of probes may take: two
	// tries of 500 ms, and the way there.
	probeWait  = 1500 * time.Millisecond
	probeAgain = 10 * time.Second // while the machine answers
	probeSoon  = time.Second      // when nothing was learned
	probeVia   = 2                // members asked besides the leader

	flushEvery  = 10 * time.Millisecond  // statuses are proposed in batches
	retryAfter  = 200 * time.Millisecond // a proposal that was not taken
	recheck     = time.Second            // after a command that was refused
	resyncAfter = 5 * time.Second        // between two full assignments for a wrong hash

	// suspectEvery is how often a node may be called suspect: one whose session
	// comes and goes does not fill the log.
	suspectEvery = 10 * time.Second

	retryClone   = 5 * time.Second  // told to an agent whose id is in use
	retryNever   = 60 * time.Second // told to an agent that cannot succeed as it is
	maxSessions  = 20000
	maxSaid      = 64 << 10  // bytes of what an agent may say of its machine
	maxPending   = 4096      // statuses of one node that wait
	batchNode    = 256       // statuses of one node in one proposal
	batchTotal   = 1024      // statuses in one proposal
	batchBytes   = 256 << 10 // of statuses in one proposal, about
	assignRun    = 64        // launches in one message
	assignBytes  = 1 << 20   // of launches in one message, about
	statusWeight = 256       // about the size of a status without its message
)

// Core is the leader's view of all sessions. Its methods are called by one
// owner.
type Core struct {
	leads  bool
	term   dcos.Term
	leader string // where to send agents while another master leads
	view   state.View
	since  time.Time // it leads

	sessions map[uint64]*session
	nodes    map[dcos.NodeID]*node
	open     []dcos.NodeID // of open sessions, sorted

	nextID    uint64
	proposals map[uint64][]part
	probes    map[uint64]dcos.NodeID

	leases leases

	flushAt time.Time
	waiting map[dcos.NodeID]*node // with statuses to propose
	timers  timers
	wakeAt  time.Time
	out     []Effect
}

// New is a core that does not lead.
func New() *Core {
	c := &Core{}
	c.reset()
	return c
}

func (c *Core) reset() {
	c.leads = false
	c.sessions = make(map[uint64]*session)
	c.nodes = make(map[dcos.NodeID]*node)
	c.open = nil
	c.proposals = make(map[uint64][]part)
	c.probes = make(map[uint64]dcos.NodeID)
	c.waiting = make(map[dcos.NodeID]*node)
	c.leases = leases{wait: make(map[uint64]uint64)}
	c.timers = timers{}
	c.flushAt, c.wakeAt = time.Time{}, time.Time{}
}

// Step takes one event and returns what must happen next. It starts nothing,
// waits for nothing and reads no clock.
func (c *Core) Step(now time.Time, ev Event) []Effect {
	switch ev := ev.(type) {
	case Lead:
		c.onLead(now, ev)
	case Follow:
		c.onFollow(ev)
	case Opened:
		c.onOpened(now, ev)
	case Closed:
		c.onClosed(now, ev)
	case Got:
		c.onGot(now, ev)
	case Changed:
		c.onChanged(now, ev)
	case Probed:
		c.onProbed(now, ev)
	case Done:
		c.onDone(now, ev)
	case Confirmed:
		c.onConfirmed(ev)
	case Fired:
		c.wakeAt = time.Time{}
	}
	c.fire(now)
	return c.finish()
}

// fire does everything whose moment has come.
func (c *Core) fire(now time.Time) {
	for {
		id, at, ok := c.timers.pop(now)
		if !ok {
			break
		}
		if n := c.nodes[id]; n != nil && n.wakeAt.Equal(at) {
			n.wakeAt = time.Time{}
			c.tick(now, n)
		}
	}
	if !c.flushAt.IsZero() && !c.flushAt.After(now) {
		c.flushAt = time.Time{}
		c.flushStatuses()
	}
}

func (c *Core) finish() []Effect {
	next := c.flushAt
	if at, ok := c.timers.first(); ok && (next.IsZero() || at.Before(next)) {
		next = at
	}
	if !next.IsZero() && !next.Equal(c.wakeAt) {
		c.wakeAt = next
		c.do(SetTimer{At: next})
	}
	out := c.out
	c.out = nil
	return out
}

func (c *Core) do(e Effect) { c.out = append(c.out, e) }

func (c *Core) send(s *session, m wire.Msg) { c.do(Send{Sess: s.id, Msg: m}) }

func (c *Core) id() uint64 {
	c.nextID++
	return c.nextID
}

// onLead begins to lead: the view holds everything that was ever committed.
// Agents have leaderGrace to come before those without a session are judged.
func (c *Core) onLead(now time.Time, ev Lead) {
	c.onFollow(Follow{})
	c.leads, c.term, c.view, c.since = true, ev.Term, ev.View, now
	for row := range c.view.Nodes() {
		n := c.node(row.ID)
		// Until this moment the leader before may have extended its lease.
		n.contact = now
		if row.State == dcos.NodeActive || row.State == dcos.NodeSuspect {
			n.judgeAt = now.Add(leaderGrace)
		}
		c.fence(now, n)
		c.arm(n)
	}
}

// onFollow sends all agents to the leader and forgets everything.
func (c *Core) onFollow(ev Follow) {
	c.leader = ev.Leader
	for _, id := range sortedKeys(c.sessions) {
		c.send(c.sessions[id], wire.Redirect{Leader: c.leader})
		c.do(CloseSession{Sess: id, Why: "this master does not lead"})
	}
	c.reset()
}

// every is the interval of beats at the present size of the cluster.
func (c *Core) every() time.Duration {
	n := min(max(len(c.sessions), smallCluster), largeCluster)
	return beatShort + (beatLong-beatShort)*time.Duration(n-smallCluster)/(largeCluster-smallCluster)
}
