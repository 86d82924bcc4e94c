package sim

import (
	"time"

	"github.com/dcos-go/dcos/pkg/consensus"
)

// masterFaults befall the processes, the power and the clocks of masters.
var masterFaults = []fault{
	{"master killed", func(w *world) bool {
		m := w.aMaster()
		if !m.up {
			return false
		}
		w.note("master %d is killed", m.id)
		m.end(w.rng.between(50*time.Millisecond, 4*time.Second))
		return true
	}},
	{"leader killed", func(w *world) bool {
		m := w.aLeader()
		if m == nil {
			return false
		}
		w.note("leader %d is killed", m.id)
		m.end(w.rng.between(50*time.Millisecond, 4*time.Second))
		return true
	}},
	{"master's power cut", func(w *world) bool {
		m := w.aMaster()
		if !m.power {
			return false
		}
		m.powerLoss()
		return true
	}},
	{"all masters' power cut", func(w *world) bool {
		if !w.rng.one(4) {
			return false
		}
		for _, m := range w.members() {
			if m.power {
				m.powerLoss()
			}
		}
		return true
	}},
	{"leadership handed over", func(w *world) bool {
		m := w.aLeader()
		if m == nil || len(w.members()) == 1 {
			return false
		}
		w.note("master %d is asked to hand over", m.id)
		m.ask(func(t consensus.Ticket) consensus.Event { return consensus.Transfer{Ticket: t} }, func(consensus.Effect) {})
		return true
	}},
	{"feed reset", func(w *world) bool {
		m := w.aLeader()
		if m != nil {
			m.feedBreaks()
		}
		return m != nil
	}},
	{"master killed before it acts", func(w *world) bool {
		m := w.aMaster()
		m.killIn = 1 + w.rng.below(40)
		return m.up
	}},
	{"master paused", func(w *world) bool {
		m := w.aMaster()
		if w.rng.one(2) && w.aLeader() != nil {
			m = w.aLeader()
		}
		m.paused = w.now + w.rng.pick(w.rng.between(100*time.Millisecond, 3*time.Second), 15*time.Second)
		w.note("master %d is paused", m.id)
		return m.up
	}},
	{"all masters paused", func(w *world) bool {
		if !w.rng.one(3) {
			return false
		}
		until := w.now + w.rng.between(time.Second, 15*time.Second)
		for _, m := range w.members() {
			m.paused = until
		}
		w.note("all masters are paused")
		return true
	}},
	{"leadership goes to and fro", func(w *world) bool {
		if len(w.members()) == 1 {
			return false
		}
		w.note("leadership goes to and fro")
		until := w.now + w.rng.between(2*time.Second, 8*time.Second)
		var again func()
		again = func() {
			if w.now > until {
				return
			}
			if l := w.aLeader(); l != nil {
				l.ask(func(t consensus.Ticket) consensus.Event { return consensus.Transfer{Ticket: t} }, func(consensus.Effect) {})
			}
			w.after(200*time.Millisecond, "hand over", 0, again)
		}
		again()
		return true
	}},
	{"clock stepped", func(w *world) bool {
		m := w.aMaster()
		m.clock.set += w.rng.between(-2*time.Second, 2*time.Second)
		return true
	}},
	{"clock jumps an hour", func(w *world) bool {
		m := w.aMaster()
		switch {
		case m.clock.set > 10*time.Minute || m.clock.set < -10*time.Minute:
			m.clock.set = 0 // somebody has noticed
		case w.rng.one(2):
			m.clock.set += time.Hour
		default:
			m.clock.set -= time.Hour
		}
		w.note("master %d: its clock is %v wrong", m.id, m.clock.set)
		return true
	}},
}
