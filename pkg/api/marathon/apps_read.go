package marathon

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/dcos-go/dcos/pkg/api"
	"github.com/dcos-go/dcos/pkg/app"
	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

// listApps is GET /v2/apps.
func (s *server) listApps(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	selected, err := selector(q.Get("label"))
	if err != nil {
		return err
	}
	v, err := s.State.View(w, r)
	if err != nil {
		return err
	}
	id, cmd, e := strings.ToLower(q.Get("id")), strings.ToLower(q.Get("cmd")), embeds(q["embed"])
	apps := []client.App{}
	for row := range v.Apps() {
		a := row.App
		if row.Deleting || !strings.Contains(strings.ToLower(string(a.ID)), id) ||
			!strings.Contains(strings.ToLower(a.Cmd), cmd) || !selected(a.Labels) {
			continue
		}
		apps = append(apps, renderApp(v, row, e))
	}
	api.WriteJSON(w, http.StatusOK, map[string]any{"apps": apps})
	return nil
}

// getBelow is every GET under /v2/apps/.
func (s *server) getBelow(w http.ResponseWriter, r *http.Request) error {
	path, sub, rest := below(r.PathValue("id"))
	v, err := s.State.View(w, r)
	if err != nil {
		return err
	}
	if group, ok := strings.CutSuffix("/"+path, "/*"); ok {
		return s.getGroupApps(w, r, v, group, sub)
	}
	id, err := appID(path)
	if err != nil {
		return err
	}
	row, err := shown(v, id)
	if err != nil {
		return err
	}
	switch sub {
	case "":
		w.Header().Set("ETag", strconv.Quote(row.App.Version.String()))
		api.WriteJSON(w, http.StatusOK, map[string]any{"app": renderApp(v, row, embed{tasks: true, failure: true})})
	case "tasks":
		if rest != "" {
			return fmt.Errorf("%w: a task is read as a part of /v2/apps%s/tasks", api.ErrMethod, id)
		}
		api.WriteJSON(w, http.StatusOK, map[string]any{"tasks": liveTasks(v, id)})
	case "versions":
		return s.getVersions(w, v, row, rest)
	default:
		w.Header().Set("Allow", http.MethodPost)
		return fmt.Errorf("%w: %s", api.ErrMethod, sub)
	}
	return nil
}

func (s *server) getGroupApps(w http.ResponseWriter, r *http.Request, v state.View, group, sub string) error {
	apps, tasks := []client.App{}, []client.AppTask{}
	for row := range v.Apps() {
		if row.Deleting || !strings.HasPrefix(string(row.App.ID), group+"/") {
			continue
		}
		if sub == "tasks" {
			tasks = append(tasks, liveTasks(v, row.App.ID)...)
		} else {
			apps = append(apps, renderApp(v, row, embeds(r.URL.Query()["embed"])))
		}
	}
	switch sub {
	case "":
		api.WriteJSON(w, http.StatusOK, map[string]any{"*": apps})
	case "tasks":
		api.WriteJSON(w, http.StatusOK, map[string]any{"tasks": tasks})
	default:
		return noApp(group + "/*")
	}
	return nil
}

func liveTasks(v state.View, id dcos.AppID) []client.AppTask {
	out := []client.AppTask{}
	for k := range v.TasksOf(id) {
		if k.Live() {
			out = append(out, renderTask(v, k, false))
		}
	}
	return out
}

func (s *server) getVersions(w http.ResponseWriter, v state.View, row *state.AppRow, at string) error {
	if at == "" {
		versions := []string{}
		for a := range v.AppVersions(row.App.ID) {
			versions = append(versions, a.Version.String())
		}
		api.WriteJSON(w, http.StatusOK, map[string]any{"versions": versions})
		return nil
	}
	version, err := dcos.ParseTime(at)
	if err != nil {
		return err
	}
	a, ok := v.AppAt(row.App.ID, version)
	if !ok {
		return noVersion(row.App.ID, at)
	}
	api.WriteJSON(w, http.StatusOK, app.Render(a))
	return nil
}
