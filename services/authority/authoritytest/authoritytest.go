// Package authoritytest proves, against a running simulator, that a connector
// keeps the class it declares and reads every answer, and every missing one, as
// the contract of package authority says. It is for tests only.
package authoritytest

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"springtide/services/authority"
	"springtide/services/authority/sim"
	"springtide/services/filing"
)

// Window and Lag are what the simulator of a World is started with.
const (
	Window = 24 * time.Hour
	Lag    = time.Hour
)

// A Clock is the authority's clock; it only moves when told.
type Clock struct{ ahead atomic.Int64 }

// Now is the real time, moved ahead.
func (c *Clock) Now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

// Pass moves the clock ahead.
func (c *Clock) Pass(d time.Duration) { c.ahead.Add(int64(d)) }

// A World is a connector together with the authority it talks to.
type World struct {
	Connector authority.Connector
	Server    *sim.Server
	Clock     *Clock
	// New makes a filing that nobody filed yet; Other the same business key with other content by somebody else.
	New   func() authority.Filing
	Other func(authority.Filing) authority.Filing
	// Refused makes a filing that the authority refuses.
	Refused func() authority.Filing
	// Documented: maintenance (503) comes with the promise that nothing was processed.
	Documented bool
}

// Start runs a simulator for the length of a test.
func Start(t *testing.T, cfg sim.Config) (*sim.Server, *Clock) {
	t.Helper()
	clock := &Clock{}
	cfg.Dir, cfg.Window, cfg.Now = t.TempDir(), Window, clock.Now
	s, err := sim.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("simulator: %v", err)
		}
	})
	return s, clock
}

// Run is the suite.
func Run(t *testing.T, w World) {
	t.Run("accepts once, with a receipt", w.acceptsOnce)
	t.Run("refuses with reasons", w.refuses)
	t.Run("every fault is read as documented", w.faults)
	t.Run("late filing", w.lateApply)
	t.Run("nothing is sent without a connection or a live context", w.notSent)
	switch class := w.Connector.Terms().Class; class {
	case filing.ClassA:
		t.Run("class A", w.classA)
	case filing.ClassB:
		t.Run("class B", w.classB)
	case filing.ClassU:
		t.Run("class U", w.classU)
	case filing.ClassC:
		t.Run("class C", w.classC)
	default:
		t.Fatalf("class %s", class)
	}
}

func (w World) submit(t *testing.T, f authority.Filing) authority.Outcome {
	t.Helper()
	before := w.Server.Requests()
	out := w.Connector.Submit(t.Context(), f)
	if n := w.Server.Requests() - before; n != 1 {
		t.Errorf("submission made %d requests, want exactly 1", n)
	}
	return out
}

func (w World) query(t *testing.T, f authority.Filing) authority.Outcome {
	t.Helper()
	return w.Connector.Query(t.Context(), f)
}

// entry is a line of GET /book.
type entry struct {
	Seq                                                     int64
	Authority, Taxpayer, Form, Period, Ref, Digest, Outcome string
	At                                                      time.Time
}

func (w World) book(t *testing.T, f authority.Filing) (filed, rejected int) {
	t.Helper()
	res, err := http.Get(w.Server.URL() + "/book")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	for dec := json.NewDecoder(res.Body); dec.More(); {
		var e entry
		if err := dec.Decode(&e); err != nil {
			t.Fatal(err)
		}
		if e.Taxpayer != f.Return.GetTaxpayer().GetId() {
			continue
		}
		switch e.Outcome {
		case "filed":
			filed++
		case "rejected":
			rejected++
		default:
			t.Errorf("book shows outcome %q", e.Outcome)
		}
	}
	return filed, rejected
}

func (w World) wantFiled(t *testing.T, f authority.Filing, want int) {
	t.Helper()
	if filed, _ := w.book(t, f); filed != want {
		t.Errorf("the book holds it %d times, want %d", filed, want)
	}
}

func want(t *testing.T, got authority.Outcome, kind authority.Kind, cause string) {
	t.Helper()
	if got.Kind != kind || got.Cause != cause {
		t.Errorf("outcome %s %q, want %s %q", got.Kind, got.Cause, kind, cause)
	}
}

