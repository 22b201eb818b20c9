package operations

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/timestamppb"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/acts"
	"springtide/services/eventlog"
	"springtide/services/filing"
	"springtide/services/fleet"
	"springtide/services/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const partitions = 2

// An installation as a monitor sees it: offsets, reports, pauses. Its clock is its own.
type installation struct {
	t       *testing.T
	monitor *Monitor
	metrics *prometheus.Registry
	now     time.Time
	reports map[string]map[string]status.Report
	viewErr error
	lagErr  error
	ended   int64
	pauses  []acts.Pause
}

func (i *installation) Lag(_ context.Context, _ string, topics ...string) (out []eventlog.PartitionLag, err error) {
	for p := range partitions {
		out = append(out, eventlog.PartitionLag{Topic: topics[0], Partition: p, Committed: 100, End: 110})
	}
	return out, i.lagErr
}

func (i *installation) Say(_ context.Context, group, member, payload string) error {
	if i.reports[group] == nil {
		i.reports[group] = make(map[string]status.Report)
	}
	i.reports[group][member] = status.Report{Member: member, Payload: payload}
	return nil
}

func (i *installation) Unsay(context.Context, string, string) error { return nil }

func (i *installation) Reports(_ context.Context, group string) (out []status.Report, err error) {
	for _, r := range i.reports[group] {
		out = append(out, r)
	}
	return out, i.viewErr
}

func (i *installation) Pauses() []acts.Pause { return i.pauses }

func (i *installation) RunFor(reason string) (*springtidev1.RetryRun, bool) {
	return &springtidev1.RetryRun{RunId: "run"}, reason == "rejected:E1"
}

func install(t *testing.T) *installation {
	t.Helper()
	i := &installation{
		t: t, metrics: prometheus.NewRegistry(), now: time.Date(2026, 7, 15, 1, 0, 0, 0, time.UTC), reports: make(map[string]map[string]status.Report),
	}
	m, err := New(Config{Partitions: partitions}, Deps{Log: i, View: i, Acts: i, Metrics: i.metrics})
	if err != nil {
		t.Fatal(err)
	}
	i.monitor = m
	return i
}

func (i *installation) report(group, member string, r any, age time.Duration) {
	i.t.Helper()
	payload, err := json.Marshal(r)
	if err != nil {
		i.t.Fatal(err)
	}
	if err := i.Say(i.t.Context(), group, member, string(payload)); err != nil {
		i.t.Fatal(err)
	}
	said := i.reports[group][member]
	said.Age = age
	i.reports[group][member] = said
}

// counts says that so many filings for cn.31 are open and have ended, over all partitions.
func (i *installation) counts(open, ended int64) {
	for p := range partitions {
		share := func(n int64) int64 {
			if p == 0 {
				return n - n/2
			}
			return n / 2
		}
		i.report(fleet.Tallies, strconv.Itoa(p), fleet.Tally{
			Member: fmt.Sprint("projector", p),
			States: map[int32]int64{
				int32(springtidev1.FilingState_FILING_STATE_QUEUED): share(open), int32(springtidev1.FilingState_FILING_STATE_ACCEPTED): share(ended),
			},
			Authorities: map[string]fleet.Queue{"cn.31": {Open: share(open), Ended: share(ended)}},
			Months:      map[string]int64{"2026-06": share(open)},
			Failures:    map[string]int64{"rejected:E1": 3, "waiting:paused": 1},
			Tenants:     map[string]int64{"big": 10 * int64(p+1), fmt.Sprint("small", p): 1},
		}, 0)
	}
}

// workers says that both groups have one, which sees the authority so.
func (i *installation) workers(a fleet.Authority) {
	a.Name = "cn.31"
	r := fleet.Report{Slots: 10, Partitions: []fleet.Progress{{Partition: 0, Read: 110}, {Partition: 1, Read: 110}}}
	i.report(groupValidate, "v", r, 0)
	r.Authorities = []fleet.Authority{a}
	i.report(groupSubmit, "s", r, 0)
}

// works lets time pass while so many of the open filings end per second.
func (i *installation) works(seconds int, open *int64, perSecond int64, a fleet.Authority) {
	for range seconds {
		i.now = i.now.Add(time.Second)
		*open, i.ended = *open-perSecond, i.ended+perSecond
		a.Requests += uint64(perSecond)
		i.counts(*open, i.ended)
		i.workers(a)
		i.look()
	}
}

func (i *installation) look() *springtidev1.Overview {
	i.t.Helper()
	i.monitor.measure(i.t.Context(), i.now)
	o, _, err := i.monitor.Overview()
	if err != nil {
		i.t.Fatal(err)
	}
	return o
}

