package cli

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
	"springtide/services/returns"
)

// The limits of one request to the front door.
const (
	mostInBatch = 500
	// mostBytes leaves room below the front door's cap of 1 MiB for what surrounds the returns.
	mostBytes = 1<<20 - 16<<10
)

// A Filer submits returns and follows them to the end.
type Filer struct {
	Client springtidev1.FilingServiceClient
	UI     UI
	// Title names the batch; empty: none.
	Title string
	// NoWait returns after the last acknowledgement.
	NoWait bool
	// Patience is how long trying goes on without a single success; 0: five minutes.
	Patience time.Duration

	timing  timing
	address string
	reached *atomic.Bool
}

// File submits every item that can be submitted, in batches, and follows them
// until each filing has ended. It repeats what was not answered, with the same
// request ids, so that nothing is filed twice. The report has one entry per
// item, in order, and is never nil. The error is nil when everything was
// followed to the end; ErrInterrupted when ctx was cancelled, after what was
// being sent had been answered; otherwise why it could not go on. Progress is shown on UI.Err.
func (f Filer) File(ctx context.Context, items []returns.Item) (*Report, error) {
	if f.timing == (timing{}) {
		f.timing = defaultTiming()
	}
	began := time.Now()
	report := &Report{Entries: make([]Entry, len(items))}
	defer func() { report.Elapsed = time.Since(began) }()
	requests := prepareRequests(items, report.Entries)
	progress := NewProgress(f.UI, len(items))
	r := &run{filer: f, report: report, progress: progress, requests: requests}
	r.retry = retrier{
		timing: f.timing, address: f.address, patience: cmp.Or(f.Patience, defaultPatience), lang: f.UI.Lang,
		reached: cmp.Or(f.reached, &atomic.Bool{}), note: progress.Say,
	}
	err := r.submitAll(ctx)
	if err == nil && !f.NoWait {
		err = r.followAll(ctx)
	}
	progress.now = r.step()
	progress.Close()
	return report, err
}

// run is one call of File.
type run struct {
	filer    Filer
	report   *Report
	progress *Progress
	retry    retrier
	// requests has one element per entry; nil for what cannot be submitted.
	requests []*springtidev1.SubmitFilingRequest
}

// prepareRequests fills the entries and makes a request of every item that can be submitted.
func prepareRequests(items []returns.Item, entries []Entry) []*springtidev1.SubmitFilingRequest {
	press := rand.Text() // names this press of the button
	requests := make([]*springtidev1.SubmitFilingRequest, len(items))
	first := make(map[string]int)
	for i, it := range items {
		entries[i] = Entry{Source: it.Source, Return: it.Return}
		if it.Err != nil {
			entries[i].Refusal = RefusalOf(it.Err)
			continue
		}
		req := &springtidev1.SubmitFilingRequest{
			Return: it.Return, RequestId: cmp.Or(it.RequestID, press+"-"+strconv.Itoa(i)),
		}
		if problem := unsendable(req, i, first); problem != nil {
			entries[i].Refusal = RefusalOf(problem)
			continue
		}
		requests[i] = req
	}
	return requests
}

// unsendable refuses what would spoil the request it travels in. Duplicates are
// told by the number in the whole input, which a batch cannot know.
func unsendable(req *springtidev1.SubmitFilingRequest, i int, first map[string]int) error {
	raw, err := proto.Marshal(req)
	if err != nil {
		return &filing.Error{Reason: filing.ReasonInvalidUTF8, Err: err}
	}
	if len(raw) > mostBytes {
		return &filing.Error{Reason: filing.ReasonReturnTooLarge, Args: filing.Args{
			"size": strconv.Itoa(len(raw)), "max": strconv.Itoa(mostBytes),
		}}
	}
	id := string(filing.IDOf("", req.GetReturn())) // the same without a tenant means the same with any
	if earlier, again := first[id]; again {
		return &filing.Error{Reason: filing.ReasonBatchDuplicate, Args: filing.Args{"first": strconv.Itoa(earlier + 1)}}
	}
	first[id] = i
	return nil
}

// batches groups what can be submitted into requests within the limits, in order.
func batches(requests []*springtidev1.SubmitFilingRequest) [][]int {
	var all [][]int
	var batch []int
	size := 0
	for i, req := range requests {
		if req == nil {
			continue
		}
		n := proto.Size(req) + 8 // tag and length
		if len(batch) == mostInBatch || (len(batch) > 0 && size+n > mostBytes) {
			all, batch, size = append(all, batch), nil, 0
		}
		batch, size = append(batch, i), size+n
	}
	if len(batch) > 0 {
		all = append(all, batch)
	}
	return all
}

// submitAll sends every batch. What is not sent says so in its entry.
func (r *run) submitAll(ctx context.Context) error {
	all := batches(r.requests)
	r.progress.Show(r.step())
	for n, batch := range all {
		err := r.submit(ctx, batch)
		r.progress.Show(r.step())
		if err == nil && ctx.Err() != nil && n < len(all)-1 {
			err = ErrInterrupted
		}
		if err != nil {
			r.markUnsent(err)
			return err
		}
	}
	if sent := r.step().Sent; sent > 0 {
		r.progress.Say(fmt.Sprintf(r.filer.UI.Lang.say("已接收 %d 份，批次 %s", "%d acknowledged and safe, batch %s"),
			sent, strings.Join(r.report.Batches, ",")))
	}
	return nil
}

