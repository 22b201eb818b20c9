package frontdoor

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/acts"
	"springtide/services/eventlog"
	"springtide/services/filing"
	"springtide/services/records"
)

// operators serves OperationsService. Where a door has no monitor, what needs one
// answers UNIMPLEMENTED in our shape.
type operators struct {
	springtidev1.UnimplementedOperationsServiceServer
	*door
}

// A place is one record of the dead letter topic, "partition-offset" outside.
type place struct {
	partition int
	offset    int64
}

func (p place) String() string {
	return strconv.Itoa(p.partition) + "-" + strconv.FormatInt(p.offset, 10)
}

// parsePlace reads a place; there is exactly one way to write one.
func parsePlace(s string) (place, bool) {
	left, right, _ := strings.Cut(s, "-")
	partition, err1 := strconv.Atoi(left)
	offset, err2 := strconv.ParseInt(right, 10, 64)
	p := place{partition, offset}
	return p, err1 == nil && err2 == nil && partition >= 0 && offset >= 0 && p.String() == s
}

// ListDeadLetters lists dead letters partition by partition, newest first in
// each. The page token is the place to go on below.
func (o *operators) ListDeadLetters(
	ctx context.Context, req *springtidev1.ListDeadLettersRequest,
) (*springtidev1.ListDeadLettersResponse, error) {
	const defaultPage = 100
	size := int64(req.GetPageSize())
	if size == 0 {
		size = defaultPage
	}
	parts, err := o.deps.Log.Offsets(ctx, eventlog.TopicDead)
	if err != nil {
		return nil, &filing.Error{Reason: filing.ReasonLogUnavailable, Err: err}
	}
	at := place{}
	if len(parts) > 0 {
		at.offset = parts[0].End
	}
	if token := req.GetPageToken(); token != "" {
		var ok bool
		if at, ok = parsePlace(token); !ok || at.partition >= len(parts) {
			return nil, &filing.Error{Reason: filing.ReasonPageTokenInvalid, Field: "page_token"}
		}
	}
	resp := &springtidev1.ListDeadLettersResponse{}
	for at.partition < len(parts) {
		span := parts[at.partition]
		end := min(at.offset, span.End)
		from := max(span.Start, end-(size-int64(len(resp.DeadLetters))))
		if from < end {
			records, err := o.deps.Records.Range(ctx, eventlog.TopicDead, span.Partition, from, end)
			if err != nil {
				return nil, &filing.Error{Reason: filing.ReasonLogUnavailable, Err: err}
			}
			for _, r := range slices.Backward(records) {
				resp.DeadLetters = append(resp.DeadLetters, deadLetterInfo(r))
			}
		}
		switch {
		case from > span.Start:
			resp.NextPageToken = place{at.partition, from}.String()
			return resp, nil
		case at.partition+1 == len(parts):
			return resp, nil
		}
		at = place{at.partition + 1, parts[at.partition+1].End}
		if int64(len(resp.DeadLetters)) >= size {
			resp.NextPageToken = at.String()
			return resp, nil
		}
	}
	return resp, nil
}

func deadLetterInfo(r eventlog.Record) *springtidev1.DeadLetterInfo {
	info := &springtidev1.DeadLetterInfo{DeadLetterId: place{r.Partition, r.Offset}.String(), FilingId: string(r.Key)}
	letter := &springtidev1.DeadLetter{}
	if err := proto.Unmarshal(r.Value, letter); err != nil {
		info.Reason = "the dead letter itself cannot be read"
		return info
	}
	info.FilingId, info.Reason = letter.GetFilingId(), letter.GetReason()
	info.Stage, info.Time = letter.GetStage(), letter.GetTime()
	return info
}

// ReplayDeadLetter submits the submission of a dead letter again, as a normal
// command. Replaying twice is harmless: the second links to the first. A filing
// that may have been sent is in quarantine, and a replay leaves it there.
func (o *operators) ReplayDeadLetter(
	ctx context.Context, req *springtidev1.ReplayDeadLetterRequest,
) (resp *springtidev1.ReplayDeadLetterResponse, err error) {
	err = o.recorded(ctx, acts.Replayed, req.GetDeadLetterId(), req.GetReason(), func() error {
		resp, err = o.replay(ctx, req)
		return err
	})
	return resp, err
}

