package state

import (
	"iter"
	"math"

	"github.com/tidwall/btree"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// taskTable holds the tasks in pages by slot, a small number that a task has
// for as long as its row is there. What names a task (the tree of ids, the
// indexes) holds its slot: a new version of a row changes one page and what
// leads to it, nothing else. Slots are nobody's business outside: two masters
// may give different ones to the same tasks.
//
// Copies share everything. A page may be written by the tables whose age it
// has, and by no others.
type taskTable struct {
	ids     btree.Map[string, slot]
	free    btree.Map[slot, struct{}] // given back
	next    slot                      // never given out
	roots   []*page[page[page[dcos.Task]]]
	rootAge uint64
}

// slot is the place of a task in the pages.
type slot uint32

// noSlot is the slot of no task.
const noSlot slot = math.MaxUint32

// Pages are small, since most entries touch one row in each. One takes 256
// bytes.
const (
	perPage = 31
	perMid  = perPage * perPage
	perRoot = perPage * perMid
)

type page[T any] struct {
	age   uint64
	below [perPage]*T
}

// own is a page that tables of an age may write, in place of another or none.
func own[T any](p **page[T], age uint64) *page[T] {
	switch {
	case *p == nil:
		*p = &page[T]{age: age}
	case (*p).age != age:
		c := **p
		c.age = age
		*p = &c
	}
	return *p
}

// at is the row in a slot that is in use.
func (t *taskTable) at(s slot) *dcos.Task {
	return t.roots[s/perRoot].below[s/perMid%perPage].below[s/perPage%perPage].below[s%perPage]
}

func (t *taskTable) set(age uint64, s slot, row *dcos.Task) {
	if t.rootAge != age {
		t.roots, t.rootAge = append(make([]*page[page[page[dcos.Task]]], 0, len(t.roots)+1), t.roots...), age
	}
	if int(s/perRoot) == len(t.roots) {
		t.roots = append(t.roots, nil)
	}
	mid := own(&own(&t.roots[s/perRoot], age).below[s/perMid%perPage], age)
	own(&mid.below[s/perPage%perPage], age).below[s%perPage] = row
}

// slotOf is where a task is.
func (t *taskTable) slotOf(id dcos.TaskID) (slot, bool) { return t.ids.Get(string(id)) }

// Get is the row of a task.
func (t *taskTable) Get(id dcos.TaskID) (*dcos.Task, bool) {
	s, ok := t.ids.Get(string(id))
	if !ok {
		return nil, false
	}
	return t.at(s), true
}

// Len is the number of tasks.
func (t *taskTable) Len() int { return t.ids.Len() }

// All are the rows in the order of their ids.
func (t *taskTable) All() iter.Seq[*dcos.Task] {
	return func(yield func(*dcos.Task) bool) {
		t.ids.Scan(func(_ string, s slot) bool { return yield(t.at(s)) })
	}
}

// place gives a new task a slot; the caller adds its id.
func (t *taskTable) place(age uint64, row *dcos.Task) slot {
	s, _, reused := t.free.PopMin()
	if !reused {
		s = t.next
		t.next++
	}
	t.set(age, s, row)
	return s
}

// add puts in a task whose id is new.
func (t *taskTable) add(age uint64, row *dcos.Task) slot {
	s := t.place(age, row)
	t.ids.Set(string(row.ID), s)
	return s
}

// load is add for an id above all others; ok is false when it is not.
func (t *taskTable) load(age uint64, row *dcos.Task) (s slot, ok bool) {
	if last, _, some := t.ids.Max(); row.ID == "" || some && string(row.ID) <= last {
		return noSlot, false
	}
	s = t.place(age, row)
	t.ids.Load(string(row.ID), s)
	return s, true
}

// remove takes a task out of the slot that it has.
func (t *taskTable) remove(age uint64, id dcos.TaskID, s slot) {
	t.ids.Delete(string(id))
	t.set(age, s, nil)
	t.free.Set(s, struct{}{})
}

// copy shares all pages.
func (t *taskTable) copy() taskTable {
	c := *t
	c.ids, c.free = *t.ids.Copy(), *t.free.Copy()
	return c
}
