package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
	"springtide/services/forms/sample"
)

// sampleFirm invents clients whom no other run has.
func sampleFirm(tb testing.TB, clients int, mistakes bool) *sample.Firm {
	tb.Helper()
	cfg := sample.Config{Seed: rand.Uint64(), Clients: clients}
	if mistakes {
		cfg.MistakesPerThousand, cfg.DeregisteredPerThousand = 60, 20
	}
	tb.Logf("sample firm of seed %d", cfg.Seed)
	firm, err := sample.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return firm
}

// A door is a client of one front door.
type door struct {
	springtidev1.FilingServiceClient
	key string
}

func dial(tb testing.TB, address, key string) *door {
	tb.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	return &door{springtidev1.NewFilingServiceClient(conn), key}
}

func (d *door) as(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+d.key)
}

// knowsKey waits until the front door has heard of the key: one that was made by
// another process reaches it a moment later.
func (d *door) knowsKey(tb testing.TB) {
	tb.Helper()
	eventually(tb, "the front door knows the key", func() bool {
		_, err := d.ListForms(d.as(tb.Context()), &springtidev1.ListFormsRequest{})
		return err == nil
	})
}

// An office files returns and watches what becomes of them. It believes nothing
// but acknowledgements. It is safe for concurrent use.
type office struct {
	tb     testing.TB
	tenant string

	mu    sync.Mutex
	acked map[filing.ID]*springtidev1.Return
	// again are those of the clicked that were clicked again: one that was refused is received anew for a moment.
	clicked, again map[filing.ID]bool
	order          []filing.ID
	seen           map[filing.ID]*springtidev1.Filing
}

func newOffice(tb testing.TB, tenant string) *office {
	return &office{
		tb: tb, tenant: tenant,
		acked: map[filing.ID]*springtidev1.Return{}, seen: map[filing.ID]*springtidev1.Filing{},
		clicked: map[filing.ID]bool{}, again: map[filing.ID]bool{},
	}
}

// file submits returns in batches, some at a time, until all are acknowledged
// or the door fails; it returns the error of the door.
func (o *office) file(ctx context.Context, d *door, all []*springtidev1.Return, size int) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for batch := range slices.Chunk(all, size) {
		group.Go(func() error {
			ctx, cancel := context.WithTimeout(d.as(ctx), patience)
			defer cancel()
			return o.fileBatch(ctx, d, batch)
		})
	}
	return group.Wait()
}

func (o *office) fileBatch(ctx context.Context, d *door, batch []*springtidev1.Return) error {
	req := &springtidev1.SubmitFilingBatchRequest{}
	for _, r := range batch {
		req.Requests = append(req.Requests, &springtidev1.SubmitFilingRequest{Return: r})
	}
	o.click(batch)
	resp, err := d.SubmitFilingBatch(ctx, req)
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, result := range resp.GetResults() {
		if result.GetError() != nil {
			return fmt.Errorf("return %d of a batch: %s", i, result.GetError())
		}
		id := filing.ID(result.GetFilingId())
		if want := filing.IDOf(o.tenant, batch[i]); id != want {
			return fmt.Errorf("acknowledged as %s, want %s", id, want)
		}
		if _, again := o.acked[id]; !again {
			o.order = append(o.order, id)
		}
		o.acked[id] = batch[i]
	}
	return nil
}

// click notes which of these are clicked again, whether the first click was answered or not.
func (o *office) click(batch []*springtidev1.Return) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, r := range batch {
		id := filing.IDOf(o.tenant, r)
		o.again[id] = o.clicked[id]
		o.clicked[id] = true
	}
}

// ids are the acknowledged filings, in order.
func (o *office) ids() []filing.ID {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.order)
}

// look asks once for everything acknowledged so far and returns how many have
// not ended. What is acknowledged must be known, what has ended stays as it is, and
// nothing goes back; only "not now" is an answer that says nothing.
func (o *office) look(ctx context.Context, d *door) (open int) {
	for chunk := range slices.Chunk(o.ids(), 250) {
		open += o.lookAt(ctx, d, chunk)
	}
	return open
}

