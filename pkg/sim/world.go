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

	masters  []*master
	machines []*machine
	net      network
	client   *client
	check    checker

	calm      bool // the faults are over
	over      bool // the run is
	converged time.Duration
}

// rules are how bad a run is; every seed has its own.
type rules struct {
	loss     int           // percent of datagrams
	double   int           // percent of datagrams that come twice
	late     time.Duration // most that a message takes
	sync     time.Duration // most that an fsync takes
	flaky    int           // percent of the runtime's actions that fail
	every    time.Duration // mean time between faults
	faults   []fault       // those that happen in this run
	snapshot int64         // bytes of log between snapshots
}

func newWorld(r Run) *world {
	w := &world{
		length: max(r.Length, Least), rng: chance{r.Seed * 0x9e3779b97f4a7c15}, trace: newTrace(r.Trace), counts: map[string]int{},
	}
	g := &w.rng
	w.rules = rules{
		loss: g.below(8), double: g.below(4), late: g.between(2*time.Millisecond, 60*time.Millisecond),
		sync: g.between(500*time.Microsecond, 15*time.Millisecond), flaky: g.below(12),
		every: g.between(1500*time.Millisecond, 12*time.Second), snapshot: int64(8<<10 + g.below(120<<10)),
	}
	for _, f := range allFaults {
		if g.percent(70) || r.all {
			w.rules.faults = append(w.rules.faults, f)
		}
	}
	if r.all {
		w.rules.every, w.rules.flaky, w.rules.double = time.Second, 10, 3
	}
	masters := 3
	if g.one(5) {
		masters = 1
	}
	machines := 3 + g.below(4)
	w.net = newNetwork(w, masters, machines)
	w.check = newChecker(w)
	for i := range masters {
		w.masters = append(w.masters, newMaster(w, i, r.Seed, masters))
	}
	for i := range machines {
		w.machines = append(w.machines, newMachine(w, i, masters+i, r.Seed))
	}
	w.client = newClient(w)
	if r.all {
		w.client.every = 100 * time.Millisecond
	}
	return w
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
	for _, m := range w.masters {
		w.after(w.rng.between(0, 200*time.Millisecond), "power on", m.host, m.start)
	}
	w.client.begin()
	w.check.watchVitals()
	w.faults()
	w.at(w.length-calmFor, "calm", 0, w.calmDown)
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
