package frontdoor_test

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/proto"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/eventlog"
	"springtide/services/filing"
	"springtide/services/keys"
)

type watching = grpc.ServerStreamingClient[springtidev1.WatchFilingsResponse]

// until receives until a filing is in a state.
func until(t *testing.T, s watching, id filing.ID, want springtidev1.FilingState) {
	t.Helper()
	for {
		resp, err := s.Recv()
		if err != nil {
			t.Fatalf("waiting for %s: %v", want, err)
		}
		if f := resp.GetFiling(); f.GetFilingId() == string(id) && f.GetState() == want {
			return
		}
	}
}

func TestWatchTellsThePresentAndEveryChange(t *testing.T) {
	t.Parallel()
	for name, lost := range map[string]bool{"with notices": false, "with every notice lost": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			w.lostNotices = lost
			c := open(t, w)
			a, b := c.mustSubmit(t, 1), c.mustSubmit(t, 2)
			ctx, cancel := context.WithCancel(accountant(t))
			defer cancel()
			s, err := c.WatchFilings(ctx, &springtidev1.WatchFilingsRequest{FilingIds: []string{string(a), string(b)}})
			if err != nil {
				t.Fatal(err)
			}
			until(t, s, a, springtidev1.FilingState_FILING_STATE_RECEIVED)
			until(t, s, b, springtidev1.FilingState_FILING_STATE_RECEIVED)
			sub := w.register(t, b)
			until(t, s, b, springtidev1.FilingState_FILING_STATE_QUEUED)
			w.with(func() { w.viewErr = errDown }) // a view that is gone for a while ends no watch
			w.accept(t, sub)
			w.with(func() { w.viewErr = nil })
			until(t, s, b, springtidev1.FilingState_FILING_STATE_ACCEPTED)
		})
	}
}

