package frontdoor_test

import (
	"bytes"
	"context"
	"strconv"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
	"springtide/services/forms"
	"springtide/services/frontdoor"
	"springtide/services/keys"
)

// Each bad input gets an error that names the field and says what to do, and leaves nothing behind.
func TestBadReturns(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		spoil  func(r *springtidev1.SubmitFilingRequest)
		reason string
		field  string
	}{
		"no return":          {func(r *springtidev1.SubmitFilingRequest) { r.Return = nil }, filing.ReasonFieldRequired, "return"},
		"no form":            {func(r *springtidev1.SubmitFilingRequest) { r.Return.Form = "" }, filing.ReasonFieldRequired, "return.form"},
		"unknown form":       {func(r *springtidev1.SubmitFilingRequest) { r.Return.Form = "gb.vatt" }, filing.ReasonFormUnknown, "return.form"},
		"unknown edition":    {func(r *springtidev1.SubmitFilingRequest) { r.Return.Edition = "1066" }, filing.ReasonEditionUnknown, "return.edition"},
		"unknown cell":       {func(r *springtidev1.SubmitFilingRequest) { r.Return.Lines["box99"] = "1" }, filing.ReasonCellUnknown, `return.lines["box99"]`},
		"no decimal":         {func(r *springtidev1.SubmitFilingRequest) { r.Return.Lines["vatDueSales"] = "1,234.56" }, filing.ReasonAmountInvalid, `return.lines["vatDueSales"]`},
		"three decimals":     {func(r *springtidev1.SubmitFilingRequest) { r.Return.Lines["vatDueSales"] = "1.234" }, filing.ReasonAmountInvalid, `return.lines["vatDueSales"]`},
		"exponent":           {func(r *springtidev1.SubmitFilingRequest) { r.Return.Lines["vatDueSales"] = "1e9" }, filing.ReasonAmountInvalid, `return.lines["vatDueSales"]`},
		"no period":          {func(r *springtidev1.SubmitFilingRequest) { r.Return.Period = nil }, filing.ReasonFieldRequired, "return.period"},
		"no date":            {func(r *springtidev1.SubmitFilingRequest) { r.Return.Period.End = "2026-06-31" }, filing.ReasonPeriodInvalid, "return.period.end"},
		"short date":         {func(r *springtidev1.SubmitFilingRequest) { r.Return.Period.Start = "2026-4-1" }, filing.ReasonPeriodInvalid, "return.period.start"},
		"period in reverse":  {func(r *springtidev1.SubmitFilingRequest) { r.Return.Period.End = "2026-03-31" }, filing.ReasonPeriodInvalid, "return.period.end"},
		"no taxpayer":        {func(r *springtidev1.SubmitFilingRequest) { r.Return.Taxpayer.Id = "" }, filing.ReasonFieldRequired, "return.taxpayer.id"},
		"blank in taxpayer":  {func(r *springtidev1.SubmitFilingRequest) { r.Return.Taxpayer.Id = "12345 6789" }, filing.ReasonTaxpayerInvalid, "return.taxpayer.id"},
		"unknown authority":  {func(r *springtidev1.SubmitFilingRequest) { r.Return.Authority = "gb.hmrx" }, filing.ReasonAuthorityUnknown, "return.authority"},
		"foreign authority":  {func(r *springtidev1.SubmitFilingRequest) { r.Return.Authority = "cn.31" }, filing.ReasonAuthorityUnknown, "return.authority"},
		"negative amendment": {func(r *springtidev1.SubmitFilingRequest) { r.Return.Amendment = -1 }, filing.ReasonAmendmentInvalid, "return.amendment"},
		"long name": {
			func(r *springtidev1.SubmitFilingRequest) { r.Return.Taxpayer.Name = strings.Repeat("税", 201) },
			filing.ReasonFieldTooLong, "return.taxpayer.name",
		},
		"long request id": {
			func(r *springtidev1.SubmitFilingRequest) { r.RequestId = strings.Repeat("x", 129) },
			filing.ReasonFieldTooLong, "request_id",
		},
		"too many cells": {
			func(r *springtidev1.SubmitFilingRequest) {
				for i := range 2001 {
					r.Return.Lines[strconv.Itoa(i)] = "1"
				}
			},
			filing.ReasonTooManyItems, "return.lines",
		},
		"two MiB": {
			func(r *springtidev1.SubmitFilingRequest) { r.Return.Lines["vatDueSales"] = strings.Repeat("1", 2<<20) },
			filing.ReasonReturnTooLarge, "return",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			c := open(t, w)
			req := submit(1)
			tc.spoil(req)
			_, err := c.SubmitFiling(accountant(t), req)
			got := wantRefusal(t, err, codes.InvalidArgument, tc.reason)
			if len(got.fields) != 1 || got.fields[0] != tc.field || got.reasons[0] != tc.reason {
				t.Errorf("fields %v %v, want %s", got.fields, got.reasons, tc.field)
			}
			if strings.Contains(err.Error(), ".go:") || strings.Contains(err.Error(), "goroutine") {
				t.Errorf("a stack trace: %v", err)
			}
			batch, err := c.SubmitFilingBatch(accountant(t), &springtidev1.SubmitFilingBatchRequest{
				Requests: []*springtidev1.SubmitFilingRequest{req, submit(2)},
			})
			if err != nil {
				t.Fatal(err)
			}
			bad, good := batch.GetResults()[0], batch.GetResults()[1]
			if bad.GetError().GetReason() != tc.reason || bad.GetError().GetField() != tc.field || good.GetError() != nil {
				t.Errorf("in a batch: %v and %v", bad, good)
			}
			if w.submitted() != 1 {
				t.Errorf("%d submissions in the log, want the good one", w.submitted())
			}
		})
	}
}

