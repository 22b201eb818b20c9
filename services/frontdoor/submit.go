package frontdoor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/crashpoint"
	"springtide/services/eventlog"
	"springtide/services/filing"
	"springtide/services/forms"
	"springtide/services/keys"
	"springtide/services/records"
	"springtide/services/status"
	"springtide/services/telemetry/trace"
)

// filings serves FilingService.
type filings struct {
	springtidev1.UnimplementedFilingServiceServer
	*door
}

// An item is one return on its way to its acknowledgement.
type item struct {
	request *springtidev1.SubmitFilingRequest
	// key is the request id, or what stands for it in a batch that has one; empty: none.
	key          string
	id           filing.ID
	digest       filing.Digest
	submissionID string
	size         int64
	record       eventlog.Record
	// replays is the submission that the same request became before; empty: it is new, or nobody knows.
	replays string
	// known is the filing when the same content is under way or accepted, or the request was acknowledged
	// before: nothing needs to be appended.
	known *springtidev1.Filing
	// filing as it is at the acknowledgement.
	filing *springtidev1.Filing
	err    error
}

// newItem is a request to submit, with what its content is called. key may be empty.
func newItem(r *springtidev1.SubmitFilingRequest, key string) *item {
	return &item{request: r, key: key, digest: filing.DigestOf(r.GetReturn())}
}

// SubmitFiling acknowledges one return once it is durable.
func (s *filings) SubmitFiling(
	ctx context.Context, req *springtidev1.SubmitFilingRequest,
) (*springtidev1.SubmitFilingResponse, error) {
	began := time.Now()
	it := newItem(req, req.GetRequestId())
	s.submit(ctx, []*item{it}, "")
	if it.err != nil {
		return nil, it.err
	}
	if it.known == nil {
		s.acknowledged(ctx, "SubmitFiling", began, 1)
	}
	return &springtidev1.SubmitFilingResponse{
		FilingId: string(it.id), SubmissionId: it.submissionID, Filing: it.filing,
	}, nil
}

// SubmitFilingBatch acknowledges or refuses each return on its own, with one append for all or for a piece of them.
func (s *filings) SubmitFilingBatch(
	ctx context.Context, req *springtidev1.SubmitFilingBatchRequest,
) (*springtidev1.SubmitFilingBatchResponse, error) {
	began := time.Now()
	id := identityOf(ctx)
	done, err := s.turn(ctx, id.Tenant, len(req.GetRequests()))
	if err != nil {
		return nil, err
	}
	defer done()
	items := make([]*item, len(req.GetRequests()))
	for i, r := range req.GetRequests() {
		items[i] = newItem(r, cmp.Or(r.GetRequestId(), keyInBatch(req.GetRequestId(), i)))
	}
	if err := s.sameBatch(ctx, id.Tenant, req.GetRequestId(), items); err != nil {
		return nil, err
	}
	for _, it := range items {
		it.err = s.itemShape(it.request)
	}
	batch := filing.BatchID(id.Tenant, req.GetRequestId())
	s.submit(ctx, items, batch)
	resp := &springtidev1.SubmitFilingBatchResponse{Results: make([]*springtidev1.SubmitResult, len(items))}
	counts := make(map[springtidev1.FilingState]int)
	appended, acknowledged := 0, 0
	for i, it := range items {
		if it.err != nil {
			resp.Results[i] = &springtidev1.SubmitResult{Error: s.refuse(ctx, it)}
			if it.id != "" {
				resp.Results[i].FilingId = string(it.id)
			}
			continue
		}
		resp.Results[i] = &springtidev1.SubmitResult{FilingId: string(it.id), SubmissionId: it.submissionID}
		counts[it.filing.GetState()]++
		acknowledged++
		if it.known == nil {
			appended++
		}
	}
	s.acknowledged(ctx, "SubmitFilingBatch", began, appended)
	info := status.BatchInfo{Batch: batch, Title: req.GetTitle(), Size: acknowledged, CreateTime: began}
	if acknowledged > 0 {
		s.rememberBatch(ctx, id.Tenant, info)
	}
	crashpoint.At("door/before-answer")
	resp.Batch = batchOf(info, counts)
	return resp, nil
}

// refuse is the answer of one item; what is ours goes to the log, once.
func (s *filings) refuse(ctx context.Context, it *item) *springtidev1.ItemError {
	if !isOurs(it.err) {
		s.deps.Logger.ErrorContext(trace.About(ctx, string(it.id)), "item of a batch", "error", it.err)
	}
	return itemError(it.err)
}

