package notify_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"springtide/consumers/notify"
	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/eventlog"
	"springtide/services/filing"
	"springtide/services/replica/replicatest"
	"springtide/services/status"
	"springtide/services/webhooks"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ledger is the ledger as the handler wants to see it.
type ledger struct{ *replicatest.Log }

func (l ledger) Read(from int64) notify.Reader { return l.Log.Read(eventlog.TopicLedger, 0, from) }

// A scene is a ledger with a view that is always as far, the webhooks, and who receives.
type scene struct {
	t      *testing.T
	hooks  *replicatest.Log
	ledger *replicatest.Log
	store  *webhooks.Store
	sender *webhooks.Sender

	mu       sync.Mutex
	rows     map[filing.ID]status.Row
	down     map[string]bool     // paths that answer 503
	received map[string][]string // filing ids by path, in order
	ids      map[string]bool     // message ids
	changed  chan struct{}
	server   *httptest.Server
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{
		t: t, hooks: replicatest.NewLog(eventlog.TopicWebhooks), ledger: replicatest.NewLog(eventlog.TopicLedger), rows: make(map[filing.ID]status.Row),
		down: make(map[string]bool), received: make(map[string][]string), ids: make(map[string]bool), changed: make(chan struct{}),
	}
	s.server = httptest.NewServer(http.HandlerFunc(s.receive))
	s.sender = webhooks.NewSender(webhooks.SenderConfig{AllowPrivate: true})
	var err error
	if s.store, err = webhooks.New(webhooks.Config{Pepper: make([]byte, 32), AllowPrivate: true}, s.hooks, nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.store.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		s.sender.Close()
		s.server.Close()
	})
	<-s.store.Ready()
	return s
}

func (s *scene) receive(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Type string
		Data struct {
			FilingID string `json:"filing_id"`
		}
	}
	err := json.NewDecoder(r.Body).Decode(&body)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil || s.down[r.URL.Path] {
		w.WriteHeader(http.StatusServiceUnavailable)
	} else {
		s.received[r.URL.Path] = append(s.received[r.URL.Path], body.Data.FilingID)
		s.ids[r.Header.Get("webhook-id")+r.URL.Path] = true
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *scene) Get(_ context.Context, ids []filing.ID) ([]status.Lookup, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]status.Lookup, len(ids))
	for i, id := range ids {
		out[i].Mark = status.Mark{Phase: status.PhaseReady, Ledger: 1 << 40}
		if row, ok := s.rows[id]; ok {
			out[i].Found, out[i].Tenant, out[i].Filing = true, row.Tenant, row.Filing
		}
	}
	return out, nil
}

// webhook keeps an address of a tenant.
func (s *scene) webhook(tenant, path string) *webhooks.Webhook {
	s.t.Helper()
	w, secret, err := s.store.Create(s.t.Context(), tenant, s.server.URL+path, "")
	if err != nil || secret == "" {
		s.t.Fatal(err)
	}
	return w
}

// happens appends an event that brings a filing into a state.
func (s *scene) happens(tenant string, n int, state springtidev1.FilingState, ev *springtidev1.LedgerEvent) eventlog.Record {
	s.t.Helper()
	id := filing.ID(fmt.Sprintf("%s-%03d", tenant, n))
	ev.FilingId = string(id)
	value, err := proto.Marshal(ev)
	if err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	s.rows[id] = status.Row{Tenant: tenant, Filing: &springtidev1.Filing{FilingId: string(id), State: state, Version: int64(n)}}
	s.mu.Unlock()
	offsets, err := s.ledger.AppendAll(s.t.Context(), eventlog.TopicLedger, []eventlog.Record{{Key: []byte(id), Value: value, Tenant: tenant}})
	if err != nil {
		s.t.Fatal(err)
	}
	return s.ledger.Records()[offsets[0]]
}

func (s *scene) accepted(tenant string, n int) eventlog.Record {
	return s.happens(tenant, n, springtidev1.FilingState_FILING_STATE_ACCEPTED, &springtidev1.LedgerEvent{Event: &springtidev1.LedgerEvent_Accepted{}})
}

// A stage is a handler that runs.
type stage struct {
	*notify.Handler
	stop func()
}