func TestSeveralBadFieldsAreToldAtOnce(t *testing.T) {
	t.Parallel()
	c := open(t, newWorld())
	req := submit(1)
	req.Return.Lines = map[string]string{"vatDueSales": "x", "a": "1", "b": "2"}
	req.Return.Authority = "nowhere"
	_, err := c.SubmitFiling(accountant(t), req)
	got := wantRefusal(t, err, codes.InvalidArgument, filing.ReasonRequestInvalid)
	if len(got.fields) != 4 || got.args["count"] != "4" {
		t.Errorf("%v %v", got.fields, got.args)
	}
}

// long: one table.
func TestBadRequests(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c := open(t, w)
	ctx := accountant(t)
	many := make([]*springtidev1.SubmitFilingRequest, 501)
	ids := make([]string, 501)
	for i := range many {
		many[i], ids[i] = submit(i), string(filing.IDOf("firm", vat(i)))
	}
	for name, tc := range map[string]struct {
		call          func() error
		reason, field string
	}{
		"empty batch": {func() error {
			_, err := c.SubmitFilingBatch(ctx, &springtidev1.SubmitFilingBatchRequest{})
			return err
		}, filing.ReasonFieldRequired, "requests"},
		"large batch": {func() error {
			_, err := c.SubmitFilingBatch(ctx, &springtidev1.SubmitFilingBatchRequest{Requests: many})
			return err
		}, filing.ReasonBatchTooLarge, "requests"},
		"long title": {func() error {
			_, err := c.SubmitFilingBatch(ctx, &springtidev1.SubmitFilingBatchRequest{Requests: many[:1], Title: strings.Repeat("x", 201)})
			return err
		}, filing.ReasonFieldTooLong, "title"},
		"too many ids": {func() error {
			_, err := c.BatchGetFilings(ctx, &springtidev1.BatchGetFilingsRequest{FilingIds: ids})
			return err
		}, filing.ReasonTooManyItems, "filing_ids"},
		"one malformed id of two": {func() error {
			_, err := c.BatchGetFilings(ctx, &springtidev1.BatchGetFilingsRequest{FilingIds: []string{ids[0], "x"}})
			return err
		}, filing.ReasonIDInvalid, "filing_ids[1]"},
		"page size": {func() error {
			_, err := c.ListFilings(ctx, &springtidev1.ListFilingsRequest{PageSize: -1})
			return err
		}, filing.ReasonFieldInvalid, "page_size"},
		"page token": {func() error {
			_, err := c.ListFilings(ctx, &springtidev1.ListFilingsRequest{PageToken: "x"})
			return err
		}, filing.ReasonPageTokenInvalid, "page_token"},
		"month": {func() error {
			_, err := c.ListFilings(ctx, &springtidev1.ListFilingsRequest{PeriodEndMonth: "2026-13"})
			return err
		}, filing.ReasonFieldInvalid, "period_end_month"},
		"state": {func() error {
			_, err := c.ListFilings(ctx, &springtidev1.ListFilingsRequest{States: []springtidev1.FilingState{1, 77}})
			return err
		}, filing.ReasonFieldInvalid, "states[1]"},
		"batch id": {func() error {
			_, err := c.GetFilingBatch(ctx, &springtidev1.GetFilingBatchRequest{BatchId: "x"})
			return err
		}, filing.ReasonIDInvalid, "batch_id"},
		"form": {func() error {
			_, err := c.GetForm(ctx, &springtidev1.GetFormRequest{Form: "x"})
			return err
		}, filing.ReasonFormUnknown, "form"},
		"edition": {func() error {
			_, err := c.GetForm(ctx, &springtidev1.GetFormRequest{Form: "gb.vat", Edition: "x"})
			return err
		}, filing.ReasonEditionUnknown, "edition"},
		"watch of nothing": {func() error {
			s, err := c.WatchFilings(ctx, &springtidev1.WatchFilingsRequest{})
			if err != nil {
				return err
			}
			_, err = s.Recv()
			return err
		}, filing.ReasonFieldRequired, "filing_ids"},
		"dead letter": {func() error {
			_, err := c.operations.ReplayDeadLetter(as(t.Context(), keys.RoleOperator), &springtidev1.ReplayDeadLetterRequest{DeadLetterId: "x"})
			return err
		}, filing.ReasonIDInvalid, "dead_letter_id"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := wantRefusal(t, tc.call(), codes.InvalidArgument, tc.reason); len(got.fields) != 1 || got.fields[0] != tc.field {
				t.Errorf("fields %v, want %s", got.fields, tc.field)
			}
		})
	}
}

