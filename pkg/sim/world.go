package sim

import (
	"fmt"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// cluster is the id of the simulated cluster.
const cluster = "5ee70a5c-0000-4000-8000-000000000001"

// epoch is the moment at which every run begins.
var epoch = time.UnixMilli(1_800_000_000_000)

// world is one run.
type world struct {
	length time.Duration
	rng    chance
	now    time.Duration
	seq    uint64
	q      queue
	events int
	trace  trace
	counts map[string]int
	rules  rules

	masters  []*master // machines that are for masters; some are no members
	machines []*machine
	copy     *machine // with the disk of another one; nil: there is none
	clones   int
	net      network
	client   *client
	operator operator
	check    checker
	cover    cover
	drained  map[dcos.NodeID]bool // nodes that somebody wished to drain
	struck   map[string]bool      // kinds of faults that have happened

	calm      bool // the faults are over
	over      bool // the run is
	converged time.Duration
}

// at runs f at a moment of virtual time.
func (w *world) at(when time.Duration, what string, who int, f func()) {
	w.seq++
	w.q.push(item{at: max(when, w.now), seq: w.seq, what: what, who: who, run: f})
}

func (w *world) after(d time.Duration, what string, who int, f func()) { w.at(w.now+d, what, who, f) }

func (w *world) time() time.Time { return epoch.Add(w.now) }

func (w *world) stamp() string { return fmt.Sprintf("%.6f", w.now.Seconds()) }

// note tells the story.
func (w *world) note(format string, args ...any) {
	w.trace.story(fmt.Sprintf("%12.6f   ", w.now.Seconds()) + fmt.Sprintf(format, args...))
}

func (w *world) count(what string) { w.counts[what]++ }

// fail ends the run.
func (w *world) fail(format string, args ...any) {
	panic(violation{fmt.Sprintf(format, args...)})
}

// bad says yes so many times in a hundred, while there are faults.
func (w *world) bad(percent int) bool { return !w.calm && w.rng.percent(percent) }

// most is far above what a run of this length has of events.
func (w *world) most() int { return 20_000 * int(w.length.Seconds()) }

func (w *world) run() {
	for _, m := range w.members() {
		w.after(w.rng.between(0, 200*time.Millisecond), "power on", m.host, m.start)
	}
	w.client.begin()
	w.check.watchVitals()
	w.faults()
	w.operator.tend()
	w.at(w.length-w.rules.calm, "calm", 0, w.calmDown)
	for len(w.q.items) > 0 && !w.over {
		it := w.q.pop()
		if it.at > w.length {
			break
		}
		w.now = it.at
		w.trace.event(it.at, it.what, it.who)
		if w.events++; w.events > w.most() {
			w.fail("no end of events: something turns in circles")
		}
		it.run()
	}
	w.now = w.length
	w.check.atEnd()
}

// process is a program of ours on some host.
type process struct {
	w      *world
	host   int
	up     bool
	life   int           // counts its starts and ends
	paused time.Duration // stopped until then
}

// after runs f unless the process has ended meanwhile. A process that is
// paused does nothing until it goes on; then everything comes in order.
func (p *process) after(d time.Duration, what string, f func()) {
	life := p.life
	var run func()
	run = func() {
		switch {
		case p.life != life:
		case p.paused > p.w.now:
			p.w.at(p.paused, what, p.host, run)
		default:
			f()
		}
	}
	p.w.after(d, what, p.host, run)
}

// masterAddr is the session address of a master.
func masterAddr(id dcos.MasterID) string {
	if id == 0 {
		return ""
	}
	return fmt.Sprintf("m%d", id)
}
