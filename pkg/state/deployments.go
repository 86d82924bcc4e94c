package state

import (
	"fmt"
	"strings"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// ErrLocked says that deployments hold an app. It is a dcos.ErrConflict.
type ErrLocked struct {
	App         dcos.AppID
	Deployments []dcos.DeploymentID
}

// Error names what to wait for.
func (e ErrLocked) Error() string {
	ids := make([]string, len(e.Deployments))
	for i, id := range e.Deployments {
		ids[i] = string(id)
	}
	return fmt.Sprintf("%v: app %s is locked by deployment %s: wait for its end, or use force", dcos.ErrConflict, e.App, strings.Join(ids, ", "))
}

// Unwrap makes it a dcos.ErrConflict.
func (e ErrLocked) Unwrap() error { return dcos.ErrConflict }

// unlock makes sure that no deployment holds an app; force cancels the one
// that does. It comes after all checks that may fail.
func (x *txn) unlock(id dcos.AppID, force bool) error {
	d, held := x.t.deployOf.Get(id)
	switch {
	case !held:
		return nil
	case !force:
		return ErrLocked{App: id, Deployments: []dcos.DeploymentID{d.ID}}
	}
	x.removeDeployment(d)
	return nil
}

// newDeploymentID is unique: index and serial are never together twice.
func (x *txn) newDeploymentID(id dcos.AppID) dcos.DeploymentID {
	x.serial++
	return dcos.NewDeploymentID(id, x.t.index, x.serial)
}

// deploy starts a deployment to a definition.
func (x *txn) deploy(target *dcos.App, before dcos.Version, steps ...dcos.Action) Item {
	d := &dcos.Deployment{
		ID: x.newDeploymentID(target.ID), App: target.ID, Version: target.Version, Steps: steps, Step: 1,
		Target: target.Version, Before: before, StartedAt: x.t.time,
	}
	put(x, TableDeployments, &x.t.deployments, string(d.ID), d)
	x.t.deployOf.Set(d.App, d)
	return Item{Deployment: d.ID, Version: target.Version}
}

func (x *txn) removeDeployment(d *dcos.Deployment) {
	remove(x, TableDeployments, &x.t.deployments, string(d.ID))
	x.t.deployOf.Delete(d.App)
}

func (x *txn) advanceDeployment(c AdvanceDeployment) error {
	old, ok := x.t.deployments.Get(string(c.ID))
	switch {
	case !ok:
		return fmt.Errorf("%w: deployment %s", dcos.ErrNotFound, c.ID)
	case c.Step != old.Step:
		return fmt.Errorf("%w: deployment %s is at step %d, not %d", dcos.ErrConflict, c.ID, old.Step, c.Step)
	case old.Step >= len(old.Steps):
		x.removeDeployment(old)
		return nil
	}
	d := *old
	d.Step++
	put(x, TableDeployments, &x.t.deployments, string(d.ID), &d)
	x.t.deployOf.Set(d.App, &d)
	return nil
}

// cancelDeployment with force leaves everything as it is now; a deletion then
// still goes on, since the app is gone for its users. Without force the
// definition from before comes back under a new version.
func (x *txn) cancelDeployment(c CancelDeployment) Item {
	d, ok := x.t.deployments.Get(string(c.ID))
	if !ok {
		return Item{Err: fmt.Errorf("%w: deployment %s", dcos.ErrNotFound, c.ID)}
	}
	row, ok := x.t.apps.Get(string(d.App))
	if !ok {
		return Item{Err: fmt.Errorf("%w: app %s", dcos.ErrNotFound, d.App)}
	}
	if c.Force {
		x.removeDeployment(d)
		return Item{}
	}
	if d.Before == 0 {
		x.removeDeployment(d)
		return x.startDelete(row)
	}
	if row.Deleting {
		x.removeDeployment(d)
		next := *row
		next.Deleting = false
		x.setAppRow(row, &next)
		return x.deploy(row.App, row.App.Version, dcos.ActionScale)
	}
	before, ok := x.t.appAt(d.App, d.Before)
	if !ok {
		return Item{Err: fmt.Errorf("%w: version %s of app %s", dcos.ErrNotFound, d.Before, d.App)}
	}
	if err := x.mayTakeRole(row, before.Role); err != nil {
		return Item{Err: err}
	}
	x.removeDeployment(d)
	if compareApps(row.App, before) == sameAll { // a restart: there is nothing to go back to
		return Item{Deployment: x.newDeploymentID(d.App), Version: row.App.Version}
	}
	app := *before
	return x.changeApp(row, &app, before.LastConfigChange)
}
