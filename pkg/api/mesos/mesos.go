// Package mesos is the part of Mesos' HTTP API that clients of a DC/OS cluster
// read: the summary of its agents and frameworks.
//
// It promises Mesos' names, units and forms. It must not decide anything.
package mesos

import (
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"

	"github.com/dcos-go/dcos/pkg/api"
	"github.com/dcos-go/dcos/pkg/auth"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/resource"
	"github.com/dcos-go/dcos/pkg/state"
)

// Config is what the dialect stands on.
type Config struct {
	State api.State
	// Leader is the master that leads; 0 is none.
	Leader func() dcos.MasterID
	Log    *slog.Logger
}

type server struct {
	Config
	mu     sync.Mutex
	last   *summary      // guarded by mu; never changed once it is here
	index  dcos.Index    // guarded by mu; the state that last shows
	leader dcos.MasterID // guarded by mu
}

// Routes are the dialect.
func Routes(c Config) api.Dialect {
	s := &server{Config: c}
	d := api.Dialect{Name: "mesos", WriteError: api.WriteProblem}
	for _, path := range []string{"/mesos/state-summary", "/mesos/master/state-summary"} {
		d.Routes = append(d.Routes, api.Route{
			Method: http.MethodGet, Pattern: path, Access: api.Permitted, Need: auth.Permission{Path: "/nodes", Action: auth.ActionRead},
			Handler: api.Handle(c.Log, api.WriteProblem, s.summary),
		})
	}
	return d
}

// summary is the document of /state-summary.
type summary struct {
	Hostname   string      `json:"hostname"`
	Cluster    string      `json:"cluster"`
	Slaves     []slave     `json:"slaves"`
	Frameworks []framework `json:"frameworks"`
}

// resources are scalars as numbers and ranges as text.
type resources struct {
	CPUs  float64 `json:"cpus"`
	GPUs  float64 `json:"gpus"`
	Mem   float64 `json:"mem"`
	Disk  float64 `json:"disk"`
	Ports string  `json:"ports,omitempty"`
}

// counts are tasks by their state.
type counts struct {
	Staging  int `json:"TASK_STAGING"`
	Starting int `json:"TASK_STARTING"`
	Running  int `json:"TASK_RUNNING"`
	Killing  int `json:"TASK_KILLING"`
	Finished int `json:"TASK_FINISHED"`
	Killed   int `json:"TASK_KILLED"`
	Failed   int `json:"TASK_FAILED"`
	Lost     int `json:"TASK_LOST"`
	Error    int `json:"TASK_ERROR"`
	Unreach  int `json:"TASK_UNREACHABLE"`
}

type slave struct {
	ID             string               `json:"id"`
	Hostname       string               `json:"hostname"`
	Port           int                  `json:"port"`
	PID            string               `json:"pid"`
	Attributes     map[string]string    `json:"attributes"`
	Domain         *domain              `json:"domain,omitempty"`
	RegisteredTime float64              `json:"registered_time"`
	Resources      resources            `json:"resources"`
	Used           resources            `json:"used_resources"`
	Offered        resources            `json:"offered_resources"`
	Reserved       map[string]resources `json:"reserved_resources"`
	Unreserved     resources            `json:"unreserved_resources"`
	Active         bool                 `json:"active"`
	Deactivated    bool                 `json:"deactivated"`
	Version        string               `json:"version"`
	Capabilities   []string             `json:"capabilities"`
	FrameworkIDs   []string             `json:"framework_ids"`
	counts
}

type domain struct {
	FaultDomain struct {
		Region named `json:"region"`
		Zone   named `json:"zone"`
	} `json:"fault_domain"`
}

type named struct {
	Name string `json:"name"`
}

type framework struct {
	ID           string    `json:"id"`
	Name         string    `json:"name"`
	Hostname     string    `json:"hostname"`
	Active       bool      `json:"active"`
	Connected    bool      `json:"connected"`
	Role         string    `json:"role"`
	Used         resources `json:"used_resources"`
	Offered      resources `json:"offered_resources"`
	Capabilities []string  `json:"capabilities"`
	SlaveIDs     []string  `json:"slave_ids"`
	counts
}

func (s *server) summary(w http.ResponseWriter, r *http.Request) error {
	v, err := s.State.View(w, r)
	if err != nil {
		return err
	}
	api.WriteJSON(w, http.StatusOK, s.summaryOf(v))
	return nil
}

// summaryOf makes the summary once per state: pages ask for it every few
// seconds.
func (s *server) summaryOf(v state.View) *summary {
	leader := s.Leader()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil || s.index != v.Index() || s.leader != leader {
		s.last, s.index, s.leader = summarise(v, leader), v.Index(), leader
	}
	return s.last
}

