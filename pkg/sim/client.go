package sim

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dcos-go/dcos/pkg/app"
	"github.com/dcos-go/dcos/pkg/consensus"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

// client is the users: they write through any master, and remember what was
// acknowledged.
type client struct {
	w      *world
	apps   []*userApp
	tokens int
	seq    uint64 // of proposals that bear an id
	last   bool   // the write of the liveness phase was acknowledged
}

// userApp is what its users know of an app.
type userApp struct {
	id     dcos.AppID
	kind   kind
	cpus   string
	most   int // instances
	extra  string
	rev    int
	exists bool // as far as the user knows

	puts    int // sent and not answered
	deletes int // sent, not answered or of unknown outcome
	version dcos.Version
	wants   int // instances at version; -1: not known
	gone    bool
	halted  bool // a change was cancelled where it was: old tasks may stay
	excess  bool // takes room that others need, until the faults are over
}

// kind is what the processes of an app do.
type kind int

const (
	serves  kind = iota // run until they are told to stop
	crashes             // end with some code after a while
	batches             // end well after a while
)

func newClient(w *world) *client {
	c := &client{w: w}
	room := int64(0)
	for _, m := range w.machines {
		room += m.cpus * 1000
	}
	room = room * 75 / 100
	for i := range 3 + w.rng.below(5) {
		a := &userApp{id: dcos.AppID(fmt.Sprintf("/app-%d", i)), kind: serves, cpus: "0.5", most: 1 + w.rng.below(8)}
		if w.rng.one(3) {
			a.kind = kind(1 + w.rng.below(2))
		}
		need := int64(500)
		if w.rng.one(3) {
			a.cpus, need = "0.7", 700
		}
		switch w.rng.below(5) {
		case 0:
			a.most = min(a.most, len(w.machines)-2) // what must be met at the end can be met
			a.extra = `,"constraints":[["hostname","UNIQUE"]]`
		case 1:
			if len(w.machines) > 3 { // two zones of several machines
				a.most = min(a.most, 3)
				a.extra = `,"constraints":[["@zone","GROUP_BY"]]`
			}
		case 3:
			if w.rules.fenced {
				a.extra = `,"fence":"lease"`
			}
		case 2:
			a.extra = `,"container":{"type":"MESOS","docker":{"image":"app:1"}}`
		}
		for a.most > 1 && int64(a.most)*need > room {
			a.most--
		}
		if room -= int64(a.most) * need; room < 0 {
			break
		}
		c.apps = append(c.apps, a)
	}
	if w.rules.crowded {
		c.crowd()
	}
	return c
}

// crowd adds apps for which there is no room beside the others.
func (c *client) crowd() {
	for i := range 1 + c.w.rng.below(2) {
		a := &userApp{id: dcos.AppID(fmt.Sprintf("/crowd-%d", i)), cpus: "0.5", excess: true}
		for _, m := range c.w.machines {
			a.most += int(m.cpus) + c.w.rng.below(int(m.cpus))
		}
		c.apps = append(c.apps, a)
	}
}

// makeRoom removes the apps that keep others from their place.
func (c *client) makeRoom() {
	for _, a := range c.apps {
		if a.excess {
			a.deletes++
			a.version, a.exists, a.gone = 0, false, false
			c.insist(state.DeleteApp{App: a.id, Force: true}, func() {}, nil)
		}
	}
}

// quiet is how long before the end of the faults users let the apps be that
// are removed then: what they write may be long under way.
const quiet = 45 * time.Second

// begin makes the cluster; then machines join and users come.
func (c *client) begin() {
	w := c.w
	first := []state.Command{state.InitCluster{Info: dcos.ClusterInfo{ID: cluster, Name: "sim", Level: w.rules.level}}}
	for _, m := range w.members() {
		first = append(first, state.PutMaster{Master: m.row(true)})
	}
	c.sendAs(state.Origin{}, first, func(items []state.Item, err error) {
		var i state.Item
		if err == nil {
			i = items[0]
		}
		if err != nil || i.Err != nil && !errors.Is(i.Err, dcos.ErrConflict) {
			w.after(300*time.Millisecond, "user tries again", 0, c.begin)
			return
		}
		for _, m := range w.machines {
			w.after(w.rng.between(0, 2*time.Second), "power on", m.host, m.start)
		}
		c.loop()
		if w.rng.one(3) {
			c.rivals()
		}
	})
}

