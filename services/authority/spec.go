package authority

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"springtide/services/filing"
)

// A Spec is one --authority flag: where an authority is and on what terms.
type Spec struct {
	Name string
	// URL is the base address, without the options.
	URL   string
	Terms filing.Terms
	Guard GuardConfig
	// Traceparent is sent along with each request.
	Traceparent bool
}

// SpecOptions names the options that ParseSpec takes, for usage texts.
const SpecOptions = "class (A, B, U or C), lag, processing, window, margin, start, timeout, maxwait, poll, verdict (durations such as 2s), " +
	"maxunknown, quota (50/s or 150/m), burst, inflight, closed (22:00-06:30, repeatable), zone (+08:00), maintenance (START/END, repeatable), traceparent (send)"

// ParseSpec reads NAME=URL?OPTIONS, for example
//
//	cn=http://127.0.0.1:9000/etax?class=B&lag=2s&quota=50/s
//
// Options are the URL's query; what is not given is as defaults says for the
// name. An offset such as +08:00 in an option may be written plainly.
func ParseSpec(s string, defaults func(name string) filing.Terms) (Spec, error) {
	name, address, ok := strings.Cut(s, "=")
	if !ok || !validCode(name) {
		return Spec{}, fmt.Errorf("authority %.80q: want NAME=URL, for example cn=http://127.0.0.1:9000/etax", s)
	}
	u, err := url.Parse(address)
	if err != nil {
		return Spec{}, fmt.Errorf("authority %s: %w", name, err)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.Fragment != "" {
		return Spec{}, fmt.Errorf("authority %s: address %.80q: want http or https, a host, and neither user nor fragment", name, address)
	}
	// A plus sign in a query means a blank; nobody means that here.
	options, err := url.ParseQuery(strings.ReplaceAll(u.RawQuery, "+", "%2B"))
	if err != nil {
		return Spec{}, fmt.Errorf("authority %s: options: %w", name, err)
	}
	u.RawQuery, u.ForceQuery = "", false
	spec := Spec{Name: name, URL: strings.TrimSuffix(u.String(), "/"), Terms: defaults(name)}
	for _, key := range sortedKeys(options) {
		if err := spec.set(key, options[key]); err != nil {
			return Spec{}, fmt.Errorf("authority %s: option %s: %w", name, key, err)
		}
	}
	if err := errors.Join(spec.Terms.Validate(), spec.Guard.withDefaults().validate()); err != nil {
		return Spec{}, fmt.Errorf("authority %s: %w", name, err)
	}
	return spec, nil
}

func sortedKeys(v url.Values) []string {
	keys := make([]string, 0, len(v))
	for k := range v {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (s *Spec) set(key string, values []string) error {
	if len(values) > 1 && key != "closed" && key != "maintenance" {
		return errors.New("given twice")
	}
	durations := map[string]*time.Duration{
		"lag": &s.Terms.Lag, "processing": &s.Terms.Processing, "window": &s.Terms.Window, "margin": &s.Terms.Margin,
		"start": &s.Terms.StartDeadline, "timeout": &s.Terms.HTTPTimeout, "maxwait": &s.Terms.MaxWait,
		"poll": &s.Terms.Poll, "verdict": &s.Terms.Verdict,
	}
	numbers := map[string]func(int){
		"maxunknown": func(n int) { s.Terms.MaxUnknown = int32(n) },
		"burst":      func(n int) { s.Guard.Burst = n },
		"inflight":   func(n int) { s.Guard.MaxInFlight = n },
	}
	var err error
	for _, v := range values {
		if d, ok := durations[key]; ok {
			if *d, err = time.ParseDuration(v); err != nil {
				return fmt.Errorf("%.40q: want a duration such as 2s or 5m", v)
			}
			continue
		}
		if set, ok := numbers[key]; ok {
			n, err := strconv.ParseUint(v, 10, 20)
			if err != nil || n == 0 {
				return fmt.Errorf("%.40q: want a whole number above 0", v)
			}
			set(int(n))
			continue
		}
		if err := s.setOther(key, v); err != nil {
			return err
		}
	}
	return nil
}

func (s *Spec) setOther(key, v string) (err error) {
	switch key {
	case "class":
		s.Terms.Class, err = filing.ParseClass(v)
	case "quota":
		s.Guard.Quota, err = ParseRate(v)
	case "zone":
		s.Guard.Calendar.Zone, err = parseZone(v)
	case "closed":
		var d Daily
		d, err = ParseDaily(v)
		s.Guard.Calendar.Daily = append(s.Guard.Calendar.Daily, d)
	case "traceparent":
		if s.Traceparent = v == "send"; !s.Traceparent {
			err = fmt.Errorf("%.40q: want send, or leave it out", v)
		}
	case "maintenance":
		var m Span
		m, err = ParseSpan(v)
		s.Guard.Calendar.Once = append(s.Guard.Calendar.Once, m)
	default:
		err = errors.New("unknown; there are " + SpecOptions)
	}
	return err
}

// ParseRate reads a rate such as "50/s", "150/m" or "0.5/s" into requests a second.
func ParseRate(s string) (float64, error) {
	number, per, ok := strings.Cut(s, "/")
	n, err := strconv.ParseFloat(number, 64)
	seconds, known := map[string]float64{"s": 1, "m": 60, "h": 3600}[per]
	if !ok || !known || err != nil || !(n > 0) || n > maxRate {
		return 0, fmt.Errorf("%.40q: want a rate such as 50/s or 150/m", s)
	}
	return n / seconds, nil
}
