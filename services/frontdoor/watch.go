package frontdoor

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
	"springtide/services/keys"
	"springtide/services/status"
)

const (
	// mostWatched bounds what one watch of ids or of a batch follows, and what is read at a time.
	mostWatched = 500
	// mostInPeriod bounds what one watch of a period follows.
	mostInPeriod = 20_000
	// rereads bounds how many watches a second read again without being told to, together: it is a net for
	// notices that were lost, and must cost the view no more the more people watch.
	rereads = 100
	// restInPeriod is how many times longer a period, which is many pages, waits to be read again without being told to.
	restInPeriod = 10
)

// A watch is one open WatchFilings call. It is owned by its handler's goroutine.
type watch struct {
	door   *door
	who    keys.Identity
	batch  string
	month  string // the period ends in it
	most   int
	stream grpc.ServerStreamingServer[springtidev1.WatchFilingsResponse]
	// sent is the newest version sent of each filing that is followed; accepted ones are done.
	sent map[filing.ID]int64
	done map[filing.ID]bool
	// listedAt is when everything was last read.
	listedAt time.Time
}

// WatchFilings sends the present state of each filing and then every change,
// until the client leaves or the server drains. Changes that follow each other
// closely may arrive as one. Notices may be lost on the way, so everything is
// read again now and then.
func (s *filings) WatchFilings(
	req *springtidev1.WatchFilingsRequest, stream grpc.ServerStreamingServer[springtidev1.WatchFilingsResponse],
) error {
	ctx := stream.Context()
	w := &watch{
		door: s.door, who: identityOf(ctx), batch: req.GetBatchId(), month: req.GetPeriodEndMonth(), most: mostWatched, stream: stream,
		sent: make(map[filing.ID]int64), done: make(map[filing.ID]bool),
	}
	ids, err := parseIDs("filing_ids", req.GetFilingIds())
	switch {
	case err != nil:
		return err
	case len(ids) == 0 && w.batch == "" && w.month == "":
		return &filing.Error{Reason: filing.ReasonFieldRequired, Field: "filing_ids"}
	case len(ids) > 0 && (w.batch != "" || w.month != ""), w.batch != "" && w.month != "":
		return &filing.Error{Reason: filing.ReasonFieldInvalid, Field: "filing_ids", Args: filing.Args{"detail": "filing_ids | batch_id | period_end_month"}}
	case w.month != "" && !validMonth(w.month):
		return badMonth()
	case w.batch != "" && !validBatch(w.batch):
		return &filing.Error{Reason: filing.ReasonIDInvalid, Field: "batch_id"}
	}
	if err := s.watches.take(w.who.Tenant); err != nil {
		return err
	}
	defer s.watches.leave(w.who.Tenant)
	if w.month != "" {
		w.most = mostInPeriod
	}
	// First watch, then read: no change falls between.
	watcher, err := s.deps.Changes.Watch(status.Interest{Tenant: w.who.Tenant, IDs: ids, Batch: w.batch, All: w.month != ""})
	if err != nil {
		return viewError(err)
	}
	defer watcher.Close()
	if err := w.begin(ctx, ids); err != nil {
		return err
	}
	if err := stream.Send(&springtidev1.WatchFilingsResponse{SnapshotDone: true}); err != nil {
		return fmt.Errorf("watch: send: %w", err)
	}
	return w.follow(ctx, watcher)
}

// begin sends the present state. An id that is not there ends the watch; a
// batch may still be on its way into the view.
func (w *watch) begin(ctx context.Context, ids []filing.ID) error {
	if w.listed() {
		return w.list(ctx)
	}
	found, err := w.door.find(ctx, w.who, ids)
	if err != nil {
		return err
	}
	for i, f := range found {
		if f == nil {
			return &filing.Error{Reason: filing.ReasonNotFound, Field: fmt.Sprintf("filing_ids[%d]", i)}
		}
	}
	for i, f := range found {
		if err := w.send(ids[i], f); err != nil {
			return err
		}
	}
	return nil
}

func (w *watch) follow(ctx context.Context, watcher Watcher) error {
	for {
		select {
		case <-w.door.draining:
			return &filing.Error{Reason: filing.ReasonDraining, RetryAfter: time.Second}
		default:
		}
		changes, err := w.next(ctx, watcher)
		if ctx.Err() != nil {
			return nil // the client left
		}
		if err != nil {
			return fmt.Errorf("watch: %w", err)
		}
		switch {
		case len(changes.Rows) > 0 && !changes.Resync:
			err = w.tell(changes.Rows)
		case w.month != "" && !changes.Resync && time.Since(w.listedAt) < restInPeriod*w.door.cfg.WatchEvery:
		case w.listed():
			err = w.list(ctx)
		default:
			err = w.read(ctx, w.open())
		}
		if err != nil {
			return err
		}
	}
}

