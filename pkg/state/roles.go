package state

import (
	"fmt"
	"slices"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/resource"
)

const (
	maxRoles  = 10_000
	maxWeight = 1_000_000_000
	// defaultWeight is the weight of a role that says none.
	defaultWeight = 1000
)

func (x *txn) putRole(c PutRole) error {
	id, err := dcos.ParseRoleID(string(c.Role))
	switch {
	case err != nil:
		return err
	case c.Weight > maxWeight:
		return fmt.Errorf("%w: role %s: weight %d thousandths, expected at most %d", dcos.ErrInvalid, id, c.Weight, maxWeight)
	}
	row := dcos.RoleInfo{ID: id, CreatedAt: x.t.time}
	if old, ok := x.t.roles.Get(string(id)); ok {
		row = *old
	} else if err := x.mayAddRole(id); err != nil {
		return err
	}
	row.Weight = c.Weight
	if row.Weight == 0 {
		row.Weight = defaultWeight
	}
	put(x, TableRoles, &x.t.roles, string(id), &row)
	return nil
}

func (x *txn) mayAddRole(id dcos.RoleID) error {
	if x.t.roles.rows.Len() >= maxRoles {
		return fmt.Errorf("%w: there are %d roles, which is the most: remove some", dcos.ErrExhausted, maxRoles)
	}
	if up := id.Parent(); up != "" {
		return x.t.knowsRole(up)
	}
	return nil
}

// knowsRole says whether a role may be named.
func (t *tables) knowsRole(id dcos.RoleID) error {
	if id == dcos.DefaultRole || id == "" {
		return nil
	}
	if _, ok := t.roles.Get(string(id)); !ok {
		return fmt.Errorf("%w: role %s: create it first", dcos.ErrNotFound, id)
	}
	return nil
}

func (x *txn) removeRole(c RemoveRole) error {
	if _, ok := x.t.roles.Get(string(c.Role)); !ok {
		return fmt.Errorf("%w: role %s", dcos.ErrNotFound, c.Role)
	}
	if c.Role != dcos.DefaultRole { // that one exists without a row too
		if err := x.t.roleInUse(c.Role); err != nil {
			return err
		}
	}
	remove(x, TableRoles, &x.t.roles, string(c.Role))
	return nil
}

// roleInUse says who needs a role.
func (t *tables) roleInUse(id dcos.RoleID) error {
	var below dcos.RoleID
	first := string(id) + "/"
	t.roles.rows.Ascend(first, func(key string, row *dcos.RoleInfo) bool {
		if id.Covers(row.ID) {
			below = row.ID
		}
		return false
	})
	if below != "" {
		return fmt.Errorf("%w: role %s has role %s below it: remove that first", dcos.ErrConflict, id, below)
	}
	for row := range t.apps.All() {
		if row.App.Role == id {
			return fmt.Errorf("%w: role %s is that of app %s: delete the app first", dcos.ErrConflict, id, row.App.ID)
		}
	}
	for r := range t.reservations.All() {
		if r.Role == id {
			return fmt.Errorf("%w: reservation %s on node %s is for role %s: give it up first", dcos.ErrConflict, r.ID, r.Node, id)
		}
	}
	return nil
}

func checkQuota(q dcos.Quota) error {
	if q.Guarantee.Ports != nil {
		return fmt.Errorf("%w: ports cannot be guaranteed: they belong to nodes", dcos.ErrInvalid)
	}
	if err := checkSet(q.Guarantee); err != nil {
		return err
	}
	for _, l := range []*resource.Scalar{q.Limit.CPUs, q.Limit.Mem, q.Limit.Disk} {
		if l != nil && (*l < 0 || *l > resource.MaxScalar) {
			return fmt.Errorf("%w: limit %s, expected 0 to %s", dcos.ErrInvalid, *l, resource.MaxScalar)
		}
	}
	if l := q.Limit.GPUs; l != nil && (*l < 0 || *l > maxGPUs) {
		return fmt.Errorf("%w: limit of %d gpus, expected 0 to %d", dcos.ErrInvalid, *l, maxGPUs)
	}
	if kind, over := q.Limit.Exceeded(q.Guarantee); over {
		return fmt.Errorf("%w: the guarantee of %s is more than the limit", dcos.ErrInvalid, kind)
	}
	return nil
}

