package cli

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
)

// fakeKey is the only key the fake door knows.
const fakeKey = "st_key"

// door is a front door that really works, in memory: what is submitted is
// acknowledged and advances by one state each time it is looked at. The context
// of a return steers its end: outcome=invalid, rejected or conflict; hold=submitting.
type door struct {
	springtidev1.UnimplementedFilingServiceServer
	springtidev1.UnimplementedOperationsServiceServer
	stop chan struct{}

	mu      sync.Mutex
	filings map[string]*kept
	order   []string
	batches map[string]*springtidev1.FilingBatch
	dead    []*springtidev1.DeadLetterInfo
	// requests are the batch requests as they came in.
	requests []*springtidev1.SubmitFilingBatchRequest
	clicks   int
	// languages and keys as they were sent.
	languages map[string]bool

	// What the door does wrong, on purpose.
	noStream bool
	// refuse answers the first batches with these errors, then works.
	refuse []error
	// refuseItem refuses a return for now, so many times.
	refuseItem map[string]int
	// entered is told of every submission before it is handled.
	entered chan struct{}
	// stale: the first look shows an old final state that belongs to another click.
	stale bool
	// forget: nothing submitted is ever found again.
	forget bool
	desk   desk
	// cut ends so many streams early.
	cut int
}

// kept is a filing and what it will become.
type kept struct {
	filing *springtidev1.Filing
	ahead  []*springtidev1.Filing
	looked bool
}

func newDoor(t *testing.T) (*door, string) {
	t.Helper()
	d := &door{
		stop: make(chan struct{}), filings: map[string]*kept{}, batches: map[string]*springtidev1.FilingBatch{},
		languages: map[string]bool{}, refuseItem: map[string]int{},
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(d.authenticate), grpc.StreamInterceptor(d.authenticateStream))
	springtidev1.RegisterFilingServiceServer(server, d)
	springtidev1.RegisterOperationsServiceServer(server, d)
	springtidev1.RegisterWebhookServiceServer(server, hooks{})
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		close(d.stop)
		server.Stop()
		<-served
	})
	return d, listener.Addr().String()
}

func (d *door) who(ctx context.Context) error {
	md, _ := metadata.FromIncomingContext(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range md.Get("accept-language") {
		d.languages[l] = true
	}
	switch key := strings.Join(md.Get("authorization"), ""); key {
	case "":
		return problem(codes.Unauthenticated, filing.ReasonKeyMissing, nil, 0)
	case "Bearer " + fakeKey:
		return nil
	default:
		return problem(codes.Unauthenticated, filing.ReasonKeyInvalid, nil, 0)
	}
}

func (d *door) authenticate(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if err := d.who(ctx); err != nil {
		return nil, err
	}
	return handler(ctx, req)
}

func (d *door) authenticateStream(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if err := d.who(ss.Context()); err != nil {
		return err
	}
	return handler(srv, ss)
}

// problem is an error as the front door gives it.
func problem(code codes.Code, reason string, args filing.Args, wait time.Duration, fields ...*errdetails.BadRequest_FieldViolation) error {
	_, en := (&filing.Error{Reason: reason, Args: args}).Text()
	st, _ := status.New(code, en).WithDetails(&errdetails.ErrorInfo{Reason: reason, Domain: errorDomain, Metadata: args})
	if wait > 0 {
		st, _ = st.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(wait)})
	}
	if len(fields) > 0 {
		st, _ = st.WithDetails(&errdetails.BadRequest{FieldViolations: fields})
	}
	return st.Err()
}

