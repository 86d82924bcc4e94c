package pages

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"pgregory.net/rapid"
)

func TestPagesAndChunksFillTheirSizeClass(t *testing.T) {
	t.Parallel()
	if n := unsafe.Sizeof(page[task]{}); n != 256 {
		t.Errorf("a page has %d bytes", n)
	}
	if n := unsafe.Sizeof(chunk{}); n != 128 {
		t.Errorf("a chunk has %d bytes", n)
	}
	if n := unsafe.Sizeof(task{}); n > 256 {
		t.Errorf("a task has %d bytes", n)
	}
}

// firstSlot lets few tasks need more than one page of every kind.
const firstSlot = perRoot - perPage - 5

// task is a row.
type task struct {
	ID      string
	Ordinal uint32
}

// tasksAndIndex is a table with an index, and what it should hold.
type tasksAndIndex struct {
	age   uint64
	tasks Table[task]
	index Index
	want  map[string]*task
}

// fork gives a copy; both may be written from then on.
func (p *tasksAndIndex) fork() *tasksAndIndex {
	p.age++
	c := *p
	c.tasks, c.index, c.want = p.tasks.Copy(), p.index.Copy(), maps.Clone(p.want)
	return &c
}

func (p *tasksAndIndex) put(seen *Lookup[task], k *task) {
	s, ok := seen.Find(&p.tasks, k.ID)
	if ok {
		p.tasks.Set(p.age, s, k)
	} else {
		s = p.tasks.Add(p.age, k)
		seen.Note(&p.tasks, k.ID, s)
	}
	p.index.Set(p.age, 7, k.Ordinal, s)
	p.want[k.ID] = k
}

func (p *tasksAndIndex) check(t *rapid.T, seen *Lookup[task]) {
	var ids []string
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
		s, ok := seen.Find(&p.tasks, id)
		at, found := p.index.Get(7, k.Ordinal)
		if !ok || !found || at != s || p.tasks.At(s) != k {
			t.Fatalf("task %s is not found", id)
		}
	}
	last := -1
	p.index.Of(7, func(s Slot) bool {
		k := p.tasks.At(s)
		if int(k.Ordinal) <= last {
			t.Fatalf("instance %d after %d", k.Ordinal, last)
		}
		last = int(k.Ordinal)
		n++
		return true
	})
	if n != len(p.want) || p.index.Len() != n || p.tasks.Len() != n || p.tasks.Len()+p.tasks.free.Len() != int(p.tasks.next)-firstSlot {
		t.Fatalf("%d instances of %d tasks", n, len(p.want))
	}
	if _, ok := seen.Find(&p.tasks, "no such task"); ok {
		t.Fatal("a task is found that is not there")
	}
}

// Copies share pages and chunks. Whatever is written to one, the others stay as
// they were, and the writer's lookup never gives a task of another copy.
func TestCopiesOfTasksStayApart(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		all := []*tasksAndIndex{{tasks: New(func(k *task) string { return k.ID }), want: map[string]*task{}}}
		var seen Lookup[task]
		all[0].tasks.next = firstSlot
		row := func(i int) *task {
			return &task{ID: fmt.Sprintf("task-%d", i), Ordinal: uint32(i * 7)}
		}
		for i := range 2 * perPage {
			all[0].put(&seen, row(i))
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
					p.put(&seen, row(rapid.IntRange(0, 3*perPage).Draw(t, "task")))
				}
			},
			"remove": func(t *rapid.T) {
				p := one(t)
				if len(p.want) == 0 {
					return
				}
				k := p.want[rapid.SampledFrom(slices.Sorted(maps.Keys(p.want))).Draw(t, "task")]
				s, _ := p.tasks.Find(k.ID)
				p.index.Remove(p.age, 7, k.Ordinal)
				p.tasks.Remove(p.age, k.ID, s)
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

func TestCheckFindsWhatIsPlanted(t *testing.T) {
	t.Parallel()
	for want, plant := range map[string]func(*Table[task]){
		"has its slot":  func(p *Table[task]) { p.ids.Set("b", 0) },
		"free slots of": func(p *Table[task]) { p.next++ },
		"is free and":   func(p *Table[task]) { p.ids.Delete("a"); p.free.Set(0, struct{}{}) },
	} {
		p := New(func(k *task) string { return k.ID })
		p.Add(0, &task{ID: "a"})
		p.Add(0, &task{ID: "b"})
		if err := p.Check(); err != nil {
			t.Fatal(err)
		}
		plant(&p)
		if err := p.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one about %q", err, want)
		}
	}
}
