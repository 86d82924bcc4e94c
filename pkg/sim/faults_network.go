package sim

import "time"

// networkFaults befall links.
var networkFaults = []fault{
	{"master cut off", func(w *world) bool {
		if len(w.members()) == 1 {
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
	{"session reset", func(w *world) bool { return w.net.breakOne() }},
	{"two masters apart", func(w *world) bool {
		all := w.members()
		if len(all) < 3 {
			return false
		}
		i := w.rng.below(len(all))
		a, b := all[i], all[(i+1+w.rng.below(len(all)-1))%len(all)]
		w.note("masters %d and %d do not hear each other", a.id, b.id)
		w.net.sever(a.host, b.host)
		w.net.sever(b.host, a.host)
		w.after(w.rng.between(300*time.Millisecond, longest), "heal", a.host, func() {
			w.net.heal(a.host, b.host)
			w.net.heal(b.host, a.host)
		})
		return true
	}},
	{"link flaps", func(w *world) bool {
		m := w.aMaster()
		w.note("host %d: its links flap", m.host)
		until := w.now + w.rng.between(2*time.Second, 20*time.Second)
		var flap func()
		flap = func() {
			on := w.now > until || w.calm
			for o := range w.net.cut {
				if o == m.host {
					continue
				}
				if on || w.net.cut[m.host][o] {
					w.net.heal(m.host, o)
					w.net.heal(o, m.host)
				} else {
					w.net.sever(m.host, o)
					w.net.sever(o, m.host)
				}
			}
			if !on {
				w.after(300*time.Millisecond, "flap", m.host, flap)
			}
		}
		flap()
		return true
	}},
	{"a third is lost one way", func(w *world) bool {
		m := w.aMaster()
		w.note("host %d: of what it sends a third is lost", m.host)
		until := w.now + w.rng.between(5*time.Second, longest)
		w.net.lossy[m.host] = until
		return true
	}},
	{"link slow", func(w *world) bool {
		m := w.aMaster()
		w.net.slow[m.host] = w.now + w.rng.between(2*time.Second, longest)
		w.note("host %d: its links are slow", m.host)
		return true
	}},
}
