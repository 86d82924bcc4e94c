package state

import (
	"github.com/tidwall/btree"
)

// instanceIndex finds the newest task of each wanted instance. Ordinals are
// given out one after the other, so neighbours share a chunk: a tree of single
// instances takes six times as much.
type instanceIndex struct {
	chunks btree.Map[chunkKey, *chunk]
}

// chunkKey is an app's number, then which of its chunks.
type chunkKey uint64

// perChunk makes a chunk 128 bytes.
const perChunk = 30

// chunk is the instances of some ordinals. Tables of its age may write it, no
// others.
type chunk struct {
	age   uint64
	slots [perChunk]slot // plus one; 0 is none
}

func chunkOf(app, ordinal uint32) chunkKey { return chunkKey(app)<<32 | chunkKey(ordinal/perChunk) }

func (i *instanceIndex) get(app, ordinal uint32) (slot, bool) {
	c, ok := i.chunks.Get(chunkOf(app, ordinal))
	if !ok || c.slots[ordinal%perChunk] == 0 {
		return noSlot, false
	}
	return c.slots[ordinal%perChunk] - 1, true
}

// own is a chunk to be written, nil when there is none.
func (i *instanceIndex) own(age uint64, key chunkKey) *chunk {
	c, ok := i.chunks.Get(key)
	if !ok || c.age == age {
		return c
	}
	next := *c
	next.age = age
	i.chunks.Set(key, &next)
	return &next
}

func (i *instanceIndex) set(age uint64, app, ordinal uint32, s slot) {
	c := i.own(age, chunkOf(app, ordinal))
	if c == nil {
		c = &chunk{age: age}
		i.chunks.Set(chunkOf(app, ordinal), c)
	}
	c.slots[ordinal%perChunk] = s + 1
}

func (i *instanceIndex) remove(age uint64, app, ordinal uint32) {
	key := chunkOf(app, ordinal)
	c := i.own(age, key)
	if c == nil {
		return
	}
	c.slots[ordinal%perChunk] = 0
	if c.slots == [perChunk]slot{} {
		i.chunks.Delete(key)
	}
}

// of gives the tasks of an app in the order of their ordinals, until yield
// says that it is enough.
func (i *instanceIndex) of(app uint32, yield func(slot) bool) {
	i.chunks.Ascend(chunkOf(app, 0), func(key chunkKey, c *chunk) bool {
		if key >= chunkOf(app+1, 0) {
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

// len counts them all; it is for checks.
func (i *instanceIndex) len() int {
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

func (i *instanceIndex) copy() instanceIndex { return instanceIndex{*i.chunks.Copy()} }
