package authoritytest_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/authority"
	"springtide/services/authority/authoritytest"
	"springtide/services/authority/etax"
	"springtide/services/authority/sim"
	"springtide/services/filing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var taxpayers atomic.Int64

func bureauFiling(name string) authority.Filing {
	r := &springtidev1.Return{
		Form: "cn.vat.small", Edition: "2026", Authority: "cn.11",
		Period:   &springtidev1.Period{Start: "2026-04-01", End: "2026-06-30"},
		Taxpayer: &springtidev1.Taxpayer{Id: fmt.Sprintf("91110000%010d", taxpayers.Add(1)), Name: name},
		Lines:    map[string]string{"1@sc": "234788.66"}, Context: map[string]string{"entity": "enterprise"},
	}
	id := filing.IDOf("acme", r)
	return authority.Filing{ID: id, Ref: id.Ref(), Digest: filing.DigestOf(r), Return: r}
}

func otherBureauFiling(f authority.Filing) authority.Filing {
	r := &springtidev1.Return{
		Form: f.Return.GetForm(), Authority: f.Return.GetAuthority(), Period: f.Return.GetPeriod(), Taxpayer: f.Return.GetTaxpayer(),
		Lines: map[string]string{"1@sc": "1.00"},
	}
	id := filing.IDOf("somebody else", r)
	return authority.Filing{ID: id, Ref: id.Ref(), Digest: filing.DigestOf(r), Return: r}
}

func shortTerms(t filing.Terms, class filing.Class) filing.Terms {
	t.Class, t.HTTPTimeout, t.Lag = class, 400*time.Millisecond, authoritytest.Lag
	t.Window = authoritytest.Window
	return t
}

