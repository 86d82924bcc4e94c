package sim

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/dispatch"
	"github.com/dcos-go/dcos/pkg/scheduler"
	"github.com/dcos-go/dcos/pkg/state"
	"github.com/dcos-go/dcos/pkg/wire"
)

// What the shells of dispatch and scheduler wait.
const (
	readAgain  = 100 * time.Millisecond
	debounce   = 2 * time.Millisecond
	feedDelay  = 100 * time.Microsecond
	probeLimit = 500 * time.Millisecond
)

// leading is what a master does besides consensus: dispatch always, the
// scheduler while it leads.
type leading struct {
	role  int // counts changes of the role; work of an older one is gone
	leads bool
	term  dcos.Term

	disp      *dispatch.Core
	dispTimer int
	dispFeed  int // the follow that is under way; 0 is none
	dispFrom  dcos.Index

	turns *turns // nil: not leading, or reading the state
	feeds int
}

func newLeading() leading { return leading{disp: dispatch.New()} }

// role is told when who leads may have changed.
func (m *master) role() {
	l := &m.leader
	l.role++
	leads := m.lead.Ready && m.lead.Leader == m.id
	if !leads {
		l.leads, l.dispFeed, l.turns = false, 0, nil
		leader := dcos.MasterID(0)
		if m.lead.Leader != m.id {
			leader = m.lead.Leader
		}
		m.dispatch(dispatch.Follow{Leader: masterAddr(leader)})
		return
	}
	if l.leads && l.term == m.lead.Term {
		return
	}
	l.leads, l.term = true, m.lead.Term
	m.followDispatch(true)
	m.followTurns()
	m.keep(l.role)
}

// valid says that leadership goes on as it was.
func (m *master) valid(role int) bool { return m.leader.role == role && m.leader.leads }

// followDispatch reads a view, and then every commit behind it.
func (m *master) followDispatch(first bool) {
	l := &m.leader
	role := l.role
	l.dispFeed = 0
	m.read(func(v state.View, err error) {
		switch {
		case !m.valid(role):
		case err != nil:
			m.after(readAgain, "read again", func() {
				if m.valid(role) {
					m.followDispatch(first)
				}
			})
		default:
			l.feeds++
			l.dispFeed, l.dispFrom = l.feeds, v.Index()
			if first {
				m.dispatch(dispatch.Lead{Term: l.term, View: v})
			} else {
				m.dispatch(dispatch.Changed{View: v, Reset: true})
			}
		}
	})
}

// publish is the change ring: those who follow get every commit in order.
func (m *master) publish(c state.Commit) {
	l := &m.leader
	if feed := l.dispFeed; feed != 0 && c.Index > l.dispFrom {
		m.after(feedDelay, "feed", func() {
			if l.dispFeed == feed {
				m.dispatch(dispatch.Changed{View: c.View, Changes: c.Changes})
			}
		})
	}
	if t := l.turns; t != nil && c.Index > t.from {
		m.after(feedDelay, "feed", func() {
			if l.turns == t {
				t.commit(c)
			}
		})
	}
}

// feedBreaks is a ring that has been reset: those who follow read anew.
func (m *master) feedBreaks() {
	l := &m.leader
	if !l.leads {
		return
	}
	role := l.role
	l.dispFeed, l.turns = 0, nil
	m.after(readAgain, "read again", func() {
		if m.valid(role) {
			m.followDispatch(false)
			m.followTurns()
		}
	})
}

// dispatch steps the core of the sessions.
func (m *master) dispatch(e dispatch.Event) {
	if !m.up {
		return
	}
	l := &m.leader
	life := m.life
	for _, f := range l.disp.Step(m.clock.mono(), e) {
		if m.life != life {
			return
		}
		m.w.cover.effect(f)
		switch f := f.(type) {
		case dispatch.Send:
			if _, ok := f.Msg.(wire.Refused); ok {
				m.w.count("clone refused")
			}
			if s := m.session(f.Sess); s != nil {
				s.toAgent(f.Msg)
			}
		case dispatch.CloseSession:
			if s := m.session(f.Sess); s != nil {
				s.endMaster()
			}
		case dispatch.Propose:
			m.propose(state.Origin{}, f.Commands, func(r state.Result, err error) {
				m.dispatch(dispatch.Done{ID: f.ID, Result: r, Err: err})
			})
		case dispatch.Confirm:
			m.read(func(_ state.View, err error) {
				ok := err == nil && l.leads && m.lead.Term == f.Term && m.lead.Leader == m.id
				m.dispatch(dispatch.Confirmed{ID: f.ID, OK: ok})
			})
		case dispatch.Probe:
			m.probe(f)
		case dispatch.SetTimer:
			l.dispTimer++
			timer := l.dispTimer
			m.after(m.clock.takes(f.At.Sub(m.clock.mono())), "dispatch timer", func() {
				if l.dispTimer == timer {
					m.dispatch(dispatch.Fired{})
				}
			})
		case dispatch.Note:
			m.w.note("master %d: %s: %s", m.id, f.Node, f.Text)
		}
	}
}

