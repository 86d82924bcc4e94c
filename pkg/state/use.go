package state

import (
	"fmt"
	"iter"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/resource"
)

// The ledgers of roles, reservations and volumes. Like all that is derived they
// are kept up by the functions that write rows and rebuilt by restore.

// amounts are resources that may be added up over nodes.
type amounts struct {
	cpus, mem, disk resource.Scalar
	gpus            int64
}

func amountsOf(s resource.Set) amounts { return amounts{s.CPUs, s.Mem, s.Disk, s.GPUs} }

func (a amounts) set() resource.Set {
	return resource.Set{CPUs: a.cpus, Mem: a.mem, Disk: a.disk, GPUs: a.gpus}
}

func (a amounts) plus(b amounts) amounts {
	return amounts{a.cpus + b.cpus, a.mem + b.mem, a.disk + b.disk, a.gpus + b.gpus}
}

func (a amounts) minus(b amounts) amounts {
	return amounts{a.cpus - b.cpus, a.mem - b.mem, a.disk - b.disk, a.gpus - b.gpus}
}

// roleUse is what a role and all roles below it consume.
type roleUse struct {
	open     amounts // held by live tasks outside of reservations
	reserved amounts // by reservations, used or not
}

func (u roleUse) consumed() amounts { return u.open.plus(u.reserved) }

// reservedOn is what is reserved on a node. It is immutable.
type reservedOn struct {
	set  resource.Set // of all reservations together
	used amounts      // of that, by live tasks
	n    int          // reservations
}

// idle is what is kept free for reservations that nobody uses now.
func (r *reservedOn) idle() amounts { return amountsOf(r.set).minus(r.used) }

// reservationUse is what a reservation is used for.
type reservationUse struct {
	used    amounts // by live tasks
	tasks   int
	size    resource.Scalar // of its volumes
	volumes int
}

// roleOf is the role of an app's tasks. It does not change while any is live.
func (t *tables) roleOf(id dcos.AppID) dcos.RoleID {
	if row, ok := t.apps.Get(string(id)); ok && row.App.Role != "" {
		return row.App.Role
	}
	return dcos.DefaultRole
}

// upwards are a role and those above it.
func upwards(role dcos.RoleID) iter.Seq[dcos.RoleID] {
	return func(yield func(dcos.RoleID) bool) {
		for role != "" && yield(role) {
			role = role.Parent()
		}
	}
}

// useRole changes what a role consumes, and with it all roles above.
func (t *tables) useRole(role dcos.RoleID, change func(*roleUse)) {
	for r := range upwards(role) {
		u, _ := t.roleUse.Get(r)
		change(&u)
		if u == (roleUse{}) {
			t.roleUse.Delete(r)
		} else {
			t.roleUse.Set(r, u)
		}
	}
}

// use books what a live task holds besides its node's own ledger; sign is 1
// when it begins to be live and -1 when it ends.
func (t *tables) use(k *dcos.Task, sign int) {
	need := amountsOf(k.Need)
	if sign < 0 {
		need = amounts{}.minus(need)
	}
	if k.Hold == nil {
		t.useRole(t.roleOf(k.App), func(u *roleUse) { u.open = u.open.plus(need) })
		return
	}
	id := k.Hold.Reservation
	u, _ := t.resUse.Get(id)
	u.used, u.tasks = u.used.plus(need), u.tasks+sign
	t.setUse(id, u)
	if old, ok := t.reserved.Get(k.Node); ok {
		next := *old
		next.used = next.used.plus(need)
		t.reserved.Set(k.Node, &next)
	}
}

func (t *tables) setUse(id dcos.ReservationID, u reservationUse) {
	if u == (reservationUse{}) {
		t.resUse.Delete(id)
	} else {
		t.resUse.Set(id, u)
	}
}

