package dcos

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

// snapshotRows is how many rows one frame of a snapshot holds; what is more
// follows in frames with the op "append".
const snapshotRows = 1000

// clusterEvery bounds how often the cluster's row is counted for one client.
const clusterEvery = time.Second

// clusterKey is the key of the one row of the topic cluster.
const clusterKey = "cluster"

func (st *stream) touch(topic, key string) {
	if !st.topics[topic] || topic == "tasks" && key == "" {
		return
	}
	if topic == "cluster" {
		key = clusterKey
	}
	st.dirty[rowKey{topic, key}] = true
}

// note marks the rows that a commit changes. A row of one topic may change
// because a row of another does: a node's free resources with its tasks.
func (st *stream) note(c *state.Commit) {
	st.index = c.Index
	if c.Index > st.view.Index() { // a client that resumes is told the old changes with the new rows
		st.view = c.View
	}
	for _, ch := range c.Changes {
		switch ch.Table {
		case state.TableCluster, state.TableMasters:
			st.touch("cluster", "")
		case state.TableNodes:
			st.touch("nodes", ch.Key)
			st.touch("cluster", "")
		case state.TableApps, state.TablePackages:
			st.touch("services", ch.Key)
			if ch.Table == state.TablePackages {
				st.touch("packages", ch.Key)
			}
			st.touch("cluster", "")
		case state.TableDeployments:
			st.touch("deployments", ch.Key)
			for _, row := range []any{ch.Old, ch.New} {
				if d, ok := row.(*dcos.Deployment); ok && d != nil {
					st.touch("services", string(d.App))
				}
			}
		case state.TableTasks:
			st.noteTask(ch)
		}
	}
}

func (st *stream) noteTask(ch state.Change) {
	for _, row := range []any{ch.Old, ch.New} {
		k, ok := row.(*dcos.Task)
		if !ok || k == nil {
			continue
		}
		if st.app == "" || k.App == st.app {
			st.touch("tasks", ch.Key)
		}
		st.touch("services", string(k.App))
		if k.Node != "" {
			st.touch("nodes", string(k.Node))
		}
	}
	st.touch("cluster", "")
}

// flush sends the rows that have changed, as they are now. The last frame
// carries the index: a client that loses the connection before gets all of
// them again.
func (st *stream) flush() error {
	st.flushed = time.Now()
	keys := make([]rowKey, 0, len(st.dirty))
	for k := range st.dirty {
		if k.topic == "cluster" && time.Since(st.counted) < clusterEvery {
			continue // later
		}
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b rowKey) int {
		return cmp.Or(strings.Compare(a.topic, b.topic), strings.Compare(a.key, b.key))
	})
	for i, k := range keys {
		id := ""
		if i == len(keys)-1 {
			id = st.id()
		}
		op, row := "upsert", st.row(k)
		if row == nil {
			op = "delete"
		}
		if err := st.frame(op, k.topic, k.key, row, id); err != nil {
			return err
		}
		if k.topic == "cluster" {
			st.counted = st.flushed
		}
		delete(st.dirty, k)
	}
	return nil
}

// row is a row as it is now; nil when it is gone.
func (st *stream) row(k rowKey) any {
	v := st.view
	switch k.topic {
	case "cluster":
		return st.s.clusterStatus(v)
	case "nodes":
		if n, ok := v.Node(dcos.NodeID(k.key)); ok {
			return st.s.nodeRow(v, n)
		}
	case "services":
		if row, ok := v.App(dcos.AppID(k.key)); ok {
			return serviceRow(v, row)
		}
	case "tasks":
		if t, ok := v.Task(dcos.TaskID(k.key)); ok {
			return taskRow(v, t)
		}
	case "packages":
		if p, ok := v.Package(dcos.AppID(k.key)); ok {
			return packageRow(p)
		}
	case "deployments":
		if d, ok := v.Deployment(dcos.DeploymentID(k.key)); ok {
			return deploymentRow(d)
		}
	}
	return nil
}

// snapshot sends all rows of all topics.
func (st *stream) snapshot() error {
	v := st.view
	for _, t := range topics {
		if !st.topics[t.name] {
			continue
		}
		var err error
		switch t.name {
		case "cluster":
			err = sendAll(st, t.name, []client.ClusterStatus{st.s.clusterStatus(v)})
			st.counted = time.Now()
		case "nodes":
			err = sendAll(st, t.name, st.s.nodeRows(v))
		case "services":
			err = sendAll(st, t.name, serviceRows(v))
		case "tasks":
			err = sendAll(st, t.name, st.taskRows())
		case "packages":
			err = sendAll(st, t.name, packageRows(v))
		case "deployments":
			err = sendAll(st, t.name, deploymentRows(v))
		}
		if err != nil {
			return err
		}
	}
	// Only now the client has everything.
	return st.out.Send(st.id(), "", client.Event{Seq: uint64(st.index), Time: v.Time().String(), Op: "ping"})
}

// id is what the client resumes from.
func (st *stream) id() string { return strconv.FormatUint(uint64(st.index), 10) }

func (st *stream) taskRows() []client.Task {
	if st.app == "" {
		return taskRows(st.view)
	}
	var out []client.Task
	for k := range st.view.TasksOf(st.app) {
		out = append(out, taskRow(st.view, k))
	}
	for k := range st.view.Ended(st.app) {
		out = append(out, taskRow(st.view, k))
	}
	return out
}

func sendAll[T any](st *stream, topic string, rows []T) error {
	op := "snapshot"
	for {
		n := min(len(rows), snapshotRows)
		if err := st.frame(op, topic, "", append([]T{}, rows[:n]...), ""); err != nil {
			return err
		}
		if rows = rows[n:]; len(rows) == 0 {
			return nil
		}
		op = "append"
	}
}

func (st *stream) send(op, topic string, data any, id string) error {
	return st.frame(op, topic, "", data, id)
}

func (st *stream) frame(op, topic, key string, data any, id string) error {
	e := client.Event{Seq: uint64(st.index), Time: st.view.Time().String(), Topic: topic, Op: op, Key: key}
	if data != nil {
		b, err := json.Marshal(data)
		if err != nil {
			return fmt.Errorf("encode row %s of %s: %w", key, topic, err)
		}
		e.Data = b
	}
	return st.out.Send(id, "", e)
}
