package project

import (
	"context"
	"time"

	"springtide/services/eventlog"
	"springtide/services/telemetry/trace"
)

// mostShown bounds how many records are told of at once; of more, nothing is told.
const mostShown = 4096

// taken is a record of a trace, and when it was folded.
type taken struct {
	topic, key, trace string
	offset            int64
	at                time.Time
}

// note remembers a record that is news: what was in the log when the projector
// began was shown before.
func (j *projector) note(r eventlog.Record) {
	end := j.p.SubmittedEnd
	if r.Topic == eventlog.TopicLedger {
		end = j.p.LedgerEnd
	}
	if r.Trace == "" || r.Offset < end || len(j.shown) == mostShown || !j.p.Tracer.Keeps(r.Trace) {
		return
	}
	j.shown = append(j.shown, taken{r.Topic, string(r.Key), r.Trace, r.Offset, time.Now()})
}

// show tells each trace that its record is in the view now. Many records are
// written at once; each trace gets a step of its own.
func (j *projector) show(ctx context.Context) {
	for _, r := range j.shown {
		j.p.Tracer.Past(ctx, "project", r.trace, r.at, func(span *trace.Span) {
			span.Word(trace.Filing, r.key).Word(trace.Topic, r.topic).
				Number(trace.Partition, int64(j.p.ID)).Number(trace.Offset, r.offset).Number(trace.Records, int64(len(j.shown)))
		})
	}
	clear(j.shown)
	j.shown = j.shown[:0]
}
