package frontdoor_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/eventlog"
	"springtide/services/filing"
	"springtide/services/frontdoor"
	"springtide/services/status"
)

// partitions of every world.
const partitions = 4

// A projection folds the two topics into rows, as the projector does.
type projection struct {
	rows map[filing.ID]*projected
}

type projected struct {
	c      filing.Case
	tenant string
	f      *springtidev1.Filing
}

func newProjection() *projection { return &projection{rows: make(map[filing.ID]*projected)} }

// take folds one record and returns the row it changed.
func (p *projection) take(r eventlog.Record) (status.Row, error) {
	id := filing.ID(r.Key)
	row := p.rows[id]
	if row == nil {
		row = &projected{c: filing.NewCase(), f: &springtidev1.Filing{FilingId: string(id), Position: -1}}
		p.rows[id] = row
	}
	if r.Topic == eventlog.TopicSubmitted {
		sub := &springtidev1.Submission{}
		if err := proto.Unmarshal(r.Value, sub); err != nil {
			return status.Row{}, err
		}
		ret := sub.GetReturn()
		row.tenant = sub.GetTenant()
		row.f.Form, row.f.Period, row.f.Taxpayer, row.f.Authority = ret.GetForm(), ret.GetPeriod(), ret.GetTaxpayer(), ret.GetAuthority()
		row.f.Amendment, row.f.ReceiveTime = ret.GetAmendment(), sub.GetReceiveTime()
		row.f.SubmissionId, row.f.BatchId, row.f.Position = sub.GetSubmissionId(), sub.GetBatchId(), r.Offset
	} else {
		ev := &springtidev1.LedgerEvent{}
		if err := proto.Unmarshal(r.Value, ev); err != nil {
			return status.Row{}, err
		}
		next, err := filing.Fold(row.c, filing.Entry{Offset: r.Offset, LogTime: r.Time, Event: ev})
		if err != nil {
			return status.Row{}, err
		}
		row.c = next
		if a := ev.GetAccepted(); a != nil && next.Phase == filing.PhaseAccepted {
			row.f.Receipt = a.GetReceipt()
		}
	}
	row.f.State = filing.StateOf(row.c, row.f.GetPosition())
	row.f.Revision, row.f.Attempts = row.c.Revision, row.c.Claim.Attempt
	row.f.Version = row.c.Version + row.f.GetPosition() + 1
	row.f.Digest = ""
	if !row.c.Digest.IsZero() {
		row.f.Digest = row.c.Digest.String()
	}
	return status.Row{Tenant: row.tenant, Filing: proto.CloneOf(row.f)}, nil
}

// A world is a small working log and view: what is appended is projected at
// once, unless the view is held back.
type world struct {
	mu      sync.Mutex
	topics  map[string][][]eventlog.Record
	pending []eventlog.Record // appended, not projected
	rows    map[filing.ID]status.Row
	project *projection
	marks   []status.Mark
	batches []worldBatch
	prior   map[string]status.RequestKey
	watches map[*worldWatcher]bool

	// Faults. held keeps the view behind; lostNotices drops change notices.
	held, lostNotices bool
	logErr, viewErr   error
	landAfterErr      bool // an append that fails lands all the same
	appends, gets     int
	block             chan struct{} // when set, appends wait for it
	blocked           chan struct{}
	offsetsErr        error
}

func newWorld() *world {
	w := &world{
		topics: make(map[string][][]eventlog.Record), rows: make(map[filing.ID]status.Row),
		project: newProjection(), marks: make([]status.Mark, partitions),
		prior: make(map[string]status.RequestKey), watches: make(map[*worldWatcher]bool),
	}
	for _, topic := range []string{eventlog.TopicSubmitted, eventlog.TopicLedger, eventlog.TopicDead} {
		w.topics[topic] = make([][]eventlog.Record, partitions)
	}
	for p := range w.marks {
		w.marks[p] = status.Mark{Phase: status.PhaseReady}
	}
	return w
}

