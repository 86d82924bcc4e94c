package state

import (
	"fmt"
	"slices"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/resource"
)

// The rows that name others or carry indexes with them.

var clusterKind = rowKind{
	table: TableCluster,
	rows: func(t *tables) int {
		if t.cluster.ID == "" {
			return 0
		}
		return 1
	},
	scan: func(t *tables, yield func(string, any) bool) {
		if t.cluster.ID != "" {
			yield("", &t.cluster)
		}
	},
	read: func(t *tables, _ string, body []byte) (any, error) {
		row, err := decodeRow[dcos.ClusterInfo](body)
		if err != nil {
			return nil, err
		}
		if row.ID == "" || t.cluster.ID != "" {
			return nil, fmt.Errorf("the cluster has one row and an id")
		}
		t.cluster = *row
		return row, nil
	},
}

var reservationKind = rowKind{
	table: TableReservations,
	rows:  func(t *tables) int { return t.reservations.rows.Len() },
	scan: func(t *tables, yield func(string, any) bool) {
		t.reservations.rows.Scan(func(_ string, r *dcos.Reservation) bool { return yield("", r) })
	},
	read: func(t *tables, _ string, body []byte) (any, error) {
		r, err := decodeRow[dcos.Reservation](body)
		if err != nil {
			return nil, err
		}
		n, ok := t.nodes.Get(string(r.Node))
		if !ok {
			return nil, fmt.Errorf("reservation %s is on node %s, which is not there", r.ID, r.Node)
		}
		if !slices.Equal(resource.NewRanges(r.Resources.Ports...), r.Resources.Ports) {
			return nil, fmt.Errorf("reservation %s: ports %s are not sorted, disjoint ranges", r.ID, r.Resources.Ports)
		}
		r.Node = n.ID
		if err := appendRow(&t.reservations, string(r.ID), r); err != nil {
			return nil, err
		}
		t.reindexReservation(nil, r)
		return r, nil
	},
}

var volumeKind = rowKind{
	table: TableVolumes,
	rows:  func(t *tables) int { return t.volumes.rows.Len() },
	scan: func(t *tables, yield func(string, any) bool) {
		t.volumes.rows.Scan(func(_ string, v *dcos.Volume) bool { return yield("", v) })
	},
	read: func(t *tables, _ string, body []byte) (any, error) {
		v, err := decodeRow[dcos.Volume](body)
		if err != nil {
			return nil, err
		}
		r, ok := t.reservations.Get(string(v.Reservation))
		if !ok {
			return nil, fmt.Errorf("volume %s names reservation %s, which is not there", v.ID, v.Reservation)
		}
		v.Reservation, v.Node = r.ID, r.Node
		if err := appendRow(&t.volumes, string(v.ID), v); err != nil {
			return nil, err
		}
		t.reindexVolume(nil, v)
		return v, nil
	},
}

var versionKind = rowKind{
	table: TableVersions,
	rows:  func(t *tables) int { return t.versions.Len() },
	scan: func(t *tables, yield func(string, any) bool) {
		t.versions.Scan(func(a *dcos.App) bool { return yield("", a) })
	},
	read: func(t *tables, _ string, body []byte) (any, error) {
		a, err := decodeRow[dcos.App](body)
		if err != nil {
			return nil, err
		}
		if last, ok := t.versions.Max(); ok {
			if !lessVersion(last, a) {
				return nil, fmt.Errorf("version %s of app %s is not in order", a.Version, a.ID)
			}
			if last.ID == a.ID {
				a.ID = last.ID
			}
		}
		t.versions.Load(a)
		return a, nil
	},
}