func summarise(v state.View, leader dcos.MasterID) *summary {
	out := summary{Slaves: []slave{}, Frameworks: []framework{}}
	info, _ := v.Cluster()
	out.Cluster = info.Name
	if m, ok := v.Master(leader); ok {
		out.Hostname, _, _ = net.SplitHostPort(m.API)
	}
	// Everything that runs here belongs to the bundled scheduler, which
	// clients of Mesos know as the framework "marathon".
	fw := framework{
		ID: info.ID, Name: "marathon", Hostname: out.Hostname, Active: true, Connected: true, Role: "*",
		Capabilities: []string{}, SlaveIDs: []string{},
	}
	byNode := taskCounts(v)
	for id, c := range byNode {
		if id != "" {
			fw.counts.add(*c)
		}
	}
	var used resource.Set
	for n := range v.Nodes() {
		row := slaveOf(v, n, fw.ID)
		if c := byNode[n.ID]; c != nil {
			row.counts = *c
		}
		if len(row.FrameworkIDs) > 0 {
			fw.SlaveIDs = append(fw.SlaveIDs, row.ID)
		}
		free, _ := v.Free(n.ID)
		u := n.Total.Minus(free)
		u.Ports = nil
		used = used.Plus(u)
		out.Slaves = append(out.Slaves, row)
	}
	fw.Used = resourcesOf(used)
	out.Frameworks = append(out.Frameworks, fw)
	return &out
}

func slaveOf(v state.View, n *dcos.Node, fw string) slave {
	free, _ := v.Free(n.ID)
	host, port, _ := net.SplitHostPort(n.Addr)
	if n.IP != "" {
		host = n.IP
	}
	number, _ := strconv.Atoi(port)
	out := slave{
		ID: string(n.ID), Hostname: n.Hostname, Port: number, PID: "slave(1)@" + net.JoinHostPort(host, port),
		Attributes: map[string]string{}, RegisteredTime: float64(n.CreatedAt) / 1000,
		Resources: resourcesOf(n.Total), Used: resourcesOf(n.Total.Minus(free)), Unreserved: resourcesOf(n.Total),
		Reserved: map[string]resources{}, Active: n.State == dcos.NodeActive, Version: n.Version, Capabilities: []string{}, FrameworkIDs: []string{},
	}
	for k, a := range n.Attributes {
		out.Attributes[k] = a
	}
	if n.Region != "" || n.Zone != "" {
		out.Domain = &domain{}
		out.Domain.FaultDomain.Region.Name, out.Domain.FaultDomain.Zone.Name = n.Region, n.Zone
	}
	for range v.TasksOn(n.ID) {
		out.FrameworkIDs = []string{fw}
		break
	}
	return out
}

func resourcesOf(s resource.Set) resources {
	out := resources{CPUs: s.CPUs.Float(), GPUs: float64(s.GPUs), Mem: s.Mem.Float(), Disk: s.Disk.Float()}
	if len(s.Ports) > 0 {
		out.Ports = ranges(s.Ports)
	}
	return out
}

// ranges are written with both ends also for a single port, as readers expect.
func ranges(rs resource.Ranges) string {
	text := "["
	for i, r := range rs {
		if i > 0 {
			text += ", "
		}
		text += strconv.Itoa(int(r.First)) + "-" + strconv.Itoa(int(r.Last))
	}
	return text + "]"
}

// taskCounts counts tasks, also the ended ones that are kept, by their node.
func taskCounts(v state.View) map[dcos.NodeID]*counts {
	out := map[dcos.NodeID]*counts{}
	for k := range v.Tasks() {
		c := out[k.Node]
		if c == nil {
			c = &counts{}
			out[k.Node] = c
		}
		c.count(k)
	}
	return out
}

func (c *counts) count(k *dcos.Task) {
	if k.Live() && k.Goal == dcos.GoalStop {
		c.Killing++
		return
	}
	switch k.State {
	case dcos.TaskWaiting, dcos.TaskPlaced, dcos.TaskStaging:
		c.Staging++
	case dcos.TaskStarting:
		c.Starting++
	case dcos.TaskRunning:
		c.Running++
	case dcos.TaskFinished:
		c.Finished++
	case dcos.TaskFailed:
		c.Failed++
	case dcos.TaskKilled:
		c.Killed++
	case dcos.TaskError:
		c.Error++
	case dcos.TaskLost:
		c.Lost++
	}
}

func (c *counts) add(o counts) {
	c.Staging += o.Staging
	c.Starting += o.Starting
	c.Running += o.Running
	c.Killing += o.Killing
	c.Finished += o.Finished
	c.Killed += o.Killed
	c.Failed += o.Failed
	c.Lost += o.Lost
	c.Error += o.Error
}
