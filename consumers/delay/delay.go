// Package delay parks submissions that must not be handled yet and releases
// them when they are due. It owns the three delay topics, which have the
// partitions and the key of filings.validated: what is parked in a partition is
// released to the same partition there.
//
// A record is released at its due time by the releasing process's wall clock, or
// when it has been held, by that process's own steady clock, as long as its tier
// is meant for: whichever comes first. Only the longest tier parks a record again
// that is not due by then. So a clock that jumps makes a record early, or late by
// no more than a tier, and can neither lose one nor make the release spin. Being
// early is harmless: no decision of safety hangs on it, the submit stage looks at
// its gates again.
//
// Some records wait for an authority that is not well, for nobody knows how long
// ([ParkAtGate]). They are released when the worker of their partition says that filings
// get through again, tenant by tenant in turn. While it says that they do not, nothing is
// asked; when it says that a trial is due, or nobody says anything, one record of an authority
// is let out to try. What workers say is a view and may be missing or wrong: a record's
// own due time still counts.
//
// Nothing is released exactly once. A crash between the append and the commit
// releases a record twice, a straggler may be parked twice, and the fold of the
// ledger drops the repetition.
//
// # Limit
//
// A tier is read in order and released in order of due time, among the records
// that are held in memory ([Config].ReadAhead of a partition). Behind more
// records than that, one that is due earlier waits for those ahead of it: at most
// as long as its tier is meant for, which is why there are tiers.
package delay

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/crashpoint"
	"springtide/services/eventlog"
	"springtide/services/records"
)

// Group is the consumer group that releases.
const Group = "delay"

// An Appender appends records to their partitions of a topic and returns their
// offsets in the order of the records. After an error those with offset -1, or
// none, may be there or not.
type Appender interface {
	AppendAll(ctx context.Context, topic string, records []eventlog.Record) ([]int64, error)
}

// A tier is a delay topic and the longest wait it is meant for.
type tier struct {
	topic string
	limit time.Duration
}

// tiers gives the tiers, the shortest first.
func tiers() []tier {
	return []tier{
		{eventlog.TopicDelay30s, 30 * time.Second},
		{eventlog.TopicDelay5m, 5 * time.Minute},
		{eventlog.TopicDelay1h, time.Hour},
	}
}

// longest reports whether a record may be parked again in this tier.
func (t tier) longest() bool { return t.topic == eventlog.TopicDelay1h }

// Topics are the topics of all tiers.
func Topics() []string {
	var topics []string
	for _, t := range tiers() {
		topics = append(topics, t.topic)
	}
	return topics
}

// tierFor is the shortest tier that covers a wait, or the longest there is.
func tierFor(wait time.Duration) tier {
	all := tiers()
	for _, t := range all {
		if wait <= t.limit {
			return t
		}
	}
	return all[len(all)-1]
}

// Park makes a submission durable in the tier that covers the time from now to
// due, both by the caller's clock. The partition is that of its filing. The
// submission is not changed. A nil error means that it will be handled again.
func Park(ctx context.Context, log Appender, sub *springtidev1.Submission, partition int, due, now time.Time) error {
	return park(ctx, log, sub, partition, due, tierFor(due.Sub(now)).topic, false)
}

// ParkAtGate makes a submission durable until its authority is well again, as far as the
// workers say so, and until due at the latest.
func ParkAtGate(ctx context.Context, log Appender, sub *springtidev1.Submission, partition int, due time.Time) error {
	return park(ctx, log, sub, partition, due, gateTopic, true)
}

// gateTopic is the tier of those that wait at a gate. What stands behind them there waits
// no longer than it is meant for, as each is parked again after that.
const gateTopic = eventlog.TopicDelay5m

func park(ctx context.Context, log Appender, sub *springtidev1.Submission, partition int, due time.Time, topic string, atGate bool) error {
	parked := proto.CloneOf(sub)
	parked.DueTime, parked.AtGate = timestamppb.New(due), atGate
	value, err := records.MarshalSubmission(parked)
	if err != nil {
		return fmt.Errorf("encode submission %s: %w", sub.GetSubmissionId(), err)
	}
	crashpoint.At("delay/before-park")
	_, err = log.AppendAll(ctx, topic, []eventlog.Record{{
		Topic: topic, Partition: partition, Key: []byte(sub.GetFilingId()), Value: value, Tenant: sub.GetTenant(),
	}})
	if err != nil {
		return fmt.Errorf("park filing %s in %s: %w", sub.GetFilingId(), topic, err)
	}
	crashpoint.At("delay/after-park")
	return nil
}

// termsOf reads when a parked record is due, and for which authority it waits; "": for none.
// What cannot be read is due at once: the submit stage says what is to be done with it.
func termsOf(value []byte) (due time.Time, code string) {
	sub, err := records.UnmarshalHeading(value)
	if err != nil || sub.GetDueTime().CheckValid() != nil {
		return time.Time{}, ""
	}
	if sub.GetAtGate() {
		code = sub.GetCompleted().GetAuthority()
	}
	return sub.GetDueTime().AsTime(), code
}

// released is a parked value as it goes back to filings.validated.
func released(value []byte) []byte {
	sub, err := records.UnmarshalSubmission(value)
	if err != nil {
		return value
	}
	sub.DueTime, sub.AtGate = nil, false
	out, err := records.MarshalSubmission(sub)
	if err != nil {
		return value
	}
	return out
}
