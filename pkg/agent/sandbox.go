package agent

import (
	"cmp"
	"slices"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// kept are the cleaned tasks whose sandboxes are still there, by app, oldest
// end first. Which go is decided by collect alone.
type kept struct {
	apps  map[dcos.AppID][]*task
	ids   map[dcos.TaskID]bool
	dueAt time.Time // when the next becomes too old; zero: none is kept
}

func newKept() kept {
	return kept{apps: make(map[dcos.AppID][]*task), ids: make(map[dcos.TaskID]bool)}
}

func (k *kept) holds(id dcos.TaskID) bool { return k.ids[id] }

func (k *kept) add(t *task) {
	app := t.rec.Launch.App
	list := k.apps[app]
	i, _ := slices.BinarySearchFunc(list, t, func(a, b *task) int {
		if a.rec.EndedAt <= b.rec.EndedAt {
			return -1
		}
		return 1
	})
	k.apps[app] = slices.Insert(list, i, t)
	k.ids[t.id()] = true
}

// remove takes a task out after its sandbox is gone.
func (k *kept) remove(t *task) {
	app := t.rec.Launch.App
	list := slices.DeleteFunc(k.apps[app], func(o *task) bool { return o == t })
	if len(list) == 0 {
		delete(k.apps, app)
	} else {
		k.apps[app] = list
	}
	delete(k.ids, t.id())
}

// collectDue collects when the oldest kept sandbox has become too old.
func (c *Core) collectDue(now time.Time) {
	if !c.kept.dueAt.IsZero() && !c.kept.dueAt.After(now) {
		c.collect(now)
	}
}

// collect removes the sandboxes that are too many or too old.
func (c *Core) collect(now time.Time) {
	k := &c.kept
	k.dueAt = time.Time{}
	for _, app := range sortedKeys(k.apps) {
		list := k.apps[app]
		for i, t := range list {
			due := t.rec.EndedAt.Std().Add(c.cfg.KeepFor)
			if len(list)-i > c.cfg.KeepPerApp || !due.After(now) {
				c.removeSandbox(t)
				continue
			}
			if k.dueAt.IsZero() || due.Before(k.dueAt) {
				k.dueAt = due
			}
			break // the rest is younger
		}
	}
	if len(k.ids) > maxKept {
		c.collectOldest(maxKept * 9 / 10)
	}
}

// collectOldest removes the sandboxes that ended first, whatever their app,
// until so many are left.
func (c *Core) collectOldest(left int) {
	var all []*task
	for _, app := range sortedKeys(c.kept.apps) {
		all = append(all, c.kept.apps[app]...)
	}
	slices.SortStableFunc(all, func(a, b *task) int { return cmp.Compare(a.rec.EndedAt, b.rec.EndedAt) })
	for _, t := range all[:max(0, len(all)-left)] {
		c.removeSandbox(t)
	}
}

func (c *Core) removeSandbox(t *task) {
	if t.step == stepNone {
		t.step, t.tries = stepRemove, 0
		c.hold(RemoveSandbox{Task: t.id()})
	}
}

func (c *Core) onSandboxRemoved(now time.Time, ev SandboxRemoved) {
	t := c.at(ev.Task, stepRemove)
	if t == nil {
		return
	}
	if ev.Err != nil {
		c.do(Note{Text: "a sandbox could not be removed, will be tried again", Task: t.id(), Why: ev.Err.Error()})
		c.wake(t, now.Add(t.retryIn()))
		return
	}
	t.step = stepNone
	c.kept.remove(t)
	c.dropIfDone(t)
}