func (s *scene) start(cfg notify.Config) *stage {
	s.t.Helper()
	end := int64(len(s.ledger.Records()))
	h := notify.New(cfg, notify.Deps{Store: s.store, Sender: s.sender, Rows: s, Ledger: ledger{s.ledger}}, 0, end)
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.t.Context()))
	var run sync.WaitGroup
	run.Go(func() { h.Run(ctx) })
	var once sync.Once
	stop := func() { once.Do(func() { cancel(); run.Wait() }) }
	s.t.Cleanup(stop)
	return &stage{h, stop}
}

func (st *stage) handle(t *testing.T, records ...eventlog.Record) {
	t.Helper()
	for _, r := range records {
		if err := st.Handle(t.Context(), r); err != nil {
			t.Fatalf("offset %d: %v", r.Offset, err)
		}
	}
}

// until waits for a state of what was received.
func (s *scene) until(what string, ok func() bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	for {
		s.mu.Lock()
		there, changed := ok(), s.changed
		s.mu.Unlock()
		if there {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			s.t.Fatalf("never happened: %s; received %v", what, s.received)
		}
	}
}

// untilStored waits for a state of the store: it looks again whenever the topic has grown.
func (s *scene) untilStored(ok func() bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	for {
		grown := s.hooks.Changed()
		if err := s.store.Fresh(ctx); err != nil {
			s.t.Fatal(err)
		}
		if ok() {
			return
		}
		select {
		case <-grown:
		case <-ctx.Done():
			s.t.Fatal("never happened")
		}
	}
}

func (s *scene) set(path string, down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down[path] = down
}

func quick() notify.Config {
	return notify.Config{FirstRetry: time.Millisecond, LongestRetry: 20 * time.Millisecond, Every: time.Millisecond}
}

func TestWhatIsToldAndWhatIsNot(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	before := s.accepted("firm", 1)
	s.webhook("firm", "/firm")
	s.webhook("other", "/other")
	st := s.start(quick())
	st.handle(
		t, before, s.accepted("firm", 2), s.accepted("other", 3), s.accepted("nobody", 4),
		s.happens("firm", 5, springtidev1.FilingState_FILING_STATE_SUBMITTING, &springtidev1.LedgerEvent{Event: &springtidev1.LedgerEvent_Claimed{}}),
		s.happens("firm", 6, springtidev1.FilingState_FILING_STATE_QUEUED, &springtidev1.LedgerEvent{Event: &springtidev1.LedgerEvent_Registered{}}),
		s.happens("firm", 7, springtidev1.FilingState_FILING_STATE_ACCEPTED, &springtidev1.LedgerEvent{Event: &springtidev1.LedgerEvent_Registered{}}),
		s.happens("firm", 8, springtidev1.FilingState_FILING_STATE_CONFLICT, &springtidev1.LedgerEvent{Event: &springtidev1.LedgerEvent_Registered{}}),
		s.happens("firm", 9, springtidev1.FilingState_FILING_STATE_QUEUED, &springtidev1.LedgerEvent{Event: &springtidev1.LedgerEvent_Rejected{}}),
		s.happens("firm", 10, springtidev1.FilingState_FILING_STATE_INVALID, &springtidev1.LedgerEvent{Event: &springtidev1.LedgerEvent_Invalid{}}),
		eventlog.Record{Tenant: "firm", Offset: 99, Time: time.Now(), Value: []byte("\xff")},
	)
	s.mu.Lock()
	defer s.mu.Unlock()
	if got, want := fmt.Sprint(s.received["/firm"]), "[firm-002 firm-008 firm-010]"; got != want {
		t.Errorf("firm was told %s, want %s", got, want)
	}
	if got, want := fmt.Sprint(s.received["/other"]), "[other-003]"; got != want {
		t.Errorf("other was told %s, want %s", got, want)
	}
}

