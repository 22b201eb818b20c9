package worker

import (
	"cmp"
	"slices"
)

// Progress is how far an engine is with one partition.
type Progress struct {
	Topic string
	ID    int
	// Read is one past the newest record that was read; -1: none yet.
	Read int64
	// Unfinished is how many of those that were read are not finished.
	Unfinished int
}

// Progress is how far the engine is with each partition that it is not giving
// up, by topic and number. It is safe for concurrent use and costs a look at each.
func (e *Engine) Progress() []Progress {
	e.mu.Lock()
	out := make([]Progress, 0, len(e.parts))
	for id, p := range e.parts {
		if p.draining {
			continue
		}
		g := Progress{Topic: id.topic, ID: id.id, Read: -1, Unfinished: p.unfinished}
		if p.tracker.begun {
			g.Read = p.tracker.last + 1
		}
		out = append(out, g)
	}
	e.mu.Unlock()
	slices.SortFunc(out, func(a, b Progress) int { return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.ID, b.ID)) })
	return out
}