func (m *master) session(id uint64) *session {
	for _, s := range m.w.net.sessions {
		if s.id == id && s.master == m && s.mLife == m.life {
			return s
		}
	}
	return nil
}

// probe tries to reach a machine's port, twice.
func (m *master) probe(f dispatch.Probe) {
	d, alive := m.w.net.reach(m.host, f.Addr)
	m.after(d, "probed", func() { m.dispatch(dispatch.Probed{ID: f.ID, Alive: alive}) })
}

// reach says whether a machine answers, and after how long that is known.
func (n *network) reach(from int, addr string) (time.Duration, bool) {
	for _, a := range n.w.hosts() {
		if a.addr() != addr {
			continue
		}
		if a.power && n.whole(from, a.host) {
			return n.delay() * 2, true
		}
		return 2 * probeLimit, false
	}
	if !strings.HasPrefix(addr, "c") { // copies go away
		n.w.fail("no machine at %q", addr)
	}
	return 2 * probeLimit, false
}

// turns is the loop of the scheduler's shell.
type turns struct {
	m       *master
	core    *scheduler.Core
	view    state.View
	from    dcos.Index
	pending []state.Change
	next    time.Duration // 0: no timer
	timer   int
	flying  bool // a batch whose outcome the core does not know
}

// followTurns starts the scheduler from a view of its own.
func (m *master) followTurns() {
	l := &m.leader
	role := l.role
	l.turns = nil
	m.read(func(v state.View, err error) {
		switch {
		case !m.valid(role):
		case err != nil:
			m.turnsAgain(role)
		default:
			t := &turns{m: m, core: scheduler.New(), view: v, from: v.Index()}
			l.turns = t
			t.wakeIn(0)
		}
	})
}

func (m *master) turnsAgain(role int) {
	m.leader.turns = nil
	m.after(readAgain, "read again", func() {
		if m.valid(role) {
			m.followTurns()
		}
	})
}

func (t *turns) commit(c state.Commit) {
	t.see(c.View)
	t.pending = append(t.pending, c.Changes...)
	t.wakeIn(debounce)
}

func (t *turns) see(v state.View) {
	if v.Index() > t.view.Index() {
		t.view = v
	}
}

func (t *turns) wakeIn(d time.Duration) {
	at := t.m.w.now + max(d, time.Microsecond)
	if t.next != 0 && t.next <= at {
		return
	}
	t.next = at
	t.timer++
	timer := t.timer
	t.m.after(at-t.m.w.now, "turn", func() {
		if timer == t.timer && t.m.leader.turns == t {
			t.next = 0
			t.turn()
		}
	})
}

func (t *turns) turn() {
	m := t.m
	cmds, wake := t.core.Turn(dcos.TimeOf(m.clock.wall()), t.view, t.pending)
	t.pending = nil
	if len(cmds) == 0 {
		if wake != 0 {
			t.wakeIn(wake.Std().Sub(m.clock.wall()))
		}
		return
	}
	if t.flying {
		m.w.fail("master %d: the scheduler asks for a batch while one is in flight", m.id)
	}
	t.flying = true
	role := m.leader.role
	m.propose(state.Origin{}, slices.Clone(cmds), func(r state.Result, err error) {
		if m.leader.turns == t {
			t.done(r, err, role)
		}
	})
}

func (t *turns) done(r state.Result, err error, role int) {
	if errors.Is(err, dcos.ErrUnknown) {
		t.m.turnsAgain(role)
		return
	}
	t.flying = false
	t.core.Done(dcos.TimeOf(t.m.clock.wall()), r, err)
	// The batch is applied here. The feed may be behind, and says nothing at
	// all of a batch that changed nothing.
	t.see(t.m.store.View())
	t.wakeIn(0)
}