// itemShape applies the rules of the message to one item of a batch.
func (s *filings) itemShape(r *springtidev1.SubmitFilingRequest) error {
	found, err := s.violations(r)
	if err != nil {
		return err
	}
	return found.asError()
}

// submit brings items as far as they come: each ends with an error or with a
// filing. What fails for one is nothing to another.
func (d *door) submit(ctx context.Context, items []*item, batch string) {
	d.brownout.submission()
	id := identityOf(ctx)
	first := make(map[filing.ID]int, len(items))
	for i, it := range items {
		if it.err == nil {
			it.err = d.prepare(id, it)
		}
		if it.err != nil {
			continue
		}
		if j, again := first[it.id]; again {
			it.err = &filing.Error{Reason: filing.ReasonBatchDuplicate, Args: filing.Args{"first": strconv.Itoa(j + 1)}}
			continue
		}
		first[it.id] = i
	}
	open := stillOpen(items)
	for piece := range slices.Chunk(open, d.pieceOf(id.Tenant, len(open))) {
		d.carry(ctx, id, piece, batch)
	}
}

// crowdPiece is how many returns of a tenant that crowds others out go on together: what is
// one look and one append for a whole batch is what the others' returns stand behind.
const crowdPiece = 50

// pieceOf is how many of n returns of a tenant are to go on together.
func (d *door) pieceOf(tenant string, n int) int {
	if n > crowdPiece && d.turns.crowds(tenant) {
		return crowdPiece
	}
	return max(1, n)
}

// carry looks up what is known of items that are prepared and appends the others.
func (d *door) carry(ctx context.Context, id keys.Identity, items []*item, batch string) {
	// Neither needs to know what the other finds.
	var rows []status.Lookup
	var looking sync.WaitGroup
	looking.Go(func() { rows = d.look(ctx, items) })
	d.rememberRequests(ctx, id.Tenant, items)
	looking.Wait()
	crashpoint.At("door/after-remember")
	d.recognise(id.Tenant, items, rows)
	open := stillOpen(items)
	if len(open) == 0 {
		return
	}
	now := timestamppb.Now()
	for _, it := range open {
		it.err = it.encode(id, batch, d.cfg.Partitions, now)
	}
	d.append(ctx, id.Tenant, stillOpen(open))
	d.confirmRequests(ctx, id.Tenant, stillOpen(open))
}

// stillOpen are the items that are neither refused nor answered.
func stillOpen(items []*item) []*item {
	open := make([]*item, 0, len(items))
	for _, it := range items {
		if it.err == nil && it.known == nil {
			open = append(open, it)
		}
	}
	return open
}

// prepare checks size, scope and shape, and names the filing.
func (d *door) prepare(id keys.Identity, it *item) error {
	r := it.request.GetReturn()
	it.size = int64(proto.Size(r))
	if it.size > int64(d.cfg.MaxReturnBytes) {
		return &filing.Error{Reason: filing.ReasonReturnTooLarge, Field: "return", Args: filing.Args{
			"size": strconv.FormatInt(it.size, 10), "max": strconv.Itoa(d.cfg.MaxReturnBytes),
		}}
	}
	if found := shapeProblems(d.deps.Rules.Shape(r)); len(found) > 0 {
		return found.asError()
	}
	if !id.MayActFor(r.GetTaxpayer().GetId()) {
		return &filing.Error{Reason: filing.ReasonTaxpayerDenied, Field: "return.taxpayer.id"}
	}
	it.id = filing.IDOf(id.Tenant, r)
	return nil
}

// shapeProblems puts what the forms found into the words of the catalogue.
func shapeProblems(found []forms.FieldProblem) refusals {
	var out refusals
	for _, p := range found {
		out = append(out, &filing.Error{
			Reason: shapeReason(p.Rule), Field: "return." + p.Field,
			Zh: sentences("。", p.Message.GetZh(), p.Fix.GetZh()), En: sentences(".", p.Message.GetEn(), p.Fix.GetEn()),
		})
	}
	return out
}

