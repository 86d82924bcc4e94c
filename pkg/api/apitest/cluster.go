// Package apitest is a cluster's state without a cluster, for tests of the
// API: the real state machine, with proposals applied at once and in order.
//
// It promises the contracts of state.Proposer and state.Feed, a clock that
// moves one second per entry, and the same ids and times in every run. It must
// not be used by anything but tests.
package apitest

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/resource"
	"github.com/dcos-go/dcos/pkg/state"
)

// Start is the time of the first entry.
var Start = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

// Cluster is one master's state.
type Cluster struct {
	mu      sync.Mutex
	store   *state.Store   // guarded by mu
	commits []state.Commit // guarded by mu; those that are kept
	kept    dcos.Index     // guarded by mu; watches must begin at it or later
	now     dcos.Time      // guarded by mu
	seq     uint64         // guarded by mu
	fail    error          // guarded by mu
	grown   chan struct{}  // guarded by mu; closed when a commit was added
}

// New is a cluster that was initialised and has nothing in it.
func New() *Cluster {
	c := &Cluster{store: state.New(), now: dcos.TimeOf(Start), grown: make(chan struct{})}
	c.Do(state.InitCluster{Info: dcos.ClusterInfo{ID: "c0ffee00-0000-4000-8000-000000000001", Name: "test", Level: state.Level}},
		state.PutMaster{Master: dcos.Master{ID: 1, Name: "m1", Peer: "10.0.0.1:7444", API: "10.0.0.1:8443", Voter: true, Level: state.Level, Version: "0.1.0"}})
	return c
}

// Now is the cluster's clock.
func (c *Cluster) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now.Std()
}

// Propose applies at once.
func (c *Cluster) Propose(_ context.Context, by state.Origin, cmds ...state.Command) (state.Result, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fail != nil {
		return state.Result{}, c.fail
	}
	c.seq++
	if by.ID.IsZero() {
		by.ID = dcos.ProposalID{Proposer: 1, Seq: c.seq}
	}
	encoded, err := state.EncodeProposal(state.Proposal{ID: by.ID, Principal: by.Principal, Commands: cmds})
	if err != nil {
		return state.Result{}, err
	}
	parts, err := state.SplitProposal(encoded)
	if err != nil {
		return state.Result{}, err
	}
	var last state.Result
	for _, part := range parts {
		c.now = c.now.Add(time.Second)
		commit, results, err := c.store.Apply(c.store.View().Index()+1, state.EncodeEntry(c.now, part))
		if err != nil {
			return state.Result{}, err
		}
		c.commits = append(c.commits, commit)
		last = results[0]
	}
	close(c.grown)
	c.grown = make(chan struct{})
	return last, nil
}

// Do proposes as the system and panics when a command fails: the test itself
// is wrong then.
func (c *Cluster) Do(cmds ...state.Command) state.Result {
	r, err := c.Propose(context.Background(), state.Origin{}, cmds...)
	if err == nil {
		err = r.Err()
	}
	for _, i := range r.Items {
		for _, e := range i.Each {
			if err == nil {
				err = e
			}
		}
	}
	if err != nil {
		panic(fmt.Sprintf("apitest: %T: %v", cmds[0], err))
	}
	return r
}

// Fail makes proposals and reads fail from now on; nil ends it.
func (c *Cluster) Fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail = err
}

// Forget drops all kept changes.
func (c *Cluster) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.commits, c.kept = nil, c.store.View().Index()
}

// View is the present state.
func (c *Cluster) View() state.View {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.store.View()
}

// Read is View, or the failure asked for.
func (c *Cluster) Read(context.Context) (state.View, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.store.View(), c.fail
}

// Watch gives the commits after an index.
func (c *Cluster) Watch(ctx context.Context, from dcos.Index) (iter.Seq2[state.Commit, error], error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if from < c.kept || from > c.store.View().Index() {
		return nil, fmt.Errorf("watch from %d: %w", from, dcos.ErrReset)
	}
	return func(yield func(state.Commit, error) bool) {
		for at := from; ; {
			next, grown, err := c.after(at)
			for _, commit := range next {
				at = commit.Index
				if !yield(commit, nil) {
					return
				}
			}
			if err != nil {
				yield(state.Commit{}, err)
				return
			}
			if len(next) > 0 {
				continue
			}
			select {
			case <-grown:
			case <-ctx.Done():
				return
			}
		}
	}, nil
}

func (c *Cluster) after(at dcos.Index) ([]state.Commit, <-chan struct{}, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at < c.kept {
		return nil, nil, dcos.ErrReset
	}
	var out []state.Commit
	for _, commit := range c.commits {
		if commit.Index > at {
			out = append(out, commit)
		}
	}
	return out, c.grown, nil
}

// Node is an active agent of 4 CPUs and 8 GiB.
func Node(id string) dcos.Node {
	return dcos.Node{
		ID: dcos.NodeID(id), Hostname: id + ".example", Addr: id + ".example:7445", IP: "10.0.1.1", Boot: "b1", Version: "0.1.0",
		Region: "eu", Zone: "a", Attributes: map[string]string{"disk": "ssd"}, Isolation: dcos.IsolationContainer,
		Total: resource.Set{CPUs: resource.Whole(4), Mem: resource.Whole(8192), Disk: resource.Whole(20000), Ports: resource.Ranges{{First: 31000, Last: 31099}}},
	}
}

// Run makes the instances of an app that are missing and runs them on a node,
// each with host ports of its own.
func (c *Cluster) Run(app dcos.AppID, node dcos.NodeID) []dcos.TaskID {
	row, _ := c.View().App(app)
	if n := row.App.Instances - min(row.App.Instances, row.NextOrdinal); n > 0 {
		c.Do(state.AddTasks{App: app, Version: row.App.Version, Count: n, First: row.NextOrdinal})
	}
	var ids []dcos.TaskID
	port := uint16(31000)
	for used := range c.View().TasksOn(node) {
		port += uint16(len(used.Ports))
	}
	for k := range c.View().TasksOf(app) {
		if k.State != dcos.TaskWaiting {
			continue
		}
		var ports []uint16
		for range row.App.Ports {
			ports = append(ports, port)
			port++
		}
		c.Do(state.Place{Items: []state.Placement{{Task: k.ID, Node: node, Ports: ports}}})
		ids = append(ids, k.ID)
	}
	for _, id := range ids {
		c.Status(id, dcos.TaskRunning)
	}
	return ids
}

// Status lets a task's agent report.
func (c *Cluster) Status(id dcos.TaskID, s dcos.TaskState) {
	k, _ := c.View().Task(id)
	status := dcos.Status{Task: id, Epoch: k.Epoch, Seq: k.StatusSeq + 1, State: s, At: dcos.TimeOf(c.Now())}
	switch s {
	case dcos.TaskFailed:
		status.Reason, status.Message, status.Exit = dcos.ReasonCommand, "exited with code 3", &dcos.Exit{Code: 3}
	case dcos.TaskFinished, dcos.TaskKilled:
		status.Exit = &dcos.Exit{}
	}
	c.Do(state.TaskStatuses{Node: k.Node, Statuses: []dcos.Status{status}})
}
