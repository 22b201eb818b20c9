package eventlog

import (
	"maps"
	"slices"
	"time"
	"unicode/utf8"
)

// spareTime is for how long a partition of which readers were fed is left out of the
// shared fetch, and so about the longest that what others append to it waits.
const spareTime = 25 * time.Millisecond

// feed hands what was just acknowledged to the readers of this process that stand right
// before it. The broker has said which offsets the records have, and all in-sync replicas
// have them: a fetch could bring nothing else, and costs the broker as much as the append.
// Whoever does not stand there (others have appended in between, or an append was tried
// twice) gets it from a fetch, as does whoever is not at the tail.
func (l *Log) feed(load []*parcel) {
	fresh := make(map[place]*parcel, len(load))
	for _, p := range load {
		if p.err == nil {
			fresh[p.place()] = p
		}
	}
	l.mu.Lock()
	tails := slices.Collect(maps.Values(l.tails))
	l.mu.Unlock()
	for _, t := range tails {
		t.feed(fresh)
	}
}

func (t *tail) feed(fresh map[place]*parcel) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	shared := make(map[*parcel][]Record)
	for _, s := range slices.Clone(t.members) { // put may let one go
		p := fresh[s.place()]
		if p == nil || s.next < p.base {
			continue
		}
		// A fetch that was out may have been quicker this time. The next one does not ask.
		s.fed = now
		if s.next >= p.base+int64(len(p.batch)) {
			continue
		}
		if shared[p] == nil {
			shared[p] = p.records()
		}
		t.put(s, shared[p])
	}
}

// records are those of a parcel that arrived, as a reader gets them.
func (p *parcel) records() []Record {
	out := make([]Record, len(p.batch))
	for i, w := range p.batch {
		r := w.record
		r.Topic, r.Partition, r.Offset = p.to.topic.name, p.to.partition, p.base+int64(i)
		r.Time = time.UnixMilli(timeOf(&r, p.now).UnixMilli())
		r.Tenant, r.Trace = readable(r.Tenant), readable(r.Trace)
		out[i] = r
	}
	return out
}

// readable is a header as a reader gets it: none, if it is no text.
func readable(s string) string {
	if !utf8.ValidString(s) {
		return ""
	}
	return s
}
