package sim

import (
	"errors"
	"time"

	"github.com/dcos-go/dcos/pkg/consensus"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/journal/journaltest"
)

const (
	// calmFor is the end of a run, without faults: all must be well within
	// convergeIn, and stay so.
	calmFor    = 100 * time.Second
	convergeIn = 60 * time.Second
	// longest is the most that one fault lasts.
	longest = 25 * time.Second
)

// fault is one kind of mischief; strike says whether there was an occasion.
type fault struct {
	name   string
	strike func(w *world) bool
}

var errDisk = errors.New("input/output error")

// allFaults are the kinds; each run has a part of them.
var allFaults = []fault{
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
		for _, m := range w.masters {
			if m.power {
				m.powerLoss()
			}
		}
		return true
	}},
	{"power cut inside a disk call", func(w *world) bool {
		m := w.aMaster()
		w.note("master %d will lose power inside a call of its disk", m.id)
		fs := m.logFS
		if w.rng.one(4) {
			fs = m.snapFS
		}
		fs.CrashAfter(w.rng.below(40))
		return true
	}},
	{"master's disk error", func(w *world) bool {
		m := w.aMaster()
		w.note("master %d: its disk will give an error", m.id)
		op := []journaltest.Op{journaltest.OpSync, journaltest.OpWrite}[w.rng.below(2)]
		m.logFS.FailNth(op, 1+w.rng.below(3), errDisk)
		return true
	}},
	{"master's disk stalls", func(w *world) bool {
		m := w.aMaster()
		m.stall = w.now + w.rng.between(50*time.Millisecond, 8*time.Second)
		w.note("master %d: its disk stalls", m.id)
		return true
	}},
	{"master paused", func(w *world) bool {
		m := w.aMaster()
		m.paused = w.now + w.rng.between(100*time.Millisecond, 15*time.Second)
		w.note("master %d is paused", m.id)
		return m.up
	}},
	{"master's disk nearly full", func(w *world) bool {
		m := w.aMaster()
		w.note("master %d: its disk is nearly full", m.id)
		w.space(m, true)
		w.after(w.rng.between(time.Second, 20*time.Second), "space", m.host, func() { w.space(m, false) })
		return true
	}},
	{"leadership handed over", func(w *world) bool {
		m := w.aLeader()
		if m == nil || len(w.masters) == 1 {
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
	{"clock jumps", func(w *world) bool {
		m := w.aMaster()
		m.skew += w.rng.between(-2*time.Second, 2*time.Second)
		m.skew = min(max(m.skew, -5*time.Second), 5*time.Second)
		return true
	}},
	{"master cut off", func(w *world) bool {
		if len(w.masters) == 1 {
			return false
		}
		m := w.aMaster()
		w.cutOff(m.host, w.rng.one(3), func(h int) bool { return h < len(w.masters) || w.rng.one(2) })
		return true
	}},
	{"one way cut", func(w *world) bool {
		a, b := w.rng.below(len(w.net.cut)), w.rng.below(len(w.masters))
		if a == b {
			return false
		}
		if w.rng.one(2) {
			a, b = b, a
		}
		w.note("the way from host %d to host %d is cut", a, b)
		w.net.sever(a, b)
		w.after(w.rng.between(300*time.Millisecond, longest), "heal", a, func() { w.net.heal(a, b) })
		return true
	}},
	{"machine cut off", func(w *world) bool {
		m := w.aMachine()
		w.cutOff(m.host, w.rng.one(3), func(int) bool { return true })
		return true
	}},
	{"all machines cut off", func(w *world) bool {
		if !w.rng.one(2) {
			return false
		}
		// Long enough for all to be lost; they come back one by one, with the
		// old tasks of instances that are being placed anew.
		for _, m := range w.machines {
			w.note("machine %s is cut off with all others", m.addr())
			for _, o := range w.masters {
				w.net.sever(m.host, o.host)
				w.net.sever(o.host, m.host)
			}
			w.after(w.rng.between(giveUpMost+2*time.Second, longest), "heal", m.host, func() {
				for _, o := range w.masters {
					w.net.heal(m.host, o.host)
					w.net.heal(o.host, m.host)
				}
			})
		}
		return true
	}},
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
		away := w.rng.between(time.Second, giveUpLeast-time.Second)
		w.note("agent %s is killed while it is cut off", m.addr())
		for _, o := range w.masters {
			w.net.sever(m.host, o.host)
			w.net.sever(o.host, m.host)
		}
		m.endIn(running[w.rng.below(len(running))], w.rng.between(0, away/3), dcos.Exit{Code: w.rng.below(256)})
		w.after(w.rng.between(away/3, away*2/3), "kill", m.host, func() { m.end(w.rng.between(0, away/3)) })
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
	{"agent paused", func(w *world) bool {
		m := w.aMachine()
		m.paused = w.now + w.rng.between(100*time.Millisecond, 20*time.Second)
		w.note("agent %s is paused", m.addr())
		return m.up
	}},
	{"agent's disk stalls", func(w *world) bool {
		m := w.aMachine()
		m.stall = w.now + w.rng.between(50*time.Millisecond, 8*time.Second)
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
	{"session reset", func(w *world) bool { return w.net.breakOne() }},
}

// faults begins the mischief.
func (w *world) faults() {
	if len(w.rules.faults) == 0 {
		return
	}
	w.after(w.rng.between(0, 2*w.rules.every), "fault", 0, func() {
		if w.now > w.length-calmFor-longest {
			return
		}
		f := w.rules.faults[w.rng.below(len(w.rules.faults))]
		if f.strike(w) {
			w.count(f.name)
		}
		w.faults()
	})
}

func (w *world) aMaster() *master   { return w.masters[w.rng.below(len(w.masters))] }
func (w *world) aMachine() *machine { return w.machines[w.rng.below(len(w.machines))] }

// aLeader is a master that leads, as far as it knows; nil when there is none.
func (w *world) aLeader() *master {
	for _, m := range w.masters {
		if m.up && m.leader.leads {
			return m
		}
	}
	return nil
}

// cutOff cuts a host from others, in one direction only if so wished.
func (w *world) cutOff(host int, oneWay bool, from func(int) bool) {
	w.note("host %d is cut off (one way: %v)", host, oneWay)
	for o := range w.net.cut {
		if o == host || !from(o) {
			continue
		}
		w.net.sever(host, o)
		if !oneWay {
			w.net.sever(o, host)
		}
	}
	w.after(w.rng.between(300*time.Millisecond, longest), "heal", host, func() {
		for o := range w.net.cut {
			w.net.heal(host, o)
			w.net.heal(o, host)
		}
	})
}

// space tells a master, and by the network the others, how full its disk is.
func (w *world) space(m *master, low bool) {
	m.low = low
	for _, o := range w.masters {
		o.after(w.net.delay(), "space", func() { o.step(consensus.Space{ID: m.id, Low: low}) })
	}
}

// calmDown ends all faults that have not ended by themselves.
func (w *world) calmDown() {
	w.note("the faults are over")
	w.calm = true
	for a := range w.net.cut {
		for b := range w.net.cut[a] {
			w.net.heal(a, b)
		}
	}
	const never = 1 << 50
	for _, m := range w.masters {
		m.stall, m.low = 0, false
		for _, fs := range []*journaltest.FS{m.logFS, m.snapFS} {
			fs.CrashAfter(never)
			fs.FailNth(journaltest.OpSync, never, errDisk)
			fs.FailNth(journaltest.OpWrite, never, errDisk)
		}
		for _, o := range w.masters {
			o.after(0, "space", func() { o.step(consensus.Space{ID: m.id}) })
		}
	}
	for _, m := range w.machines {
		m.stall = 0
		m.fs.CrashAfter(never)
		if m.up && m.log.Err() != nil {
			m.powerLoss() // its disk has stopped already, and it has not noticed
		}
		if !m.power {
			w.after(w.rng.between(0, time.Second), "power on", m.host, m.powerOn)
		}
	}
	w.after(w.rng.between(0, 2*time.Second), "user", 0, w.client.lastWrite)
	w.check.awaitRest(w.now)
}
