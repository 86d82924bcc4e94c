package scheduler

import (
	"fmt"
	"math"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/placement"
	"github.com/dcos-go/dcos/pkg/resource"
	"github.com/dcos-go/dcos/pkg/state"
)

// roleOf is whose share an app runs on.
func roleOf(a *dcos.App) dcos.RoleID {
	if a.Role == "" {
		return dcos.DefaultRole
	}
	return a.Role
}

// room is how many more tasks a role may have, and which limit says so.
type room struct {
	more  int
	role  dcos.RoleID
	kind  resource.Kind
	limit string
	used  string
	needs string // the limit at which one more fits
}

// quotaOf is how many more tasks of a need a role may have by its own limits
// and those of the roles above it, when so much has been taken already that
// the view does not show. state.Apply checks it again.
func quotaOf(v state.View, role dcos.RoleID, need resource.Set, taken map[dcos.RoleID]resource.Set) room {
	least := room{more: math.MaxInt}
	for r := role; r != ""; r = r.Parent() {
		info, ok := v.Role(r)
		if !ok || info.Quota.Limit.IsZero() {
			continue
		}
		open, reserved := v.Consumed(r)
		used := open.Plus(reserved).Plus(taken[r]).Amounts()
		bound := func(kind resource.Kind, limit *resource.Scalar, used, need resource.Scalar) {
			if limit == nil || need <= 0 {
				return
			}
			if more := int(max(0, *limit-used) / need); more < least.more {
				least = room{more: more, role: r, kind: kind, limit: limit.String(), used: used.String(), needs: (used + need).String()}
			}
		}
		l := info.Quota.Limit
		bound(resource.CPUs, l.CPUs, used.CPUs, need.CPUs)
		bound(resource.Mem, l.Mem, used.Mem, need.Mem)
		bound(resource.Disk, l.Disk, used.Disk, need.Disk)
		if l.GPUs != nil {
			whole := resource.Whole(*l.GPUs)
			bound(resource.GPUs, &whole, resource.Whole(used.GPUs), resource.Whole(need.GPUs))
		}
		if kind, over := l.Exceeded(used); over && least.more > 0 && !need.IsZero() {
			// A limit that was set below what is used: nothing more of any kind.
			least = room{role: r, kind: kind, limit: "its limit", used: used.String(), needs: "what it uses and more"}
		}
	}
	return least
}

// refusal is the room in words, nil when there is some.
func (q room) refusal() *placement.Refusal {
	if q.more > 0 {
		return nil
	}
	return &placement.Refusal{
		Words: fmt.Sprintf("role %s uses %s %s of the %s that it may", q.role, q.used, q.kind, q.limit),
		Help:  fmt.Sprintf("raise the limit of role %s to %s %s", q.role, q.needs, q.kind),
	}
}

// take notes what this batch gives to a role.
func (t *turn) take(role dcos.RoleID, need resource.Set, n int) {
	if n == 0 {
		return
	}
	if t.taken == nil {
		t.taken = make(map[dcos.RoleID]resource.Set)
	}
	k := resource.Scalar(n)
	for r := role; r != ""; r = r.Parent() {
		s := t.taken[r]
		s.CPUs, s.Mem, s.Disk, s.GPUs = s.CPUs+k*need.CPUs, s.Mem+k*need.Mem, s.Disk+k*need.Disk, s.GPUs+int64(n)*need.GPUs
		t.taken[r] = s
	}
}
