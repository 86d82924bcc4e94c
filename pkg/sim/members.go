package sim

import (
	"errors"
	"time"

	"github.com/dcos-go/dcos/pkg/consensus"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

// members are the machines whose masters belong to the cluster, as far as their
// operator knows.
func (w *world) members() []*master {
	var all []*master
	for _, m := range w.masters {
		if m.id != 0 {
			all = append(all, m)
		}
	}
	return all
}

// member is the one with an id; nil when there is none any more.
func (w *world) member(id dcos.MasterID) *master {
	for _, m := range w.masters {
		if m.id == id && id != 0 {
			return m
		}
	}
	return nil
}

// operator adds, replaces and removes masters, one after the other, as
// `dcos master join` and `leave` do.
type operator struct {
	w        *world
	busy     bool
	next     dcos.MasterID
	removing map[dcos.MasterID]bool // that was asked for
	ghosts   int                    // removed masters that have not been told
}

// tend replaces what is damaged.
func (o *operator) tend() {
	w := o.w
	w.after(w.rng.between(time.Second, 4*time.Second), "operator", 0, func() {
		o.tend()
		if o.busy {
			return
		}
		for _, m := range w.members() {
			if m.damaged && !o.removing[m.id] {
				o.busy = true
				o.remove(m, func() {
					w.count("master replaced")
					o.join(m)
				})
				return
			}
		}
		if w.mixed() && !w.calm {
			o.upgrade()
		}
	})
}

// ask insists until the leader has agreed; found says which refusals mean that
// it is so already.
func (o *operator) ask(what string, e func(consensus.Ticket) consensus.Event, then func()) {
	w := o.w
	again := func() { w.after(500*time.Millisecond, "operator", 0, func() { o.ask(what, e, then) }) }
	l := w.aLeader()
	if l == nil {
		again()
		return
	}
	answered := false
	answer := func(err error) {
		switch {
		case answered:
			return
		case err == nil, errors.Is(err, dcos.ErrNotFound):
			answered = true
			w.note("operator: %s", what)
			then()
		default:
			answered = true
			again()
		}
	}
	l.ask(e, func(f consensus.Effect) { answer(f.(consensus.Resolved).Err) })
	w.after(10*time.Second, "operator", 0, func() { answer(consensus.Unknown{}) })
}

// join makes a machine a member that knows nothing yet. The leader promotes it
// when it has caught up.
func (o *operator) join(m *master) {
	w := o.w
	o.busy = true
	o.next++
	m.id, m.damaged, m.flipped, m.held, m.level = o.next, false, false, false, state.Level
	m.voted = false // what the member before it on this machine did is not its own
	m.newDisks(w.rng.next(), w.rng.next())
	m.life++
	if err := consensus.Join(m.logFS, m.identity()); err != nil {
		w.fail("make a master that joins: %v", err)
	}
	id := m.id
	w.note("master %d joins on host %d", id, m.host)
	w.client.insist(state.PutMaster{Master: m.row(false)}, func() {
		o.ask("learner added", func(t consensus.Ticket) consensus.Event { return consensus.AddLearner{Ticket: t, ID: id} }, func() {
			w.count("master joined")
			o.busy = false
		})
	}, nil)
	if m.power {
		m.start()
	}
}

// row is what a master says of itself.
func (m *master) row(voter bool) dcos.Master {
	return dcos.Master{ID: m.id, Name: masterAddr(m.id), Peer: masterAddr(m.id), API: masterAddr(m.id), Level: m.level, Voter: voter}
}

// leave takes a member out that is well.
func (o *operator) leave(m *master) {
	o.busy = true
	o.remove(m, func() {
		o.w.count("master left")
		o.busy = false
	})
}

// remove takes a member out of the group; its machine is wiped soon after.
func (o *operator) remove(m *master, then func()) {
	w, id := o.w, m.id
	w.note("master %d is to be removed", id)
	o.removing[id] = true
	o.ask("member removed", func(t consensus.Ticket) consensus.Event { return consensus.Remove{Ticket: t, ID: id} }, func() {
		most := 15 * time.Second
		if m.damaged || w.calm {
			most = time.Second
		}
		o.ghosts++
		w.after(w.rng.between(0, most), "wipe", m.host, func() {
			o.ghosts--
			m.end(0)
			m.id, m.damaged, m.flipped, m.stall, m.low = 0, false, false, 0, false
			m.newDisks(w.rng.next(), w.rng.next())
			w.client.insist(state.RemoveMaster{ID: id}, then, nil)
		})
	})
}

// insist writes until it is acknowledged, or refused for good.
func (c *client) insist(cmd state.Command, then, refused func()) {
	c.send(cmd, func(i state.Item, err error) {
		switch {
		case err == nil && (i.Err == nil || errors.Is(i.Err, dcos.ErrNotFound)):
			then()
		case err == nil && errors.Is(i.Err, dcos.ErrConflict) && refused != nil:
			refused()
		default:
			c.w.after(time.Second, "operator", 0, func() { c.insist(cmd, then, refused) })
		}
	})
}

// keepRound is how often a leader looks after the masters.
const keepRound = time.Second

// keep is what a leading node does for the group: it lets learners vote that
// have caught up, and writes its own row.
func (m *master) keep(role int) {
	m.after(m.w.rng.between(0, keepRound), "keep", func() {
		if !m.valid(role) {
			return
		}
		s := m.core.Status()
		v := m.store.View()
		_, made := v.Cluster()
		voters := map[dcos.MasterID]bool{}
		for _, id := range s.Voters {
			voters[id] = true
		}
		var cmds []state.Command
		own := false
		for row := range v.Masters() {
			want := *row
			want.Voter = voters[row.ID]
			if row.ID == m.id {
				own, want.Level = true, m.level
			}
			if want != *row {
				cmds = append(cmds, state.PutMaster{Master: want})
			}
		}
		if !own {
			cmds = append(cmds, state.PutMaster{Master: m.row(true)})
		}
		if made && len(cmds) > 0 {
			m.propose(state.Origin{}, cmds, func(state.Result, error) {})
		}
		for _, id := range s.Learners {
			m.ask(func(t consensus.Ticket) consensus.Event { return consensus.Promote{Ticket: t, ID: id} }, func(f consensus.Effect) {
				if f.(consensus.Resolved).Err == nil {
					m.w.count("learner promoted")
				}
			})
		}
		m.keep(role)
	})
}

// mixed says that the cluster began with masters of an older build.
func (w *world) mixed() bool { return w.rules.level < state.Level }

// spareOne says that the others can do without one master for a while.
func (w *world) spareOne() bool {
	for _, m := range w.members() {
		if m.held || m.damaged || !m.votes() {
			return false
		}
	}
	return len(w.members()) >= 3 && !w.operator.busy
}

// upgrade installs the newer build on one master after the other, sometimes the
// older one again, and raises the level when all have it. It tries that too
// early as well.
func (o *operator) upgrade() {
	w := o.w
	l := w.aLeader()
	if l == nil {
		return
	}
	if info, ok := l.store.View().Cluster(); !ok || info.Level >= state.Level {
		return
	}
	all := w.members()
	m := all[w.rng.below(len(all))]
	switch {
	case w.rng.one(3):
		w.client.send(state.RaiseLevel{Level: state.Level}, func(i state.Item, err error) {
			switch {
			case err == nil && i.Err == nil:
				w.count("level raised")
			case err == nil:
				w.count("level not raised")
			}
		})
	case m.level < state.Level && !m.held && w.rng.one(2):
		w.note("master %d gets the newer build", m.id)
		m.level = state.Level
		m.end(w.rng.between(50*time.Millisecond, 2*time.Second))
		id := m.id
		w.client.send(state.PutMaster{Master: m.row(true)}, func(i state.Item, err error) {
			// Was it not heard, it may still come to pass: there is no way back.
			m.sure = m.id == id && err == nil && i.Err == nil
		})
	case m.level == state.Level && m.sure && w.rng.one(3) && w.spareOne():
		// It says so before it runs again: what comes then it must understand.
		w.note("master %d gets the older build again", m.id)
		m.held = true
		m.end(0)
		m.level = w.rules.level
		released := func() {
			m.held = false
			m.start()
		}
		w.client.insist(state.PutMaster{Master: m.row(true)}, released, func() {
			m.level = state.Level // too late
			released()
		})
	}
}
