package state

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/dcos-go/dcos/pkg/dcos"
)

const (
	// maxVersions is how many definitions of an app are kept, besides those
	// that its tasks and its deployment still name.
	maxVersions = 50
	// MaxInstances bounds the instances of one app.
	MaxInstances = 1 << 20

	maxPorts = 1000 // of one app

	// The service ports that are given out, both included.
	firstServicePort, lastServicePort = 10_000, 20_000
)

func checkAppID(id dcos.AppID) error {
	parsed, err := dcos.ParseAppID(string(id))
	if err != nil {
		return err
	}
	if parsed != id {
		return fmt.Errorf("%w: app id %.64q, expected %q", dcos.ErrInvalid, id, parsed)
	}
	return nil
}

// checkApp refuses what would break the arithmetic of the state. What else
// makes a good app is decided where apps are read.
func checkApp(a *dcos.App) error {
	if err := checkAppID(a.ID); err != nil {
		return err
	}
	if err := checkSet(a.Need); err != nil {
		return fmt.Errorf("app %s: %w", a.ID, err)
	}
	switch {
	case a.Need.Ports != nil:
		return fmt.Errorf("%w: app %s: ports are asked for by definitions, not by number", dcos.ErrInvalid, a.ID)
	case a.Instances > MaxInstances:
		return fmt.Errorf("%w: app %s: %d instances, expected at most %d", dcos.ErrInvalid, a.ID, a.Instances, MaxInstances)
	case len(a.Ports) > maxPorts:
		return fmt.Errorf("%w: app %s: %d ports, expected at most %d", dcos.ErrInvalid, a.ID, len(a.Ports), maxPorts)
	case !(a.Upgrade.MinHealth >= 0 && a.Upgrade.MinHealth <= 1 && a.Upgrade.MaxOver >= 0 && a.Upgrade.MaxOver <= 1): // also refuses NaN
		return fmt.Errorf("%w: app %s: the shares of the upgrade strategy are numbers from 0 to 1", dcos.ErrInvalid, a.ID)
	}
	return nil
}

// shown is the row of an app that users see.
func (x *txn) shown(id dcos.AppID) (*AppRow, error) {
	row, ok := x.t.apps.Get(string(id))
	if !ok || row.Deleting {
		return nil, fmt.Errorf("%w: app %s", dcos.ErrNotFound, id)
	}
	return row, nil
}

// setAppRow is the only way to write an app's row; before is nil for a new one.
func (x *txn) setAppRow(before, after *AppRow) {
	put(x, TableApps, &x.t.apps, string(after.App.ID), after)
	x.t.reindexApp(before, after)
}

// reindexApp keeps count of the service ports that definitions name.
func (t *tables) reindexApp(before, after *AppRow) {
	count := func(row *AppRow, by int) {
		for _, p := range row.App.Ports {
			if p.Port < firstServicePort || p.Port > lastServicePort {
				continue
			}
			if n, _ := t.servicePts.Get(p.Port); n+by > 0 {
				t.servicePts.Set(p.Port, n+by)
			} else {
				t.servicePts.Delete(p.Port)
			}
		}
	}
	switch {
	case before == nil:
		t.lastNumber++
		t.numbers.Set(after.App.ID, t.lastNumber)
	case after == nil:
		t.numbers.Delete(before.App.ID)
	case before.App == after.App:
		return
	}
	if after != nil {
		count(after, 1)
	}
	if before != nil {
		count(before, -1)
	}
}

// assignPorts replaces service ports of 0: by those the app had and does not
// name any more, then by the lowest that no app uses.
func (t *tables) assignPorts(a *dcos.App, before *AppRow) error {
	named := map[uint16]bool{}
	for _, p := range a.Ports {
		named[p.Port] = true
	}
	var own []uint16
	if before != nil {
		for _, p := range before.App.Ports {
			if p.Port >= firstServicePort && p.Port <= lastServicePort && !named[p.Port] {
				own = append(own, p.Port)
			}
		}
	}
	a.Ports = slices.Clone(a.Ports)
	next := firstServicePort
	for i := range a.Ports {
		if a.Ports[i].Port != 0 {
			continue
		}
		if len(own) > 0 {
			a.Ports[i].Port, own = own[0], own[1:]
			continue
		}
		for ; next <= lastServicePort; next++ {
			if _, used := t.servicePts.Get(uint16(next)); !used && !named[uint16(next)] {
				break
			}
		}
		if next > lastServicePort {
			return fmt.Errorf("%w: app %s: all service ports from %d to %d are in use: name a port, or remove apps",
				dcos.ErrExhausted, a.ID, firstServicePort, lastServicePort)
		}
		a.Ports[i].Port = uint16(next)
		next++
	}
	return nil
}

