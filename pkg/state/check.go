package state

import (
	"errors"
	"fmt"

	"github.com/tidwall/btree"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/resource"
)

// Check verifies every invariant of a state; its error names all that are
// broken. It costs a walk over all rows and is meant for simulations and tests.
//
// It holds at every index: a node's ledger is the sum over its live tasks, and
// with what is reserved within what the node has, unless the node itself said
// that it became smaller; a reservation holds its tasks and volumes; a volume
// has one owner; a role and all below it are within its limits, unless those
// were forced; no host port of a node is held twice; an instance has at most one
// task that is not history, and that is the newest; live tasks are on nodes
// that are not lost, with an epoch; an app has at most one deployment; all
// indexes say what the rows say.
func Check(v View) error {
	c := &checker{
		t: v.t, held: map[dcos.NodeID]*counted{}, waiting: map[dcos.AppID]int{}, paces: map[paced]int{},
		newest: make(map[instance]*dcos.Task, v.t.tasks.Len()),
		open:   map[dcos.RoleID]amounts{}, inside: map[dcos.ReservationID]*reservationUse{},
	}
	c.apps()
	c.slots()
	for k := range v.t.tasks.All() {
		c.task(k)
	}
	c.attempts()
	c.shares()
	c.nodes()
	c.deployments()
	c.bounds()
	return errors.Join(c.found...)
}

// CheckHash computes what never changes in a row or costs much: the hash of
// all rows, and the ids of tasks.
func CheckHash(v View) error {
	var sum, h rowSum
	var buf []byte
	for _, kind := range rowKinds {
		kind.scan(v.t, func(_ string, row any) bool {
			h, buf = hashRow(buf, kind.table, row)
			sum.add(h)
			return true
		})
	}
	if sum != v.t.sum {
		return fmt.Errorf("hash of all rows is %x, the state says %x", sum.Lo, v.t.sum.Lo)
	}
	for k := range v.Tasks() {
		row, ok := v.App(k.App)
		if !ok || k.ID != dcos.NewTaskID(k.App, row.Incarnation, k.Ordinal, k.Attempt) {
			return fmt.Errorf("task %s: not the id of instance %d of %s, attempt %d", k.ID, k.Ordinal, k.App, k.Attempt)
		}
	}
	return nil
}

// counted is what the live tasks of a node hold, added up one by one.
type counted struct {
	holding
	ports  int
	ranges []resource.Range
}

type instance struct {
	app     dcos.AppID
	ordinal uint32
}

type checker struct {
	t       *tables
	found   []error
	held    map[dcos.NodeID]*counted
	waiting map[dcos.AppID]int
	paces   map[paced]int
	newest  map[instance]*dcos.Task
	live    int
	history int
	current int

	open   map[dcos.RoleID]amounts                // by live tasks outside of reservations
	inside map[dcos.ReservationID]*reservationUse // by live tasks, and volumes
	owned  int                                    // volumes that live tasks hold
}

func (c *checker) expect(ok bool, format string, args ...any) {
	if !ok {
		c.fail(format, args...)
	}
}

// fail is for what is looked at per task, where unused arguments would cost.
func (c *checker) fail(format string, args ...any) {
	c.found = append(c.found, fmt.Errorf(format, args...))
}

func (c *checker) apps() {
	named := map[uint16]int{}
	for row := range c.t.apps.All() {
		id := row.App.ID
		at, ok := c.t.appAt(id, row.App.Version)
		c.expect(ok && at == row.App, "app %s: its definition %s is not among its versions", id, row.App.Version)
		for newest := range c.t.appVersions(id) {
			c.expect(newest == row.App, "app %s: its definition %s is not its newest version", id, row.App.Version)
			break
		}
		for _, p := range row.App.Ports {
			if p.Port >= firstServicePort && p.Port <= lastServicePort {
				named[p.Port]++
			}
			c.expect(p.Port != 0, "app %s: a service port was not given out", id)
		}
		ended := 0
		for range c.t.endedOf(id) {
			ended++
		}
		c.expect(ended <= maxEnded+1, "app %s: %d ended tasks are kept", id, ended)
	}
	c.expect(equalCounts(&c.t.servicePts, named), "service ports in use are %v, definitions name %v", mapOf(&c.t.servicePts), named)
}

