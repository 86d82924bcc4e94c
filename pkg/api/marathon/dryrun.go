package marathon

import (
	"fmt"
	"net/http"

	"github.com/dcos-go/dcos/pkg/api"
	"github.com/dcos-go/dcos/pkg/app"
	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/placement"
	"github.com/dcos-go/dcos/pkg/scheduler"
	"github.com/dcos-go/dcos/pkg/state"
)

// dryRun answers what changes of apps would do. What stands in their way is
// the error that the change itself would give.
func (s *server) dryRun(w http.ResponseWriter, v state.View, o options, puts []state.PutApp) error {
	out := client.DryRun{DryRun: true, Would: []string{}}
	cmds := make([]state.Command, len(puts))
	for i, p := range puts {
		if err := locked(v, p.App.ID, o.force); err != nil {
			return err
		}
		out.Would = append(out.Would, effect(v, &p.App))
		cmds[i] = p
	}
	f, err := scheduler.Try(v, s.State.Time(), cmds...)
	if err != nil {
		return err
	}
	if len(puts) == 1 {
		a := puts[0].App
		shown := app.Render(&a)
		out.App = &shown
		forecast(v, &a, &out)
	}
	api.Foretell(&out, f.Apps)
	api.WriteJSON(w, http.StatusOK, out)
	return nil
}

// tryOut answers a dry run of an act on one app.
func (s *server) tryOut(w http.ResponseWriter, v state.View, o options, id dcos.AppID, would string, cmd state.Command) error {
	if err := locked(v, id, o.force); err != nil {
		return err
	}
	f, err := scheduler.Try(v, s.State.Time(), cmd)
	if err != nil {
		return err
	}
	out := client.DryRun{DryRun: true, Would: []string{would}}
	api.Foretell(&out, f.Apps)
	api.WriteJSON(w, http.StatusOK, out)
	return nil
}

func locked(v state.View, id dcos.AppID, force bool) error {
	if d, ok := v.DeploymentOf(id); ok && !force {
		return state.ErrLocked{App: id, Deployments: []dcos.DeploymentID{d.ID}}
	}
	return nil
}

func running(v state.View, id dcos.AppID) int {
	n := 0
	for k := range v.TasksOf(id) {
		if k.Live() {
			n++
		}
	}
	return n
}

func effect(v state.View, a *dcos.App) string {
	row, err := shown(v, a.ID)
	if err != nil {
		return fmt.Sprintf("create app %s with %d instances", a.ID, a.Instances)
	}
	if before := row.App.Instances; before != a.Instances {
		return fmt.Sprintf("change app %s and scale it from %d to %d instances", a.ID, before, a.Instances)
	}
	return fmt.Sprintf("change app %s and replace its %d tasks where their definition differs", a.ID, running(v, a.ID))
}

// forecast says where one more instance would fit right now.
func forecast(v state.View, a *dcos.App, out *client.DryRun) {
	rules, err := placement.Compile(a.Constraints)
	if err != nil {
		return // the definition was checked
	}
	x := placement.New()
	for n := range v.Nodes() {
		if free, ok := v.Free(n.ID); ok {
			x.Update(n, free)
		}
	}
	req := placement.NewRequest(a, rules)
	e := x.Count(&req)
	out.Nodes, out.Fits = e.Nodes, e.Fit
	if e.Fit > 0 {
		out.Would = append(out.Would, fmt.Sprintf("one instance fits on %d of %d nodes right now", e.Fit, e.Nodes))
	}
}
