// Package pages owns how rows that change all the time are kept in memory: in
// pages by slot, a small number that a row has for as long as it is there. What
// names a row (the tree of its key, indexes) holds its slot, so that a new
// version of a row changes one page and what leads to it, nothing else.
//
// It promises that a copy costs the same at any size and stays as it is
// whatever happens to the other. For that the caller counts: each copy raises
// the age of both sides, and whoever writes gives its present age; a page may
// be written by those whose age it has, by no others.
//
// It must not know what a row means. Slots are nobody's business outside: two
// masters may give different ones to the same rows.
package pages

import (
	"fmt"
	"iter"
	"math"

	"github.com/tidwall/btree"
)

// Slot is the place of a row.
type Slot uint32

// noSlot is the slot of no row.
const noSlot Slot = math.MaxUint32

// Table holds rows with text keys.
type Table[T any] struct {
	key     func(*T) string
	ids     btree.Map[string, Slot]
	free    btree.Map[Slot, struct{}] // given back
	next    Slot                      // never given out
	roots   []*page[page[page[T]]]
	rootAge uint64
}

// New is an empty table of rows that have a key, which never changes.
func New[T any](key func(*T) string) Table[T] { return Table[T]{key: key} }

// Pages are small, since most writes touch one row in each. One takes 256
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

// own is a page that may be written at an age, in place of another or none.
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

// At is the row in a slot that was given out, nil when it was given back.
func (t *Table[T]) At(s Slot) *T {
	return t.roots[s/perRoot].below[s/perMid%perPage].below[s/perPage%perPage].below[s%perPage]
}

// Set puts a new version of a row into its slot.
func (t *Table[T]) Set(age uint64, s Slot, row *T) {
	if t.rootAge != age {
		t.roots, t.rootAge = append(make([]*page[page[page[T]]], 0, len(t.roots)+1), t.roots...), age
	}
	if int(s/perRoot) == len(t.roots) {
		t.roots = append(t.roots, nil)
	}
	mid := own(&own(&t.roots[s/perRoot], age).below[s/perMid%perPage], age)
	own(&mid.below[s/perPage%perPage], age).below[s%perPage] = row
}

// Find is where a row is.
func (t *Table[T]) Find(key string) (Slot, bool) { return t.ids.Get(key) }

// Get is the row with a key.
func (t *Table[T]) Get(key string) (*T, bool) {
	s, ok := t.ids.Get(key)
	if !ok {
		return nil, false
	}
	return t.At(s), true
}

// Len is the number of rows.
func (t *Table[T]) Len() int { return t.ids.Len() }

// All are the rows in the order of their keys.
func (t *Table[T]) All() iter.Seq[*T] {
	return func(yield func(*T) bool) {
		t.ids.Scan(func(_ string, s Slot) bool { return yield(t.At(s)) })
	}
}

// take puts a new row into a slot; the caller adds its key.
func (t *Table[T]) take(age uint64, row *T) Slot {
	s, _, reused := t.free.PopMin()
	if !reused {
		s = t.next
		t.next++
	}
	t.Set(age, s, row)
	return s
}

// Add puts in a row whose key is new.
func (t *Table[T]) Add(age uint64, row *T) Slot {
	s := t.take(age, row)
	t.ids.Set(t.key(row), s)
	return s
}

// Load is Add for a key above all others; ok is false when it is not.
func (t *Table[T]) Load(age uint64, row *T) (s Slot, ok bool) {
	key := t.key(row)
	if last, _, some := t.ids.Max(); key == "" || some && key <= last {
		return noSlot, false
	}
	s = t.take(age, row)
	t.ids.Load(key, s)
	return s, true
}

// Remove takes a row out of the slot that it has.
func (t *Table[T]) Remove(age uint64, key string, s Slot) {
	t.ids.Delete(key)
	t.Set(age, s, nil)
	t.free.Set(s, struct{}{})
}

// Copy shares all pages.
func (t *Table[T]) Copy() Table[T] {
	c := *t
	c.ids, c.free = *t.ids.Copy(), *t.free.Copy()
	return c
}

// Check says what is wrong with a table, nil when nothing is.
func (t *Table[T]) Check() error {
	var err error
	if t.ids.Len()+t.free.Len() != int(t.next) {
		err = fmt.Errorf("%d rows and %d free slots of %d", t.ids.Len(), t.free.Len(), t.next)
	}
	t.ids.Scan(func(key string, s Slot) bool {
		if k := t.At(s); k == nil || t.key(k) != key {
			err = fmt.Errorf("row %s: another one has its slot %d", key, s)
		}
		return err == nil
	})
	t.free.Scan(func(s Slot, _ struct{}) bool {
		if t.At(s) != nil {
			err = fmt.Errorf("slot %d is free and has a row", s)
		}
		return err == nil
	})
	return err
}
