package worker

// A Heap is a priority queue: Pop gives the least item first. Make one with
// NewHeap. It is not safe for concurrent use.
type Heap[T any] struct {
	less  func(a, b T) bool
	items []T
}

// NewHeap makes an empty heap ordered by less.
func NewHeap[T any](less func(a, b T) bool) *Heap[T] { return &Heap[T]{less: less} }

// Len is the number of items.
func (h *Heap[T]) Len() int { return len(h.items) }

// Min is the least item of a heap that is not empty; it stays in.
func (h *Heap[T]) Min() T { return h.items[0] }

// Push adds an item.
func (h *Heap[T]) Push(item T) {
	h.items = append(h.items, item)
	i := len(h.items) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if !h.less(item, h.items[parent]) {
			break
		}
		h.items[i] = h.items[parent]
		i = parent
	}
	h.items[i] = item
}

// Pop takes the least item out of a heap that is not empty.
func (h *Heap[T]) Pop() T {
	least := h.items[0]
	last := len(h.items) - 1
	item := h.items[last]
	clear(h.items[last:]) // do not keep it alive
	h.items = h.items[:last]
	if last == 0 {
		return least
	}
	i := 0
	for {
		child := 2*i + 1
		if child >= last {
			break
		}
		if right := child + 1; right < last && h.less(h.items[right], h.items[child]) {
			child = right
		}
		if !h.less(h.items[child], item) {
			break
		}
		h.items[i] = h.items[child]
		i = child
	}
	h.items[i] = item
	return least
}