// raw sends bytes as they are.
type raw struct{}

func (raw) Marshal(v any) (mem.BufferSlice, error) {
	if b, ok := v.([]byte); ok {
		return mem.BufferSlice{mem.SliceBuffer(b)}, nil
	}
	return nil, nil
}

func (raw) Unmarshal(mem.BufferSlice, any) error { return nil }
func (raw) Name() string                         { return "proto" }

var _ encoding.CodecV2 = raw{}

func TestRequestsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c := open(t, w)
	spoil := func(old string, m proto.Message) []byte {
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(b, []byte(old)) {
			t.Fatalf("no %q in the request", old)
		}
		return bytes.ReplaceAll(b, []byte(old), bytes.Repeat([]byte{0xb9}, len(old))) // as GBK has it
	}
	context2 := submit(1)
	context2.Return.Context["note"] = "GBK"
	for name, tc := range map[string]struct {
		method        string
		body          []byte
		reason, field string
	}{
		"name in GBK": {
			springtidev1.FilingService_SubmitFiling_FullMethodName, spoil("Sample", submit(1)),
			filing.ReasonInvalidUTF8, "return.taxpayer.name",
		},
		"map value in GBK": {
			springtidev1.FilingService_SubmitFiling_FullMethodName, spoil("GBK", context2),
			filing.ReasonInvalidUTF8, `return.context["note"]`,
		},
		"map key in GBK": {
			springtidev1.FilingService_SubmitFiling_FullMethodName, spoil("note", context2),
			filing.ReasonInvalidUTF8, "return.context",
		},
		"second item of a batch": {
			springtidev1.FilingService_SubmitFilingBatch_FullMethodName,
			spoil("Other", &springtidev1.SubmitFilingBatchRequest{Requests: []*springtidev1.SubmitFilingRequest{submit(1), named(2, "Other")}}),
			filing.ReasonInvalidUTF8, "requests[1].return.taxpayer.name",
		},
		"no protobuf": {springtidev1.FilingService_SubmitFiling_FullMethodName, []byte("{}"), filing.ReasonRequestMalformed, ""},
		"cut short": {
			springtidev1.FilingService_SubmitFiling_FullMethodName,
			[]byte{0x0a, 0x7f, 0x01},
			filing.ReasonRequestMalformed, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := c.conn.Invoke(accountant(t), tc.method, tc.body, nil, grpc.ForceCodecV2(raw{}))
			got := wantRefusal(t, err, codes.InvalidArgument, tc.reason)
			if field := strings.Join(got.fields, " "); field != tc.field {
				t.Errorf("field %q, want %q", field, tc.field)
			}
			if err := c.conn.Invoke(t.Context(), tc.method, tc.body, nil, grpc.ForceCodecV2(raw{})); refusalOf(t, err).code != codes.Unauthenticated {
				t.Errorf("without a key: %v", err)
			}
		})
	}
	if w.submitted() != 0 {
		t.Error("something was submitted")
	}
}

func named(n int, name string) *springtidev1.SubmitFilingRequest {
	r := submit(n)
	r.Return.Taxpayer.Name = name
	return r
}

