package scheduler

// queue is first in, first out; what is in it already keeps its place.
type queue[T comparable] struct {
	items []T
	head  int
	in    map[T]struct{}
}

func (q *queue[T]) len() int { return len(q.items) - q.head }

func (q *queue[T]) push(v T) {
	if _, there := q.in[v]; there {
		return
	}
	if q.in == nil {
		q.in = make(map[T]struct{})
	}
	q.in[v] = struct{}{}
	q.items = append(q.items, v)
}

// pop takes the first; the queue must not be empty.
func (q *queue[T]) pop() T {
	v := q.items[q.head]
	delete(q.in, v)
	q.head++
	if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	} else if q.head > 64 && q.head*2 > len(q.items) {
		q.items = q.items[:copy(q.items, q.items[q.head:])]
		q.head = 0
	}
	return v
}