func (d *door) SubmitFilingBatch(_ context.Context, req *springtidev1.SubmitFilingBatchRequest) (*springtidev1.SubmitFilingBatchResponse, error) {
	if d.entered != nil {
		d.entered <- struct{}{}
		<-d.entered
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.requests = append(d.requests, proto.CloneOf(req))
	if len(d.refuse) > 0 {
		err := d.refuse[0]
		d.refuse = d.refuse[1:]
		return nil, err
	}
	batch := filing.BatchID("t", req.GetRequestId())
	if d.batches[batch] == nil {
		d.batches[batch] = &springtidev1.FilingBatch{BatchId: batch, Title: req.GetTitle(), Size: int32(len(req.GetRequests()))}
	}
	resp := &springtidev1.SubmitFilingBatchResponse{Batch: d.batches[batch]}
	for _, r := range req.GetRequests() {
		resp.Results = append(resp.Results, d.take(r.GetReturn(), batch))
	}
	return resp, nil
}

func (d *door) take(r *springtidev1.Return, batch string) *springtidev1.SubmitResult {
	refuse := func(code codes.Code, e *filing.Error, wait time.Duration) *springtidev1.SubmitResult {
		zh, en := e.Text()
		return &springtidev1.SubmitResult{Error: &springtidev1.ItemError{
			Code: int32(code), Reason: e.Reason, Field: e.Field, RetryAfterMs: wait.Milliseconds(),
			Message: &springtidev1.LocalizedText{Zh: zh, En: en},
		}}
	}
	if _, unknown := r.GetLines()["99"]; unknown {
		return refuse(codes.InvalidArgument, &filing.Error{
			Reason: filing.ReasonCellUnknown, Field: `return.lines["99"]`, Args: filing.Args{"cell": "99"},
		}, 0)
	}
	id := string(filing.IDOf("t", r))
	if d.refuseItem[r.GetTaxpayer().GetName()] > 0 {
		d.refuseItem[r.GetTaxpayer().GetName()]--
		return refuse(codes.ResourceExhausted, &filing.Error{Reason: filing.ReasonTenantQuota}, time.Millisecond)
	}
	d.clicks++
	click := "s" + strconv.Itoa(d.clicks)
	if old := d.filings[id]; old != nil && !filing.FinalState(old.filing.GetState()) {
		return &springtidev1.SubmitResult{FilingId: id, SubmissionId: old.filing.GetSubmissionId()}
	}
	d.filings[id] = d.plan(id, click, batch, r)
	d.order = append(d.order, id)
	return &springtidev1.SubmitResult{FilingId: id, SubmissionId: click}
}

// at is when everything happens in the fake world.
func at(minute int) *timestamppb.Timestamp {
	return timestamppb.New(time.Date(2026, 7, 15, 9, minute, 0, 0, time.UTC))
}

func (d *door) plan(id, click, batch string, r *springtidev1.Return) *kept {
	version := int64(0)
	state := func(s springtidev1.FilingState) *springtidev1.Filing {
		version++
		words := filing.WordsOf(s)
		f := &springtidev1.Filing{
			FilingId: id, State: s, Message: words.Message, Advice: words.Advice, Turn: words.Turn, Form: r.GetForm(), Edition: r.GetEdition(),
			Period: r.GetPeriod(), Taxpayer: r.GetTaxpayer(), Authority: r.GetAuthority(), Revision: 1, SubmissionId: click, BatchId: batch,
			ReceiveTime: at(0), UpdateTime: at(int(version)), Version: version,
		}
		if !filing.FinalState(s) {
			f.NextPollTime = timestamppb.Now()
		}
		return f
	}
	k := &kept{filing: state(springtidev1.FilingState_FILING_STATE_RECEIVED)}
	if d.stale {
		old := state(springtidev1.FilingState_FILING_STATE_INVALID)
		old.SubmissionId, old.Version = "s-older", 1
		k.ahead = append(k.ahead, old)
	}
	if r.GetContext()["outcome"] == "invalid" {
		end := state(springtidev1.FilingState_FILING_STATE_INVALID)
		end.Violations = sampleViolations()
		k.ahead = append(k.ahead, end)
		return k
	}
	hold := r.GetContext()["hold"]
	for _, s := range []springtidev1.FilingState{springtidev1.FilingState_FILING_STATE_QUEUED, springtidev1.FilingState_FILING_STATE_SUBMITTING} {
		k.ahead = append(k.ahead, state(s))
		if hold == strings.ToLower(stateName(s)) {
			return k
		}
	}
	switch r.GetContext()["outcome"] {
	case "rejected":
		end := state(springtidev1.FilingState_FILING_STATE_REJECTED)
		end.Reasons = []*springtidev1.Reason{{Code: "SB-1042", Message: "该纳税人本期未核定此税种", Path: "taxpayer"}}
		k.ahead = append(k.ahead, end)
	case "conflict":
		end := state(springtidev1.FilingState_FILING_STATE_ACCEPTED) // of somebody else's content
		end.Conflicts = []*springtidev1.Conflict{{SubmissionId: click}}
		k.ahead = append(k.ahead, end)
	default:
		end := state(springtidev1.FilingState_FILING_STATE_ACCEPTED)
		end.Receipt = &springtidev1.Receipt{
			FilingId: id, Number: "2026" + fmt.Sprintf("%08d", d.clicks), Authority: r.GetAuthority(), Ref: filing.ID(id).Ref(),
			Digest: strings.Repeat("ab", 32), AcceptTime: at(30), Details: map[string]string{"oddity": "\x1b[31mred"},
		}
		k.ahead = append(k.ahead, end)
	}
	return k
}

func sampleViolations() []*springtidev1.Violation {
	return []*springtidev1.Violation{
		{
			Rule: "VS-01", Severity: springtidev1.Severity_SEVERITY_ERROR, Cells: []string{"1@sc", "2@sc"},
			Message: &springtidev1.LocalizedText{
				Zh: "第 1 栏“应征增值税不含税销售额（3%征收率）”应大于或等于第 2 栏与第 3 栏之和，现为 100.00，小于 200.00",
				En: "Cell 1, sales at 3%, must be at least the sum of cells 2 and 3; it is 100.00, which is less than 200.00",
			},
			Fix: &springtidev1.LocalizedText{Zh: "请核对开票金额，更正第 1 栏或第 2 栏", En: "Check the invoices, then correct cell 1 or cell 2"},
		},
		{
			Rule: "VS-90", Severity: springtidev1.Severity_SEVERITY_WARNING, Cells: []string{"A2.cjs.3"},
			Message: &springtidev1.LocalizedText{Zh: "城市维护建设税税率一般为 7%、5% 或 1%", En: "The rate of the city tax usually is 7%, 5% or 1%"},
		},
	}
}

// look shows a filing and lets it advance.
func (d *door) look(id string) *springtidev1.Filing {
	k := d.filings[id]
	if k == nil || d.forget {
		return nil
	}
	if k.looked && len(k.ahead) > 0 {
		k.filing, k.ahead = k.ahead[0], k.ahead[1:]
	}
	k.looked = true
	return k.filing
}

func (d *door) BatchGetFilings(_ context.Context, req *springtidev1.BatchGetFilingsRequest) (*springtidev1.BatchGetFilingsResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	resp := &springtidev1.BatchGetFilingsResponse{}
	for _, id := range req.GetFilingIds() {
		if f := d.look(id); f != nil {
			resp.Filings = append(resp.Filings, f)
		} else {
			resp.Missing = append(resp.Missing, id)
		}
	}
	return resp, nil
}

func (d *door) WatchFilings(req *springtidev1.WatchFilingsRequest, stream grpc.ServerStreamingServer[springtidev1.WatchFilingsResponse]) error {
	if d.noStream {
		return status.Error(codes.Unimplemented, "no streams here")
	}
	for moved := true; moved; {
		moved = false
		d.mu.Lock()
		broken := d.cut > 0
		d.cut--
		d.mu.Unlock()
		switch {
		case d.forget:
			return problem(codes.NotFound, filing.ReasonNotFound, nil, 0)
		case broken:
			return problem(codes.Unavailable, filing.ReasonDraining, nil, time.Millisecond)
		}
		for _, id := range req.GetFilingIds() {
			d.mu.Lock()
			before := d.filings[id].filing
			first := !d.filings[id].looked
			f := d.look(id)
			d.mu.Unlock()
			if f == before && !first {
				continue
			}
			moved = true
			if err := stream.Send(&springtidev1.WatchFilingsResponse{Filing: f}); err != nil {
				return err
			}
		}
	}
	select { // nothing moves any more
	case <-stream.Context().Done():
	case <-d.stop:
	}
	return nil
}

func (d *door) ListFilings(_ context.Context, req *springtidev1.ListFilingsRequest) (*springtidev1.ListFilingsResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []*springtidev1.Filing
	for _, id := range slices.Backward(d.order) {
		f := d.filings[id].filing
		if (req.GetBatchId() == "" || f.GetBatchId() == req.GetBatchId()) && (len(req.GetStates()) == 0 || slices.Contains(req.GetStates(), f.GetState())) {
			all = append(all, f)
		}
	}
	from, _ := strconv.Atoi(req.GetPageToken())
	to := min(len(all), from+int(req.GetPageSize()))
	resp := &springtidev1.ListFilingsResponse{Filings: all[from:to]}
	if to < len(all) {
		resp.NextPageToken = strconv.Itoa(to)
	}
	return resp, nil
}

func (d *door) GetFilingBatch(_ context.Context, req *springtidev1.GetFilingBatchRequest) (*springtidev1.GetFilingBatchResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	b := d.batches[req.GetBatchId()]
	if b == nil {
		return nil, problem(codes.NotFound, filing.ReasonNotFound, nil, 0)
	}
	return &springtidev1.GetFilingBatchResponse{Batch: b}, nil
}

func (d *door) CancelFiling(_ context.Context, req *springtidev1.CancelFilingRequest) (*springtidev1.CancelFilingResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := d.filings[req.GetFilingId()]
	switch {
	case k == nil:
		return nil, problem(codes.NotFound, filing.ReasonNotFound, nil, 0)
	case filing.FinalState(k.filing.GetState()):
		return nil, problem(codes.FailedPrecondition, filing.ReasonNotCancellable, filing.Args{
			"state_en": English.state(k.filing.GetState()), "state_zh": Chinese.state(k.filing.GetState()),
		}, 0)
	}
	words := filing.WordsOf(springtidev1.FilingState_FILING_STATE_CANCELLED)
	k.filing = proto.CloneOf(k.filing)
	k.filing.State, k.filing.Message, k.ahead = springtidev1.FilingState_FILING_STATE_CANCELLED, words.Message, nil
	return &springtidev1.CancelFilingResponse{Filing: k.filing}, nil
}

func (d *door) RetryFiling(_ context.Context, req *springtidev1.RetryFilingRequest) (*springtidev1.RetryFilingResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := d.filings[req.GetFilingId()]
	if k == nil {
		return nil, problem(codes.NotFound, filing.ReasonNotFound, nil, 0)
	}
	words := filing.WordsOf(springtidev1.FilingState_FILING_STATE_QUEUED)
	k.filing = proto.CloneOf(k.filing)
	k.filing.State, k.filing.Message = springtidev1.FilingState_FILING_STATE_QUEUED, words.Message
	return &springtidev1.RetryFilingResponse{Filing: k.filing}, nil
}

func (d *door) GetReceipt(_ context.Context, req *springtidev1.GetReceiptRequest) (*springtidev1.GetReceiptResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := d.filings[req.GetFilingId()]
	switch {
	case k == nil:
		return nil, problem(codes.NotFound, filing.ReasonNotFound, nil, 0)
	case k.filing.GetReceipt() == nil:
		return nil, problem(codes.FailedPrecondition, filing.ReasonNotAccepted, filing.Args{
			"state_en": English.state(k.filing.GetState()), "state_zh": Chinese.state(k.filing.GetState()),
		}, 0)
	}
	return &springtidev1.GetReceiptResponse{Receipt: k.filing.GetReceipt()}, nil
}

func (d *door) ListForms(context.Context, *springtidev1.ListFormsRequest) (*springtidev1.ListFormsResponse, error) {
	return &springtidev1.ListFormsResponse{Forms: []*springtidev1.FormSummary{{
		Form: "cn.vat.small", Editions: []string{"2023", "2026"}, Legal: "公告 2026 年第 1 号",
		Title: &springtidev1.LocalizedText{Zh: "增值税及附加税费申报表（小规模纳税人适用）", En: "VAT return for small-scale taxpayers"},
	}}}, nil
}

func (d *door) GetForm(_ context.Context, req *springtidev1.GetFormRequest) (*springtidev1.GetFormResponse, error) {
	if req.GetForm() != "cn.vat.small" {
		return nil, problem(codes.InvalidArgument, filing.ReasonFormUnknown, filing.Args{"form": req.GetForm()}, 0,
			&errdetails.BadRequest_FieldViolation{Field: "form", Description: "there is cn.vat.small"})
	}
	return &springtidev1.GetFormResponse{Form: &springtidev1.Form{
		Form: "cn.vat.small", Edition: "2026", Legal: "公告 2026 年第 1 号", ValidFrom: "2026-01-01",
		Title: &springtidev1.LocalizedText{Zh: "增值税及附加税费申报表（小规模纳税人适用）", En: "VAT return for small-scale taxpayers"},
		Cells: []*springtidev1.FormCell{
			{Code: "1@sc", Kind: "input", Type: "money", Label: &springtidev1.LocalizedText{Zh: "应征增值税不含税销售额（3%征收率）", En: "Sales at 3%"}},
			{Code: "22@sc", Kind: "computed", Type: "money", Label: &springtidev1.LocalizedText{Zh: "本期应补（退）税额", En: "Tax due"}},
		},
		Context: []*springtidev1.FormContext{{Name: "entity", Meaning: &springtidev1.LocalizedText{Zh: "纳税人类型", En: "Kind of taxpayer"}}},
		Rules: []*springtidev1.FormRule{{
			Rule: "VS-01", Severity: springtidev1.Severity_SEVERITY_ERROR,
			Message: &springtidev1.LocalizedText{Zh: "第 1 栏应大于或等于第 2 栏与第 3 栏之和", En: "Cell 1 is at least the sum of cells 2 and 3"},
		}},
	}}, nil
}

func (d *door) ListDeadLetters(_ context.Context, req *springtidev1.ListDeadLettersRequest) (*springtidev1.ListDeadLettersResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	from, _ := strconv.Atoi(req.GetPageToken())
	to := min(len(d.dead), from+1)
	resp := &springtidev1.ListDeadLettersResponse{DeadLetters: d.dead[from:to]}
	if to < len(d.dead) {
		resp.NextPageToken = strconv.Itoa(to)
	}
	return resp, nil
}

func (d *door) ReplayDeadLetter(_ context.Context, req *springtidev1.ReplayDeadLetterRequest) (*springtidev1.ReplayDeadLetterResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.dead {
		if l.GetDeadLetterId() == req.GetDeadLetterId() {
			return &springtidev1.ReplayDeadLetterResponse{}, nil
		}
	}
	return nil, problem(codes.FailedPrecondition, filing.ReasonNotReplayable, nil, 0)
}
