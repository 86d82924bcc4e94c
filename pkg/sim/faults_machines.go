package sim

import (
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

// machineFaults befall agents and their machines.
var machineFaults = []fault{
	{"agent killed", func(w *world) bool {
		m := w.aMachine()
		if !m.up {
			return false
		}
		w.note("agent %s is killed", m.addr())
		m.end(w.rng.between(50*time.Millisecond, 8*time.Second))
		return true
	}},
	{"agent killed again and again", func(w *world) bool {
		m := w.aMachine()
		for range 2 + w.rng.below(4) {
			w.after(w.rng.between(0, 3*time.Second), "kill", m.host, func() { m.end(w.rng.between(0, 300*time.Millisecond)) })
		}
		return m.up
	}},
	{"agent killed while cut off", func(w *world) bool {
		m := w.aMachine()
		running := runningOn(m)
		if !m.up || len(running) == 0 {
			return false
		}
		// Too short for its kernel to give up: its tasks stay its own.
		away := w.rng.between(2*time.Second, giveUpLeast-time.Second)
		w.note("agent %s is killed while it is cut off", m.addr())
		for _, o := range w.masters {
			w.net.sever(m.host, o.host)
			w.net.sever(o.host, m.host)
		}
		// Several ends, of which some are cleaned up by then and known from
		// what was not acknowledged alone.
		for range 1 + w.rng.below(3) {
			m.endIn(running[w.rng.below(len(running))], w.rng.between(0, away/3), dcos.Exit{Code: w.rng.below(256)})
		}
		w.after(w.rng.between(away/2, away*2/3), "kill", m.host, func() { m.end(w.rng.between(0, away/3)) })
		w.after(away, "heal", m.host, func() {
			for _, o := range w.masters {
				w.net.heal(m.host, o.host)
				w.net.heal(o.host, m.host)
			}
		})
		return true
	}},
	{"machine's power cut", func(w *world) bool {
		m := w.aMachine()
		if !m.power {
			return false
		}
		m.powerLoss()
		return true
	}},
	{"machine's power cut inside a disk call", func(w *world) bool {
		m := w.aMachine()
		m.fs.CrashAfter(w.rng.below(25))
		return true
	}},
	{"agent's data removed", func(w *world) bool {
		m := w.aMachine()
		if !m.up || !w.rng.one(3) {
			return false
		}
		w.note("agent %s: its data is removed", m.addr())
		m.wipe()
		return true
	}},
	{"agent killed before it acts", func(w *world) bool {
		m := w.aMachine()
		m.killIn = 1 + w.rng.below(30)
		return m.up
	}},
	{"agent paused", func(w *world) bool {
		m := w.aMachine()
		m.paused = w.now + w.rng.pick(w.rng.between(100*time.Millisecond, 3*time.Second), 15*time.Second, 20*time.Second)
		w.note("agent %s is paused", m.addr())
		return m.up
	}},
	{"node drained", func(w *world) bool {
		m := w.aMachine()
		if len(w.drained) >= len(w.machines)-2 && !w.drained[m.id] {
			return false
		}
		w.drained[m.id] = true
		c := state.DrainNode{Node: m.id, Why: "maintenance"}
		if w.rng.one(2) {
			c.Deadline = dcos.TimeOf(w.time().Add(w.rng.between(time.Second, 20*time.Second)))
		}
		w.client.send(c, func(i state.Item, err error) {
			if err == nil && i.Err == nil {
				w.note("node %s is being drained", m.addr())
				w.count("drain begun")
			}
		})
		w.after(w.rng.between(time.Second, longest), "drain ends", m.host, func() {
			w.client.send(state.ActivateNode{Node: m.id}, func(state.Item, error) {})
		})
		return true
	}},
	{"machine started anew", func(w *world) bool {
		m := w.aMachine()
		if !m.power {
			return false
		}
		w.note("machine %s is started anew", m.addr())
		m.restartPower(w.rng.between(500*time.Millisecond, 4*time.Second))
		return true
	}},
}