var appKind = rowKind{
	table: TableApps,
	rows:  func(t *tables) int { return t.apps.rows.Len() },
	scan: func(t *tables, yield func(string, any) bool) {
		t.apps.rows.Scan(func(_ string, row *AppRow) bool { return yield("", row) })
	},
	read: func(t *tables, _ string, body []byte) (any, error) {
		r, err := decodeRow[appRowWire](body)
		if err != nil {
			return nil, err
		}
		app, ok := t.appAt(r.App, r.Version)
		if !ok {
			return nil, fmt.Errorf("app %s names version %s, which is not there", r.App, r.Version)
		}
		row := &AppRow{
			App: app, Incarnation: r.Incarnation, NextOrdinal: r.NextOrdinal, Deleting: r.Deleting,
			Backoff: r.Backoff, LastFailure: r.LastFailure, RestartAt: r.RestartAt,
		}
		if err := appendRow(&t.apps, string(app.ID), row); err != nil {
			return nil, err
		}
		t.reindexApp(nil, row)
		return row, nil
	},
}

var taskKind = rowKind{
	table: TableTasks,
	rows:  func(t *tables) int { return t.tasks.Len() },
	scan: func(t *tables, yield func(string, any) bool) {
		for k := range t.tasks.All() {
			if !yield("", k) {
				return
			}
		}
	},
	read: func(t *tables, _ string, body []byte) (any, error) {
		k, plain := dcos.ReadTask(body, t.texts)
		if !plain {
			var err error
			if k, err = decodeRow[dcos.Task](body); err != nil {
				return nil, err
			}
		}
		if err := t.share(k); err != nil {
			return nil, err
		}
		n, _ := t.numbers.Get(k.App)
		if twin, ok := t.instances.Get(n, k.Ordinal); ok && !history(k) {
			return nil, fmt.Errorf("tasks %s and %s are both the newest of one instance", t.tasks.At(twin).ID, k.ID)
		}
		s, ok := t.tasks.Load(t.age, k)
		if !ok {
			return nil, fmt.Errorf("key %q is not valid or not in order", string(k.ID))
		}
		t.reindex(nil, k, s)
		return k, nil
	},
}

// share makes a task that was read use the texts that others hold already, and
// checks what it names.
func (t *tables) share(k *dcos.Task) error {
	row, ok := t.apps.Get(string(k.App))
	if !ok {
		return fmt.Errorf("task %s names app %s, which is not there", k.ID, k.App)
	}
	k.App, k.Reason = row.App.ID, shared(k.Reason)
	if k.Node != "" {
		n, ok := t.nodes.Get(string(k.Node))
		switch {
		case ok:
			k.Node = n.ID
		case k.Live():
			return fmt.Errorf("task %s is live on node %s, which is not there", k.ID, k.Node)
		}
	}
	if h := k.Hold; h != nil && k.Live() {
		if r, ok := t.reservations.Get(string(h.Reservation)); !ok || r.Node != k.Node {
			return fmt.Errorf("task %s uses reservation %s, which is not on its node", k.ID, h.Reservation)
		}
		for _, id := range h.Volumes {
			if v, ok := t.volumes.Get(string(id)); !ok || v.Task != k.ID {
				return fmt.Errorf("task %s uses volume %s, which is not its own", k.ID, id)
			}
		}
	}
	if !slices.Equal(resource.NewRanges(k.Need.Ports...), k.Need.Ports) {
		return fmt.Errorf("task %s: ports %s are not sorted, disjoint ranges", k.ID, k.Need.Ports)
	}
	return nil
}

var deploymentKind = rowKind{
	table: TableDeployments,
	rows:  func(t *tables) int { return t.deployments.rows.Len() },
	scan: func(t *tables, yield func(string, any) bool) {
		t.deployments.rows.Scan(func(_ string, d *dcos.Deployment) bool { return yield("", d) })
	},
	read: func(t *tables, _ string, body []byte) (any, error) {
		d, err := decodeRow[dcos.Deployment](body)
		if err != nil {
			return nil, err
		}
		if twin, ok := t.deployOf.Get(d.App); ok {
			return nil, fmt.Errorf("deployments %s and %s both hold app %s", twin.ID, d.ID, d.App)
		}
		t.deployOf.Set(d.App, d)
		return d, appendRow(&t.deployments, string(d.ID), d)
	},
}
