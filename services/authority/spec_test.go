package authority

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"springtide/services/filing"
)

func defaultTerms(string) filing.Terms { return (&fake{class: filing.ClassB}).Terms() }

func TestParseSpecReadsNameAddressAndOptions(t *testing.T) {
	t.Parallel()
	spec, err := ParseSpec("cn=http://127.0.0.1:9000/etax/?class=A&lag=2s&quota=150/m&window=2h&burst=3&inflight=9&maxunknown=7"+
		"&zone=+08:00&closed=22:00-06:30&closed=12:00-12:30&maintenance=2026-07-15T22:00:00+08:00/2026-07-16T04:00:00+08:00", defaultTerms)
	if err != nil {
		t.Fatal(err)
	}
	if spec.Name != "cn" || spec.URL != "http://127.0.0.1:9000/etax" {
		t.Errorf("name %q, address %q", spec.Name, spec.URL)
	}
	if w := spec.Terms; w.Class != filing.ClassA || w.Lag != 2*time.Second || w.Window != 2*time.Hour || w.MaxUnknown != 7 || w.HTTPTimeout != time.Second {
		t.Errorf("terms %+v", w)
	}
	g := spec.Guard
	if g.Quota != 2.5 || g.Burst != 3 || g.MaxInFlight != 9 || len(g.Calendar.Daily) != 2 || len(g.Calendar.Once) != 1 {
		t.Errorf("guard %+v", g)
	}
	evening := time.Date(2026, 7, 1, 22, 30, 0, 0, time.FixedZone("", 8*3600))
	if d := g.Calendar.ClosedFor(evening.UTC()); d != 8*time.Hour {
		t.Errorf("at half past ten in the evening closed for %s, want 8h", d)
	}
}

func TestParseSpecSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                                      "want NAME=URL",
		"http://127.0.0.1:9000":                 "want NAME=URL",
		"CN=http://127.0.0.1:9000":              "want NAME=URL",
		"cn=127.0.0.1:9000":                     "cn",
		"cn=ftp://host/":                        "want http or https",
		"cn=http://u:secret@host/":              "neither user nor fragment",
		"cn=http://host/?colour=red":            "option colour: unknown; there are class",
		"cn=http://host/?class=D":               "option class",
		"cn=http://host/?class=A&class=B":       "given twice",
		"cn=http://host/?lag=5":                 "want a duration",
		"cn=http://host/?lag=-5s":               "must not be negative",
		"cn=http://host/?quota=50":              "want a rate such as 50/s",
		"cn=http://host/?quota=NaN/s":           "want a rate such as 50/s",
		"cn=http://host/?burst=0":               "above 0",
		"cn=http://host/?closed=22-6":           "want for example 22:00-06:30",
		"cn=http://host/?zone=Mars":             "zone",
		"cn=http://host/?traceparent=1":         "want send",
		"cn=http://host/?maintenance=today":     "want START/END",
		"cn=http://host/?class=A&window=1s":     "window",
		"cn=http://host/?class=B&maxunknown=-1": "above 0",
	} {
		if _, err := ParseSpec(in, defaultTerms); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q in it", in, err, want)
		}
	}
}

func FuzzParseSpec(f *testing.F) {
	f.Add("cn=http://127.0.0.1:9000/etax?class=B&lag=2s&quota=50/s&closed=22:00-06:00&zone=+08:00")
	f.Add("gb.hmrc=https://h?maintenance=2026-07-15T22:00:00Z/2026-07-16T04:00:00Z")
	f.Fuzz(func(t *testing.T, s string) {
		spec, err := ParseSpec(s, defaultTerms)
		if err != nil {
			return
		}
		if !validCode(spec.Name) || spec.Terms.Validate() != nil || strings.Contains(spec.URL, "?") {
			t.Errorf("accepted %q as %+v", s, spec)
		}
		if d := spec.Guard.Calendar.ClosedFor(time.Date(2026, 11, 1, 3, 0, 0, 0, time.UTC)); d < 0 {
			t.Errorf("closed for %s", d)
		}
	})
}

func TestCalendarChainsWindows(t *testing.T) {
	t.Parallel()
	at := func(h, m int) time.Time { return time.Date(2026, 7, 15, h, m, 0, 0, time.UTC) }
	c := Calendar{
		Daily: []Daily{{From: 22 * time.Hour, To: 6 * time.Hour}, {From: 12 * time.Hour, To: 13 * time.Hour}},
		Once:  []Span{{From: at(12, 30), To: at(14, 0)}, {From: at(14, 0), To: at(15, 0)}},
	}
	got := map[string]time.Duration{}
	for _, now := range []time.Time{at(5, 0), at(6, 0), at(11, 59), at(12, 0), at(13, 30), at(15, 0), at(23, 0)} {
		got[now.Format("15:04")] = c.ClosedFor(now)
	}
	want := map[string]time.Duration{
		"05:00": time.Hour, "06:00": 0, "11:59": 0, "12:00": 3 * time.Hour, "13:30": 90 * time.Minute, "15:00": 0, "23:00": 7 * time.Hour,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