func shapeReason(rule string) string {
	switch rule {
	case "shape.form":
		return filing.ReasonFormUnknown
	case "shape.edition":
		return filing.ReasonEditionUnknown
	case "shape.period":
		return filing.ReasonPeriodInvalid
	case "shape.authority":
		return filing.ReasonAuthorityUnknown
	case "shape.taxpayer":
		return filing.ReasonTaxpayerInvalid
	case "shape.cell":
		return filing.ReasonCellUnknown
	case "shape.amount":
		return filing.ReasonAmountInvalid
	case "shape.context":
		return filing.ReasonContextInvalid
	default:
		return filing.ReasonFieldInvalid
	}
}

// sentences joins texts, each with a full stop unless it has an end of its own.
func sentences(stop string, texts ...string) string {
	var out []string
	for _, t := range texts {
		switch {
		case t == "":
			continue
		case strings.HasSuffix(t, "?"), strings.HasSuffix(t, stop), strings.HasSuffix(t, "。"):
			out = append(out, t)
		default:
			out = append(out, t+stop)
		}
	}
	if stop == "." {
		return strings.Join(out, " ")
	}
	return strings.Join(out, "")
}

// ignore notes a failed best-effort use of the view.
func (d *door) ignore(ctx context.Context, use string, err error) {
	d.metrics.ignored.WithLabelValues(use).Inc()
	d.deps.Logger.DebugContext(ctx, "view not used", "use", use, "error", err)
}

// look asks the view for the rows of filings. An error is as if there were none.
func (d *door) look(ctx context.Context, items []*item) []status.Lookup {
	ids := make([]filing.ID, len(items))
	for i, it := range items {
		ids[i] = it.id
	}
	look, cancel := context.WithTimeout(ctx, d.cfg.LookTimeout)
	defer cancel()
	rows, err := d.deps.Rows.Get(look, ids)
	if err == nil && len(rows) != len(ids) {
		err = fmt.Errorf("%d rows for %d ids", len(rows), len(ids))
	}
	if err != nil {
		d.ignore(ctx, "look", err)
		return make([]status.Lookup, len(ids))
	}
	return rows
}

// recognise finds the items whose filings are known. Only a row of a ready partition
// counts; a miss changes nothing.
func (d *door) recognise(tenant string, items []*item, rows []status.Lookup) {
	for i, it := range items {
		row := rows[i]
		if it.err != nil {
			continue
		}
		if it.replays != "" {
			d.replay(tenant, it, row)
			continue
		}
		if row.Mark.Phase != status.PhaseReady || !row.Found || row.Tenant != tenant || !holds(row.Filing.GetState()) {
			continue
		}
		f := dressed(row.Filing)
		if f.GetDigest() != it.digest.String() {
			it.err = &filing.Error{Reason: filing.ReasonFilingExists, Field: "return", Args: stateArgs(f)}
			continue
		}
		it.known, it.filing, it.submissionID = f, f, f.GetSubmissionId()
		d.metrics.known.Inc()
	}
}

// replay answers a request that was acknowledged before: with the filing as it is now, whatever it
// holds meanwhile, or as it was then where the view does not have it.
func (d *door) replay(tenant string, it *item, row status.Lookup) {
	f := received(&springtidev1.Submission{
		SubmissionId: it.replays, FilingId: string(it.id), Tenant: tenant, Digest: it.digest[:], Return: it.request.GetReturn(),
	})
	if row.Mark.Phase == status.PhaseReady && row.Found && row.Tenant == tenant {
		f = dressed(row.Filing)
	}
	it.known, it.filing, it.submissionID = f, f, it.replays
	d.metrics.known.Inc()
}

// holds reports whether a filing in this state certainly holds the content its
// digest names. A filing that was just received does not: its digest may be that
// of an older revision. One that needs attention may have let go of it.
func holds(s springtidev1.FilingState) bool {
	switch s {
	case springtidev1.FilingState_FILING_STATE_QUEUED, springtidev1.FilingState_FILING_STATE_SUBMITTING,
		springtidev1.FilingState_FILING_STATE_WAITING, springtidev1.FilingState_FILING_STATE_CONFIRMING,
		springtidev1.FilingState_FILING_STATE_ACCEPTED:
		return true
	default:
		return false
	}
}

