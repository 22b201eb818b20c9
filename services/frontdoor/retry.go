package frontdoor

import (
	"context"
	"strconv"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/acts"
	"springtide/services/filing"
)

// RetryFailures has all filings that failed for one reason tried again, by a run that
// goes on when the caller has left. What may have been sent is never among them. A run
// that is under way for the same reason, at whichever door, is named instead of a second.
func (o *operators) RetryFailures(
	ctx context.Context, req *springtidev1.RetryFailuresRequest,
) (*springtidev1.RetryFailuresResponse, error) {
	if o.deps.Monitor == nil || o.deps.Attention == nil {
		return o.UnimplementedOperationsServiceServer.RetryFailures(ctx, req)
	}
	failure, ok := filing.ParseFailure(req.GetReason())
	if !ok {
		return nil, &filing.Error{Reason: filing.ReasonFieldInvalid, Field: "reason", Args: filing.Args{"detail": "state:code, as ListFailures gives it"}}
	}
	d := deed(ctx, acts.Retried, req.GetReason(), req.GetWhy())
	if !failure.Retryable() {
		name := filing.WordsOf(failure.State).Name
		err := &filing.Error{Reason: filing.ReasonNotRetryable, Args: filing.Args{"state_zh": name.GetZh(), "state_en": name.GetEn()}}
		return nil, o.note(ctx, d, err)
	}
	groups, err := o.deps.Monitor.Failures()
	if err != nil {
		return nil, err
	}
	resp := &springtidev1.RetryFailuresResponse{}
	for _, g := range groups {
		if g.GetReason() == req.GetReason() {
			resp.Count = g.GetCount()
		}
	}
	if req.GetPreview() {
		resp.Run, resp.AlreadyRunning = o.deps.Acts.RunFor(req.GetReason())
		return resp, nil
	}
	select {
	case <-o.draining:
		return nil, &filing.Error{Reason: filing.ReasonDraining, RetryAfter: time.Second}
	default:
	}
	const defaultRate = 50
	d.PerSecond, d.Count = req.GetPerSecond(), resp.GetCount()
	if d.PerSecond == 0 {
		d.PerSecond = defaultRate
	}
	act, err := o.deps.Acts.Begin(ctx, d)
	if err != nil {
		return nil, err
	}
	if act.GetOutcome() == acts.Already {
		resp.AlreadyRunning = true
		resp.Run, _ = o.deps.Acts.LastRunFor(req.GetReason()) // it may have ended by now
		return resp, nil
	}
	resp.Run, _ = o.deps.Acts.RunOf(act.GetActId())
	// The run is the door's, not the call's: it ends by itself or when the door drains.
	running := context.WithoutCancel(ctx)
	o.runs.Go(func() { o.retry(running, act.GetActId(), failure, d) })
	return resp, nil
}

// GetRetryRun gives a run with what became of each filing.
func (o *operators) GetRetryRun(
	ctx context.Context, req *springtidev1.GetRetryRunRequest,
) (*springtidev1.GetRetryRunResponse, error) {
	if o.deps.Acts == nil {
		return o.UnimplementedOperationsServiceServer.GetRetryRun(ctx, req)
	}
	const defaultPage = 500
	size, from := int(req.GetPageSize()), 0
	if size == 0 {
		size = defaultPage
	}
	if token := req.GetPageToken(); token != "" {
		var err error
		if from, err = strconv.Atoi(token); err != nil || from < 0 {
			return nil, &filing.Error{Reason: filing.ReasonPageTokenInvalid, Field: "page_token"}
		}
	}
	run, ok := o.deps.Acts.RunOf(req.GetRunId())
	if !ok {
		return nil, &filing.Error{Reason: filing.ReasonNotFound, Field: "run_id"}
	}
	results, next := o.deps.Acts.Results(req.GetRunId(), from, size)
	resp := &springtidev1.GetRetryRunResponse{Run: run, Results: results}
	if next >= 0 {
		resp.NextPageToken = strconv.Itoa(next)
	}
	return resp, nil
}

const (
	// retryAtOnce bounds how many filings of a run are read back at the same time.
	retryAtOnce = 8
	// progressEvery is how often a run says that it is alive.
	progressEvery = 2 * time.Second
	// retryPatience is how often a page that cannot be read is asked for again.
	retryPatience = 30
)

// A retryRun is owned by its goroutine.
type retryRun struct {
	*operators
	id      string
	failure filing.Failure
	deed    acts.Deed
	results []*springtidev1.RetryResult // not recorded yet
	before  int64                       // recorded
	told    time.Time
}

// retry walks through the filings of a failure, newest first, and puts each back to work.
func (o *operators) retry(ctx context.Context, id string, failure filing.Failure, d acts.Deed) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var watcher sync.WaitGroup
	watcher.Go(func() {
		select {
		case <-o.draining:
			cancel()
		case <-ctx.Done():
		}
	})
	defer watcher.Wait()
	defer cancel()
	r := &retryRun{operators: o, id: id, failure: failure, deed: d, told: time.Now()}
	outcome := acts.Done
	if err := r.walk(ctx); err != nil {
		whole, _ := problems(err)
		if outcome = whole.Reason; ctx.Err() != nil {
			outcome = acts.Interrupted
		}
	}
	ending, stop := context.WithTimeout(context.WithoutCancel(ctx), o.cfg.AppendTimeout)
	defer stop()
	r.tell(ending, true)
	o.unrecorded(ctx, o.deps.Acts.End(ending, id, outcome))
}