func TestWatchOfABatchFollowsItIntoTheView(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.held = true
	c := open(t, w)
	resp, err := c.SubmitFilingBatch(accountant(t), &springtidev1.SubmitFilingBatchRequest{
		Requests: []*springtidev1.SubmitFilingRequest{submit(1), submit(2)},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(accountant(t))
	defer cancel()
	s, err := c.WatchFilings(ctx, &springtidev1.WatchFilingsRequest{BatchId: resp.GetBatch().GetBatchId()})
	if err != nil {
		t.Fatal(err)
	}
	w.with(func() {
		w.held = false
		w.catchUp()
	})
	seen := map[string]bool{}
	for len(seen) < 2 {
		next, err := s.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if f := next.GetFiling(); f != nil {
			seen[f.GetFilingId()] = true
		}
	}
	id := filing.ID(resp.GetResults()[0].GetFilingId())
	w.register(t, id)
	until(t, s, id, springtidev1.FilingState_FILING_STATE_QUEUED)
}

func TestWatchOfAForeignFilingIsNotFound(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c := open(t, w)
	id := c.mustSubmit(t, 1)
	s, err := c.WatchFilings(as(t.Context(), "other-viewer"), &springtidev1.WatchFilingsRequest{FilingIds: []string{string(id)}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Recv()
	wantRefusal(t, err, codes.NotFound, filing.ReasonNotFound)
}

func TestWatchesAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld()
	cfg := quick()
	cfg.MaxWatches = 1
	c := serve(t, cfg, w.deps(t))
	id := c.mustSubmit(t, 1)
	ctx, cancel := context.WithCancel(accountant(t))
	defer cancel()
	req := &springtidev1.WatchFilingsRequest{FilingIds: []string{string(id)}}
	first, err := c.WatchFilings(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	until(t, first, id, springtidev1.FilingState_FILING_STATE_RECEIVED)
	second, err := c.WatchFilings(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	_, err = second.Recv()
	wantRefusal(t, err, codes.Unavailable, filing.ReasonOverloaded)
}

// One tenant that opens the same tab again and again is told that it has enough; others have places.
func TestATenantCannotTakeAllPlacesOfWatches(t *testing.T) {
	t.Parallel()
	w := newWorld()
	cfg := quick()
	cfg.MaxWatches, cfg.MaxTenantWatches = 8, 3
	c := serve(t, cfg, w.deps(t))
	ours := &springtidev1.WatchFilingsRequest{FilingIds: []string{string(c.mustSubmit(t, 1))}}
	theirs := &springtidev1.WatchFilingsRequest{PeriodEndMonth: "2026-06"}
	watch := func(token string, req *springtidev1.WatchFilingsRequest) (leave func(), err error) {
		ctx, cancel := context.WithCancel(as(t.Context(), token))
		t.Cleanup(cancel)
		s, err := c.WatchFilings(ctx, req)
		if err == nil {
			_, err = s.Recv() // the present, or a refusal
		}
		return func() {
			cancel()
			for err := error(nil); err == nil; {
				_, err = s.Recv()
			}
		}, err
	}
	var leave func()
	for range cfg.MaxTenantWatches {
		var err error
		if leave, err = watch(keys.RoleAccountant, ours); err != nil {
			t.Fatal(err)
		}
	}
	_, err := watch(keys.RoleViewer, ours) // another key of the same tenant
	wantRefusal(t, err, codes.ResourceExhausted, filing.ReasonTenantQuota)
	if _, err := watch("other-viewer", theirs); err != nil {
		t.Fatalf("another tenant: %v", err)
	}
	leave()
	for _, err := watch(keys.RoleAccountant, ours); err != nil; _, err = watch(keys.RoleAccountant, ours) {
		wantRefusal(t, err, codes.ResourceExhausted, filing.ReasonTenantQuota) // the place is not free yet
	}
}

// What changed was read for all watchers together; none reads it again for itself.
func TestAChangeIsNotReadAgainByEachWatcher(t *testing.T) {
	t.Parallel()
	w := newWorld()
	cfg := quick()
	cfg.WatchEvery = time.Hour
	c := serve(t, cfg, w.deps(t))
	id := c.mustSubmit(t, 1)
	var tabs []watching
	for range 8 {
		s, err := c.WatchFilings(accountant(t), &springtidev1.WatchFilingsRequest{FilingIds: []string{string(id)}})
		if err != nil {
			t.Fatal(err)
		}
		until(t, s, id, springtidev1.FilingState_FILING_STATE_RECEIVED)
		tabs = append(tabs, s)
	}
	before := 0
	w.with(func() { before = w.gets })
	w.accept(t, w.register(t, id))
	for _, s := range tabs {
		until(t, s, id, springtidev1.FilingState_FILING_STATE_ACCEPTED)
	}
	w.with(func() {
		if w.gets != before {
			t.Errorf("%d reads by %d watchers", w.gets-before, len(tabs))
		}
		for _, row := range w.rows {
			if row.Filing.GetMessage() != nil {
				t.Error("a row that all watchers share was changed")
			}
		}
	})
}

// A limited key watches the period of its tenant, and is told of its own taxpayers alone.
func TestAWatcherIsToldOfNothingThatItMayNotSee(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c := open(t, w)
	s, err := c.WatchFilings(as(t.Context(), "two-viewer"), &springtidev1.WatchFilingsRequest{PeriodEndMonth: "2026-06"})
	if err != nil {
		t.Fatal(err)
	}
	if first, err := s.Recv(); err != nil || !first.GetSnapshotDone() {
		t.Fatalf("%v, %v", first, err)
	}
	hidden, own := c.mustSubmit(t, 2), c.mustSubmit(t, 1) // taxpayer 000000001 is one of its two
	w.accept(t, w.register(t, hidden))
	w.accept(t, w.register(t, own))
	for {
		got, err := s.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if got.GetFiling().GetFilingId() == string(hidden) {
			t.Fatal("told of a filing of another taxpayer")
		}
		if got.GetFiling().GetState() == springtidev1.FilingState_FILING_STATE_ACCEPTED {
			return
		}
	}
}

func TestDrainFinishesCallsAndEndsWatches(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c := open(t, w)
	id := c.mustSubmit(t, 1)
	s, err := c.WatchFilings(accountant(t), &springtidev1.WatchFilingsRequest{FilingIds: []string{string(id)}})
	if err != nil {
		t.Fatal(err)
	}
	until(t, s, id, springtidev1.FilingState_FILING_STATE_RECEIVED)
	health, err := grpc_health_v1.NewHealthClient(c.conn).Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: "springtide.v1.FilingService"})
	if err != nil {
		t.Fatal(err)
	}
	wantHealth(t, health, grpc_health_v1.HealthCheckResponse_SERVING)

	w.with(func() { w.block, w.blocked = make(chan struct{}), make(chan struct{}) })
	submitted := make(chan error, 1)
	go func() {
		_, err := c.SubmitFiling(accountant(t), submit(2))
		submitted <- err
	}()
	<-w.blocked
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		c.stop()
	}()
	wantHealth(t, health, grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	for err == nil { // what was sent before comes first
		_, err = s.Recv()
	}
	wantRefusal(t, err, codes.Unavailable, filing.ReasonDraining)
	select {
	case <-stopped:
		t.Error("stopped while a submission was in flight")
	default:
	}
	close(w.block)
	if err := <-submitted; err != nil {
		t.Errorf("the submission in flight: %v", err)
	}
	<-stopped
	if _, err := health.Recv(); err == nil {
		t.Error("the health watch outlived the drain")
	}
}

func wantHealth(t *testing.T, s grpc.ServerStreamingClient[grpc_health_v1.HealthCheckResponse], want grpc_health_v1.HealthCheckResponse_ServingStatus) {
	t.Helper()
	resp, err := s.Recv()
	if err != nil || resp.GetStatus() != want {
		t.Fatalf("health %v, %v, want %s", resp, err, want)
	}
}

func TestReflectionOnlyWhereAsked(t *testing.T) {
	t.Parallel()
	for name, on := range map[string]bool{"off": false, "on": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := quick()
			cfg.Reflection = on
			c := serve(t, cfg, newWorld().deps(t))
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			s, err := grpc_reflection_v1.NewServerReflectionClient(c.conn).ServerReflectionInfo(ctx)
			if err != nil {
				t.Fatal(err)
			}
			err = s.Send(&grpc_reflection_v1.ServerReflectionRequest{
				MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{},
			})
			if err == nil {
				_, err = s.Recv()
			}
			if (err == nil) != on {
				t.Errorf("reflection %s: %v", name, err)
			}
		})
	}
}

func TestDeadLetters(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c := open(t, w)
	ctx := as(t.Context(), keys.RoleOperator)
	id := c.mustSubmit(t, 1)
	sub := w.register(t, id)
	value, err := proto.Marshal(sub)
	if err != nil {
		t.Fatal(err)
	}
	dead := func(partition int, letter *springtidev1.DeadLetter) {
		b, err := proto.Marshal(letter)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.AppendAll(t.Context(), eventlog.TopicDead, []eventlog.Record{{Partition: partition, Key: []byte(id), Value: b}}); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		dead(1, &springtidev1.DeadLetter{FilingId: string(id), Topic: eventlog.TopicValidated, Stage: "submit", Reason: "poison", Value: value})
	}
	dead(3, &springtidev1.DeadLetter{FilingId: string(id), Topic: eventlog.TopicSubmitted, Stage: "validate", Reason: "unreadable", Value: []byte{0xff}})
	var got []string
	token := ""
	for {
		resp, err := c.operations.ListDeadLetters(ctx, &springtidev1.ListDeadLettersRequest{PageSize: 2, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range resp.GetDeadLetters() {
			got = append(got, l.GetDeadLetterId())
		}
		if token = resp.GetNextPageToken(); token == "" {
			break
		}
	}
	if want := []string{"1-2", "1-1", "1-0", "3-0"}; len(got) != 4 || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] || got[3] != want[3] {
		t.Errorf("dead letters %v, want %v", got, want)
	}
	before := w.submitted()
	if _, err := c.operations.ReplayDeadLetter(ctx, &springtidev1.ReplayDeadLetterRequest{DeadLetterId: "1-1"}); err != nil {
		t.Fatal(err)
	}
	if w.submitted() != before+1 {
		t.Error("not submitted again")
	}
	_, err = c.operations.ReplayDeadLetter(ctx, &springtidev1.ReplayDeadLetterRequest{DeadLetterId: "3-0"})
	wantRefusal(t, err, codes.FailedPrecondition, filing.ReasonNotReplayable)
	_, err = c.operations.ReplayDeadLetter(ctx, &springtidev1.ReplayDeadLetterRequest{DeadLetterId: "3-1"})
	wantRefusal(t, err, codes.NotFound, filing.ReasonNotFound)
}

func TestCheckAndForms(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c := open(t, w)
	r := vat(1)
	r.Taxpayer.Id = "1"
	resp, err := c.CheckFiling(as(t.Context(), keys.RoleViewer), &springtidev1.CheckFilingRequest{Return: r})
	if err != nil || resp.GetOk() || len(resp.GetViolations()) == 0 || resp.GetCompleted() == nil {
		t.Errorf("%v, %v", resp, err)
	}
	forms, err := c.ListForms(accountant(t), &springtidev1.ListFormsRequest{})
	if err != nil || len(forms.GetForms()) == 0 {
		t.Fatalf("%v, %v", forms, err)
	}
	for _, f := range forms.GetForms() {
		form, err := c.GetForm(accountant(t), &springtidev1.GetFormRequest{Form: f.GetForm()})
		if err != nil || len(form.GetForm().GetCells()) == 0 {
			t.Errorf("%s: %v", f.GetForm(), err)
		}
	}
	if w.submitted() != 0 {
		t.Error("a check was sent")
	}
}