// difference is how one definition of an app differs from another.
type difference uint8

const (
	sameAll difference = iota
	otherScale
	otherConfig // everything but the number of instances
)

func compareApps(a, b *dcos.App) difference {
	switch {
	case !bytes.Equal(configOf(a), configOf(b)):
		return otherConfig
	case a.Instances != b.Instances:
		return otherScale
	}
	return sameAll
}

// configOf is what makes two definitions run alike.
func configOf(a *dcos.App) []byte {
	c := *a
	c.Version, c.LastScaling, c.LastConfigChange, c.Instances = 0, 0, 0, 0
	return encodeRow(&c)
}

// newVersion is a stamp above all that the app has had, in this life and in
// those before.
func (x *txn) newVersion(id dcos.AppID) dcos.Version {
	at := x.t.time
	for a := range x.t.appVersions(id) {
		return max(at, a.Version+1)
	}
	if floor, ok := x.t.floors.Get(versionFloor); ok {
		return max(at, floor.Version+1)
	}
	return at
}

// floorRow is a bound for versions of apps that are gone.
type floorRow struct {
	Version dcos.Version `cbor:"1,keyasint"`
}

// valid leaves room for the versions that follow.
func (r *floorRow) valid() bool { return r.Version > 0 && r.Version <= 2*maxTime }

// versionFloor is the key of the highest version of a removed app that an app
// made anew could otherwise get again.
const versionFloor = "versions"

// raiseFloor keeps versions up to one from being given again. Those that
// command time has passed cannot be, so that hardly any removal writes here.
// The first release did not: below level 2 all masters must agree with it.
func (x *txn) raiseFloor(to dcos.Version) {
	if to < x.t.time || x.t.level() < 2 {
		return
	}
	if old, ok := x.t.floors.Get(versionFloor); !ok || old.Version < to {
		put(x, tableFloors, &x.t.floors, versionFloor, &floorRow{Version: to})
	}
}

// putVersion keeps a definition and drops the oldest that nothing names.
func (x *txn) putVersion(a *dcos.App) {
	x.t.versions.Set(a)
	x.note(TableVersions, versionKey(a), nil, a)
	kept := slices.Collect(x.t.appVersions(a.ID))
	if len(kept) <= maxVersions {
		return
	}
	used := map[dcos.Version]bool{}
	for k := range x.t.tasksOf(a.ID) {
		used[k.Version] = true
	}
	if d, ok := x.t.deployOf.Get(a.ID); ok {
		used[d.Before], used[d.Target] = true, true
	}
	if row, ok := x.t.apps.Get(string(a.ID)); ok {
		used[row.App.Version] = true
	}
	for _, old := range kept[maxVersions:] {
		if !used[old.Version] {
			x.removeVersion(old)
		}
	}
}

func (x *txn) removeVersion(a *dcos.App) {
	x.t.versions.Delete(a)
	x.note(TableVersions, versionKey(a), a, nil)
}

func versionKey(a *dcos.App) string { return fmt.Sprintf("%s@%d", a.ID, int64(a.Version)) }

func (x *txn) putApp(c PutApp) Item {
	app := c.App
	row, err := x.checkPut(&c)
	if err != nil {
		return Item{Err: err}
	}
	if err := x.t.assignPorts(&app, row); err != nil {
		return Item{Err: err}
	}
	if row != nil && !row.Deleting && compareApps(row.App, &app) == sameAll {
		return Item{Deployment: x.newDeploymentID(app.ID), Version: row.App.Version}
	}
	if err := x.unlock(app.ID, c.Force); err != nil {
		return Item{Err: err}
	}
	return x.changeApp(row, &app, 0)
}

// checkPut checks a PutApp; its answer is the app's row, nil when it is new.
func (x *txn) checkPut(c *PutApp) (*AppRow, error) {
	id := c.App.ID
	if err := checkApp(&c.App); err != nil {
		return nil, err
	}
	row, exists := x.t.apps.Get(string(id))
	present := exists && !row.Deleting
	switch {
	case c.Mode > PutUpdate:
		return nil, fmt.Errorf("%w: app %s: mode %d", dcos.ErrInvalid, id, c.Mode)
	case c.Mode == PutCreate && present:
		return nil, fmt.Errorf("%w: app %s exists already", dcos.ErrConflict, id)
	case c.Mode == PutUpdate && !present:
		return nil, fmt.Errorf("%w: app %s", dcos.ErrNotFound, id)
	case c.IfVersion != 0 && (!present || row.App.Version != c.IfVersion):
		return nil, fmt.Errorf("%w: app %s is not at version %s any more: read it again", dcos.ErrConflict, id, c.IfVersion)
	case !exists && x.removed[id]:
		return nil, fmt.Errorf("%w: app %s was removed this very moment: try again", dcos.ErrUnavailable, id)
	}
	if err := x.mayTakeRole(row, c.App.Role); err != nil {
		return nil, err
	}
	if _, held := x.t.deployOf.Get(id); exists && !present && !held && !c.Force {
		return nil, fmt.Errorf("%w: app %s is being deleted: wait, or use force", dcos.ErrConflict, id)
	}
	return row, nil
}