// with changes the world under its lock.
func (w *world) with(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func (w *world) AppendAll(ctx context.Context, topic string, records []eventlog.Record) ([]int64, error) {
	w.mu.Lock()
	block, blocked := w.block, w.blocked
	w.mu.Unlock()
	if block != nil {
		blocked <- struct{}{}
		select {
		case <-block:
		case <-ctx.Done():
			return slices.Repeat([]int64{-1}, len(records)), fmt.Errorf("append: %w: %w", eventlog.ErrOutcomeUnknown, ctx.Err())
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	offsets := slices.Repeat([]int64{-1}, len(records))
	if w.logErr != nil && !w.landAfterErr {
		return offsets, w.logErr
	}
	w.appends++
	for i, r := range records {
		part := w.topics[topic][r.Partition]
		r.Topic, r.Offset, r.Time = topic, int64(len(part)), time.Now()
		w.topics[topic][r.Partition] = append(part, r)
		w.pending = append(w.pending, r)
		offsets[i] = r.Offset
	}
	if !w.held {
		w.catchUp()
	}
	if w.logErr != nil {
		return slices.Repeat([]int64{-1}, len(records)), w.logErr
	}
	return offsets, nil
}

// catchUp projects what is pending. The lock is held.
func (w *world) catchUp() {
	for _, r := range w.pending {
		if r.Topic == eventlog.TopicDead {
			continue
		}
		row, err := w.project.take(r)
		if err != nil {
			panic(err)
		}
		w.rows[filing.ID(r.Key)] = row
		if r.Topic == eventlog.TopicSubmitted {
			w.marks[r.Partition].Submitted = r.Offset + 1
		} else {
			w.marks[r.Partition].Ledger = r.Offset + 1
		}
		w.notify(filing.ID(r.Key), row)
	}
	w.pending = nil
}

func (w *world) notify(id filing.ID, row status.Row) {
	if w.lostNotices || w.viewErr != nil { // what changed is read from the view
		return
	}
	for watcher := range w.watches {
		in := watcher.in
		if in.Tenant == row.Tenant && (in.All || slices.Contains(in.IDs, id) || in.Batch != "" && in.Batch == row.Filing.GetBatchId()) {
			watcher.pending = append(watcher.pending, status.Row{Tenant: row.Tenant, Filing: proto.CloneOf(row.Filing)})
			watcher.signal()
		}
	}
}

func (w *world) EndOffset(_ context.Context, topic string, partition int) (int64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return int64(len(w.topics[topic][partition])), w.offsetsErr
}

func (w *world) Offsets(_ context.Context, topic string) ([]eventlog.PartitionOffsets, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []eventlog.PartitionOffsets
	for p, records := range w.topics[topic] {
		out = append(out, eventlog.PartitionOffsets{Partition: p, End: int64(len(records))})
	}
	return out, w.offsetsErr
}

func (w *world) Range(_ context.Context, topic string, partition int, from, to int64) ([]eventlog.Record, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.logErr != nil {
		return nil, w.logErr
	}
	return slices.Clone(w.topics[topic][partition][from:to]), nil
}

func (w *world) Get(_ context.Context, ids []filing.ID) ([]status.Lookup, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gets++
	if w.viewErr != nil {
		return nil, w.viewErr
	}
	out := make([]status.Lookup, len(ids))
	for i, id := range ids {
		out[i].Mark = w.marks[id.Partition(partitions)]
		if row, ok := w.rows[id]; ok && out[i].Mark.Phase == status.PhaseReady {
			out[i].Found, out[i].Tenant, out[i].Filing = true, row.Tenant, proto.CloneOf(row.Filing)
		}
	}
	return out, nil
}

func (w *world) Watermarks(context.Context) ([]status.Mark, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.marks), w.viewErr
}

func (w *world) List(_ context.Context, q status.Query) (status.Page, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.viewErr != nil {
		return status.Page{}, w.viewErr
	}
	skip, err := strconv.Atoi(cmp.Or(q.PageToken, "0"))
	if err != nil || skip < 0 {
		return status.Page{}, status.ErrPageToken
	}
	var page status.Page
	for _, id := range slices.Sorted(maps.Keys(w.rows)) {
		row := w.rows[id]
		f := row.Filing
		if row.Tenant == q.Tenant && (q.Batch == "" || q.Batch == f.GetBatchId()) && (q.Form == "" || q.Form == f.GetForm()) &&
			strings.HasPrefix(f.GetPeriod().GetEnd(), q.PeriodEndMonth) &&
			(q.Taxpayer == "" || q.Taxpayer == f.GetTaxpayer().GetId()) &&
			(len(q.States) == 0 || slices.Contains(q.States, f.GetState())) {
			page.Filings = append(page.Filings, proto.CloneOf(f))
		}
	}
	page.Filings = page.Filings[min(skip, len(page.Filings)):]
	if size := cmp.Or(q.PageSize, 100); len(page.Filings) > size {
		page.Filings, page.NextPageToken = page.Filings[:size], strconv.Itoa(skip+size)
	}
	return page, nil
}

func (w *world) ListAttention(ctx context.Context, size int, token string) (status.Page, error) {
	return w.ListState(ctx, springtidev1.FilingState_FILING_STATE_NEEDS_ATTENTION, size, token)
}

func (w *world) ListState(_ context.Context, state springtidev1.FilingState, _ int, token string) (status.Page, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if token != "" {
		return status.Page{}, status.ErrPageToken
	}
	var page status.Page
	for _, id := range slices.Sorted(maps.Keys(w.rows)) {
		if f := w.rows[id].Filing; f.GetState() == state {
			page.Filings = append(page.Filings, proto.CloneOf(f))
		}
	}
	return page, w.viewErr
}

func (w *world) BatchCounts(_ context.Context, tenant string, batches ...string) ([]status.BatchCount, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.viewErr != nil {
		return nil, w.viewErr
	}
	out := make([]status.BatchCount, len(batches))
	for i, b := range batches {
		out[i].Counts = make(map[springtidev1.FilingState]int)
		for _, row := range w.rows {
			if row.Tenant == tenant && row.Filing.GetBatchId() == b {
				out[i].Counts[row.Filing.GetState()]++
				out[i].Size++
			}
		}
	}
	return out, nil
}

func (w *world) ListBatches(_ context.Context, tenant string, _ int, token string) ([]status.BatchInfo, string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if token != "" {
		return nil, "", status.ErrPageToken
	}
	var out []status.BatchInfo
	for _, b := range w.batches {
		if b.tenant == tenant {
			out = append(out, b.BatchInfo)
		}
	}
	return out, "", w.viewErr
}

// A worldBatch is a remembered batch.
type worldBatch struct {
	status.BatchInfo
	tenant string
}

func (w *world) RememberRequests(_ context.Context, tenant string, uses []status.RequestKey) ([]status.Prior, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.viewErr != nil {
		return nil, w.viewErr
	}
	out := make([]status.Prior, len(uses))
	for i, use := range uses {
		if use.RequestID == "" {
			continue
		}
		if old, ok := w.prior[tenant+"/"+use.RequestID]; ok {
			out[i] = status.Prior{Known: true, Digest: old.Digest, Filing: old.Filing, Submission: old.Submission}
			continue
		}
		w.prior[tenant+"/"+use.RequestID] = use
	}
	return out, nil
}

func (w *world) ConfirmRequests(_ context.Context, tenant string, uses []status.RequestKey) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.viewErr != nil {
		return w.viewErr
	}
	for _, use := range uses {
		w.prior[tenant+"/"+use.RequestID] = use
	}
	return nil
}

func (w *world) PutBatch(_ context.Context, tenant string, b status.BatchInfo) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.viewErr != nil {
		return w.viewErr
	}
	w.batches = append(w.batches, worldBatch{b, tenant})
	return nil
}