// next waits for changes, but not for long: notices may be lost.
func (w *watch) next(ctx context.Context, watcher Watcher) (status.Changes, error) {
	wait, cancel := context.WithTimeout(ctx, w.door.restOfWatch())
	defer cancel()
	changes, err := watcher.Next(wait)
	if errors.Is(err, context.DeadlineExceeded) {
		return status.Changes{}, nil
	}
	return changes, err
}

// restOfWatch is how long a watch rests when nothing is told: the longer the more there are,
// and not all of them equally long.
func (d *door) restOfWatch() time.Duration {
	rest := max(d.cfg.WatchEvery, time.Duration(d.watches.open())*time.Second/rereads)
	return time.Duration(float64(rest) * (0.9 + 0.2*rand.Float64()))
}

// open are the followed filings that may still change their state.
func (w *watch) open() []filing.ID {
	ids := make([]filing.ID, 0, len(w.sent))
	for id := range w.sent {
		if !w.done[id] {
			ids = append(ids, id)
		}
	}
	return ids
}

// tell sends rows that were read for all who watch them.
func (w *watch) tell(rows []status.Row) error {
	for _, row := range rows {
		id := filing.ID(row.Filing.GetFilingId())
		if !visible(w.who, row.Tenant, row.Filing) || !w.wants(id, row.Filing) {
			continue
		}
		if err := w.send(id, w.door.dressed(proto.CloneOf(row.Filing))); err != nil { // the row is everybody's
			return err
		}
	}
	return nil
}

// read sends what changed of some filings. A view that cannot answer now is asked again later.
func (w *watch) read(ctx context.Context, ids []filing.ID) error {
	for len(ids) > 0 {
		some := ids[:min(len(ids), mostWatched)]
		ids = ids[len(some):]
		rows, err := w.door.deps.Rows.Get(ctx, some)
		if err != nil || len(rows) != len(some) {
			w.door.ignore(ctx, "watch", err)
			return nil
		}
		for i, row := range rows {
			if row.Mark.Phase != status.PhaseReady || !row.Found || !visible(w.who, row.Tenant, row.Filing) {
				continue
			}
			if err := w.send(some[i], w.door.dressed(row.Filing)); err != nil {
				return err
			}
		}
	}
	return nil
}

// listed reports whether what is followed is found by a list and not by ids.
func (w *watch) listed() bool { return w.batch != "" || w.month != "" }

// list sends what changed of a batch or a period.
func (w *watch) list(ctx context.Context) error {
	w.listedAt = time.Now()
	q := status.Query{Tenant: w.who.Tenant, Batch: w.batch, PeriodEndMonth: w.month, PageSize: mostWatched}
	for {
		page, err := w.door.deps.Lists.List(ctx, q)
		if err != nil {
			w.door.ignore(ctx, "watch", err)
			return nil
		}
		for _, f := range page.Filings {
			if !visible(w.who, w.who.Tenant, f) {
				continue
			}
			if err := w.send(filing.ID(f.GetFilingId()), w.door.dressed(f)); err != nil {
				return err
			}
		}
		if q.PageToken = page.NextPageToken; q.PageToken == "" {
			return nil
		}
	}
}

// wants reports whether a filing is followed and was not sent in this version or a newer one.
func (w *watch) wants(id filing.ID, f *springtidev1.Filing) bool {
	last, known := w.sent[id]
	switch {
	case known:
		return f.GetVersion() > last
	case len(w.sent) >= w.most:
		return false
	default:
		return (w.batch == "" || f.GetBatchId() == w.batch) && (w.month == "" || strings.HasPrefix(f.GetPeriod().GetEnd(), w.month+"-"))
	}
}

// send sends a filing unless this version or a newer one was sent.
func (w *watch) send(id filing.ID, f *springtidev1.Filing) error {
	if !w.wants(id, f) {
		return nil
	}
	w.sent[id] = f.GetVersion()
	w.done[id] = f.GetState() == springtidev1.FilingState_FILING_STATE_ACCEPTED
	if err := w.stream.Send(&springtidev1.WatchFilingsResponse{Filing: f}); err != nil {
		return fmt.Errorf("watch: send: %w", err)
	}
	return nil
}