// walk goes through all pages. A filing that is put back to work and fails again keeps
// its place or becomes newer, and both lie behind: none is met twice.
func (r *retryRun) walk(ctx context.Context) error {
	const pageSize = 200
	chunk := max(1, min(retryAtOnce, int(r.deed.PerSecond)))
	pace := time.NewTicker(max(time.Millisecond, time.Duration(chunk)*time.Second/time.Duration(r.deed.PerSecond)))
	defer pace.Stop()
	token, tries := "", 0
	for {
		page, err := r.deps.Attention.ListState(ctx, r.failure.State, pageSize, token)
		if err != nil {
			if tries++; tries > retryPatience || ctx.Err() != nil {
				return viewError(err)
			}
			if err := rest(ctx, time.Second); err != nil {
				return err
			}
			continue
		}
		tries = 0
		due := make([]*springtidev1.Filing, 0, len(page.Filings))
		for _, f := range page.Filings {
			if failure, ok := filing.FailureOf(f); ok && failure == r.failure {
				due = append(due, f)
			}
		}
		for len(due) > 0 {
			n := min(chunk, len(due))
			r.some(ctx, due[:n])
			due = due[n:]
			r.tell(ctx, false)
			select {
			case <-pace.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if token = page.NextPageToken; token == "" {
			return nil
		}
		r.tell(ctx, false)
	}
}

// rest waits, or gives the end of the context.
func rest(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// some puts a few filings back to work side by side.
func (r *retryRun) some(ctx context.Context, due []*springtidev1.Filing) {
	results := make([]*springtidev1.RetryResult, len(due))
	var group sync.WaitGroup
	for i, f := range due {
		group.Go(func() {
			results[i] = &springtidev1.RetryResult{FilingId: f.GetFilingId()}
			err := r.guarded(func() error { return r.one(ctx, filing.ID(f.GetFilingId())) })
			if err == nil {
				return
			}
			whole, _ := problems(err)
			if results[i].Error = whole.Reason; whole.Reason == filing.ReasonNotRetryable {
				results[i].Error = acts.Skipped
			}
		})
	}
	group.Wait()
	r.results = append(r.results, results...)
}

// one puts a filing back to work, if it is still in the state that was to be retried.
func (r *retryRun) one(ctx context.Context, id filing.ID) error {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.RequestTimeout)
	defer cancel()
	ctx, span := r.deps.Tracer.Split(ctx, "retry") // hours may lie between: a trace of its own, linked to the first
	defer span.End()
	// The row counts once it is as new as the log: an older one may show what was retried already.
	end, err := r.submittedEnd(ctx, make(map[int]int64), id)
	if err != nil {
		return err
	}
	row, ok := r.await(ctx, id, end, 0, newPause(r.cfg.CatchUp))
	if !ok {
		return rebuilding(nil)
	}
	f := row.Filing
	if failure, failed := filing.FailureOf(f); !failed || failure != r.failure {
		return &filing.Error{Reason: filing.ReasonNotRetryable}
	}
	var sub *springtidev1.Submission
	if f.GetDigest() == "" { // refused before the ledger knew its content
		sub, err = r.submissionAt(ctx, id, f.GetPosition())
	} else {
		sub, err = r.contentOf(ctx, id, f)
	}
	if err != nil {
		return err
	}
	switch r.failure.State {
	case springtidev1.FilingState_FILING_STATE_REJECTED, springtidev1.FilingState_FILING_STATE_INVALID:
		return r.reopen(ctx, id, sub)
	default:
		_, err = r.again(ctx, sub)
		return err
	}
}

// reopen submits a refused return once more, unchanged, as its own accountant could.
func (r *retryRun) reopen(ctx context.Context, id filing.ID, old *springtidev1.Submission) (err error) {
	again := &springtidev1.Submission{
		SubmissionId: filing.NewSubmissionID(), FilingId: string(id), Tenant: old.GetTenant(), Subject: r.deed.Subject,
		Digest: old.GetDigest(), Return: old.GetReturn(), BatchId: old.GetBatchId(), ReceiveTime: timestamppb.Now(), Reopen: true,
	}
	it := &item{id: id, filing: received(again)}
	if it.record, err = submissionRecord(again, r.cfg.Partitions); err != nil {
		return err
	}
	r.append(ctx, again.GetTenant(), []*item{it})
	return it.err
}

// tell records what was done, and that the run is alive.
func (r *retryRun) tell(ctx context.Context, last bool) {
	const most = 500
	if !last && len(r.results) < most && time.Since(r.told) < progressEvery {
		return
	}
	if last && len(r.results) == 0 {
		return
	}
	r.told = time.Now()
	if err := r.deps.Acts.Progress(ctx, r.id, r.before, r.results); err != nil {
		r.unrecorded(ctx, err) // they go with the next record
		return
	}
	r.before, r.results = r.before+int64(len(r.results)), nil
}