// putQuota is all or nothing. Force sets a limit below what is consumed, and a
// guarantee that the cluster cannot give.
func (x *txn) putQuota(c PutQuota) error {
	old, ok := x.t.roles.Get(string(c.Role))
	if !ok {
		return fmt.Errorf("%w: role %s: create it first", dcos.ErrNotFound, c.Role)
	}
	if err := checkQuota(c.Quota); err != nil {
		return fmt.Errorf("quota of role %s: %w", c.Role, err)
	}
	u, _ := x.t.roleUse.Get(c.Role)
	kind, over := c.Quota.Limit.Exceeded(u.consumed().set())
	if over && !c.Force {
		return fmt.Errorf("%w: role %s consumes %s, which is over the limit of %s: free some, or force it",
			dcos.ErrConflict, c.Role, u.consumed().set(), kind)
	}
	if !c.Force {
		if err := x.t.guaranteesFit(c.Role, c.Quota.Guarantee); err != nil {
			return err
		}
	}
	row := *old
	row.Quota, row.Forced = c.Quota, over
	put(x, TableRoles, &x.t.roles, string(row.ID), &row)
	return nil
}

// guaranteesFit compares what all roles at the top would be guaranteed with
// what the nodes have that are not lost. What is guaranteed to a role below
// another is part of what the upper one gets.
func (t *tables) guaranteesFit(role dcos.RoleID, guarantee resource.Set) error {
	if guarantee.IsZero() {
		return nil
	}
	sum := amountsOf(guarantee)
	for r := range t.roles.All() {
		if r.ID != role && r.ID.Parent() == role.Parent() {
			sum = sum.plus(amountsOf(r.Quota.Guarantee))
		}
	}
	var have amounts
	if up := role.Parent(); up != "" {
		info, _ := t.roles.Get(string(up)) // a role is never there without the one above
		have = amountsOf(info.Quota.Guarantee)
	} else {
		for n := range t.nodes.All() {
			if n.State != dcos.NodeLost {
				have = have.plus(amountsOf(n.Total))
			}
		}
	}
	if kind, lacks := sum.set().Lacking(have.set()); lacks {
		return fmt.Errorf("%w: the guarantees of role %s and its siblings come to %s, there is only %s: too little %s; lower them, or force it",
			dcos.ErrConflict, role, sum.set(), have.set(), kind)
	}
	return nil
}

const (
	maxLabels       = 256 // of a reservation
	maxReservations = 1 << 18
	maxVolumes      = 1 << 18
)

func checkReservation(r *dcos.Reservation) error {
	if r.ID == "" || len(r.ID) > maxName || len(r.Principal) > maxName || len(r.Labels) > maxLabels {
		return fmt.Errorf("%w: a reservation has an id and a principal of at most %d bytes, and at most %d labels", dcos.ErrInvalid, maxName, maxLabels)
	}
	for k, v := range r.Labels {
		if len(k) > maxName || len(v) > maxName {
			return fmt.Errorf("%w: reservation %s: labels and their values have at most %d bytes", dcos.ErrInvalid, r.ID, maxName)
		}
	}
	if r.Resources.IsZero() {
		return fmt.Errorf("%w: reservation %s reserves nothing", dcos.ErrInvalid, r.ID)
	}
	if err := checkSet(r.Resources); err != nil {
		return fmt.Errorf("reservation %s: %w", r.ID, err)
	}
	if r.Role == "" || r.Role == dcos.DefaultRole {
		return fmt.Errorf("%w: reservation %s: everybody's role %s cannot reserve", dcos.ErrInvalid, r.ID, dcos.DefaultRole)
	}
	return nil
}

