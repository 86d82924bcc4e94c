package dispatch

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
	"github.com/dcos-go/dcos/pkg/wire"
)

// part is one command of a proposal, and what waits for it.
type part struct {
	node dcos.NodeID
	kind partKind
	cmd  state.Command
	sess uint64   // of partEnter and partStatuses
	n    int      // of partStatuses: how many pending ones it settles
	seqs []uint64 // of partStatuses: their numbers, the folded ones too
}

type partKind uint8

const (
	partEnter    partKind = iota + 1 // the node's row becomes what its hello says
	partState                        // SetNodeState, or PutNode of an open session
	partLose                         // LoseTasks; tried again by whoever finds the need
	partStatuses                     // TaskStatuses
)

// propose sends the commands of parts as one proposal.
func (c *Core) propose(parts []part) {
	id := c.id()
	cmds := make([]state.Command, len(parts))
	for i, p := range parts {
		cmds[i] = p.cmd
	}
	c.proposals[id] = parts
	c.do(Propose{ID: id, Commands: cmds})
}

func (c *Core) onDone(now time.Time, ev Done) {
	parts, ok := c.proposals[ev.ID]
	if !ok {
		return // of an earlier leadership
	}
	delete(c.proposals, ev.ID)
	for i, p := range parts {
		err := ev.Err
		if err == nil && i < len(ev.Result.Items) {
			err = ev.Result.Items[i].Err
		}
		n := c.nodes[p.node]
		if n == nil {
			continue
		}
		if p.kind == partStatuses {
			c.statusesDone(now, n, p, ev.Err)
			continue
		}
		if p.kind == partEnter || p.kind == partState {
			n.control = false
		}
		if err == nil {
			n.settled = max(n.settled, ev.Result.Index)
		}
		if c.view.Index() < n.settled {
			n.lookAt = now.Add(recheck) // in case that no change of it comes
		}
		switch {
		case errors.Is(err, dcos.ErrInvalid) && p.kind == partEnter:
			c.enterRefused(now, n, p, err)
		case ev.Err != nil:
			n.recheckAt = now.Add(retryAfter)
		case err != nil:
			n.recheckAt = now.Add(recheck)
		case p.kind == partEnter:
			c.entered(n, p, ev.Result.Index)
		case suspects(p.cmd):
			n.calmUntil = now.Add(suspectEvery)
		}
		c.welcome(now, n)
		c.reconcile(now, n)
		c.arm(n)
	}
}

// entered notes that the node's row is as its session's hello says.
func (c *Core) entered(n *node, p part, at dcos.Index) {
	if s := n.sess; s != nil && s.id == p.sess && !s.open {
		s.from = max(at, 1)
	}
}

// enterRefused ends a session whose node the state can never take. A row that
// an earlier session left does not stay as if the agent were there.
func (c *Core) enterRefused(now time.Time, n *node, p part, err error) {
	if s := n.sess; s != nil && s.id == p.sess {
		c.refuse(s.id, n.id, err.Error(), retryNever)
		c.forget(n)
		c.goAbsent(now, n, "its agent was refused")
	}
}

// onReport queues statuses until the next flush.
func (c *Core) onReport(now time.Time, n *node, m wire.Report) {
	if n.queued == nil {
		n.queued = make(map[uint64]bool)
	}
	for _, st := range m.Statuses {
		if n.queued[st.Seq] || len(n.pending) >= maxPending {
			continue // the agent sends again what is not acknowledged
		}
		n.queued[st.Seq] = true
		n.pending = append(n.pending, st)
	}
	c.wantFlush(now, n, flushEvery)
}

func (c *Core) wantFlush(now time.Time, n *node, in time.Duration) {
	if n.inFlight > 0 || len(n.pending) == 0 {
		return
	}
	c.waiting[n.id] = n
	if at := now.Add(in); c.flushAt.IsZero() || at.Before(c.flushAt) {
		c.flushAt = at
	}
}

// flushStatuses proposes what has gathered, one batch per node, several nodes
// in one proposal.
func (c *Core) flushStatuses() {
	var parts []part
	count, size := 0, 0
	for _, id := range sortedKeys(c.waiting) {
		n := c.waiting[id]
		delete(c.waiting, id)
		if n.sess == nil || n.inFlight > 0 || len(n.pending) == 0 {
			continue
		}
		p, bytes := batchOf(n)
		if count > 0 && (count+p.n > batchTotal || size+bytes > batchBytes) {
			c.propose(parts)
			parts, count, size = nil, 0, 0
		}
		n.inFlight = p.n
		parts = append(parts, p)
		count += p.n
		size += bytes
	}
	if len(parts) > 0 {
		c.propose(parts)
	}
}

// batchOf folds the first of a node's pending statuses: what a newer one of
// the same task overtakes is left out, but that it ran. What came out of order
// is put in order.
func batchOf(n *node) (part, int) {
	p := part{node: n.id, kind: partStatuses, sess: n.sess.id}
	size, newest := 0, make(map[dcos.TaskID]uint64)
	for p.n < len(n.pending) && p.n < batchNode && (p.n == 0 || size < batchBytes) {
		st := &n.pending[p.n]
		size += statusWeight + len(st.Message) + len(st.Task) + len(st.Reason)
		newest[st.Task] = max(newest[st.Task], st.Seq)
		p.seqs = append(p.seqs, st.Seq)
		p.n++
	}
	cmd := state.TaskStatuses{Node: n.id}
	for _, st := range n.pending[:p.n] {
		if newest[st.Task] == st.Seq || st.State == dcos.TaskRunning {
			cmd.Statuses = append(cmd.Statuses, st)
		}
	}
	slices.SortStableFunc(cmd.Statuses, func(a, b dcos.Status) int { return cmp.Compare(a.Seq, b.Seq) })
	p.cmd = cmd
	return p, size
}

// statusesDone acknowledges a batch that is in the state. What the state
// refused is stale and acknowledged all the same; what was not taken or whose
// fate is not known is proposed again, which changes nothing when it was.
func (c *Core) statusesDone(now time.Time, n *node, p part, err error) {
	if err != nil {
		n.inFlight = 0
		if n.sess == nil || n.sess.id != p.sess {
			c.dropPending(n, p.n) // the agent sends them again on its new session
		}
		c.wantFlush(now, n, retryAfter)
		return
	}
	n.inFlight = 0
	c.dropPending(n, p.n)
	if s := n.sess; s != nil && s.open && s.id == p.sess {
		c.send(s, wire.Ack{Seqs: p.seqs})
	}
	c.wantFlush(now, n, flushEvery)
}

func (c *Core) dropPending(n *node, k int) {
	for _, st := range n.pending[:k] {
		delete(n.queued, st.Seq)
	}
	if n.pending = append(n.pending[:0], n.pending[k:]...); len(n.pending) == 0 {
		n.pending, n.queued = nil, nil // thousands of nodes have nothing to say most of the time
	}
}
