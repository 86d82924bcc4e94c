package sim

import (
	"time"

	"github.com/dcos-go/dcos/pkg/consensus"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/journal/journaltest"
)

// diskFaults befall the disks of masters and of machines.
var diskFaults = []fault{
	{"power cut inside a disk call", func(w *world) bool {
		m := w.aMaster()
		w.note("master %d will lose power inside a call of its disk", m.id)
		m.aDisk().CrashAfter(w.rng.below(40))
		return true
	}},
	{"write or fsync fails", func(w *world) bool {
		m := w.aMaster()
		w.note("master %d: its disk will give an error", m.id)
		op := []journaltest.Op{journaltest.OpSync, journaltest.OpWrite}[w.rng.below(2)]
		m.logFS.FailNth(op, 1+w.rng.below(3), errDisk)
		return true
	}},
	{"fsync fails, then the power", func(w *world) bool {
		m := w.aMaster()
		w.note("master %d: an fsync will fail, and later the power", m.id)
		m.logFS.FailNth(journaltest.OpSync, 1, errDisk)
		w.after(w.rng.between(time.Second, 8*time.Second), "power cut", m.host, func() {
			if m.power {
				m.powerLoss()
			}
		})
		return true
	}},
	{"snapshot's disk gives an error", func(w *world) bool {
		m := w.aMaster()
		op := []journaltest.Op{journaltest.OpCreate, journaltest.OpSync, journaltest.OpWrite, journaltest.OpRename, journaltest.OpSyncDir}[w.rng.below(5)]
		m.snapFS.FailNth(op, 1, errDisk)
		return true
	}},
	{"disk cannot be read once", func(w *world) bool {
		m := w.aMaster()
		w.note("master %d is killed, and its disk fails to be read", m.id)
		m.end(w.rng.between(50*time.Millisecond, time.Second))
		m.aDisk().FailNth(journaltest.OpRead, 1+w.rng.below(3), errDisk)
		return true
	}},
	{"disk stalls", func(w *world) bool {
		m := w.aMaster()
		d := w.rng.pick(200*time.Millisecond, 3*time.Second, 10*time.Second)
		m.stall = w.now + d
		w.note("master %d: its disk stalls for %v", m.id, d)
		return true
	}},
	{"all disks stall", func(w *world) bool {
		if !w.rng.one(3) {
			return false
		}
		for _, m := range w.members() {
			m.stall = w.now + 10*time.Second
		}
		w.note("all disks stall")
		return true
	}},
	{"disk hangs", func(w *world) bool {
		if !w.rng.one(4) || w.now+90*time.Second > w.length-w.rules.calm {
			return false
		}
		m := w.aMaster()
		m.stall = w.now + 80*time.Second
		w.note("master %d: its disk hangs", m.id)
		return true
	}},
	{"disk slow", func(w *world) bool {
		m := w.aMaster()
		m.slow = w.now + w.rng.between(5*time.Second, longest)
		w.note("master %d: each fsync takes 200 ms", m.id)
		return true
	}},
	{"disk nearly full", func(w *world) bool {
		m := w.aMaster()
		w.note("master %d: its disk is nearly full", m.id)
		w.space(m, true)
		w.after(w.rng.between(time.Second, 20*time.Second), "space", m.host, func() { w.space(m, false) })
		return true
	}},
	{"disk full at once", func(w *world) bool {
		m := w.aMaster()
		w.note("master %d: its disk is full", m.id)
		fs := m.aDisk()
		fs.SetCapacity(1)
		w.after(w.rng.between(100*time.Millisecond, 10*time.Second), "space", m.host, func() { fs.SetCapacity(0) })
		return true
	}},
	{"bits flip", func(w *world) bool {
		all := w.members()
		// On a minority alone, and nobody else has lost what it knew: of three
		// that vote one may.
		for _, m := range all {
			if m.damaged || m.flipped || !m.votes() {
				return false
			}
		}
		if len(all) < 3 || w.operator.busy || w.operator.ghosts > 0 {
			return false
		}
		m := all[w.rng.below(len(all))]
		fs := m.aDisk()
		names := fs.Names()
		if len(names) == 0 {
			return false
		}
		name := names[w.rng.below(len(names))]
		size := len(fs.Bytes(name))
		if size == 0 {
			return false
		}
		m.flipped = true
		w.note("master %d: bits of %s flip", m.id, name)
		for range 1 + w.rng.below(3) {
			fs.FlipBit(name, int64(w.rng.below(size*8)))
		}
		if m.up && w.rng.one(2) {
			m.end(w.rng.between(50*time.Millisecond, 2*time.Second))
		}
		return true
	}},
	{"agent's write or fsync fails", func(w *world) bool {
		m := w.aMachine()
		op := []journaltest.Op{journaltest.OpSync, journaltest.OpWrite}[w.rng.below(2)]
		m.fs.FailNth(op, 1+w.rng.below(3), errDisk)
		if w.rng.one(3) {
			w.after(w.rng.between(time.Second, 8*time.Second), "power cut", m.host, func() {
				if m.power {
					m.powerLoss()
				}
			})
		}
		return true
	}},
	{"agent's disk full", func(w *world) bool {
		m := w.aMachine()
		w.note("agent %s: its disk is full", m.addr())
		fs := m.fs
		fs.SetCapacity(1)
		w.after(w.rng.between(100*time.Millisecond, 10*time.Second), "space", m.host, func() { fs.SetCapacity(0) })
		return true
	}},
	{"agent's disk cannot be read once", func(w *world) bool {
		m := w.aMachine()
		m.end(w.rng.between(50*time.Millisecond, time.Second))
		m.fs.FailNth(journaltest.OpRead, 1, errDisk)
		return true
	}},
	{"agent's disk stalls", func(w *world) bool {
		m := w.aMachine()
		m.stall = w.now + w.rng.pick(200*time.Millisecond, 3*time.Second, 10*time.Second)
		return true
	}},
}

// aDisk is the one of the log, or sometimes that of the snapshots.
func (m *master) aDisk() *journaltest.FS {
	if m.w.rng.one(4) {
		return m.snapFS
	}
	return m.logFS
}

// votes says that a member is one of those that count.
func (m *master) votes() bool {
	if !m.up {
		return m.voted
	}
	m.voted = false
	for _, id := range m.core.Status().Voters {
		m.voted = m.voted || id == m.id
	}
	return m.voted
}

// space tells a master, and by the network the others, how full its disk is.
func (w *world) space(m *master, low bool) {
	m.low = low
	id := m.id
	for _, o := range w.members() {
		o.after(w.net.delay(), "space", func() { o.step(consensus.Space{ID: id, Low: low}) })
	}
}

// memberFaults change who belongs to the masters, and what they run.
var memberFaults = []fault{
	{"master joins", func(w *world) bool {
		if w.operator.busy || w.anyDamaged() {
			return false
		}
		for _, m := range w.masters {
			if m.id == 0 && m.power {
				w.operator.join(m)
				return true
			}
		}
		return false
	}},
	{"master leaves", func(w *world) bool {
		all := w.members()
		if len(all) < 2 || w.operator.busy || w.anyDamaged() {
			return false
		}
		for _, m := range all {
			if !m.votes() {
				return false // one that has just joined comes first
			}
		}
		w.operator.leave(all[w.rng.below(len(all))])
		return true
	}},
	{"clone", func(w *world) bool { return w.cloned() }},
}

func (w *world) anyDamaged() bool {
	for _, m := range w.members() {
		if m.damaged || m.flipped {
			return true
		}
	}
	return false
}

var _ = dcos.MasterID(0)
