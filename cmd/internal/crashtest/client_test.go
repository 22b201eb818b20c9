package crashtest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	grpcstatus "google.golang.org/grpc/status"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
	"springtide/services/forms/sample"
)

// An office is who files: it keeps its own log of what was acknowledged, which is
// all it believes.
type office struct {
	tenant string

	mu    sync.Mutex
	acked map[string]*springtidev1.Return
	acks  int
}

func newOffice(tenant string) *office {
	return &office{tenant: tenant, acked: map[string]*springtidev1.Return{}}
}

// A door is a connection to a front door.
type door struct {
	springtidev1.FilingServiceClient
	conn  *grpc.ClientConn
	token string
}

func dial(t *testing.T, address, token string) *door {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &door{springtidev1.NewFilingServiceClient(conn), conn, token}
}

func (d *door) auth(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+d.token)
}

// file submits one return and notes the acknowledgement.
func (o *office) file(ctx context.Context, d *door, r *springtidev1.Return) error {
	ctx, cancel := context.WithTimeout(d.auth(ctx), 10*time.Second)
	defer cancel()
	id := string(filing.IDOf(o.tenant, r))
	resp, err := d.SubmitFiling(ctx, &springtidev1.SubmitFilingRequest{Return: r, RequestId: "r" + id})
	if err != nil {
		return err
	}
	if resp.GetFilingId() != id {
		return fmt.Errorf("acknowledged as %s, want %s", resp.GetFilingId(), id)
	}
	o.note(r)
	return nil
}

// fileBatch submits returns at once and gives those that were not acknowledged.
func (o *office) fileBatch(ctx context.Context, d *door, all []*springtidev1.Return) []*springtidev1.Return {
	ctx, cancel := context.WithTimeout(d.auth(ctx), 10*time.Second)
	defer cancel()
	req := &springtidev1.SubmitFilingBatchRequest{Title: "crash"}
	for _, r := range all {
		req.Requests = append(req.Requests, &springtidev1.SubmitFilingRequest{Return: r, RequestId: "r" + string(filing.IDOf(o.tenant, r))})
	}
	resp, err := d.SubmitFilingBatch(ctx, req)
	if err != nil {
		return all
	}
	var left []*springtidev1.Return
	for i, result := range resp.GetResults() {
		if result.GetError() != nil {
			left = append(left, all[i])
			continue
		}
		o.note(all[i])
	}
	return left
}

func (o *office) note(r *springtidev1.Return) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.acked[string(filing.IDOf(o.tenant, r))] = r
	o.acks++
}

func (o *office) ids() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	ids := make([]string, 0, len(o.acked))
	for id := range o.acked {
		ids = append(ids, id)
	}
	return ids
}

// look gives the states of filings. A refusal is fine while something is broken;
// a filing that was acknowledged and is said not to be there is not.
func (o *office) look(t *testing.T, d *door, ids []string) (map[string]springtidev1.FilingState, error) {
	t.Helper()
	states := map[string]springtidev1.FilingState{}
	for len(ids) > 0 {
		n := min(len(ids), 100)
		ctx, cancel := context.WithTimeout(d.auth(t.Context()), 10*time.Second)
		resp, err := d.BatchGetFilings(ctx, &springtidev1.BatchGetFilingsRequest{FilingIds: ids[:n]})
		cancel()
		if grpcstatus.Code(err) == codes.NotFound || len(resp.GetMissing()) > 0 {
			t.Errorf("acknowledged, yet not found: %v %v", resp.GetMissing(), err)
		}
		if err != nil {
			return nil, err
		}
		for _, f := range resp.GetFilings() {
			states[f.GetFilingId()] = f.GetState()
		}
		ids = ids[n:]
	}
	return states, nil
}

// finish waits until everything that was acknowledged has ended.
func (o *office) finish(t *testing.T, d *door) map[string]springtidev1.FilingState {
	t.Helper()
	var states map[string]springtidev1.FilingState
	open := map[string]springtidev1.FilingState{}
	ids := o.ids()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		var err error
		if states, err = o.look(t, d, ids); err != nil {
			continue
		}
		clear(open)
		for _, id := range ids {
			if s := states[id]; !filing.FinalState(s) {
				open[id] = s
			}
		}
		if len(open) == 0 {
			return states
		}
	}
	t.Fatalf("%d of %d never ended: %v", len(open), len(ids), open)
	return nil
}

// judge joins the acknowledgements with the authority's own book.
func (o *office) judge(t *testing.T, states map[string]springtidev1.FilingState, b *bureau) map[springtidev1.FilingState]int {
	t.Helper()
	book := b.filed(t)
	counts := map[springtidev1.FilingState]int{}
	for _, id := range o.ids() {
		s, n := states[id], book[filing.ID(id).Ref()]
		counts[s]++
		delete(book, filing.ID(id).Ref())
		switch s {
		case springtidev1.FilingState_FILING_STATE_ACCEPTED:
			if n != 1 {
				t.Errorf("%s is accepted and in the book %d times", id, n)
			}
		case springtidev1.FilingState_FILING_STATE_NEEDS_ATTENTION:
			if n > 1 {
				t.Errorf("%s is in the book %d times", id, n)
			}
		default:
			if n != 0 {
				t.Errorf("%s ended %s and is in the book %d times", id, s, n)
			}
		}
	}
	for ref, n := range book {
		t.Errorf("%s is in the book %d times and was never acknowledged", ref, n)
	}
	return counts
}

// returnsOf are n well-formed returns for Chinese bureaus; no two seeds share a taxpayer.
func returnsOf(t *testing.T, seed uint64, n int) []*springtidev1.Return {
	t.Helper()
	firm, err := sample.New(sample.Config{Seed: seed, Clients: n + n/8 + 10})
	if err != nil {
		t.Fatal(err)
	}
	var out []*springtidev1.Return
	for _, r := range firm.Returns {
		if len(out) < n && r.GetForm() != "gb.vat" {
			out = append(out, r)
		}
	}
	if len(out) < n {
		t.Fatalf("only %d of %d returns", len(out), n)
	}
	return out
}
