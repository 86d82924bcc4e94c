package sim

import (
	"time"

	"github.com/dcos-go/dcos/pkg/agent"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/dispatch"
	"github.com/dcos-go/dcos/pkg/wire"
)

// What a kernel takes to give up on a peer that does not answer.
const (
	giveUpLeast = 6 * time.Second
	giveUpMost  = 7 * time.Second
	// latency is the least that a message takes.
	latency = 150 * time.Microsecond
)

// network carries datagrams between masters, and sessions between agents and
// masters. A link is cut in one direction or both.
type network struct {
	w        *world
	cut      [][]bool                 // from, to
	lossy    []time.Duration          // until then a third of what a host sends is lost
	slow     []time.Duration          // until then its links are
	arrives  map[[2]int]time.Duration // when the last datagram does
	sessions []*session
	nextID   uint64
}

func newNetwork(w *world, hosts int) network {
	n := network{w: w, lossy: make([]time.Duration, hosts), slow: make([]time.Duration, hosts), arrives: map[[2]int]time.Duration{}}
	for range hosts {
		n.cut = append(n.cut, make([]bool, hosts))
	}
	return n
}

func (n *network) delay() time.Duration {
	if n.w.calm {
		return n.w.rng.between(latency, 2*time.Millisecond)
	}
	return n.w.rng.between(latency, n.w.rules.late)
}

// whole says that both directions of a link work.
func (n *network) whole(a, b int) bool { return !n.cut[a][b] && !n.cut[b][a] }

// way is how long something takes from one host to another.
func (n *network) way(from, to int) time.Duration {
	d := n.delay()
	if now := n.w.now; n.slow[from] > now || n.slow[to] > now {
		d += n.w.rng.between(50*time.Millisecond, 400*time.Millisecond)
	}
	return d
}

// datagram brings something from one host to another, or not, or twice, and in
// no order.
func (n *network) datagram(from, to int, what string, arrive func()) {
	w := n.w
	loss := w.rules.loss
	if n.lossy[from] > w.now {
		loss = 30
	}
	if n.cut[from][to] || w.bad(loss) {
		w.count("message lost")
		return
	}
	at := w.now + n.way(from, to)
	if last := n.arrives[[2]int{from, to}]; at < last {
		w.count("message overtaken")
	} else {
		n.arrives[[2]int{from, to}] = at
	}
	w.at(at, what, to, arrive)
	if w.bad(w.rules.double) {
		w.count("message doubled")
		w.after(n.way(from, to), what, to, arrive)
	}
}

// sever cuts links; sessions over them fall silent.
func (n *network) sever(from, to int) {
	if n.cut[from][to] {
		return
	}
	n.cut[from][to] = true
	for _, s := range n.sessions {
		if s.over(from, to) {
			s.watch()
		}
	}
}

func (n *network) heal(from, to int) { n.cut[from][to] = false }

// session is the connection of an agent to a master: two ordered streams.
type session struct {
	n       *network
	id      uint64
	agent   *machine
	link    uint64
	life    int // of the agent
	master  *master
	mLife   int
	up      stream // to the master
	down    stream // to the agent
	atAgent bool   // the agent's end is open
	atMast  bool   // the master's end is open
	hello   bool   // the master has been told of it
}

// stream is one direction.
type stream struct {
	queue []wire.Msg // nil is the end
	busy  bool
}

func (s *session) over(a, b int) bool {
	h, m := s.agent.host, s.master.host
	return (a == h && b == m || a == m && b == h) && (s.atAgent || s.atMast)
}

// connect makes a session, once the handshake has gone to and fro.
func (n *network) connect(a *machine, m *master, link uint64) *session {
	n.nextID++
	s := &session{n: n, id: n.nextID, agent: a, link: link, life: a.life, master: m, mLife: m.life, atAgent: true, atMast: true}
	live := n.sessions[:0]
	for _, o := range n.sessions {
		if o.atAgent || o.atMast {
			live = append(live, o)
		}
	}
	clear(n.sessions[len(live):])
	n.sessions = append(live, s)
	return s
}

// encoded sends a message through the real encoding.
func (n *network) encoded(m wire.Msg) wire.Msg {
	b, err := wire.AppendFrame(nil, m)
	if err != nil {
		n.w.fail("a message cannot be encoded: %+v: %v", m, err)
	}
	got, err := wire.Decode(b[4:])
	if err != nil {
		n.w.fail("a message cannot be decoded: %+v: %v", m, err)
	}
	return got
}

func (s *session) toMaster(m wire.Msg) {
	if s.atAgent {
		s.up.queue = append(s.up.queue, s.n.encoded(m))
		s.carryUp()
	}
}

func (s *session) toAgent(m wire.Msg) {
	if s.atMast {
		s.down.queue = append(s.down.queue, s.n.encoded(m))
		s.carryDown()
	}
}

// endAgent closes the agent's end, after what was sent before.
func (s *session) endAgent() {
	if s.atAgent {
		s.atAgent = false
		s.up.queue = append(s.up.queue, nil)
		s.carryUp()
	}
}

func (s *session) endMaster() {
	if s.atMast {
		s.atMast = false
		s.down.queue = append(s.down.queue, nil)
		s.carryDown()
	}
}

func (s *session) carryUp()   { s.carry(&s.up, s.agent.host, s.master.host, s.arriveUp) }
func (s *session) carryDown() { s.carry(&s.down, s.master.host, s.agent.host, s.arriveDown) }

