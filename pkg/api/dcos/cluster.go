package dcos

import (
	"fmt"
	"net/http"
	"sync"

	"github.com/dcos-go/dcos/pkg/api"
	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/resource"
	"github.com/dcos-go/dcos/pkg/state"
)

func (s *server) cluster(w http.ResponseWriter, r *http.Request) error {
	v, err := s.State.View(w, r)
	if err != nil {
		return err
	}
	api.WriteJSON(w, http.StatusOK, s.clusterStatus(v))
	return nil
}

func (s *server) masters(w http.ResponseWriter, r *http.Request) error {
	return page(s, w, r, s.masterRows, func(m client.MasterStatus) string { return m.ID }, map[string]api.Column[client.MasterStatus]{
		"id":   text(func(m client.MasterStatus) string { return m.ID }),
		"name": text(func(m client.MasterStatus) string { return m.Name }),
	})
}

func (s *server) masterRows(v state.View) []client.MasterStatus {
	leader := s.Leader()
	var out []client.MasterStatus
	for m := range v.Masters() {
		out = append(out, client.MasterStatus{
			ID: fmt.Sprintf("%016x", uint64(m.ID)), Name: m.Name, API: m.API, Peer: m.Peer, Voter: m.Voter,
			Leader: m.ID == leader, Alive: m.ID == leader || s.Alive(m.ID), Version: m.Version, Level: m.Level,
		})
	}
	return out
}

// statusMemo keeps the counts of one index, so that many open pages cost one
// walk over the tasks.
type statusMemo struct {
	mu    sync.Mutex
	index dcos.Index // guarded by mu
	have  client.ClusterStatus
}

// clusterStatus is the cluster in one row.
func (s *server) clusterStatus(v state.View) client.ClusterStatus {
	out := s.status.count(v)
	out.Version, out.Term = s.Version.Version, uint64(s.Term())
	out.Masters = s.masterRows(v)
	if m, ok := v.Master(s.Leader()); ok {
		out.Leader = m.API
	}
	out.Problems = problems(&out)
	return out
}

// count is the part that follows from the view alone. Its maps are shared and
// must not be changed.
func (m *statusMemo) count(v state.View) client.ClusterStatus {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.index == v.Index() && m.have.Nodes != nil {
		return m.have
	}
	out := client.ClusterStatus{Index: uint64(v.Index()), Nodes: map[string]int{}, Tasks: map[string]int{}}
	if c, ok := v.Cluster(); ok {
		out.ID, out.Name, out.Level = c.ID, c.Name, c.Level
	}
	var total, free resource.Set
	for n := range v.Nodes() {
		out.Nodes[n.State.String()]++
		if n.State == dcos.NodeLost {
			continue
		}
		have, _ := v.Free(n.ID)
		total, free = amounts(total, n.Total), amounts(free, have)
	}
	out.Total, out.Allocated = resources(total), resources(total.Minus(free))
	for row := range v.Apps() {
		if !row.Deleting {
			out.Apps++
		}
		for k := range v.TasksOf(row.App.ID) {
			out.Tasks[taskWord(k)]++
		}
	}
	if v.Index() > m.index {
		m.index, m.have = v.Index(), out
	}
	return out
}

// amounts adds without ports: those of different nodes are different things.
func amounts(a, b resource.Set) resource.Set {
	a.Ports, b.Ports = nil, nil
	return a.Plus(b)
}

// behind says that every master supports a feature level above the cluster's.
func behind(c *client.ClusterStatus) bool {
	for _, m := range c.Masters {
		if m.Level <= c.Level {
			return false
		}
	}
	return c.Level > 0 && len(c.Masters) > 0
}

// problems are what an operator should look at, worst first.
func problems(c *client.ClusterStatus) []string {
	out := []string{}
	if c.Leader == "" {
		out = append(out, "no master leads: changes are refused until one does")
	}
	for _, m := range c.Masters {
		if !m.Alive {
			out = append(out, fmt.Sprintf("master %s (%s) does not answer", m.Name, m.API))
		}
	}
	if n := c.Nodes["lost"]; n > 0 {
		out = append(out, "lost: "+count(n, "node"))
	}
	if n := c.Nodes["suspect"]; n > 0 {
		out = append(out, "not answering: "+count(n, "node")+"; tasks there still count")
	}
	if c.Nodes["active"] == 0 {
		out = append(out, "no agent is connected: nothing can run; add one with `dcos install --role agent`")
	}
	if behind(c) {
		out = append(out, "the masters support more than the cluster uses: finish the upgrade with `dcos upgrade finish`")
	}
	if n := c.Tasks["waiting"]; n > 0 && c.Nodes["active"] > 0 {
		out = append(out, "waiting for a place: "+count(n, "instance")+"; see `dcos why APP`")
	}
	return out
}
