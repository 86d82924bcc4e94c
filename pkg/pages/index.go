package pages

import (
	"github.com/tidwall/btree"
)

// Index finds rows by two numbers, an owner and an ordinal. Ordinals are given
// out one after the other, so neighbours share a chunk: a tree of single rows
// takes six times as much.
type Index struct {
	chunks btree.Map[chunkKey, *chunk]
}

// chunkKey is an owner, then which of its chunks.
type chunkKey uint64

// perChunk makes a chunk 128 bytes.
const perChunk = 30

// chunk is the slots of some ordinals, to be written as a page is.
type chunk struct {
	age   uint64
	slots [perChunk]Slot // plus one; 0 is none
}

func chunkOf(owner, ordinal uint32) chunkKey { return chunkKey(owner)<<32 | chunkKey(ordinal/perChunk) }

// Get is the slot under two numbers.
func (i *Index) Get(owner, ordinal uint32) (Slot, bool) {
	c, ok := i.chunks.Get(chunkOf(owner, ordinal))
	if !ok || c.slots[ordinal%perChunk] == 0 {
		return noSlot, false
	}
	return c.slots[ordinal%perChunk] - 1, true
}

// own is a chunk to be written, nil when there is none.
func (i *Index) own(age uint64, key chunkKey) *chunk {
	c, ok := i.chunks.Get(key)
	if !ok || c.age == age {
		return c
	}
	next := *c
	next.age = age
	i.chunks.Set(key, &next)
	return &next
}

// Set puts a slot under two numbers.
func (i *Index) Set(age uint64, owner, ordinal uint32, s Slot) {
	c := i.own(age, chunkOf(owner, ordinal))
	if c == nil {
		c = &chunk{age: age}
		i.chunks.Set(chunkOf(owner, ordinal), c)
	}
	c.slots[ordinal%perChunk] = s + 1
}

// Remove takes a slot away.
func (i *Index) Remove(age uint64, owner, ordinal uint32) {
	key := chunkOf(owner, ordinal)
	c := i.own(age, key)
	if c == nil {
		return
	}
	c.slots[ordinal%perChunk] = 0
	if c.slots == [perChunk]Slot{} {
		i.chunks.Delete(key)
	}
}

// Of gives the slots of an owner in the order of their ordinals, until yield
// says that it is enough.
func (i *Index) Of(owner uint32, yield func(Slot) bool) {
	i.chunks.Ascend(chunkOf(owner, 0), func(key chunkKey, c *chunk) bool {
		if key >= chunkOf(owner+1, 0) {
			return false
		}
		for _, s := range c.slots {
			if s != 0 && !yield(s-1) {
				return false
			}
		}
		return true
	})
}

// Len counts them all; it is for checks.
func (i *Index) Len() int {
	n := 0
	i.chunks.Scan(func(_ chunkKey, c *chunk) bool {
		for _, s := range c.slots {
			if s != 0 {
				n++
			}
		}
		return true
	})
	return n
}

// Copy shares all chunks.
func (i *Index) Copy() Index { return Index{*i.chunks.Copy()} }
