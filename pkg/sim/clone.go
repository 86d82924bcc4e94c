package sim

import (
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// hosts are all machines, clones too.
func (w *world) hosts() []*machine {
	if w.copy != nil {
		return append(w.machines[:len(w.machines):len(w.machines)], w.copy)
	}
	return w.machines
}

// cloned starts a machine from a copy of another one's disk: the same node id,
// another boot. It goes away after a while. There is one host for such copies.
func (w *world) cloned() bool {
	of := w.aMachine()
	if w.copy != nil || !of.power || !w.rng.one(2) {
		return false
	}
	w.clones++
	c := &machine{
		process: process{w: w, host: len(w.net.cut) - 1}, number: of.number, clone: true, boot: 1000 * w.clones, power: true, cpus: of.cpus, id: of.id,
		clock: newClock(w), fs: of.fs.Clone(w.rng.next()), durable: map[dcos.TaskID]bool{},
	}
	c.containers = newContainers(c)
	w.copy = c
	w.note("machine %s is a copy of %s", c.addr(), of.addr())
	w.check.copied[of.id] = true
	c.start()
	w.after(w.rng.between(3*time.Second, longest), "copy ends", c.host, w.endCopy)
	return true
}

// endCopy takes the copy away for good, and with it its processes.
func (w *world) endCopy() {
	if w.copy == nil {
		return
	}
	c := w.copy
	w.note("machine %s ends", c.addr())
	c.up, c.power = false, false
	c.life++
	w.net.hostEnds(c.host)
	c.containers.reboot()
	w.copy = nil
}
