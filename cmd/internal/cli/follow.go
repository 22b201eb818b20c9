package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
)

// mostStreams bounds the crowds followed at a time, each by a stream of its own.
const mostStreams = 8

// A target is one filing to follow.
type target struct {
	filing string
	// submission is our click; empty: any state of the filing is about us.
	submission string
}

// event is what a watcher tells the goroutine that owns the report.
type event struct {
	filing *springtidev1.Filing
	note   string
}

// followAll follows every acknowledged entry to its end and keeps the report in step.
func (r *run) followAll(ctx context.Context) error {
	entries := make(map[string][]int)
	var targets []target
	for i, e := range r.report.Entries {
		if e.Filing == nil || e.Refusal != nil {
			continue
		}
		id := e.Filing.GetFilingId()
		entries[id] = append(entries[id], i)
		targets = append(targets, target{id, e.SubmissionID})
	}
	seen := func(f *springtidev1.Filing) {
		for _, i := range entries[f.GetFilingId()] {
			if e := &r.report.Entries[i]; e.Filing.GetVersion() <= f.GetVersion() {
				e.Filing = f
			}
		}
	}
	tick := func(note string) {
		s := r.step()
		s.Note = note
		r.progress.Show(s)
	}
	return follow(ctx, r.filer.Client, r.retry, targets, seen, tick)
}

// follow watches filings until each has ended. seen gets every state and tick
// is called often, both from the calling goroutine. Everything it started has
// ended when it returns.
func follow(ctx context.Context, filings springtidev1.FilingServiceClient, retry retrier, targets []target,
	seen func(*springtidev1.Filing), tick func(note string),
) error {
	events, done := make(chan event, 256), make(chan error, 1)
	retry.note = nil
	go func() {
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(mostStreams)
		for crowd := range slices.Chunk(targets, mostInBatch) {
			w := &watcher{filings: filings, retry: retry, events: events, open: map[string]string{}, doubted: map[string]time.Time{}}
			for _, t := range crowd {
				w.open[t.filing] = t.submission
			}
			w.retry.note = func(text string) { w.tell(ctx, event{note: text}) }
			group.Go(func() error { return w.run(ctx) })
		}
		done <- group.Wait()
	}()
	redraw := time.NewTicker(retry.timing.redraw)
	defer redraw.Stop()
	note := ""
	take := func(e event) {
		if e.filing != nil {
			seen(e.filing)
		}
		note = e.note
	}
	for {
		select {
		case e := <-events:
			take(e)
		case <-redraw.C:
			tick(note)
		case err := <-done:
			for len(events) > 0 {
				take(<-events)
			}
			tick("")
			if ctx.Err() != nil && err != nil {
				return ErrInterrupted
			}
			return err
		}
	}
}

// watcher follows up to 500 filings. It is used by one goroutine.
type watcher struct {
	filings springtidev1.FilingServiceClient
	retry   retrier
	events  chan<- event
	// open maps what has not ended to our submission.
	open map[string]string
	// doubted remembers since when a final state that belongs to another click
	// is seen: right after ours it may still be the old one.
	doubted map[string]time.Time
	// noStream: the server cannot stream; poll only.
	noStream bool
}

// run follows until nothing is open. It watches a stream; whenever that ends it
// polls once and watches again.
func (w *watcher) run(ctx context.Context) error {
	missingSince := time.Time{}
	for len(w.open) > 0 {
		if !w.noStream {
			if err := w.stream(ctx); err != nil {
				return err
			}
		}
		if len(w.open) == 0 {
			return nil
		}
		pause, missing, err := w.poll(ctx)
		if err != nil {
			return err
		}
		switch {
		case missing == 0:
			missingSince = time.Time{}
		case missingSince.IsZero():
			missingSince = time.Now()
		case time.Since(missingSince) > w.retry.patience:
			return fmt.Errorf("%w: the server no longer knows %d acknowledged filings, %s among them",
				ErrPromiseBroken, missing, slices.Min(slices.Collect(maps.Keys(w.open))))
		}
		if len(w.open) > 0 && sleep(ctx, pause) != nil {
			return ErrInterrupted
		}
	}
	return nil
}

