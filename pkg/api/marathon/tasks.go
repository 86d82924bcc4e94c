package marathon

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/dcos-go/dcos/pkg/api"
	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

// listTasks is GET /v2/tasks.
func (s *server) listTasks(w http.ResponseWriter, r *http.Request) error {
	if a := r.Header.Get("Accept"); a == "text/plain" {
		return &fault{http.StatusNotAcceptable, "tasks are written as application/json only", dcos.ErrInvalid}
	}
	v, err := s.State.View(w, r)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	keep := wantedStates(append(q["status"], q["status[]"]...))
	tasks := []client.AppTask{}
	for row := range v.Apps() {
		if row.Deleting {
			continue
		}
		for k := range v.TasksOf(row.App.ID) {
			if k.Live() && keep(k) {
				tasks = append(tasks, renderTask(v, k, true))
			}
		}
	}
	api.WriteJSON(w, http.StatusOK, map[string]any{"tasks": tasks})
	return nil
}

// wantedStates reads the status filter; unknown values are ignored.
func wantedStates(values []string) func(*dcos.Task) bool {
	run, stage := slices.Contains(values, "running"), slices.Contains(values, "staging")
	return func(k *dcos.Task) bool {
		if !run && !stage {
			return true
		}
		return run && k.State == dcos.TaskRunning || stage && k.State < dcos.TaskRunning
	}
}

// victims picks the tasks that a call asks to kill.
type victims func(v state.View) ([]*dcos.Task, error)

// killOf is DELETE /v2/apps/{id}/tasks[/{task}].
func (s *server) killOf(w http.ResponseWriter, r *http.Request, path, task string) error {
	id, err := appID(path)
	if err != nil && task == "" {
		return err
	}
	if task != "" {
		return s.kill(w, r, true, func(v state.View) ([]*dcos.Task, error) {
			// The task's id is enough: a client that derives the app's id
			// from it may get that wrong.
			k, ok := v.Task(dcos.TaskID(task))
			if ok && k.Live() {
				return []*dcos.Task{k}, nil
			}
			if !isShown(v, id) {
				return nil, noApp("/" + strings.Trim(path, "/"))
			}
			return nil, &fault{http.StatusNotFound, fmt.Sprintf("Task '%s' does not exist", task), dcos.ErrNotFound}
		})
	}
	host := r.URL.Query().Get("host")
	return s.kill(w, r, false, func(v state.View) ([]*dcos.Task, error) {
		if _, err := shown(v, id); err != nil {
			return nil, err
		}
		var out []*dcos.Task
		for k := range v.TasksOf(id) {
			n, _ := v.Node(k.Node)
			if k.Live() && (host == "" || host == "*" || n != nil && n.Hostname == host) {
				out = append(out, k)
			}
		}
		return out, nil
	})
}

// killTasks is POST /v2/tasks/delete.
func (s *server) killTasks(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		IDs []string `json:"ids"`
	}
	if err := api.ReadJSON(r, &body); err != nil {
		return err
	}
	for _, id := range body.IDs {
		if id == "" || len(id) > 1024 || strings.ContainsAny(id, "/ \x00") {
			return badRequest("task id %.80q cannot be read", id)
		}
	}
	return s.kill(w, r, false, func(v state.View) ([]*dcos.Task, error) {
		var out []*dcos.Task
		for _, id := range body.IDs {
			if k, ok := v.Task(dcos.TaskID(id)); ok && k.Live() && !slices.Contains(out, k) {
				out = append(out, k)
			}
		}
		return out, nil
	})
}

// kill ends tasks. Each instance goes on with a new task, unless scale, which
// makes the apps smaller, or wipe, which makes a new instance.
func (s *server) kill(w http.ResponseWriter, r *http.Request, one bool, pick victims) error {
	o, err := s.options(r, false)
	if err != nil {
		return err
	}
	scale, err1 := api.Flag(r.URL.Query(), "scale", false)
	wipe, err2 := api.Flag(r.URL.Query(), "wipe", false)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if scale && wipe {
		return badRequest("You cannot use scale and wipe at the same time.")
	}
	for try := 1; ; try++ {
		v := s.State.Feed.View()
		tasks, err := pick(v)
		if err != nil {
			return err
		}
		shown := make([]client.AppTask, len(tasks))
		ids := make([]dcos.TaskID, len(tasks))
		for i, k := range tasks {
			shown[i], ids[i] = renderTask(v, k, false), k.ID
		}
		if o.dryRun {
			api.WriteJSON(w, http.StatusOK, client.DryRun{DryRun: true, Would: []string{fmt.Sprintf("end %d tasks", len(tasks))}})
			return nil
		}
		stop := state.StopTasks{Tasks: ids, Final: scale || wipe, Message: "killed by " + api.PrincipalOf(r.Context()).ID}
		if scale && len(tasks) > 0 {
			res, err := s.State.Propose(r, state.All{Commands: append(smaller(v, tasks, o.force), stop)})
			if err != nil && moved(err) && try < attempts {
				continue
			}
			if err != nil {
				return err
			}
			answer(w, http.StatusOK, res)
			return nil
		}
		if len(tasks) > 0 {
			// A task that ended by itself meanwhile is no error.
			if _, err := s.State.Propose(r, stop); err != nil {
				return err
			}
		}
		if one {
			api.WriteJSON(w, http.StatusOK, map[string]any{"task": shown[0]})
		} else {
			api.WriteJSON(w, http.StatusOK, map[string]any{"tasks": shown})
		}
		return nil
	}
}

// smaller lowers the instances of each app by the number of its victims that
// are not being killed already.
func smaller(v state.View, tasks []*dcos.Task, force bool) []state.Command {
	less := map[dcos.AppID]uint32{}
	for _, k := range tasks {
		if k.Goal != dcos.GoalStop {
			less[k.App]++
		}
	}
	var out []state.Command
	for _, id := range slices.Sorted(maps.Keys(less)) {
		row, err := shown(v, id)
		if err != nil {
			continue
		}
		a := *row.App
		a.Instances -= min(a.Instances, less[id])
		out = append(out, state.PutApp{App: a, Mode: state.PutUpdate, IfVersion: row.App.Version, Force: force})
	}
	return out
}
