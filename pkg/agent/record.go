package agent

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// The checkpoint is a list of records in CBOR with integer keys. Read in
// order, they give the state back; later ones win.

// record is one change of the checkpoint. Every field is apart from the
// others; numbers are never used again.
type record struct {
	Boot string      `cbor:"1,keyasint,omitempty"`
	Seen *seen       `cbor:"2,keyasint,omitempty"`
	Task *taskRecord `cbor:"3,keyasint,omitempty"`
	// Status goes into the outbox; Acked are the numbers of those that go.
	Status *dcos.Status `cbor:"4,keyasint,omitempty"`
	Acked  []uint64     `cbor:"5,keyasint,omitempty"`
	Drop   dcos.TaskID  `cbor:"6,keyasint,omitempty"`
	// NextSeq is the number of the next status, at least.
	NextSeq uint64 `cbor:"7,keyasint,omitempty"`
}

// seen names an assignment.
type seen struct {
	Term dcos.Term `cbor:"1,keyasint"`
	Seq  uint64    `cbor:"2,keyasint"`
}

func (s seen) before(o seen) bool { return s.Term < o.Term || s.Term == o.Term && s.Seq < o.Seq }

// phase is how far a task's record has come.
type phase uint8

const (
	phaseTaken   phase = iota + 1 // to be started; perhaps it was
	phaseRunning                  // was started
	phaseEnded                    // its end is known, its container may still be there
	phaseCleaned                  // only its sandbox is left
)

// taskRecord is what must survive of a task.
type taskRecord struct {
	ID dcos.TaskID `cbor:"1,keyasint"`
	// Launch is written when the task is taken; later records leave it out.
	Launch     *dcos.Launch   `cbor:"2,keyasint,omitempty"`
	Phase      phase          `cbor:"3,keyasint"`
	Stop       string         `cbor:"4,keyasint,omitempty"` // why it is to stop; "" when it is not
	StopSignal int            `cbor:"5,keyasint,omitempty"`
	State      dcos.TaskState `cbor:"6,keyasint"` // last reported
	Reason     dcos.Reason    `cbor:"7,keyasint,omitempty"`
	Message    string         `cbor:"8,keyasint,omitempty"`
	Exit       *dcos.Exit     `cbor:"9,keyasint,omitempty"`
	EndedAt    dcos.Time      `cbor:"10,keyasint,omitempty"`
	Acked      bool           `cbor:"11,keyasint,omitempty"` // its end is acknowledged
}

var encMode, decMode = func() (cbor.EncMode, cbor.DecMode) {
	enc, err := cbor.CoreDetEncOptions().EncMode()
	dec, err2 := cbor.DecOptions{}.DecMode()
	if err := errors.Join(err, err2); err != nil {
		panic("agent: options of CBOR that are constants: " + err.Error())
	}
	return enc, dec
}()

// disk counts checkpoints.
type disk struct {
	// boot is the last one of which nothing that ran before it is left; until a
	// new one is that far, every restart begins with it again.
	boot    string
	pending [][]byte // records of this step
	seq     uint64   // of the last WriteCheckpoint
	durable uint64
	waiting []heldEffects // in the order of seq
	records int           // in the journal
	acks    []uint64      // acknowledged, not in the checkpoint yet
	ackAt   time.Time     // when they are written without other reason
}

type heldEffects struct {
	seq     uint64
	effects []Effect
}

func (c *Core) record(r record) {
	b, err := encMode.Marshal(r)
	if err != nil {
		// Records hold plain values only; there is no value that CBOR lacks.
		panic("agent: a record that cannot be encoded: " + err.Error())
	}
	c.disk.pending = append(c.disk.pending, b)
}

// putTask records a task without its launch.
func (c *Core) putTask(t *task) {
	r := t.rec
	r.Launch = nil
	c.record(record{Task: &r})
}

// writeCheckpoint writes this step's records and ties the held effects to them.
func (c *Core) writeCheckpoint() {
	d := &c.disk
	if len(d.pending) > 0 && len(d.acks) > 0 {
		c.record(record{Acked: d.acks})
		d.acks, d.ackAt = nil, time.Time{}
	}
	if len(d.pending) > 0 {
		d.seq++
		if live := len(c.tasks) + len(c.outbox.items); d.records+len(d.pending) > 1000+8*live {
			d.pending = c.snapshot()
			d.records = len(d.pending)
			c.do(Compact{Seq: d.seq, Records: d.pending})
		} else {
			d.records += len(d.pending)
			c.do(WriteCheckpoint{Seq: d.seq, Records: d.pending})
		}
		d.pending = nil
	}
	if len(c.held) == 0 {
		return
	}
	if d.seq == d.durable {
		c.out = append(c.out, c.held...)
	} else {
		d.waiting = append(d.waiting, heldEffects{d.seq, c.held})
	}
	c.held = nil
}

func (c *Core) onCheckpointed(now time.Time, ev Checkpointed) {
	d := &c.disk
	d.durable = max(d.durable, min(ev.Seq, d.seq))
	n := 0
	for n < len(d.waiting) && d.waiting[n].seq <= d.durable {
		c.out = append(c.out, d.waiting[n].effects...)
		n++
	}
	d.waiting = slices.Delete(d.waiting, 0, n)
	c.flushOutbox(now)
}

// flushAcks writes acknowledgements that nothing else carried to the disk.
func (c *Core) flushAcks(now time.Time) {
	d := &c.disk
	if len(d.acks) > 0 && !d.ackAt.After(now) {
		c.record(record{Acked: d.acks})
		d.acks, d.ackAt = nil, time.Time{}
	}
}

// snapshot is the whole state as records.
func (c *Core) snapshot() [][]byte {
	saved := c.disk.pending
	c.disk.pending = nil
	c.record(record{Boot: c.disk.boot, Seen: &c.seen, NextSeq: c.outbox.next})
	for _, t := range c.sorted() {
		r := t.rec
		c.record(record{Task: &r})
	}
	for _, i := range c.outbox.items {
		c.record(record{Status: &i.status})
	}
	out := c.disk.pending
	c.disk.pending = saved
	return out
}

// replay takes one record over.
func (c *Core) replay(b []byte) error {
	var r record
	if err := decMode.Unmarshal(b, &r); err != nil {
		return err
	}
	if r.Boot != "" {
		c.disk.boot = r.Boot
	}
	if r.Seen != nil && c.seen.before(*r.Seen) {
		c.seen = *r.Seen
	}
	c.outbox.next = max(c.outbox.next, r.NextSeq)
	if r.Task != nil {
		if err := c.replayTask(*r.Task); err != nil {
			return err
		}
	}
	if r.Status != nil {
		c.outbox.add(*r.Status, 0)
	}
	if len(r.Acked) > 0 {
		for _, s := range c.outbox.remove(r.Acked) {
			if t := c.tasks[s.Task]; t != nil && s.State.Terminal() {
				t.rec.Acked = true
			}
		}
	}
	if r.Drop != "" {
		delete(c.tasks, r.Drop)
	}
	return nil
}

func (c *Core) replayTask(r taskRecord) error {
	if r.Phase < phaseTaken || r.Phase > phaseCleaned {
		return fmt.Errorf("task %s: phase %d is unknown to this version", r.ID, r.Phase)
	}
	old := c.tasks[r.ID]
	switch {
	case r.Launch != nil:
	case old != nil:
		r.Launch = old.rec.Launch
	default:
		return fmt.Errorf("task %s: its launch is missing", r.ID)
	}
	if old != nil {
		r.Acked = r.Acked || old.rec.Acked
	}
	c.tasks[r.ID] = &task{rec: r, recorded: true}
	return nil
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
