package state

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/resource"
)

// epoch0 is when the tests' clock starts: 2026-01-01T00:00:00.000Z.
const epoch0 dcos.Time = 1767225600000

// cluster is a log and a store that applies it.
type cluster struct {
	t     testing.TB
	s     *Store
	index dcos.Index
	now   dcos.Time
	log   [][]byte
	last  Commit
}

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

func newCluster(t testing.TB) *cluster { return &cluster{t: t, s: New(), now: epoch0} }

func encode(t fataler, p Proposal) []byte {
	t.Helper()
	b, err := EncodeProposal(p)
	if err != nil {
		t.Fatalf("encode %v: %v", p.Commands, err)
	}
	return b
}

// apply commits proposals as one entry.
func (c *cluster) apply(proposals ...[]byte) []Result {
	c.t.Helper()
	entry := EncodeEntry(c.now, proposals...)
	c.index++
	c.log = append(c.log, entry)
	commit, results, err := c.s.Apply(c.index, entry)
	if err != nil {
		c.t.Fatalf("apply entry %d: %v", c.index, err)
	}
	c.last = commit
	if err := errors.Join(Check(c.s.View()), CheckHash(c.s.View())); err != nil {
		c.t.Fatalf("after entry %d: %v", c.index, err)
	}
	return results
}

// do commits commands of the system as one proposal without an id.
func (c *cluster) do(cmds ...Command) []Item {
	c.t.Helper()
	return c.apply(encode(c.t, Proposal{Commands: cmds}))[0].Items
}

// must is do for one command that is expected to work, elements too.
func (c *cluster) must(cmd Command) Item {
	c.t.Helper()
	item := c.do(cmd)[0]
	if err := firstError(item); err != nil {
		c.t.Fatalf("%T: %v", cmd, err)
	}
	return item
}

// refuse expects an error of a kind and an unchanged state.
func (c *cluster) refuse(kind error, cmd Command) {
	c.t.Helper()
	if err := c.refusal(kind, cmd); !errors.Is(err, kind) {
		c.t.Fatalf("%T: error %v, want %v", cmd, err, kind)
	}
}

// refusal is refuse for a test that looks at the error.
func (c *cluster) refusal(kind error, cmd Command) error {
	c.t.Helper()
	before := c.s.View()
	item := c.do(cmd)[0]
	err := firstError(item)
	if !errors.Is(err, kind) {
		c.t.Fatalf("%T: error %v, want %v", cmd, err, kind)
	}
	if after := c.s.View(); after.t.sum != before.t.sum || len(c.last.Changes) != 0 {
		c.t.Fatalf("%T failed (%v) and changed the state: %v", cmd, err, c.last.Changes)
	}
	return err
}

func (c *cluster) tasks(app dcos.AppID) []*dcos.Task {
	return slices.Collect(c.s.View().TasksOf(app))
}

func testNode(id string) dcos.Node {
	return dcos.Node{
		ID: dcos.NodeID(id), Hostname: id + ".example", Boot: "boot-1", Isolation: dcos.IsolationContainer,
		Total: resource.Set{
			CPUs: resource.Whole(4), Mem: resource.Whole(4096), Disk: resource.Whole(10000), GPUs: 1,
			Ports: resource.NewRanges(resource.Range{First: 31000, Last: 31099}),
		},
	}
}

func testApp(id string, instances uint32) dcos.App {
	return dcos.App{
		ID: dcos.AppID(id), Cmd: "sleep 1", Instances: instances,
		Need:    resource.Set{CPUs: 1000, Mem: resource.Whole(128)},
		Backoff: dcos.Backoff{InitialMillis: 1000, FactorMilli: 1150, MaxMillis: 60_000},
		Upgrade: dcos.Upgrade{MinHealth: 1, MaxOver: 1},
	}
}

// start makes an app with its tasks waiting.
func (c *cluster) start(app dcos.App) []*dcos.Task {
	c.t.Helper()
	item := c.must(PutApp{App: app})
	c.must(AddTasks{App: app.ID, Version: item.Version, Count: app.Instances})
	return c.tasks(app.ID)
}

// place puts a task on a node and gives its row.
func (c *cluster) place(id dcos.TaskID, node dcos.NodeID, ports ...uint16) *dcos.Task {
	c.t.Helper()
	c.must(Place{Items: []Placement{{Task: id, Node: node, Ports: ports}}})
	k, _ := c.s.View().Task(id)
	return k
}

// report sends one status with the next sequence number.
func (c *cluster) report(id dcos.TaskID, state dcos.TaskState) *dcos.Task {
	c.t.Helper()
	k, ok := c.s.View().Task(id)
	if !ok {
		c.t.Fatalf("task %s is not there", id)
	}
	c.must(TaskStatuses{Node: k.Node, Statuses: []dcos.Status{{Task: id, Epoch: k.Epoch, Seq: k.StatusSeq + 1, State: state}}})
	k, _ = c.s.View().Task(id)
	return k
}

// snapshot writes and reads a state.
func reread(t fataler, v View) *Store {
	t.Helper()
	var b bytes.Buffer
	if err := v.WriteSnapshot(&b); err != nil {
		t.Fatalf("write: %v", err)
	}
	s, err := Restore(&b)
	if err != nil {
		t.Fatalf("read back: %v", err)
	}
	return s
}

// dump is everything of a view in words, for comparison.
func dump(v View) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "index %d time %s hash %x\n", v.Index(), v.Time(), v.t.sum)
	for _, kind := range rowKinds {
		kind.scan(v.t, func(key string, row any) bool {
			fmt.Fprintf(&b, "%d %s %x\n", kind.table, key, encodeRow(row))
			return true
		})
	}
	for row := range v.Apps() {
		for k := range v.TasksOf(row.App.ID) {
			fmt.Fprintln(&b, "instance", k.ID)
		}
		for k := range v.Ended(row.App.ID) {
			fmt.Fprintln(&b, "ended", k.ID)
		}
	}
	for n := range v.Nodes() {
		free, _ := v.Free(n.ID)
		fmt.Fprintln(&b, "free", n.ID, free)
		for k := range v.TasksOn(n.ID) {
			fmt.Fprintln(&b, "on", k.ID)
		}
	}
	for id, n := range v.WaitingApps() {
		fmt.Fprintln(&b, "waiting", id, n)
	}
	return b.String()
}
