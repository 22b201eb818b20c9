package sim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"gopkg.in/yaml.v3"
)

// The kinds of fault. "Before" and "after" mean: before or after the return was
// filed; without either, a coin decides.
const (
	Fault5xxBefore      = "5xx-before"
	Fault5xxAfter       = "5xx-after"
	FaultReset          = "reset"
	FaultResetBefore    = "reset-before"
	FaultResetAfter     = "reset-after"
	FaultHang           = "hang"
	FaultHangBefore     = "hang-before"
	FaultHangAfter      = "hang-after"
	FaultLateApply      = "late-apply"      // the connection is reset; the return is filed Delay later
	FaultVisibilityLag  = "visibility-lag"  // filed, but queries overlook it for Delay
	FaultFalseDuplicate = "false-duplicate" // "duplicate", though nothing was filed
	FaultMaintenance    = "maintenance"     // 503
	FaultThrottle       = "throttle"        // 429
	FaultPendingAccept  = "pending-accept"  // taken, filed Delay later
	FaultPendingReject  = "pending-reject"  // taken, refused Delay later
	FaultReject         = "reject"          // refused with Code and Message
	FaultSlow           = "slow"            // works Delay longer
	FaultGarbage        = "garbage"         // filed, answered with nonsense
	FaultHuge           = "huge"            // filed, answered with 4 MiB
	FaultRedirect       = "redirect"        // 307 to elsewhere
)

func faultKinds() []string {
	return []string{
		Fault5xxBefore, Fault5xxAfter, FaultReset, FaultResetBefore, FaultResetAfter, FaultHang, FaultHangBefore, FaultHangAfter,
		FaultLateApply, FaultVisibilityLag, FaultFalseDuplicate, FaultMaintenance, FaultThrottle, FaultPendingAccept,
		FaultPendingReject, FaultReject, FaultSlow, FaultGarbage, FaultHuge, FaultRedirect,
	}
}

// Duration is a time.Duration written as "1.5s".
type Duration time.Duration

// MarshalText writes it as Go does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads what Go reads, from 0 to a day.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil || v < 0 || v > 24*time.Hour {
		return fmt.Errorf("%.40q: want a duration from 0s to 24h", text)
	}
	*d = Duration(v)
	return nil
}

// A Fault is one rule of a script.
type Fault struct {
	Kind string `yaml:"kind" json:"kind"`
	// Probability that a matching request is hit; absent: always.
	Probability *float64 `yaml:"probability,omitempty" json:"probability,omitempty"`
	// Skip lets so many matching requests pass first; Count ends the rule after so many hits (0: never).
	Skip  int `yaml:"skip,omitempty" json:"skip,omitempty"`
	Count int `yaml:"count,omitempty" json:"count,omitempty"`
	// Match narrows the rule; what is empty matches all.
	Match Match `yaml:"match,omitempty" json:"match,omitzero"`
	// Delay of hang (0: until the client leaves), late-apply and pending (0: 1s), visibility-lag and slow.
	Delay Duration `yaml:"delay,omitempty" json:"delay,omitempty"`
	// Status of 5xx; 0: 500.
	Status int `yaml:"status,omitempty" json:"status,omitempty"`
	// RetryAfter of throttle and maintenance, in whole seconds on the wire.
	RetryAfter Duration `yaml:"retry_after,omitempty" json:"retry_after,omitempty"`
	// Guaranteed: throttle and maintenance promise that nothing was processed; absent: true.
	Guaranteed *bool `yaml:"guaranteed,omitempty" json:"guaranteed,omitempty"`
	// Code and Message of a refusal. For HMRC, Code is the code of the system
	// behind the service, such as INSOLVENT_TRADER.
	Code    string `yaml:"code,omitempty" json:"code,omitempty"`
	Message string `yaml:"message,omitempty" json:"message,omitempty"`

	// Seen and Hit count; they are shown, and what is read of them is dropped.
	Seen int `yaml:"seen,omitempty" json:"seen"`
	Hit  int `yaml:"hit,omitempty" json:"hit"`
}

// Match narrows a fault. Operation is "submit" or "query"; empty: submissions,
// and for throttle and maintenance both.
type Match struct {
	Authority string `yaml:"authority,omitempty" json:"authority,omitempty"`
	Taxpayer  string `yaml:"taxpayer,omitempty" json:"taxpayer,omitempty"`
	Form      string `yaml:"form,omitempty" json:"form,omitempty"`
	Operation string `yaml:"operation,omitempty" json:"operation,omitempty"`
}

func (f Fault) validate() error {
	switch {
	case !slices.Contains(faultKinds(), f.Kind):
		return fmt.Errorf("kind %.40q is none of %v", f.Kind, faultKinds())
	case f.Probability != nil && !(*f.Probability >= 0 && *f.Probability <= 1):
		return fmt.Errorf("%s: probability %v is not between 0 and 1", f.Kind, *f.Probability)
	case f.Skip < 0 || f.Count < 0:
		return fmt.Errorf("%s: skip and count must not be negative", f.Kind)
	case f.Status != 0 && (f.Status < 500 || f.Status > 599):
		return fmt.Errorf("%s: status %d is no 5xx", f.Kind, f.Status)
	case f.Match.Operation != "" && f.Match.Operation != opSubmit && f.Match.Operation != opQuery:
		return fmt.Errorf("%s: operation %.40q is neither %s nor %s", f.Kind, f.Match.Operation, opSubmit, opQuery)
	}
	return nil
}

