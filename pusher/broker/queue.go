// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package broker

// queue is first in, first out. The zero queue is empty. It gives the memory of a
// burst back: it holds at most four times what it needs.
type queue[T any] struct {
	items []T // from head on
	head  int
}

func (q *queue[T]) len() int    { return len(q.items) - q.head }
func (q *queue[T]) at(i int) *T { return &q.items[q.head+i] }
func (q *queue[T]) push(item T) { q.items = append(q.items, item) }

// pop drops the first.
func (q *queue[T]) pop() {
	var none T
	q.items[q.head] = none
	q.head++
	switch n := q.len(); {
	case n == 0:
		*q = queue[T]{}
	case q.head <= n || q.head <= 64:
	case cap(q.items) > 4*n:
		q.items, q.head = append(make([]T, 0, 2*n), q.items[q.head:]...), 0
	default:
		copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
}