func (i *installation) want(verdict springtidev1.Verdict, bound springtidev1.Bound, by string) *springtidev1.Overview {
	i.t.Helper()
	o := i.look()
	if o.GetVerdict() != verdict || o.GetBound() != bound || o.GetBoundBy() != by {
		i.t.Errorf("%v bound by %v %q, want %v bound by %v %q: %v", o.GetVerdict(), o.GetBound(), o.GetBoundBy(), verdict, bound, by, o.GetBecause())
	}
	if o.GetHeadline().GetZh() == "" || o.GetHeadline().GetEn() == "" || len(o.GetBecause()) == 0 {
		i.t.Errorf("no words: %v", o)
	}
	return o
}

const (
	onTrack = springtidev1.Verdict_VERDICT_ON_TRACK
	late    = springtidev1.Verdict_VERDICT_LATE
	unknown = springtidev1.Verdict_VERDICT_UNKNOWN
)

func TestNothingOpenIsOnTrackWhoeverWorks(t *testing.T) {
	t.Parallel()
	i := install(t)
	i.counts(0, 50)
	o := i.want(onTrack, springtidev1.Bound_BOUND_NOTHING, "")
	if n := o.GetGroups()[2]; n.GetGroup() != "project" || n.GetMembers() != 2 {
		t.Errorf("group %v", n)
	}
	if o.GetEta() != nil || o.GetOpen() != 0 || !o.GetDeadline().AsTime().Equal(time.Date(2026, 7, 15, 16, 0, 0, 0, time.UTC)) {
		t.Errorf("overview %v", o)
	}
}

func TestAMeasuredPaceGivesARangeAndAVerdict(t *testing.T) {
	t.Parallel()
	i, open := install(t), int64(10_000)
	i.works(30, &open, 100, fleet.Authority{Quota: 110, Breaker: "closed"})
	o := i.want(onTrack, springtidev1.Bound_BOUND_AUTHORITY_QUOTA, "cn.31")
	ideal := i.now.Add(time.Duration(open/100) * time.Second)
	if e := o.GetEta(); e == nil || e.GetEarliest().AsTime().After(ideal) || e.GetLatest().AsTime().Before(ideal) {
		t.Errorf("done %v, want around %v", e, ideal)
	}
	a := o.GetAuthorities()[0]
	if a.GetOpen() != open || a.GetQuotaPerSecond() != 110 || a.GetState() != springtidev1.AuthorityState_AUTHORITY_STATE_OPEN || a.GetWorkers() != 1 {
		t.Errorf("authority %v", a)
	}
	if n := len(o.GetHistory()); n != 6 || o.GetHistory()[0].GetOpen() != 9900 {
		t.Errorf("history %v", o.GetHistory())
	}
	f := &springtidev1.Filing{
		State: springtidev1.FilingState_FILING_STATE_QUEUED, Authority: "cn.31", ReceiveTime: timestamppb.New(i.now),
	}
	if _, ok := i.monitor.Eta(f); ok {
		t.Error("a range from a measurement of long ago")
	}
}

func TestALearnedPaceBoundsLikeAQuota(t *testing.T) {
	t.Parallel()
	i, open := install(t), int64(10_000)
	i.works(30, &open, 100, fleet.Authority{Pace: 110, Breaker: "closed"})
	o := i.want(onTrack, springtidev1.Bound_BOUND_AUTHORITY_QUOTA, "cn.31")
	if a := o.GetAuthorities()[0]; a.GetQuotaPerSecond() != 110 {
		t.Errorf("authority %v", a)
	}
}

func TestTooSlowIsLate(t *testing.T) {
	t.Parallel()
	i, open := install(t), int64(1_000_000)
	i.works(30, &open, 5, fleet.Authority{Quota: 5})
	o := i.want(late, springtidev1.Bound_BOUND_AUTHORITY_QUOTA, "cn.31")
	if o.GetEta() == nil || !strings.Contains(o.GetHeadline().GetEn(), "between") {
		t.Errorf("does not name when it would be done: %v", o.GetHeadline())
	}
	open = 100_000
	i.works(61, &open, 20, fleet.Authority{}) // too few for the workers alone
	i.want(onTrack, springtidev1.Bound_BOUND_WORKERS, groupSubmit)
}