// rivals place now and then.
func (c *client) rivals() {
	c.w.after(c.w.rng.between(20*time.Millisecond, 500*time.Millisecond), "rival", 0, func() {
		if !c.w.calm {
			c.rival()
			c.rivals()
		}
	})
}

func (c *client) loop() {
	every := c.w.rules.write
	c.w.after(c.w.rng.between(every/4, 2*every), "user", 0, func() {
		if c.w.calm {
			return
		}
		c.act()
		c.loop()
	})
}

// act is one thing that a user does.
func (c *client) act() {
	g := &c.w.rng
	switch {
	case len(c.apps) == 0 || g.one(5):
		c.putToken()
		return
	case g.one(12):
		c.putUser(c.w.rules.large && g.one(3))
		return
	}
	a := c.apps[g.below(len(c.apps))]
	switch {
	case a.excess && c.w.now > c.w.length-c.w.rules.calm-quiet:
	case !a.exists || g.below(10) < 4:
		c.put(a)
	case g.below(10) < 3:
		c.w.count("user restarts")
		c.change(a, state.RestartApp{App: a.id, Force: g.one(2)}, -1) // as many as there are
	case g.below(10) < 2:
		c.w.count("user cancels")
		a.halted = true
		c.remove(a, state.CancelDeployment{ID: c.deploymentOf(a), Force: g.one(2)})
	case g.below(10) < 4:
		c.w.count("user deletes")
		c.remove(a, state.DeleteApp{App: a.id, Force: g.one(2)})
	case g.one(3):
		c.send(state.ResetBackoff{App: a.id}, func(state.Item, error) {})
	default:
		c.read()
	}
}

// rival is another scheduler that goes by what some master shows: by the time
// its placement is committed the room may be taken.
func (c *client) rival() {
	m, g := c.any(), &c.w.rng
	if !m.up {
		return
	}
	v := m.store.View()
	var tasks []*dcos.Task
	for a := range v.WaitingApps() {
		for k := range v.TasksOf(a) {
			if k.State == dcos.TaskWaiting {
				tasks = append(tasks, k)
			}
		}
	}
	var nodes []dcos.NodeID
	for n := range v.Nodes() {
		if n.State == dcos.NodeActive {
			nodes = append(nodes, n.ID)
		}
	}
	if len(tasks) == 0 || len(nodes) == 0 {
		return
	}
	k := tasks[g.below(len(tasks))]
	def, ok := v.AppAt(k.App, k.Version)
	if !ok {
		return
	}
	p := state.Placement{Task: k.ID, Node: nodes[g.below(len(nodes))]}
	for range def.Ports {
		p.Ports = append(p.Ports, uint16(31000+g.below(20)))
	}
	c.w.count("rival places")
	c.send(state.Place{Items: []state.Placement{p}}, func(i state.Item, err error) {
		if err == nil && i.Err == nil && (len(i.Each) == 0 || i.Each[0] == nil) {
			c.w.count("rival wins")
		}
	})
}

// deploymentOf is what some master shows, which may be old.
func (c *client) deploymentOf(a *userApp) dcos.DeploymentID {
	if m := c.any(); m.up {
		if d, ok := m.store.View().DeploymentOf(a.id); ok {
			return d.ID
		}
	}
	return "none"
}

func (c *client) put(a *userApp) {
	g := &c.w.rng
	if g.one(2) {
		a.rev++
	}
	n := g.below(a.most + 1)
	over := []string{"0.5", "1", "0"}[g.below(3)]
	grace := g.below(4)
	doc := fmt.Sprintf(`{"id":%q,"cmd":"run %d %d","instances":%d,"cpus":%s,"mem":64,"backoffSeconds":1,"maxLaunchDelaySeconds":5,`+
		`"taskKillGracePeriodSeconds":%d,"upgradeStrategy":{"minimumHealthCapacity":0.5,"maximumOverCapacity":%s}%s}`,
		a.id, a.kind, a.rev, n, a.cpus, grace, over, a.extra)
	def, err := app.Parse([]byte(doc))
	if err != nil {
		c.w.fail("the user's app: %v", err)
	}
	c.w.count("user writes")
	c.change(a, state.PutApp{App: def, Force: g.one(2)}, n)
}