// Fields that we do not know are not kept: nothing but what the interface names is stored.
func TestUnknownFieldsAreDropped(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c := open(t, w)
	req := submit(1)
	req.Return.ProtoReflect().SetUnknown([]byte{0xf8, 0x3f, 0x01}) // field 1023
	if _, err := c.SubmitFiling(accountant(t), req); err != nil {
		t.Fatal(err)
	}
	sub := w.register(t, filing.IDOf("firm", req.GetReturn()))
	if len(sub.GetReturn().ProtoReflect().GetUnknown()) != 0 {
		t.Error("an unknown field was stored")
	}
}

func TestLanguages(t *testing.T) {
	t.Parallel()
	c := open(t, newWorld())
	for header, want := range map[string]string{
		"": "zh-CN", "zh": "zh-CN", "zh-CN,zh;q=0.9,en;q=0.8": "zh-CN", "zh-Hans-SG": "zh-CN",
		"en": "en", "en-GB,en;q=0.9": "en", "fr": "en", "fr,zh;q=0.5": "zh-CN", ";;;": "zh-CN", strings.Repeat("en,", 200): "zh-CN",
	} {
		ctx := accountant(t)
		if header != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "accept-language", header)
		}
		_, err := c.GetFiling(ctx, &springtidev1.GetFilingRequest{FilingId: string(filing.IDOf("firm", vat(1)))})
		got := wantRefusal(t, err, codes.NotFound, filing.ReasonNotFound)
		if got.locale != want || strings.Contains(got.message, "请") != (want == "zh-CN") {
			t.Errorf("%q: %s %s, want %s", header, got.locale, got.message, want)
		}
	}
}

// lockedBuffer collects a log.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestPanicIsOneInternalError(t *testing.T) {
	t.Parallel()
	w := newWorld()
	deps := w.deps(t)
	var log lockedBuffer
	deps.Logger = logTo(&log)
	deps.Rules = brokenRules{deps.Rules}
	c := serve(t, quick(), deps)
	_, err := c.SubmitFiling(accountant(t), submit(1))
	wantRefusal(t, err, codes.Internal, filing.ReasonInternal)
	if strings.Contains(err.Error(), "rule engine") {
		t.Errorf("the answer shows our insides: %v", err)
	}
	if !strings.Contains(log.String(), "rule engine broken") || !strings.Contains(log.String(), "stack=") {
		t.Error("the log does not tell what happened")
	}
	if _, err := c.ListForms(accountant(t), &springtidev1.ListFormsRequest{}); err != nil {
		t.Errorf("the next call: %v", err)
	}
}

type brokenRules struct{ frontdoor.Rules }

func (brokenRules) Shape(*springtidev1.Return) []forms.FieldProblem { panic("rule engine broken") }

// No tax number, name or amount goes into the log, whatever happens.
func TestLogHoldsNothingOfAReturn(t *testing.T) {
	t.Parallel()
	w := newWorld()
	deps := w.deps(t)
	var log lockedBuffer
	deps.Logger = logTo(&log)
	c := serve(t, quick(), deps)
	req := submit(918273645)
	req.Return.Taxpayer.Name = "Canary Ltd"
	bad := proto.CloneOf(req)
	bad.Return.Lines["vatDueSales"] = "918273645.123"
	bad.Return.Taxpayer.Id = "9182 73645"
	calls := []func() error{
		func() error { _, err := c.SubmitFiling(accountant(t), req); return err },
		func() error { _, err := c.SubmitFiling(accountant(t), bad); return err },
		func() error {
			_, err := c.SubmitFilingBatch(accountant(t), &springtidev1.SubmitFilingBatchRequest{Requests: []*springtidev1.SubmitFilingRequest{req, bad}})
			return err
		},
		func() error {
			_, err := c.GetFiling(as(context.WithoutCancel(t.Context()), "918273645"), &springtidev1.GetFilingRequest{FilingId: "918273645"})
			return err
		},
	}
	for range 2 {
		for _, call := range calls {
			_ = call() // only the log counts here
		}
		w.with(func() { w.logErr, w.viewErr = errDown, errDown })
	}
	if text := log.String(); strings.Contains(text, "918273645") || strings.Contains(text, "9182 73645") || strings.Contains(text, "Canary") {
		t.Errorf("the log quotes a return:\n%s", text)
	}
	if strings.Count(log.String(), "\n") < len(calls) {
		t.Error("the calls are not in the log")
	}
}