func TestAnAuthorityThatTakesNothing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		a       fleet.Authority
		paused  bool
		open    int64
		verdict springtidev1.Verdict
		bound   springtidev1.Bound
		state   springtidev1.AuthorityState
	}{
		"down":              {fleet.Authority{Open: true, Breaker: "open", Quota: 10}, false, 100, unknown, springtidev1.Bound_BOUND_AUTHORITY_DOWN, springtidev1.AuthorityState_AUTHORITY_STATE_DOWN},
		"down for too much": {fleet.Authority{Open: true, Breaker: "open", Quota: 10}, false, 10_000_000, late, springtidev1.Bound_BOUND_AUTHORITY_DOWN, springtidev1.AuthorityState_AUTHORITY_STATE_DOWN},
		"paused":            {fleet.Authority{Quota: 10}, true, 100, unknown, springtidev1.Bound_BOUND_AUTHORITY_PAUSED, springtidev1.AuthorityState_AUTHORITY_STATE_PAUSED},
		"closed":            {fleet.Authority{Shut: true, Quota: 10, For: time.Hour}, false, 100, onTrack, springtidev1.Bound_BOUND_AUTHORITY_DOWN, springtidev1.AuthorityState_AUTHORITY_STATE_CLOSED},
		"closed beyond":     {fleet.Authority{Shut: true, Quota: 10, For: 20 * time.Hour}, false, 100, late, springtidev1.Bound_BOUND_AUTHORITY_DOWN, springtidev1.AuthorityState_AUTHORITY_STATE_CLOSED},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := install(t)
			if c.paused {
				i.pauses = []acts.Pause{{Authority: "cn", Subject: "ann", Why: "they asked", Time: i.now}}
			}
			i.counts(c.open, 0)
			i.workers(c.a)
			o := i.want(c.verdict, c.bound, "cn.31")
			for _, a := range o.GetAuthorities() {
				if a.GetAuthority() == "cn.31" && (a.GetState() != c.state || a.GetPaused() != c.paused) {
					t.Errorf("authority %v", a)
				}
			}
			if c.a.For == 0 && o.GetEta() != nil {
				t.Errorf("promised %v of an authority nobody knows when to be back", o.GetEta())
			}
			if e := o.GetEta(); c.a.For > 0 && (e == nil || e.GetEarliest().AsTime().Before(i.now.Add(c.a.For))) {
				t.Errorf("done %v, before it opens", e)
			}
		})
	}
}

// An operator may pause before anybody has said which authorities there are, and may have typed a taxpayer's number.
func TestWhatAnOperatorTypedIsNoLabel(t *testing.T) {
	t.Parallel()
	i := install(t)
	i.pauses = []acts.Pause{{Authority: "393000000", Time: i.now}, {Authority: "cn", Time: i.now}}
	i.counts(100, 0)
	i.workers(fleet.Authority{Quota: 10})
	i.look()
	families, err := i.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, family := range families {
		for _, m := range family.GetMetric() {
			for _, label := range m.GetLabel() {
				if label.GetName() == "authority" {
					got[family.GetName()+" "+label.GetValue()] = m.GetGauge().GetValue()
				}
			}
		}
	}
	want := map[string]float64{"springtide_overview_authority_open_filings cn.31": 100, "springtide_overview_authority_paused cn.31": 1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("series (-want +got):\n%s", diff)
	}
}

func TestWhatIsMissingOrOldIsNeverGood(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*installation){
		"no view":              func(i *installation) { i.viewErr = errors.New("gone") },
		"no counts at all":     func(i *installation) { delete(i.reports, fleet.Tallies) },
		"a partition missing":  func(i *installation) { delete(i.reports[fleet.Tallies], "1") },
		"an old count":         func(i *installation) { i.age(fleet.Tallies, "1", 20*time.Second) },
		"an unreadable count":  func(i *installation) { i.reports[fleet.Tallies]["0"] = status.Report{Member: "0", Payload: "{"} },
		"an old worker":        func(i *installation) { i.age(groupSubmit, "s", 20*time.Second) },
		"an unreadable worker": func(i *installation) { i.reports[groupValidate]["v"] = status.Report{Member: "v", Payload: "{"} },
		"no offsets":           func(i *installation) { i.lagErr = errors.New("gone") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i, open := install(t), int64(10_000)
			i.works(lagEvery*10, &open, 100, fleet.Authority{})
			i.want(onTrack, springtidev1.Bound_BOUND_WORKERS, groupSubmit)
			i.monitor.ticks = 0 // the next look is at the offsets too
			spoil(i)
			if o := i.look(); o.GetVerdict() != unknown || o.GetEta() != nil {
				t.Errorf("%v, %v: %v", o.GetVerdict(), o.GetEta(), o.GetBecause())
			}
			said := i.look().GetBecause()
			last := said[len(said)-1]
			if zh, ok := strings.CutPrefix(last.GetZh(), "数据缺失："); !ok || zh == strings.TrimPrefix(last.GetEn(), "Not known: ") {
				t.Errorf("%q and %q are not one reason in two languages", last.GetZh(), last.GetEn())
			}
		})
	}
}

func (i *installation) age(group, member string, age time.Duration) {
	r := i.reports[group][member]
	r.Age = age
	i.reports[group][member] = r
}

