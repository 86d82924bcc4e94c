package state

import (
	"github.com/tidwall/btree"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/pages"
)

// Try is what the commands would do, were they committed next, at a time: the
// answer of each and the state afterwards. Nothing is committed and the view
// stays as it is. It costs what the commands change, may be called by several
// goroutines at once, and goes on from what an earlier Try gave.
func (v View) Try(at dcos.Time, cmds ...Command) (View, Result, []Change) {
	t := v.t.fork()
	t.index++
	t.time = max(at, t.time)
	x := &txn{t: t, removed: map[dcos.AppID]bool{}, seen: &pages.Lookup[dcos.Task]{}}
	r := Result{Index: t.index, Time: t.time, Items: make([]Item, 0, len(cmds))}
	for _, c := range cmds {
		if err := x.t.admits(c); err != nil {
			r.Items = append(r.Items, Item{Err: err})
			continue
		}
		r.Items = append(r.Items, x.do(c))
	}
	return View{x.t}, r, x.changes
}

// fork is copy for tables that others read: copying a tree writes to it, so
// the heads of all trees are taken over first.
func (t *tables) fork() *tables {
	c := *t
	c.versions, c.ended, c.byEnd = head(t.versions), head(t.ended), head(t.byEnd)
	c.resByNode, c.volumesOf, c.irregular = head(t.resByNode), head(t.volumesOf), head(t.irregular)
	return c.copy()
}

func head[T any](t *btree.BTreeG[T]) *btree.BTreeG[T] {
	h := *t
	return &h
}