func (w *world) Watch(in status.Interest) (frontdoor.Watcher, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	watcher := &worldWatcher{world: w, in: in, wake: make(chan struct{}, 1)}
	w.watches[watcher] = true
	return watcher, nil
}

type worldWatcher struct {
	world   *world
	in      status.Interest
	wake    chan struct{}
	pending []status.Row
}

func (w *worldWatcher) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *worldWatcher) Next(ctx context.Context) (status.Changes, error) {
	for {
		w.world.mu.Lock()
		rows := w.pending
		w.pending = nil
		w.world.mu.Unlock()
		if len(rows) > 0 {
			return status.Changes{Rows: rows}, nil
		}
		select {
		case <-ctx.Done():
			return status.Changes{}, ctx.Err()
		case <-w.wake:
		}
	}
}

func (w *worldWatcher) Close() {
	w.world.mu.Lock()
	defer w.world.mu.Unlock()
	delete(w.world.watches, w)
}

// event appends a ledger event as a worker would.
func (w *world) event(t testing.TB, id filing.ID, ev *springtidev1.LedgerEvent) {
	t.Helper()
	ev.FilingId, ev.Time = string(id), timestamppb.Now()
	value, err := proto.Marshal(ev)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.AppendAll(t.Context(), eventlog.TopicLedger, []eventlog.Record{{
		Partition: id.Partition(partitions), Key: []byte(id), Value: value,
	}}); err != nil {
		t.Fatal(err)
	}
}

