package sim

import (
	"errors"
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/dcos-go/dcos/pkg/agent"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/journal"
	"github.com/dcos-go/dcos/pkg/journal/journaltest"
	"github.com/dcos-go/dcos/pkg/resource"
)

// machine is a host with an agent process, its disk and its container runtime.
type machine struct {
	process
	id     dcos.NodeID
	number int
	clone  bool // its disk is a copy of another machine's
	clock  clock
	killIn int // effects until the agent is killed; 0: it is not
	power  bool
	boot   int
	cpus   int64
	fs     *journaltest.FS
	stall  time.Duration
	containers

	core  *agent.Core
	log   *journal.Journal
	timer int
	sess  *session
	dials int

	jobs    []diskJob
	writing bool
	durable map[dcos.TaskID]bool // tasks whose taking is in the checkpoint for sure
}

// diskJob is one WriteCheckpoint or Compact.
type diskJob struct {
	seq     uint64
	records [][]byte
	compact bool
}

func newMachine(w *world, i, host int, seed uint64) *machine {
	m := &machine{
		process: process{w: w, host: host}, number: i, clock: newClock(w), power: true, cpus: int64(3 + w.rng.below(4)),
		id: dcos.NodeID(fmt.Sprintf("a0c4d000-0000-4000-8000-%012d", i+1)), fs: journaltest.New(seed*64 + 16 + uint64(i)),
		durable: map[dcos.TaskID]bool{},
	}
	m.containers = newContainers(m)
	return m
}

func (m *machine) addr() string {
	if m.clone {
		return fmt.Sprintf("c%d", m.number)
	}
	return fmt.Sprintf("h%d", m.number)
}

func (m *machine) config() agent.Config {
	return agent.Config{
		Cluster: cluster, Seed: uint64(m.number), KeepPerApp: 3, KeepFor: 5 * time.Minute, Fences: true, Lease: m.leased(),
		Node: dcos.Node{
			ID: m.id, Hostname: m.addr(), Addr: m.addr(), IP: fmt.Sprintf("10.0.0.%d", m.number+1), Boot: fmt.Sprintf("boot-%s-%d", m.addr(), m.boot),
			Zone: fmt.Sprintf("zone-%d", m.number%2), Isolation: dcos.IsolationContainer,
			Total: resource.Set{
				CPUs: resource.Whole(m.cpus), Mem: resource.Whole(64 << 10), Disk: resource.Whole(1 << 20),
				Ports: resource.NewRanges(resource.Range{First: 31000, Last: 31020}),
			},
		},
	}
}

// start is the agent process on a machine that has power.
func (m *machine) start() {
	if m.up || !m.power {
		return
	}
	if m.stall > m.w.now {
		m.w.after(min(m.stall-m.w.now, time.Second), "supervisor", m.host, m.start)
		return
	}
	j, records, err := journal.Open(m.fs, journal.Options{SegmentBytes: 64 << 10})
	switch {
	case errors.Is(err, journaltest.ErrCrashed):
		m.powerLoss()
		return
	case errors.Is(err, errDisk), errors.Is(err, journaltest.ErrFull):
		m.w.count("agent's disk fails at its start")
		m.w.after(m.w.rng.between(100*time.Millisecond, 2*time.Second), "supervisor", m.host, m.start)
		return
	case err != nil:
		m.w.fail("agent %s cannot open its checkpoint: %v", m.addr(), err)
	}
	m.life++
	m.log, m.up, m.sess, m.jobs, m.writing, m.paused, m.killIn = j, true, nil, nil, false, 0, 0
	clear(m.durable)
	for _, r := range records {
		m.noteDurable(r)
	}
	m.containers.restart()
	m.w.note("agent %s starts, boot %d, %d records", m.addr(), m.boot, len(records))
	core, effects, err := agent.Restore(m.config(), m.clock.mono(), records)
	if err != nil {
		m.w.fail("agent %s cannot read its checkpoint: %v", m.addr(), err)
	}
	m.core = core
	m.carryOut(effects)
}

