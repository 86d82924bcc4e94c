package sim

import (
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

// rules are how bad a run is; every seed has its own.
type rules struct {
	masters  int           // members at the start
	spares   int           // machines that may join them
	machines int           // with agents
	loss     int           // percent of datagrams
	double   int           // percent of datagrams that come twice
	late     time.Duration // most that a message takes
	sync     time.Duration // most that an fsync takes
	flaky    int           // percent of the runtime's actions that fail
	drift    int           // most that a clock drifts, in parts per million
	every    time.Duration // mean time between faults
	faults   []fault       // those that happen in this run
	snapshot int64         // bytes of log between snapshots
	level    uint64        // feature level of the masters at the start
	fenced   bool          // some apps run under a lease
	crowded  bool          // there are more tasks than there is room for
	calm     time.Duration // the end of the run, without faults
	rest     time.Duration // within so long of it all is well
	large    bool          // users write what travels in parts
	write    time.Duration // mean time between writes
}

// draw makes the rules of a seed. Each is drawn apart from the others, so that
// many seeds see all combinations: much of one thing finds what a little of
// everything does not.
func draw(g *chance) rules {
	r := rules{
		masters: []int{3, 3, 3, 3, 5, 5, 1, 1}[g.below(8)], spares: []int{0, 0, 1, 2}[g.below(4)], machines: 3 + g.below(4),
		loss: g.below(8), double: g.below(4), late: g.between(2*time.Millisecond, 60*time.Millisecond),
		sync: g.between(500*time.Microsecond, 15*time.Millisecond), flaky: g.below(12),
		every: g.between(1500*time.Millisecond, 10*time.Second), snapshot: int64(8<<10 + g.below(120<<10)), level: state.Level,
		write: g.between(300*time.Millisecond, 4*time.Second),
	}
	if g.one(4) {
		r.loss, r.double = 0, 0
	}
	if g.one(2) {
		r.drift = []int{50, 500, 20_000}[g.below(3)]
	}
	if g.one(4) {
		r.level = 1
	}
	r.large = g.one(8)
	r.calm, r.rest = calmFor, convergeIn
	if r.fenced = g.one(3); r.fenced {
		// What may still run somewhere is waited for.
		r.calm, r.rest = calmFor+dcos.LeaseFor+2*dcos.LeaseMargin, convergeIn+dcos.LeaseFor+2*dcos.LeaseMargin
	}
	r.crowded = g.one(3)
	part := 15 + g.below(80)
	for _, f := range allFaults {
		if g.percent(part) {
			r.faults = append(r.faults, f)
		}
	}
	for len(r.faults) < 2*leastKinds {
		r.faults = append(r.faults, allFaults[g.below(len(allFaults))])
	}
	return r
}

func newWorld(r Run) *world {
	w := &world{
		length: max(r.Length, Least), rng: chance{r.Seed * 0x9e3779b97f4a7c15}, trace: newTrace(r.Trace), counts: map[string]int{},
		cover: newCover(), struck: map[string]bool{}, drained: map[dcos.NodeID]bool{},
	}
	w.rules = draw(&w.rng)
	hosts := w.rules.masters + w.rules.spares
	w.net = newNetwork(w, hosts+w.rules.machines+1)
	w.operator = operator{w: w, next: dcos.MasterID(w.rules.masters), removing: map[dcos.MasterID]bool{}}
	w.check = newChecker(w)
	for i := range hosts {
		w.masters = append(w.masters, newMaster(w, i, r.Seed, w.rules.masters))
		w.masters[i].level = w.rules.level
	}
	for i := range w.rules.machines {
		w.machines = append(w.machines, newMachine(w, i, hosts+i, r.Seed))
	}
	w.client = newClient(w)
	return w
}