// reindexReservation keeps the ledgers by what differs between before and
// after; nil is none. A reservation stays on its node and with its role.
func (t *tables) reindexReservation(before, after *dcos.Reservation) {
	r := after
	if after == nil {
		r = before
	}
	on := reservedOn{}
	if old, ok := t.reserved.Get(r.Node); ok {
		on = *old
	}
	var change amounts
	if before != nil {
		t.resByNode.Delete(before)
		on.set, on.n = on.set.Minus(before.Resources), on.n-1
		change = change.minus(amountsOf(before.Resources))
	}
	if after != nil {
		t.resByNode.Set(after)
		on.set, on.n = on.set.Plus(after.Resources), on.n+1
		change = change.plus(amountsOf(after.Resources))
	}
	if on.n > 0 {
		t.reserved.Set(r.Node, &on)
	} else {
		t.reserved.Delete(r.Node)
	}
	t.useRole(r.Role, func(u *roleUse) { u.reserved = u.reserved.plus(change) })
}

// reindexVolume is reindexReservation for volumes.
func (t *tables) reindexVolume(before, after *dcos.Volume) {
	if before != nil {
		t.volumesOf.Delete(before)
		t.bookVolume(before.Reservation, -before.Size, -1)
	}
	if after != nil {
		t.volumesOf.Set(after)
		t.bookVolume(after.Reservation, after.Size, 1)
	}
}

func (t *tables) bookVolume(id dcos.ReservationID, size resource.Scalar, n int) {
	u, _ := t.resUse.Get(id)
	u.size, u.volumes = u.size+size, u.volumes+n
	t.setUse(id, u)
}

// load is what is taken of a node: held by live tasks, or reserved.
func (t *tables) load(id dcos.NodeID) resource.Set {
	var load resource.Set
	if h, ok := t.ledger.Get(id); ok {
		load = h.set
	}
	if r, ok := t.reserved.Get(id); ok {
		idle := r.idle().set()
		idle.Ports = r.set.Ports
		load = load.Plus(idle)
	}
	return load
}

// withinQuota says why a role cannot consume more, nil when it can.
func (t *tables) withinQuota(role dcos.RoleID, more resource.Set) error {
	if t.roles.rows.Len() == 0 {
		return nil
	}
	for r := range upwards(role) {
		info, ok := t.roles.Get(string(r))
		if !ok || info.Quota.Limit.IsZero() {
			continue
		}
		u, _ := t.roleUse.Get(r)
		if kind, over := info.Quota.Limit.Exceeded(u.consumed().plus(amountsOf(more)).set()); over {
			return fmt.Errorf("%w: role %s consumes %s, with %s more it would be over its limit of %s",
				dcos.ErrExhausted, r, u.consumed().set(), more.Amounts(), kind)
		}
	}
	return nil
}

// fitsIn says why a task cannot run on what is reserved, nil when it can. Host
// ports come from the reservation or from what nobody reserved.
func (t *tables) fitsIn(n *dcos.Node, r *dcos.Reservation, need resource.Set) error {
	u, _ := t.resUse.Get(r.ID)
	left := amountsOf(r.Resources).minus(u.used)
	left.disk -= u.size
	if kind, lacks := need.Amounts().Lacking(left.set()); lacks {
		return fmt.Errorf("%w: reservation %s has too little %s left", dcos.ErrExhausted, r.ID, kind)
	}
	left = amountsOf(n.Total)
	var held resource.Ranges
	if h, ok := t.ledger.Get(n.ID); ok {
		left, held = left.minus(amountsOf(h.set)), h.set.Ports
	}
	if kind, lacks := need.Amounts().Lacking(left.set()); lacks { // the node became smaller
		return fmt.Errorf("%w: node %s has too little %s left", dcos.ErrExhausted, n.ID, kind)
	}
	if need.Ports == nil {
		return nil
	}
	others := resource.Ranges(nil)
	if on, ok := t.reserved.Get(n.ID); ok {
		others = on.set.Ports.Minus(r.Resources.Ports)
	}
	switch {
	case held.Overlaps(need.Ports) || others.Overlaps(need.Ports):
		return fmt.Errorf("%w: node %s: a port of %s is in use or reserved for others", dcos.ErrConflict, n.ID, need.Ports)
	case !n.Total.Ports.Contains(need.Ports):
		return fmt.Errorf("%w: node %s has too little %s left", dcos.ErrExhausted, n.ID, resource.Ports)
	}
	return nil
}