// end is the end of the agent's process; its tasks and the page cache live on.
func (m *machine) end(restart time.Duration) {
	if !m.up {
		return
	}
	m.up = false
	m.life++
	m.fs.Kill()
	m.w.net.processEnds(m.host)
	m.containers.abandon()
	m.w.after(restart, "supervisor", m.host, m.start)
}

// powerLoss ends everything on the machine.
func (m *machine) powerLoss() {
	most := 20 * time.Second
	if m.w.rng.one(5) {
		most = 100 * time.Second
	}
	if m.w.calm {
		most = time.Second
	}
	m.w.note("machine %s loses power", m.addr())
	m.w.count("machine loses power")
	m.restartPower(m.w.rng.between(500*time.Millisecond, most))
}

// restartPower takes the power away for so long.
func (m *machine) restartPower(d time.Duration) {
	m.up, m.power = false, false
	m.life++
	m.boot++
	m.fs.Crash()
	m.w.net.hostEnds(m.host)
	m.containers.reboot()
	m.w.after(d, "power on", m.host, func() { m.powerOn() })
}

func (m *machine) powerOn() {
	if m.power || m.clone && m.w.copy != m {
		return
	}
	m.power = true
	m.w.after(m.w.rng.between(0, time.Second), "supervisor", m.host, m.start)
}

// wipe is an operator who removes the agent's data while its tasks run.
func (m *machine) wipe() {
	m.end(m.w.rng.between(0, 3*time.Second))
	m.fs = journaltest.New(m.w.rng.next())
	m.w.check.wipes(m.id)
	if m.w.rng.one(3) {
		m.boot++
	}
}

func (m *machine) step(ev agent.Event) {
	if m.up {
		m.carryOut(m.core.Step(m.clock.mono(), ev))
	}
}

// carryOut does what the agent's shell does. Nothing in it steps the core.
func (m *machine) carryOut(effects []agent.Effect) {
	life := m.life
	for _, f := range effects {
		if m.life != life {
			return
		}
		if m.killIn > 0 {
			if m.killIn--; m.killIn == 0 {
				m.w.note("agent %s is killed before %T", m.addr(), f)
				m.w.count("agent killed before it acts")
				m.end(m.w.rng.between(20*time.Millisecond, 3*time.Second))
				return
			}
		}
		m.w.cover.effect(f)
		switch f := f.(type) {
		case agent.WriteCheckpoint:
			m.put(diskJob{seq: f.Seq, records: f.Records})
		case agent.Compact:
			m.w.count("checkpoint compacted")
			m.put(diskJob{seq: f.Seq, records: f.Records, compact: true})
		case agent.Connect:
			m.connect(f)
		case agent.Disconnect:
			if m.sess != nil && m.sess.link == f.Link {
				m.sess.endAgent()
				m.sess = nil
			}
		case agent.Send:
			if m.sess != nil && m.sess.link == f.Link {
				m.sess.toMaster(f.Msg)
			}
		case agent.Probe:
			d, alive := m.w.net.reach(m.host, f.Target)
			m.after(d, "probed", func() { m.step(agent.Probed{Link: f.Link, ID: f.ID, Alive: alive}) })
		case agent.ReadUsage:
			m.after(time.Millisecond, "usage", func() { m.step(agent.Used{}) })
		case agent.SetTimer:
			m.timer++
			timer := m.timer
			m.after(m.clock.takes(f.At.Sub(m.clock.mono())), "agent timer", func() {
				if timer == m.timer {
					m.step(agent.Fired{})
				}
			})
		case agent.Note:
			m.w.note("agent %s: %s %s: %s", m.addr(), f.Text, short(f.Task), f.Why)
		default:
			m.containers.do(f)
		}
	}
}

// dialTimeout is how long a master that does not answer is waited for.
const dialTimeout = 10 * time.Second