// change sends a command after which the app exists with a newer version.
func (c *client) change(a *userApp, cmd state.Command, wants int) {
	a.puts++
	deletes := a.deletes
	a.gone = false
	c.send(cmd, func(i state.Item, err error) {
		a.puts--
		if err != nil || i.Err != nil {
			if errors.Is(i.Err, dcos.ErrNotFound) && err == nil {
				a.exists = false
			}
			return
		}
		a.exists = true
		if deletes == 0 && a.deletes == 0 && i.Version > a.version {
			a.version, a.wants = i.Version, wants
		}
	})
}

// remove sends a command after which the app may be gone.
func (c *client) remove(a *userApp, cmd state.Command) {
	a.deletes++
	a.version, a.gone = 0, false
	alone := a.puts == 0 && a.deletes == 1
	_, deleting := cmd.(state.DeleteApp)
	c.send(cmd, func(i state.Item, err error) {
		if errors.Is(err, dcos.ErrUnknown) {
			return // it may come true at any time
		}
		a.deletes--
		if err != nil || i.Err != nil || !deleting {
			return
		}
		a.exists = false
		a.gone = alone && a.puts == 0 && a.deletes == 0 && a.version == 0
	})
}

// putToken writes something that nobody ever changes.
func (c *client) putToken() {
	c.tokens++
	name := fmt.Sprintf("t%d", c.tokens)
	c.w.count("user writes")
	c.send(state.PutToken{Token: dcos.JoinToken{ID: name, Role: dcos.RoleAgent, SecretHash: []byte("x")}}, func(i state.Item, err error) {
		if err == nil && i.Err == nil {
			c.w.check.ackToken(name)
		}
	})
}

// putUser writes something that can be made only once, under an id, and sends
// it again when it does not know what came of it, or out of mischief: however
// often it comes, it was made once.
func (c *client) putUser(large bool) {
	c.seq++
	id := dcos.ProposalID{Proposer: 7, Seq: c.seq}
	name := fmt.Sprintf("u%d", c.seq)
	cmds := []state.Command{state.PutUser{User: dcos.User{ID: name, PasswordHash: "x"}, Create: true}}
	if large {
		stop := state.StopTasks{Message: "x"}
		for i := range 1100 {
			stop.Tasks = append(stop.Tasks, dcos.TaskID(fmt.Sprintf("%0500d", i)))
		}
		cmds = append(cmds, stop)
	}
	c.w.count("user writes")
	var again func(tries int)
	again = func(tries int) {
		from := c.w.now
		c.sendAs(state.Origin{ID: id, Principal: "user"}, cmds, func(items []state.Item, err error) {
			done := err == nil && len(items) == len(cmds)
			if done && errors.Is(items[0].Err, dcos.ErrConflict) && !c.w.struck["clock jumps an hour"] {
				c.w.fail("proposal %s was applied twice: %v", id, items[0].Err)
			}
			if done && items[0].Err == nil {
				c.w.check.ackUser(name)
			}
			// What is older than the window of repeats may come true again.
			if tries < 4 && c.w.now-from < time.Minute && (!done || c.w.rng.one(3)) && !c.w.calm {
				c.w.after(c.w.rng.between(0, 5*time.Second), "user tries again", 0, func() {
					if c.w.calm {
						return // this may be longer than what is under way is waited for
					}
					c.w.count("proposal repeated")
					again(tries + 1)
				})
			}
		})
	}
	again(0)
}

// lastWrite must succeed before all is at rest.
func (c *client) lastWrite() {
	c.send(state.PutToken{Token: dcos.JoinToken{ID: "last", Role: dcos.RoleAgent, SecretHash: []byte("x")}}, func(i state.Item, err error) {
		if err != nil || i.Err != nil {
			c.w.after(time.Second, "user tries again", 0, c.lastWrite)
			return
		}
		c.last = true
		c.w.check.ackToken("last")
	})
}