func (o *operators) replay(
	ctx context.Context, req *springtidev1.ReplayDeadLetterRequest,
) (*springtidev1.ReplayDeadLetterResponse, error) {
	at, ok := parsePlace(req.GetDeadLetterId())
	if !ok {
		return nil, &filing.Error{Reason: filing.ReasonIDInvalid, Field: "dead_letter_id"}
	}
	parts, err := o.deps.Log.Offsets(ctx, eventlog.TopicDead)
	if err != nil {
		return nil, &filing.Error{Reason: filing.ReasonLogUnavailable, Err: err}
	}
	if at.partition >= len(parts) || at.offset < parts[at.partition].Start || at.offset >= parts[at.partition].End {
		return nil, &filing.Error{Reason: filing.ReasonNotFound, Field: "dead_letter_id"}
	}
	records, err := o.deps.Records.Range(ctx, eventlog.TopicDead, at.partition, at.offset, at.offset+1)
	if err != nil {
		return nil, &filing.Error{Reason: filing.ReasonLogUnavailable, Err: err}
	}
	sub, err := o.deadSubmission(ctx, records)
	if err != nil {
		return nil, err
	}
	if _, err := o.again(ctx, sub); err != nil {
		return nil, err
	}
	return &springtidev1.ReplayDeadLetterResponse{}, nil
}

// deadSubmission finds the submission of a dead letter. Behind the validate stage
// a record no longer carries the return as it was typed, so that is read back.
func (o *operators) deadSubmission(ctx context.Context, found []eventlog.Record) (*springtidev1.Submission, error) {
	sub, err := decodeDead(found)
	if err == nil && sub.GetReturn() == nil {
		id := filing.ID(sub.GetFilingId())
		if !id.Valid() || sub.GetPosition() < 0 {
			err = fmt.Errorf("submission %s at position %d names no filing", sub.GetSubmissionId(), sub.GetPosition())
		} else if sub, err = o.submissionAt(ctx, id, sub.GetPosition()); err != nil {
			return nil, err
		}
	}
	if err == nil {
		if id := filing.ID(sub.GetFilingId()); sub.GetTenant() == "" || id != filing.IDOf(sub.GetTenant(), sub.GetReturn()) {
			err = fmt.Errorf("submission %s does not name its own filing", sub.GetSubmissionId())
		}
	}
	if err != nil {
		return nil, &filing.Error{Reason: filing.ReasonNotReplayable, Field: "dead_letter_id", Err: err}
	}
	return sub, nil
}

// decodeDead takes what a dead letter holds out of it.
func decodeDead(found []eventlog.Record) (*springtidev1.Submission, error) {
	if len(found) != 1 {
		return nil, fmt.Errorf("%d records", len(found))
	}
	letter := &springtidev1.DeadLetter{}
	if err := proto.Unmarshal(found[0].Value, letter); err != nil {
		return nil, fmt.Errorf("dead letter: %w", err)
	}
	switch letter.GetTopic() {
	case eventlog.TopicSubmitted, eventlog.TopicValidated,
		eventlog.TopicDelay30s, eventlog.TopicDelay5m, eventlog.TopicDelay1h:
	default:
		return nil, fmt.Errorf("a record of %s is no submission", letter.GetTopic())
	}
	sub, err := records.UnmarshalSubmission(letter.GetValue())
	if err != nil {
		return nil, fmt.Errorf("submission: %w", err)
	}
	return sub, nil
}

// again puts a submission back to work, as it was when it was new. It gets a
// position of its own, so it opens a filing that was put aside and only links to
// one that is under way or accepted: doing it twice is harmless.
func (o *operators) again(ctx context.Context, sub *springtidev1.Submission) (*springtidev1.Filing, error) {
	sub.Position, sub.Failures, sub.Completed, sub.Warnings, sub.DueTime = 0, 0, nil, nil, nil
	sub.Reopen = false // a wish that was heard once: a refusal since then stands
	record, err := submissionRecord(sub, o.cfg.Partitions)
	if err != nil {
		return nil, err
	}
	it := &item{id: filing.ID(sub.GetFilingId()), record: record, filing: received(sub)}
	o.append(ctx, sub.GetTenant(), []*item{it})
	return it.filing, it.err
}
