package app

import (
	"cmp"
	"math"
	"slices"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// shares are the bounds of a rolling change: at least this many healthy, at
// most that many altogether.
func shares(a *dcos.App) (minHealthy, maxCap int) {
	const million = 1_000_000 // decimals as people write them, free of binary noise
	n := int64(a.Instances)
	least, over := int64(math.Round(a.Upgrade.MinHealth*million)), int64(math.Round(a.Upgrade.MaxOver*million))
	return int((n*least + million - 1) / million), int(n * (million + over) / million)
}

// replace puts other instances in the place of those that are not to stay (of
// earlier configurations, on nodes that are being drained), as far as the
// upgrade strategy allows right now (marathon-api section 4.4, as a function of
// what is there instead of a sequence of events, so that any leader goes on
// where another stopped). Of regular instances, those of the versions that stay
// do.
func (c *census) replace(stays func(member) bool, versionStays func(dcos.Version) bool, why string) {
	wanted := int(c.row.App.Instances)
	var fresh, old, over []member
	var reg regulars
	for _, r := range c.regular {
		reg.add(r, versionStays(r.version))
	}
	for _, m := range c.members {
		switch {
		case stays(m):
			fresh = append(fresh, m)
		case m.task.Live() && !m.dying():
			old = append(old, m)
		default: // it has no process that is to stay: it ends without loss
			over = append(over, m)
		}
	}
	if extra := len(fresh) + reg.fresh - wanted; extra > 0 && reg.fresh > 0 || reg.idle > 0 {
		c.choose = true
		return
	} else if extra > 0 {
		slices.SortStableFunc(fresh, c.killOrder)
		over = append(over, fresh[:extra]...)
		fresh = fresh[extra:]
	}
	minHealthy, maxCap := shares(c.row.App)
	running := reg.running
	for _, m := range fresh {
		if m.running() && c.reachable(m.task) {
			running++
		}
	}
	olds := len(old) + reg.old
	if minHealthy == maxCap && olds+running >= maxCap {
		// No room to move: Marathon goes over by one, or, for those that must
		// not run twice, below by one.
		if c.row.App.Fence == dcos.FenceNone {
			maxCap++
		} else {
			minHealthy--
		}
	}
	kill := max(0, olds+running-minHealthy, olds-wanted)
	kill = min(kill, olds)
	if kill > 0 && reg.old > 0 {
		c.choose = true
		return
	}
	slices.SortStableFunc(old, c.killOrder)
	c.stop(append(over, old[:kill]...), why)

	// Whatever may still run takes up room, also what has just been told to
	// stop.
	room := maxCap - c.leaving - reg.fresh - reg.old
	for _, m := range c.members {
		if m.task.Live() || stays(m) && !m.ended() {
			room--
		}
	}
	ended := slices.DeleteFunc(slices.Clone(fresh), func(m member) bool { return !m.ended() })
	ended = ended[:max(0, min(len(ended), room))]
	c.retry(ended, 0)
	c.add(min(wanted-len(fresh)-reg.fresh, room-len(ended)))
}

// rolled says that a restart step has reached its goal.
func (c *census) rolled() bool {
	if c.size() != int(c.row.App.Instances) || c.leaving > 0 {
		return false
	}
	for _, r := range c.regular {
		if r.waiting+r.coming > 0 || !c.current(r.version) {
			return false
		}
	}
	for _, m := range c.members {
		if !m.current || !m.running() || m.moving {
			return false
		}
	}
	return true
}

// victims picks the instances that a smaller app lets go (marathon-api 4.3):
// first those without a process, then whatever keeps GROUP_BY even, then the
// least far, then by age as the app's kill selection says.
func (c *census) victims(n int) (victims, rest []member) {
	order := slices.Clone(c.members)
	slices.SortStableFunc(order, c.killOrder)
	field, grouped := c.groupField()
	if !grouped {
		return order[:n], order[n:]
	}
	idle := slices.IndexFunc(order, func(m member) bool { return m.task.Live() })
	if idle < 0 || idle >= n {
		return order[:n], order[n:]
	}
	victims = append(victims, order[:idle]...)
	order = order[idle:]
	counts := make(map[string]int)
	values := make([]string, len(order))
	for i, m := range order {
		if node, ok := c.view.Node(m.task.Node); ok {
			values[i], _ = node.Attribute(field)
		}
		counts[values[i]]++
	}
	taken := make([]bool, len(order))
	for len(victims) < n {
		best := -1
		for i := range order {
			if !taken[i] && (best < 0 || counts[values[i]] > counts[values[best]]) {
				best = i
			}
		}
		taken[best] = true
		counts[values[best]]--
		victims = append(victims, order[best])
	}
	for i, m := range order {
		if !taken[i] {
			rest = append(rest, m)
		}
	}
	return victims, rest
}

func (c *census) groupField() (string, bool) {
	for _, k := range c.row.App.Constraints {
		if k.Operator == dcos.GroupBy {
			return k.Field, true
		}
	}
	return "", false
}

// killOrder sorts what goes first to the front.
func (c *census) killOrder(a, b member) int {
	if by := cmp.Compare(c.weight(a), c.weight(b)); by != 0 {
		return by
	}
	byAge := cmp.Or(cmp.Compare(since(a.task), since(b.task)), cmp.Compare(a.task.Ordinal, b.task.Ordinal))
	if c.row.App.KillSelection == dcos.OldestFirst {
		return byAge
	}
	return -byAge
}

// weight is how much a member is worth keeping.
func (c *census) weight(m member) int {
	switch {
	case m.ended() || m.dying():
		return 0
	case m.task.State == dcos.TaskWaiting:
		return 1
	case !c.reachable(m.task):
		return 2
	case m.task.State == dcos.TaskStarting:
		return 4
	case m.task.State == dcos.TaskRunning && m.moving:
		return 5 // it does its work, but not for long
	case m.task.State == dcos.TaskRunning:
		return 6
	}
	return 3 // placed or staging
}

func (c *census) reachable(t *dcos.Task) bool {
	n, ok := c.view.Node(t.Node)
	return ok && n.State == dcos.NodeActive
}

// since is when a task began to be what it is.
func since(t *dcos.Task) dcos.Time {
	switch {
	case t.StartedAt != 0:
		return t.StartedAt
	case t.PlacedAt != 0:
		return t.PlacedAt
	}
	return t.CreatedAt
}