// mayTakeRole says why an app cannot have a role; row is nil for a new app. What
// its live tasks hold is booked on the role that it has.
func (x *txn) mayTakeRole(row *AppRow, role dcos.RoleID) error {
	if role == dcos.DefaultRole {
		return fmt.Errorf("%w: role %s is what an app has that names none", dcos.ErrInvalid, role)
	}
	if err := x.t.knowsRole(role); err != nil || row == nil || row.App.Role == role {
		return err
	}
	for k := range x.t.tasksOf(row.App.ID) {
		if k.Live() {
			return fmt.Errorf("%w: app %s has live tasks: its role can only be changed while it has none, scale it to 0 first", dcos.ErrConflict, row.App.ID)
		}
	}
	return nil
}

// changeApp writes a new definition and starts its deployment. Config, unless
// 0, is the moment at which that very configuration was made before.
func (x *txn) changeApp(row *AppRow, app *dcos.App, config dcos.Version) Item {
	app.Version = x.newVersion(app.ID)
	app.LastScaling, app.LastConfigChange = app.Version, app.Version
	if row == nil {
		next := &AppRow{App: app, Incarnation: x.t.index}
		x.putVersion(app)
		x.setAppRow(nil, next)
		return x.deploy(app, 0, dcos.ActionStart, dcos.ActionScale)
	}
	before, action := row.App, dcos.ActionRestart
	next := *row
	next.App, next.Deleting = app, false
	if compareApps(before, app) == otherConfig {
		next.Backoff = BackoffRow{}
		if config != 0 {
			app.LastConfigChange = config
		}
	} else {
		app.LastConfigChange, action = before.LastConfigChange, dcos.ActionScale
	}
	if app.Instances == 0 {
		action = dcos.ActionScale
	}
	item := x.deploy(app, before.Version, action)
	x.putVersion(app)
	x.setAppRow(row, &next)
	return item
}

func (x *txn) restartApp(c RestartApp) Item {
	row, err := x.shown(c.App)
	if err == nil {
		err = x.unlock(c.App, c.Force)
	}
	if err != nil {
		return Item{Err: err}
	}
	app := *row.App
	app.Version = x.newVersion(app.ID)
	app.LastConfigChange = app.Version
	next := *row
	next.App, next.RestartAt, next.Backoff = &app, x.t.index, BackoffRow{}
	action := dcos.ActionRestart
	if app.Instances == 0 {
		action = dcos.ActionScale
	}
	item := x.deploy(&app, row.App.Version, action)
	x.putVersion(&app)
	x.setAppRow(row, &next)
	return item
}

func (x *txn) deleteApp(c DeleteApp) Item {
	row, err := x.shown(c.App)
	if err == nil {
		err = x.unlock(c.App, c.Force)
	}
	if err != nil {
		return Item{Err: err}
	}
	return x.startDelete(row)
}

// startDelete hides an app and starts the deployment that stops its tasks.
func (x *txn) startDelete(row *AppRow) Item {
	next := *row
	next.Deleting = true
	x.setAppRow(row, &next)
	item := x.deploy(row.App, row.App.Version, dcos.ActionStop)
	item.Version = 0
	return item
}

func (x *txn) removeApp(c RemoveApp) error {
	row, ok := x.t.apps.Get(string(c.App))
	switch {
	case !ok:
		return fmt.Errorf("%w: app %s", dcos.ErrNotFound, c.App)
	case !row.Deleting:
		return fmt.Errorf("%w: app %s is not being deleted", dcos.ErrConflict, c.App)
	}
	tasks := slices.Collect(x.t.tasksOf(c.App))
	for _, k := range tasks {
		if k.Live() {
			return fmt.Errorf("%w: task %s of app %s is live", dcos.ErrConflict, k.ID, c.App)
		}
	}
	for _, k := range slices.Concat(tasks, slices.Collect(x.t.endedOf(c.App))) {
		x.removeTask(k)
	}
	for _, a := range slices.Collect(x.t.appVersions(c.App)) {
		x.removeVersion(a)
	}
	if d, ok := x.t.deployOf.Get(c.App); ok {
		x.removeDeployment(d)
	}
	x.raiseFloor(row.App.Version)
	remove(x, TableApps, &x.t.apps, string(c.App))
	x.t.reindexApp(row, nil)
	x.removed[c.App] = true
	return nil
}
