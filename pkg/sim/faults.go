package sim

import (
	"errors"
	"slices"
	"time"

	"github.com/dcos-go/dcos/pkg/consensus"
	"github.com/dcos-go/dcos/pkg/journal/journaltest"
	"github.com/dcos-go/dcos/pkg/state"
)

const (
	// calmFor is the end of a run, without faults: all must be well within
	// convergeIn, and stay so.
	calmFor    = 100 * time.Second
	convergeIn = 60 * time.Second
	// longest is the most that one fault lasts.
	longest = 25 * time.Second
	// leastKinds is how many kinds of faults a run has at least.
	leastKinds = 5
)

// fault is one kind of mischief; strike says whether there was an occasion.
type fault struct {
	name   string
	strike func(w *world) bool
}

var errDisk = errors.New("input/output error")

// allFaults are the kinds; each run has a part of them.
var allFaults = slices.Concat(masterFaults, diskFaults, memberFaults, networkFaults, machineFaults)

// faults begins the mischief. What has not happened yet comes first, until
// there were enough kinds.
func (w *world) faults() {
	w.after(w.rng.between(0, 2*w.rules.every), "fault", 0, func() {
		if w.now > w.length-w.rules.calm-longest {
			return
		}
		f := w.rules.faults[w.rng.below(len(w.rules.faults))]
		for range 20 {
			if len(w.struck) >= leastKinds || !w.struck[f.name] {
				break
			}
			f = w.rules.faults[w.rng.below(len(w.rules.faults))]
		}
		if f.strike(w) {
			w.struck[f.name] = true
			w.count("fault " + f.name)
		}
		w.faults()
	})
}

func (w *world) aMaster() *master {
	all := w.members()
	return all[w.rng.below(len(all))]
}

func (w *world) aMachine() *machine { return w.machines[w.rng.below(len(w.machines))] }

// aLeader is a master that leads, as far as it knows; nil when there is none.
func (w *world) aLeader() *master {
	for _, m := range w.members() {
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

// calmDown ends all faults that have not ended by themselves.
func (w *world) calmDown() {
	w.note("the faults are over")
	w.calm = true
	for a := range w.net.cut {
		for b := range w.net.cut[a] {
			w.net.heal(a, b)
		}
	}
	clear(w.net.lossy)
	clear(w.net.slow)
	w.endCopy()
	const never = 1 << 50
	for _, m := range w.masters {
		m.stall, m.slow, m.low, m.killIn = 0, 0, false, 0
		if m.held { // nobody waits for the older build any longer
			m.held, m.level = false, state.Level
			w.after(0, "supervisor", m.host, m.start)
		}
		m.clock.set = min(max(m.clock.set, -5*time.Second), 5*time.Second) // as time servers see to
		for _, fs := range []*journaltest.FS{m.logFS, m.snapFS} {
			fs.CrashAfter(never)
			fs.SetCapacity(0)
			for _, op := range []journaltest.Op{journaltest.OpSync, journaltest.OpWrite, journaltest.OpRead, journaltest.OpCreate, journaltest.OpRename, journaltest.OpSyncDir} {
				fs.FailNth(op, never, errDisk)
			}
		}
		for _, o := range w.members() {
			o.after(0, "space", func() { o.step(consensus.Space{ID: m.id}) })
		}
	}
	for _, m := range w.machines {
		m.stall, m.killIn = 0, 0
		if w.drained[m.id] {
			w.client.insist(state.ActivateNode{Node: m.id}, func() {}, func() {})
		}
		m.fs.CrashAfter(never)
		m.fs.SetCapacity(0)
		for _, op := range []journaltest.Op{journaltest.OpSync, journaltest.OpWrite, journaltest.OpRead} {
			m.fs.FailNth(op, never, errDisk)
		}
		if m.up && m.log.Err() != nil {
			m.powerLoss() // its disk has stopped already, and it has not noticed
		}
		if !m.power {
			w.after(w.rng.between(0, time.Second), "power on", m.host, m.powerOn)
		}
	}
	w.client.makeRoom()
	w.after(w.rng.between(0, 2*time.Second), "user", 0, w.client.lastWrite)
	w.check.awaitRest(w.now)
}