// encode makes the record of a new submission.
func (it *item) encode(id keys.Identity, batch string, partitions int, now *timestamppb.Timestamp) error {
	it.submissionID = filing.NewSubmissionID()
	sub := &springtidev1.Submission{
		SubmissionId: it.submissionID, FilingId: string(it.id), Tenant: id.Tenant, Subject: id.Subject,
		Digest: it.digest[:], Return: it.request.GetReturn(), BatchId: batch,
		RequestId: it.request.GetRequestId(), ReceiveTime: now,
	}
	var err error
	it.record, err = submissionRecord(sub, partitions)
	it.filing = received(sub)
	return err
}

func submissionRecord(sub *springtidev1.Submission, partitions int) (eventlog.Record, error) {
	value, err := records.MarshalSubmission(sub)
	if err != nil {
		return eventlog.Record{}, fmt.Errorf("encode submission %s: %w", sub.GetSubmissionId(), err)
	}
	id := filing.ID(sub.GetFilingId())
	return eventlog.Record{
		Topic: eventlog.TopicSubmitted, Partition: id.Partition(partitions),
		Key: []byte(id), Value: value, Tenant: sub.GetTenant(),
	}, nil
}

// append admits the items and makes them durable, all in one go.
func (d *door) append(ctx context.Context, tenant string, items []*item) {
	if len(items) == 0 {
		return
	}
	refuse := func(err error) {
		for _, it := range items {
			it.err = err
		}
	}
	defer d.split(ctx, items)()
	var size int64
	records := make([]eventlog.Record, len(items))
	for i, it := range items {
		records[i] = it.record
		size += int64(len(it.record.Value))
	}
	crashpoint.At("door/before-admission")
	release, err := d.admit(tenant, int64(len(items)), size)
	if err != nil {
		refuse(err)
		return
	}
	defer release()
	crashpoint.At("door/before-append")
	offsets, err := d.appendAll(ctx, eventlog.TopicSubmitted, records)
	crashpoint.At("door/after-append")
	for i, it := range items {
		if i >= len(offsets) || offsets[i] < 0 {
			it.err = err
			continue
		}
		it.filing.Position = offsets[i]
		d.cache.drop(it.id)
	}
}

// admit asks admission control and takes room for what will wait for the log.
func (d *door) admit(tenant string, n, size int64) (release func(), err error) {
	overloaded := &filing.Error{Reason: filing.ReasonOverloaded, RetryAfter: time.Second}
	if !d.inFlight.TryAcquire(n) {
		return nil, overloaded
	}
	if !d.bytes.TryAcquire(size) {
		d.inFlight.Release(n)
		return nil, overloaded
	}
	// Last, as it counts what it takes.
	if d.deps.Admission != nil {
		if err := d.deps.Admission.Admit(tenant, int(n)); err != nil {
			d.inFlight.Release(n)
			d.bytes.Release(size)
			return nil, err
		}
	}
	return func() {
		d.inFlight.Release(n)
		d.bytes.Release(size)
	}, nil
}

// appendAll appends and puts a failure into the words of the catalogue. An
// offset of -1 goes with the error.
func (d *door) appendAll(ctx context.Context, topic string, records []eventlog.Record) ([]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.AppendTimeout)
	defer cancel()
	offsets, err := d.deps.Log.AppendAll(ctx, topic, records)
	switch {
	case err == nil && len(offsets) == len(records):
		return offsets, nil
	case err == nil:
		err = fmt.Errorf("%d offsets for %d records", len(offsets), len(records))
	case errors.Is(err, eventlog.ErrTooLarge):
		return offsets, &filing.Error{Reason: filing.ReasonReturnTooLarge, Field: "return", Err: err, Args: filing.Args{
			"size": strconv.Itoa(len(records[0].Value)), "max": strconv.Itoa(d.cfg.MaxReturnBytes),
		}}
	}
	reason := filing.ReasonLogUnavailable
	if errors.Is(err, eventlog.ErrOutcomeUnknown) || ctx.Err() != nil {
		reason = filing.ReasonOutcomeUnknown
	}
	d.deps.Logger.WarnContext(ctx, "append failed", "topic", topic, "records", len(records), "error", err)
	return offsets, &filing.Error{Reason: reason, RetryAfter: time.Second, Err: err}
}

// rememberBatch keeps what cannot be counted from the rows. Best effort.
func (d *door) rememberBatch(ctx context.Context, tenant string, info status.BatchInfo) {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.LookTimeout)
	defer cancel()
	if err := d.deps.Memory.PutBatch(ctx, tenant, info); err != nil {
		d.ignore(ctx, "batch", err)
	}
}