func newBureau(t *testing.T, url string, class filing.Class) *etax.Connector {
	t.Helper()
	c, err := etax.New(etax.Config{URL: url, Terms: shortTerms(etax.DefaultTerms(), class)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestEtaxKeepsEachClass(t *testing.T) {
	for _, class := range []filing.Class{filing.ClassA, filing.ClassB, filing.ClassU, filing.ClassC} {
		t.Run(class.String(), func(t *testing.T) {
			t.Parallel()
			server, clock := authoritytest.Start(t, sim.Config{Class: class, Lag: authoritytest.Lag})
			authoritytest.Run(t, authoritytest.World{
				Connector: newBureau(t, server.URL()+"/etax", class), Server: server, Clock: clock,
				New:        func() authority.Filing { return bureauFiling("北京晨光商贸有限公司") },
				Other:      otherBureauFiling,
				Refused:    func() authority.Filing { return bureauFiling("北京晨光商贸有限公司(已注销)") },
				Documented: true,
			})
		})
	}
}

func TestEtaxPollsWhatIsPendingInEveryClass(t *testing.T) {
	for _, class := range []filing.Class{filing.ClassA, filing.ClassB, filing.ClassU, filing.ClassC} {
		for fault, end := range map[string]authority.Kind{
			sim.FaultPendingAccept: authority.Accepted, sim.FaultPendingReject: authority.Rejected,
		} {
			t.Run(class.String()+" "+fault, func(t *testing.T) {
				t.Parallel()
				server, _ := authoritytest.Start(t, sim.Config{Class: class, Faults: sim.Script{
					Faults: []sim.Fault{{Kind: fault, Delay: sim.Duration(50 * time.Millisecond)}},
				}})
				c := newBureau(t, server.URL()+"/etax", class)
				f := bureauFiling("北京晨光商贸有限公司")
				out := c.Submit(t.Context(), f)
				if out.Kind != authority.Pending || out.Number == "" {
					t.Fatalf("outcome %+v, want pending with a number", out)
				}
				authoritytest.Eventually(t, func() bool {
					out = c.Query(t.Context(), f)
					return out.Kind != authority.Pending
				})
				if out.Kind != end {
					t.Errorf("ended %s %q, want %s", out.Kind, out.Cause, end)
				}
			})
		}
	}
}

func TestEtaxRefusedConnectionIsBusyBecauseNothingWasSent(t *testing.T) {
	t.Parallel()
	c := newBureau(t, authoritytest.ClosedPort(t)+"/etax", filing.ClassB)
	out := c.Submit(t.Context(), bureauFiling("甲"))
	if out.Kind != authority.Busy || out.Cause != authority.CauseRefused {
		t.Errorf("outcome %s %q, want busy, refused", out.Kind, out.Cause)
	}
	if out := c.Query(t.Context(), bureauFiling("甲")); out.Kind != authority.Unknown {
		t.Errorf("query outcome %s, want unknown", out.Kind)
	}
}

func TestEtaxClassAResendsARefusalAndTakesCorrectedContent(t *testing.T) {
	t.Parallel()
	server, _ := authoritytest.Start(t, sim.Config{Class: filing.ClassA, Faults: sim.Script{
		Faults: []sim.Fault{{Kind: sim.FaultReject, Count: 1, Code: "COMPARE", Message: "比对不符"}},
	}})
	c := newBureau(t, server.URL()+"/etax", filing.ClassA)
	f := bureauFiling("甲")
	for range 2 { // the second time nothing is scripted: the refusal is remembered
		out := c.Submit(t.Context(), f)
		if out.Kind != authority.Rejected || out.Reasons[0].GetCode() != "COMPARE" {
			t.Fatalf("outcome %+v, want rejected", out)
		}
	}
	corrected := otherBureauFiling(f)
	corrected.Ref = f.Ref
	if out := c.Submit(t.Context(), corrected); out.Kind != authority.Accepted {
		t.Errorf("corrected content: %s %q, want accepted", out.Kind, out.Cause)
	}
}

func BenchmarkRoundTrips(b *testing.B) {
	server, err := sim.New(sim.Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- server.Run(b.Context()) }()
	b.Cleanup(func() { <-done })
	c, err := etax.New(etax.Config{URL: server.URL() + "/etax", Terms: etax.DefaultTerms()})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	const workers = 64
	b.ReportAllocs()
	b.ResetTimer()
	work := make(chan authority.Filing)
	ended := make(chan struct{})
	for range workers {
		go func() {
			defer func() { ended <- struct{}{} }()
			for f := range work {
				if out := c.Submit(b.Context(), f); out.Kind != authority.Accepted {
					b.Errorf("outcome %s %q", out.Kind, out.Cause)
				}
			}
		}()
	}
	for range b.N {
		work <- bureauFiling("甲")
	}
	close(work)
	for range workers {
		<-ended
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "filings/s")
}

// BenchmarkGuardedRoundTrips goes through the guard, holding back when told, so
// that the price of the guard and what its limiter learns can be seen.
func BenchmarkGuardedRoundTrips(b *testing.B) {
	for _, latency := range []time.Duration{0, 50 * time.Millisecond} {
		b.Run(latency.String(), func(b *testing.B) {
			server, err := sim.New(sim.Config{Dir: b.TempDir(), Latency: sim.Latency{Median: latency}})
			if err != nil {
				b.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- server.Run(b.Context()) }()
			b.Cleanup(func() { <-done })
			c, err := etax.New(etax.Config{URL: server.URL() + "/etax", Terms: etax.DefaultTerms()})
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			router, err := authority.NewRouter([]authority.Route{{Name: "cn", Connector: c}}, authority.RouterDeps{})
			if err != nil {
				b.Fatal(err)
			}
			g, err := router.Guard("cn.11")
			if err != nil {
				b.Fatal(err)
			}
			const workers = 128
			work, ended := make(chan authority.Filing), make(chan struct{})
			b.ResetTimer()
			for range workers {
				go func() {
					defer func() { ended <- struct{}{} }()
					for f := range work {
						release, held, _ := g.Admit(b.Context())
						for release == nil {
							time.Sleep(held)
							release, held, _ = g.Admit(b.Context())
						}
						begin := time.Now()
						out := g.Submit(b.Context(), f)
						release(out, time.Since(begin))
						if out.Kind != authority.Accepted {
							b.Errorf("outcome %s %q", out.Kind, out.Cause)
						}
					}
				}()
			}
			for range b.N {
				work <- bureauFiling("甲")
			}
			close(work)
			for range workers {
				<-ended
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "filings/s")
			b.ReportMetric(float64(g.Status().Limit), "limit")
		})
	}
}
