package state

import (
	"github.com/dcos-go/dcos/pkg/dcos"
)

// share adds up what a live task uses of roles, reservations and volumes.
func (c *checker) share(k *dcos.Task) {
	role := c.t.roleOf(k.App)
	if k.Hold == nil {
		for r := range upwards(role) {
			c.open[r] = c.open[r].plus(amountsOf(k.Need))
		}
		return
	}
	r, ok := c.t.reservations.Get(string(k.Hold.Reservation))
	if !ok || r.Node != k.Node || !r.Role.Covers(role) {
		c.fail("task %s: role %s on node %s with reservation %s, which is not for it", k.ID, role, k.Node, k.Hold.Reservation)
		return
	}
	u := c.used(r.ID)
	u.used, u.tasks = u.used.plus(amountsOf(k.Need)), u.tasks+1
	for _, id := range k.Hold.Volumes {
		v, ok := c.t.volumes.Get(string(id))
		c.expect(ok && v.Task == k.ID && v.Epoch == k.Epoch && v.Reservation == r.ID, "task %s: holds volume %s, whose row is %+v", k.ID, id, v)
		c.owned++
	}
}

func (c *checker) used(id dcos.ReservationID) *reservationUse {
	u := c.inside[id]
	if u == nil {
		u = &reservationUse{}
		c.inside[id] = u
	}
	return u
}

// shares compares the ledgers with what was added up, after all tasks.
func (c *checker) shares() {
	attached := 0
	for v := range c.t.volumes.All() {
		r, ok := c.t.reservations.Get(string(v.Reservation))
		c.expect(ok && r.Node == v.Node && v.Size > 0, "volume %s: reservation %s is not on its node %s", v.ID, v.Reservation, v.Node)
		u := c.used(v.Reservation)
		u.size, u.volumes = u.size+v.Size, u.volumes+1
		if v.Task != "" {
			attached++
		}
		got, ok := c.t.volumesOf.Get(v)
		c.expect(ok && got == v, "volume %s: not in the index of its reservation", v.ID)
	}
	c.expect(attached == c.owned, "%d volumes have an owner, live tasks hold %d", attached, c.owned)
	c.expect(c.t.volumesOf.Len() == c.t.volumes.rows.Len(), "%d volumes in the index, %d in the table", c.t.volumesOf.Len(), c.t.volumes.rows.Len())
	c.expect(c.t.resUse.Len() == len(c.inside), "%d reservations are in use, the ledger has %d", len(c.inside), c.t.resUse.Len())
	reserved := c.reservations()
	c.roles(reserved)
}

// reservations checks each of them, and what they come to per node; it gives
// what they come to per role.
func (c *checker) reservations() map[dcos.RoleID]amounts {
	perNode, perRole := map[dcos.NodeID]*reservedOn{}, map[dcos.RoleID]amounts{}
	for r := range c.t.reservations.All() {
		kept, _ := c.t.resUse.Get(r.ID)
		u := c.inside[r.ID]
		if u == nil {
			u = &reservationUse{}
		}
		c.expect(kept == *u, "reservation %s: is used for %+v, the ledger says %+v", r.ID, *u, kept)
		need := u.used
		need.disk += u.size
		c.expect(need.set().FitsIn(r.Resources), "reservation %s: %s of %s is used", r.ID, need.set(), r.Resources)
		got, ok := c.t.resByNode.Get(r)
		c.expect(ok && got == r, "reservation %s: not in the index of its node", r.ID)
		on := perNode[r.Node]
		if on == nil {
			on = &reservedOn{}
			perNode[r.Node] = on
		}
		c.expect(!on.set.Ports.Overlaps(r.Resources.Ports), "node %s: a port of %s is reserved twice", r.Node, r.Resources.Ports)
		on.set, on.used, on.n = on.set.Plus(r.Resources), on.used.plus(u.used), on.n+1
		for role := range upwards(r.Role) {
			perRole[role] = perRole[role].plus(amountsOf(r.Resources))
		}
	}
	c.expect(c.t.resByNode.Len() == c.t.reservations.rows.Len(), "%d reservations in the index, %d in the table", c.t.resByNode.Len(), c.t.reservations.rows.Len())
	c.expect(c.t.reserved.Len() == len(perNode), "%d nodes have reservations, the ledger has %d", len(perNode), c.t.reserved.Len())
	for id, on := range perNode {
		kept, ok := c.t.reserved.Get(id)
		_, known := c.t.nodes.Get(string(id))
		c.expect(known && ok && kept.set.Equal(on.set) && kept.used == on.used && kept.n == on.n,
			"node %s: %s is reserved, %s of that used; the ledger says %+v", id, on.set, on.used.set(), kept)
	}
	return perRole
}

func (c *checker) roles(reserved map[dcos.RoleID]amounts) {
	want := map[dcos.RoleID]roleUse{}
	for r, a := range c.open {
		want[r] = roleUse{open: a}
	}
	for r, a := range reserved {
		want[r] = roleUse{open: want[r].open, reserved: a}
	}
	seen := 0
	c.t.roleUse.Scan(func(r dcos.RoleID, u roleUse) bool {
		seen++
		c.expect(want[r] == u, "role %s: consumes %+v, the ledger says %+v", r, want[r], u)
		return true
	})
	nothing := 0
	for _, u := range want {
		if u == (roleUse{}) {
			nothing++
		}
	}
	c.expect(seen == len(want)-nothing, "%d roles consume something, the ledger has %d", len(want)-nothing, seen)
	for r := range c.t.roles.All() {
		kind, over := r.Quota.Limit.Exceeded(want[r.ID].consumed().set())
		c.expect(!over || r.Forced, "role %s: consumes %s, which is over its limit of %s", r.ID, want[r.ID].consumed().set(), kind)
		_, ok := c.t.roles.Get(string(r.ID.Parent()))
		c.expect(ok || r.ID.Parent() == "", "role %s: the one above it is not there", r.ID)
	}
	for row := range c.t.apps.All() {
		c.expect(c.t.knowsRole(row.App.Role) == nil, "app %s: role %s is not there", row.App.ID, row.App.Role)
	}
	for r := range c.t.reservations.All() {
		c.expect(r.Role != "" && c.t.knowsRole(r.Role) == nil, "reservation %s: role %s is not there", r.ID, r.Role)
	}
}