func (w World) acceptsOnce(t *testing.T) {
	f := w.New()
	out := w.submit(t, f)
	want(t, out, authority.Accepted, "")
	r := out.Receipt
	if r.GetNumber() == "" || r.GetAcceptTime() == nil || r.GetRef() != f.Ref || r.GetDigest() != f.Digest.String() ||
		r.GetFilingId() != string(f.ID) || r.GetAuthority() != f.Return.GetAuthority() {
		t.Errorf("receipt is incomplete: %v", r)
	}
	w.wantFiled(t, f, 1)
}

func (w World) refuses(t *testing.T) {
	f := w.Refused()
	out := w.submit(t, f)
	want(t, out, authority.Rejected, "")
	if len(out.Reasons) == 0 || out.Reasons[0].GetCode() == "" || out.Reasons[0].GetMessage() == "" {
		t.Errorf("no reasons: %v", out.Reasons)
	}
	if filed, rejected := w.book(t, f); filed != 0 || rejected != 1 {
		t.Errorf("book: filed %d, rejected %d; want 0 and 1", filed, rejected)
	}
}

func (w World) faults(t *testing.T) {
	no := false
	maintenance := authority.Outcome{Kind: authority.Unknown, Cause: "http_503"}
	if w.Documented {
		maintenance = authority.Outcome{Kind: authority.Busy, Cause: authority.CauseMaintenance}
	}
	for _, c := range []struct {
		fault sim.Fault
		kind  authority.Kind
		cause string
		filed int
	}{
		{sim.Fault{Kind: sim.Fault5xxBefore}, authority.Unknown, "http_500", 0},
		{sim.Fault{Kind: sim.Fault5xxAfter}, authority.Unknown, "http_500", 1},
		{sim.Fault{Kind: sim.FaultResetBefore}, authority.Unknown, authority.CauseReset, 0},
		{sim.Fault{Kind: sim.FaultResetAfter}, authority.Unknown, authority.CauseReset, 1},
		{sim.Fault{Kind: sim.FaultHangBefore}, authority.Unknown, authority.CauseTimeout, 0},
		{sim.Fault{Kind: sim.FaultHangAfter}, authority.Unknown, authority.CauseTimeout, 1},
		{sim.Fault{Kind: sim.FaultGarbage}, authority.Unknown, authority.CauseUnparsable, 1},
		{sim.Fault{Kind: sim.FaultHuge}, authority.Unknown, authority.CauseTooLarge, 1},
		{sim.Fault{Kind: sim.FaultRedirect}, authority.Unknown, "http_307", 0},
		{sim.Fault{Kind: sim.FaultFalseDuplicate}, authority.Unknown, authority.CauseDuplicate, 0},
		{sim.Fault{Kind: sim.FaultThrottle}, authority.Busy, authority.CauseThrottled, 0},
		{sim.Fault{Kind: sim.FaultThrottle, Guaranteed: &no}, authority.Unknown, "http_429", 0},
		{sim.Fault{Kind: sim.FaultMaintenance, RetryAfter: sim.Duration(time.Minute)}, maintenance.Kind, maintenance.Cause, 0},
		{sim.Fault{Kind: sim.FaultMaintenance, Guaranteed: &no}, authority.Unknown, "http_503", 0},
	} {
		name := c.fault.Kind
		if c.fault.Guaranteed != nil {
			name += " without a promise"
		}
		t.Run(name, func(t *testing.T) {
			f := w.New()
			c.fault.Match.Taxpayer = f.Return.GetTaxpayer().GetId()
			w.Server.SetFaults(sim.Script{Faults: []sim.Fault{c.fault}})
			defer w.Server.SetFaults(sim.Script{})
			out := w.submit(t, f)
			want(t, out, c.kind, c.cause)
			if c.kind == authority.Busy && c.fault.RetryAfter > 0 && out.RetryAfter != time.Duration(c.fault.RetryAfter) {
				t.Errorf("retry after %s, want %s", out.RetryAfter, time.Duration(c.fault.RetryAfter))
			}
			w.wantFiled(t, f, c.filed)
		})
	}
}

