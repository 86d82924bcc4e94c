package state

import (
	"pgregory.net/rapid"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/resource"
)

// Roles, quotas, reservations and volumes of the random logs.

func (m *machine) anyRole(t *rapid.T) dcos.RoleID {
	return pick[dcos.RoleID](t, "role", "eng", "eng/db", "eng/db/x", "ops", "*", "a//b")
}

func (m *machine) anyReservation(t *rapid.T) dcos.ReservationID {
	all := []dcos.ReservationID{"r0"}
	for r := range m.view().Reservations() {
		all = append(all, r.ID, r.ID)
	}
	return pick(t, "reservation", all...)
}

func (m *machine) anyVolume(t *rapid.T) dcos.VolumeID {
	all := []dcos.VolumeID{"v0"}
	for v := range m.view().Volumes() {
		all = append(all, v.ID, v.ID)
	}
	return pick(t, "volume", all...)
}

func anyLimit(t *rapid.T) resource.Limit {
	var l resource.Limit
	if cpus := pick[resource.Scalar](t, "limit", -2, -2, -1, 0, 1000, 3500, 9000); cpus != -2 {
		l.CPUs = &cpus
	}
	if mem := pick[resource.Scalar](t, "limit of mem", -2, -2, resource.Whole(200), resource.Whole(1000)); mem != -2 {
		l.Mem = &mem
	}
	return l
}

func (m *machine) drawShare(t *rapid.T) Command {
	some := resource.Set{
		CPUs: pick[resource.Scalar](t, "reserve cpus", 0, 500, 1000, 2000, 5000, -1), Mem: resource.Whole(pick[int64](t, "reserve mem", 0, 128, 512)),
		Disk: resource.Whole(pick[int64](t, "reserve disk", 0, 100, 1000)),
	}
	if rapid.Bool().Draw(t, "reserve ports") {
		first := uint16(rapid.IntRange(30998, 31008).Draw(t, "first"))
		some.Ports = resource.Ranges{{First: first, Last: first + 3}}
	}
	size := resource.Whole(pick[int64](t, "size", 0, 10, 50, 100, 500))
	force := rapid.Bool().Draw(t, "force")
	switch rapid.IntRange(0, 9).Draw(t, "share") {
	case 0:
		return PutRole{Role: m.anyRole(t), Weight: pick[uint32](t, "weight", 0, 1, 2000, maxWeight+1)}
	case 1:
		return RemoveRole{Role: m.anyRole(t)}
	case 2:
		return PutQuota{Role: m.anyRole(t), Quota: dcos.Quota{Limit: anyLimit(t), Guarantee: resource.Set{CPUs: some.CPUs}}, Force: force}
	case 3, 4:
		return Reserve{Reservation: dcos.Reservation{
			ID: pick[dcos.ReservationID](t, "new reservation", "r1", "r2", "r3", "r4", ""), Node: m.anyNode(t), Role: m.anyRole(t), Resources: some,
			Principal: "ann", Labels: map[string]string{"for": "db"},
		}}
	case 5:
		return Unreserve{ID: m.anyReservation(t)}
	case 6:
		return Unreserve{ID: m.anyReservation(t), Resources: some}
	case 7:
		return CreateVolume{Volume: dcos.Volume{ID: pick[dcos.VolumeID](t, "new volume", "v1", "v2", "v3", ""), Reservation: m.anyReservation(t), Size: size, Task: "forged", Epoch: 9}}
	case 8:
		return ResizeVolume{ID: m.anyVolume(t), Size: size}
	}
	return DestroyVolume{ID: m.anyVolume(t)}
}

// drawHold makes some placements use what is reserved, mostly where it is.
func (m *machine) drawHold(t *rapid.T, p *Placement) {
	if rapid.Bool().Draw(t, "open") {
		return
	}
	p.Reservation = m.anyReservation(t)
	if r, ok := m.view().Reservation(p.Reservation); ok {
		p.Node = r.Node
	}
	for range rapid.IntRange(0, 2).Draw(t, "volumes") {
		p.Volumes = append(p.Volumes, m.anyVolume(t))
	}
}