// register appends the event of a valid submission, so that the filing is queued.
func (w *world) register(t testing.TB, id filing.ID) *springtidev1.Submission {
	t.Helper()
	var sub *springtidev1.Submission
	w.with(func() {
		for _, r := range w.topics[eventlog.TopicSubmitted][id.Partition(partitions)] {
			if string(r.Key) == string(id) {
				sub = &springtidev1.Submission{}
				if err := proto.Unmarshal(r.Value, sub); err != nil {
					t.Fatal(err)
				}
				sub.Position = r.Offset
			}
		}
	})
	if sub == nil {
		t.Fatalf("no submission of %s", id)
	}
	w.event(t, id, &springtidev1.LedgerEvent{Digest: sub.GetDigest(), Event: &springtidev1.LedgerEvent_Registered{
		Registered: &springtidev1.Registered{Reopen: sub.GetReopen(), Click: &springtidev1.Click{
			SubmissionId: sub.GetSubmissionId(), Position: sub.GetPosition(), Tenant: sub.GetTenant(), BatchId: sub.GetBatchId(),
		}},
	}})
	return sub
}

// claim lets a worker begin to send; settle ends it, accepted or rejected.
func (w *world) claim(t testing.TB, sub *springtidev1.Submission) {
	t.Helper()
	w.event(t, filing.ID(sub.GetFilingId()), &springtidev1.LedgerEvent{Digest: sub.GetDigest(), Event: &springtidev1.LedgerEvent_Claimed{
		Claimed: &springtidev1.Claimed{Attempt: 1, Token: make([]byte, 16)},
	}})
}

func (w *world) accept(t testing.TB, sub *springtidev1.Submission) {
	t.Helper()
	w.claim(t, sub)
	w.event(t, filing.ID(sub.GetFilingId()), &springtidev1.LedgerEvent{Digest: sub.GetDigest(), Event: &springtidev1.LedgerEvent_Accepted{
		Accepted: &springtidev1.Accepted{Attempt: 1, Receipt: &springtidev1.Receipt{Number: "R-1"}},
	}})
}

func (w *world) reject(t testing.TB, sub *springtidev1.Submission) {
	t.Helper()
	w.claim(t, sub)
	w.event(t, filing.ID(sub.GetFilingId()), &springtidev1.LedgerEvent{Digest: sub.GetDigest(), Event: &springtidev1.LedgerEvent_Rejected{
		Rejected: &springtidev1.Rejected{Attempt: 1, Clean: true},
	}})
}

// submitted counts the submissions in the log.
func (w *world) submitted() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, part := range w.topics[eventlog.TopicSubmitted] {
		n += len(part)
	}
	return n
}

var errDown = errors.New("not reachable")
