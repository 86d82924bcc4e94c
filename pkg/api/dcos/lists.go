package dcos

import (
	"fmt"
	"math"
	"net/http"
	"strings"

	"github.com/dcos-go/dcos/pkg/api"
	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

// column makes a column of texts, number one of numbers.
func text[T any](f func(T) string) api.Column[T]    { return api.Column[T]{Text: f} }
func number[T any](f func(T) float64) api.Column[T] { return api.Column[T]{Number: f} }

var nodeColumns = map[string]api.Column[client.Node]{
	"id":       text(func(n client.Node) string { return n.ID }),
	"hostname": text(func(n client.Node) string { return n.Hostname }),
	"ip":       text(func(n client.Node) string { return n.IP }),
	"state":    text(func(n client.Node) string { return n.State }),
	"region":   text(func(n client.Node) string { return n.Region }),
	"zone":     text(func(n client.Node) string { return n.Zone }),
	"tasks":    number(func(n client.Node) float64 { return float64(n.Tasks) }),
	"cpus":     number(func(n client.Node) float64 { return n.Free.CPUs }),
	"mem":      number(func(n client.Node) float64 { return n.Free.Mem }),
	"disk":     number(func(n client.Node) float64 { return n.Free.Disk }),
	"gpus":     number(func(n client.Node) float64 { return float64(n.Free.GPUs) }),
}

var taskColumns = map[string]api.Column[client.Task]{
	"id":       text(func(k client.Task) string { return k.ID }),
	"app":      text(func(k client.Task) string { return k.App }),
	"state":    text(func(k client.Task) string { return k.State }),
	"node":     text(func(k client.Task) string { return k.Node }),
	"hostname": text(func(k client.Task) string { return k.Hostname }),
	"created":  text(func(k client.Task) string { return k.CreatedAt }),
	"started":  text(func(k client.Task) string { return k.StartedAt }),
	"ended":    text(func(k client.Task) string { return k.EndedAt }),
	"attempt":  number(func(k client.Task) float64 { return float64(k.Attempt) }),
	"cpus":     number(func(k client.Task) float64 { return k.Need.CPUs }),
	"mem":      number(func(k client.Task) float64 { return k.Need.Mem }),
}

var serviceColumns = map[string]api.Column[client.Service]{
	"id":        text(func(s client.Service) string { return s.ID }),
	"state":     text(func(s client.Service) string { return s.State }),
	"package":   text(func(s client.Service) string { return s.Package }),
	"version":   text(func(s client.Service) string { return s.Version }),
	"instances": number(func(s client.Service) float64 { return float64(s.Instances) }),
	"running":   number(func(s client.Service) float64 { return float64(s.Running) }),
	"waiting":   number(func(s client.Service) float64 { return float64(s.Waiting) }),
	"cpus":      number(func(s client.Service) float64 { return s.Need.CPUs }),
	"mem":       number(func(s client.Service) float64 { return s.Need.Mem }),
}

var eventColumns = map[string]api.Column[client.Event]{
	"topic": text(func(e client.Event) string { return e.Topic }),
	"key":   text(func(e client.Event) string { return e.Key }),
	"by":    text(func(e client.Event) string { return e.By }),
	"time":  text(func(e client.Event) string { return e.Time }),
	"text":  text(func(e client.Event) string { return e.Text }),
}

// page answers a list: rows makes all of them of a view.
func page[T any](s *server, w http.ResponseWriter, r *http.Request, rows func(state.View) []T, key func(T) string, columns map[string]api.Column[T]) error {
	v, err := s.State.View(w, r)
	if err != nil {
		return err
	}
	list, err := api.Page(r.URL.Query(), v.Index(), rows(v), key, columns)
	if err != nil {
		return err
	}
	api.WriteJSON(w, http.StatusOK, list)
	return nil
}

func (s *server) nodeRows(v state.View) []client.Node {
	var out []client.Node
	for n := range v.Nodes() {
		out = append(out, s.nodeRow(v, n))
	}
	return out
}

func (s *server) node(w http.ResponseWriter, r *http.Request) error {
	v, err := s.State.View(w, r)
	if err != nil {
		return err
	}
	n, ok := v.Node(dcos.NodeID(r.PathValue("id")))
	if !ok {
		return fmt.Errorf("node %.80q: %w", r.PathValue("id"), dcos.ErrNotFound)
	}
	row := s.nodeRow(v, n)
	if api.AsksForPast(r) {
		row.Usage = nil // it is that of now
	}
	api.WriteJSON(w, http.StatusOK, row)
	return nil
}

func (s *server) tasks(w http.ResponseWriter, r *http.Request) error {
	return page(s, w, r, taskRows, func(k client.Task) string { return k.ID }, taskColumns)
}

func taskRows(v state.View) []client.Task {
	var out []client.Task
	for k := range v.Tasks() {
		out = append(out, taskRow(v, k))
	}
	return out
}

func findTask(v state.View, r *http.Request) (*dcos.Task, error) {
	k, ok := v.Task(dcos.TaskID(r.PathValue("id")))
	if !ok {
		return nil, fmt.Errorf("task %.120q: %w", r.PathValue("id"), dcos.ErrNotFound)
	}
	return k, nil
}

func (s *server) task(w http.ResponseWriter, r *http.Request) error {
	v, err := s.State.View(w, r)
	if err != nil {
		return err
	}
	k, err := findTask(v, r)
	if err != nil {
		return err
	}
	api.WriteJSON(w, http.StatusOK, taskRow(v, k))
	return nil
}

// killTask ends a task; its instance goes on with a new one.
func (s *server) killTask(w http.ResponseWriter, r *http.Request) error {
	dry, err := api.DryRun(r)
	if err != nil {
		return err
	}
	v := s.State.Feed.View()
	k, err := findTask(v, r)
	switch {
	case err != nil:
		return err
	case k.State.Terminal():
		return fmt.Errorf("task %s has ended already: %w", k.ID, dcos.ErrConflict)
	case dry:
		return dryRun(w, fmt.Sprintf("end task %s; app %s replaces it", k.ID, k.App))
	}
	res, err := s.State.Propose(r, state.StopTasks{Tasks: []dcos.TaskID{k.ID}, Message: "killed by " + api.PrincipalOf(r.Context()).ID})
	if err != nil {
		return err
	}
	if each := res.Items[0].Each; len(each) > 0 && each[0] != nil {
		return each[0]
	}
	v = s.State.Feed.View()
	if now, ok := v.Task(k.ID); ok {
		k = now
	}
	api.WriteJSON(w, http.StatusOK, taskRow(v, k))
	return nil
}

func (s *server) services(w http.ResponseWriter, r *http.Request) error {
	return page(s, w, r, serviceRows, func(s client.Service) string { return s.ID }, serviceColumns)
}

func serviceRows(v state.View) []client.Service {
	var out []client.Service
	for row := range v.Apps() {
		out = append(out, serviceRow(v, row))
	}
	return out
}

func (s *server) service(w http.ResponseWriter, r *http.Request) error {
	id, err := dcos.ParseAppID(r.PathValue("id"))
	if err != nil {
		return err
	}
	v, err := s.State.View(w, r)
	if err != nil {
		return err
	}
	row, ok := v.App(id)
	if !ok {
		return fmt.Errorf("service %s: %w", id, dcos.ErrNotFound)
	}
	api.WriteJSON(w, http.StatusOK, serviceRow(v, row))
	return nil
}

func (s *server) deployments(w http.ResponseWriter, r *http.Request) error {
	return page(s, w, r, deploymentRows, func(d client.DeploymentInfo) string { return d.ID }, map[string]api.Column[client.DeploymentInfo]{
		"app":     text(func(d client.DeploymentInfo) string { return strings.Join(d.AffectedApps, " ") }),
		"version": text(func(d client.DeploymentInfo) string { return d.Version }),
	})
}

func deploymentRows(v state.View) []client.DeploymentInfo {
	var out []client.DeploymentInfo
	for d := range v.Deployments() {
		out = append(out, deploymentRow(d))
	}
	return out
}

func (s *server) packages(w http.ResponseWriter, r *http.Request) error {
	return page(s, w, r, packageRows, func(p client.InstalledPackage) string { return p.App }, map[string]api.Column[client.InstalledPackage]{
		"app":     text(func(p client.InstalledPackage) string { return p.App }),
		"name":    text(func(p client.InstalledPackage) string { return p.Name }),
		"version": text(func(p client.InstalledPackage) string { return p.Version }),
	})
}

func packageRows(v state.View) []client.InstalledPackage {
	var out []client.InstalledPackage
	for p := range v.Packages() {
		out = append(out, packageRow(p))
	}
	return out
}

// events are the writes through the APIs, newest first.
func (s *server) events(w http.ResponseWriter, r *http.Request) error {
	key := func(e client.Event) string { return fmt.Sprintf("%016x %s %s", math.MaxUint64-e.Seq, e.Key, e.Text) }
	return page(s, w, r, auditRows, key, eventColumns)
}

func auditRows(v state.View) []client.Event {
	var out []client.Event
	for a := range v.Audit() {
		out = append(out, client.Event{
			Seq: uint64(a.Index), Time: a.Time.String(), Topic: topicOfAct(a.Act), Op: "upsert", Key: a.Subject, By: a.Principal,
			Text: a.Principal + ": " + strings.ReplaceAll(a.Act, "-", " ") + " " + a.Subject,
		})
	}
	return out
}

func topicOfAct(act string) string {
	switch {
	case strings.Contains(act, "app") || act == "reset-backoff":
		return "services"
	case strings.Contains(act, "task"):
		return "tasks"
	case strings.Contains(act, "deployment"):
		return "deployments"
	case strings.Contains(act, "package"):
		return "packages"
	case strings.Contains(act, "node"):
		return "nodes"
	}
	return "cluster"
}