// A Script is a fault file.
type Script struct {
	// Seed of the dice; 0: that of the configuration.
	Seed   uint64  `yaml:"seed,omitempty" json:"seed,omitempty"`
	Faults []Fault `yaml:"faults" json:"faults"`
}

const maxFaults = 200

// ParseScript reads a fault script, YAML or JSON:
//
//	seed: 7
//	faults:
//	  - kind: 5xx-after
//	    probability: 0.02
//	  - kind: maintenance
//	    match: {authority: cn.31}
//	    retry_after: 30s
func ParseScript(text []byte) (Script, error) {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	var s Script
	if err := dec.Decode(&s); err != nil && !errors.Is(err, io.EOF) {
		return Script{}, fmt.Errorf("faults: %w", err)
	}
	if len(s.Faults) > maxFaults {
		return Script{}, fmt.Errorf("faults: %d rules, at most %d", len(s.Faults), maxFaults)
	}
	for i, f := range s.Faults {
		if err := f.validate(); err != nil {
			return Script{}, fmt.Errorf("faults: rule %d: %w", i+1, err)
		}
		s.Faults[i].Seen, s.Faults[i].Hit = 0, 0
	}
	return s, nil
}

// Operations a fault can match.
const (
	opSubmit = "submit"
	opQuery  = "query"
)

// dice throws for faults and latencies. It is safe for concurrent use.
type dice struct {
	mu     sync.Mutex
	rng    *rand.Rand
	seed   uint64
	faults []Fault
}

func newDice(seed uint64) *dice {
	return &dice{rng: rand.New(rand.NewPCG(seed, 1)), seed: seed}
}

// use replaces the script; counters start anew.
func (d *dice) use(s Script) {
	d.mu.Lock()
	defer d.mu.Unlock()
	seed := s.Seed
	if seed == 0 {
		seed = d.seed
	}
	d.rng, d.faults = rand.New(rand.NewPCG(seed, 1)), slices.Clone(s.Faults)
}

func (d *dice) script() Script {
	d.mu.Lock()
	defer d.mu.Unlock()
	return Script{Seed: d.seed, Faults: append([]Fault{}, d.faults...)}
}

// effects are what the dice say about one request.
type effects struct {
	// fault is the first that hit and decides the answer; nil: none.
	fault *Fault
	work  time.Duration
	// lag, if set, overrides how long queries overlook the filing.
	lag *time.Duration
	// before: a reset or hang comes before the return is filed.
	before bool
}

// throw decides the fate of a request. Slow and visibility-lag add to whatever else happens.
func (d *dice) throw(op string, r record, latency Latency) effects {
	d.mu.Lock()
	defer d.mu.Unlock()
	e := effects{work: latency.draw(d.rng)}
	for i := range d.faults {
		f := &d.faults[i]
		modifies := f.Kind == FaultSlow || f.Kind == FaultVisibilityLag
		if (e.fault != nil && !modifies) || !f.matches(op, r) || !f.fires(d.rng) {
			continue
		}
		switch hit := *f; hit.Kind {
		case FaultSlow:
			e.work += time.Duration(hit.Delay)
		case FaultVisibilityLag:
			lag := time.Duration(hit.Delay)
			e.lag = &lag
		default:
			e.fault = &hit
			e.before = hit.Kind == FaultResetBefore || hit.Kind == FaultHangBefore ||
				((hit.Kind == FaultReset || hit.Kind == FaultHang) && d.rng.IntN(2) == 0)
		}
	}
	return e
}

func (f *Fault) matches(op string, r record) bool {
	want := f.Match.Operation
	if want == "" && f.Kind != FaultThrottle && f.Kind != FaultMaintenance {
		want = opSubmit
	}
	return (want == "" || want == op) &&
		(f.Match.Authority == "" || f.Match.Authority == r.Authority) &&
		(f.Match.Taxpayer == "" || f.Match.Taxpayer == r.Taxpayer) &&
		(f.Match.Form == "" || f.Match.Form == r.Form)
}

func (f *Fault) fires(rng *rand.Rand) bool {
	f.Seen++
	if f.Seen <= f.Skip || (f.Count > 0 && f.Hit >= f.Count) {
		return false
	}
	if f.Probability != nil && rng.Float64() >= *f.Probability {
		return false
	}
	f.Hit++
	return true
}

// guaranteed reports the promise that nothing was processed.
func (f *Fault) guaranteed() bool { return f.Guaranteed == nil || *f.Guaranteed }

func (s *Server) getFaults(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, s.dice.script())
}

func (s *Server) putFaults(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 256<<10))
	if err == nil {
		var script Script
		if script, err = ParseScript(text); err == nil {
			s.dice.use(script)
			s.getFaults(w, r)
			return
		}
	}
	writeJSON(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "cannot encode the answer", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