// stream watches until the stream ends, for whatever reason that does not forbid polling.
func (w *watcher) stream(ctx context.Context) error {
	streamCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	var doubts *time.Timer
	defer func() {
		if doubts != nil {
			doubts.Stop()
		}
	}()
	stream, err := w.filings.WatchFilings(streamCtx, &springtidev1.WatchFilingsRequest{
		FilingIds: slices.Sorted(maps.Keys(w.open)),
	})
	for err == nil && len(w.open) > 0 {
		var resp *springtidev1.WatchFilingsResponse
		if resp, err = stream.Recv(); err == nil && resp.GetFiling() != nil {
			w.retry.reached.Store(true)
			w.see(ctx, resp.GetFiling())
			if doubts == nil && len(w.open) > 0 && len(w.doubted) == len(w.open) {
				doubts = time.AfterFunc(w.retry.timing.settle, cancel) // nothing may come any more: look again, then believe
			}
		}
	}
	if len(w.open) == 0 {
		return nil
	}
	if ctx.Err() != nil {
		return ErrInterrupted
	}
	switch a := answerOf(w.retry.judge(ctx, err)); {
	case a != nil && a.code == codes.Unimplemented:
		w.noStream = true
	case a != nil && a.ours && a.wait > 0:
		w.tell(ctx, event{note: plain(w.retry.lang.text(a.message))})
	}
	return nil // polling finds out whether it is worse than the end of a stream
}

// poll asks once for everything open. It returns when to ask again and how much is missing.
func (w *watcher) poll(ctx context.Context) (pause time.Duration, missing int, err error) {
	var resp *springtidev1.BatchGetFilingsResponse
	req := &springtidev1.BatchGetFilingsRequest{FilingIds: slices.Sorted(maps.Keys(w.open))}
	err = w.retry.do(ctx, false, func(ctx context.Context) (err error) {
		resp, err = w.filings.BatchGetFilings(ctx, req)
		return err
	})
	if err != nil {
		if errors.Is(err, ErrInterrupted) || ctx.Err() != nil {
			return 0, 0, ErrInterrupted
		}
		return 0, 0, err
	}
	pause = w.retry.timing.longestWait
	for _, f := range resp.GetFilings() {
		w.see(ctx, f)
		if t := f.GetNextPollTime(); t != nil {
			pause = min(pause, time.Until(t.AsTime()))
		}
	}
	if missing = len(resp.GetMissing()); missing > 0 || len(w.doubted) > 0 {
		pause = min(pause, w.retry.timing.settle)
	}
	return max(pause, w.retry.timing.firstWait), missing, nil
}

// see passes a state on and decides whether the filing has ended for us.
func (w *watcher) see(ctx context.Context, f *springtidev1.Filing) {
	id := f.GetFilingId()
	submission, open := w.open[id]
	if !open {
		return
	}
	w.tell(ctx, event{filing: f})
	switch {
	case Entry{Filing: f, SubmissionID: submission}.state() == springtidev1.FilingState_FILING_STATE_CONFLICT:
	case !filing.FinalState(f.GetState()):
		delete(w.doubted, id)
		return
	case submission != "" && f.GetSubmissionId() != "" && f.GetSubmissionId() != submission:
		since, doubted := w.doubted[id]
		if !doubted {
			w.doubted[id] = time.Now()
			return
		}
		if time.Since(since) < w.retry.timing.settle {
			return
		}
	}
	delete(w.open, id)
	delete(w.doubted, id)
}

// tell hands an event over unless everything is being stopped.
func (w *watcher) tell(ctx context.Context, e event) {
	select {
	case w.events <- e:
	case <-ctx.Done():
	}
}