func (c *checker) task(k *dcos.Task) {
	row, ok := c.t.apps.Get(string(k.App))
	switch {
	case !ok:
		c.fail("task %s: its app %s does not exist", k.ID, k.App)
		return
	case k.Ordinal >= row.NextOrdinal:
		c.fail("task %s: instance %d, the app's next is %d", k.ID, k.Ordinal, row.NextOrdinal)
	case (k.Epoch == 0) != (k.Node == ""):
		c.fail("task %s: node %q with epoch %d", k.ID, k.Node, k.Epoch)
	case uint64(k.Epoch) > uint64(c.t.index):
		c.fail("task %s: epoch %d is in the future", k.ID, k.Epoch)
	case k.State == dcos.TaskWaiting && (k.Node != "" || k.Goal != dcos.GoalRun):
		c.fail("task %s: waits, with node %q and goal %d", k.ID, k.Node, k.Goal)
	case k.State.Terminal() != (k.EndedAt != 0):
		c.fail("task %s: %s, ended at %q", k.ID, k.State, k.EndedAt)
	}
	if k.State == dcos.TaskWaiting {
		c.waiting[k.App]++
	}
	if k.Live() {
		c.liveTask(k)
	}
	if history(k) {
		c.history++
		if got, ok := c.t.ended.Get(k); !ok || got != k {
			c.fail("task %s: not in the index of ended tasks", k.ID)
		}
		if got, ok := c.t.byEnd.Get(k); !ok || got != k {
			c.fail("task %s: not in the index by age", k.ID)
		}
		return
	}
	c.current++
	c.pace(k)
	n, _ := c.t.numbers.Get(k.App)
	if s, ok := c.t.instances.Get(n, k.Ordinal); !ok || c.t.tasks.At(s) != k {
		c.fail("task %s: not in the index of instances", k.ID)
	}
	if _, ok := c.t.definition(row, k.Version); !ok {
		c.fail("task %s: its version %s is not kept", k.ID, k.Version)
	}
	c.newest[instance{k.App, k.Ordinal}] = k
}

func (c *checker) liveTask(k *dcos.Task) {
	c.live++
	if n, ok := c.t.nodes.Get(string(k.Node)); !ok || n.State == dcos.NodeRemoved || (n.State == dcos.NodeLost) != (k.Unreachable != 0) {
		c.fail("task %s: live on node %q, which is lost or unknown, or unreachable (since %s) there though it is not", k.ID, k.Node, k.Unreachable)
	}
	h := c.held[k.Node]
	if h == nil {
		h = &counted{}
		c.held[k.Node] = h
	}
	h.tasks++
	h.ports += len(k.Ports)
	for _, p := range k.Ports {
		if !k.Need.Ports.Has(p) {
			c.fail("task %s: holds ports %s, has %v", k.ID, k.Need.Ports, k.Ports)
		}
		h.ranges = append(h.ranges, resource.Range{First: p, Last: p})
	}
	h.set = h.set.Plus(k.Need.Amounts())
	c.share(k)
}

// attempts compares history with what came after it.
func (c *checker) attempts() {
	c.t.ended.Scan(func(k *dcos.Task) bool {
		later, ok := c.newest[instance{k.App, k.Ordinal}]
		if ok && (later.Attempt <= k.Attempt || later.Epoch != 0 && later.Epoch <= k.Epoch) {
			c.fail("task %s: history, but attempt %d with epoch %d is the newest", k.ID, later.Attempt, later.Epoch)
		}
		return true
	})
	c.expect(c.t.ended.Len() == c.history, "%d ended tasks in the index, %d in the table", c.t.ended.Len(), c.history)
	c.expect(c.t.byEnd.Len() == c.history, "%d ended tasks in the index by age, %d in the table", c.t.byEnd.Len(), c.history)
	n := c.t.instances.Len()
	c.expect(n == c.current, "%d instances in the index, %d in the table", n, c.current)
	c.standings()
	c.expect(equalCounts(&c.t.waiting, c.waiting), "waiting tasks are %v, counted %v", c.waiting, mapOf(&c.t.waiting))
}

