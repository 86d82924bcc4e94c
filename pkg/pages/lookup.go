package pages

import (
	"encoding/binary"
	"math/bits"
)

// Lookup remembers in which slots rows were found, so that a writer does not go
// down the tree of keys for each: at a million rows that costs more than all
// the rest of a write. What it says is looked at in the table before it is
// believed, so it is never cleared and belongs to no copy. One goroutine at a
// time may use it.
type Lookup[T any] struct {
	rows []seen // in groups of perGroup, as many groups as a power of two
}

// seen is a part of an id's hash and the slot it was found in.
type seen struct {
	tag uint32
	at  Slot
}

// perGroup is how many there are in 64 bytes, which the processor reads at
// once.
const perGroup = 8

// hashOf spreads ids; it is nothing to rely on against those who choose them.
func hashOf(id string) uint64 {
	const odd = 0x9e3779b97f4a7c15
	h := uint64(len(id)) * odd
	b := id
	for len(b) >= 8 {
		w := uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 | uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
		hi, lo := bits.Mul64(h^w, odd)
		h, b = hi^lo, b[8:]
	}
	var tail [8]byte
	copy(tail[:], b)
	hi, lo := bits.Mul64(h^binary.LittleEndian.Uint64(tail[:]), odd)
	return hi ^ lo
}

// Find is Find of a table, mostly without its tree.
func (l *Lookup[T]) Find(t *Table[T], key string) (Slot, bool) {
	h := hashOf(key)
	if len(l.rows) > 0 {
		group := l.group(h)
		for i := range group {
			if s := group[i].at; group[i].tag == uint32(h) && s < t.next {
				if k := t.At(s); k != nil && t.key(k) == key {
					return s, true
				}
			}
		}
	}
	s, ok := t.Find(key)
	if ok {
		l.note(t, h, s)
	}
	return s, ok
}

func (l *Lookup[T]) group(h uint64) []seen {
	groups := uint64(len(l.rows) / perGroup)
	at := (h >> 32) & (groups - 1) * perGroup
	return l.rows[at : at+perGroup]
}

// Note remembers a row that was added.
func (l *Lookup[T]) Note(t *Table[T], key string, s Slot) { l.note(t, hashOf(key), s) }

// note remembers a slot, in the place of the one that came first to its group.
func (l *Lookup[T]) note(t *Table[T], h uint64, s Slot) {
	if n := t.Len(); n > len(l.rows) || len(l.rows) == 0 {
		l.rows = make([]seen, max(1<<bits.Len(uint(n)), 1024))
		for i := range l.rows {
			l.rows[i].at = noSlot
		}
	}
	group := l.group(h)
	copy(group[1:], group)
	group[0] = seen{tag: uint32(h), at: s}
}