func (x *txn) reserve(c Reserve) error {
	r := c.Reservation
	if err := checkReservation(&r); err != nil {
		return err
	}
	if err := x.t.knowsRole(r.Role); err != nil {
		return err
	}
	n, ok := x.t.nodes.Get(string(r.Node))
	switch {
	case !ok || n.State == dcos.NodeRemoved:
		return fmt.Errorf("%w: node %s", dcos.ErrNotFound, r.Node)
	case n.State == dcos.NodeLost:
		return fmt.Errorf("%w: node %s is lost", dcos.ErrConflict, r.Node)
	}
	if old, ok := x.t.reservations.Get(string(r.ID)); ok {
		return fmt.Errorf("%w: reservation %s exists already, on node %s", dcos.ErrConflict, r.ID, old.Node)
	}
	if x.t.reservations.rows.Len() >= maxReservations {
		return fmt.Errorf("%w: there are %d reservations, which is the most", dcos.ErrExhausted, maxReservations)
	}
	load := x.t.load(n.ID)
	if load.Ports.Overlaps(r.Resources.Ports) {
		return fmt.Errorf("%w: node %s: a port of %s is in use or reserved", dcos.ErrConflict, n.ID, r.Resources.Ports)
	}
	if kind, lacks := r.Resources.Lacking(n.Total.Minus(load)); lacks {
		return fmt.Errorf("%w: node %s has too little %s that is neither used nor reserved", dcos.ErrExhausted, n.ID, kind)
	}
	if err := x.t.withinQuota(r.Role, r.Resources); err != nil {
		return err
	}
	r.Node, r.CreatedAt = n.ID, x.t.time
	x.setReservation(nil, &r)
	return nil
}

// setReservation is the only way to write a reservation; nil is none.
func (x *txn) setReservation(before, after *dcos.Reservation) {
	if after == nil {
		remove(x, TableReservations, &x.t.reservations, string(before.ID))
	} else {
		put(x, TableReservations, &x.t.reservations, string(after.ID), after)
	}
	x.t.reindexReservation(before, after)
	if before != nil {
		x.t.markShrunk(before.Node)
	}
}

// unreserve gives back all, or the part that is named; never what is used.
func (x *txn) unreserve(c Unreserve) error {
	old, ok := x.t.reservations.Get(string(c.ID))
	if !ok {
		return fmt.Errorf("%w: reservation %s", dcos.ErrNotFound, c.ID)
	}
	u, _ := x.t.resUse.Get(c.ID)
	if c.Resources.IsZero() {
		if u != (reservationUse{}) {
			return fmt.Errorf("%w: reservation %s is used by %d tasks and %d volumes: end and destroy them first", dcos.ErrConflict, c.ID, u.tasks, u.volumes)
		}
		x.setReservation(old, nil)
		return nil
	}
	if err := checkSet(c.Resources); err != nil {
		return fmt.Errorf("reservation %s: %w", c.ID, err)
	}
	if kind, lacks := c.Resources.Lacking(old.Resources); lacks {
		return fmt.Errorf("%w: reservation %s has less %s than that", dcos.ErrInvalid, c.ID, kind)
	}
	next := *old
	next.Resources = old.Resources.Minus(c.Resources)
	needed := u.used
	needed.disk += u.size
	if kind, lacks := needed.set().Lacking(next.Resources); lacks {
		return fmt.Errorf("%w: so much %s of reservation %s is used by tasks and volumes", dcos.ErrConflict, kind, c.ID)
	}
	if next.Resources.IsZero() {
		x.setReservation(old, nil)
	} else {
		x.setReservation(old, &next)
	}
	return nil
}

func (x *txn) createVolume(c CreateVolume) error {
	v := c.Volume
	if v.ID == "" || len(v.ID) > maxName || len(v.Principal) > maxName || v.Size <= 0 || v.Size > resource.MaxScalar {
		return fmt.Errorf("%w: a volume has an id and a principal of at most %d bytes, and a size", dcos.ErrInvalid, maxName)
	}
	if old, ok := x.t.volumes.Get(string(v.ID)); ok {
		return fmt.Errorf("%w: volume %s exists already, on node %s", dcos.ErrConflict, v.ID, old.Node)
	}
	r, ok := x.t.reservations.Get(string(v.Reservation))
	switch {
	case !ok:
		return fmt.Errorf("%w: reservation %s", dcos.ErrNotFound, v.Reservation)
	case x.t.volumes.rows.Len() >= maxVolumes:
		return fmt.Errorf("%w: there are %d volumes, which is the most", dcos.ErrExhausted, maxVolumes)
	}
	if err := x.t.diskLeft(r, v.Size); err != nil {
		return err
	}
	v.Reservation, v.Node, v.CreatedAt, v.Task, v.Epoch = r.ID, r.Node, x.t.time, "", 0
	x.setVolume(nil, &v)
	return nil
}

// diskLeft says why a reservation has no room for a volume, nil when it has.
func (t *tables) diskLeft(r *dcos.Reservation, size resource.Scalar) error {
	u, _ := t.resUse.Get(r.ID)
	if left := r.Resources.Disk - u.used.disk - u.size; size > left {
		return fmt.Errorf("%w: reservation %s has %s MiB of disk left, not %s", dcos.ErrExhausted, r.ID, left, size)
	}
	return nil
}

