package marathon

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/dcos-go/dcos/pkg/api"
	"github.com/dcos-go/dcos/pkg/app"
	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

// attempts bounds how often a change is worked out anew because somebody else
// changed the app in between.
const attempts = 5

// options are what the query and the headers of a write say.
type options struct {
	force, partial, dryRun bool
	// ifMatch is the version that the app must have; 0 is any.
	ifMatch dcos.Version
}

func (s *server) options(r *http.Request, force bool) (options, error) {
	o, q := options{}, r.URL.Query()
	var errs [4]error
	o.force, errs[0] = api.Flag(q, "force", force)
	o.partial, errs[1] = api.Flag(q, "partialUpdate", true)
	o.dryRun, errs[2] = api.DryRun(r)
	if tag := r.Header.Get("If-Match"); tag != "" && tag != "*" {
		o.ifMatch, errs[3] = dcos.ParseTime(strings.Trim(tag, `"`))
	}
	return o, errors.Join(errs[:]...)
}

// createApp is POST /v2/apps.
func (s *server) createApp(w http.ResponseWriter, r *http.Request) error {
	o, err := s.options(r, false)
	if err != nil {
		return err
	}
	body, err := api.ReadBody(r)
	if err != nil {
		return err
	}
	a, err := app.Parse(body)
	if err != nil {
		return err
	}
	v, err := s.State.Checked(r, func(v state.View) error {
		if isShown(v, a.ID) {
			return exists(a.ID)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if o.dryRun {
		return s.dryRun(w, v, o, []state.PutApp{{App: a, Mode: state.PutCreate}})
	}
	res, err := s.State.Propose(r, state.PutApp{App: a, Mode: state.PutCreate, Force: o.force})
	var locked state.ErrLocked
	switch {
	case errors.As(err, &locked):
		return err
	case errors.Is(err, dcos.ErrConflict) && isShown(s.State.Feed.View(), a.ID):
		return exists(a.ID)
	case err != nil:
		return err
	}
	item := res.Items[0]
	out := s.created(a, item)
	w.Header().Set("Location", out.ID)
	w.Header().Set("Marathon-Deployment-Id", string(item.Deployment))
	api.WriteJSON(w, http.StatusCreated, out)
	return nil
}

// created is the answer to a creation: the definition as it was accepted, with
// the service ports that were given out.
func (s *server) created(a dcos.App, item state.Item) client.App {
	a.Version = item.Version
	if stored, ok := s.State.Feed.View().AppAt(a.ID, item.Version); ok {
		a = *stored
	}
	out := app.Render(&a)
	out.VersionInfo = nil
	out.AppCounts = &client.AppCounts{}
	out.Deployments = &[]client.DeploymentRef{{ID: string(item.Deployment)}}
	out.Tasks = &[]client.AppTask{}
	return out
}

func exists(id dcos.AppID) error {
	return &fault{http.StatusConflict, fmt.Sprintf("An app with id [%s] already exists.", id), dcos.ErrConflict}
}

func isShown(v state.View, id dcos.AppID) bool {
	_, err := shown(v, id)
	return err == nil
}

// putApp is PUT and PATCH /v2/apps/{id}.
func (s *server) putApp(w http.ResponseWriter, r *http.Request) error {
	path, sub, _ := below(r.PathValue("id"))
	if sub != "" {
		return fmt.Errorf("%w: %s %s", api.ErrMethod, r.Method, r.URL.Path)
	}
	id, err := dcos.ParseAppID(path)
	if err != nil {
		return err
	}
	o, err := s.options(r, false)
	if err != nil {
		return err
	}
	body, err := api.ReadBody(r)
	if err != nil {
		return err
	}
	return s.change(w, r, o, func(v state.View) ([]state.PutApp, error) {
		put, err := planPut(v, id, body, o, r.Method == http.MethodPatch)
		return []state.PutApp{put}, err
	})
}

// putApps is PUT and PATCH /v2/apps: several apps, all or none.
func (s *server) putApps(w http.ResponseWriter, r *http.Request) error {
	o, err := s.options(r, false)
	if err != nil {
		return err
	}
	if o.ifMatch != 0 {
		return badRequest("If-Match names the version of one app: change the apps one by one")
	}
	body, err := api.ReadBody(r)
	if err != nil {
		return err
	}
	var docs []json.RawMessage
	switch err := json.Unmarshal(body, &docs); {
	case err != nil && json.Valid(body):
		return badRequest("expected an array of apps")
	case err != nil:
		return &app.SyntaxError{Text: err.Error()}
	case len(docs) == 0:
		return badRequest("expected an array of at least one app")
	}
	return s.change(w, r, o, func(v state.View) ([]state.PutApp, error) {
		puts := make([]state.PutApp, len(docs))
		for i, doc := range docs {
			if puts[i], err = planOne(v, doc, o, r.Method == http.MethodPatch); err != nil {
				return nil, inArray(i, err)
			}
		}
		return puts, nil
	})
}

func planOne(v state.View, doc []byte, o options, patch bool) (state.PutApp, error) {
	var named struct{ ID *string }
	if err := json.Unmarshal(doc, &named); err != nil || named.ID == nil {
		return state.PutApp{}, &dcos.InvalidFields{Parse: true, Fields: []dcos.FieldError{{Path: "/id", Rule: "error.path.missing"}}}
	}
	id, err := dcos.ParseAppID(*named.ID)
	if err != nil {
		return state.PutApp{}, err
	}
	return planPut(v, id, doc, o, patch)
}

// inArray puts an element's position before the paths of its faults.
func inArray(i int, err error) error {
	var fields *dcos.InvalidFields
	if !errors.As(err, &fields) {
		return err
	}
	out := &dcos.InvalidFields{Parse: fields.Parse}
	for _, f := range fields.Fields {
		out.Fields = append(out.Fields, dcos.FieldError{Path: fmt.Sprintf("(%d)%s", i, f.Path), Rule: f.Rule})
	}
	return out
}

// planPut is what one document asks for, given the present state
// (marathon-api section 1.9).
func planPut(v state.View, id dcos.AppID, doc []byte, o options, patch bool) (state.PutApp, error) {
	put := state.PutApp{Mode: state.PutUpdate, Force: o.force, IfVersion: o.ifMatch}
	row, err := shown(v, id)
	version, restore, rerr := app.Restores(doc)
	switch {
	case rerr != nil:
		return put, rerr
	case err != nil && (patch || restore):
		return put, err
	case err != nil && o.ifMatch != 0:
		return put, errPrecondition(id)
	case err != nil:
		put.Mode = state.PutCreate
		put.App, err = app.ParseAs(id, doc)
		return put, err
	case o.ifMatch != 0 && o.ifMatch != row.App.Version:
		return put, errPrecondition(id)
	case restore:
		stored, ok := v.AppAt(id, version)
		if !ok {
			return put, noVersion(id, version.String())
		}
		put.App = *stored
		return put, nil
	case patch || o.partial:
		put.IfVersion = row.App.Version // what the patch is laid over
		put.App, err = app.Merge(*row.App, doc)
		return put, err
	}
	put.App, err = app.ParseAs(id, doc)
	return put, err
}

// change proposes what plan makes of the present state, anew when the state
// has moved on meanwhile.
func (s *server) change(w http.ResponseWriter, r *http.Request, o options, plan func(state.View) ([]state.PutApp, error)) error {
	for try := 1; ; try++ {
		var puts []state.PutApp
		v, err := s.State.Checked(r, func(v state.View) (err error) {
			puts, err = plan(v)
			return err
		})
		if err != nil {
			return err
		}
		if o.dryRun {
			return s.dryRun(w, v, o, puts)
		}
		cmds := make([]state.Command, len(puts))
		for i, p := range puts {
			cmds[i] = p
		}
		if len(cmds) > 1 {
			cmds = []state.Command{state.All{Commands: cmds}}
		}
		res, err := s.State.Propose(r, cmds...)
		switch {
		case err == nil:
			status := http.StatusOK
			if len(puts) == 1 && puts[0].Mode == state.PutCreate {
				status = http.StatusCreated
				w.Header().Set("Location", string(puts[0].App.ID))
			}
			answer(w, status, res)
			return nil
		case !moved(err):
			return err
		case o.ifMatch != 0:
			return errPrecondition(puts[0].App.ID)
		case try == attempts:
			return err
		}
	}
}

// moved says that a change failed only because the state was not any more as
// it was when the change was worked out.
func moved(err error) bool {
	var locked state.ErrLocked
	return (errors.Is(err, dcos.ErrConflict) || errors.Is(err, dcos.ErrNotFound)) && !errors.As(err, &locked)
}

// answer is the result of every call that starts a deployment.
func answer(w http.ResponseWriter, status int, res state.Result) {
	item := res.Items[0]
	version := item.Version
	if version == 0 {
		version = res.Time
	}
	w.Header().Set("Marathon-Deployment-Id", string(item.Deployment))
	api.WriteJSON(w, status, client.DeploymentResult{Version: version.String(), DeploymentID: string(item.Deployment)})
}

// postBelow is POST /v2/apps/{id}/restart.
func (s *server) postBelow(w http.ResponseWriter, r *http.Request) error {
	path, sub, rest := below(r.PathValue("id"))
	if sub != "restart" || rest != "" {
		return fmt.Errorf("%w: %s %s", api.ErrMethod, r.Method, r.URL.Path)
	}
	id, err := appID(path)
	if err != nil {
		return err
	}
	o, err := s.options(r, false)
	if err != nil {
		return err
	}
	v, err := s.present(r, id)
	if err != nil {
		return err
	}
	row, err := shown(v, id)
	if err != nil {
		return err
	}
	cmd := state.RestartApp{App: id, Force: o.force}
	if o.dryRun {
		return s.tryOut(w, v, o, id, fmt.Sprintf("replace the %d tasks of app %s by new ones", running(v, id), row.App.ID), cmd)
	}
	res, err := s.State.Propose(r, cmd)
	if err != nil {
		return gone(err, id)
	}
	answer(w, http.StatusOK, res)
	return nil
}

// present is the state for a write to an app that must be there.
func (s *server) present(r *http.Request, id dcos.AppID) (state.View, error) {
	return s.State.Checked(r, func(v state.View) error {
		_, err := shown(v, id)
		return err
	})
}

// gone says in Marathon's words that an app went away in between.
func gone(err error, id dcos.AppID) error {
	if errors.Is(err, dcos.ErrNotFound) {
		return noApp(string(id))
	}
	return err
}

// deleteBelow is every DELETE under /v2/apps/.
func (s *server) deleteBelow(w http.ResponseWriter, r *http.Request) error {
	path, sub, rest := below(r.PathValue("id"))
	switch {
	case sub == "tasks":
		return s.killOf(w, r, path, rest)
	case sub != "":
		return fmt.Errorf("%w: %s %s", api.ErrMethod, r.Method, r.URL.Path)
	}
	id, err := appID(path)
	if err != nil {
		return err
	}
	o, err := s.options(r, true)
	if err != nil {
		return err
	}
	if o.ifMatch != 0 {
		return badRequest("If-Match works with PUT and PATCH")
	}
	v, err := s.present(r, id)
	if err != nil {
		return err
	}
	var cmd state.Command = state.DeleteApp{App: id, Force: o.force}
	if _, ok := v.Package(id); ok { // the package goes with its app
		cmd = state.All{Commands: []state.Command{cmd, state.RemovePackage{App: id}}}
	}
	if o.dryRun {
		return s.tryOut(w, v, o, id, fmt.Sprintf("delete app %s and end its %d tasks", id, running(v, id)), cmd)
	}
	res, err := s.State.Propose(r, cmd)
	if err != nil {
		return gone(err, id)
	}
	answer(w, http.StatusOK, res)
	return nil
}