// carry moves the head of a stream; while the way is cut it waits.
func (s *session) carry(st *stream, from, to int, arrive func(wire.Msg)) {
	if st.busy || len(st.queue) == 0 {
		return
	}
	st.busy = true
	w := s.n.w
	var try func()
	try = func() {
		switch {
		case s.n.cut[from][to]:
			w.after(200*time.Millisecond, "resend", to, try)
			if !s.atAgent && !s.atMast {
				st.queue = nil // both ends have given up
			}
			return
		case len(st.queue) == 0:
			st.busy = false
			return
		}
		m := st.queue[0]
		st.queue = st.queue[1:]
		st.busy = false
		arrive(m)
		s.carry(st, from, to, arrive)
	}
	d := s.n.way(from, to)
	if s.n.lossy[from] > w.now && w.bad(30) {
		d += 200 * time.Millisecond // sent again by the kernel
	}
	w.after(d, "session", to, try)
}

func (s *session) arriveUp(m wire.Msg) {
	if !s.atMast || s.master.life != s.mLife {
		return
	}
	s.master.after(0, "from agent", func() {
		switch {
		case !s.atMast:
		case m == nil:
			s.lostAtMaster(dispatch.HowClosed)
		default:
			s.got(m)
		}
	})
}

// got is a message for the master; the first one must be a hello.
func (s *session) got(m wire.Msg) {
	if s.hello {
		s.master.dispatch(dispatch.Got{Sess: s.id, Msg: m})
		return
	}
	h, ok := m.(wire.Hello)
	if !ok {
		s.n.w.fail("session %d begins with %T", s.id, m)
	}
	s.hello = true
	s.master.dispatch(dispatch.Opened{Sess: s.id, Peer: dcos.AgentIdentity(cluster, s.agent.id), Hello: h})
}

func (s *session) lostAtMaster(how dispatch.How) {
	if !s.atMast || s.master.life != s.mLife {
		return
	}
	s.endMaster()
	if s.hello {
		s.master.dispatch(dispatch.Closed{Sess: s.id, How: how})
	}
}

func (s *session) arriveDown(m wire.Msg) {
	if !s.atAgent || s.agent.life != s.life {
		return
	}
	s.agent.after(0, "from master", func() {
		switch {
		case !s.atAgent:
		case m == nil:
			s.lostAtAgent("closed by the master")
		default:
			s.agent.step(agent.Got{Link: s.link, Msg: m})
		}
	})
}

func (s *session) lostAtAgent(why string) {
	if !s.atAgent || s.agent.life != s.life {
		return
	}
	s.endAgent()
	s.agent.step(agent.Unlinked{Link: s.link, Why: why})
}

// watch ends a session whose way stays cut, at each end when its kernel gives up.
func (s *session) watch() {
	w := s.n.w
	cut := func() bool { return !s.n.whole(s.agent.host, s.master.host) }
	w.after(w.rng.between(giveUpLeast, giveUpMost), "kernel gives up", s.agent.host, func() {
		if cut() && s.atAgent && s.agent.life == s.life {
			s.agent.after(0, "silence", func() { s.lostAtAgent("no answer") })
		}
	})
	w.after(w.rng.between(giveUpLeast, giveUpMost), "kernel gives up", s.master.host, func() {
		if cut() && s.atMast && s.master.life == s.mLife {
			s.master.after(0, "silence", func() { s.lostAtMaster(dispatch.HowSilence) })
		}
	})
}

// processEnds closes the ends of a process that was killed: its kernel does.
func (n *network) processEnds(host int) {
	for _, s := range n.sessions {
		if s.agent.host == host && s.atAgent {
			if n.w.rng.one(2) {
				s.up.queue = nil
			}
			s.endAgent()
		}
		if s.master.host == host && s.atMast {
			if n.w.rng.one(2) {
				s.down.queue = nil
			}
			s.endMaster()
		}
	}
}

// hostEnds leaves the other ends of a host without power in silence, until a
// kernel gives up, or the host is there again and knows of no connection.
func (n *network) hostEnds(host int) {
	for _, s := range n.sessions {
		switch {
		case s.agent.host == host && s.atAgent:
			s.atAgent, s.up.queue = false, nil
			n.afterPowerLoss(host, func() bool { return s.agent.power }, func(how dispatch.How) {
				if s.atMast && s.master.life == s.mLife {
					s.master.after(0, "silence", func() { s.lostAtMaster(how) })
				}
			})
		case s.master.host == host && s.atMast:
			s.atMast, s.down.queue = false, nil
			n.afterPowerLoss(host, func() bool { return s.master.power }, func(dispatch.How) {
				if s.atAgent && s.agent.life == s.life {
					s.agent.after(0, "silence", func() { s.lostAtAgent("no answer") })
				}
			})
		}
	}
}

func (n *network) afterPowerLoss(host int, back func() bool, end func(dispatch.How)) {
	from := n.w.now
	limit := n.w.rng.between(giveUpLeast, giveUpMost)
	var look func()
	look = func() {
		switch {
		case back():
			end(dispatch.HowClosed) // answered by a reset
		case n.w.now-from >= limit:
			end(dispatch.HowSilence)
		default:
			n.w.after(time.Second, "keepalive", host, look)
		}
	}
	n.w.after(time.Second, "keepalive", host, look)
}

// breakOne resets a session in the middle of the way, both ends at once.
func (n *network) breakOne() bool {
	var open []*session
	for _, s := range n.sessions {
		if s.atAgent && s.atMast && s.hello {
			open = append(open, s)
		}
	}
	if len(open) == 0 {
		return false
	}
	s := open[n.w.rng.below(len(open))]
	s.up.queue, s.down.queue = nil, nil
	s.agent.after(n.delay(), "reset", func() { s.lostAtAgent("reset") })
	s.master.after(n.delay(), "reset", func() { s.lostAtMaster(dispatch.HowClosed) })
	return true
}