func (o *office) lookAt(ctx context.Context, d *door, ids []filing.ID) (open int) {
	req := &springtidev1.BatchGetFilingsRequest{}
	for _, id := range ids {
		req.FilingIds = append(req.FilingIds, string(id))
	}
	ctx, cancel := context.WithTimeout(d.as(ctx), patience)
	defer cancel()
	resp, err := d.BatchGetFilings(ctx, req)
	switch {
	case status.Code(err) == codes.Unavailable || ctx.Err() != nil:
		return len(ids)
	case err != nil:
		o.tb.Errorf("ask for %d filings: %v", len(ids), err)
		return len(ids)
	}
	if missing := resp.GetMissing(); len(missing) > 0 {
		o.tb.Errorf("NOT_FOUND for %d acknowledged filings, %s among them", len(missing), missing[0])
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	open = len(resp.GetMissing())
	for _, f := range resp.GetFilings() {
		id := filing.ID(f.GetFilingId())
		if old := o.seen[id]; old != nil {
			o.compare(old, f)
		}
		o.seen[id] = f
		if !filing.FinalState(f.GetState()) {
			open++
		}
	}
	return open
}

// compare judges two looks at one filing, the older first.
func (o *office) compare(old, now *springtidev1.Filing) {
	from, to := old.GetState(), now.GetState()
	anew := o.again[filing.ID(now.GetFilingId())] && from != springtidev1.FilingState_FILING_STATE_ACCEPTED
	switch {
	case anew && now.GetVersion() >= old.GetVersion():
	case filing.FinalState(from) && from != to:
		o.tb.Errorf("%s was %s and is %s", now.GetFilingId(), from, to)
	case stage(to) < stage(from):
		o.tb.Errorf("%s went back from %s to %s", now.GetFilingId(), from, to)
	case now.GetVersion() < old.GetVersion():
		o.tb.Errorf("%s went back from version %d to %d", now.GetFilingId(), old.GetVersion(), now.GetVersion())
	}
}

// stage is how far a state is; within a stage filings may move to and fro.
func stage(s springtidev1.FilingState) int {
	switch s {
	case springtidev1.FilingState_FILING_STATE_RECEIVED:
		return 1
	case springtidev1.FilingState_FILING_STATE_CHECKING:
		return 2
	case springtidev1.FilingState_FILING_STATE_QUEUED, springtidev1.FilingState_FILING_STATE_SUBMITTING,
		springtidev1.FilingState_FILING_STATE_WAITING, springtidev1.FilingState_FILING_STATE_CONFIRMING:
		return 3
	default:
		return 4
	}
}

// follow looks again and again until stop is closed. Close wait's channel to
// know that it has returned.
func (o *office) follow(ctx context.Context, d *door) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var looking sync.WaitGroup
	looking.Go(func() {
		for ctx.Err() == nil {
			o.look(ctx, d)
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond): // as an impatient client would
			}
		}
	})
	return func() {
		cancel()
		looking.Wait()
	}
}

// finish waits until everything acknowledged has ended.
func (o *office) finish(ctx context.Context, d *door) {
	o.tb.Helper()
	eventually(o.tb, "all filings have ended", func() bool { return o.look(ctx, d) == 0 || o.tb.Failed() })
}

// judge compares how everything ended with what is known of the firm.
func (o *office) judge(ctx context.Context, d *door, firm *sample.Firm) {
	o.tb.Helper()
	rejected := map[int]bool{}
	for _, i := range firm.Deregistered {
		rejected[i] = true
	}
	for i, r := range firm.Returns {
		id := filing.IDOf(o.tenant, r)
		f := o.seen[id]
		if f == nil {
			o.tb.Errorf("return %d was never acknowledged", i)
			continue
		}
		want := springtidev1.FilingState_FILING_STATE_ACCEPTED
		switch {
		case firm.Mistakes[i] != nil:
			want = springtidev1.FilingState_FILING_STATE_INVALID
			for _, rule := range firm.Mistakes[i] {
				if !slices.ContainsFunc(f.GetViolations(), func(v *springtidev1.Violation) bool { return v.GetRule() == rule }) {
					o.tb.Errorf("return %d: found %v, want %s among them", i, f.GetViolations(), rule)
				}
			}
		case rejected[i]:
			want = springtidev1.FilingState_FILING_STATE_REJECTED
		}
		if f.GetState() != want {
			o.tb.Errorf("return %d (%s) ended %s, want %s: %v", i, id, f.GetState(), want, f)
		}
		if want == springtidev1.FilingState_FILING_STATE_ACCEPTED {
			o.judgeReceipt(ctx, d, f, r)
		}
	}
}

func (o *office) judgeReceipt(ctx context.Context, d *door, f *springtidev1.Filing, r *springtidev1.Return) {
	id := filing.ID(f.GetFilingId())
	var resp *springtidev1.GetReceiptResponse
	err := status.Error(codes.Unavailable, "not asked yet")
	for begin := time.Now(); status.Code(err) == codes.Unavailable && time.Since(begin) < patience; {
		resp, err = d.GetReceipt(d.as(ctx), &springtidev1.GetReceiptRequest{FilingId: string(id)}) // the view may be busy: ask again, as is asked for
	}
	if err != nil {
		o.tb.Errorf("receipt of %s: %v", id, err)
		return
	}
	got := resp.GetReceipt()
	// Where the answer was lost, HMRC shows neither number nor time of what it is asked about.
	whole := got.GetNumber() != "" && got.GetAcceptTime().IsValid() || got.GetDetails()["confirmedBy"] == "view"
	if !whole || got.GetFilingId() != string(id) || got.GetDigest() != filing.DigestOf(r).String() {
		o.tb.Errorf("receipt of %s is not of this return: %v", id, got)
	}
}
