// Package validate is the stage that checks: every submission meets its form's
// rules here. Good input goes on to filings.validated, with computed cells
// filled; bad input ends as Invalid in the ledger, with every violation at once.
// It is stateless: a submission that is handled twice ends the same way twice.
package validate

import (
	"context"
	"fmt"

	"springtide/consumers/deadletter"
	"springtide/consumers/ledger"
	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/crashpoint"
	"springtide/services/eventlog"
	"springtide/services/filing"
	"springtide/services/forms"
	"springtide/services/records"
	"springtide/services/telemetry/trace"
)

// Group is the consumer group of this stage.
const Group = "validate"

// A Checker applies the rules of a return's form.
type Checker interface {
	Check(r *springtidev1.Return) forms.Result
}

// A Handler works on one partition of filings.submitted. It is safe for concurrent use.
type Handler struct {
	rules     Checker
	log       ledger.Appender
	ledger    *ledger.Writer
	partition int
}

// New makes the handler of a partition.
func New(rules Checker, log ledger.Appender, partition int) *Handler {
	return &Handler{rules: rules, log: log, ledger: ledger.NewWriter(log, partition), partition: partition}
}

// Handle checks one submission and makes its next step durable.
func (h *Handler) Handle(ctx context.Context, r eventlog.Record) error {
	sub, err := records.UnmarshalSubmission(r.Value)
	if err != nil {
		return deadletter.Send(ctx, h.log, Group, r, fmt.Errorf("decode submission: %w", err))
	}
	sub.Position = r.Offset
	crashpoint.At("validate/before-check")
	result := h.rules.Check(sub.GetReturn())
	if !result.OK() {
		return h.refuse(ctx, sub, result.Violations)
	}
	return h.pass(ctx, r, sub, result)
}

func (h *Handler) refuse(ctx context.Context, sub *springtidev1.Submission, violations []*springtidev1.Violation) error {
	trace.Fail(ctx, "invalid")
	ev := ledger.NewEvent(filing.ID(sub.GetFilingId()), filing.DigestFrom(sub.GetDigest()))
	ev.Event = &springtidev1.LedgerEvent_Invalid{Invalid: &springtidev1.Invalid{
		Click: ledger.ClickOf(sub), Violations: violations,
	}}
	crashpoint.At("validate/before-invalid")
	_, err := h.ledger.Append(ctx, sub.GetTenant(), ev)
	crashpoint.At("validate/after-invalid")
	return err
}

// pass sends the completed return on. The return as it was typed stays behind in
// filings.submitted; its digest goes along.
func (h *Handler) pass(ctx context.Context, r eventlog.Record, sub *springtidev1.Submission, result forms.Result) error {
	sub.Completed, sub.Return, sub.Warnings = result.Completed, nil, result.Violations
	value, err := records.MarshalSubmission(sub)
	if err != nil {
		return fmt.Errorf("encode submission: %w", err)
	}
	crashpoint.At("validate/before-pass")
	_, err = h.log.AppendAll(ctx, eventlog.TopicValidated, []eventlog.Record{{
		Topic: eventlog.TopicValidated, Partition: h.partition, Key: r.Key, Value: value, Tenant: r.Tenant,
	}})
	if err != nil {
		return fmt.Errorf("append to %s: %w", eventlog.TopicValidated, err)
	}
	crashpoint.At("validate/after-pass")
	return nil
}
