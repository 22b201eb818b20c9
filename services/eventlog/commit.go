package eventlog

import (
	"context"
	"time"

	"github.com/segmentio/kafka-go"

	"springtide/services/crashpoint"
)

// commitLoop is all that lives inside a generation: it stores offsets, and
// proves by it that the member is still in the group. Returning ends the
// generation, and the member joins again.
func (m *member) commitLoop(ended context.Context, gen *kafka.Generation) {
	ticker := time.NewTicker(m.cfg.CommitEvery)
	defer ticker.Stop()
	handed := false
	for {
		select {
		case <-ended.Done():
			m.commit(ended, gen, false)
			return
		case <-ticker.C:
		case <-m.nudge:
			m.mu.Lock()
			handed = m.handing
			m.mu.Unlock()
		}
		m.commit(ended, gen, true)
		if handed {
			return // join again, owning nothing
		}
	}
}

// commit stores what the runners finished since the last time. With nothing new
// it may store an old offset again: that is how the coordinator is asked
// whether it still knows this member, because it refuses the commits of others.
func (m *member) commit(ctx context.Context, gen *kafka.Generation, probe bool) {
	offsets, stored := m.collect()
	if len(offsets) == 0 && probe {
		offsets = m.probe(ctx)
	}
	if len(offsets) == 0 {
		return
	}
	began := m.live.now()
	crashpoint.At("eventlog/before-commit")
	if err := gen.CommitOffsets(offsets); err != nil {
		// A rebalance or a lost session shows here first. The heartbeat ends
		// the generation; what is not stored now is stored by the next one or
		// done again by the next owner.
		m.metrics.commitErrors.WithLabelValues(m.cfg.Group).Inc()
		m.slog.Debug("commit refused", "generation", gen.ID, "error", err)
		return
	}
	crashpoint.At("eventlog/after-commit")
	m.live.proved(began)
	for _, done := range stored {
		done()
	}
}

// collect returns the offsets to store, by full topic name, and what to call
// once they are stored. Only partitions of this generation count: another
// member may be further with the rest.
func (m *member) collect() (map[string]map[int]int64, []func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make(map[string]map[int]int64)
	var stored []func()
	for p := range m.owned {
		r := m.runners[p]
		if r == nil {
			continue
		}
		for topic, offset := range r.a.unsaved() {
			if offset < m.owned[p][topic] {
				continue // it was away and came back: others have been further
			}
			full := m.log.topics[topic].full
			if out[full] == nil {
				out[full] = make(map[int]int64)
			}
			out[full][p] = offset
			stored = append(stored, func() { r.a.saved(topic, offset) })
		}
	}
	return out, stored
}

// probe returns one offset that can be stored without changing anything: the
// one that is stored already, or the first one where nothing is.
func (m *member) probe(ctx context.Context) map[string]map[int]int64 {
	one := func(topic string, p int, offset int64) map[string]map[int]int64 {
		return map[string]map[int]int64{m.log.topics[topic].full: {p: offset}}
	}
	fresh := -1
	m.mu.Lock()
	for p := range m.owned {
		r := m.runners[p]
		if r == nil {
			continue
		}
		for topic, offset := range r.a.progress(m.owned[p]) {
			if offset >= 0 {
				m.mu.Unlock()
				return one(topic, p, offset)
			}
		}
		fresh = p
	}
	m.mu.Unlock()
	if fresh < 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, m.cfg.SessionTimeout/2)
	defer cancel()
	topic := m.cfg.Topics[0]
	span, err := m.log.offsets(ctx, m.log.topics[topic], fresh)
	if err != nil {
		return nil
	}
	return one(topic, fresh, span.Start)
}