// read is a linearizable read on any master; master.read judges it.
func (c *client) read() {
	m := c.any()
	if m.up {
		c.w.count("user reads")
		m.after(c.w.net.delay(), "api", func() { m.read(func(state.View, error) {}) })
	}
}

func (c *client) any() *master { return c.w.aMaster() }

// answerTimeout is how long a user waits.
const answerTimeout = 15 * time.Second

// send is sendAs for one command without an id.
func (c *client) send(cmd state.Command, done func(state.Item, error)) {
	c.sendAs(state.Origin{}, []state.Command{cmd}, func(items []state.Item, err error) {
		if err == nil {
			done(items[0], nil)
			return
		}
		done(state.Item{}, err)
	})
}

// sendAs writes through any master, which passes the request on to the leader
// once. An answer that does not come leaves the outcome unknown.
func (c *client) sendAs(by state.Origin, cmds []state.Command, done func([]state.Item, error)) {
	w := c.w
	answered := false
	answer := func(i []state.Item, err error) {
		w.after(w.net.delay(), "answer to user", 0, func() {
			if !answered {
				answered = true
				c.heard(i, err)
				done(i, err)
			}
		})
	}
	w.after(answerTimeout, "user gives up", 0, func() {
		if !answered {
			answered = true
			c.heard(nil, consensus.Unknown{})
			done(nil, consensus.Unknown{})
		}
	})
	m := c.any()
	w.after(w.net.delay(), "request", m.host, func() {
		if !m.up {
			answer(nil, dcos.ErrUnavailable)
			return
		}
		m.after(0, "api", func() { c.at(m, by, cmds, true, answer) })
	})
}

// heard counts what users are told.
func (c *client) heard(items []state.Item, err error) {
	if errors.Is(err, dcos.ErrUnknown) {
		c.w.count("outcome unknown")
	}
	for _, k := range refusals {
		if errors.Is(err, k.kind) {
			c.w.count("refusal " + k.name)
		}
		for _, i := range items {
			if errors.Is(i.Err, k.kind) {
				c.w.count("refusal " + k.name)
			}
		}
	}
}

// at is a request that has come to a master.
func (c *client) at(m *master, by state.Origin, cmds []state.Command, forward bool, answer func([]state.Item, error)) {
	w := c.w
	if l := m.lead.Leader; l != m.id && l != 0 && forward {
		to := w.member(l)
		if to == nil || !w.net.whole(m.host, to.host) {
			answer(nil, dcos.ErrUnavailable)
			return
		}
		w.after(w.net.way(m.host, to.host), "forwarded", to.host, func() {
			if !to.up {
				answer(nil, dcos.ErrUnavailable)
				return
			}
			to.after(0, "api", func() { c.at(to, by, cmds, false, answer) })
		})
		return
	}
	m.propose(by, cmds, func(r state.Result, err error) {
		switch {
		case err != nil:
			answer(nil, err)
			return
		case len(r.Items) != len(cmds):
			w.fail("master %d answers %d commands with %d results: %v", m.id, len(cmds), len(r.Items), r.Err())
		case r.Repeated:
			w.count("proposal answered again")
		}
		w.check.acked(m, r)
		answer(r.Items, nil)
	})
}

// fate is how a process will end, if it does by itself.
func (c *client) fate(s dcos.Spec) (after time.Duration, code int, ends bool) {
	g := &c.w.rng
	if c.w.calm {
		return 0, 0, false
	}
	k := serves
	for _, a := range s.Argv {
		switch {
		case strings.HasPrefix(a, "run 1 "):
			k = crashes
		case strings.HasPrefix(a, "run 2 "):
			k = batches
		}
	}
	switch {
	case k == crashes:
		return g.between(50*time.Millisecond, 40*time.Second), g.below(256), true
	case k == batches:
		return g.between(time.Second, 60*time.Second), 0, true
	case g.one(12):
		return g.between(time.Millisecond, 200*time.Second), g.below(256), true
	}
	return 0, 0, false
}

// halted says that an app may keep old tasks for good.
func (c *client) halted(id dcos.AppID) bool {
	for _, a := range c.apps {
		if a.id == id {
			return a.halted
		}
	}
	return false
}