// setVolume is the only way to write a volume; nil is none.
func (x *txn) setVolume(before, after *dcos.Volume) {
	if after == nil {
		remove(x, TableVolumes, &x.t.volumes, string(before.ID))
	} else {
		put(x, TableVolumes, &x.t.volumes, string(after.ID), after)
	}
	x.t.reindexVolume(before, after)
}

func (x *txn) volume(id dcos.VolumeID) (*dcos.Volume, error) {
	v, ok := x.t.volumes.Get(string(id))
	switch {
	case !ok:
		return nil, fmt.Errorf("%w: volume %s", dcos.ErrNotFound, id)
	case v.Task != "":
		return nil, fmt.Errorf("%w: volume %s is in use by task %s", dcos.ErrConflict, id, v.Task)
	}
	return v, nil
}

func (x *txn) resizeVolume(c ResizeVolume) error {
	old, err := x.volume(c.ID)
	if err != nil {
		return err
	}
	if c.Size <= 0 || c.Size > resource.MaxScalar {
		return fmt.Errorf("%w: volume %s: size %s", dcos.ErrInvalid, c.ID, c.Size)
	}
	if r, ok := x.t.reservations.Get(string(old.Reservation)); ok {
		if err := x.t.diskLeft(r, c.Size-old.Size); err != nil {
			return err
		}
	}
	v := *old
	v.Size = c.Size
	x.setVolume(old, &v)
	return nil
}

func (x *txn) destroyVolume(c DestroyVolume) error {
	v, err := x.volume(c.ID)
	if err != nil {
		return err
	}
	x.setVolume(v, nil)
	return nil
}

// hold checks what a placement uses besides unreserved resources.
func (x *txn) hold(p Placement, n *dcos.Node, role dcos.RoleID) (*dcos.TaskHold, *dcos.Reservation, error) {
	if p.Reservation == "" {
		if len(p.Volumes) > 0 {
			return nil, nil, fmt.Errorf("%w: volumes without their reservation", dcos.ErrInvalid)
		}
		return nil, nil, nil
	}
	r, ok := x.t.reservations.Get(string(p.Reservation))
	switch {
	case !ok:
		return nil, nil, fmt.Errorf("%w: reservation %s", dcos.ErrNotFound, p.Reservation)
	case r.Node != n.ID:
		return nil, nil, fmt.Errorf("%w: reservation %s is on node %s, not %s", dcos.ErrConflict, r.ID, r.Node, n.ID)
	case !r.Role.Covers(role):
		return nil, nil, fmt.Errorf("%w: reservation %s is for role %s, the task's is %s", dcos.ErrDenied, r.ID, r.Role, role)
	}
	h := &dcos.TaskHold{Reservation: r.ID, Volumes: slices.Clone(p.Volumes)}
	for i, id := range h.Volumes {
		v, err := x.volume(id)
		switch {
		case err != nil:
			return nil, nil, err
		case v.Reservation != r.ID:
			return nil, nil, fmt.Errorf("%w: volume %s is part of reservation %s, not %s", dcos.ErrConflict, id, v.Reservation, r.ID)
		case v.Epoch >= dcos.Epoch(x.t.index):
			return nil, nil, fmt.Errorf("%w: volume %s had an owner this very moment: try again", dcos.ErrUnavailable, id)
		case slices.Contains(h.Volumes[:i], id):
			return nil, nil, fmt.Errorf("%w: volume %s is given twice", dcos.ErrInvalid, id)
		}
		h.Volumes[i] = v.ID // shared with the row
	}
	return h, r, nil
}

// attach makes a task that was just placed the owner of its volumes.
func (x *txn) attach(k *dcos.Task) {
	for _, id := range k.Hold.Volumes {
		old, _ := x.t.volumes.Get(string(id)) // hold has looked
		v := *old
		v.Task, v.Epoch = k.ID, k.Epoch
		x.setVolume(old, &v)
	}
}

// detach gives up the volumes of a task that ends.
func (x *txn) detach(k *dcos.Task) {
	for _, id := range k.Hold.Volumes {
		if old, ok := x.t.volumes.Get(string(id)); ok && old.Task == k.ID {
			v := *old
			v.Task = ""
			x.setVolume(old, &v)
		}
	}
}