func TestWorkWithoutWorkersIsLate(t *testing.T) {
	t.Parallel()
	i := install(t)
	i.counts(10, 0)
	i.workers(fleet.Authority{})
	delete(i.reports[groupSubmit], "s")
	i.want(late, springtidev1.Bound_BOUND_WORKERS, groupSubmit)
}

func TestFailuresAndTenantsAreSummedUp(t *testing.T) {
	t.Parallel()
	i := install(t)
	if _, err := i.monitor.Failures(); filing.ReasonOf(err) != filing.ReasonStarting {
		t.Errorf("before the first look: %v", err)
	}
	i.counts(100, 0)
	i.look()
	failures, err := i.monitor.Failures()
	if err != nil || len(failures) != 2 || failures[0].GetReason() != "rejected:E1" || failures[0].GetCount() != 6 ||
		!failures[0].GetRetryable() || failures[0].GetRunId() != "run" || failures[0].GetTurn() != springtidev1.Turn_TURN_YOURS ||
		failures[1].GetRetryable() || failures[1].GetRunId() != "" {
		t.Errorf("failures %v, %v", failures, err)
	}
	tenants, err := i.monitor.TopTenants()
	if err != nil || len(tenants) != 3 || tenants[0].GetTenant() != "big" || tenants[0].GetOpen() != 30 || tenants[0].GetShare() != 0.3 {
		t.Errorf("tenants %v, %v", tenants, err)
	}
	i.viewErr = errors.New("gone")
	i.look()
	if _, err := i.monitor.Failures(); filing.ReasonOf(err) != filing.ReasonViewRebuilding {
		t.Errorf("without counts: %v", err)
	}
}

func TestAFilingIsExpectedAfterWhatStandsBeforeIt(t *testing.T) {
	t.Parallel()
	i, open := install(t), int64(10_000)
	i.now = time.Now().Add(-60 * time.Second)
	for range 60 { // as many come as end
		open += 100
		i.works(1, &open, 100, fleet.Authority{})
	}
	at := func(ago time.Duration, state springtidev1.FilingState) (*springtidev1.Eta, bool) {
		return i.monitor.Eta(&springtidev1.Filing{State: state, Authority: "cn.31", ReceiveTime: timestamppb.New(i.now.Add(-ago))})
	}
	newest, ok1 := at(0, springtidev1.FilingState_FILING_STATE_QUEUED)
	older, ok2 := at(30*time.Second, springtidev1.FilingState_FILING_STATE_QUEUED)
	if !ok1 || !ok2 || !older.GetLatest().AsTime().Before(newest.GetLatest().AsTime()) {
		t.Errorf("the newest by %v, an older one by %v", newest.GetLatest().AsTime(), older.GetLatest().AsTime())
	}
	if ideal := i.now.Add(time.Duration(open/100) * time.Second); newest.GetEarliest().AsTime().After(ideal) || newest.GetLatest().AsTime().Before(ideal) {
		t.Errorf("the newest %v, want around %v", newest, ideal)
	}
	// A time until which it is parked bounds it, unless it goes on as soon as its authority is back.
	due := i.now.Add(12 * time.Hour)
	for cause, bounds := range map[string]bool{"closed": true, "breaker_open": false, "paused": false, "maintenance": false} {
		e, ok := i.monitor.Eta(&springtidev1.Filing{
			State: springtidev1.FilingState_FILING_STATE_WAITING, Authority: "cn.31", ReceiveTime: timestamppb.New(i.now), DueTime: timestamppb.New(due), Cause: cause,
		})
		if !ok || !e.GetEarliest().AsTime().Before(due) != bounds {
			t.Errorf("parked, %s: %v", cause, e)
		}
	}
	for _, state := range []springtidev1.FilingState{
		springtidev1.FilingState_FILING_STATE_ACCEPTED, springtidev1.FilingState_FILING_STATE_CONFIRMING, springtidev1.FilingState_FILING_STATE_INVALID,
	} {
		if e, ok := at(0, state); ok {
			t.Errorf("%v: %v", state, e)
		}
	}
	if e, ok := i.monitor.EtaOfAll([]*springtidev1.Filing{
		{State: springtidev1.FilingState_FILING_STATE_ACCEPTED},
		{State: springtidev1.FilingState_FILING_STATE_QUEUED, Authority: "cn.31", ReceiveTime: timestamppb.New(i.now)},
	}); !ok || e.GetLatest().AsTime().Before(newest.GetLatest().AsTime().Add(-time.Second)) {
		t.Errorf("the batch %v", e)
	}
	if _, ok := i.monitor.EtaOfAll([]*springtidev1.Filing{{State: springtidev1.FilingState_FILING_STATE_QUEUED, Authority: "cn.99"}}); ok {
		t.Error("a range at an authority nobody knows")
	}
}
