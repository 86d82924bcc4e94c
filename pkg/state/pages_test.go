package state

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"unsafe"

	"pgregory.net/rapid"

	"github.com/dcos-go/dcos/pkg/dcos"
)

func TestPagesAndChunksFillTheirSizeClass(t *testing.T) {
	t.Parallel()
	if n := unsafe.Sizeof(page[dcos.Task]{}); n != 256 {
		t.Errorf("a page has %d bytes", n)
	}
	if n := unsafe.Sizeof(chunk{}); n != 128 {
		t.Errorf("a chunk has %d bytes", n)
	}
	if n := unsafe.Sizeof(dcos.Task{}); n > 256 {
		t.Errorf("a task has %d bytes", n)
	}
}

// firstSlot lets few tasks need more than one page of every kind.
const firstSlot = perRoot - perPage - 5

// tasksAndIndex is a part of the tables, and what it should hold.
type tasksAndIndex struct {
	age   uint64
	tasks taskTable
	index instanceIndex
	want  map[dcos.TaskID]*dcos.Task
}

// fork gives a copy; both may be written from then on.
func (p *tasksAndIndex) fork() *tasksAndIndex {
	p.age++
	c := *p
	c.tasks, c.index, c.want = p.tasks.copy(), p.index.copy(), maps.Clone(p.want)
	return &c
}

func (p *tasksAndIndex) put(seen *lookup, k *dcos.Task) {
	s, ok := seen.find(&p.tasks, k.ID)
	if ok {
		p.tasks.set(p.age, s, k)
	} else {
		s = p.tasks.add(p.age, k)
		seen.note(&p.tasks, hashOf(k.ID), s)
	}
	p.index.set(p.age, 7, k.Ordinal, s)
	p.want[k.ID] = k
}

func (p *tasksAndIndex) check(t *rapid.T, seen *lookup) {
	var ids []dcos.TaskID
	for k := range p.tasks.All() {
		if p.want[k.ID] != k {
			t.Fatalf("task %s is another row", k.ID)
		}
		ids = append(ids, k.ID)
	}
	if want := slices.Sorted(maps.Keys(p.want)); !slices.Equal(ids, want) {
		t.Fatalf("tasks %v, want %v", ids, want)
	}
	n := 0
	for id, k := range p.want {
		s, ok := seen.find(&p.tasks, id)
		at, found := p.index.get(7, k.Ordinal)
		if !ok || !found || at != s || p.tasks.at(s) != k {
			t.Fatalf("task %s is not found", id)
		}
	}
	last := -1
	p.index.of(7, func(s slot) bool {
		k := p.tasks.at(s)
		if int(k.Ordinal) <= last {
			t.Fatalf("instance %d after %d", k.Ordinal, last)
		}
		last = int(k.Ordinal)
		n++
		return true
	})
	if n != len(p.want) || p.index.len() != n || p.tasks.Len() != n || p.tasks.Len()+p.tasks.free.Len() != int(p.tasks.next)-firstSlot {
		t.Fatalf("%d instances of %d tasks", n, len(p.want))
	}
	if _, ok := seen.find(&p.tasks, "no such task"); ok {
		t.Fatal("a task is found that is not there")
	}
}

// Copies share pages and chunks. Whatever is written to one, the others stay as
// they were, and the writer's lookup never gives a task of another copy.
func TestCopiesOfTasksStayApart(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		all := []*tasksAndIndex{{want: map[dcos.TaskID]*dcos.Task{}}}
		var seen lookup
		all[0].tasks.next = firstSlot
		task := func(i int) *dcos.Task {
			return &dcos.Task{ID: dcos.TaskID(fmt.Sprintf("task-%d", i)), Ordinal: uint32(i * 7)}
		}
		for i := range 2 * perPage {
			all[0].put(&seen, task(i))
		}
		one := func(t *rapid.T) *tasksAndIndex { return rapid.SampledFrom(all).Draw(t, "copy") }
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				for _, p := range all {
					p.check(t, &seen)
				}
			},
			"write": func(t *rapid.T) {
				p := one(t)
				for range rapid.IntRange(1, 5).Draw(t, "rows") {
					p.put(&seen, task(rapid.IntRange(0, 3*perPage).Draw(t, "task")))
				}
			},
			"remove": func(t *rapid.T) {
				p := one(t)
				if len(p.want) == 0 {
					return
				}
				k := p.want[rapid.SampledFrom(slices.Sorted(maps.Keys(p.want))).Draw(t, "task")]
				s, _ := p.tasks.slotOf(k.ID)
				p.index.remove(p.age, 7, k.Ordinal)
				p.tasks.remove(p.age, k.ID, s)
				delete(p.want, k.ID)
			},
			"copy": func(t *rapid.T) {
				if p := one(t); len(all) < 4 {
					all = append(all, p.fork())
				}
			},
			"forget a copy": func(t *rapid.T) {
				if i := rapid.IntRange(0, len(all)-1).Draw(t, "copy"); len(all) > 1 {
					all = slices.Delete(all, i, i+1)
				}
			},
		})
	})
}