// connect dials the master that is named, or one after the other.
func (m *machine) connect(f agent.Connect) {
	if m.sess != nil {
		m.sess.endAgent()
		m.sess = nil
	}
	w := m.w
	m.dials++
	all := w.members()
	to := all[m.dials%len(all)]
	if f.Addr != "" {
		to = nil
		for _, o := range all {
			if masterAddr(o.id) == f.Addr {
				to = o
			}
		}
	}
	if to == nil {
		m.after(2*w.net.delay(), "dial", func() { m.step(agent.Unlinked{Link: f.Link, Why: "refused"}) })
		return
	}
	if !to.power || !w.net.whole(m.host, to.host) {
		m.after(dialTimeout, "dial", func() { m.step(agent.Unlinked{Link: f.Link, Why: "no answer"}) })
		return
	}
	m.after(2*w.net.delay(), "dial", func() {
		if !to.up || !w.net.whole(m.host, to.host) {
			m.step(agent.Unlinked{Link: f.Link, Why: "refused"})
			return
		}
		m.sess = w.net.connect(m, to, f.Link)
		m.step(agent.Linked{Link: f.Link})
	})
}

func (m *machine) put(j diskJob) {
	m.jobs = append(m.jobs, j)
	m.write()
}

// write is the checkpoint's loop: what has gathered shares one fsync.
func (m *machine) write() {
	if m.writing || len(m.jobs) == 0 {
		return
	}
	m.writing = true
	m.onDisk(m.w.rng.between(10*time.Microsecond, 200*time.Microsecond), "write", func() {
		batch := m.jobs
		m.jobs = nil
		var dirty bool
		for _, j := range batch {
			var err error
			if j.compact {
				err, dirty = m.log.Compact(j.records), false
			} else {
				err, dirty = m.log.Append(j.records...), true
			}
			if err != nil {
				m.failed(err)
				return
			}
		}
		if !dirty {
			m.written(batch)
			return
		}
		m.onDisk(m.w.rng.between(100*time.Microsecond, m.w.rules.sync), "fsync", func() {
			if err := m.log.Sync(); err != nil {
				m.failed(err)
				return
			}
			m.written(batch)
		})
	})
}

func (m *machine) written(batch []diskJob) {
	m.writing = false
	for _, j := range batch {
		for _, r := range j.records {
			m.noteDurable(r)
		}
	}
	seq := batch[len(batch)-1].seq
	m.after(m.w.rng.between(0, 300*time.Microsecond), "checkpointed", func() { m.step(agent.Checkpointed{Seq: seq}) })
	m.write()
}

func (m *machine) onDisk(d time.Duration, what string, f func()) {
	m.after(d, what, func() {
		if m.stall > m.w.now {
			m.onDisk(min(m.stall-m.w.now, time.Second), what, f)
			return
		}
		f()
	})
}

// failed is an error of the disk: the power went, or the agent stops and its
// supervisor starts it again. Its tasks go on.
func (m *machine) failed(err error) {
	if errors.Is(err, journaltest.ErrCrashed) {
		m.powerLoss()
		return
	}
	m.w.note("agent %s stops: %v", m.addr(), err)
	m.w.count("agent stops by its disk")
	m.end(m.w.rng.between(50*time.Millisecond, 3*time.Second))
}

// taken is what the simulator looks at in a record of the checkpoint: the task
// that it takes.
type taken struct {
	Task *struct {
		ID     dcos.TaskID     `cbor:"1,keyasint"`
		Launch cbor.RawMessage `cbor:"2,keyasint"`
	} `cbor:"3,keyasint"`
}

func (m *machine) noteDurable(record []byte) {
	var r taken
	if err := cbor.Unmarshal(record, &r); err != nil {
		m.w.fail("agent %s writes a record that cannot be read: %v", m.addr(), err)
	}
	if r.Task != nil && len(r.Task.Launch) > 0 {
		m.durable[r.Task.ID] = true
	}
}

// short is the end of a task's id, which tells it apart.
func short(id dcos.TaskID) string { return string(id[max(0, len(id)-14):]) }