func (c *checker) nodes() {
	c.expect(c.t.ledger.Len() == len(c.held), "%d nodes in the ledger, %d hold tasks", c.t.ledger.Len(), len(c.held))
	for n := range c.t.nodes.All() {
		kept, inLedger := c.t.ledger.Get(n.ID)
		h, holds := c.held[n.ID]
		_, shrunk := c.t.shrunk.Get(n.ID)
		load := c.t.load(n.ID)
		c.expect(shrunk == !load.FitsIn(n.Total), "node %s: %s of %s is held or reserved (shrunk: %v)", n.ID, load, n.Total, shrunk)
		if !holds {
			c.expect(!inLedger, "node %s: in the ledger without tasks", n.ID)
			continue
		}
		h.set.Ports = resource.NewRanges(h.ranges...)
		c.expect(inLedger && kept.tasks == h.tasks && kept.set.Equal(h.set), "node %s: tasks hold %s, the ledger says %v", n.ID, h.set, kept)
		c.expect(inLedger && c.sound(n.ID, kept), "node %s: its live tasks in the index are not those that it has, or out of order", n.ID)
		c.expect(h.set.Ports.Size() == h.ports, "node %s: a port of %s is held twice", n.ID, h.set.Ports)
	}
}

// sound says whether the index of a node holds as many live tasks of it as were
// counted, each once.
func (c *checker) sound(id dcos.NodeID, h *holding) bool {
	last := dcos.TaskID("")
	for _, s := range h.live {
		k := c.t.tasks.At(s)
		if k == nil || !k.Live() || k.Node != id || k.ID <= last {
			return false
		}
		last = k.ID
	}
	return len(h.live) == h.tasks
}

// slots looks at what tasks and their instances are found by.
func (c *checker) slots() {
	if err := c.t.tasks.Check(); err != nil {
		c.fail("tasks: %w", err)
	}
	apps := 0
	c.t.numbers.Scan(func(id dcos.AppID, n uint32) bool {
		_, ok := c.t.apps.Get(string(id))
		c.expect(ok && n <= c.t.lastNumber, "number %d is of app %s, which does not exist, or was not given out", n, id)
		apps++
		return true
	})
	c.expect(apps == c.t.apps.rows.Len(), "%d apps have numbers, there are %d", apps, c.t.apps.rows.Len())
}

func (c *checker) deployments() {
	n := 0
	for d := range c.t.deployments.All() {
		n++
		got, ok := c.t.deployOf.Get(d.App)
		c.expect(ok && got == d, "deployment %s: not the one that holds app %s", d.ID, d.App)
		c.expect(d.Step >= 1 && d.Step <= len(d.Steps), "deployment %s: step %d of %d", d.ID, d.Step, len(d.Steps))
		row, ok := c.t.apps.Get(string(d.App))
		c.expect(ok && row.App.Version == d.Target, "deployment %s: its target %s is not what app %s wants", d.ID, d.Target, d.App)
		if d.Before != 0 {
			_, ok = c.t.appAt(d.App, d.Before)
			c.expect(ok, "deployment %s: version %s is not kept", d.ID, d.Before)
		}
	}
	c.expect(c.t.deployOf.Len() == n, "%d apps are locked by %d deployments", c.t.deployOf.Len(), n)
}

// bounds looks at what would grow for ever.
func (c *checker) bounds() {
	proposers := c.t.proposers.rows.Len()
	c.expect(c.t.audit.rows.Len() <= maxAudit, "%d audit rows", c.t.audit.rows.Len())
	c.expect(c.t.done.rows.Len() <= proposers*Window, "%d outcomes kept for %d proposers", c.t.done.rows.Len(), proposers)
	c.expect(c.t.parts.rows.Len() <= maxPending, "%d proposals wait for parts", c.t.parts.rows.Len())
}

func equalCounts[K interface{ ~string | ~uint16 }](have *btree.Map[K, int], want map[K]int) bool {
	equal := have.Len() == len(want)
	have.Scan(func(k K, n int) bool {
		equal = equal && want[k] == n
		return equal
	})
	return equal
}

func mapOf[K interface{ ~string | ~uint16 }](in *btree.Map[K, int]) map[K]int {
	out := map[K]int{}
	in.Scan(func(k K, n int) bool { out[k] = n; return true })
	return out
}