func TestAnAddressThatFailsFallsBehindAloneAndIsCaughtUp(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	hook := s.webhook("firm", "/broken")
	s.webhook("firm", "/good")
	s.set("/broken", true)
	st := s.start(notify.Config{FirstRetry: time.Hour})
	for n := 1; n <= 5; n++ {
		st.handle(t, s.accepted("firm", n), s.accepted("nobody", n))
	}
	s.mu.Lock()
	good := len(s.received["/good"])
	s.mu.Unlock()
	if progress := s.store.ProgressOf(hook.ID); good != 5 || len(progress) != 1 || !progress[0].Behind || progress[0].Next != 0 || progress[0].LastFailure != "503" {
		t.Fatalf("good has %d, broken is at %+v", good, progress)
	}

	// The process dies; another one goes on, while more happens.
	st.stop()
	again := s.start(quick())
	more := []eventlog.Record{s.accepted("firm", 6), s.accepted("firm", 7)}
	s.set("/broken", false)
	again.handle(t, more...)
	s.until("all seven", func() bool {
		told := slices.Clone(s.received["/broken"])
		slices.Sort(told)
		return len(slices.Compact(told)) == 7
	})
	s.untilStored(func() bool { return !s.store.ProgressOf(hook.ID)[0].Behind })
	again.stop()
	if progress := s.store.ProgressOf(hook.ID); progress[0].Behind || !progress[0].FailingSince.IsZero() {
		t.Errorf("still behind: %+v", progress)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.IsSorted(s.received["/broken"][:5]) {
		t.Errorf("caught up in the order %v", s.received["/broken"])
	}
	if len(s.ids) != 14 { // seven messages at two addresses
		t.Errorf("%d ids of messages, want one for each message and address", len(s.ids))
	}
	if len(s.received["/good"]) != 7 {
		t.Errorf("the other address was told %v", s.received["/good"])
	}
}

// Records of other filings may be finished before one that came earlier, and an address may
// fall behind with the later one. Who owns the partition then is given the earlier one again.
func TestWhatWasUnderWayWhenItsAddressFellBehindIsTold(t *testing.T) {
	t.Parallel()
	for name, restart := range map[string]bool{"by the same owner": false, "by the next owner": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			hook := s.webhook("firm", "/broken")
			s.set("/broken", true)
			cfg := quick()
			cfg.FirstRetry = time.Hour
			st := s.start(cfg)
			earlier, later := s.accepted("firm", 1), s.accepted("firm", 2)
			st.handle(t, later)
			if progress := s.store.ProgressOf(hook.ID); len(progress) != 1 || progress[0].Next != later.Offset {
				t.Fatalf("%+v, want behind from %d", progress, later.Offset)
			}
			s.set("/broken", false)
			if restart {
				st.stop()
				st = s.start(cfg)
			}
			st.handle(t, earlier)
			s.until("the earlier one", func() bool { return slices.Contains(s.received["/broken"], "firm-001") })
		})
	}
}

func TestAnAddressThatFailsForTooLongIsDisabledAndEnabledAgain(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	hook := s.webhook("firm", "/broken")
	s.set("/broken", true)
	cfg := quick()
	cfg.GiveUpAfter = 5 * time.Millisecond
	st := s.start(cfg)
	st.handle(t, s.accepted("firm", 1))
	s.untilStored(func() bool { return s.store.Disabled(hook) })
	st.handle(t, s.accepted("firm", 2)) // it is not posted, and not lost
	s.set("/broken", false)
	s.mu.Lock()
	if told := s.received["/broken"]; len(told) != 0 {
		t.Errorf("disabled, and yet told %v", told)
	}
	s.mu.Unlock()
	enabled, err := s.store.Enable(t.Context(), hook)
	if err != nil || s.store.Disabled(enabled) {
		t.Fatal(err)
	}
	s.until("both", func() bool { return len(s.received["/broken"]) >= 2 })
}

func TestADeletedWebhookIsToldNoMore(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	hook := s.webhook("firm", "/gone")
	s.set("/gone", true)
	st := s.start(quick())
	st.handle(t, s.accepted("firm", 1))
	if err := s.store.Delete(t.Context(), hook.ID); err != nil {
		t.Fatal(err)
	}
	st.handle(t, s.accepted("firm", 2))
	st.stop()
	if got := s.store.Behind(0); len(got) != 0 {
		t.Errorf("a deleted webhook is behind: %+v", got)
	}
}

// A view that is not as far as the ledger: the record is for later, not for nobody.
func TestWhatTheViewDoesNotKnowYetWaits(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.webhook("firm", "/firm")
	h := notify.New(quick(), notify.Deps{Store: s.store, Sender: s.sender, Rows: late{}, Ledger: ledger{s.ledger}}, 0, 0)
	if err := h.Handle(t.Context(), s.accepted("firm", 1)); err == nil {
		t.Error("a record was finished that nobody was told of")
	}
}

type late struct{}

func (late) Get(context.Context, []filing.ID) ([]status.Lookup, error) {
	return nil, errors.New("behind")
}