// markUnsent tells every entry that was not acknowledged why.
func (r *run) markUnsent(err error) {
	refusal := &Refusal{Reason: reasonNotSubmitted, Message: &springtidev1.LocalizedText{
		Zh: "没有提交；再次执行同一命令即可提交，不会重复申报。",
		En: "It was not submitted. Run the same command again to submit it; nothing is filed twice.",
	}}
	if !errors.Is(err, ErrInterrupted) {
		if cause := RefusalOf(err); cause.Reason != "" {
			refusal = cause
		}
	}
	for i := range r.report.Entries {
		if e := &r.report.Entries[i]; e.Filing == nil && e.Refusal == nil {
			e.Refusal = refusal
		}
	}
}

// submit sends one batch until each of its returns is acknowledged or refused.
// While some are to come again the whole batch comes again, word for word: that
// is the same press of the button, and what was acknowledged stays acknowledged.
func (r *run) submit(ctx context.Context, batch []int) error {
	req := &springtidev1.SubmitFilingBatchRequest{RequestId: rand.Text(), Title: title(r.filer.Title)}
	for _, i := range batch {
		req.Requests = append(req.Requests, r.requests[i])
	}
	began, left := time.Now(), len(batch)
	for {
		var resp *springtidev1.SubmitFilingBatchResponse
		err := r.retry.do(ctx, true, func(ctx context.Context) (err error) {
			resp, err = r.filer.Client.SubmitFilingBatch(ctx, req)
			return err
		})
		if err != nil {
			return err
		}
		if len(resp.GetResults()) != len(batch) {
			return fmt.Errorf("the server gave %d results for %d returns", len(resp.GetResults()), len(batch))
		}
		again, wait := r.take(resp, batch)
		if len(again) < left {
			began, left = time.Now(), len(again) // something moved
		}
		if left == 0 || time.Since(began)+wait > r.retry.patience {
			return nil // what is left says in its entry why
		}
		r.progress.Say(fmt.Sprintf(r.filer.UI.Lang.say("服务端暂未受理 %d 份，%s后重试", "the server did not take %d yet; trying again in %s"),
			left, seconds(wait, r.filer.UI.Lang)))
		if sleep(ctx, jitter(wait)) != nil {
			for _, i := range again {
				r.report.Entries[i].Refusal = nil // markUnsent has the better words
			}
			return ErrInterrupted
		}
	}
}

// take enters the results of a batch and returns what should be sent again, and when.
func (r *run) take(resp *springtidev1.SubmitFilingBatchResponse, batch []int) (again []int, wait time.Duration) {
	id := resp.GetBatch().GetBatchId()
	if id != "" && !slices.Contains(r.report.Batches, id) {
		r.report.Batches = append(r.report.Batches, id)
	}
	words := filing.WordsOf(springtidev1.FilingState_FILING_STATE_RECEIVED)
	for n, result := range resp.GetResults() {
		e := &r.report.Entries[batch[n]]
		problem := result.GetError()
		switch {
		case problem == nil:
			e.Refusal, e.SubmissionID = nil, result.GetSubmissionId()
			e.Filing = &springtidev1.Filing{
				FilingId: result.GetFilingId(), SubmissionId: result.GetSubmissionId(), BatchId: id,
				State: springtidev1.FilingState_FILING_STATE_RECEIVED, Message: words.Message, Turn: words.Turn,
			}
		case e.Filing == nil:
			e.Refusal = &Refusal{Reason: problem.GetReason(), Field: problem.GetField(), Message: problem.GetMessage()}
			if pause, later := retryItem(problem); later {
				again, wait = append(again, batch[n]), max(wait, pause)
			}
		}
	}
	return again, wait
}

// retryItem reports whether a refusal is only for now.
func retryItem(e *springtidev1.ItemError) (time.Duration, bool) {
	pause := time.Duration(e.GetRetryAfterMs()) * time.Millisecond
	switch codes.Code(e.GetCode()) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted:
		return pause, pause > 0
	default:
		return 0, false
	}
}

// step counts where everything stands now.
func (r *run) step() Step {
	var s Step
	for _, e := range r.report.Entries {
		state := e.state()
		if e.Filing != nil && e.Refusal == nil {
			s.Sent++
		}
		switch {
		case e.Refusal != nil && !e.Refusal.wrongData():
		case e.Refusal != nil || state == springtidev1.FilingState_FILING_STATE_INVALID:
			s.Invalid++
		case state == springtidev1.FilingState_FILING_STATE_ACCEPTED:
			s.Accepted++
		case state == springtidev1.FilingState_FILING_STATE_REJECTED:
			s.Rejected++
		case filing.FinalState(state):
			s.Other++
		}
	}
	return s
}

// titleOf names a batch after its files.
func titleOf(files []string) string {
	names := make([]string, len(files))
	for i, f := range files {
		names[i] = filepath.Base(f)
		if f == "-" {
			names[i] = "stdin"
		}
	}
	return strings.Join(names, ", ")
}

// title keeps a title within what the front door takes.
func title(s string) string {
	const most = 200
	s = strings.ToValidUTF8(s, "")
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}