func (w World) lateApply(t *testing.T) {
	f := w.New()
	w.Server.SetFaults(sim.Script{Faults: []sim.Fault{{Kind: sim.FaultLateApply, Delay: sim.Duration(time.Millisecond)}}})
	defer w.Server.SetFaults(sim.Script{})
	want(t, w.submit(t, f), authority.Unknown, authority.CauseReset)
	Eventually(t, func() bool { filed, _ := w.book(t, f); return filed == 1 })
}

// Eventually waits for a condition that another goroutine brings about.
func Eventually(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok() {
			return
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("never came true")
		}
	}
}

func (w World) notSent(t *testing.T) {
	before := w.Server.Requests()
	cause := errors.New("drained")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	f := w.New()
	want(t, w.Connector.Submit(ctx, f), authority.Busy, authority.CauseCancelled)
	want(t, w.Connector.Query(ctx, f), authority.Unknown, authority.CauseCancelled)
	if n := w.Server.Requests() - before; n != 0 {
		t.Errorf("%d requests arrived, want none", n)
	}
}

func (w World) classA(t *testing.T) {
	f := w.New()
	first, second := w.submit(t, f), w.submit(t, f)
	want(t, first, authority.Accepted, "")
	want(t, second, authority.Accepted, "")
	if a, b := first.Receipt.GetNumber(), second.Receipt.GetNumber(); a != b {
		t.Errorf("resend got number %s, the first send %s", b, a)
	}
	w.wantFiled(t, f, 1)
	changed := w.Other(f)
	changed.Ref = f.Ref
	want(t, w.submit(t, changed), authority.Unknown, authority.CauseDuplicate)
	want(t, w.query(t, f), authority.Unknown, authority.CauseNotQueryable)
	w.Clock.Pass(Window + time.Second)
	want(t, w.submit(t, f), authority.Accepted, "")
	w.wantFiled(t, f, 2) // the window is over: this is what the declared window protects from
}

func (w World) classB(t *testing.T) {
	f := w.New()
	want(t, w.query(t, f), authority.Absent, "")
	out := w.submit(t, f)
	want(t, out, authority.Accepted, "")
	want(t, w.query(t, f), authority.Absent, "") // inside the lag
	w.Clock.Pass(Lag + time.Second)
	found := w.query(t, f)
	want(t, found, authority.Accepted, "")
	if a, b := out.Receipt.GetNumber(), found.Receipt.GetNumber(); a != b {
		t.Errorf("query found number %s, the receipt said %s", b, a)
	}
	changed := w.Other(f)
	changed.Ref = f.Ref
	want(t, w.query(t, changed), authority.Foreign, "")
	want(t, w.submit(t, f), authority.Accepted, "")
	w.wantFiled(t, f, 2) // class B does not recognise a repetition
}

func (w World) classU(t *testing.T) {
	f := w.New()
	want(t, w.query(t, f), authority.Absent, "")
	want(t, w.submit(t, f), authority.Accepted, "")
	want(t, w.query(t, f), authority.Absent, "") // inside the lag
	want(t, w.submit(t, f), authority.Unknown, authority.CauseDuplicate)
	other := w.Other(f)
	want(t, w.submit(t, other), authority.Unknown, authority.CauseDuplicate)
	w.Clock.Pass(Lag + time.Second)
	want(t, w.query(t, f), authority.Accepted, "")
	want(t, w.query(t, other), authority.Foreign, "")
	w.wantFiled(t, f, 1)
}

func (w World) classC(t *testing.T) {
	f := w.New()
	want(t, w.submit(t, f), authority.Accepted, "")
	w.Clock.Pass(Lag + time.Second)
	want(t, w.query(t, f), authority.Unknown, authority.CauseNotQueryable)
	want(t, w.submit(t, f), authority.Accepted, "")
	w.wantFiled(t, f, 2)
}

// ClosedPort is an address nobody listens on.
func ClosedPort(t *testing.T) string {
	t.Helper()
	s, err := sim.New(sim.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	url := s.URL()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(url, "/")
}
